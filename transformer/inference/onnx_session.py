"""ONNX Runtime sessions. ONNX Runtime is imported on first use."""

from collections.abc import Mapping

import numpy as np

MEMORY_REMEDY = "resize the image (--max-side), use smaller tiles (--tile 128) or free some memory"
FOREIGN_MEMORY_REMEDY = "use a smaller picture (--max-side) or free some memory"
_MEMORY_WORDS = ("failed to allocate", "bad_alloc", "out of memory", "cannot allocate")
_FATAL_ONLY = 4  # severity; errors are raised as well as logged, so that a log line would only repeat them


class OnnxSession:
    """A model in ONNX Runtime. Raises what ONNX Runtime raises, and MemoryError instead of its own memory errors.

    model: a serialized model. threads: CPU threads for one call.
    """

    def __init__(self, model: bytes, *, threads: int):
        import onnxruntime

        onnxruntime.set_default_logger_severity(_FATAL_ONLY)
        onnxruntime.disable_telemetry_events()  # which some builds send to Microsoft
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.enable_mem_pattern = (
            False  # otherwise the second image of a size takes twice as long as the others
        )
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise _translated(error) from error

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Returns all outputs."""
        try:
            return self._session.run(None, feeds)
        except Exception as error:
            raise _translated(error) from error


def _translated(error: Exception) -> Exception:
    """Returns MemoryError for ONNX Runtime's failures to allocate, which have no class of their own."""
    if isinstance(error, MemoryError) or any(word in str(error).lower() for word in _MEMORY_WORDS):
        return MemoryError(f"memory ran out in ONNX Runtime; {MEMORY_REMEDY}")
    return error

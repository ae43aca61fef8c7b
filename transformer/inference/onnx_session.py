"""ONNX Runtime sessions. ONNX Runtime is imported on first use."""

import functools
from collections.abc import Mapping

import numpy as np

from system.faults import memory_faults

MEMORY_REMEDY = "resize the image (--max-side), use smaller tiles (--tile 128) or free some memory"
FOREIGN_MEMORY_REMEDY = "use a smaller picture (--max-side) or free some memory"
_FATAL_ONLY = 4  # severity; errors are raised as well as logged, so that a log line would only repeat them


class OnnxSession:
    """A model in ONNX Runtime. Raises what ONNX Runtime raises, but NotEnoughMemory if memory runs out.

    model: a serialized model. threads: CPU threads for one call. remedy: what the user can do if memory runs out.
    named: start of that message.
    """

    def __init__(self, model: bytes, *, threads: int, remedy: str = MEMORY_REMEDY, named: str = ""):
        import onnxruntime

        onnxruntime.set_default_logger_severity(_FATAL_ONLY)
        onnxruntime.disable_telemetry_events()  # which some builds send to Microsoft
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.enable_mem_pattern = (
            False  # otherwise the second image of a size takes twice as long as the others
        )
        self._memory_faults = functools.partial(
            memory_faults, remedy, what=f"{named}memory ran out in ONNX Runtime"
        )
        with self._memory_faults():
            self._run_options = onnxruntime.RunOptions()
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Returns all outputs."""
        with self._memory_faults():
            return self._session.run(None, feeds, self._run_options)

    def stop(self) -> None:
        """Ends the calls of other threads after the operation that they compute; they and all later calls fail."""
        self._run_options.terminate = True

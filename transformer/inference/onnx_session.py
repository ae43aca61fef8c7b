"""ONNX Runtime sessions. ONNX Runtime is imported on first use."""

import functools
from collections.abc import Mapping

import numpy as np

from system.faults import memory_faults, one_line
from system.held_stderr import stderr_held
from transformer.inference.devices import CPU_PROVIDER, CUDA_PROVIDER, Provider
from transformer.inference.quiet_onnxruntime import load_onnxruntime
from transformer.inference.session import GpuError

MEMORY_REMEDY = "resize the image (--max-side), use smaller tiles (--tile 128) or free some memory"
FOREIGN_MEMORY_REMEDY = "use a smaller picture (--max-side) or free some memory"
# Severities. Errors are raised as well as logged, so that a log line would only repeat them. But why a provider cannot
# be used is only logged.
_WARNINGS, _FATAL_ONLY = 2, 4


class OnnxSession:
    """A model in ONNX Runtime. Raises what ONNX Runtime raises, but NotEnoughMemory if memory runs out.

    model: a serialized model. threads: CPU threads for one call. provider: a GPU's; None for the CPU. remedy: what the
    user can do if memory runs out. named: start of that message.
    Raises GpuError if the provider cannot be used.
    """

    def __init__(
        self,
        model: bytes,
        *,
        threads: int,
        provider: Provider | None = None,
        remedy: str = MEMORY_REMEDY,
        named: str = "",
    ):
        onnxruntime = load_onnxruntime()
        onnxruntime.set_default_logger_severity(_FATAL_ONLY)
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
            self._session = (
                _gpu_session(model, options, provider)
                if provider
                else onnxruntime.InferenceSession(model, options, providers=[CPU_PROVIDER])
            )

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Returns all outputs."""
        with self._memory_faults():
            return self._session.run(None, feeds, self._run_options)

    def stop(self) -> None:
        """Ends the calls of other threads after the operation that they compute; they and all later calls fail."""
        self._run_options.terminate = True


def _gpu_session(model: bytes, options, provider: Provider):
    """Opens a session of a GPU's provider. Raises GpuError with what ONNX Runtime logs if it is not used."""
    onnxruntime = load_onnxruntime()
    with stderr_held() as written:
        onnxruntime.set_default_logger_severity(_WARNINGS)
        try:
            if provider.name == CUDA_PROVIDER and hasattr(onnxruntime, "preload_dlls"):
                onnxruntime.preload_dlls()  # the libraries of NVIDIA's own packages in site-packages
            # Without fallback: ONNX Runtime's own would print to stdout.
            session = onnxruntime.InferenceSession(
                model, options, providers=[tuple(provider), CPU_PROVIDER], enable_fallback=0
            )
        except Exception as error:  # a class per status code, without a common base
            raise GpuError(f"{provider.name}: {one_line(error)}") from error
        finally:
            onnxruntime.set_default_logger_severity(_FATAL_ONLY)
    if provider.name not in session.get_providers():
        raise GpuError(f"{provider.name}: {_reason(written())}")
    return session


def _reason(log: str) -> str:
    """The last message of a log of ONNX Runtime, without its time and place in the source."""
    lines = [line.rpartition("] ")[2].strip() for line in log.splitlines()]
    return next((line for line in reversed(lines) if line), "the driver or its libraries are missing")

"""OpenVINO sessions, an optional runtime. OpenVINO is imported on first use."""

import functools
import importlib.util
import threading
from collections.abc import Mapping

import numpy as np

from system.faults import memory_faults, one_line
from system.machine import available_cores
from system.program import install_line
from transformer.export.style_folder import StyleError
from transformer.inference.devices import Device, packages_for_gpus
from transformer.inference.limits import BFLOAT16, FLOAT32
from transformer.inference.onnx_session import MEMORY_REMEDY
from transformer.inference.session import GpuError

INSTALL = install_line("openvino")
# Compiled kernels that are kept for sizes that come again. With OpenVINO's own number, 5000, a folder of 250 sizes took
# 340 MB in place of 240, and was no faster.
KERNELS_KEPT = 100
# OpenVINO's names of number types. Without a hint GPUs and some CPUs would compute with fewer bits than float32.
PRECISION_HINTS = {FLOAT32: "f32", BFLOAT16: "bf16"}


def is_installed() -> bool:
    """Returns whether OpenVINO can be imported, without importing it."""
    return importlib.util.find_spec("openvino") is not None


class OpenVinoSession:
    """A model in OpenVINO; see `session.Session`.

    model: a serialized ONNX model. threads: CPU threads for one call; calls of other threads get the other cores.
    device: the CPU, or a GPU that OpenVINO supports.
    Raises StyleError if OpenVINO is missing or the CPU has no bfloat16, GpuError if there is no such GPU, and
    NotEnoughMemory if memory runs out.
    """

    def __init__(self, model: bytes, *, threads: int, precision: str, device: Device):
        core = _core()
        self._memory_faults = functools.partial(
            memory_faults, MEMORY_REMEDY, what="memory ran out in OpenVINO"
        )
        settings = {"INFERENCE_PRECISION_HINT": PRECISION_HINTS[precision]}
        if device.is_gpu:
            name = _gpu_name(core.available_devices, device)
        else:
            name = "CPU"
            _check_precision(core, precision)
            settings |= _cpu_settings(threads)
        with self._memory_faults():
            self._compiled = core.compile_model(core.read_model(model), name, settings)
        self._lock = threading.Lock()
        self._idle: list = []
        self._busy: set = set()
        self._is_stopped = False

    def run(self, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Returns all outputs."""
        request = self._taken()
        try:
            with self._memory_faults():
                request.start_async(dict(feeds))
                if self._is_stopped:  # since the request was taken
                    request.cancel()
                request.wait()
                # Copies, because the next call writes into the same memory.
                return [np.array(tensor.data) for tensor in request.output_tensors]
        finally:
            with self._lock:
                self._busy.discard(request)
                self._idle.append(request)

    def stop(self) -> None:
        """Ends the calls of other threads; they and all later calls fail."""
        with self._lock:
            self._is_stopped = True
            busy = list(self._busy)
        for request in busy:
            request.cancel()

    def _taken(self):
        """A request that no other thread uses."""
        with self._lock:
            if self._is_stopped:
                raise RuntimeError("the session was stopped")
            request = self._idle.pop() if self._idle else self._compiled.create_infer_request()
            self._busy.add(request)
        return request


def check_installation() -> None:
    """Raises StyleError if OpenVINO cannot be used."""
    _core()


@functools.cache
def _core():
    try:
        import openvino

        # OpenVINO's Python module finds NumPy at the first access to a tensor. Two threads that do so at the same time
        # wait for each other for ever.
        _ = openvino.Tensor(np.zeros(1, np.float32)).data
        return openvino.Core()
    except ModuleNotFoundError as error:
        if error.name != "openvino":
            raise _broken(error) from error
        raise StyleError(
            f"OpenVINO is not installed; run {INSTALL}, or use --runtime onnx in float32"
        ) from error
    except Exception as error:  # an old version, or one whose libraries are missing
        raise _broken(error) from error


def _broken(error: Exception) -> StyleError:
    return StyleError(
        f"OpenVINO cannot be loaded ({one_line(error)}); install it again with {INSTALL}, or use --runtime onnx in"
        " float32"
    )


def _cpu_settings(threads: int) -> dict[str, object]:
    cores = max(threads, available_cores())
    # Pinned threads of several processes would share the first cores.
    return {
        "INFERENCE_NUM_THREADS": cores,
        "NUM_STREAMS": max(1, cores // threads),
        "ENABLE_CPU_PINNING": False,
        "CPU_RUNTIME_CACHE_CAPACITY": KERNELS_KEPT,
    }


def _check_precision(core, precision: str) -> None:
    able = core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if precision == BFLOAT16 and "BF16" not in able:
        raise StyleError(
            "this CPU cannot compute in bfloat16, which needs AVX-512 BF16 or AMX; use --precision float32"
        )


def _gpu_name(available: list[str], device: Device) -> str:
    """OpenVINO calls a single GPU "GPU", and several "GPU.0", "GPU.1" ..."""
    name = "GPU" if device.number is None else f"GPU.{device.number}"
    known = {name for name in available if name.partition(".")[0] == "GPU"}
    is_only_one = known == {"GPU"} and device.number in (None, 0)
    if not (name in known or is_only_one or (name == "GPU" and known)):
        raise GpuError(
            f"OpenVINO finds no {name} here, but {', '.join(available)}; an Intel GPU needs its driver, others need"
            f" another package: {packages_for_gpus()}"
        )
    return "GPU" if is_only_one else name

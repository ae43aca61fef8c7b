"""Chooses the library that runs a network, and opens its sessions."""

from dataclasses import dataclass, replace
from functools import partial

from transformer.inference import openvino_session
from transformer.inference.devices import (
    CPU,
    Device,
    Provider,
    gpu_provider,
    packages_for_gpus,
)
from transformer.inference.limits import FLOAT32, ONNX, OPENVINO
from transformer.inference.onnx_session import OnnxSession
from transformer.inference.openvino_session import OpenVinoSession
from transformer.inference.quiet_onnxruntime import load_onnxruntime
from transformer.inference.session import FallbackSession, GpuError, GpuUse, Session

# OpenVINO takes longer to start and less time per pixel; see benchmarks/README.md for the measured times.
OPENVINO_PAYS_PIXELS = 2e6


@dataclass(frozen=True)
class Engine:
    """Opens the sessions of one runtime, "onnx" or "openvino". gpu: whether the GPU works, for all its sessions."""

    runtime: str
    precision: str
    device: Device
    gpu: GpuUse

    @property
    def prefers_transposed(self) -> bool:
        """Whether transposed convolutions are faster than `onnx_graph`'s usual form of upsampling."""
        return self.runtime == OPENVINO

    def for_tiles(self) -> "Engine":
        """The engine of tiles: many small stages, which ONNX Runtime computes faster in float32 on a CPU."""
        is_slow = self.runtime == OPENVINO and self.precision == FLOAT32 and not self.device.is_gpu
        return replace(self, runtime=ONNX, device=Device(CPU)) if is_slow else self

    def open(self, model: bytes, threads: int) -> Session:
        """Opens a session that takes `threads` CPU threads for one call. Raises what its library raises."""
        open_cpu = partial(self._opened, model, threads, Device(CPU), None)
        provider = self._provider()
        if provider is None and not self.device.is_gpu:
            return open_cpu()
        open_gpu = partial(self._opened, model, threads, self.device, provider)
        return FallbackSession(open_gpu, open_cpu, self.gpu)

    def _opened(self, model: bytes, threads: int, device: Device, provider: Provider | None) -> Session:
        if self.runtime == OPENVINO:
            return OpenVinoSession(model, threads=threads, precision=self.precision, device=device)
        if device.is_gpu and provider is None:
            raise GpuError(
                f"the installed ONNX Runtime computes on CPUs only; packages for GPUs: {packages_for_gpus()}"
            )
        return OnnxSession(model, threads=threads, provider=provider)

    def _provider(self) -> Provider | None:
        if self.runtime != ONNX or self.device.kind == CPU:
            return None
        return gpu_provider(self.device, available_providers())


ON_CPU = Engine(ONNX, FLOAT32, Device(CPU), GpuUse(report=lambda line: None))


def available_providers() -> list[str]:
    """Returns the providers of the installed ONNX Runtime."""
    return load_onnxruntime().get_available_providers()


def chosen_runtime(precision: str, device: Device, expected_pixels: float | None) -> str:
    """Returns the faster of ONNX Runtime and OpenVINO for a job.

    expected_pixels: of all images together; None where that is unknown. OpenVINO is an optional package.
    """
    if precision != FLOAT32:
        return OPENVINO
    pays = device.is_gpu or (expected_pixels or 0) >= OPENVINO_PAYS_PIXELS
    if not (pays and openvino_session.is_installed()):
        return ONNX
    has_gpu = device.kind != CPU and gpu_provider(device, available_providers()) is not None
    return ONNX if has_gpu else OPENVINO

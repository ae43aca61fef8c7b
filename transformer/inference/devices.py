"""Devices: what `device` may be, and what ONNX Runtime and OpenVINO call it."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from transformer.inference.limits import AUTO

CPU, GPU = "cpu", "gpu"
DEVICES = "auto, cpu, gpu, or gpu:N for the GPU with number N, which starts at 0"
MAX_GPU = 255
CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"
# ONNX Runtime's providers for GPUs, the first that the installed package has is taken, with the package to install.
GPU_PROVIDERS = {
    CUDA_PROVIDER: "onnxruntime-gpu for NVIDIA",
    "MIGraphXExecutionProvider": "onnxruntime-migraphx for AMD",
    "ROCMExecutionProvider": "onnxruntime-rocm for AMD",
    "DmlExecutionProvider": "onnxruntime-directml for Windows",
    "CoreMLExecutionProvider": "onnxruntime for macOS",
}
# Part of the usual package of macOS, and not faster for every size. Used only where the user asks for a GPU.
ON_REQUEST_ONLY = ("CoreMLExecutionProvider",)
WITHOUT_NUMBER = ("CoreMLExecutionProvider",)  # there is one GPU, with number 0
# CUDA would otherwise round to 10 bits (TF32), which is not float32.
_OPTIONS = {CUDA_PROVIDER: {"use_tf32": "0"}}


class Device(NamedTuple):
    """A device that the user named."""

    kind: str  # AUTO, CPU or GPU
    number: int | None = None  # of the GPU, if the user gave one

    @property
    def is_gpu(self) -> bool:
        return self.kind == GPU

    def __str__(self) -> str:
        return self.kind if self.number is None else f"{self.kind}:{self.number}"


def parsed_device(text: str) -> Device:
    """Returns the device that "auto", "cpu", "gpu" or "gpu:N" names. Raises ValueError for another text."""
    if text in (AUTO, CPU, GPU):
        return Device(text)
    match = re.fullmatch(r"gpu:([0-9]{1,3})", text)
    if match is None or int(match[1]) > MAX_GPU:
        raise ValueError(f"device must be {DEVICES}")
    return Device(GPU, int(match[1]))


class Provider(NamedTuple):
    """A provider of ONNX Runtime with its options."""

    name: str
    options: dict[str, str]


def gpu_provider(device: Device, available: Sequence[str]) -> Provider | None:
    """Returns the GPU provider that computes on `device`; None for the CPU.

    available: the providers of the installed package. "auto" means a GPU if the package was made for one.
    """
    if device.kind == CPU:
        return None
    names = [name for name in GPU_PROVIDERS if name in available]
    if device.kind == AUTO:
        names = [name for name in names if name not in ON_REQUEST_ONLY]
    if device.number:
        names = [name for name in names if name not in WITHOUT_NUMBER]
    if not names:
        return None
    options = dict(_OPTIONS.get(names[0], {}))
    if device.number is not None and names[0] not in WITHOUT_NUMBER:
        options["device_id"] = str(device.number)
    return Provider(names[0], options)


def packages_for_gpus() -> str:
    """Names the packages of ONNX Runtime that compute on GPUs, for a message."""
    return ", ".join(GPU_PROVIDERS.values())

"""transformer/inference/devices.py: the names of devices, and the provider of ONNX Runtime for each."""

import pytest

from transformer.inference.devices import Device, Provider, gpu_provider, parsed_device

CPU_ONLY = ["AzureExecutionProvider", "CPUExecutionProvider"]
CUDA = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
MAC = ["CoreMLExecutionProvider", "CPUExecutionProvider"]


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("auto", Device("auto")),
        ("cpu", Device("cpu")),
        ("gpu", Device("gpu")),
        ("gpu:0", Device("gpu", 0)),
        ("gpu:12", Device("gpu", 12)),
    ],
)
def test_a_device_is_parsed_and_printed_alike(text, device):
    assert parsed_device(text) == device
    assert str(device) == text


@pytest.mark.parametrize(
    "text", ["", "GPU", "gpu:", "gpu:-1", "gpu:x", "gpu:256", "gpu:9999", "gpu:١", "cuda"]
)
def test_other_names_are_refused_with_the_allowed_ones(text):
    with pytest.raises(ValueError, match="auto, cpu, gpu, or gpu:N"):
        parsed_device(text)


@pytest.mark.parametrize(
    ("device", "available", "provider"),
    [
        ("auto", CPU_ONLY, None),
        ("gpu", CPU_ONLY, None),
        ("cpu", CUDA, None),
        ("auto", CUDA, Provider("CUDAExecutionProvider", {"use_tf32": "0"})),
        ("gpu", CUDA, Provider("CUDAExecutionProvider", {"use_tf32": "0"})),
        ("gpu:2", CUDA, Provider("CUDAExecutionProvider", {"use_tf32": "0", "device_id": "2"})),
        ("gpu:1", ["DmlExecutionProvider"], Provider("DmlExecutionProvider", {"device_id": "1"})),
        ("gpu", ["ROCMExecutionProvider"], Provider("ROCMExecutionProvider", {})),
        ("gpu", ["MIGraphXExecutionProvider"], Provider("MIGraphXExecutionProvider", {})),
        ("auto", MAC, None),
        ("gpu:1", MAC, None),
        ("gpu:0", MAC, Provider("CoreMLExecutionProvider", {})),
    ],
)
def test_the_provider_follows_the_device_and_the_installed_package(device, available, provider):
    assert gpu_provider(parsed_device(device), available) == provider

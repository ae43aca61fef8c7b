"""transformer/inference/runtimes.py and session.py: which library and device compute, and what a failing GPU does."""

import threading
import time

import numpy as np
import pytest
from onnx import TensorProto, helper

from transformer.export.onnx_graph import OPSET
from transformer.inference import onnx_session, runtimes
from transformer.inference.devices import GPU_PROVIDERS, ON_REQUEST_ONLY, Device, parsed_device
from transformer.inference.runtimes import Engine, chosen_runtime
from transformer.inference.session import FallbackSession, GpuError, GpuUse

CUDA = ["CUDAExecutionProvider", "CPUExecutionProvider"]
VALUE = np.array([-1.0, 2.0], np.float32)
MANY = 1e9  # pixels


class FakeSession:
    """A session that adds `shift`, or fails at call number `fails_at`."""

    def __init__(self, shift: float, fails_at: int | None = None):
        self.shift, self.fails_at, self.calls, self.is_stopped = shift, fails_at, 0, False

    def run(self, feeds):
        self.calls += 1
        if self.is_stopped or (self.fails_at is not None and self.calls >= self.fails_at):
            raise RuntimeError("CUDA failure 2: out of memory\nat line 7")
        return [feeds["X"] + self.shift]

    def stop(self):
        self.is_stopped = True


def fallback(gpu: FakeSession | Exception):
    """A FallbackSession, its session on the CPU, and the lines that it reports."""
    cpu, lines = FakeSession(0), []

    def open_gpu():
        if isinstance(gpu, Exception):
            raise gpu
        return gpu

    return FallbackSession(open_gpu, lambda: cpu, GpuUse(lines.append)), cpu, lines


def test_a_gpu_that_works_computes_and_nothing_is_reported():
    session, cpu, lines = fallback(FakeSession(10))
    np.testing.assert_array_equal(session.run({"X": VALUE})[0], VALUE + 10)
    assert (cpu.calls, lines) == (0, [])


def test_a_gpu_that_cannot_be_opened_is_replaced_with_one_line():
    session, cpu, lines = fallback(GpuError("CUDAExecutionProvider: no driver"))
    np.testing.assert_array_equal(session.run({"X": VALUE})[0], VALUE)
    (line,) = lines
    assert line == "the GPU cannot be used (CUDAExecutionProvider: no driver); the CPU is used instead"


def test_a_gpu_that_fails_while_it_computes_is_replaced_for_this_call_and_all_later_ones():
    gpu = FakeSession(10, fails_at=2)
    session, cpu, lines = fallback(gpu)
    results = [session.run({"X": VALUE})[0][0] for _ in range(4)]
    assert results == [9, -1, -1, -1]
    assert (gpu.calls, cpu.calls) == (2, 3)
    (line,) = lines
    assert "CUDA failure 2: out of memory at line 7" in line and "\n" not in line


def test_threads_that_fail_together_open_one_session_on_the_cpu():
    gpu, opened, lines = FakeSession(10, fails_at=1), [], []
    barrier = threading.Barrier(4)

    def open_cpu():
        opened.append(FakeSession(0))
        return opened[-1]

    def call():
        barrier.wait()
        session.run({"X": VALUE})

    session = FallbackSession(lambda: gpu, open_cpu, GpuUse(lines.append))
    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == len(lines) == 1


def test_a_stopped_session_does_not_go_on_on_the_cpu():
    session, cpu, lines = fallback(FakeSession(10))
    session.stop()
    with pytest.raises(RuntimeError):
        session.run({"X": VALUE})
    assert (cpu.calls, lines) == (0, [])


def model() -> bytes:
    info = helper.make_tensor_value_info
    node = helper.make_node("Relu", ["X"], ["g"])
    graph = helper.make_graph(
        [node], "graph", [info("X", TensorProto.FLOAT, ["n"])], [info("g", TensorProto.FLOAT, ["n"])]
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    return made.SerializeToString()


def engine(device: str, lines: list, runtime: str = "onnx") -> Engine:
    return Engine(runtime, "float32", parsed_device(device), GpuUse(lines.append))


def test_a_gpu_that_the_installed_onnx_runtime_does_not_support_is_named_with_the_packages(monkeypatch):
    monkeypatch.setattr(runtimes, "available_providers", lambda: CUDA[1:])
    lines: list[str] = []
    session = engine("gpu", lines).open(model(), threads=1)
    np.testing.assert_array_equal(session.run({"X": VALUE})[0], [0, 2])
    (line,) = lines
    assert "onnxruntime-gpu for NVIDIA" in line and line.endswith("the CPU is used instead")


@pytest.mark.parametrize("device", ["auto", "gpu", "gpu:1"])
def test_a_provider_that_does_not_start_is_reported_with_the_log_of_onnx_runtime(device, monkeypatch, capfd):
    """A provider that the installed package does not have: it fails as one whose driver is missing."""
    installed = runtimes.available_providers()
    missing = next(name for name in GPU_PROVIDERS if name not in (*installed, *ON_REQUEST_ONLY))
    monkeypatch.setattr(runtimes, "available_providers", lambda: [missing])
    lines: list[str] = []
    session = engine(device, lines).open(model(), threads=1)
    np.testing.assert_array_equal(session.run({"X": VALUE})[0], [0, 2])
    (line,) = lines
    assert missing in line and "the CPU is used instead" in line
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_nothing_is_reported_where_no_gpu_is_asked_for(device, monkeypatch):
    monkeypatch.setattr(runtimes, "available_providers", lambda: CUDA if device == "cpu" else CUDA[1:])
    lines: list[str] = []
    engine(device, lines).open(model(), threads=1)
    assert lines == []


def test_the_reason_is_the_last_message_of_the_log_without_its_place():
    log = "2026 [W:onnxruntime:, provider.cc:42 load] first\n2026 [E:onnxruntime:, x.cc:1 y] libcudnn.so.9 is missing\n"
    assert onnx_session._reason(log) == "libcudnn.so.9 is missing"
    assert "driver" in onnx_session._reason("")


@pytest.mark.parametrize(
    ("installed", "precision", "device", "pixels", "providers", "runtime"),
    [
        (True, "float32", "auto", None, [], "onnx"),
        (True, "float32", "auto", 512 * 512, [], "onnx"),
        (True, "float32", "auto", MANY, [], "openvino"),
        (False, "float32", "auto", MANY, [], "onnx"),
        (True, "float32", "auto", MANY, CUDA, "onnx"),
        (True, "float32", "cpu", MANY, CUDA, "openvino"),
        (True, "float32", "gpu", None, [], "openvino"),
        (True, "float32", "gpu", None, CUDA, "onnx"),
        (True, "bfloat16", "auto", None, CUDA, "openvino"),
        (False, "bfloat16", "auto", None, [], "openvino"),
    ],
)
def test_auto_takes_the_runtime_that_is_faster_for_the_job(
    installed, precision, device, pixels, providers, runtime, monkeypatch
):
    monkeypatch.setattr(runtimes.openvino_session, "is_installed", lambda: installed)
    monkeypatch.setattr(runtimes, "available_providers", lambda: providers)
    assert chosen_runtime(precision, parsed_device(device), pixels) == runtime


@pytest.mark.parametrize(
    ("runtime", "precision", "device", "of_tiles"),
    [
        ("openvino", "float32", "auto", "onnx"),
        ("openvino", "bfloat16", "auto", "openvino"),
        ("openvino", "float32", "gpu", "openvino"),
        ("onnx", "float32", "auto", "onnx"),
    ],
)
def test_tiles_on_a_cpu_are_computed_by_onnx_runtime_in_float32(runtime, precision, device, of_tiles):
    made = Engine(runtime, precision, Device(device), GpuUse(print))
    assert made.for_tiles().runtime == of_tiles


def test_a_gpu_that_failed_is_not_tried_by_other_sessions_of_the_call():
    lines, tries = [], []

    def open_gpu():
        tries.append(1)
        raise GpuError(f"try {len(tries)}")

    gpu = GpuUse(lines.append)
    sessions = [FallbackSession(open_gpu, lambda: FakeSession(0), gpu) for _ in range(5)]
    assert [session.run({"X": VALUE})[0][0] for session in sessions] == [-1] * 5
    assert len(tries) == len(lines) == 1


def test_the_other_sessions_of_a_gpu_that_fails_go_on_on_the_cpu():
    lines: list[str] = []
    gpu, working, failing = GpuUse(lines.append), FakeSession(10), FakeSession(10, fails_at=1)
    first = FallbackSession(lambda: working, lambda: FakeSession(0), gpu)
    second = FallbackSession(lambda: failing, lambda: FakeSession(0), gpu)
    assert first.run({"X": VALUE})[0][0] == 9
    assert second.run({"X": VALUE})[0][0] == first.run({"X": VALUE})[0][0] == -1
    assert working.calls == 1 and len(lines) == 1


def test_one_image_at_a_time_is_on_the_gpu():
    at_once, most = [], []

    class Counting(FakeSession):
        def run(self, feeds):
            at_once.append(1)
            most.append(len(at_once))
            time.sleep(0.01)
            at_once.pop()
            return super().run(feeds)

    session = FallbackSession(lambda: Counting(0), lambda: FakeSession(0), GpuUse(print))
    threads = [threading.Thread(target=session.run, args=({"X": VALUE},)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 4


def test_stop_during_the_fallback_stops_the_new_session():
    cpu, opened = FakeSession(0), []

    def open_cpu():
        session.stop()
        opened.append(cpu)
        return cpu

    session = FallbackSession(lambda: FakeSession(10, fails_at=1), open_cpu, GpuUse(print))
    with pytest.raises(RuntimeError):
        session.run({"X": VALUE})
    assert opened == [cpu] and cpu.is_stopped

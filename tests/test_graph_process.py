"""transformer/inference/graph_process.py: a foreign graph can be ended, and its process is not trusted."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from waiting import wait_until

import infer
from system.console import printable
from system.machine import NotEnoughMemory
from system.signals import Interrupted, raised_interrupts
from transformer.export.style_folder import ONNX_FILE, StyleError
from transformer.inference import graph_process
from transformer.inference.devices import Device, parsed_device
from transformer.inference.graph_frames import MAX_TEXT_BYTES
from transformer.inference.graph_process import ForeignGraph, ForeignNetwork
from transformer.inference.loading import load_blend, load_stylizer
from transformer.inference.session import GpuUse

ROOT = Path(__file__).resolve().parents[1]
IMAGE = np.random.default_rng(0).uniform(0, 255, (20, 30, 3)).astype(np.float32)
SHAPE = ("N", "H", "W", 3)
FLOAT = TensorProto.FLOAT
node, info = helper.make_node, helper.make_tensor_value_info

# A child that follows the protocol and can do nothing; tests add what it answers.
CHILD = f"""
import os, signal, struct, sys, time
sys.path.insert(0, {str(ROOT)!r})
from transformer.inference import graph_frames as frames
requests, replies = sys.stdin.buffer, sys.stdout.buffer
def received():
    kind, length = frames.read_header(requests)
    return kind, frames.read_exactly(requests, length)
received(), received()
"""
READY = "frames.write_frame(replies, frames.READY)\n"
ECHO = """
while True:
    images = frames.unpacked_images(received()[1])
    frames.write_frame(replies, frames.PICTURES, frames.pixels_of(images))
"""


def write_graph(folder: Path, *nodes, constants=()) -> Path:
    """A style folder with a foreign graph of X that returns g."""
    folder.mkdir(exist_ok=True)
    graph = helper.make_graph(nodes, "graph", [info("X", FLOAT, SHAPE)], [info("g", FLOAT, SHAPE)], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(made, str(folder / ONNX_FILE))
    return folder


@pytest.fixture
def negative_dir(tmp_path) -> Path:
    """A foreign style that returns 255 - X."""
    white = helper.make_tensor("white", FLOAT, [], [255.0])
    return write_graph(tmp_path / "negative", node("Sub", ["white", "X"], ["g"]), constants=[white])


@pytest.fixture
def endless_dir(tmp_path) -> Path:
    """A foreign style with a loop that never ends."""
    nodes = [node("Identity", ["go"], ["again"]), node("Identity", ["value"], ["next"])]
    state = [
        info("step", TensorProto.INT64, []),
        info("go", TensorProto.BOOL, []),
        info("value", FLOAT, SHAPE),
    ]
    results = [info("again", TensorProto.BOOL, []), info("next", FLOAT, SHAPE)]
    body = helper.make_graph(nodes, "body", state, results)
    true = helper.make_tensor("true", TensorProto.BOOL, [], [True])
    return write_graph(
        tmp_path / "endless", node("Loop", ["", "true", "X"], ["g"], body=body), constants=[true]
    )


@pytest.fixture
def network_of(tmp_path, monkeypatch):
    """A function of Python source: a ForeignNetwork whose child process runs it, and those networks' processes."""
    monkeypatch.setattr(graph_process, "END_SECONDS", 1.0)

    def start(source: str, *, trust: bool = False, **options) -> ForeignNetwork:
        path = tmp_path / "child.py"
        path.write_text(CHILD + source)
        monkeypatch.setattr(graph_process, "CHILD", path)
        return ForeignNetwork(ForeignGraph(tmp_path, "onnx", trust, b"model", **options))

    return start


def process_of(network: ForeignNetwork) -> subprocess.Popen:
    return network._child._process


# Foreign graphs by the real child process


def test_a_foreign_graph_runs_and_is_named_to_threads_as_one_at_a_time(negative_dir):
    stylizer = load_stylizer(negative_dir)
    np.testing.assert_allclose(stylizer(IMAGE), 255 - IMAGE, atol=1e-3)
    np.testing.assert_allclose(stylizer(np.stack([IMAGE, IMAGE[::-1]]))[1], 255 - IMAGE[::-1], atol=1e-3)
    assert stylizer.one_at_a_time and stylizer.plan.tile_for(20_000, 20_000) is None


def test_a_foreign_graph_and_ours_can_be_mixed(negative_dir, style_dirs):
    mixed = load_blend([(negative_dir, 1), (style_dirs["waves"], 3)])(IMAGE)
    expected = 0.25 * (255 - IMAGE) + 0.75 * load_stylizer(style_dirs["waves"])(IMAGE)
    np.testing.assert_allclose(mixed, expected, atol=1e-2)


def test_our_own_graph_runs_without_another_process(style_dirs, monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", None)
    assert not load_stylizer(style_dirs["waves"]).one_at_a_time


def test_a_foreign_graph_is_refused_in_one_line_that_names_its_file(endless_dir):
    with pytest.raises(StyleError, match="operator Loop .* is not on the allow-list; .* --trust") as error:
        load_stylizer(endless_dir)
    assert str(endless_dir / ONNX_FILE) in str(error.value)


def test_a_graph_that_lacks_memory_costs_its_photo_only(tmp_path, photo, capsys):
    # 300 million copies of one photo, none of the other one: only the first needs terabytes
    nodes = [
        node("Shape", ["X"], ["height"], start=1, end=2),
        node("Div", ["height", "many"], ["copies"]),
        node("Mul", ["copies", "most"], ["size"]),
        node("ConstantOfShape", ["size"], ["zeros"]),
        node("ReduceSum", ["zeros"], ["zero"], keepdims=0),
        node("Add", ["X", "zero"], ["g"]),
    ]
    constants = [
        helper.make_tensor(name, TensorProto.INT64, [1], [value])
        for name, value in (("many", 40), ("most", 10**13))
    ]
    style_dir = write_graph(tmp_path / "hungry", *nodes, constants=constants)
    large = photo(tmp_path / "photos" / "a_large.png", height=50, width=50)
    small = photo(tmp_path / "photos" / "b_small.png", height=20, width=50)
    out = tmp_path / "out"
    assert infer.main([str(large), str(small), "--style", str(style_dir), "-o", str(out)]) == 1
    assert [path.name for path in out.iterdir()] == ["b_small_hungry.png"]
    message = capsys.readouterr().err
    assert f"{large}: {style_dir / ONNX_FILE}: memory ran out in ONNX Runtime" in message


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_an_endless_graph_at_once(endless_dir, photo, tmp_path, name):
    photos = [str(photo(tmp_path / file)) for file in ("a.png", "b.png")]
    arguments = [*photos, "--style", str(endless_dir), "--trust", "-o", str(tmp_path / "out")]
    door = subprocess.Popen(
        [sys.executable, "infer.py", *arguments], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    child = wait_for_busy_child(door.pid)
    door.send_signal(getattr(signal, name))
    _, message = door.communicate(timeout=60)  # the graph itself never ends
    assert door.returncode == {"SIGINT": 130, "SIGTERM": 143}[name]
    assert message == f"infer.py: interrupted by {name}: no picture was written\n"
    wait_until(lambda: not is_running(child))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_an_endless_graph_ends_with_the_process_that_started_it(endless_dir, photo, tmp_path):
    arguments = [str(photo(tmp_path / "a.png")), "--style", str(endless_dir), "--trust"]
    door = subprocess.Popen([sys.executable, "infer.py", *arguments], cwd=ROOT)
    child = wait_for_busy_child(door.pid)
    door.kill()
    door.wait()
    wait_until(lambda: not is_running(child))


def wait_for_busy_child(parent: int) -> int:
    """Waits until the child of a process runs its graph; returns its process id."""
    children = Path(f"/proc/{parent}/task/{parent}/children")
    wait_until(lambda: children.read_text())
    child = int(children.read_text().split()[0])

    def ticks() -> int:
        fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    wait_until(lambda: "onnxruntime_pybind11" in Path(f"/proc/{child}/maps").read_text())
    imported = ticks()
    wait_until(
        lambda: ticks() > imported + 1.5 * os.sysconf("SC_CLK_TCK")
    )  # the rest of the start takes 0.2 s
    return child


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# Children that misbehave


def test_the_pixels_reach_the_child_and_return_unchanged(network_of):
    np.testing.assert_array_equal(network_of(READY + ECHO)(IMAGE[np.newaxis]), IMAGE[np.newaxis])


def test_threads_share_a_child(network_of):
    network = network_of(READY + ECHO)
    results = {}

    def run(index: int) -> None:
        images = np.full((1, 5, 4 + index, 3), index, np.float32)
        results[index] = np.array_equal(network(images), images)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == dict.fromkeys(range(8), True)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", r"the graph crashed ONNX Runtime \(SIGSEGV\)"),
        ("os.abort()", r"the graph crashed ONNX Runtime \(SIGABRT\)"),
        ("os._exit(3)", r"the graph crashed ONNX Runtime \(exit status 3\)"),
        ("replies.write(b'x'); replies.flush(); os._exit(0)", "crashed ONNX Runtime"),
        ("frames.write_frame(replies, b'EVIL', b'content')", "malformed answer"),
        ("frames.write_frame(replies, frames.READY)", "malformed answer"),
        ("frames.write_frame(replies, frames.PICTURES, bytes(100))", "malformed answer"),
        ("replies.write(struct.pack('<4sQ', frames.PICTURES, 2**63)); replies.flush()", "malformed answer"),
        ("replies.write(struct.pack('<4sQ', frames.REFUSED, 2**40)); replies.flush()", "malformed answer"),
        (f"frames.write_frame(replies, frames.REFUSED, bytes({MAX_TEXT_BYTES + 1}))", "malformed answer"),
    ],
)
def test_a_child_that_crashes_or_lies_is_one_line_and_the_next_call_has_a_new_child(
    network_of, answer, words
):
    network = network_of(f"{READY}received()\n{answer}\ntime.sleep(60)")
    first = process_of(network)
    with pytest.raises(StyleError, match=words) as error:
        network(IMAGE[np.newaxis])
    assert str(error.value).isprintable() and first.returncode is not None
    network_of(READY + ECHO)  # what the next child runs
    np.testing.assert_array_equal(network(IMAGE[np.newaxis]), IMAGE[np.newaxis])
    assert process_of(network).pid != first.pid


def test_a_child_that_the_system_kills_lacked_memory(network_of):
    network = network_of(f"{READY}received()\nos.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(MemoryError, match="probably because memory ran out; use a smaller picture"):
        network(IMAGE[np.newaxis])


def test_what_the_child_says_is_printed_as_one_plain_line(network_of):
    text = "refused\\n\\x1b[31m red \\x07\\x9b bell"
    network = network_of(
        f"{READY}while True:\n    received()\n    frames.write_frame(replies, frames.REFUSED, {text!r}.encode()"
        ".decode('unicode_escape').encode())"
    )
    first = process_of(network)
    for _ in range(2):
        with pytest.raises(StyleError) as error:
            network(IMAGE[np.newaxis])
        assert str(error.value) == r"refused\n\x1b[31m red \x07\x9b bell"
    assert process_of(network) is first  # a refusal is no crash


def test_a_memory_error_of_the_child_is_one_here(network_of):
    network = network_of(
        f"{READY}received()\nframes.write_frame(replies, frames.NO_MEMORY, b'too large')\ntime.sleep(9)"
    )
    with pytest.raises(NotEnoughMemory, match="^too large$"):
        network(IMAGE[np.newaxis])


def test_a_graph_that_takes_too_long_is_ended(network_of, monkeypatch):
    network = network_of(f"{READY}received()\ntime.sleep(60)")
    monkeypatch.setattr(graph_process, "RUN_SECONDS", 0.3)
    start = time.monotonic()
    with pytest.raises(StyleError, match="took longer than 0 s; use a smaller picture"):
        network(IMAGE[np.newaxis])
    assert time.monotonic() - start < 10
    assert process_of(network).returncode is not None


def test_a_child_that_closes_its_stream_and_keeps_running_stopped_answering(network_of):
    network = network_of(f"{READY}received()\nos.close(1); replies.close(); time.sleep(60)")
    with pytest.raises(StyleError, match="the graph's process stopped answering and was ended"):
        network(IMAGE[np.newaxis])
    assert process_of(network).returncode == -signal.SIGKILL


def test_a_child_that_dies_between_two_calls_costs_no_photo(network_of):
    network = network_of(READY + ECHO)
    first = process_of(network)
    np.testing.assert_array_equal(network(IMAGE[np.newaxis]), IMAGE[np.newaxis])
    os.kill(first.pid, signal.SIGKILL)
    os.waitid(os.P_PID, first.pid, os.WEXITED | os.WNOWAIT)
    np.testing.assert_array_equal(network(IMAGE[np.newaxis]), IMAGE[np.newaxis])
    assert process_of(network).pid != first.pid


def test_a_time_limit_that_passes_with_the_answer_costs_no_later_photo(network_of, monkeypatch):
    network = network_of(READY + ECHO)
    first = process_of(network)
    leave = graph_process._Deadline.__exit__

    def leave_as_the_timer_fires(deadline, *fault):
        if not deadline.has_passed:
            deadline._kill()
        return leave(deadline, *fault)

    with monkeypatch.context() as patched:
        patched.setattr(graph_process._Deadline, "__exit__", leave_as_the_timer_fires)
        np.testing.assert_array_equal(network(IMAGE[np.newaxis]), IMAGE[np.newaxis])
    assert network._child.has_ended
    np.testing.assert_array_equal(network(IMAGE[np.newaxis]), IMAGE[np.newaxis])
    assert process_of(network).pid != first.pid


def test_a_timer_that_fires_after_the_answer_kills_nothing():
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    deadline = graph_process._Deadline(60, process)
    with deadline:
        pass
    deadline._kill()  # as a timer does that was cancelled too late
    process.communicate(b"\n")
    assert process.returncode == 0 and not deadline.has_passed


def test_a_graph_that_takes_too_long_to_load_is_ended(network_of, monkeypatch):
    monkeypatch.setattr(graph_process, "LOAD_SECONDS", 0.5)
    with pytest.raises(StyleError, match=f"{ONNX_FILE}: the graph was ended because it took longer than 0 s"):
        network_of("time.sleep(60)")


def test_a_trusted_graph_may_take_its_time(network_of, monkeypatch):
    monkeypatch.setattr(graph_process, "RUN_SECONDS", 0.1)
    slow = READY + ECHO.replace("    frames", "    time.sleep(0.5)\n    frames")
    with pytest.raises(StyleError, match="--trust, which lifts the limit"):
        network_of(slow)(IMAGE[np.newaxis])
    np.testing.assert_array_equal(network_of(slow, trust=True)(IMAGE[np.newaxis]), IMAGE[np.newaxis])


def test_an_interrupt_ends_the_child(network_of, tmp_path):
    is_busy = tmp_path / "busy"
    network = network_of(f"{READY}received()\nopen({str(is_busy)!r}, 'w').close()\ntime.sleep(120)")

    def interrupt() -> None:
        wait_until(is_busy.exists)
        os.kill(os.getpid(), signal.SIGINT)

    with raised_interrupts(), pytest.raises(Interrupted):
        threading.Thread(target=interrupt).start()
        network(IMAGE[np.newaxis])
    assert process_of(network).returncode == -signal.SIGKILL


def test_a_network_that_nobody_needs_any_more_ends_its_child(network_of):
    network = network_of(READY + ECHO)
    process = process_of(network)
    del network
    assert process.returncode == -signal.SIGKILL


def test_a_process_that_cannot_be_started_is_one_line(network_of, monkeypatch):
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(StyleError, match="no process can be started for the graph: No such file"):
        network_of(READY)


def test_modules_in_the_working_directory_are_not_imported_by_the_child(negative_dir, tmp_path, monkeypatch):
    trap = tmp_path / "trap"
    trap.mkdir()
    for name in ("json", "numpy", "onnx", "onnxruntime", "queue", "system"):
        (trap / f"{name}.py").write_text("raise SystemExit('trapped')")
    monkeypatch.chdir(trap)
    np.testing.assert_allclose(load_stylizer(negative_dir)(IMAGE), 255 - IMAGE, atol=1e-3)


def test_a_foreign_graph_in_a_folder_whose_name_is_no_utf8_runs(negative_dir, tmp_path):
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe"))
    shutil.copytree(negative_dir, odd)
    np.testing.assert_allclose(load_stylizer(odd)(IMAGE), 255 - IMAGE, atol=1e-3)
    (odd / ONNX_FILE).write_bytes(b"no model")
    with pytest.raises(StyleError, match="damaged or not an ONNX model") as error:
        load_stylizer(odd)
    assert printable(odd / ONNX_FILE) in str(error.value)


@pytest.mark.parametrize(
    ("device", "given", "visible"),
    [
        ("auto", None, None),
        ("gpu", "1,2", None),
        ("cpu", "1,2", "-1"),
        ("gpu:3", None, "3"),
        ("gpu:1", "5,7", "7"),
        ("gpu:2", "5,7", "-1"),
        ("gpu:0", "", "-1"),
    ],
)
def test_the_child_sees_the_gpu_that_the_user_names(device, given, visible, monkeypatch):
    for name in graph_process.GPU_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        if given is not None:
            monkeypatch.setenv(name, given)
    expected = {} if visible is None else dict.fromkeys(graph_process.GPU_VARIABLES, visible)
    assert graph_process._visible_gpus(parsed_device(device)) == expected


@pytest.mark.parametrize(("ready", "count"), [("READY", 1), ("READY_ON_GPU", 0)])
def test_a_gpu_that_the_child_does_not_use_is_reported_in_one_line(ready, count, network_of):
    lines: list[str] = []
    source = f"frames.write_frame(replies, frames.{ready})\n"
    network_of(source + ECHO, device=Device("gpu"), gpu=GpuUse(lines.append))
    assert len(lines) == count
    assert all("the CPU is used instead" in line for line in lines)


def test_a_gpu_whose_memory_runs_out_is_replaced_by_the_cpu_for_this_photo_and_all_later_ones(network_of):
    """The child of the CPU sees no GPU."""
    lines: list[str] = []
    source = """
if os.environ.get("CUDA_VISIBLE_DEVICES") == "-1":
    frames.write_frame(replies, frames.READY)
else:
    frames.write_frame(replies, frames.READY_ON_GPU)
    received()
    frames.write_frame(replies, frames.NO_MEMORY, b"OOM")
    time.sleep(60)
"""
    network = network_of(source + ECHO, device=Device("gpu"), gpu=GpuUse(lines.append))
    images = IMAGE[np.newaxis]
    for _ in range(2):
        np.testing.assert_array_equal(network(images), images)
    assert lines == ["the GPU cannot be used (OOM); the CPU is used instead"]


def test_stop_ends_the_call_of_another_thread_and_refuses_later_ones(network_of):
    network = network_of(READY + "received(); time.sleep(60)")
    errors: list[Exception] = []

    def work() -> None:
        try:
            network(IMAGE[np.newaxis])
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    wait_until(lambda: network._lock.locked())
    network.stop()
    thread.join(10)
    assert errors and not thread.is_alive()
    assert process_of(network).poll() is not None
    with pytest.raises(StyleError, match="was stopped"):
        network(IMAGE[np.newaxis])

"""Several replicas train as one: on two devices of a process, and in two real worker processes on loopback.

They are compared in float64: in float32, rounding errors grow tenfold every step or two while Adam's moments settle
(docs/distributed.md).
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from transformer.training.cluster_config import cluster_of_environment
from transformer.training.distribution import Cluster
from transformer.training.state import newest_state, state_paths

ROOT = Path(__file__).resolve().parents[1]
TRAIN = """
import sys
import train
sys.exit(train.main(sys.argv[1:]))
"""
TWO_DEVICES = """
import sys
import tensorflow as tf
[cpu] = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from transformer.training import distribution
mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
distribution.join_cluster = lambda: distribution.Cluster(mirrored)
"""
TIMEOUT_SECONDS = 150


def free_addresses(count: int) -> list[str]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return addresses


def start(flags: list[str], *, workers: list[str] = (), index: int = 0, before: str = "") -> subprocess.Popen:
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    if workers:
        task = {"type": "worker", "index": index}
        environment["TF_CONFIG"] = json.dumps({"cluster": {"worker": workers}, "task": task})
    return subprocess.Popen(
        [sys.executable, "-c", before + TRAIN, *flags],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def output_of(process: subprocess.Popen, status: int = 0) -> str:
    try:
        output, _ = process.communicate(timeout=TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        pytest.fail(f"still running after {TIMEOUT_SECONDS} s: {process.communicate()[0][-2000:]}")
    assert process.returncode == status, output[-3000:]
    return output


TWENTY_STEPS = ("--precision", "float64", "--batch-size", "4", "--steps", "20", "--save-every", "10")
TWENTY_STEPS += ("--image-size", "64")  # so that the first 15 steps have smaller crops than the last 5


@pytest.fixture(scope="module")
def single_run(tiny_flags, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("single")
    output_of(start(tiny_flags(folder, *TWENTY_STEPS)))
    return folder


def assert_same_training(folder: Path, single: Path) -> None:
    state, expected = newest_state(folder / "log" / "state"), newest_state(single / "log" / "state")
    assert state.step == expected.step == 20
    for name, value in expected.arrays.items():
        # atol: parameters without any effect stay at 0 except for rounding
        np.testing.assert_allclose(state.arrays[name], value, rtol=1e-5, atol=1e-9, err_msg=name)
    losses, expected_losses = (
        json.loads((run / "styles" / "tiny" / "style.json").read_text())["losses"]["training"]
        for run in (folder, single)
    )
    for name in ("total", "content", "style", "tv", "gradient_norm"):
        assert losses[name] == pytest.approx(expected_losses[name], rel=1e-5)


@pytest.mark.processes
def test_two_devices_of_one_machine_train_as_one(tiny_flags, single_run, tmp_path):
    output = output_of(start(tiny_flags(tmp_path, *TWENTY_STEPS), before=TWO_DEVICES))
    assert "2 replicas in 1 workers" in output
    assert_same_training(tmp_path, single_run)


@pytest.mark.processes
def test_two_worker_processes_train_as_one_and_only_the_chief_writes(tiny_flags, single_run, tmp_path):
    workers = free_addresses(2)
    processes = [
        start(tiny_flags(tmp_path / str(index), *TWENTY_STEPS), workers=workers, index=index)
        for index in range(2)
    ]
    for process in processes:
        output_of(process)
    assert_same_training(tmp_path / "0", single_run)
    assert not (tmp_path / "1").exists()


def wait_for_step(state_dir: Path, step: int) -> None:
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not any(int(path.stem[5:]) >= step for path in state_paths(state_dir)):
        assert time.monotonic() < deadline, f"no state of step {step} after {TIMEOUT_SECONDS} s"
        time.sleep(0.1)


@pytest.mark.processes
@pytest.mark.parametrize("victim", [0, 1], ids=["chief", "other"])
def test_a_worker_is_killed_and_restarted_and_the_training_continues(tiny_flags, tmp_path, victim):
    workers = free_addresses(2)
    flags = [
        tiny_flags(tmp_path / str(index), "--steps", "300", "--save-every", "20", "--resume=auto")
        for index in range(2)
    ]
    processes = [start(flags[index], workers=workers, index=index) for index in range(2)]
    state_dir = tmp_path / "0" / "log" / "state"
    wait_for_step(state_dir, 40)
    processes[victim].kill()
    processes[victim].communicate()
    processes[victim] = start(flags[victim], workers=workers, index=victim)
    outputs = [output_of(process) for process in processes]
    assert "a worker was lost; waiting until it is back" in outputs[1 - victim]
    assert newest_state(state_dir).step == 300
    assert (tmp_path / "0" / "styles" / "tiny" / "style.json").is_file()
    assert not (tmp_path / "1").exists()


@pytest.mark.processes
def test_a_signal_to_one_worker_stops_all_after_the_same_step(tiny_flags, tmp_path):
    workers = free_addresses(2)
    flags = [
        tiny_flags(tmp_path / str(index), "--steps", "100000", "--save-every", "20") for index in range(2)
    ]
    processes = [start(flags[index], workers=workers, index=index) for index in range(2)]
    wait_for_step(tmp_path / "0" / "log" / "state", 20)
    processes[1].send_signal(signal.SIGTERM)
    steps = [output_of(process, 143).rpartition("SIGTERM at step ")[2].split(";")[0] for process in processes]
    assert steps[0] == steps[1]
    assert newest_state(tmp_path / "0" / "log" / "state").step == int(steps[0])


@pytest.mark.processes
def test_a_batch_that_cannot_be_divided_is_refused(tiny_flags, tmp_path):
    output = output_of(start(tiny_flags(tmp_path, "--batch-size", "3"), before=TWO_DEVICES), status=2)
    assert (
        "--batch-size must be a multiple of 2, the number of GPUs or workers, got 3"
        in output.splitlines()[-1]
    )


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        "{}",
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0.0}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": true}}',
        '{"cluster": {"worker": [5]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a\\u001b:1"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": []}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": 5, "task": "a"}',
        "[" * 100_000,
        "null",
        '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "ps", "index": 0}}',
    ],
)
def test_a_cluster_that_cannot_be_understood_is_refused_with_an_example(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(ValueError, match="TF_CONFIG cannot be understood .* it must look like"):
        cluster_of_environment()


def test_without_a_cluster_a_process_is_alone(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert cluster_of_environment() == (0, 1)


def test_a_process_that_is_alone_keeps_its_own_values():
    import tensorflow as tf

    cluster, variable = Cluster(tf.distribute.get_strategy()), tf.Variable([1.0, 2.0])
    assert cluster.is_chief and cluster.replicas == cluster.local_replicas == 1
    assert cluster.broadcast_from_chief({"a": variable}, [3, 4]) == [3, 4]
    np.testing.assert_array_equal(variable, [1.0, 2.0])
    np.testing.assert_array_equal(cluster.sum_over_workers(np.array([5.0])), [5.0])


@pytest.mark.parametrize("worker", [0, 1], ids=["chief", "other"])
def test_a_broadcast_sets_variables_and_counts_to_those_of_the_chief(monkeypatch, worker):
    """Of two workers, whose sum is simulated: the chief contributes its values and the other one zeros."""
    import tensorflow as tf

    chief_values = {"a": np.array([[1.5, 2.5]], np.float32), "b": np.int64(2**40), "c": np.float32(0.1)}
    vector = np.concatenate(
        [[7.0, 14.0], *(np.float64(value).reshape(-1) for value in chief_values.values())]
    )

    def sum_over_workers(cluster, values):
        np.testing.assert_array_equal(values, vector if cluster.is_chief else np.zeros_like(vector))
        return vector

    monkeypatch.setattr(Cluster, "sum_over_workers", sum_over_workers)
    own = chief_values if worker == 0 else {name: value + 1 for name, value in chief_values.items()}
    variables = {name: tf.Variable(value) for name, value in own.items()}
    cluster = Cluster(tf.distribute.get_strategy(), worker, workers=2)
    assert cluster.broadcast_from_chief(variables, [7, 14] if worker == 0 else [1, 2]) == [7, 14]
    for name, value in chief_values.items():
        np.testing.assert_array_equal(variables[name], value)
        assert variables[name].numpy().dtype == value.dtype

"""train.py --cluster on a Ray cluster of two node processes with one CPU core each: one style, and galleries."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from waiting import wait_until

from transformer.training.state import newest_state, state_paths

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 300  # in which every wait of this file ends, on two cores that others use too
# float64 and the sizes are those of test_distribution.py: later rounding errors stay small
STEPS = ("--precision", "float64", "--batch-size", "4", "--steps", "30", "--save-every", "10")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a cluster of two nodes, which ends with the tests."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        yield cluster.address
    finally:
        cluster.shutdown()


class Driver:
    """A train.py process. It runs in a folder of its own, so that relative paths would fail."""

    def __init__(self, flags: list[str], directory: Path):
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "train.py"), *flags],
            cwd=directory,
            env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def output(self, status: int = 0) -> str:
        """What it has written, once it has ended with this status."""
        output, _ = self.process.communicate(timeout=SECONDS)
        assert self.process.returncode == status, output[-3000:]
        return output


@contextmanager
def driver(flags: list[str], directory: Path) -> Iterator[Driver]:
    started = Driver(flags, directory)
    try:
        yield started
    finally:
        started.process.kill()
        started.process.communicate()


def trainings(name: str) -> list[int]:
    """The processes that train the style of this name below Ray workers."""
    pattern = rf"train\.py .*--name={name}( |$)"
    found = subprocess.run(["pgrep", "-f", "--", pattern], capture_output=True, text=True)
    return [int(line) for line in found.stdout.split()]


def parent_of(process_id: int) -> int:
    return int(re.search(r"PPid:\t(\d+)", Path(f"/proc/{process_id}/status").read_text())[1])


def has_state(state_dir: Path, step: int) -> bool:
    return any(int(path.stem[5:]) >= step for path in state_paths(state_dir))


def kill_a_worker(name: str) -> None:
    """Kills a Ray worker; the training below it must not outlive it."""
    victim = trainings(name)[-1]
    os.kill(parent_of(victim), signal.SIGKILL)
    wait_until(lambda: victim not in trainings(name))


def losses_of(style_dir: Path) -> dict[str, float]:
    losses = json.loads((style_dir / "style.json").read_text())["losses"]["training"]
    return {name: losses[name] for name in ("total", "content", "style", "tv", "gradient_norm")}


def assert_same_training(folder: Path, expected: Path, name: str, state: str = "log") -> None:
    actual, wanted = newest_state(folder / state / "state"), newest_state(expected / "log" / "state")
    assert actual.step == wanted.step
    for array, value in wanted.arrays.items():
        # atol: parameters without any effect stay at 0 except for rounding
        np.testing.assert_allclose(actual.arrays[array], value, rtol=1e-5, atol=1e-9, err_msg=array)
    assert losses_of(folder / "styles" / name) == pytest.approx(
        losses_of(expected / "styles" / "tiny"), rel=1e-5
    )


@pytest.fixture(scope="module")
def single_run(tiny_flags, tmp_path_factory) -> Path:
    """The folder of the same training in one process, without Ray."""
    folder = tmp_path_factory.mktemp("single")
    with driver(tiny_flags(folder, *STEPS), folder) as alone:
        alone.output()
    return folder


def test_two_workers_train_as_one_although_one_is_killed_and_all_are_stopped(
    tiny_flags, single_run, address, tmp_path
):
    flags = tiny_flags(
        Path(), *STEPS, "--cluster", address, "--workers", "2"
    )  # paths of outputs are relative
    state_dir, logs_dir = tmp_path / "log" / "state", tmp_path / "log" / "workers"
    with driver(flags, tmp_path) as stopped:
        wait_until(lambda: has_state(state_dir, 10), SECONDS)
        kill_a_worker("tiny")
        for index in range(2):  # they start in any order; the first one's start is what is told
            log = logs_dir / f"worker_{index}.log"
            wait_until(lambda log=log: "from step 10" in log.read_text(), SECONDS)
        stopped.process.send_signal(signal.SIGTERM)
        output = stopped.output(143)
    assert "2 replicas in 2 workers" in output and "raylet" not in output
    assert "a worker was lost; all workers start again, from step 10" in output
    step = newest_state(state_dir).step
    assert step in (10, 20)  # the workers agree on signals after every tenth step
    last = f"train.py: interrupted by SIGTERM: step {step} is saved; the same command goes on"
    assert output.splitlines()[-1] == last
    wait_until(lambda: not trainings("tiny"))
    with driver(flags, tmp_path) as again:
        assert f"{tmp_path / 'styles' / 'tiny'} is ready" in again.output()
    assert_same_training(tmp_path, single_run, "tiny")
    assert all(
        (logs_dir / f"worker_{index}.log").read_text().count(": starts on ") == 3 for index in range(2)
    )
    assert not (tmp_path / "log" / "ray_train").exists()
    with driver(flags, tmp_path) as finished:
        assert "is finished: 30 steps are done" in finished.output()


def test_a_gallery_trains_side_by_side_and_goes_on_past_faults(
    tiny_flags, single_run, photo, address, tmp_path
):
    paintings = tmp_path / "paintings"
    for index, name in enumerate(("first", "second")):
        photo(paintings / f"{name}.png", seed=100 - index)  # the first is the picture of the single run
    (paintings / "damaged.png").write_bytes((paintings / "first.png").read_bytes()[:200])
    flags = tiny_flags(Path(), *STEPS, "--cluster", address, "--styles-from", "paintings")
    flags = without(flags, "--style", "--name")
    runs = tmp_path / "log"
    with driver(flags, tmp_path) as gallery:
        wait_until(lambda: has_state(runs / "first" / "state", 10), SECONDS)
        assert trainings("second")
        kill_a_worker("first")
        output = gallery.output(1)
    assert "first: lost; starts again on " in output
    rows = {line.split()[0]: line for line in output.splitlines()[-3:]}
    assert "30 steps, " in rows["first"] and "30 steps, " in rows["second"]
    assert f"not started: {paintings / 'damaged.png'}: " in rows["damaged"]
    assert f"log: {runs / 'first' / 'workers' / 'worker_0.log'}" in rows["first"]
    assert_same_training(tmp_path, single_run, "first", "log/first")
    (paintings / "damaged.png").unlink()
    with driver(flags, tmp_path) as again:
        rows = again.output().splitlines()
    assert [row.split(maxsplit=1)[1] for row in rows] == ["finished before, 30 steps"] * 2


def without(flags: list[str], *names: str) -> list[str]:
    """The flags without those of these names and their one value."""
    places = {flags.index(name) + offset for name in names for offset in (0, 1)}
    return [part for index, part in enumerate(flags) if index not in places]

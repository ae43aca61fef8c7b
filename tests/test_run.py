"""A training on one compiled step: what is saved when, what a signal leaves, and how lost weights are recovered."""

import itertools
import json
import logging
import math
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from system.signals import NotedInterrupts
from transformer.architecture import Architecture
from transformer.network import Transformer
from transformer.training.distribution import Cluster
from transformer.training.optimizer import Optimizer
from transformer.training.recovery import Recovery
from transformer.training.run import Plan, Run, state_variables
from transformer.training.stages import stages_of
from transformer.training.state import INFO, TrainingState, newest_state, read_state, state_paths
from transformer.training.step import Diverged, build_training_step

BATCH_SIZE = 2
METADATA = {"config": {"name": "toy"}, "photos": "digest"}


def batches_from(first_image: int, image_size: int) -> Iterable[tf.Tensor]:
    """Batches [2, image_size, image_size, 3] of smooth random images, each a function of its number."""
    for number in itertools.count(first_image, BATCH_SIZE):
        colors = np.random.default_rng(number).uniform(1, 255, (BATCH_SIZE, 5, 5, 3)).astype(np.float32)
        yield tf.image.resize(colors, [image_size, image_size], "bilinear")


def loss(stylized: tf.Tensor, content: tf.Tensor) -> dict[str, tf.Tensor]:
    """The squared difference from the content; NaN for a batch that is black."""
    total = tf.reduce_mean(tf.math.squared_difference(stylized, content))
    return {"total": tf.where(content[0, 0, 0, 0] == 0, np.nan, 1.0) * total}


class Notebook:
    """Stands in for a monitor: notes its calls, and has a validation loss that depends on every weight."""

    def __init__(self, network: Transformer, validation: dict | None = None):
        self.network, self.validation = network, validation
        self.opened, self.evaluated, self.scalars = 0, [], {}

    def open(self) -> None:
        self.opened += 1

    def write_scalars(self, step: int, means: dict[str, float]) -> None:
        self.scalars[step] = means

    def evaluate(self, step: int) -> dict[str, float]:
        self.evaluated.append(step)
        norms = [float(tf.norm(variable)) for variable in self.network.parameters.values()]
        return self.validation or {"total": sum(norms)}


class Toy:
    """A small network and its compiled step, which all tests share; every new run starts from the same weights."""

    def __init__(self):
        self.network = Transformer(Architecture(width=0.125, residual_blocks=1), seed=0)
        self.optimizer = Optimizer(list(self.network.parameters.values()), learning_rate=1e-3, steps=100)
        self.step = build_training_step(self.network, loss, self.optimizer)
        self.variables = state_variables(self.network, self.optimizer)
        self.first_values = {name: variable.numpy() for name, variable in self.variables.items()}

    def new_run(
        self,
        folder: Path,
        *,
        steps: int = 6,
        save_every: int = 3,
        bad_calls: Iterable[int] = (),
        validation: dict | None = None,
    ) -> Run:
        """A run as in a new process. At `bad_calls`, counted from 1, the step gets a batch whose loss is NaN."""
        for name, variable in self.variables.items():
            variable.assign(self.first_values[name])
        calls, bad_calls = itertools.count(1), set(bad_calls)

        def training_step(content: tf.Tensor) -> dict[str, tf.Tensor]:
            return self.step(tf.zeros_like(content) if next(calls) in bad_calls else content)

        self.notebook = Notebook(self.network, validation)
        return Run(
            Plan(stages_of(steps, 48, 0.5), BATCH_SIZE, save_every, summary_every=2),
            network=self.network,
            optimizer=self.optimizer,
            training_step=training_step,
            batches_from=batches_from,
            state=TrainingState(folder, self.variables, keep=3),
            monitor=self.notebook,
            cluster=Cluster(tf.distribute.get_strategy()),
            gflop_per_step=1.0,
            metadata=METADATA,
        )

    def resumed_run(self, folder: Path, **options) -> Run:
        run = self.new_run(folder, **options)
        run.restore(newest_state(folder))
        return run


@pytest.fixture(scope="module")
def toy() -> Toy:
    return Toy()


@pytest.fixture(scope="module")
def unbroken_dir(toy, tmp_path_factory) -> Path:
    """The states of a run of 6 steps. Read them only."""
    folder = tmp_path_factory.mktemp("unbroken")
    train(toy.new_run(folder))
    return folder


def train(run: Run, *, stop_after: int | None = None) -> list[str]:
    """Trains until a signal after the step `stop_after`, else to the end; returns the lines that it shows."""
    interrupts, lines = NotedInterrupts(), []

    def show(step: int, line: str) -> None:
        lines.append(line)
        if step == stop_after:
            interrupts.received = "SIGTERM"

    run.train(interrupts, show)
    return lines


def saved_steps(folder: Path) -> list[int]:
    return [read_state(path).step for path in state_paths(folder)]


def assert_same_end(folder: Path, unbroken_dir: Path) -> None:
    ended, expected = newest_state(folder), newest_state(unbroken_dir)
    assert ended.arrays.keys() == expected.arrays.keys()
    for name, value in expected.arrays.items():
        np.testing.assert_array_equal(ended.arrays[name], value, err_msg=name)
    for info in (ended.info, expected.info):
        info["losses"].pop("images_per_second", None)
    assert {**ended.info, "seconds": 0} == {**expected.info, "seconds": 0}


def test_a_state_is_saved_before_the_first_step_then_as_planned(toy, unbroken_dir):
    assert saved_steps(unbroken_dir) == [6, 3, 0]
    info = newest_state(unbroken_dir).info
    assert {key: info[key] for key in METADATA} == METADATA
    assert info["images"] == 6 * BATCH_SIZE and info["rollbacks"] == 0
    assert info["losses"]["total"] > 0 and info["best_validation"]["step"] in (3, 6)


@pytest.mark.parametrize("step", range(1, 6))
def test_stopped_after_any_step_a_run_ends_bit_for_bit_as_unbroken(toy, unbroken_dir, tmp_path, step):
    run = toy.new_run(tmp_path)
    train(run, stop_after=step)
    assert run.progress.step == run.saved_step == step
    resumed = toy.resumed_run(tmp_path)
    assert resumed.progress.step == resumed.saved_step == step
    train(resumed)
    assert_same_end(tmp_path, unbroken_dir)


@pytest.mark.parametrize("damage", ["truncated", "bit flipped"])
def test_a_damaged_newest_state_costs_the_steps_since_the_one_before(
    toy, unbroken_dir, tmp_path, damage, caplog
):
    folder = shutil.copytree(unbroken_dir, tmp_path / "state")
    newest = state_paths(folder)[0]
    content = bytearray(newest.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    else:
        content[len(content) // 2] ^= 16
    newest.write_bytes(content)
    run = toy.resumed_run(folder)
    assert run.progress.step == 3
    train(run)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1 and str(newest) in warnings[0] and "damaged" in warnings[0]
    assert_same_end(folder, unbroken_dir)


def test_a_finished_run_that_is_resumed_changes_nothing(toy, unbroken_dir, tmp_path):
    folder = shutil.copytree(unbroken_dir, tmp_path / "state")
    assert train(toy.resumed_run(folder)) == []
    assert_same_end(folder, unbroken_dir)
    assert toy.notebook.evaluated == []


def test_a_signal_at_a_step_that_is_evaluated_costs_no_validation(toy, tmp_path):
    train(toy.new_run(tmp_path), stop_after=3)
    assert toy.notebook.evaluated == []  # a signal is obeyed at once
    train(toy.resumed_run(tmp_path))
    assert toy.notebook.evaluated == [3, 6]


def test_the_monitor_creates_no_file_before_the_training_starts(toy, tmp_path):
    run = toy.new_run(tmp_path)
    run.restore(None)
    assert toy.notebook.opened == 0
    train(run)
    assert toy.notebook.opened == 1


def test_the_line_about_a_step_names_loss_speed_end_and_skipped_steps(toy, tmp_path):
    lines = train(toy.new_run(tmp_path, steps=12, save_every=100, bad_calls=[3, 9]))
    assert lines[0] == ""
    assert lines[1].startswith("loss ") and "images/s" not in lines[1]
    assert "images/s, done at " in lines[11] and lines[11].endswith("2 steps skipped")


def test_skipped_steps_are_counted_and_leave_the_means_finite(toy, tmp_path):
    run = toy.new_run(tmp_path, steps=8, bad_calls=[2, 5, 6])
    train(run)
    assert run.progress.step == 8 and run.optimizer.value("skipped") == 3
    assert run.progress.losses["skipped"] == 3 and math.isfinite(run.progress.losses["total"])
    assert all(np.isfinite(value).all() for value in newest_state(tmp_path).arrays.values())


def test_no_state_is_saved_after_a_skipped_step(toy, tmp_path):
    run = toy.new_run(tmp_path, steps=9, bad_calls=[6])
    train(run)
    assert saved_steps(tmp_path) == [9, 3, 0]
    assert run.saved_step == 9


def test_a_signal_while_steps_are_skipped_leaves_the_state_before_as_the_newest(toy, tmp_path):
    run = toy.new_run(tmp_path, bad_calls=[4, 5])
    train(run, stop_after=5)
    assert run.progress.step == 5
    assert run.saved_step == newest_state(tmp_path).step == 3


def rollbacks(caplog) -> list[str]:
    return [message for message in caplog.messages if "rolled back" in message]


@pytest.mark.parametrize(
    ("bad_calls", "expected_step"),
    [(range(26, 41), 20), (range(21, 31), 10)],
    ids=["lost later", "lost when it was saved"],
)
def test_a_rollback_leads_to_the_newest_state_that_finite_steps_have_followed(
    toy, tmp_path, bad_calls, expected_step, caplog
):
    run = toy.new_run(tmp_path, steps=60, save_every=10, bad_calls=bad_calls)
    train(run)
    [message] = rollbacks(caplog)
    assert message.endswith(
        f"; rolled back to step {expected_step}; learning rate multiplied by 0.5 (rollback 1 of 3)"
    )
    assert run.progress.step == 60 and run.progress.rollbacks == 1
    assert run.optimizer.value("rate_scale") == 0.5
    assert run.optimizer.value("skipped") == len(bad_calls)
    assert run.optimizer.value("updates") == 60


def test_the_seconds_of_a_training_include_those_before_it_was_interrupted(toy, tmp_path):
    train(toy.new_run(tmp_path, steps=60, save_every=10), stop_after=45)
    before = newest_state(tmp_path).info["seconds"]
    run = toy.resumed_run(tmp_path, steps=60)
    assert run.progress.seconds == before > 0
    train(run)
    assert newest_state(tmp_path).info["seconds"] > before


def test_a_rollback_does_not_take_seconds_back(toy, tmp_path, monkeypatch):
    seconds, roll_back = [], Recovery.roll_back

    def noted(self, trouble):
        seconds.append(self.progress.seconds)
        roll_back(self, trouble)
        seconds.append(self.progress.seconds)

    monkeypatch.setattr(Recovery, "roll_back", noted)
    train(toy.new_run(tmp_path, steps=60, save_every=10, bad_calls=range(21, 31)))
    assert len(seconds) == 2 and seconds[0] == seconds[1] > 0


def test_a_resumed_run_remembers_its_rollbacks(toy, tmp_path):
    train(toy.new_run(tmp_path, steps=60, save_every=10, bad_calls=range(21, 31)), stop_after=45)
    run = toy.resumed_run(tmp_path, steps=60)
    assert run.progress.rollbacks == newest_state(tmp_path).info["rollbacks"] == 1
    assert run.optimizer.value("rate_scale") == 0.5


def test_a_training_lost_for_good_is_rolled_back_three_times_and_keeps_only_good_states(
    toy, tmp_path, caplog
):
    run = toy.new_run(tmp_path, steps=100, save_every=10, bad_calls=range(13, 1000))
    with pytest.raises(Diverged, match=r"after 3 rollbacks .* lower --learning-rate or --style-weight"):
        train(run)
    endings = [message.partition("; rolled back to ")[2] for message in rollbacks(caplog)]
    assert endings == [
        "step 10; learning rate multiplied by 0.5 (rollback 1 of 3)",
        "step 0; learning rate multiplied by 0.25 (rollback 2 of 3)",
        "step 0; learning rate multiplied by 0.125 (rollback 3 of 3)",
    ]
    assert saved_steps(tmp_path) == [0] and run.saved_step == 0


def test_a_validation_of_nan_is_saved_as_valid_json_and_is_never_the_best(toy, tmp_path):
    run = toy.new_run(tmp_path, validation={"total": math.nan, "tv": 0.5})
    train(run)
    assert run.progress.best_validation == {}

    def refuse(constant: str):
        raise AssertionError(f"{constant} is not JSON")

    for path in state_paths(tmp_path)[:2]:
        with np.load(path) as archive:
            info = json.loads(archive[INFO].tobytes(), parse_constant=refuse)
        assert info["validation"] == {"total": None, "tv": 0.5} and info["best_validation"] == {}
    resumed = toy.resumed_run(tmp_path)
    assert math.isnan(resumed.progress.validation["total"])


def test_a_full_disk_ends_the_training_before_its_first_step(toy, tmp_path, monkeypatch):
    def full(*_arguments: object, **_options: object) -> Callable:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("transformer.training.state.write_whole", full)
    with pytest.raises(OSError, match="the state of step 0 cannot be written"):
        train(toy.new_run(tmp_path))
    assert toy.optimizer.value("steps") == 0

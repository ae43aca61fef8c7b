"""Whole runs of train.py: resumed, killed, on bad photos, with skipped steps; and what it prints about them."""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import train
from cli import bars
from transformer.training import run as run_module
from transformer.training.state import newest_state, read_state, state_paths

ROOT = Path(__file__).resolve().parents[1]


def state_dir(folder: Path) -> Path:
    return folder / "log" / "state"


def style_json(folder: Path) -> dict:
    def refuse(constant: str):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads((folder / "styles" / "tiny" / "style.json").read_text(), parse_constant=refuse)


def keep_first_half(folder: Path) -> None:
    """Removes the states after the third step."""
    for path in state_paths(state_dir(folder)):
        if read_state(path).step > 3:
            path.unlink()


@pytest.fixture
def resumable(tiny_run, tmp_path) -> Path:
    """A copy of the run of 6 steps as it was after 3, in a folder of its own."""
    shutil.copytree(tiny_run / "log", tmp_path / "log")
    keep_first_half(tmp_path)
    return tmp_path


def assert_same_end(folder: Path, tiny_run: Path) -> None:
    ended, expected = newest_state(state_dir(folder)), newest_state(state_dir(tiny_run))
    assert ended.arrays.keys() == expected.arrays.keys()
    for name, value in expected.arrays.items():
        np.testing.assert_array_equal(ended.arrays[name], value, err_msg=name)
    for losses in ("training", "validation", "best_validation"):
        actual, wanted = (style_json(run)["losses"][losses] for run in (folder, tiny_run))
        speeds = {"images_per_second"}
        assert {name: actual[name] for name in actual.keys() - speeds} == {
            name: wanted[name] for name in wanted.keys() - speeds
        }


def exported_weights(style_dir: Path) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(str(style_dir / "fast_style_transfer"))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def assert_same_weights(actual_dir: Path, expected_dir: Path) -> None:
    actual, expected = exported_weights(actual_dir), exported_weights(expected_dir)
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name], value, err_msg=name)


def test_resume_needs_no_flag_but_the_folder_and_ends_as_an_unbroken_run(
    tiny_run, resumable, monkeypatch, capsys
):
    first_steps = []

    def recorded_steps(*arguments, first_step, **options):
        first_steps.append(first_step)
        return training_steps(*arguments, first_step=first_step, **options)

    training_steps = run_module.training_steps
    monkeypatch.setattr(run_module, "training_steps", recorded_steps)
    flags = ["--resume", "--log-dir", str(resumable / "log"), "--output-dir", str(resumable / "styles")]
    assert train.main(flags) == 0
    assert first_steps == [3]
    assert_same_end(resumable, tiny_run)
    assert_same_weights(resumable / "styles" / "tiny", tiny_run / "styles" / "tiny")
    assert f"{resumable / 'styles' / 'tiny'} is ready" in capsys.readouterr().err.splitlines()[-1]


def printed_by(flags: list[str]) -> str:
    """What a training that succeeds writes to stderr."""
    with contextlib.redirect_stderr(io.StringIO()) as stderr, pytest.MonkeyPatch.context() as patch:
        patch.setattr(bars, "LINE_SECONDS", 0)
        assert train.main(flags) == 0, stderr.getvalue()
    return stderr.getvalue()


@pytest.fixture(scope="module")
def changed_run(tiny_flags, tiny_inputs, tiny_run, photo, tmp_path_factory) -> tuple[Path, str]:
    """A run that was resumed after 3 steps with other settings and another photo, and what it printed."""
    folder = tmp_path_factory.mktemp("changed")
    shutil.copytree(tiny_run / "log", folder / "log")
    keep_first_half(folder)
    shutil.copytree(tiny_inputs / "photos", folder / "photos")
    photo(folder / "photos" / "more.png", seed=50)
    settings = ("--learning-rate", "0.002", "--steps", "5", "--start-from", "great_wave")
    flags = tiny_flags(folder, "--resume", "--content-dir", str(folder / "photos"), *settings)
    return folder, printed_by(flags)


def test_changed_settings_are_named_and_the_new_ones_hold(changed_run):
    folder, printed = changed_run
    assert [line for line in printed.splitlines() if " was " in line and "-dir" not in line] == [
        "train.py: --start-from is great_wave, was none: no effect, training continues from the saved weights",
        "train.py: --steps is 5, was 6: the new value applies from step 3 on",
        "train.py: --learning-rate is 0.002, was 0.001: the new value applies from step 3 on",
    ]
    assert newest_state(state_dir(folder)).step == 5
    assert style_json(folder)["config"]["learning_rate"] == 0.002


def test_photos_that_have_changed_are_said(changed_run):
    assert "the photos are not those of the run so far" in changed_run[1]


def test_resume_auto_starts_where_there_is_nothing_and_goes_on_where_there_is(tiny_flags, tiny_run, tmp_path):
    foreign = tmp_path / "log" / "events.out.tfevents.1700000000.host.1.0.v2"
    foreign.parent.mkdir()
    foreign.write_bytes(b"of another project")
    assert train.main(tiny_flags(tmp_path, "--resume=auto")) == 0
    assert_same_end(tmp_path, tiny_run)
    assert foreign.read_bytes() == b"of another project"  # although the folder had no states of ours
    (tmp_path / "styles" / "tiny").rename(tmp_path / "moved")
    assert train.main(tiny_flags(tmp_path, "--resume=auto")) == 0  # finished: only exported again
    assert (
        style_json(tmp_path)["losses"]["training"]["total"]
        == style_json(tiny_run)["losses"]["training"]["total"]
    )


@pytest.fixture(scope="module")
def hostile_dir(tiny_inputs, tmp_path_factory) -> Path:
    """Photos among flat ones of every kind and files that are none."""
    folder = tmp_path_factory.mktemp("photos") / "hostile"
    shutil.copytree(tiny_inputs / "photos", folder)
    flat = {"white": (255,) * 3, "black": (0,) * 3, "one_color": (200, 30, 31)}
    for name, color in flat.items():
        Image.new("RGB", (48, 40), color).save(folder / f"{name}.png")
    nearly = np.full((40, 48, 3), 255, np.uint8)
    nearly[3, 5] = 254
    Image.fromarray(nearly).save(folder / "nearly_white.png")
    whole = (folder / "photo0.png").read_bytes()
    (folder / "bad_empty.jpg").write_bytes(b"")
    (folder / "bad_cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "bad_text.jpg").write_text("no image")
    Image.new("RGB", (1, 1)).save(folder / "bad_pixel.png")
    return folder


@pytest.fixture(scope="module", params=["files", "cache"])
def hostile_run(request, tiny_flags, hostile_dir, tmp_path_factory) -> tuple[Path, str]:
    """A run of 30 steps on these photos, decoded or from a cache, and what it printed."""
    folder = tmp_path_factory.mktemp(request.param)
    more = ("--steps", "30", "--save-every", "15", "--summary-every", "10")
    more += ("--cache", str(folder / "cache")) if request.param == "cache" else ()
    return folder, printed_by(tiny_flags(folder, "--content-dir", str(hostile_dir), *more))


def test_a_folder_of_bad_and_flat_photos_is_trained_on_to_the_end(hostile_run):
    folder, printed = hostile_run
    for name, value in newest_state(state_dir(folder)).arrays.items():
        assert np.isfinite(value).all(), name
    info = style_json(folder)
    assert info["training_data"]["photos"] == 12 and info["training_data"]["skipped"] == 4
    assert info["steps"]["done"] == 30
    assert "4 files could not be read" in printed


def test_the_size_of_a_training_is_said_before_its_first_step_and_a_forecast_after_ten(hostile_run):
    [first] = [line for line in hostile_run[1].splitlines() if "parameters" in line]
    assert "8,235 parameters" in first and "GFLOP per step" in first and "GB of memory" in first
    assert hostile_run[1].index(first) < hostile_run[1].index("tiny on ")
    assert "images/s, done at " in hostile_run[1]


@pytest.fixture
def sigterm_after(monkeypatch):
    """A function: the process gets SIGTERM when that step is done."""

    def arrange(last_step: int) -> None:
        def interrupted_steps(*arguments, **options):
            for step, losses in training_steps(*arguments, **options):
                if step == last_step:
                    os.kill(os.getpid(), signal.SIGTERM)
                yield step, losses

        training_steps = run_module.training_steps
        monkeypatch.setattr(run_module, "training_steps", interrupted_steps)

    return arrange


def test_sigterm_saves_the_state_and_ends_with_its_status(tiny_flags, tmp_path, sigterm_after, capsys):
    sigterm_after(3)
    assert train.main(tiny_flags(tmp_path, "--save-every", "100")) == 143
    line = capsys.readouterr().err.splitlines()[-1]
    assert line == "train.py: SIGTERM at step 3; state saved; continue with --resume --name tiny"
    assert not (tmp_path / "styles" / "tiny").exists()
    assert [read_state(path).step for path in state_paths(state_dir(tmp_path))] == [3, 0]


def test_overwrite_replaces_the_style_and_the_run_and_nothing_else(tiny_flags, tiny_run, tmp_path):
    for part in ("log", "styles"):
        shutil.copytree(tiny_run / part, tmp_path / part)
    own_events = set((tmp_path / "log").glob("events.out.tfevents.*"))
    foreign = tmp_path / "log" / "events.out.tfevents.1700000000.host.1.0.v2"
    foreign.write_bytes(b"of another project")
    (tmp_path / "styles" / "tiny" / "stale.txt").write_text("of the previous style")
    assert train.main(tiny_flags(tmp_path, "--overwrite", "--steps", "1", "--preset", "lesson30")) == 0
    assert not (tmp_path / "styles" / "tiny" / "stale.txt").exists()
    assert style_json(tmp_path)["config"]["preset"] == "lesson30"
    assert [read_state(path).step for path in state_paths(state_dir(tmp_path))] == [1, 0]
    assert own_events and not any(path.exists() for path in own_events)
    assert foreign.read_bytes() == b"of another project"


@pytest.fixture
def holed_loss(monkeypatch) -> SimpleNamespace:
    """A loss that is NaN for every batch of one image, such as validation photos, and at the steps in `holes`."""
    settings = SimpleNamespace(holes=())

    def build_loss(_config, _compute_dtype):
        import tensorflow as tf

        step, holes = tf.Variable(0), tf.constant(settings.holes, tf.int32)

        def loss(stylized, content):
            difference = tf.reduce_mean(tf.math.squared_difference(stylized, content))
            if content.shape[0] == 1:
                return {"total": np.nan * difference}
            is_hole = tf.reduce_any(tf.equal(step.assign_add(1), holes))
            return {"total": tf.where(is_hole, np.nan, 1.0) * difference}

        loss.multiply_adds = lambda side: 0
        loss.with_border = lambda border: loss
        return loss

    monkeypatch.setattr(train, "build_loss", build_loss)
    return settings


def test_a_training_that_diverges_is_rolled_back_and_at_last_ends_in_one_line_with_advice(
    tiny_flags, holed_loss, tmp_path, capsys
):
    flags = tiny_flags(tmp_path, "--learning-rate", "1e30", "--steps", "60", "--save-every", "10")
    assert train.main(flags) == 1
    printed = capsys.readouterr().err.splitlines()
    rollbacks = [line for line in printed if "rolled back to step 0; learning rate multiplied by " in line]
    assert [line.partition(" by ")[2].split()[0] for line in rollbacks] == ["0.5", "0.25", "0.125"]
    assert printed[-1].startswith("train.py: ") and "lower --learning-rate or --style-weight" in printed[-1]
    assert not (tmp_path / "styles" / "tiny").exists()
    for path in state_paths(tmp_path / "log" / "state"):
        for name, value in read_state(path).arrays.items():
            assert np.isfinite(value).all(), name


def test_skipped_steps_are_counted_and_a_validation_of_nan_becomes_null_in_style_json(
    tiny_flags, holed_loss, tmp_path
):
    holed_loss.holes = (2, 5, 6, 11)
    assert train.main(tiny_flags(tmp_path, "--steps", "12", "--save-every", "4")) == 0
    info = style_json(tmp_path)
    counts = {"done": 12, "skipped": 4, "rollbacks": 0}
    assert info["steps"].items() > counts.items()
    assert info["steps"]["start"] == "random weights" and info["steps"]["minutes"] >= 0
    assert np.isfinite(info["losses"]["training"]["total"])
    assert info["losses"]["validation"] == {"total": None} and info["losses"]["best_validation"] == {}


def test_a_signal_while_steps_are_skipped_names_the_newest_state(
    tiny_flags, holed_loss, tmp_path, sigterm_after, capsys
):
    sigterm_after(5)
    holed_loss.holes = (4, 5)
    assert train.main(tiny_flags(tmp_path)) == 143
    assert capsys.readouterr().err.splitlines()[-1] == (
        "train.py: SIGTERM at step 5; the state of step 3 is the newest one, because the last steps were skipped"
        " (loss or gradient not finite); continue with --resume --name tiny"
    )
    assert newest_state(state_dir(tmp_path)).step == 3


KILLED = """
import os, signal, sys
from transformer.training import state as training_state
write_whole, calls = training_state.write_whole, []
def killed_while_writing(path, write):
    calls.append(path)
    if len(calls) == 3:
        def half(stream):
            stream.write(b"half of it")
            stream.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        write = half
    write_whole(path, write)
training_state.write_whole = killed_while_writing
import train
sys.exit(train.main(sys.argv[1:]))
"""


@pytest.mark.processes
def test_a_kill_in_the_middle_of_saving_costs_nothing_but_the_steps(tiny_flags, tiny_run, tmp_path):
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *tiny_flags(tmp_path)], cwd=ROOT, capture_output=True
    )
    assert killed.returncode == -9
    assert [read_state(path).step for path in state_paths(state_dir(tmp_path))] == [3, 0]
    assert len(list(state_dir(tmp_path).glob(".*.tmp"))) == 1
    assert train.main(tiny_flags(tmp_path, "--resume")) == 0
    assert_same_end(tmp_path, tiny_run)
    assert not list(state_dir(tmp_path).glob(".*.tmp"))


def test_batches_of_several_images_have_no_term_that_depends_on_how_they_are_shared_out(tiny_run):
    assert "lattice" not in style_json(tiny_run)["losses"]["training"]


def test_a_training_for_stability_goes_on_with_the_same_pairs_and_names_its_terms(tiny_flags, tmp_path):
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    assert train.main(tiny_flags(whole, "--stability", "2", "--batch-size", "1")) == 0
    losses = style_json(whole)["losses"]["training"]
    terms = sum(losses[name] for name in ("content", "style", "tv", "lattice", "stability"))
    assert losses["total"] == pytest.approx(terms, rel=1e-3) and losses["stability"] > 0
    assert 0 < losses["warping_error"] < 2 and "stability" not in style_json(whole)["losses"]["validation"]
    shutil.copytree(whole / "log", resumed / "log")
    keep_first_half(resumed)
    flags = ["--resume", "--log-dir", str(resumed / "log"), "--output-dir", str(resumed / "styles")]
    assert train.main(flags) == 0
    assert_same_end(resumed, whole)

"""A whole run, resumed and troubled: what --resume takes over, what is gone back to, what is written when."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import train
from transformer.training import run as run_module
from transformer.training.state import newest_state, read_state, state_paths

ROOT = Path(__file__).resolve().parents[1]


def state_dir(folder: Path) -> Path:
    return folder / "log" / "state"


def style_json(folder: Path) -> dict:
    return json.loads((folder / "styles" / "tiny" / "style.json").read_text())


@pytest.fixture
def resumable(tiny_run, tmp_path) -> Path:
    """A copy of the run of 6 steps as it was after 3, in a folder of its own."""
    shutil.copytree(tiny_run / "log", tmp_path / "log")
    for path in state_paths(state_dir(tmp_path)):
        if read_state(path).step > 3:
            path.unlink()
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


def test_resume_needs_no_flag_but_the_folder(tiny_run, resumable):
    flags = ["--resume", "--log-dir", str(resumable / "log"), "--output-dir", str(resumable / "styles")]
    assert train.main(flags) == 0
    assert_same_end(resumable, tiny_run)


@pytest.mark.parametrize("step", range(1, 6))
def test_stopped_after_any_step_the_run_ends_bit_for_bit_as_unbroken(
    tiny_flags, tiny_run, tmp_path, monkeypatch, step
):
    def stopped_steps(*arguments, **options):
        for done, losses in training_steps(*arguments, **options):
            if done == step:
                interrupts[0].received = "SIGINT"
            yield done, losses

    class Noted(run_module.Interrupts):
        def __init__(self):
            super().__init__()
            interrupts.append(self)

    interrupts, training_steps = [], run_module.training_steps
    monkeypatch.setattr(train, "Interrupts", Noted)
    monkeypatch.setattr(run_module, "training_steps", stopped_steps)
    assert train.main(tiny_flags(tmp_path)) == 130
    monkeypatch.undo()
    assert train.main(tiny_flags(tmp_path, "--resume")) == 0
    assert_same_end(tmp_path, tiny_run)


@pytest.mark.parametrize("damage", ["truncated", "bit flipped"])
def test_a_damaged_newest_state_costs_the_steps_since_the_one_before(tiny_run, tmp_path, damage, caplog):
    shutil.copytree(tiny_run / "log", tmp_path / "log")
    newest = state_paths(state_dir(tmp_path))[0]
    content = bytearray(newest.read_bytes())
    if damage == "truncated":
        content = content[: len(content) // 2]
    else:
        content[len(content) // 2] ^= 16
    newest.write_bytes(content)
    flags = ["--resume", "--log-dir", str(tmp_path / "log"), "--output-dir", str(tmp_path / "styles")]
    assert train.main(flags) == 0
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1 and str(newest) in warnings[0] and "damaged" in warnings[0]
    assert_same_end(tmp_path, tiny_run)


def test_changed_settings_are_named_and_the_new_ones_hold(tiny_flags, resumable, capsys):
    flags = tiny_flags(
        resumable, "--resume", "--learning-rate", "0.002", "--steps", "5", "--start-from", "great_wave"
    )
    assert train.main(flags) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if " was " in line and "-dir" not in line]
    assert said == [
        "train.py: --start-from is great_wave, was None: without effect, the saved weights are gone on with",
        "train.py: --steps is 5, was 6: the new value holds from step 3 on",
        "train.py: --learning-rate is 0.002, was 0.001: the new value holds from step 3 on",
    ]
    assert newest_state(state_dir(resumable)).step == 5
    assert style_json(resumable)["config"]["learning_rate"] == 0.002


def test_settings_that_stay_are_not_mentioned(tiny_flags, resumable, capsys):
    config, options = train.parse_args(tiny_flags(resumable, "--resume"))
    changed = list(train.changed_settings(config, options.saved))
    assert [line.split()[0] for line in changed] == ["--log-dir", "--output-dir"]


@pytest.mark.parametrize(("flag", "value"), [("--width", "0.25"), ("--residual-blocks", "2")])
def test_another_network_cannot_be_resumed_and_the_right_flag_is_named(
    tiny_flags, resumable, capsys, flag, value
):
    assert train.main(tiny_flags(resumable, "--resume", flag, value)) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert f"got {value}; resume with {flag} " in line


def test_photos_that_have_changed_are_said(tiny_flags, tiny_inputs, resumable, photo, capsys):
    shutil.copytree(tiny_inputs / "photos", resumable / "photos")
    photo(resumable / "photos" / "more.png", seed=50)
    assert train.main(tiny_flags(resumable, "--resume", "--content-dir", str(resumable / "photos"))) == 0
    assert "the photos are not those of the run so far" in capsys.readouterr().err


def test_resume_auto_starts_where_there_is_nothing_and_goes_on_where_there_is(tiny_flags, tiny_run, tmp_path):
    assert train.main(tiny_flags(tmp_path, "--resume=auto")) == 0
    assert_same_end(tmp_path, tiny_run)
    (tmp_path / "styles" / "tiny").rename(tmp_path / "moved")
    assert train.main(tiny_flags(tmp_path, "--resume=auto")) == 0  # finished: only exported again
    assert (
        style_json(tmp_path)["losses"]["training"]["total"]
        == style_json(tiny_run)["losses"]["training"]["total"]
    )


@pytest.fixture
def hostile_dir(tiny_inputs, tmp_path) -> Path:
    """Photos among flat ones of every kind and files that are none."""
    folder = tmp_path / "hostile"
    shutil.copytree(tiny_inputs / "photos", folder)
    flat = {"white": (255,) * 3, "black": (0,) * 3, "one_colour": (200, 30, 31)}
    for name, colour in flat.items():
        Image.new("RGB", (48, 40), colour).save(folder / f"{name}.png")
    nearly = np.full((40, 48, 3), 255, np.uint8)
    nearly[3, 5] = 254
    Image.fromarray(nearly).save(folder / "nearly_white.png")
    whole = (folder / "photo0.png").read_bytes()
    (folder / "bad_empty.jpg").write_bytes(b"")
    (folder / "bad_cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "bad_text.jpg").write_text("no image")
    Image.new("RGB", (1, 1)).save(folder / "bad_pixel.png")
    return folder


@pytest.mark.parametrize("cached", [False, True], ids=["files", "cache"])
def test_a_folder_of_bad_and_flat_photos_is_trained_on_to_the_end(
    tiny_flags, hostile_dir, tmp_path, cached, capsys
):
    more = ("--cache", str(tmp_path / "cache")) if cached else ()
    flags = tiny_flags(tmp_path, "--content-dir", str(hostile_dir), "--steps", "30", *more)
    assert train.main(flags) == 0
    for name, value in newest_state(state_dir(tmp_path)).arrays.items():
        assert np.isfinite(value).all(), name
    info = style_json(tmp_path)
    assert info["training_data"]["photos"] == 12 and info["training_data"]["skipped"] == 4
    assert info["steps"]["done"] == 30
    assert "4 files could not be read" in capsys.readouterr().err


def test_steps_that_are_skipped_are_counted_in_style_json(tiny_flags, tmp_path, monkeypatch):
    """A photo for which the loss is NaN, as a loss of somebody's own may be."""
    build_loss = train._build_loss

    def loss_with_holes(config, compute_dtype):
        import tensorflow as tf

        loss = build_loss(config, compute_dtype)

        class Holed:
            multiply_adds = loss.multiply_adds

            def __call__(self, stylized, content):
                hole = tf.where(tf.reduce_mean(content) % 1.0 < 0.3, np.nan, 1.0)  # some batches
                return {name: hole * term for name, term in loss(stylized, content).items()}

        return Holed()

    monkeypatch.setattr(train, "_build_loss", loss_with_holes)
    assert train.main(tiny_flags(tmp_path, "--steps", "30", "--save-every", "10")) == 0
    steps = style_json(tmp_path)["steps"]
    assert 0 < steps["skipped"] < 30 and steps["done"] == 30
    assert np.isfinite(style_json(tmp_path)["losses"]["training"]["total"])


def test_a_state_is_written_before_the_first_step(tiny_run):
    assert [read_state(path).step for path in state_paths(state_dir(tiny_run))] == [6, 3, 0]


def test_what_is_coming_is_said_before_the_first_step_and_a_forecast_after_ten(tiny_flags, tmp_path, capsys):
    assert train.main(tiny_flags(tmp_path, "--steps", "40")) == 0
    printed = capsys.readouterr().err
    first = printed.splitlines()[0]
    assert "9,579 parameters" in first and "GFLOP a step" in first and "GB of memory" in first
    assert "images/s, done at " in printed


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


def test_a_kill_in_the_middle_of_saving_costs_nothing_but_the_steps(tiny_flags, tiny_run, tmp_path):
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *tiny_flags(tmp_path)], cwd=ROOT, capture_output=True
    )
    assert killed.returncode == -9
    assert [read_state(path).step for path in state_paths(state_dir(tmp_path))] == [3, 0]
    assert len(list(state_dir(tmp_path).glob(".*.unfinished"))) == 1
    assert train.main(tiny_flags(tmp_path, "--resume")) == 0
    assert_same_end(tmp_path, tiny_run)
    assert not list(state_dir(tmp_path).glob(".*.unfinished"))


@pytest.mark.parametrize(
    ("updates", "expected"), [(25, 20), (20, 10)], ids=["went on from it", "lost at once"]
)
def test_a_state_that_was_lost_already_when_it_was_saved_is_not_gone_back_to(tmp_path, updates, expected):
    """No step after it was finite: then the one before it is the last good one."""
    from types import SimpleNamespace

    from transformer.training.state import TrainingState

    for step in (10, 20):
        count = SimpleNamespace(shape=(), numpy=lambda step=step: np.int64(step))
        TrainingState(tmp_path, {"optimizer/updates": count}, keep=3).save(step, {})
    optimizer = SimpleNamespace(value={"updates": updates}.__getitem__)
    run = SimpleNamespace(state=SimpleNamespace(state_dir=tmp_path), optimizer=optimizer)
    assert run_module.Run._last_good_state(run).step == expected


def test_a_state_is_not_saved_while_steps_are_being_skipped():
    from types import SimpleNamespace

    def save(*_):
        pytest.fail("maybe the weights are lost")

    run = SimpleNamespace(
        optimizer=SimpleNamespace(value={"skipped_in_a_row": 1}.__getitem__), state=SimpleNamespace(save=save)
    )
    run_module.Run._save(run)


def test_a_training_lost_for_good_goes_back_state_by_state_and_keeps_only_good_ones(
    tiny_flags, tmp_path, monkeypatch, capsys
):
    """The loss is NaN from the 13th step on, whatever the weights."""
    build_loss = train._build_loss

    def loss_that_dies(config, compute_dtype):
        import tensorflow as tf

        loss, calls = build_loss(config, compute_dtype), tf.Variable(0)

        class Dying:
            multiply_adds = loss.multiply_adds

            def __call__(self, stylized, content):
                hole = tf.where(calls.assign_add(1) > 12, np.nan, 1.0)
                return {name: hole * term for name, term in loss(stylized, content).items()}

        return Dying()

    monkeypatch.setattr(train, "_build_loss", loss_that_dies)
    flags = tiny_flags(tmp_path, "--steps", "100", "--save-every", "10")
    del flags[flags.index("--val-dir") : flags.index("--val-dir") + 2]  # it would call the loss, too
    assert train.main(flags) == 1
    lines = capsys.readouterr().err.splitlines()
    returns = [line.split(";")[1][:24] for line in lines if "gone back" in line]
    assert returns == [" gone back to step 10 wi", " gone back to step 0 wit", " gone back to step 0 wit"]
    assert [read_state(path).step for path in state_paths(state_dir(tmp_path))] == [0]


def test_a_signal_at_a_step_that_is_looked_at_costs_no_validation(tiny_flags, tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def stopped_steps(*arguments, **options):
        for done, losses in training_steps(*arguments, **options):
            if done == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            yield done, losses

    training_steps = run_module.training_steps
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "training_steps", stopped_steps)
        assert train.main(tiny_flags(tmp_path)) == 143
    assert train.main(tiny_flags(tmp_path, "--resume")) == 0
    steps = set()
    for path in (tmp_path / "log").glob("events.*"):
        events = EventAccumulator(str(path))
        events.Reload()
        if "validation/total" in events.Tags()["tensors"]:
            steps |= {event.step for event in events.Tensors("validation/total")}
    assert steps == {3, 6}


def test_resuming_a_run_that_is_not_there_says_so_before_anything_else(tmp_path, capsys):
    with pytest.raises(SystemExit) as exit:
        train.main(["--resume", "--name", "nothing", "--log-dir", str(tmp_path / "log")])
    assert exit.value.code == 1
    line = (
        f"train.py: {tmp_path / 'log' / 'state'}: holds no training state to resume; start without --resume"
    )
    assert capsys.readouterr().err.splitlines() == [line]

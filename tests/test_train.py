"""train.py as its users meet it: a whole training in small, and what every mistake says."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import train
from system.signals import Interrupted, NotedInterrupts
from transformer.inference.loading import load_stylizer
from transformer.training import run
from transformer.training.state import read_state, state_paths

ROOT = Path(__file__).resolve().parents[1]


def exported_weights(style_dir: Path) -> dict[str, np.ndarray]:
    reader = tf.train.load_checkpoint(str(style_dir / "fast_style_transfer"))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def assert_same_weights(actual_dir: Path, expected_dir: Path) -> None:
    actual, expected = exported_weights(actual_dir), exported_weights(expected_dir)
    assert actual.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name], value, err_msg=name)


def saved_steps(folder: Path) -> list[int]:
    """Of the states in folder/log, newest first."""
    return [read_state(path).step for path in state_paths(folder / "log" / "state")]


def last_line(capsys) -> str:
    return capsys.readouterr().err.splitlines()[-1]


def test_a_training_exports_a_style_that_stylizes(tiny_run):
    image = np.random.default_rng(0).uniform(0, 255, (21, 30, 3)).astype(np.float32)
    stylized = load_stylizer(tiny_run / "styles" / "tiny")(image)
    assert stylized.shape == image.shape and np.isfinite(stylized).all()


def test_a_training_leaves_its_style_and_nothing_else_in_the_output_folder(tiny_run):
    assert [path.name for path in (tiny_run / "styles").iterdir()] == ["tiny"]


def test_style_json_says_what_the_style_was_learnt_from(tiny_run, tiny_inputs):
    info = json.loads((tiny_run / "styles" / "tiny" / "style.json").read_text())
    assert info["name"] == "tiny"
    assert info["config"]["steps"] == 6 and info["config"]["width"] == 0.125
    sha256 = hashlib.sha256((tiny_inputs / "style.png").read_bytes()).hexdigest()
    assert info["style_picture"]["file"] == "style.png" and info["style_picture"]["sha256"] == sha256
    assert info["training_data"] == {"folder": "photos", "photos": 4, "skipped": 0}
    assert info["versions"]["tensorflow"] == version("tensorflow")
    for kind in ("training", "validation"):
        assert info["losses"][kind]["total"] > 0 and "style/relu3_1" in info["losses"][kind]


@pytest.fixture
def sigterm_after_3_steps(monkeypatch):
    """The process is sent SIGTERM when the third step is done."""

    def interrupted_steps(*arguments, **options):
        for step, losses in training_steps(*arguments, **options):
            if step == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            yield step, losses

    training_steps = run.training_steps
    monkeypatch.setattr(run, "training_steps", interrupted_steps)


@pytest.fixture(scope="module")
def interrupted_run(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("interrupted")


def test_sigterm_saves_the_state_and_ends_with_its_status(
    tiny_flags, interrupted_run, sigterm_after_3_steps, capsys
):
    assert train.main(tiny_flags(interrupted_run, "--save-every", "100")) == 143
    assert last_line(capsys) == "train.py: SIGTERM at step 3; state saved, continue with --resume"
    assert not (interrupted_run / "styles" / "tiny").exists()
    assert saved_steps(interrupted_run) == [3, 0]


def test_a_resumed_training_ends_as_an_unbroken_one(
    tiny_flags, interrupted_run, tiny_run, monkeypatch, capsys
):
    if not (interrupted_run / "log" / "state").exists():
        pytest.fail("the test before has left no state to resume")
    first_steps = []

    def recorded_steps(*arguments, first_step, **options):
        first_steps.append(first_step)
        return training_steps(*arguments, first_step=first_step, **options)

    training_steps = run.training_steps
    monkeypatch.setattr(run, "training_steps", recorded_steps)
    assert train.main(tiny_flags(interrupted_run, "--resume")) == 0
    assert first_steps == [3]
    assert_same_weights(interrupted_run / "styles" / "tiny", tiny_run / "styles" / "tiny")
    assert f"{interrupted_run / 'styles' / 'tiny'} is ready" in last_line(capsys)


def test_overwrite_replaces_the_style_and_starts_from_the_first_step(tiny_flags, interrupted_run):
    style_dir = interrupted_run / "styles" / "tiny"
    style_dir.mkdir(parents=True, exist_ok=True)
    (style_dir / "stale.txt").write_text("of the style before")
    assert train.main(tiny_flags(interrupted_run, "--overwrite", "--steps", "1", "--preset", "lesson30")) == 0
    assert not (style_dir / "stale.txt").exists()
    assert json.loads((style_dir / "style.json").read_text())["config"]["preset"] == "lesson30"
    assert saved_steps(interrupted_run) == [1, 0]


@pytest.mark.parametrize("resume", [(), ("--resume",)], ids=["anew", "resume"])
def test_a_finished_style_is_not_replaced_unasked(tiny_flags, tiny_run, tmp_path, resume, capsys):
    if resume:
        shutil.copytree(tiny_run / "log", tmp_path / "log")
    flags = tiny_flags(tiny_run, "--log-dir", str(tmp_path / "log"), *resume)
    assert train.main(flags) == 1
    assert f"{tiny_run / 'styles' / 'tiny'}: exists" in (line := last_line(capsys)) and "--overwrite" in line


def test_a_state_of_an_earlier_run_is_refused(tiny_flags, tiny_run, tmp_path, capsys):
    assert train.main(tiny_flags(tiny_run, "--output-dir", str(tmp_path))) == 1
    assert "go on with --resume, or --overwrite it" in last_line(capsys)


def test_resuming_with_another_width_is_refused_in_one_line(tiny_flags, tiny_run, tmp_path, capsys):
    shutil.copytree(tiny_run / "log", tmp_path / "log")
    assert train.main(tiny_flags(tmp_path, "--resume", "--width", "0.25")) == 1
    assert "--width" in last_line(capsys)


def test_vgg_weights_cut_short_are_refused_in_one_line(tiny_flags, tiny_inputs, tmp_path, capsys):
    content = (tiny_inputs / "vgg.npz").read_bytes()
    (tmp_path / "vgg.npz").write_bytes(content[: len(content) // 2])
    assert train.main(tiny_flags(tmp_path, "--vgg", str(tmp_path / "vgg.npz"))) == 1
    assert f"train.py: {tmp_path / 'vgg.npz'}: is truncated or damaged" in last_line(capsys)


def test_photos_none_of_which_can_be_read_are_refused_in_one_line(tiny_flags, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no image at all")
    assert train.main(tiny_flags(tmp_path, "--content-dir", str(tmp_path / "photos"))) == 1
    line = last_line(capsys)
    assert line.startswith("train.py: ") and "can be read as an image" in line


def test_a_training_that_diverges_goes_back_and_at_last_ends_in_one_line_with_advice(
    tiny_flags, tmp_path, capsys
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


def test_interrupts_notes_the_first_signal_and_lets_the_second_through():
    former = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with NotedInterrupts() as interrupts:
        assert interrupts.received == ""
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.received == "SIGINT"
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGTERM)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == former


def test_ctrl_c_before_the_first_step_ends_with_the_status_of_an_interrupt(tiny_flags, tmp_path, monkeypatch):
    def interrupt(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "train", interrupt)
    assert train.main(tiny_flags(tmp_path)) == 130


def test_a_programming_error_keeps_its_traceback(tiny_flags, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "train", lambda *_arguments, **_options: [][0])
    with pytest.raises(IndexError):
        train.main(tiny_flags(tmp_path))


@pytest.mark.parametrize("path", ["log/config.json", "styles/tiny/style.json"])
def test_the_configuration_that_a_run_leaves_gives_the_same_training(tiny_flags, tiny_run, path):
    config, _ = train.parse_args(tiny_flags(tiny_run))
    again, _ = train.parse_args(["--config", str(tiny_run / path)])
    assert again == config
    assert again.preview == config.preview != ()  # paths, not text


def test_flags_override_the_configuration_and_it_the_defaults(tmp_path):
    values = {"style": "a.png", "content_dir": "photos", "name": "a", "steps": 7, "width": 1, "tv_weight": 0}
    (tmp_path / "config.json").write_text(json.dumps(values))
    config, _ = train.parse_args(["--config", str(tmp_path / "config.json"), "--steps", "9", "--name", "b"])
    assert (config.name, config.steps) == ("b", 9)
    assert (config.style, config.width, config.tv_weight) == (Path("a.png"), 1.0, 0.0)
    assert config.batch_size == train.TrainConfig.batch_size


def test_a_flag_that_repeats_the_default_overrides_the_configuration(tmp_path):
    values = {"style": "a.png", "content_dir": "photos", "name": "a", "batch_size": 9}
    (tmp_path / "config.json").write_text(json.dumps(values))
    default = str(train.TrainConfig.batch_size)
    config, _ = train.parse_args(["--config", str(tmp_path / "config.json"), "--batch-size", default])
    assert config.batch_size == train.TrainConfig.batch_size


def test_weights_that_are_not_given_are_those_of_the_preset():
    required = ["--style", "a.png", "--content-dir", "photos", "--name", "a"]
    config, _ = train.parse_args([*required, "--preset", "johnson", "--style-weight", "0"])
    assert (config.content_weight, config.style_weight, config.tv_weight) == (1.0, 0.0, 1e-6)
    assert config.log_dir == Path("runs/a")


# Mistakes: name -> (what differs from a good call, exit status, words of the message). A value of None takes
# the flag away; "{in}" is the folder of `tiny_inputs`, "{tmp}" a folder of files that are wrong.
USAGE, BAD_INPUT = 2, 1
MISTAKES = {
    "no style": ({"style": None}, USAGE, "--style is required"),
    "no content dir": ({"content-dir": None}, USAGE, "--content-dir is required"),
    "no name": ({"name": None}, USAGE, "--name is required"),
    "unknown flag": ({"stlye": "a.png"}, USAGE, "unrecognized arguments: --stlye"),
    "unknown preset": ({"preset": "vangogh"}, USAGE, "invalid choice: 'vangogh'"),
    "unknown precision": ({"precision": "float16"}, USAGE, "invalid choice: 'float16'"),
    "steps that are no number": ({"steps": "many"}, USAGE, "invalid int value: 'many'"),
    "no steps": ({"steps": "0"}, USAGE, "--steps must be at least 1, got 0"),
    "no batch": ({"batch-size": "0"}, USAGE, "--batch-size must be at least 1, got 0"),
    "small crops": ({"image-size": "31"}, USAGE, "--image-size must be at least 32, got 31"),
    "small style": ({"style-size": "8"}, USAGE, "--style-size must be at least 16, got 8"),
    "negative rate": ({"learning-rate": "-1"}, USAGE, "--learning-rate must be"),
    "endless rate": ({"learning-rate": "inf"}, USAGE, "--learning-rate must be"),
    "narrow network": ({"width": "0.05"}, USAGE, "--width must be at least 0.1, got 0.05"),
    "width nan": ({"width": "nan"}, USAGE, "--width must be"),
    "negative blocks": ({"residual-blocks": "-1"}, USAGE, "--residual-blocks must be at least 0, got -1"),
    "negative weight": ({"style-weight": "-5"}, USAGE, "--style-weight must be at least 0, got -5.0"),
    "negative seed": ({"seed": "-1"}, USAGE, "--seed must be at least 0, got -1"),
    "no summaries": ({"summary-every": "0"}, USAGE, "--summary-every must be at least 1, got 0"),
    "no states": ({"save-every": "0"}, USAGE, "--save-every must be at least 1, got 0"),
    "name with a folder": ({"name": "a/b"}, USAGE, "--name must be a plain folder name, got 'a/b'"),
    "name above": ({"name": ".."}, USAGE, "--name must be a plain folder name, got '..'"),
    "hidden name": ({"name": ".a"}, USAGE, "--name must be a plain folder name, got '.a'"),
    "empty name": ({"name": ""}, USAGE, "--name must be a plain folder name, got ''"),
    "config missing": ({"config": "{tmp}/nowhere.json"}, USAGE, "nowhere.json: cannot be read"),
    "config no json": ({"config": "{tmp}/broken.json"}, USAGE, "broken.json: cannot be read as JSON"),
    "config no object": ({"config": "{tmp}/list.json"}, USAGE, "list.json: "),
    "config unknown key": ({"config": "{tmp}/unknown.json"}, USAGE, "unknown key stepz; known are style, "),
    "config bad preset": ({"config": "{tmp}/preset.json"}, USAGE, "--preset must be one of athalye, "),
    "config negative": ({"config": "{tmp}/negative.json"}, USAGE, "--val-images must be at least 1, got -3"),
    "config text for a number": ({"config": "{tmp}/text.json"}, USAGE, "val_images"),
    "config number for a path": ({"config": "{tmp}/number.json"}, USAGE, "val_dir"),
    "config null for a number": ({"config": "{tmp}/null.json"}, USAGE, "val_images"),
    "config text for a list": ({"config": "{tmp}/one_preview.json"}, USAGE, "preview"),
    "style missing": ({"style": "{tmp}/nowhere.png"}, BAD_INPUT, "{tmp}/nowhere.png: "),
    "style no image": ({"style": "{tmp}/broken.json"}, BAD_INPUT, "{tmp}/broken.json: not an image"),
    "content dir missing": (
        {"content-dir": "{tmp}/nowhere"},
        BAD_INPUT,
        "{tmp}/nowhere: no such file or folder",
    ),
    "content dir empty": (
        {"content-dir": "{tmp}/empty"},
        BAD_INPUT,
        "{tmp}/empty: the folder holds no images",
    ),
    "val dir missing": ({"val-dir": "{tmp}/nowhere"}, BAD_INPUT, "{tmp}/nowhere: no such file or folder"),
    "preview missing": ({"preview": "{tmp}/nowhere.png"}, BAD_INPUT, "{tmp}/nowhere.png: "),
    "start missing": ({"start-from": "{tmp}/nowhere"}, BAD_INPUT, "{tmp}/nowhere: no such style or folder"),
    "vgg missing": ({"vgg": "{tmp}/nowhere.h5"}, BAD_INPUT, "{tmp}/nowhere.h5: no such file"),
    "vgg corrupt": ({"vgg": "{tmp}/vgg.h5"}, BAD_INPUT, "{tmp}/vgg.h5: is not an HDF5 file"),
    "vgg of a wrong kind": (
        {"vgg": "{tmp}/broken.json"},
        BAD_INPUT,
        "unknown suffix '.json', allowed are .h5",
    ),
    "nothing to resume": ({"resume": True}, BAD_INPUT, "contains no training state to resume"),
    "output dir a file": ({"output-dir": "{tmp}/broken.json"}, BAD_INPUT, "{tmp}/broken.json"),
    "log dir a file": ({"log-dir": "{tmp}/broken.json"}, BAD_INPUT, "{tmp}/broken.json"),
}
WRONG_CONFIGS = {
    "list": [1],
    "unknown": {"stepz": 5},
    "preset": {"preset": "vangogh"},
    "negative": {"val_images": -3},
    "text": {"val_images": "many"},
    "number": {"val_dir": 5},
    "null": {"val_images": None},
    "one_preview": {"preview": "cat.jpg"},
}
RUN_MISTAKES = """
import contextlib, io, json, sys, traceback
import train
train.train = lambda *arguments, **options: "all checks were passed"
outcomes = {}
for name, arguments in json.load(sys.stdin).items():
    stderr = io.StringIO()
    with contextlib.redirect_stderr(stderr):
        try:
            status = train.main(arguments)
        except SystemExit as exit:
            status = exit.code
        except Exception:
            status = traceback.format_exc()
    outcomes[name] = [status, stderr.getvalue(), sorted({"tensorflow", "keras"} & set(sys.modules))]
json.dump(outcomes, sys.stdout)
"""


def good_flags(inputs: Path, folder: Path) -> dict[str, str | bool | None]:
    return {
        "style": str(inputs / "style.png"),
        "content-dir": str(inputs / "photos"),
        "vgg": str(inputs / "vgg.npz"),
        "name": "tiny",
        "log-dir": str(folder / "log"),
        "output-dir": str(folder / "styles"),
    }


def command_line(flags: dict[str, str | bool | None]) -> list[str]:
    pairs = [(f"--{name}", value) for name, value in flags.items() if value is not None]
    return [part for flag, value in pairs for part in ([flag] if value is True else [flag, value])]


@pytest.fixture(scope="module")
def mistakes(tiny_inputs, tmp_path_factory) -> tuple[Path, dict]:
    """The folder of wrong files, and what each mistake led to, all tried in one Python without TensorFlow."""
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "empty").mkdir()
    (folder / "broken.json").write_text("{")
    (folder / "vgg.h5").write_text("<html>404</html>")
    for name, values in WRONG_CONFIGS.items():
        (folder / f"{name}.json").write_text(json.dumps(values))
    calls = {}
    for name, (changes, _, _) in MISTAKES.items():
        changes = {
            flag: value.replace("{tmp}", str(folder)) if isinstance(value, str) else value
            for flag, value in changes.items()
        }
        calls[name] = command_line({**good_flags(tiny_inputs, folder), **changes})
    completed = subprocess.run(
        [sys.executable, "-c", RUN_MISTAKES],
        input=json.dumps(calls),
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert completed.returncode == 0, completed.stderr
    return folder, json.loads(completed.stdout)


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_in_one_line_before_tensorflow_is_imported(mistakes, name):
    folder, outcomes = mistakes
    _, expected_status, words = MISTAKES[name]
    status, stderr, slow_libraries = outcomes[name]
    assert status == expected_status, status
    lines = [line for line in stderr.splitlines() if line.startswith("train.py: ")]
    assert len(lines) == 1 and words.replace("{tmp}", str(folder)) in lines[0]
    if expected_status == BAD_INPUT:
        assert stderr.splitlines() == lines  # no usage either
    assert slow_libraries == []


def test_no_mistake_leaves_a_style_behind(mistakes):
    folder, _ = mistakes
    assert not (folder / "styles" / "tiny").exists()

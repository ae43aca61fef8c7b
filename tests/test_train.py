"""train.py as its users meet it: a whole training in small, and what every mistake says."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import train
from cli.train_config import changes, settings_from_json
from cli.training_network import with_start
from loss_net.presets import TRAINING_BORDER
from transformer.inference.loading import load_stylizer
from transformer.training.state import FORMAT, INFO, newest_state, read_state, state_paths

ROOT = Path(__file__).resolve().parents[1]


def saved_steps(folder: Path) -> list[int]:
    """Of the states in folder/log, newest first."""
    return [read_state(path).step for path in state_paths(folder / "log" / "state")]


def configuration(arguments: list[str]) -> train.TrainConfig:
    return train.configured(train.parse_args(arguments), {})


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


def test_a_finished_style_is_not_replaced_unasked(tiny_flags, tiny_run, tmp_path, capsys):
    assert train.main(tiny_flags(tiny_run, "--log-dir", str(tmp_path / "log"))) == 1
    assert f"{tiny_run / 'styles' / 'tiny'}: exists" in (line := last_line(capsys)) and "--overwrite" in line


def test_a_style_is_not_replaced_by_a_resumed_run_unasked(tiny_flags, tiny_run, tmp_path, capsys):
    shutil.copytree(tiny_run / "log", tmp_path / "log")
    flags = tiny_flags(tiny_run, "--log-dir", str(tmp_path / "log"), "--resume", "--steps", "8")
    assert train.main(flags) == 1
    assert "exists; give another --name, or add --overwrite to replace it when" in last_line(capsys)


@pytest.mark.parametrize("resume", ["--resume", "--resume=auto"])
def test_resuming_a_finished_run_says_that_it_is_finished(tiny_flags, tiny_run, capsys, resume):
    assert train.main(tiny_flags(tiny_run, resume)) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{tiny_run / 'styles' / 'tiny'} is finished: 6 steps are done; " in line and "--steps" in line


def test_a_folder_that_is_no_style_is_never_replaced(tiny_flags, tiny_inputs, tmp_path, capsys):
    shutil.copytree(tiny_inputs / "photos", tmp_path / "styles" / "tiny")
    assert train.main(tiny_flags(tmp_path, "--overwrite")) == 1
    assert "exists and is not a style, so it is not replaced; give another --name" in last_line(capsys)
    assert len(list((tmp_path / "styles" / "tiny").iterdir())) == 4


@pytest.mark.parametrize("flag", ["style", "preview", "vgg", "content-dir", "log-dir"])
def test_a_style_never_replaces_its_own_inputs(tiny_flags, tiny_inputs, tiny_run, tmp_path, capsys, flag):
    shutil.copytree(tiny_run / "styles", tmp_path / "styles")
    names = {"style": "style.png", "preview": "style.png", "vgg": "vgg.npz", "content-dir": "photos"}
    inside = tmp_path / "styles" / "tiny" / names.get(flag, "log")
    if (source := tiny_inputs / inside.name).is_dir():
        shutil.copytree(source, inside)
    elif source.is_file():
        shutil.copy(source, inside)
    before = sorted(tmp_path.rglob("*"))
    assert train.main(tiny_flags(tmp_path, "--overwrite", f"--{flag}", str(inside))) == 2
    assert f"--{flag} {inside}: lies in" in last_line(capsys)
    assert sorted(tmp_path.rglob("*")) == before


def test_overwrite_exports_a_finished_run_again(tiny_flags, tiny_run, tmp_path, capsys):
    for part in ("log", "styles"):
        shutil.copytree(tiny_run / part, tmp_path / part)
    assert train.main(tiny_flags(tmp_path, "--resume", "--overwrite", "--style-license", "CC0")) == 0
    info = json.loads((tmp_path / "styles" / "tiny" / "style.json").read_text())
    assert info["style_picture"]["license"] == "CC0"


def test_a_setting_of_json_can_be_switched_off(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"style": "a.png", "content_dir": "p", "xla": True}))
    assert configuration(["--config", str(tmp_path / "a.json")]).xla
    assert not configuration(["--config", str(tmp_path / "a.json"), "--no-xla"]).xla


def test_a_state_of_an_earlier_run_is_refused(tiny_flags, tiny_run, tmp_path, capsys):
    assert train.main(tiny_flags(tiny_run, "--output-dir", str(tmp_path))) == 1
    assert "continue it with --resume, or start again with --overwrite" in last_line(capsys)


@pytest.mark.parametrize(
    ("flag", "value"), [("--width", "0.25"), ("--residual-blocks", "2"), ("--outer-kernel", "9")]
)
def test_another_network_cannot_be_resumed_and_the_right_flag_is_named(
    tiny_flags, tiny_run, tmp_path, capsys, flag, value
):
    shutil.copytree(tiny_run / "log", tmp_path / "log")
    assert train.main(tiny_flags(tmp_path, "--resume", flag, value)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(rf"{flag} is {value}, but the saved training has [\d.]+; resume with {flag} ", line)


def test_settings_that_stay_are_not_mentioned(tiny_flags, tiny_run, tmp_path):
    state = newest_state(tiny_run / "log" / "state")
    previous = settings_from_json(state.info["config"], "state")
    config = train.configured(train.parse_args(tiny_flags(tmp_path, "--resume")), previous)
    assert sorted(line.split()[0] for line in changes(config, previous, 6)) == ["--log-dir", "--output-dir"]


def test_resuming_a_run_that_is_not_there_says_so_before_anything_else(tmp_path, capsys):
    assert train.main(["--resume", "--name", "nothing", "--log-dir", str(tmp_path / "log")]) == 1
    line = f"train.py: {tmp_path / 'log' / 'state'}: contains no training state to resume; start without --resume"
    assert capsys.readouterr().err.splitlines() == [line]


@pytest.mark.parametrize("resume", ["--resume", "--resume=auto"])
def test_a_state_of_an_older_version_is_refused_in_one_line(tiny_flags, tiny_run, tmp_path, resume, capsys):
    shutil.copytree(tiny_run / "log", tmp_path / "log")
    for path in state_paths(tmp_path / "log" / "state"):
        with np.load(path) as archive:
            arrays = dict(archive)
        info = json.loads(arrays[INFO].tobytes())
        older = {**info, "returns": info["rollbacks"]}
        older = {key: older[key] for key in older.keys() - {"format", "rollbacks", "monitored_step"}}
        arrays[INFO] = np.frombuffer(json.dumps(older).encode(), np.uint8)
        np.savez(path, **arrays)
    assert train.main(tiny_flags(tmp_path, resume)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "was written by another version of this project (format unknown, this version reads " in line
    assert f"{FORMAT}); start without --resume" in line


def test_vgg_weights_cut_short_are_refused_in_one_line(tiny_flags, tiny_inputs, tmp_path, capsys):
    content = (tiny_inputs / "vgg.npz").read_bytes()
    (tmp_path / "vgg.npz").write_bytes(content[: len(content) // 2])
    assert train.main(tiny_flags(tmp_path, "--vgg", str(tmp_path / "vgg.npz"))) == 1
    assert f"train.py: {tmp_path / 'vgg.npz'}: is truncated or damaged" in last_line(capsys)


CLEARING_MISTAKES = {
    "damaged VGG": ("--vgg", "{tmp}/vgg.npz"),
    "wide network": ("--width", "5"),
    "odd start": ("--start-from", "great_wave"),
    "too large a batch": ("--batch-size", "1000000"),
    "too large crops": ("--image-size", "100000"),
    "unreadable photos": ("--content-dir", "{tmp}/unreadable"),
}


@pytest.mark.parametrize("mistake", CLEARING_MISTAKES)
def test_overwrite_replaces_nothing_before_everything_is_built(
    tiny_flags, tiny_inputs, tiny_run, tmp_path, capsys, mistake
):
    content = (tiny_inputs / "vgg.npz").read_bytes()
    (tmp_path / "vgg.npz").write_bytes(content[: len(content) // 2])
    (tmp_path / "unreadable").mkdir()
    (tmp_path / "unreadable" / "a.png").write_bytes(b"no image")
    for part in ("log", "styles"):
        shutil.copytree(tiny_run / part, tmp_path / part)
    before = {
        path: path.read_bytes() for part in ("log", "styles") for path in (tmp_path / part).rglob("*.*")
    }
    flag, value = CLEARING_MISTAKES[mistake]
    assert train.main(tiny_flags(tmp_path, "--overwrite", flag, value.replace("{tmp}", str(tmp_path)))) in (
        1,
        2,
    )
    assert capsys.readouterr().err.splitlines()[-1].startswith("train.py: ")
    assert before == {path: path.read_bytes() for path in before}


def test_a_batch_that_cannot_be_shared_replaces_nothing(tiny_flags, tiny_run, tmp_path, capsys, monkeypatch):
    from transformer.training import distribution

    class Cluster(SimpleNamespace):
        replicas, is_chief = 4, True

    monkeypatch.setattr(distribution, "join_cluster", Cluster)
    shutil.copytree(tiny_run / "log", tmp_path / "log")
    assert train.main(tiny_flags(tmp_path, "--overwrite", "--batch-size", "6")) == 2
    assert "--batch-size must be a multiple of 4" in last_line(capsys)
    assert len(saved_steps(tmp_path)) == 3


def test_photos_none_of_which_can_be_read_are_refused_in_one_line(tiny_flags, tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no image at all")
    assert train.main(tiny_flags(tmp_path, "--content-dir", str(tmp_path / "photos"))) == 1
    line = last_line(capsys)
    assert line.startswith("train.py: ") and "can be read as an image" in line


def test_ctrl_c_before_the_first_step_ends_with_the_status_of_an_interrupt(
    tiny_flags, tmp_path, monkeypatch, capsys
):
    def interrupt(*_arguments, **_options):
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(train, "train", interrupt)
    assert train.main(tiny_flags(tmp_path)) == 130
    assert last_line(capsys) == "train.py: interrupted by SIGINT"


def test_a_programming_error_keeps_its_traceback(tiny_flags, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "train", lambda *_arguments, **_options: [][0])
    with pytest.raises(IndexError):
        train.main(tiny_flags(tmp_path))


@pytest.mark.parametrize("path", ["log/config.json", "styles/tiny/style.json"])
def test_the_configuration_that_a_run_leaves_gives_the_same_training(tiny_flags, tiny_run, path):
    config = with_start(configuration(tiny_flags(tiny_run)))
    again = configuration(["--config", str(tiny_run / path)])
    assert again == config
    assert again.preview == config.preview != ()  # paths, not text


def test_flags_override_the_configuration_and_it_the_defaults(tmp_path):
    values = {"style": "a.png", "content_dir": "photos", "name": "a", "steps": 7, "width": 1, "tv_weight": 0}
    (tmp_path / "config.json").write_text(json.dumps(values))
    config = configuration(["--config", str(tmp_path / "config.json"), "--steps", "9", "--name", "b"])
    assert (config.name, config.steps) == ("b", 9)
    assert (config.style, config.width, config.tv_weight) == (Path("a.png"), 1.0, 0.0)
    assert config.batch_size == train.TrainConfig.batch_size


def test_a_flag_that_repeats_the_default_overrides_the_configuration(tmp_path):
    values = {"style": "a.png", "content_dir": "photos", "name": "a", "keep": 9}
    (tmp_path / "config.json").write_text(json.dumps(values))
    default = str(train.TrainConfig.keep)
    config = configuration(["--config", str(tmp_path / "config.json"), "--keep", default])
    assert config.keep == train.TrainConfig.keep


def test_the_batch_size_is_by_default_one_image_for_each_replica(tiny_flags, tmp_path):
    flags = tiny_flags(tmp_path, "--steps", "2")
    at = flags.index("--batch-size")
    assert train.main(flags[:at] + flags[at + 2 :]) == 0
    info = json.loads((tmp_path / "styles" / "tiny" / "style.json").read_text())
    assert info["config"]["batch_size"] == 1


def test_weights_that_are_not_given_are_those_of_the_preset():
    required = ["--style", "a.png", "--content-dir", "photos", "--name", "a"]
    config = configuration([*required, "--preset", "johnson", "--style-weight", "0"])
    assert (config.content_weight, config.style_weight, config.tv_weight) == (1.0, 0.0, 1e-6)
    assert config.log_dir == Path("runs/a")


# Mistakes: name -> (what differs from a good call, exit status, words of the message). A value of None takes
# the flag away; "{in}" is the folder of `tiny_inputs`, "{tmp}" a folder of files that are wrong.
USAGE, BAD_INPUT = 2, 1
MISTAKES = {
    "no style": ({"style": None}, USAGE, "--style is required"),
    "no content dir": ({"content-dir": None}, USAGE, "--content-dir is required"),
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
    "narrow network": ({"width": "0.05"}, USAGE, "--width must be at least 0.1 and at most 4, got 0.05"),
    "wide network": ({"width": "5"}, USAGE, "--width must be at least 0.1 and at most 4, got 5"),
    "old flag": ({"clip-norm": "10"}, USAGE, "--clip-norm is now --clip-factor"),
    "config old key": ({"config": "{tmp}/old.json"}, USAGE, "old.json: the key clip_norm is now clip_factor"),
    "grid weights alone": ({"grid-weights": "1"}, USAGE, "--grid-weights needs --preview-grid"),
    "grid weights nan": (
        {"preview-grid": True, "grid-weights": "nan"},
        USAGE,
        "--grid-weights must be at least 0",
    ),
    "sheet among the photos": ({"preview-grid": "{in}/photos/sheet.png"}, USAGE, "lies in the input folder"),
    "sheet over the style": ({"preview-grid": "{in}/style.png"}, USAGE, "is the input"),
    "width nan": ({"width": "nan"}, USAGE, "--width must be"),
    "negative blocks": ({"residual-blocks": "-1"}, USAGE, "--residual-blocks must be at least 0, got -1"),
    "negative weight": ({"style-weight": "-5"}, USAGE, "--style-weight must be at least 0, got -5"),
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
    "config unknown key": (
        {"config": "{tmp}/unknown.json"},
        USAGE,
        "unknown key stepz; known keys are style, ",
    ),
    "config bad preset": ({"config": "{tmp}/preset.json"}, USAGE, "--preset must be one of athalye, "),
    "config negative": ({"config": "{tmp}/negative.json"}, USAGE, "--val-images must be at least 1, got -3"),
    "config text for a number": ({"config": "{tmp}/text.json"}, USAGE, "val_images"),
    "config number for a path": ({"config": "{tmp}/number.json"}, USAGE, "val_dir"),
    "config null for a number": ({"config": "{tmp}/null.json"}, USAGE, "val_images"),
    "config text for a list": ({"config": "{tmp}/one_preview.json"}, USAGE, "preview"),
    "config deep": ({"config": "{tmp}/deep.json"}, USAGE, "nested more than 32 deep"),
    "config a device": (
        {"config": "/dev/zero"},
        USAGE,
        "/dev/zero: cannot be read: it is a device or a pipe",
    ),
    "config a pipe": ({"config": "{tmp}/pipe"}, USAGE, "pipe: cannot be read: it is a device or a pipe"),
    "config a folder": ({"config": "{tmp}/empty"}, USAGE, "empty: cannot be read"),
    "config a key twice": ({"config": "{tmp}/twice.json"}, USAGE, "the key 'steps' occurs twice"),
    "steps without end": (
        {"steps": "1000000000000000000"},
        USAGE,
        "--steps must be at least 1 and at most 1000000000",
    ),
    "seed of 20 digits": ({"seed": "99999999999999999999"}, USAGE, "got 99999999999999999999"),
    "no cache": ({"cache": ""}, USAGE, "argument --cache: a path must not be empty"),
    "start of 5000 characters": ({"start-from": "x" * 5000}, USAGE, "may have at most 4095 bytes, got 5000"),
    "name of 5000 characters": ({"name": "x" * 5000}, USAGE, "--name must be a plain folder name, got 'xxx"),
    "name that commands a terminal": ({"name": "\x1b[2J"}, USAGE, r"got '\x1b[2J'"),
    "absurd batch": ({"batch-size": "99999999999"}, BAD_INPUT, "GB of memory, "),
    "absurd crops": ({"image-size": "10000000"}, BAD_INPUT, "lower --batch-size, --image-size or --width"),
    "wide network of large crops": ({"width": "4", "image-size": "8192"}, BAD_INPUT, "lower --batch-size"),
    "style of one pixel": (
        {"style": "{tmp}/pixel.png"},
        BAD_INPUT,
        "1x1 pixels (height x width) are too few for relu5_1",
    ),
    "style shrunk too far": (
        {"style": "{tmp}/thin.png", "style-size": "16"},
        BAD_INPUT,
        "1x16 pixels (height x width) are too few for relu5_1, which needs 16x16; give a larger picture",
    ),
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
    "old": {"clip_norm": 10},
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
    (folder / "deep.json").write_text("[" * 100_000)
    (folder / "twice.json").write_text('{"steps": 1, "steps": 2}')
    os.mkfifo(folder / "pipe")
    for name, size in {"pixel": (1, 1), "thin": (400, 8)}.items():
        Image.new("RGB", size).save(folder / f"{name}.png")
    for name, values in WRONG_CONFIGS.items():
        (folder / f"{name}.json").write_text(json.dumps(values))
    calls = {}
    for name, (differences, _, _) in MISTAKES.items():
        differences = {
            flag: value.replace("{tmp}", str(folder)).replace("{in}", str(tiny_inputs))
            if isinstance(value, str)
            else value
            for flag, value in differences.items()
        }
        calls[name] = command_line({**good_flags(tiny_inputs, folder), **differences})
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
    if name in ("output dir a file", "log dir a file") and find_spec("tensorflow") is None:
        pytest.skip("needs tensorflow, without which no folder is looked at")
    folder, outcomes = mistakes
    _, expected_status, words = MISTAKES[name]
    status, stderr, slow_libraries = outcomes[name]
    assert status == expected_status, status
    lines = [line for line in stderr.splitlines() if line.startswith("train.py: ")]
    assert len(lines) == 1 and words.replace("{tmp}", str(folder)) in lines[0]
    assert stderr.splitlines() == lines  # and no usage
    assert slow_libraries == []


def test_the_name_is_that_of_the_style_picture_unless_it_is_given():
    config = configuration(["--style", "a/the_wave.jpg", "--content-dir", "photos"])
    assert (config.name, config.log_dir, config.style_dir) == (
        "the_wave",
        Path("runs/the_wave"),
        Path("checkpoints/the_wave"),
    )


def test_no_mistake_leaves_a_style_behind(mistakes):
    folder, _ = mistakes
    assert not (folder / "styles" / "tiny").exists()


def test_crops_have_a_style_loss_of_their_border_and_validation_photos_have_the_whole_loss(
    tiny_flags, tiny_inputs, tmp_path, monkeypatch
):
    import tensorflow as tf

    flags = tiny_flags(tmp_path, "--val-dir", str(tiny_inputs / "val"))
    config = train.configured(train.parse_args(flags), {})
    loss = train.build_loss(config, tf.float32)
    assert loss.border == TRAINING_BORDER
    validated = []
    monkeypatch.setattr(
        "transformer.training.monitor.Monitor", lambda _dir, _network, loss, **_: validated.append(loss)
    )
    train._build_monitor(config, None, loss)
    assert [loss.border for loss in validated] == [0]


@pytest.mark.parametrize("held", ["log", "styles/tiny"], ids=["its log folder", "its style"])
def test_a_second_training_of_one_name_is_refused_while_the_first_one_runs(
    tiny_flags, tmp_path, capsys, held
):
    from system.locks import locked

    with locked(tmp_path / held):
        assert train.main(tiny_flags(tmp_path)) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert f"{tmp_path / held}: another training is writing it" in line
        assert not (tmp_path / "styles" / "tiny").exists()
    assert not list(tmp_path.rglob(".*"))


def test_the_locks_of_a_training_are_removed_at_its_end(tiny_run):
    assert not list(tiny_run.rglob(".*"))


NOT_UTF_8 = os.fsdecode(b"caf\xe9")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not allow such names")
@pytest.mark.parametrize("flag", ["--output-dir", "--log-dir"])
def test_a_folder_that_tensorflow_cannot_open_is_refused(tiny_flags, tmp_path, capsys, flag):
    assert train.main(tiny_flags(tmp_path, flag, str(tmp_path / NOT_UTF_8))) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{flag} {tmp_path}/caf\\xe9: the path is not valid UTF-8" in line


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not allow such names")
def test_photos_and_styles_may_have_names_that_are_not_utf_8(tiny_flags, tiny_inputs, tmp_path, photo):
    odd = tmp_path / NOT_UTF_8
    for index in range(3):
        photo(odd / f"{NOT_UTF_8}{index}.png", seed=index)
    inputs = ("--content-dir", str(odd), "--val-dir", str(odd), "--preview", str(odd / f"{NOT_UTF_8}0.png"))
    style = shutil.copy(tiny_inputs / "style.png", odd / f"{NOT_UTF_8}.png")
    more = ("--cache", str(odd / "cache"), "--style", str(style), "--name", NOT_UTF_8, *inputs)
    assert train.main(tiny_flags(tmp_path, *more)) == 0
    assert (tmp_path / "styles" / NOT_UTF_8 / "style.json").is_file()


@pytest.mark.parametrize(
    ("fast", "devices", "given", "precision"),
    [
        (True, [], (), "bfloat16"),
        (False, [], (), "float32"),
        (True, ["nvidia0"], (), "float32"),
        (True, [], ("--precision", "float64"), "float64"),
    ],
)
def test_the_precision_is_by_default_the_fastest_of_the_machine(monkeypatch, fast, devices, given, precision):
    monkeypatch.setattr("cli.train_config.has_fast_bfloat16", lambda: fast)
    monkeypatch.setattr("cli.train_config.nvidia_devices", lambda: devices)
    options = train.parse_args(["--style", "a.png", "--content-dir", "photos", *given])
    assert train.configured(options, {}).precision == precision


def test_the_first_steps_of_a_training_have_crops_of_half_the_side(tiny_flags, tmp_path, monkeypatch):
    from data.pipeline import CropStream  # imports TensorFlow

    sides, batches = [], CropStream.batches

    def noted(stream, *arguments, **options):
        for batch in batches(stream, *arguments, **options):
            sides.append(batch.shape[1])
            yield batch

    monkeypatch.setattr(CropStream, "batches", noted)
    assert train.main(tiny_flags(tmp_path, "--image-size", "64", "--steps", "4")) == 0
    assert sides == [32, 32, 32, 64]


def test_without_tensorflow_nothing_is_written(tiny_flags, tmp_path, monkeypatch, capsys):
    flags = tiny_flags(tmp_path / "new")
    monkeypatch.setattr("cli.training_checks.find_spec", lambda _name: None)
    monkeypatch.setattr("cli.doors.TRAINING_PACKAGES", frozenset({"tensorflow"}))
    assert train.main(flags) == 1
    assert "the package tensorflow is not installed; run make install" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()

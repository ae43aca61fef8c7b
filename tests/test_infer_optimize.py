"""The door of the slow method: `infer.py PHOTO --mode optimize ...`."""

import csv
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import infer
from cli import optimize
from data.images import load_image, save_image
from loss_net.presets import PRESETS

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def flags(tiny_inputs):
    """A function: further flags -> the command line of a few iterations on a small photo."""

    def command(*more: str) -> list[str]:
        return [
            *(str(tiny_inputs / "photos" / "photo0.png"), "--mode", "optimize"),
            *("--style-images", str(tiny_inputs / "style.png"), "--vgg", str(tiny_inputs / "vgg.npz")),
            *("--iterations", "4", *more),
        ]

    return command


def preset_from(*more: str):
    return optimize.preset_of(
        infer.parse_args(["a.jpg", "--mode", "optimize", "--style-images", "b.jpg", *more])
    )


def history(path: Path) -> list[dict[str, float]]:
    with path.open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def yielded(command: list[str]) -> list[tuple]:
    """What the optimisation of that command yields."""
    config = infer.parse_args(command)
    preset = optimize.preset_of(config)
    return list(optimize.build_steps(config, preset, optimize.load_pictures(config, preset)))


@pytest.mark.parametrize(
    ("more", "size"),
    [
        ((), (40, 48)),
        (("--width", "24"), (20, 24)),
        (("--size", "30x20"), (30, 20)),
        (("--max-side", "36"), (30, 36)),
        (("--max-side", "100"), (40, 48)),
        (("--preset", "souljoy", "--width", "24"), (20, 24)),
        (("--preset", "tf-tutorial"), (40, 48)),
    ],
)
def test_a_picture_of_the_size_asked_for_is_written(flags, tmp_path, more, size):
    target = tmp_path / "new" / "out.png"
    assert infer.main(flags("-o", str(target), *more)) == 0
    assert load_image(target).shape == (*size, 3)
    assert [path.name for path in target.parent.iterdir()] == ["out.png"]


def test_the_default_name_says_the_style_and_the_preset(flags, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert infer.main(flags()) == 0
    assert infer.main(flags("-o", str(tmp_path / "folder"), "--preset", "lengstrom")) == 0
    assert (tmp_path / "photo0_style_athalye.png").is_file()
    assert (tmp_path / "folder" / "photo0_style_lengstrom.png").is_file()


def test_the_seed_decides_the_noise(flags, tmp_path):
    pictures = []
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        assert infer.main(flags("-o", str(tmp_path / f"{name}.png"), "--seed", seed)) == 0
        pictures.append(load_image(tmp_path / f"{name}.png"))
    np.testing.assert_array_equal(pictures[0], pictures[1])
    assert np.abs(pictures[0] - pictures[2]).max() > 0


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_the_history_has_a_row_for_every_iteration_from_0(flags, tmp_path, optimizer):
    command = flags("--history", str(tmp_path / "new" / "a.csv"), "-o", str(tmp_path / "a.png"))
    command += ["--optimizer", optimizer]
    assert infer.main(command) == 0
    rows = history(tmp_path / "new" / "a.csv")
    assert [list(row) for row in rows] == [["step", "content", "style", "tv", "total"]] * 5
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 4]
    expected = {}
    for step, losses, _ in yielded(command):
        expected.setdefault(step, losses)
    for row in rows:
        for name in ("content", "style", "tv", "total"):
            assert row[name] == pytest.approx(expected[row["step"]][name], rel=1e-4)


def test_the_picture_of_the_lowest_loss_is_saved_not_the_last(flags, tmp_path):
    command = flags("-o", str(tmp_path / "a.png"), "--learning-rate", "150", "--initial", "content")
    assert infer.main(command) == 0
    steps = yielded(command)
    totals = [losses["total"] for _, losses, _ in steps]
    assert np.argmin(totals) != len(totals) - 1  # or this tests nothing
    expected = steps[int(np.argmin(totals))][2].clip(0, 255)
    assert np.abs(load_image(tmp_path / "a.png") - expected).max() <= 0.6


def test_losses_are_printed_as_often_as_asked_for(flags, tmp_path, capsys):
    assert infer.main(flags("-o", str(tmp_path / "a.png"), "--print-iterations", "2")) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    assert [line.split()[:2] for line in lines] == [["iteration", number] for number in "024"]
    assert all(name in lines[0] for name in ("content", "style", "tv", "total", "evaluations 1"))


def test_checkpoints_are_written_on_the_way(flags, tmp_path):
    pattern = tmp_path / "100%" / "at_%s.png"
    more = ("--checkpoint-output", str(pattern), "--checkpoint-iterations", "2", "--iterations", "5")
    command = flags("-o", str(tmp_path / "a.png"), *more)
    assert infer.main(command) == 0
    assert sorted(path.name for path in pattern.parent.iterdir()) == ["at_2.png", "at_4.png"]
    best = min(yielded(command)[:3], key=lambda step: step[1]["total"])
    assert np.abs(load_image(pattern.parent / "at_2.png") - best[2].clip(0, 255)).max() <= 0.6


def test_without_a_pattern_the_picture_itself_is_rewritten_on_the_way(flags, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr("data.images.save_image", lambda path, image: saved.append(path))
    assert infer.main(flags("-o", str(tmp_path / "a.png"), "--checkpoint-iterations", "2")) == 0
    assert saved == [tmp_path / "a.png"] * 2  # at 2 and at the end


@pytest.mark.parametrize(
    ("more", "field", "value"),
    [
        (("--content-weight", "0.5"), "content_weight", 0.5),
        (("--style-weight", "0"), "style_weight", 0),
        (("--tv-weight", "3"), "tv_weight", 3),
        (("--content-layers", "relu1_1", "relu2_2:0.5"), "content_layers", {"relu1_1": 1, "relu2_2": 0.5}),
        (("--style-layers", "relu3_1:2"), "style_layers", {"relu3_1": 2}),
        (("--pooling", "avg"), "pooling", "avg"),
        (("--architecture", "vgg16"), "architecture", "vgg16"),
        (("--optimizer", "lbfgs"), "optimizer", "lbfgs"),
        (("--learning-rate", "2.5"), "learning_rate", 2.5),
        (("--iterations", "7"), "iterations", 7),
        (("--initial", "content"), "initial", "content"),
        (("--initial", "content"), "noise_ratio", 0),
        (("--initial", "some.png"), "noise_ratio", 0),
        (("--initial", "some.png", "--noise-ratio", "0.5"), "noise_ratio", 0.5),
        (("--preset", "ist"), "noise_ratio", 0.7),
        (("--preset", "tf-tutorial"), "noise_ratio", 0),
        (("--preset", "tf-tutorial", "--initial", "noise"), "noise_ratio", 1),
        (("--preset", "ist", "--width", "100"), "size", None),
        (("--preset", "ist", "--width", "100"), "width", 100),
        (("--preset", "ist", "--size", "30x50"), "size", (30, 50)),
        (("--preset", "tf-tutorial", "--width", "100"), "max_side", None),
        (("--preset", "souljoy", "--max-side", "100"), "max_side", 100),
        (("--preset", "souljoy", "--max-side", "100"), "size", None),
    ],
)
def test_a_flag_overrides_the_preset(more, field, value):
    preset = preset_from(*more)
    owner = preset if hasattr(preset, field) else preset.loss
    assert getattr(owner, field) == value


@pytest.mark.parametrize("name", PRESETS)
def test_without_flags_the_preset_is_as_published(name):
    preset, published = preset_from("--preset", name), PRESETS[name]
    if published.initial == "content":
        assert preset.noise_ratio == 0
    else:
        assert preset == published


def test_the_presets_are_listed_without_a_photo(capsys):
    assert infer.main(["--list-presets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(PRESETS)


@pytest.mark.parametrize(
    "more",
    [
        ("--optimizer", "lbfgs"),
        ("--precision", "bfloat16"),
        ("--style-scales", "0.8"),
        ("--style-blend-weights", "2"),
    ],
)
def test_the_loss_is_lowered_with(flags, tmp_path, more):
    more = ("--history", str(tmp_path / "a.csv"), "-o", str(tmp_path / "a.png"), *more)
    assert infer.main(flags(*more)) == 0
    totals = [row["total"] for row in history(tmp_path / "a.csv")]
    assert totals[-1] < totals[0]


def chroma(image: np.ndarray) -> np.ndarray:
    """Differences between the channels, which luminance does not move."""
    return image - image.mean(axis=-1, keepdims=True)


def test_keep_colors_keeps_those_of_the_photo(flags, tmp_path, tiny_inputs):
    for name, more in (("kept", ("--keep-colors",)), ("plain", ())):
        target = tmp_path / f"{name}.png"
        assert infer.main(flags("-o", str(target), "--initial", "content", *more)) == 0
    photo = chroma(load_image(tiny_inputs / "photos" / "photo0.png"))
    kept, plain = (
        np.abs(chroma(load_image(tmp_path / f"{n}.png")) - photo).mean() for n in ("kept", "plain")
    )
    assert kept < 2 < plain


def test_fast_keep_colors_keeps_those_of_the_photo(style_dirs, tiny_inputs, tmp_path):
    photo_path, means = tiny_inputs / "photos" / "photo1.png", []
    for more in ((), ("--keep-colors",)):
        target = tmp_path / "a.png"
        assert (
            infer.main([str(photo_path), "--style", str(style_dirs["waves"]), "-o", str(target), *more]) == 0
        )
        means.append(np.abs(chroma(load_image(target)) - chroma(load_image(photo_path))).mean())
    assert means[1] < 0.5 * means[0]


USAGE_ERRORS = [
    (("--style-scales", "1", "2"), "--style-scales has 2 values for 1 --style-images"),
    (("--style-blend-weights", "1", "2"), "--style-blend-weights has 2 values for 1 --style-images"),
    (("--style-blend-weights", "0"), "--style-blend-weights must have a finite sum above 0"),
    (("--style-scales", "0"), "--style-scales must be above 0 and at most 1000, got 0"),
    (("--checkpoint-output", "out.png"), "--checkpoint-output out.png: needs one %s"),
    (("--style-layers", "relu6_1"), "unknown vgg19 layer 'relu6_1'; choose from relu1_1"),
    (("--content-layers", "relu3_4", "--architecture", "vgg16"), "unknown vgg16 layer 'relu3_4'"),
    (("--content-layers", "relu3_1:heavy"), "'relu3_1:heavy' is not LAYER or LAYER:WEIGHT"),
    (("--style-layers", "relu3_1:-1"), "'relu3_1:-1' is not LAYER or LAYER:WEIGHT"),
    (("--preset", "gatys"), "unknown --preset 'gatys'; choose from athalye, souljoy"),
    (("--size", "300"), "'300' is not HEIGHTxWIDTH"),
    (("--size", "0x300"), "'0x300' is not HEIGHTxWIDTH"),
    (("--iterations", "0"), "--iterations must be at least 1, got 0"),
    (("--noise-ratio", "1.5"), "--noise-ratio must be at least 0 and at most 1, got 1.5"),
    (("--content-weight", "nan"), "--content-weight must be a finite number, at least 0, got nan"),
    (("--learning-rate", "-1"), "--learning-rate must be at least 0, got -1"),
    (("--optimizer", "sgd"), "invalid choice: 'sgd'"),
    (("--style", "waves"), "--style belongs to --mode fast, not to --mode optimize"),
    (("--benchmark",), "--benchmark belongs to --mode fast"),
]


@pytest.mark.parametrize(("more", "words"), USAGE_ERRORS, ids=[" ".join(more) for more, _ in USAGE_ERRORS])
def test_a_usage_error_is_one_line_and_status_2(flags, tmp_path, capsys, more, words):
    with pytest.raises(SystemExit) as ended:
        infer.main(flags("-o", str(tmp_path / "a.png"), *more))
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("infer.py: ") and words in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["a.jpg", "--mode", "optimize"], "--mode optimize needs --style-images"),
        (["--mode", "optimize", "--style-images", "b.jpg"], "give a photo"),
        (["a.jpg", "c.jpg", "--mode", "optimize", "--style-images", "b.jpg"], "takes one photo at a time"),
        ([".", "--mode", "optimize", "--style-images", "b.jpg"], "takes one photo at a time"),
        (
            ["a.jpg", "--style-images", "b.jpg"],
            "--style-images belongs to --mode optimize, not to --mode fast",
        ),
        (["a.jpg", "--style", "waves", "--iterations", "5"], "--iterations belongs to --mode optimize"),
    ],
)
def test_what_is_missing_or_of_the_other_mode_is_named(capsys, command, words):
    with pytest.raises(SystemExit) as ended:
        infer.main(command)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


INPUT_ERRORS = {
    "small photo": (("--size", "10x40"), "photo0.png: 10x40 pixels (height x width) are too few for relu5_1"),
    "small style": (("--style-scales", "0.2"), "style.png: "),
    "no initial": (("--initial", "missing.png"), "missing.png: cannot be read"),
    "no weights": (("--vgg", "missing.npz"), "missing.npz: no such file"),
    "other weights": (("--architecture", "vgg16"), "VGG19 (it has conv3_4)"),
    "output suffix": (("-o", "FOLDER/a.xyz"), "unknown suffix '.xyz'"),
    "checkpoint suffix": (("--checkpoint-output", "FOLDER/a%s"), "no suffix"),
    "output below a file": (("-o", "FILE/a.png"), "cannot be written: "),
    "history is a folder": (("--history", "FOLDER"), "cannot be written: Is a directory"),
    "checkpoint below a file": (("--checkpoint-output", "FILE/%s.png"), "cannot be written: "),
    "no style": (("--style-images", "missing.jpg"), "missing.jpg: cannot be read"),
}


@pytest.mark.parametrize("fault", INPUT_ERRORS)
def test_an_input_error_is_one_line_and_status_1_and_nothing_is_written(
    flags, tiny_inputs, tmp_path, capsys, fault
):
    more, words = INPUT_ERRORS[fault]
    places = {"FOLDER": str(tmp_path), "FILE": str(tiny_inputs / "style.png")}
    more = [replaced(part, places) for part in more]
    assert infer.main(flags("-o", str(tmp_path / "a.png"), *more)) == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("infer.py: ") and words in lines[0]
    assert list(tmp_path.iterdir()) == []


def replaced(text: str, places: dict[str, str]) -> str:
    for name, place in places.items():
        text = text.replace(name, place)
    return text


def test_a_picture_too_large_for_the_memory_is_refused(flags, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("system.machine.available_memory", lambda: 1e6)
    assert infer.main(flags("-o", str(tmp_path / "a.png"))) == 1
    assert "40x48 pixels (height x width) need" in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "a.png").exists()


def breaking_steps(good: int):
    """Steps whose loss falls, then is no number."""
    for step in range(good):
        losses = dict.fromkeys(("content", "style", "tv"), 1.0) | {"total": 10.0 - step}
        yield step, losses, np.full((40, 48, 3), 100.0 + step, np.float32)
    yield good, dict.fromkeys(("content", "style", "tv", "total"), float("nan")), np.zeros((40, 48, 3))


def test_a_loss_that_is_no_number_stops_and_keeps_the_best_picture(flags, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(optimize, "build_steps", lambda *_: breaking_steps(3))
    more = ("-o", str(tmp_path / "a.png"), "--history", str(tmp_path / "a.csv"))
    assert infer.main(flags(*more)) == 1
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("infer.py: the loss")]
    assert error == ["infer.py: the loss became nan at iteration 3; lower the weights or --learning-rate"]
    np.testing.assert_array_equal(load_image(tmp_path / "a.png"), 102)
    assert [row["step"] for row in history(tmp_path / "a.csv")] == [0, 1, 2]


def test_a_loss_that_is_no_number_at_the_start_writes_nothing(flags, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(optimize, "build_steps", lambda *_: breaking_steps(0))
    save_image(tmp_path / "a.png", np.full((4, 4, 3), 7.0))
    assert infer.main(flags("-o", str(tmp_path / "a.png"))) == 1
    assert "nothing was written" in capsys.readouterr().err
    np.testing.assert_array_equal(load_image(tmp_path / "a.png"), 7)


def test_the_handlers_of_signals_are_put_back(flags, tmp_path):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert infer.main(flags("-o", str(tmp_path / "a.png"))) == 0
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.processes
@pytest.mark.parametrize(
    ("number", "status", "optimizer"),
    [(signal.SIGINT, 130, "adam"), (signal.SIGTERM, 143, "adam"), (signal.SIGINT, 130, "lbfgs")],
)
def test_a_signal_saves_the_best_picture_and_ends(flags, tmp_path, number, status, optimizer):
    more = ("-o", str(tmp_path / "a.png"), "--history", str(tmp_path / "a.csv"), "--print-iterations", "1")
    more += ("--iterations", "1000000", "--optimizer", optimizer, "--preset", "ist", "--size", "40x48")
    process = subprocess.Popen(
        [sys.executable, "-u", "infer.py", *flags(*more)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not process.stdout.readline().startswith("iteration 3 "):
        assert process.poll() is None, process.stderr.read()
    time.sleep(0.05)  # somewhere inside an iteration
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == status, stderr
    assert "Traceback" not in stderr
    assert load_image(tmp_path / "a.png").shape == (40, 48, 3)
    assert len(history(tmp_path / "a.csv")) >= 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.png"]


@pytest.mark.parametrize(
    ("flag", "name"),
    [
        *(
            (flag, name)
            for flag in ("-o", "--history")
            for name in ("photos/photo0.png", "style.png", "vgg.npz")
        ),
        ("--checkpoint-output", "link%s.png"),
    ],
)
def test_no_output_replaces_an_input(flags, tiny_inputs, tmp_path, capsys, flag, name):
    link = tiny_inputs / "link2.png"
    link.unlink(missing_ok=True)
    link.symlink_to(tiny_inputs / "style.png")
    before = {path: path.read_bytes() for path in tiny_inputs.rglob("*") if path.is_file()}
    output = () if flag == "-o" else ("-o", str(tmp_path / "a.png"))
    assert infer.main(flags(*output, flag, str(tiny_inputs / name), "--checkpoint-iterations", "1")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is the input" in line and "would be replaced" in line
    assert {path: path.read_bytes() for path in tiny_inputs.rglob("*") if path.is_file()} == before


def test_the_history_is_not_the_picture(flags, tmp_path, capsys):
    target = str(tmp_path / "a.png")
    assert infer.main(flags("-o", target, "--history", target)) == 2
    assert f"--history {target}: is the file of -o too; write to another file" in capsys.readouterr().err


def test_no_intermediate_picture_replaces_the_photo(flags, tiny_inputs, tmp_path, capsys):
    photo = tiny_inputs / "photos" / "photo0.png"
    pattern = str(photo).replace("photo0.png", "photo%s.png")
    more = ("-o", str(tmp_path / "a.png"), "--checkpoint-output", pattern, "--checkpoint-iterations", "1")
    assert infer.main(flags(*more)) == 0  # photo1.png to photo3.png are no inputs of this call
    command = flags(*more)
    command[0] = str(photo).replace("photo0", "photo2")
    before = Path(command[0]).read_bytes()
    assert infer.main(command) == 2
    assert "photo2.png, which would be replaced" in capsys.readouterr().err
    assert Path(command[0]).read_bytes() == before


@pytest.mark.parametrize("more", [("--width", "100000000"), ("--style-scales", "1000", "--width", "1000")])
def test_absurd_sizes_are_refused_before_they_take_memory(flags, tmp_path, capsys, more):
    assert infer.main(flags("-o", str(tmp_path / "a.png"), *more)) == 1
    assert "more than 200 megapixels; lower --width" in capsys.readouterr().err


def test_blend_weights_with_an_infinite_sum_are_refused(flags, tiny_inputs, capsys):
    more = (
        "--style-images",
        *[str(tiny_inputs / "style.png")] * 2,
        "--style-blend-weights",
        "1e308",
        "1e308",
    )
    with pytest.raises(SystemExit):
        infer.main(flags(*more))
    assert "must have a finite sum above 0" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["inf", "nan", "-inf"])
@pytest.mark.parametrize("flag", ["--style-scales", "--style-blend-weights", "--tv-weight", "--noise-ratio"])
def test_numbers_that_are_not_finite_are_usage_errors(flags, capsys, flag, value):
    with pytest.raises(SystemExit) as ended:
        infer.main(flags(f"{flag}={value}"))
    assert ended.value.code == 2
    assert f"{flag} must be " in capsys.readouterr().err


def failing_writes(monkeypatch, *names: str) -> None:
    """Every file of these names fails to be written, as on a full disk."""
    from system import files

    def write_whole(path, write):
        if path.name in names:
            raise OSError(28, "No space left on device")
        return real(path, write)

    real = files.write_whole
    for module in ("system.files", "data.encoding"):
        monkeypatch.setattr(f"{module}.write_whole", write_whole)


@pytest.mark.parametrize("name", ["a.csv", "at_2.png"])
def test_a_side_output_that_fails_costs_neither_the_picture_nor_the_others(
    flags, tmp_path, capsys, monkeypatch, name
):
    more = ("--history", str(tmp_path / "a.csv"), "--checkpoint-output", str(tmp_path / "at_%s.png"))
    command = flags("-o", str(tmp_path / "a.png"), *more, "--checkpoint-iterations", "1")
    failing_writes(monkeypatch, name)
    assert infer.main(command) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if "optimization continues" in line]
    assert len(lines) == 1 and "No space left on device" in lines[0]
    expected = {"a.csv", "a.png", "at_1.png", "at_2.png", "at_3.png"} - {name}
    assert {path.name for path in tmp_path.iterdir()} == expected
    assert infer.main([*command[:-6], "-o", str(tmp_path / "b.png")]) == 0
    np.testing.assert_array_equal(load_image(tmp_path / "a.png"), load_image(tmp_path / "b.png"))


def test_a_picture_that_fails_on_the_way_only_is_no_failure(flags, tmp_path, capsys, monkeypatch):
    from data import images

    saves = []

    def save_image(path, image):
        saves.append(path)
        if len(saves) == 1:
            raise OSError(28, "No space left on device")
        real(path, image)

    real = images.save_image
    monkeypatch.setattr(images, "save_image", save_image)
    assert infer.main(flags("-o", str(tmp_path / "a.png"), "--checkpoint-iterations", "1")) == 0
    assert len(saves) == 4 and (tmp_path / "a.png").is_file()
    assert "the optimization continues" in capsys.readouterr().err


def test_a_picture_that_cannot_be_written_in_the_end_is_an_error(flags, tmp_path, capsys, monkeypatch):
    failing_writes(monkeypatch, "a.png")
    more = ("--history", str(tmp_path / "a.csv"))
    assert infer.main(flags("-o", str(tmp_path / "a.png"), *more)) == 1
    assert "a.png" in capsys.readouterr().err.splitlines()[-1]
    assert len(history(tmp_path / "a.csv")) == 5  # the losses are kept


def test_a_failure_to_allocate_keeps_the_best_picture_so_far(flags, tmp_path, capsys, monkeypatch):
    def steps(*_):
        yield from list(breaking_steps(2))[:2]
        raise MemoryError("std::bad_alloc")

    monkeypatch.setattr(optimize, "build_steps", steps)
    assert infer.main(flags("-o", str(tmp_path / "a.png"))) == 1
    assert "not enough memory (std::bad_alloc); give a smaller --max-side" in capsys.readouterr().err
    np.testing.assert_array_equal(load_image(tmp_path / "a.png"), 101)


def test_a_million_million_intermediate_pictures_are_refused_without_their_names(flags, tmp_path, capsys):
    pattern = str(tmp_path / "at_%s.png")
    with pytest.raises(SystemExit):
        infer.main(flags("--checkpoint-output", pattern, "--iterations", str(10**12)))
    assert "--iterations must be at least 1 and at most 1000000000" in capsys.readouterr().err
    inputs = [tmp_path / "at_500000000.png"]
    assert 500000000 in optimize._steps_in_names(pattern, inputs)


def test_links_to_inputs_are_found_among_intermediate_pictures(tiny_inputs, tmp_path):
    (tmp_path / "at_70_of.png").symlink_to(tiny_inputs / "style.png")
    (tmp_path / "at_00919191_of.png").symlink_to(
        tiny_inputs / "style.png"
    )  # no name of an intermediate picture
    assert 70 in optimize._steps_in_names(str(tmp_path / "at_%s_of.png"), [tiny_inputs / "style.png"])
    # not a smaller number: those in the path of the other file count too, and pytest numbers its folders
    assert 919191 not in optimize._steps_in_names(str(tmp_path / "at_%s_of.png"), [tiny_inputs / "style.png"])

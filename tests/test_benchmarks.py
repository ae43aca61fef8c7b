"""Every script in benchmarks/ runs, with the smallest possible input."""

import json
import os
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
MODULES = sorted(path.stem for path in (ROOT / "benchmarks").glob("*.py"))
SHARED = ("moving_clips", "recipes", "stability_scores", "timing")  # not scripts; the scripts import them
SCRIPTS = [name for name in MODULES if name not in SHARED]
TINY_CONVOLUTIONS = ((1, 8, 4),)  # batch, side, channels


@pytest.fixture
def tables(capsys):
    """A function: runs a call and returns the lines that it prints, split into words."""

    def words_of(call, *arguments, **options) -> list[list[str]]:
        call(*arguments, **options)
        return [line.split() for line in capsys.readouterr().out.splitlines()]

    return words_of


@pytest.fixture
def trained_dir(style_dirs, tmp_path) -> Path:
    """A style whose style.json has the configuration of a training."""
    style_dir = shutil.copytree(style_dirs["waves"], tmp_path / "waves")
    config = {"preset": "lengstrom", "content_weight": 7.5, "style_weight": 100.0, "tv_weight": 200.0}
    info = json.loads((style_dir / "style.json").read_text())
    (style_dir / "style.json").write_text(json.dumps({**info, "config": {**config, "style_size": None}}))
    return style_dir


def floats(words: list[str]) -> list[float]:
    """The numbers among words."""
    numbers = [word.rstrip("%") for word in words]
    return [float(number) for number in numbers if number.replace(".", "").replace("e+", "").isdigit()]


def test_every_benchmark_has_a_test():
    source = Path(__file__).read_text(encoding="utf-8")
    assert [name for name in SCRIPTS if f'"benchmarks.{name}"' not in source] == []


def test_timing_takes_median_and_interquartile_range():
    timing = import_module("benchmarks.timing")
    calls = []
    assert len(timing.run_seconds(lambda: calls.append(1), 3)) == len(calls) == 3
    assert timing.median_and_spread([4.0, 1.0, 2.0, 3.0, 5.0, 6.0, 7.0]) == (4.0, 1.0)


@pytest.mark.tensorflow
def test_export_speed_compares_the_runtimes_that_are_installed(style_dirs, tables):
    benchmark = import_module("benchmarks.export_speed")
    lines = tables(benchmark.main, [str(style_dirs["waves"]), "--sides", "24", "--turns", "1"])
    assert lines[1][:3] == ["24", "ONNX", "Runtime"] and float(lines[1][-1]) == 0
    names = [" ".join(words) for words in lines[2:]]
    assert any("TensorFlow, saved_model" in name for name in names)
    assert all(float(words[-2]) < 2 for words in lines[1:])  # levels


def test_tiling_error_compares_tiles_with_the_whole(style_dirs, tables):
    benchmark = import_module("benchmarks.tiling_error")
    lines = tables(benchmark.main, [str(style_dirs["waves"])], sizes=((24, 40),), tiles=(16,))
    assert lines[1][:4] == ["waves", "24", "40", "16"]
    assert float(lines[1][4]) < 1  # levels


def test_artefacts_finds_a_lattice_and_no_noise_and_no_edge():
    artefacts = import_module("benchmarks.artefacts")
    rows, columns = np.mgrid[:192, :192]
    lattice = 20 * np.cos(2 * np.pi * rows / 8) * np.cos(2 * np.pi * columns / 5.5)
    noise = np.random.default_rng(0).normal(0, 10, (192, 192))
    edge = np.where(columns + rows / 3 > 100, 200.0, 20.0)

    def levels(luminance: np.ndarray) -> float:
        return artefacts.pattern_levels(np.repeat(luminance[:, :, None], 3, axis=2))

    assert levels(lattice) == pytest.approx(lattice.std(), rel=0.05)
    assert levels(lattice + noise + edge) == pytest.approx(lattice.std(), rel=0.1)
    assert levels(noise) < 1 and levels(edge) < 1 and levels(np.zeros((192, 192))) == 0


def test_artefacts_counts_round_dots_and_no_strokes_and_no_noise():
    artefacts = import_module("benchmarks.artefacts")

    def dots(luminance: np.ndarray) -> float:
        return artefacts.dots_per_area(np.repeat(luminance[:, :, None], 3, axis=2))

    rows, columns = np.mgrid[:200, :200]
    spots, dashes = np.full((200, 200), 30.0), np.full((200, 200), 30.0)
    for row, column in np.random.default_rng(1).integers(1, 19, (40, 2)) * 10:
        spots[row - 1 : row + 2, column - 1 : column + 2] = 200
        dashes[row - 1 : row + 2, column - 8 : column + 9] = 200
    placed = len(np.unique(np.argwhere(spots[::10, ::10] > 100), axis=0))
    assert dots(spots) == pytest.approx(placed / 4, rel=0.05)
    assert dots(255 - spots) == 0
    assert dots(dashes) < 0.2 * dots(spots)
    assert dots(100 + 50 * np.cos(2 * np.pi * rows / 6)) == 0
    assert dots(128 + np.random.default_rng(2).normal(0, 4, (200, 200))) == 0


def test_artefacts_tells_a_weave_of_the_strides_from_other_patterns():
    artefacts = import_module("benchmarks.artefacts")
    rows = np.arange(190, dtype=np.float32)

    def weave(period: float) -> float:
        luminance = np.broadcast_to(100 + 10 * np.sin(2 * np.pi * rows / period)[:, None], (190, 200))
        return artefacts.weave_levels(np.repeat(luminance[:, :, None], 3, axis=2))

    assert weave(4) == pytest.approx(10 / np.sqrt(2), rel=0.01)
    assert max(weave(period) for period in (3, 5, 6, 8, 12)) < 0.5


def test_artefacts_measures_a_border():
    artefacts = import_module("benchmarks.artefacts")
    image = np.full((128, 128, 3), 100.0)
    assert artefacts.border_levels(image) == 0
    image[:12] += 30
    assert artefacts.border_levels(image) == pytest.approx(30)


def test_artefacts_prints_a_row_for_each_style_and_picture(style_dirs, tables, photo, tmp_path):
    benchmark = import_module("benchmarks.artefacts")
    picture = photo(tmp_path / "painting.png", width=300, height=260)
    lines = tables(benchmark.main, [str(style_dirs["waves"]), "--pictures", str(picture)])
    assert lines[1][0] == "waves" and len(floats(lines[1][1:])) == 12
    assert lines[2][0] == "painting.png" and lines[2][2] == "mean,"


def test_folder_speed_compares_a_folder_with_the_network(style_dirs, tables, photo, tmp_path):
    benchmark = import_module("benchmarks.folder_speed")
    for index in range(3):
        photo(tmp_path / "photos" / f"{index}.jpg", seed=index)
    flags = ["--photos", str(tmp_path / "photos"), "--count", "2", "--runs", "2"]
    first, _, *rows = tables(benchmark.main, [str(style_dirs["waves"]), *flags])
    assert first[:2] == ["2", "photos"]
    assert [row[0] for row in rows] == ["network", "folder", "folder,"]
    assert floats(rows[0])[1] == floats(rows[0])[3] == 100 and all(share > 0 for share in floats(rows[1]))


def test_folder_speed_says_why_a_folder_cannot_be_stylized(style_dirs, tmp_path):
    benchmark = import_module("benchmarks.folder_speed")
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    with pytest.raises(RuntimeError, match=r"broken\.jpg: not an image"):
        benchmark.stylize_files([tmp_path / "broken.jpg"], str(style_dirs["waves"]), None)


def test_lesson30_loader_gets_the_same_picture_in_either_graph(style_dirs, tables):
    benchmark = import_module("benchmarks.lesson30_loader")
    lines = tables(benchmark.main, [str(style_dirs[name]) for name in ("waves", "stars")], sizes=((24, 37),))
    assert [line[-1] for line in lines if "apart" in line] != []
    assert all(float(line[-1]) < 1 for line in lines if "apart" in line)


def test_video_flicker_falls_with_temporal(style_dirs, tables):
    benchmark = import_module("benchmarks.video_flicker")
    lines = tables(benchmark.main, [str(style_dirs["waves"]), "--frames", "3"])
    flickers = [float(line[1]) for line in lines[3:]]
    assert len(flickers) == 5 and flickers[-1] < flickers[0]


def test_video_stability_prints_a_row_for_each_smoothing(style_dirs, tables, photo, tmp_path):
    pytest.importorskip("cv2")
    benchmark = import_module("benchmarks.video_stability")
    photo(tmp_path / "photos" / "a.png", height=33, width=47)
    flags = ["--val-dir", str(tmp_path / "photos"), "--frames", "2", "--smoothing", "none", "still"]
    lines = tables(benchmark.main, [str(style_dirs["waves"]), *flags])
    assert [line[:2] for line in lines[4:]] == [["waves", name] for name in ("glued", "none", "still")]
    source, glued, none = (floats(line)[0] for line in lines[3:6])
    assert glued < none and source < none


@pytest.mark.tensorflow
def test_video_stability_prints_losses_and_traces_with_vgg(
    trained_dir, tiny_inputs, tables, monkeypatch, photo
):
    pytest.importorskip("cv2")
    benchmark = import_module("benchmarks.video_stability")
    recipes = import_module("benchmarks.recipes")
    monkeypatch.setattr(benchmark, "PATHS", ("pan",))
    photo(trained_dir.parent / "waves.png", height=40, width=40)
    flags = ["--val-dir", str(tiny_inputs / "val"), "--frames", "2", "--smoothing", "none"]
    flags += ["--vgg", str(tiny_inputs / "vgg.npz"), "--paintings", str(trained_dir.parent)]
    lines = tables(benchmark.main, [str(trained_dir), *flags])
    losses, traces = (line for line in lines[6:] if line[:1] == ["waves"])
    assert len(floats(losses)) == len(recipes.LOSSES) and len(floats(traces)) == len(recipes.TRACE_LAYERS) + 3


def test_inference_speed_measures_one_style_and_the_peak(style_dirs):
    benchmark = import_module("benchmarks.inference_speed")
    times = benchmark.measure_one(str(style_dirs["waves"]), "onnx", 16, 1)
    assert set(times) == {"load", "first", "steady", "peak"} and min(times.values()) > 0
    assert benchmark.convolution_peak(1, ((4, 8),)) > 0


@pytest.mark.processes
def test_inference_speed_prints_a_row_for_each_runtime(style_dirs, tables):
    benchmark = import_module("benchmarks.inference_speed")
    lines = tables(benchmark.main, [str(style_dirs["waves"]), "--sides", "16", "--runs", "1"])
    rows = lines[2:]
    assert {line[2] for line in rows} == set(benchmark.RUNTIMES) >= {"onnx", "tensorflow"}
    assert all(min(floats(line)) >= 0 for line in rows)


def test_training_curve_prints_the_validation_losses(tables, tmp_path):
    from transformer.training.summaries import TrainingSummaries

    summaries = TrainingSummaries(tmp_path)
    summaries.write_config({"steps": 20})
    for step in (10, 20):
        summaries.write_validation(step, {"total": 6.0 / step, "content": 3.0, "style": 2.0, "tv": 1.0})
    summaries.close()
    lines = tables(import_module("benchmarks.training_curve").main, [str(tmp_path)])
    assert [line[1] for line in lines[2:]] == ["10", "20"]
    assert [line[5:-1:2] for line in lines[2:]] == [["0.6", "3", "2", "1"], ["0.3", "3", "2", "1"]]


def test_pipeline_speed_reads_files_and_cache(tiny_inputs, tables):
    benchmark = import_module("benchmarks.pipeline_speed")
    sizes = ["--image-size", "16", "--batches", "1", "--warmup", "1"]
    lines = tables(benchmark.main, [str(tiny_inputs / "photos"), *sizes])
    assert [line[0] for line in lines[2:]] == ["files", "cache"]
    assert all(float(line[1]) > 0 for line in lines[2:])


def test_convolution_speed_compares_the_ways_in_one_run(tiny_inputs, tables, monkeypatch):
    benchmark = import_module("benchmarks.convolution_speed")
    monkeypatch.setattr(benchmark, "ROUNDS", 2)
    monkeypatch.setattr("loss_net.convolution.TRANSPOSED_FROM_CHANNELS", 1)  # the tiny VGG has few channels
    monkeypatch.setattr("loss_net.convolution.WINOGRAD_FROM_CHANNELS", (1, 1))
    lines = tables(benchmark.main, ["--vgg", str(tiny_inputs / "vgg.npz"), "--image-size", "32"])
    assert [line[0] for line in lines[1:]] == list(benchmark.WAYS)
    plain, *others = (float(line[-1]) for line in lines[1:])
    assert plain == 0 and float(lines[1][3]) == 1
    transposed, winograd = others
    assert 0 <= transposed < 1e-3  # exactly 0 where the CPU has the same program for both
    assert 0 < winograd < 1e-3  # rounds differently


def test_validation_loss_scores_a_style_beside_the_published_network(
    style_dirs, tiny_inputs, tables, tmp_path
):
    benchmark = import_module("benchmarks.validation_loss")
    painting = tmp_path / "udnie.png"
    painting.write_bytes((tiny_inputs / "style.png").read_bytes())
    rows = {}
    for picture in (tiny_inputs / "style.png", painting):
        inputs = ["--style", picture, "--val-dir", tiny_inputs / "val", "--vgg", tiny_inputs / "vgg.npz"]
        rows[picture.stem] = tables(benchmark.main, [str(style_dirs["waves"]), *map(str, inputs)])[2:]
    (alone,) = rows["style"]
    content, style, tv, total = floats(alone[1:])
    assert total == pytest.approx(content + style + tv, rel=0.02)  # printed with three digits
    published, same, ratios = rows["udnie"]
    assert floats(published[-4:])[-1] == 2.97e6 and same == alone
    assert floats(ratios[-4:])[-1] == pytest.approx(total / 2.97e6, abs=0.01)


def test_fast_vs_slow_counts_iterations_and_keeps_its_results(trained_dir, tiny_inputs, tables, tmp_path):
    benchmark = import_module("benchmarks.fast_vs_slow")
    inputs = {"--style-image": "style.png", "--val-dir": "val", "--vgg": "vgg.npz"}
    flags = [word for flag, name in inputs.items() for word in (flag, str(tiny_inputs / name))]
    flags += ["--iterations", "2", "--max-side", "32", "--methods", "lbfgs/noise"]
    flags += ["--results", str(tmp_path / "results.json"), "--output", str(tmp_path / "table")]
    lines = tables(benchmark.main, [str(trained_dir), *flags])
    assert [line[1] for line in lines if line[:1] == ["|"]][1:] == ["lbfgs,"]
    (of_photo,) = json.loads((tmp_path / "results.json").read_text()).values()
    assert len(of_photo["lbfgs/noise"]["totals"]) == 3  # the initial image and two iterations
    assert (tmp_path / "table.md").is_file()


def test_optimize_speed_measures_both_precisions(tiny_inputs, tables):
    benchmark = import_module("benchmarks.optimize_speed")
    flags = ["--vgg", str(tiny_inputs / "vgg.npz"), "--side", "16", "--iterations", "2"]
    lines = tables(benchmark.main, flags, peak_shapes=TINY_CONVOLUTIONS)
    assert [line[0] for line in lines[2:]] == ["float32", "bfloat16"]
    assert all(min(floats(line[1:])) >= 0 for line in lines[2:])


def test_training_speed_measures_a_step_and_its_parts(tables):
    from transformer.architecture import Architecture

    benchmark = import_module("benchmarks.training_speed")
    (line,) = tables(
        benchmark.print_row,
        Architecture(0.125, residual_blocks=0),
        "float32",
        xla=False,
        side=16,
        batch_size=1,
        weights=benchmark.random_vgg((2, 2, 2, 2, 2)),
        peak_shapes=TINY_CONVOLUTIONS,
    )
    assert line[:3] == ["0.125", "float32", "no"]
    assert len(line) == 10 and min(floats(line[3:])) >= 0


def test_schedule_and_average_validates_own_and_averaged_weights(tiny_inputs, tables):
    from transformer.architecture import Architecture

    benchmark = import_module("benchmarks.schedule_and_average")
    inputs = {"--style": "style.png", "--content-dir": "photos", "--val-dir": "val", "--vgg": "vgg.npz"}
    flags = [word for flag, name in inputs.items() for word in (flag, str(tiny_inputs / name))]
    flags += ["--steps", "1", "--every", "1", "--image-size", "32", "--rates", "constant", "cosine", "linear"]
    lines = tables(benchmark.main, flags, architecture=Architecture(0.125, residual_blocks=0))
    assert [line[:2] for line in lines[1:]] == [["constant", "1"], ["cosine", "1"], ["linear", "1"]]
    assert all(len(line) == 5 and min(map(float, line[2:])) > 0 for line in lines[1:])


def test_cluster_run_has_hostile_files_that_no_photo_reader_takes(tmp_path):
    from data.images import ImageError, load_image

    pytest.importorskip("psutil")
    benchmark = import_module("benchmarks.cluster_run")
    files = [benchmark.hostile_file(number) for number in range(20)]
    assert len({content for _, content in files}) > 10
    for number, (suffix, content) in enumerate(files):
        path = tmp_path / f"{number}{suffix}"
        path.write_bytes(content)
        with pytest.raises(ImageError):
            load_image(path)


def test_cluster_run_cuts_the_same_different_photos_every_time(photo, tmp_path):
    pytest.importorskip("psutil")
    benchmark = import_module("benchmarks.cluster_run")
    photo(tmp_path / "sources" / "wide.jpg", height=100, width=140)
    photo(tmp_path / "sources" / "high.jpg", height=140, width=100, seed=1)
    made = []
    for name in ("first", "second"):
        hostile = benchmark.write_photos([tmp_path / "sources"], tmp_path / name, count=7, hostile=2)
        made.append(benchmark.contents(tmp_path / name))
    assert made[0] == made[1] and len(made[0]) == 7
    good = {content for name, content in made[0].items() if name not in hostile}
    assert len(hostile) == 2 and len(good) == 5


def test_cluster_run_finds_every_kind_of_fault():
    pytest.importorskip("psutil")
    faults = import_module("benchmarks.cluster_run").faults
    expected = {f"{name}_udnie.jpg": name.encode() for name in "abc"}
    rows = [{"path": f"s3://in/{name}.jpg", "status": "written"} for name in "abc"]
    failed = {"path": "s3://in/x.jpg", "status": "failed"}
    good, hostile = ["a.jpg", "b.jpg", "c.jpg"], ["x.jpg"]

    def kinds(pictures: dict, found: list[dict]) -> set[str]:
        every = faults(expected, good, hostile, pictures, found, was_cut=False)
        return {kind for kind, names in every.items() if names}

    assert kinds(expected, [*rows, failed]) == set()
    assert kinds({**expected, "a_udnie.jpg": b"other"}, [*rows, failed]) == {"different"}
    assert kinds({"a_udnie.jpg": b"a"}, [*rows, failed]) == {"missing"}
    assert kinds({**expected, ".b.tmp": b""}, [*rows, failed]) == {"unknown"}
    assert kinds(expected, rows) == {"hostile, not failed", "in no or two rows"}
    assert kinds(expected, [*rows, rows[0], failed]) == {"written twice", "in no or two rows"}
    wrong = [{**rows[0], "status": "failed"}, *rows[1:], failed]
    assert kinds(expected, wrong) == {"good, failed", "not in the report"}


@pytest.mark.cluster
def test_object_store_measures_requests(tables):
    pytest.importorskip("psutil")
    benchmark = import_module("benchmarks.object_store")
    lines = tables(benchmark.main, ["--servers", "moto", "--requests", "3", "--listed", "5"])
    assert [line[1] for line in lines[2:]] == ["GET", "PUT", "list"] and lines[-1][2] == "5"


def test_scale_model_grows_with_workers_until_a_part_is_full():
    pytest.importorskip("psutil")
    model = import_module("benchmarks.scale_model")
    rates, world, engine = model.Rates(driver_seconds=0.0), model.World(), model.Engine()
    ideal = 100 / model.photo_seconds(rates)
    assert model.steady_rate(rates, world, 100, engine) == pytest.approx(ideal, rel=0.05)
    assert model.steady_rate(rates, world, 100, engine, cores=20) == pytest.approx(ideal / 5, rel=0.05)
    for slow, known, surroundings in [
        ("driver", model.Rates(driver_seconds=0.1), world),
        ("PUT requests", rates, model.World(puts_per_second=100)),
        ("GET requests", rates, model.World(gets_per_second=100)),
    ]:
        limit = model.limits(known, surroundings, engine)[slow]
        assert limit < ideal
        assert model.steady_rate(known, surroundings, 100, engine) == pytest.approx(limit, rel=0.05)


def test_scale_model_prints_a_row_for_each_number_of_workers(tables, tmp_path):
    pytest.importorskip("psutil")
    model = import_module("benchmarks.scale_model")
    (tmp_path / "rates.json").write_text(json.dumps({"network_seconds": 0.1}))
    lines = tables(model.main, ["predict", "--rates", str(tmp_path / "rates.json"), "--names", "1e6"])
    rows = [line for line in lines if line[0].isdigit() and len(line) == 6]
    assert [int(row[0]) for row in rows] == list(model.WORKERS)


@pytest.mark.processes
@pytest.mark.parametrize("script", SCRIPTS)
def test_every_script_starts_as_a_command(script):
    command = [sys.executable, f"benchmarks/{script}.py", "--help"]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=dict(os.environ))
    assert finished.returncode == 0, finished.stderr


def test_optimizers_are_compared_over_seeds(tiny_inputs, tables):
    from transformer.architecture import Architecture

    benchmark = import_module("benchmarks.optimizers")
    inputs = {"--style": "style.png", "--content-dir": "photos", "--val-dir": "val", "--vgg": "vgg.npz"}
    flags = [word for flag, name in inputs.items() for word in (flag, str(tiny_inputs / name))]
    flags += ["--steps", "2", "--image-size", "32", "--seeds", "0", "1", "--val-side", "32"]
    lines = tables(benchmark.main, flags, architecture=Architecture(0.125, residual_blocks=0))
    assert [line[:2] for line in lines[1::3]] == [["adam", "0"], ["muon", "0"], ["soap", "0"]]
    assert all(line[1] == "mean" and float(line[2]) > 0 for line in lines[3::3])


def test_architectures_are_timed_and_trained(tiny_inputs, tables):
    benchmark = import_module("benchmarks.architectures")
    inputs = {"--style": "style.png", "--content-dir": "photos", "--val-dir": "val", "--vgg": "vgg.npz"}
    flags = [word for flag, name in inputs.items() for word in (flag, str(tiny_inputs / name))]
    flags += ["--steps", "2", "--image-size", "32", "--seeds", "0", "1", "--val-side", "32", "--side", "32"]
    lines = tables(benchmark.main, ["0.125,0,5", "0.125,1,3", *flags])
    assert [line[0] for line in lines[1:]] == ["0.125,0,5", "0.125,1,3"]
    assert lines[1][3] == "1.000" and all(float(line[4]) > 0 for line in lines[1:])


@pytest.mark.parametrize("text", ["0.5", "0.5,5,4", "wide,5,5", "0.5,5,5,5"])
def test_a_shape_that_does_not_exist_is_refused(text):
    benchmark = import_module("benchmarks.architectures")
    with pytest.raises(benchmark.argparse.ArgumentTypeError, match="is not a shape such as 0.5,5,5"):
        benchmark.architecture(text)


@pytest.mark.tensorflow  # in another process
def test_new_style_trains_from_each_start_and_repeats_nothing(tiny_inputs, tables, tmp_path):
    benchmark = import_module("benchmarks.new_style")
    flags = [str(tiny_inputs / "style.png"), "--content-dir", str(tiny_inputs / "photos")]
    flags += [
        "--val-dir",
        str(tiny_inputs / "val"),
        "--vgg",
        str(tiny_inputs / "vgg.npz"),
        "--starts",
        "none",
    ]
    flags += ["--presets", "balanced", "--steps", "1", "2", "--output", str(tmp_path)]
    flags += [
        "--more",
        "--width",
        "0.125",
        "--residual-blocks",
        "1",
        "--image-size",
        "32",
        "--precision",
        "float32",
    ]
    lines = tables(benchmark.main, flags)
    assert [line[0] for line in lines[:2]] == ["style/balanced/none/1", "style/balanced/none/2"]
    again = tables(benchmark.main, ["--photo", str(tiny_inputs / "style.png"), *flags])
    assert (tmp_path / "style-balanced.jpg").is_file()
    assert again[1][:3] == ["|", "style", "|"] and again[-1][1:6:2] == ["style", "balanced", "none"]


def test_video_speed_compares_the_video_with_its_network(style_dirs, tables, tmp_path):
    from tests.test_video import write_clip

    benchmark = import_module("benchmarks.video_speed")
    clip = write_clip(tmp_path / "clip.mp4")
    options = ["--clip", str(clip), "--frames", "4", "--height", "24", "--width", "32", "--rounds", "2"]
    table = tables(benchmark.main, [str(style_dirs["waves"]), *options])
    assert table[0][0] == "4" and table[0][3] == "32x24,"
    network, video, share = (floats(words)[0] for words in table[2:])
    assert network > 0 and video > 0 and share > 0


def test_a_peer_program_writes_a_picture_and_prints_its_seconds(tmp_path, capsys):
    benchmark = import_module("benchmarks.peer_programs")
    photo, picture = tmp_path / "photo.jpg", tmp_path / "picture.png"
    Image.fromarray(np.full((40, 60, 3), 99, np.uint8)).save(photo)
    benchmark.main(["onnx", str(photo), str(picture), "2"])
    assert Image.open(picture).size == (60, 40)
    assert 0 < float(capsys.readouterr().out) < 60


def test_peers_prints_a_line_for_each_contender_with_ratios_to_the_first(tables, monkeypatch):
    benchmark = import_module("benchmarks.peers")
    program = "import sys; open(sys.argv[1], 'w'); print(0.5)"

    class Fake(benchmark.Contender):
        def cold_command(self, photo, picture):
            return [sys.executable, "-c", program if self.name == "onnx" else "sys.exit(3)", str(picture)]

    fakes = [Fake(name, sys.executable, True) for name in ("onnx", "broken")]
    monkeypatch.setattr(benchmark, "contenders", lambda pythons: fakes)
    lines = tables(benchmark.main, ["--sizes", "16x24", "--runs", "1"])
    assert lines[1][:2] == ["16x24", "onnx"] and lines[1][3] == "1.00"
    assert lines[2][1:] == ["broken", "failed", "-", "failed", "-", "-"]


def test_service_load_loses_no_photo(capsys):
    pytest.importorskip("uvicorn", reason="needs the packages of requirements-serve.txt")
    pytest.importorskip("psutil")
    benchmark = import_module("benchmarks.service_load")
    benchmark.main(["--clients", "2", "--photos", "3", "--megapixels", "0.02", "--seed", "1"])
    results = json.loads(capsys.readouterr().out)
    assert results["pictures"] == results["good photos"] > 0 and results["faults"] == []
    assert results["refused"] == results["hostile files"] and results["exit status"] == 143
    assert results["uploads left"] == 0 and results["temporary files left after SIGTERM"] == []
    assert set(results["like infer.py"]) == {"identical"}

"""--preview-grid: a sheet of style weights to choose from, instead of a training."""

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import train
from cli import preview_grid
from data.images import load_image


@pytest.fixture
def grid_flags(tiny_inputs, tmp_path, monkeypatch) -> list[str]:
    monkeypatch.setattr(preview_grid, "ITERATIONS", 3)
    monkeypatch.setattr(preview_grid, "SIDE", 40)
    return [
        *("--style", str(tiny_inputs / "style.png"), "--content-dir", str(tiny_inputs / "photos")),
        *("--vgg", str(tiny_inputs / "vgg.npz"), "--preset", "balanced", "--log-dir", str(tmp_path / "log")),
    ]


@pytest.fixture
def recorded(monkeypatch) -> list[tuple]:
    """The weight and the start of every picture of the slow method."""
    from loss_net import optimize, perceptual

    pictures, weights = [], []
    build, make = perceptual.build_perceptual_loss, optimize.optimize_image

    def noted_build(vgg_weights, styles, preset, **options):
        weights.append(preset.style_weight)
        return build(vgg_weights, styles, preset, **options)

    def noted_make(loss, initial, preset):
        pictures.append((weights[-1], initial.shape, preset.iterations))
        return make(loss, initial, preset)

    monkeypatch.setattr(perceptual, "build_perceptual_loss", noted_build)
    monkeypatch.setattr(optimize, "optimize_image", noted_make)
    return pictures


def test_a_sheet_of_the_presets_weight_and_some_around_it_is_written_and_shown(
    grid_flags, recorded, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(preview_grid, "PHOTOS", 2)
    assert train.main([*grid_flags, "--preview-grid"]) == 0
    sheet_path = tmp_path / "log" / "preview_grid.png"
    assert [weight for weight, *_ in recorded] == [
        weight for weight in (0.16, 0.62, 2.5, 10.0, 40.0) for _ in range(2)
    ]
    assert {shape[1] for _, shape, _ in recorded} == {40} and {count for *_, count in recorded} == {3}
    assert load_image(sheet_path).shape[1] > 6 * 40
    assert f"{sheet_path} is ready" in capsys.readouterr().err
    events = EventAccumulator(str(tmp_path / "log"))
    events.Reload()
    assert "preview_grid" in events.Tags()["tensors"]
    assert {path.name.split(".")[0] for path in (tmp_path / "log").iterdir()} == {"preview_grid", "events"}


def test_weights_photos_and_place_can_be_chosen(grid_flags, tiny_inputs, recorded, tmp_path):
    preview = ["--preview", str(tiny_inputs / "val" / "unseen.png")]
    sheet_path = tmp_path / "sheet.png"
    flags = [*grid_flags, *preview, "--preview-grid", str(sheet_path), "--grid-weights", "1", "0"]
    assert train.main(flags) == 0
    assert [weight for weight, *_ in recorded] == [1.0, 0.0]
    assert sheet_path.is_file() and not (tmp_path / "log" / "preview_grid.png").exists()


def test_a_column_of_a_high_weight_is_closer_to_the_style_and_further_from_the_photo(
    grid_flags, tiny_inputs, monkeypatch
):
    from data import contact_sheet as module
    from loss_net.perceptual import build_perceptual_loss
    from loss_net.presets import LOSS_PRESETS
    from loss_net.weights import load_vgg_weights

    seen = {}

    def noted(rows, labels, **options):
        seen.update(rows=rows, labels=labels)
        return sheet(rows, labels, **options)

    sheet = module.contact_sheet
    monkeypatch.setattr(module, "contact_sheet", noted)
    monkeypatch.setattr(preview_grid, "ITERATIONS", 15)
    assert train.main([*grid_flags, "--preview-grid", "--grid-weights", "0.1", "1000"]) == 0
    assert seen["labels"] == ["photo", "--style-weight 0.1", "--style-weight 1000"]
    weights = load_vgg_weights(tiny_inputs / "vgg.npz", "vgg19")
    loss = build_perceptual_loss(weights, [load_image(tiny_inputs / "style.png")], LOSS_PRESETS["balanced"])
    for photo, low, high in seen["rows"].values():
        of_low, of_high = (loss(picture[None], photo[None]) for picture in (low, high))
        assert of_high["style"] < 0.7 * of_low["style"]
        assert of_high["content"] > of_low["content"]


def test_a_finished_style_of_the_name_is_no_obstacle(grid_flags, tiny_run, recorded):
    flags = [
        "--output-dir",
        str(tiny_run / "styles"),
        "--name",
        "tiny",
        "--preview-grid",
        "--grid-weights",
        "1",
    ]
    assert train.main([*grid_flags, *flags]) == 0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--grid-weights", "1"], "--grid-weights needs --preview-grid"),
        (["--preview-grid", "--grid-weights", "-1"], "--grid-weights must be at least 0, got -1.0"),
    ],
)
def test_mistakes_are_named(grid_flags, flags, words, capsys):
    with pytest.raises(SystemExit) as exit:
        train.main([*grid_flags, "--name", "a", *flags])
    assert exit.value.code == 2
    assert words in capsys.readouterr().err.splitlines()[-1]


def test_a_suffix_that_is_no_picture_is_refused_before_the_work(grid_flags, tmp_path, recorded, capsys):
    assert train.main([*grid_flags, "--preview-grid", str(tmp_path / "sheet.xyz")]) == 1
    assert "unknown suffix '.xyz'" in capsys.readouterr().err and recorded == []
    assert not Path(tmp_path / "sheet.xyz").exists()


def test_unreadable_photos_of_a_folder_are_passed_over_and_equal_names_kept_apart(
    grid_flags, recorded, photo, tmp_path
):
    folder = tmp_path / "mixed"
    photo(folder / "a" / "same.png", seed=1)
    photo(folder / "b" / "same.png", seed=2)
    (folder / "0.jpg").write_text("no image")
    flags = ["--content-dir", str(folder), "--preview-grid", "--grid-weights", "1"]
    assert train.main([*grid_flags, *flags]) == 0
    assert len(recorded) == 2

"""infer.py --sheet: a photo in every style on one sheet."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import infer
from data.images import load_image
from transformer.export import style_folder
from transformer.inference.limits import DEFAULT_GRAIN
from transformer.inference.loading import load_stylizer


@pytest.fixture
def shelf(monkeypatch, style_dirs, tmp_path) -> Path:
    """A checkpoints/ folder that holds "stars" and "waves" in place of the repository's."""
    folder = tmp_path / "checkpoints"
    shutil.copytree(style_dirs["waves"].parent, folder)
    monkeypatch.setattr(style_folder, "CHECKPOINTS_DIR", folder)
    monkeypatch.chdir(tmp_path)
    return folder


def contains(sheet: np.ndarray, picture: np.ndarray) -> bool:
    """Whether a picture is on the sheet, within half a level for rounding."""
    height, width = picture.shape[:2]
    corners = np.argwhere(np.abs(sheet - picture[0, 0]).max(-1) <= 0.5)
    return any(
        sheet[top : top + height, left : left + width].shape == picture.shape
        and np.abs(sheet[top : top + height, left : left + width] - picture).max() <= 0.5
        for top, left in corners
    )


def test_a_sheet_shows_the_photo_in_every_style(photo, shelf, tmp_path, capsys):
    path = photo(tmp_path / "cat.png", height=50, width=70)
    assert infer.main([str(path), "--sheet"]) == 0
    sheet, image = np.asarray(Image.open(tmp_path / "cat_styles.png"), np.float32), load_image(path)
    assert contains(sheet, image)
    for style in ("stars", "waves"):
        assert contains(sheet, load_stylizer(shelf / style, grain=DEFAULT_GRAIN)(image)), style
    assert capsys.readouterr().err == "infer.py: wrote cat_styles.png (2 styles)\n"


def test_pictures_on_a_sheet_are_small_unless_max_side_says_otherwise(photo, shelf, tmp_path):
    path = photo(tmp_path / "cat.png", height=20, width=900)
    widths = {}
    for name, flags in (("a.png", []), ("b.png", ["--max-side", "90"])):
        assert infer.main([str(path), "--sheet", "-o", name, *flags]) == 0
        widths[name] = Image.open(name).width
    assert 480 < widths["a.png"] < 600 and 90 < widths["b.png"] < 300


def test_sheets_of_a_folder_keep_its_tree_and_a_bad_photo_costs_only_its_own(photo, shelf, tmp_path, capsys):
    photo(tmp_path / "photos" / "a.png", height=20, width=30)
    photo(tmp_path / "photos" / "zoo" / "b.png", height=30, width=20)
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no picture")
    assert infer.main([str(tmp_path / "photos"), "--sheet", "-o", str(tmp_path / "art")]) == 1
    written = sorted(str(path.relative_to(tmp_path / "art")) for path in (tmp_path / "art").rglob("*.png"))
    assert written == ["a_styles.png", "zoo/b_styles.png"]
    assert sum("broken.jpg" in line for line in capsys.readouterr().err.splitlines()) == 1


def test_a_damaged_style_is_reported_and_left_out(photo, shelf, tmp_path, capsys):
    path = photo(tmp_path / "cat.png", height=20, width=30)
    onnx_path = shelf / "stars" / style_folder.ONNX_FILE
    onnx_path.write_bytes(onnx_path.read_bytes()[:100])
    assert infer.main([str(path), "--sheet"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert "stars" in lines[0] and lines[1] == "infer.py: wrote cat_styles.png (1 style)"


def test_a_style_that_fails_on_a_photo_costs_only_its_own_picture(
    photo, shelf, tmp_path, monkeypatch, capsys
):
    from transformer.inference.stylizer import Stylizer

    path, whole = photo(tmp_path / "cat.png", height=20, width=30), Stylizer.__call__
    calls = []

    def failing(self, image):
        calls.append(image)
        if len(calls) == 1:
            raise style_folder.StyleError("the network gives values that are no numbers")
        return whole(self, image)

    monkeypatch.setattr(Stylizer, "__call__", failing)
    assert infer.main([str(path), "--sheet"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "infer.py: stars: the network gives values that are no numbers"
    assert lines[1] == "infer.py: wrote cat_styles.png (1 style)"


def test_a_style_called_photo_does_not_hide_the_photo(photo, shelf, tmp_path):
    path = photo(tmp_path / "cat.png", height=20, width=30)
    (shelf / "stars").rename(shelf / "photo")
    assert infer.main([str(path), "--sheet"]) == 0
    sheet = np.asarray(Image.open("cat_styles.png"), np.float32)
    assert contains(sheet, load_image(path)) and contains(
        sheet, load_stylizer(shelf / "photo", grain=DEFAULT_GRAIN)(load_image(path))
    )


def test_a_missing_photo_is_called_missing(shelf, tmp_path, capsys):
    assert infer.main([str(tmp_path / "nowhere.jpg"), "--sheet", "-o", "a.png"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "nowhere.jpg" in line and "several photos" not in line


def test_photos_that_memory_cannot_hold_are_named(photo, shelf, tmp_path, monkeypatch, capsys):
    from transformer.inference.stylizer import Stylizer

    def full(self, image):
        raise MemoryError

    monkeypatch.setattr(Stylizer, "__call__", full)
    assert infer.main([str(photo(tmp_path / "cat.png")), "--sheet"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "cat.png: not enough memory" in line and line.endswith("lower --max-side")


def test_without_any_style_there_is_no_sheet(photo, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(style_folder, "CHECKPOINTS_DIR", tmp_path / "nowhere")
    assert infer.main([str(photo(tmp_path / "cat.png")), "--sheet", "-o", str(tmp_path / "a.png")]) == 1
    assert "contains no style that can be used" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "give at least one photo"),
        (["a.png", "--style", "waves"], "leave out --style"),
        (["a.png", "--blend", "waves"], "leave out --blend"),
        (["a.png", "--stroke-scale", "2", "--temporal", "0.5"], "leave out --temporal and --stroke-scale"),
        (["a.png", "--restore-size"], "leave out --restore-size"),
        (["a.png", "--benchmark"], "leave out --benchmark"),
        (["a.png", "--mode", "optimize"], "--sheet belongs to --mode fast"),
    ],
)
def test_flags_that_a_sheet_cannot_follow_are_refused(flags, words, capsys):
    with pytest.raises(SystemExit) as exit:
        infer.main([*flags, "--sheet"])
    (line,) = capsys.readouterr().err.splitlines()
    assert exit.value.code == 2 and words in line


def test_a_sheet_replaces_no_photo(photo, shelf, tmp_path, capsys):
    path = photo(tmp_path / "cat.png")
    assert infer.main([str(path), "--sheet", "-o", str(path)]) == 2
    assert "is the input" in capsys.readouterr().err


def test_a_video_has_no_sheet(shelf, tmp_path, capsys):
    assert infer.main([str(tmp_path / "clip.mp4"), "--sheet"]) == 2
    assert "give photos only" in capsys.readouterr().err


def test_strength_0_shows_the_photo_everywhere(photo, shelf, tmp_path):
    path = photo(tmp_path / "cat.png", height=40, width=40)
    assert infer.main([str(path), "--sheet", "--strength", "0"]) == 0
    sheet, image = np.asarray(Image.open("cat_styles.png"), np.float32), load_image(path)
    places = [
        corner
        for corner in np.argwhere((sheet == image[0, 0]).all(-1))
        if np.array_equal(sheet[corner[0] : corner[0] + 40, corner[1] : corner[1] + 40], image)
    ]
    assert len(places) == 3

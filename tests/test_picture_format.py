"""data/picture_format.py: the suffix of a picture is that of its photo, where that format can hold the picture."""

import argparse
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import infer
from data import picture_format
from data.encoding import SAVE_SUFFIXES
from data.picture_format import is_same_format, picture_suffix


def saved(path: Path, mode: str = "RGB", content: str | None = None, size=(9, 6)) -> Path:
    """A picture in the format `content`, whatever the suffix says; with alpha, half of it is transparent."""
    pixels = np.zeros((size[1], size[0], len(mode)), np.uint8)
    pixels[:, : size[0] // 2] = 255
    Image.fromarray(pixels.squeeze()).save(path, format=content)
    return path


@pytest.mark.parametrize("suffix", sorted(SAVE_SUFFIXES))
def test_a_picture_has_the_suffix_of_its_photo(tmp_path, suffix):
    assert picture_suffix(saved(tmp_path / f"cat{suffix}")) == suffix
    assert picture_suffix(saved(tmp_path / f"cat{suffix.upper()}")) == suffix


@pytest.mark.parametrize("name", ["cat.gif", "cat.heic", "cat.avif", "cat", "cat.xyz"])
def test_a_format_that_cannot_be_written_becomes_png(tmp_path, name):
    assert picture_suffix(tmp_path / name) == ".png"


@pytest.mark.parametrize("suffix", sorted(picture_format.JPEG_SUFFIXES))
def test_other_names_of_jpeg_become_jpg(tmp_path, suffix):
    assert picture_suffix(saved(tmp_path / f"cat{suffix}", content="JPEG")) == ".jpg"


@pytest.mark.parametrize("suffix", [".jpg", ".bmp", ".webp"])
def test_the_suffix_counts_and_not_the_content(tmp_path, suffix):
    assert picture_suffix(saved(tmp_path / f"cat{suffix}", content="PNG")) == suffix


@pytest.mark.parametrize(("suffix", "expected"), [(".jpg", ".png"), (".bmp", ".png"), (".webp", ".webp")])
def test_transparency_that_the_suffix_cannot_hold_becomes_png(tmp_path, suffix, expected):
    assert picture_suffix(saved(tmp_path / f"cat{suffix}", "RGBA", content="PNG")) == expected


def test_transparency_of_which_nothing_is_seen_keeps_the_suffix(tmp_path):
    Image.new("RGBA", (9, 6), (1, 2, 3, 255)).save(tmp_path / "cat.jpg", format="PNG")
    assert picture_suffix(tmp_path / "cat.jpg") == ".jpg"


def test_a_bmp_file_with_transparency_becomes_png(tmp_path):
    assert picture_suffix(saved(tmp_path / "opaque.bmp")) == ".bmp"
    path = saved(tmp_path / "cat.bmp", "RGBA")
    content = bytearray(path.read_bytes())
    content[14:18] = (108).to_bytes(4, "little")  # a header of version 4, with a mask for alpha
    content[30:34] = (3).to_bytes(4, "little")
    masks = b"".join(mask.to_bytes(4, "little") for mask in (0xFF0000, 0xFF00, 0xFF, 0xFF000000))
    content[10:14] = (122).to_bytes(4, "little")
    path.write_bytes(bytes(content[:54]) + masks + bytes(108 - 40 - 16) + bytes(content[54:]))
    assert picture_suffix(path) == ".png"


@pytest.mark.parametrize(("suffix", "expected"), [(".jpg", ".png"), (".webp", ".png"), (".tif", ".tif")])
def test_more_than_8_bits_that_the_suffix_cannot_hold_become_png(tmp_path, suffix, expected):
    gray = np.linspace(0, 65535, 54).reshape(6, 9).astype(np.uint16)
    Image.fromarray(gray).save(tmp_path / f"cat{suffix}", format="PNG")
    assert picture_suffix(tmp_path / f"cat{suffix}") == expected


def test_a_size_that_the_suffix_cannot_hold_becomes_png_unless_the_picture_is_smaller(tmp_path):
    path = saved(tmp_path / "wide.webp", content="PNG", size=(17_000, 2))
    assert picture_suffix(path) == ".png"
    assert picture_suffix(path, max_side=16_000) == ".webp"


@pytest.mark.parametrize(
    "content", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n and then nothing that is right"]
)
def test_a_photo_that_cannot_be_read_keeps_its_suffix(tmp_path, content):
    (tmp_path / "cat.jpg").write_bytes(content)
    assert picture_suffix(tmp_path / "cat.jpg") == picture_suffix(tmp_path / "missing.jpg") == ".jpg"


def test_a_file_whose_content_is_that_of_its_suffix_is_not_decoded_for_this(tmp_path, monkeypatch):
    paths = [saved(tmp_path / f"cat{suffix}") for suffix in sorted(SAVE_SUFFIXES)]
    monkeypatch.setattr(picture_format, "decode_file", pytest.fail)
    assert [picture_suffix(path) for path in paths] == sorted(SAVE_SUFFIXES)


def test_two_suffixes_may_name_one_format():
    assert is_same_format(".jpg", ".JPEG") and is_same_format(".TIF", ".tiff") and is_same_format(".x", ".x")
    assert not is_same_format(".jpg", ".png") and not is_same_format(".xyz", ".png")


def test_every_choice_of_format_can_be_written():
    (action,) = [
        action
        for action in infer._build_parser()._actions
        if isinstance(action, argparse.Action) and action.dest == "format"
    ]
    assert {f".{choice}" for choice in action.choices} <= SAVE_SUFFIXES
    assert all(
        any(is_same_format(f".{choice}", suffix) for choice in action.choices) for suffix in SAVE_SUFFIXES
    )

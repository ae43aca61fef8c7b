"""data/encoding.py: every kind of file goes out, complete or not at all."""

import errno
import os
import stat
import zlib

import numpy as np
import pytest
import pyvips
from PIL import Image

from data.decoding import Picture
from data.encoding import encode_file
from data.images import check_image_suffix, load_image, save_image

SAVED_SUFFIXES = [".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".bmp", ".PNG"])
def test_save_image_and_load_image_round_trip_exactly(tmp_path, pixels_u8, suffix):
    path = tmp_path / f"stylized{suffix}"
    save_image(path, pixels_u8.astype(np.float32))
    np.testing.assert_array_equal(load_image(path), pixels_u8)


@pytest.mark.parametrize(("suffix", "tolerance"), [(".jpg", 2), (".jpeg", 2), (".webp", 4)])
def test_save_image_and_load_image_round_trip_closely(tmp_path, pixels_u8, suffix, tolerance):
    path = tmp_path / f"stylized{suffix}"
    save_image(path, pixels_u8.astype(np.float32))
    assert np.abs(load_image(path) - pixels_u8).mean() < tolerance


@pytest.mark.parametrize(
    ("suffix", "picture_format"),
    [
        (".jpg", "JPEG"),
        (".jpeg", "JPEG"),
        (".png", "PNG"),
        (".webp", "WEBP"),
        (".tif", "TIFF"),
        (".bmp", "BMP"),
    ]
    + [(".tiff", "TIFF"), (".JPG", "JPEG")],
)
def test_save_image_writes_the_format_its_suffix_names(tmp_path, pixels_u8, suffix, picture_format):
    path = tmp_path / f"stylized{suffix}"
    save_image(path, pixels_u8)
    with Image.open(path) as written:
        assert (written.format, written.mode) == (picture_format, "RGB")


def test_save_image_keeps_full_color_resolution_in_jpeg(tmp_path):
    path = tmp_path / "stripes.jpg"
    stripes = np.zeros((32, 32, 3), np.float32)
    stripes[:, ::2, 0] = stripes[:, 1::2, 2] = 255  # red and blue by turns: 4:2:0 would give one purple
    save_image(path, stripes)
    assert np.abs(load_image(path) - stripes).mean() < 10
    with Image.open(path) as written:
        assert [component[1:3] for component in written.layer] == [(1, 1)] * 3


def test_save_image_writes_jpeg_of_quality_95(tmp_path, pixels_u8):
    save_image(tmp_path / "stylized.jpg", pixels_u8)
    Image.fromarray(pixels_u8).save(tmp_path / "reference.jpg", quality=95)
    with (
        Image.open(tmp_path / "stylized.jpg") as written,
        Image.open(tmp_path / "reference.jpg") as reference,
    ):
        assert written.quantization == reference.quantization


@pytest.mark.parametrize(
    ("suffix", "options"),
    [(".webp", {"quality": 95}), (".png", {"compress_level": 2, "compress_type": zlib.Z_RLE})],
)
def test_save_image_writes_webp_and_png_with_the_measured_options(tmp_path, pixels_u8, suffix, options):
    save_image(tmp_path / f"stylized{suffix}", pixels_u8)
    Image.fromarray(pixels_u8).save(tmp_path / f"reference{suffix}", **options)
    assert (tmp_path / f"stylized{suffix}").read_bytes() == (tmp_path / f"reference{suffix}").read_bytes()


def test_16_bit_png_files_are_compressed_as_fast_as_those_of_8_bits(tmp_path):
    rows, columns = np.mgrid[0:256, 0:256] // 16
    pixels_u16 = (257 * np.stack([rows, columns, (rows + columns) // 2], axis=-1)).astype(np.uint16)
    encode_file(tmp_path / "deep.png", Picture(pixels_u16))
    image = pyvips.Image.new_from_array(pixels_u16, interpretation="rgb16")
    sizes = [len(image.write_to_buffer(".png", compression=level)) for level in (2, 6)]
    assert sizes[0] != sizes[1]  # or the next line proves nothing
    assert (tmp_path / "deep.png").stat().st_size == sizes[0]


def test_save_image_makes_the_parent_folders(tmp_path, pixels_u8):
    path = tmp_path / "a" / "b" / "stylized.png"
    save_image(path, pixels_u8)
    assert path.is_file()


@pytest.mark.parametrize("mask", [0o022, 0o027])
def test_save_image_heeds_the_umask(tmp_path, pixels_u8, mask):
    path = tmp_path / "stylized.png"
    former_mask = os.umask(mask)
    try:
        save_image(path, pixels_u8)
    finally:
        os.umask(former_mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_save_image_replaces_an_older_file_and_leaves_nothing_else(tmp_path, pixels_u8):
    path = tmp_path / "stylized.png"
    path.write_bytes(b"older")
    save_image(path, pixels_u8)
    np.testing.assert_array_equal(load_image(path), pixels_u8)
    assert list(tmp_path.iterdir()) == [path]


def test_save_image_accepts_the_longest_name_a_folder_can_hold(tmp_path, pixels_u8):
    path = tmp_path / ("n" * 251 + ".png")
    save_image(path, pixels_u8)
    assert path.is_file()


def fail_with_a_full_disk(*arguments, **options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(("owner", "step"), [(Image.Image, "save"), (os, "replace")])
def test_save_image_leaves_the_older_file_untouched_when_it_fails(
    tmp_path, pixels_u8, monkeypatch, owner, step, error_of
):
    path = tmp_path / "stylized.png"
    path.write_bytes(b"older")
    monkeypatch.setattr(owner, step, fail_with_a_full_disk)
    message = error_of(save_image, path, pixels_u8)
    assert "cannot be written: No space left on device" in message
    assert "free space" in message
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


def test_save_image_removes_its_temporary_file_when_interrupted(tmp_path, pixels_u8, monkeypatch):
    def interrupt(*arguments, **options):
        assert any(tmp_path.iterdir())  # the unfinished file exists by now
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_image(tmp_path / "stylized.png", pixels_u8)
    assert not any(tmp_path.iterdir())


def test_save_image_refuses_a_target_that_is_a_folder(tmp_path, pixels_u8, error_of):
    path = tmp_path / "folder.png"
    path.mkdir()
    assert "Is a directory" in error_of(save_image, path, pixels_u8)
    assert list(tmp_path.iterdir()) == [path]


def test_save_image_refuses_a_parent_that_is_a_file(tmp_path, pixels_u8, error_of):
    (tmp_path / "file").touch()
    message = error_of(save_image, tmp_path / "file" / "stylized.png", pixels_u8)
    assert "cannot be written" in message
    assert "choose another path" in message


def test_save_image_reports_a_folder_it_may_not_write(tmp_path, pixels_u8, monkeypatch, error_of):
    def refuse(path, *arguments):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(os, "open", refuse)  # chmod would not stop a test that runs as root
    message = error_of(save_image, tmp_path / "stylized.png", pixels_u8)
    assert "Permission denied" in message
    assert "permissions" in message
    assert ".tmp" not in message  # the user never asked for that file


def test_save_image_reports_a_format_that_cannot_hold_the_picture(tmp_path, error_of):
    message = error_of(save_image, tmp_path / "wide.webp", np.zeros((2, 16_384, 3), np.float32))
    assert "16383" in message
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("save", [check_image_suffix, lambda path: save_image(path, np.zeros((4, 4, 3)))])
@pytest.mark.parametrize(
    ("name", "received"),
    [
        ("picture.xyz", "unknown suffix '.xyz'"),
        ("picture.gif", "unknown suffix '.gif'"),
        ("picture", "no suffix"),
    ]
    + [(".png", "no suffix")],
)
def test_an_unknown_suffix_is_refused_with_the_list_of_known_ones(tmp_path, save, name, received, error_of):
    message = error_of(save, tmp_path / name)
    assert received in message
    assert message.endswith(" ".join(SAVED_SUFFIXES))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [*SAVED_SUFFIXES, ".JPG", ".Png"])
def test_check_image_suffix_accepts_every_format_that_can_be_written(tmp_path, pixels_u8, suffix):
    check_image_suffix(tmp_path / f"stylized{suffix}")
    save_image(tmp_path / f"stylized{suffix}", pixels_u8)
    assert load_image(tmp_path / f"stylized{suffix}").shape == pixels_u8.shape

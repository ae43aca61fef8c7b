"""data/images.py: every kind of file in, every kind of file out, and what the errors say."""

import errno
import os
import re
import stat
import struct
import subprocess
import sys
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from data import decoding
from data.images import (
    IMAGE_SUFFIXES,
    ImageError,
    check_image_suffix,
    keep_colors,
    list_images,
    load_image,
    resize_image,
    save_image,
)

HEIGHT, WIDTH = 20, 30
SAVED_SUFFIXES = [".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"]


@pytest.fixture
def pixels_u8() -> np.ndarray:
    """A smooth gradient with four different corners, [20, 30, 3]: no flip or channel swap goes unseen."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([rows * 12, columns * 8, 255 - rows * 6 - columns * 4], axis=-1).astype(np.uint8)


@pytest.fixture
def grey_u16() -> np.ndarray:
    """Every part of the 16-bit range, both ends included: [20, 30]."""
    return np.linspace(0, 65535, HEIGHT * WIDTH).round().astype(np.uint16).reshape(HEIGHT, WIDTH)


def png_bytes(*, height: int, width: int, bits: int, colour_type: int, rows: bytes) -> bytes:
    """A PNG written by hand, for what Pillow reads but does not write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(rows, 1))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


def error_of(action, *arguments, **options) -> str:
    """The message of the ImageError the action raises, checked to be one line that opens with the file."""
    with pytest.raises(ImageError) as caught:
        action(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{arguments[0][0] if isinstance(arguments[0], list) else arguments[0]}: ")
    return message


# Reading: formats and colour modes


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_load_image_reads_lossless_formats_exactly(tmp_path, pixels_u8, suffix):
    path = tmp_path / f"photo{suffix}"
    Image.fromarray(pixels_u8).save(path)
    image = load_image(path)
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert image.dtype == np.float32
    assert image.flags["C_CONTIGUOUS"] and image.flags["WRITEABLE"]
    np.testing.assert_array_equal(image, pixels_u8)


@pytest.mark.parametrize(("suffix", "tolerance"), [(".jpg", 3), (".webp", 5), (".gif", 20)])
def test_load_image_reads_lossy_formats_closely(tmp_path, pixels_u8, suffix, tolerance):
    path = tmp_path / f"photo{suffix}"
    Image.fromarray(pixels_u8).save(path, quality=95)
    assert np.abs(load_image(path) - pixels_u8).mean() < tolerance


def test_load_image_tells_the_format_from_the_content(tmp_path, pixels_u8):
    path = tmp_path / "really_a_png.jpg"
    Image.fromarray(pixels_u8).save(path, format="PNG")
    np.testing.assert_array_equal(load_image(path), pixels_u8)


def test_load_image_accepts_a_path_as_text(tmp_path, pixels_u8):
    path = tmp_path / "photo.png"
    Image.fromarray(pixels_u8).save(path)
    np.testing.assert_array_equal(load_image(str(path)), pixels_u8)


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".tif"])
def test_load_image_takes_the_first_of_several_frames(tmp_path, suffix):
    path = tmp_path / f"frames{suffix}"
    frames = [Image.new("RGB", (WIDTH, HEIGHT), colour) for colour in ("red", "blue")]
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
    with Image.open(path) as written:
        assert written.n_frames == 2
    np.testing.assert_array_equal(load_image(path), np.full((HEIGHT, WIDTH, 3), (255, 0, 0)))


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("1", ".png"), ("1", ".tif"), ("L", ".png"), ("L", ".jpg"), ("P", ".png"), ("P", ".gif"), ("P", ".bmp")]
    + [("CMYK", ".tif"), ("CMYK", ".jpg"), ("YCbCr", ".tif"), ("PA", ".tif")],
)
def test_load_image_shows_what_pillow_shows_in_every_opaque_mode(tmp_path, pixels_u8, mode, suffix):
    path = tmp_path / f"mode{suffix}"
    Image.fromarray(pixels_u8).convert(mode).save(path)
    with Image.open(path) as stored:
        if mode == "YCbCr" and stored.mode == "RGB":
            pytest.skip("this Pillow turns YCbCr into RGB itself")
        assert stored.mode == mode
        shown = np.asarray(stored.convert("RGB"))
    assert shown.std() > 20  # not one flat colour that anything would equal
    np.testing.assert_array_equal(load_image(path), shown)


def test_load_image_brings_lab_back_to_rgb(tmp_path, pixels_u8):
    from PIL import ImageCms

    to_lab = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    path = tmp_path / "lab.tif"
    ImageCms.applyTransform(Image.fromarray(pixels_u8), to_lab).save(path)
    assert np.abs(load_image(path) - pixels_u8).mean() < 2


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_load_image_scales_16_bit_grey_by_257(tmp_path, grey_u16, suffix):
    path = tmp_path / f"deep{suffix}"
    Image.fromarray(grey_u16).save(path)
    expected = np.repeat(grey_u16[..., None] / 257, 3, axis=-1)
    np.testing.assert_allclose(load_image(path), expected, atol=1e-3)


def test_load_image_reads_big_endian_16_bit_grey(tmp_path, grey_u16):
    path = tmp_path / "deep.tif"
    Image.frombytes("I;16B", (WIDTH, HEIGHT), grey_u16.astype(">u2").tobytes()).save(path)
    np.testing.assert_allclose(load_image(path)[..., 0], grey_u16 / 257, atol=1e-3)


def test_load_image_reads_32_bit_integers_on_the_16_bit_scale(tmp_path, grey_u16):
    path = tmp_path / "deep.tif"
    Image.fromarray(grey_u16.astype(np.int32)).save(path)
    np.testing.assert_allclose(load_image(path)[..., 1], grey_u16 / 257, atol=1e-3)


@pytest.mark.parametrize("full_scale", [1, 255])
def test_load_image_reads_float_grey_of_either_scale(tmp_path, grey_u16, full_scale):
    path = tmp_path / "float.tif"
    Image.fromarray((grey_u16 / 65535 * full_scale).astype(np.float32)).save(path)
    np.testing.assert_allclose(load_image(path)[..., 2], grey_u16 / 257, atol=1e-3)


@pytest.mark.parametrize("values", [(-1, 200), (0, 70000), (5.0, 65535.0), (-0.5, 1.0), (0.0, np.nan)])
def test_load_image_refuses_grey_of_unknown_scale(tmp_path, values):
    path = tmp_path / "deep.tif"
    is_float = isinstance(values[1], float)
    pixels = np.resize(np.array(values, np.float32 if is_float else np.int32), (4, 4))
    Image.fromarray(pixels).save(path)
    message = error_of(load_image, path)
    if not np.isnan(values[1]):
        assert f"from {pixels.min()} to {pixels.max()}" in message
    assert ("0..1 or 0..255" if is_float else "0..65535") in message
    assert "rescale them" in message


def test_load_image_reads_16_bit_rgb_to_its_last_bit(tmp_path, grey_u16):
    pixels_u16 = np.stack([grey_u16, grey_u16[::-1], grey_u16[:, ::-1]], axis=-1)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels_u16)
    path = tmp_path / "deep.png"
    path.write_bytes(png_bytes(height=HEIGHT, width=WIDTH, bits=16, colour_type=2, rows=rows))
    np.testing.assert_allclose(load_image(path), pixels_u16 / 257, atol=1e-4)


def test_load_image_refuses_an_unsupported_mode(tmp_path):
    path = tmp_path / "premultiplied.tif"
    Image.new("LA", (4, 4), (50, 100)).save(path)
    extra_samples = struct.Struct("<HHII")  # tag 338, short, one value: 2 is plain alpha, 1 premultiplied
    plain, premultiplied = (extra_samples.pack(338, 3, 1, value) for value in (2, 1))
    assert path.read_bytes().count(plain) == 1
    path.write_bytes(path.read_bytes().replace(plain, premultiplied))
    message = error_of(load_image, path)
    if "not an image that can be read here" in message:
        pytest.skip("this Pillow does not open premultiplied grey at all")
    assert "colour mode La is not supported" in message
    assert "convert it to 8-bit RGB" in message


# Reading: transparency


def test_load_image_lays_alpha_over_the_background(tmp_path):
    path = tmp_path / "alpha.png"
    pixels = np.full((4, 4, 4), (200, 100, 0, 255), np.uint8)
    pixels[0, :, 3] = (0, 51, 102, 255)
    Image.fromarray(pixels).save(path)
    image = load_image(path, background=(10, 20, 30))
    opacity = np.array([0, 0.2, 0.4, 1])[:, None]
    expected = np.array([200, 100, 0]) * opacity + np.array([10, 20, 30]) * (1 - opacity)
    np.testing.assert_allclose(image[0], expected, atol=1e-3)
    np.testing.assert_array_equal(image[1], np.full((4, 3), (200, 100, 0)))


def test_load_image_lays_transparent_pixels_over_white_unless_told_otherwise(tmp_path):
    path = tmp_path / "alpha.webp"
    Image.new("RGBA", (WIDTH, HEIGHT), (0, 0, 0, 0)).save(path, lossless=True)
    np.testing.assert_array_equal(load_image(path), np.full((HEIGHT, WIDTH, 3), 255))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_load_image_lays_grey_alpha_over_the_background(tmp_path, suffix):
    path = tmp_path / f"alpha{suffix}"
    Image.new("LA", (WIDTH, HEIGHT), (100, 51)).save(path)
    expected = np.full((HEIGHT, WIDTH, 3), np.array([100, 100, 100]) * 0.2 + np.array([255, 0, 0]) * 0.8)
    np.testing.assert_allclose(load_image(path, background=(255, 0, 0)), expected, atol=1e-3)


@pytest.mark.parametrize(
    ("mode", "suffix", "transparency"),
    [("P", ".png", 0), ("P", ".png", bytes([0, 255])), ("P", ".gif", 0), ("L", ".png", 0)]
    + [("RGB", ".png", (0, 0, 0)), ("1", ".png", 0)],
)
def test_load_image_honours_a_transparent_colour_in_every_mode(tmp_path, mode, suffix, transparency):
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    pixels[:, WIDTH // 2 :] = 255
    grey = Image.fromarray(pixels)
    stored = grey.convert("RGB").quantize(2) if mode == "P" else grey.convert(mode)
    if mode == "P":  # whichever index the quantizer gave to black becomes index 0
        stored = stored.remap_palette([int(np.asarray(stored)[0, 0]), int(np.asarray(stored)[0, -1])])
    path = tmp_path / f"key{suffix}"
    stored.save(path, transparency=transparency)
    image = load_image(path, background=(9, 8, 7))
    np.testing.assert_array_equal(image[0, 0], (9, 8, 7))
    np.testing.assert_array_equal(image[0, -1], (255, 255, 255))


def test_load_image_shrinks_without_a_fringe_around_transparency(tmp_path):
    path = tmp_path / "cutout.png"
    pixels = np.zeros((64, 64, 4), np.uint8)  # transparent black around an opaque red square
    pixels[20:45, 20:45] = (255, 0, 0, 255)
    Image.fromarray(pixels).save(path)
    image = load_image(path, max_side=16, background=(255, 0, 0))
    np.testing.assert_allclose(image, np.full((16, 16, 3), (255, 0, 0)), atol=1)


# Reading: orientation


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_load_image_applies_every_exif_orientation(tmp_path, pixels_u8, orientation, suffix):
    path = tmp_path / f"turned{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels_u8).save(path, exif=exif, lossless=True, quality=95)
    stored = Image.fromarray(pixels_u8)
    stored.getexif()[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(stored), np.float32)
    image = load_image(path)
    assert image.shape == upright.shape
    assert image.flags["C_CONTIGUOUS"]
    assert np.abs(image - upright).mean() < (3 if suffix == ".jpg" else 1e-6)


def test_load_image_turns_orientation_6_clockwise(tmp_path):
    path = tmp_path / "portrait.png"
    pixels = np.zeros((2, 3, 3), np.uint8)
    pixels[0, 0] = 255  # stored top left; a quarter turn clockwise puts it top right
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(path, exif=exif)
    image = load_image(path)
    assert image.shape == (3, 2, 3)
    assert image[0, 1, 0] == 255 and image.sum() == 3 * 255


def test_load_image_turns_palette_pictures_without_swapping_channels(tmp_path, pixels_u8):
    path = tmp_path / "palette.png"
    exif = Image.Exif()
    exif[0x0112] = 2
    palette = Image.fromarray(pixels_u8).quantize(16)
    palette.save(path, exif=exif)
    np.testing.assert_array_equal(load_image(path), np.asarray(palette.convert("RGB"))[:, ::-1])


def test_load_image_ignores_an_orientation_out_of_range(tmp_path, pixels_u8):
    path = tmp_path / "odd.png"
    exif = Image.Exif()
    exif[0x0112] = 42
    Image.fromarray(pixels_u8).save(path, exif=exif)
    np.testing.assert_array_equal(load_image(path), pixels_u8)


# Reading: size


@pytest.mark.parametrize(
    ("size", "max_side", "expected"),
    [((40, 60), 30, (20, 30)), ((60, 40), 30, (30, 20)), ((33, 100), 50, (16, 50)), ((3, 400), 40, (1, 40))],
)
def test_load_image_shrinks_the_longest_side_and_keeps_proportions(tmp_path, size, max_side, expected):
    path = tmp_path / "large.png"
    Image.new("RGB", (size[1], size[0]), (10, 20, 30)).save(path)
    image = load_image(path, max_side=max_side)
    np.testing.assert_array_equal(image, np.full((*expected, 3), (10, 20, 30)))
    assert image.dtype == np.float32


@pytest.mark.parametrize("max_side", [WIDTH, WIDTH + 1, 4000])
def test_load_image_never_enlarges(tmp_path, pixels_u8, max_side):
    path = tmp_path / "small.png"
    Image.fromarray(pixels_u8).save(path)
    np.testing.assert_array_equal(load_image(path, max_side=max_side), pixels_u8)


def test_load_image_measures_max_side_on_a_turned_picture(tmp_path, pixels_u8):
    path = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels_u8).save(path, exif=exif)
    assert load_image(path, max_side=15).shape == (15, 10, 3)


def test_load_image_antialiases_while_shrinking(tmp_path):
    path = tmp_path / "checkerboard.png"
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).save(path)
    inner = load_image(path, max_side=16)[2:-2, 2:-2]
    np.testing.assert_allclose(inner, np.full_like(inner, 127.5), atol=2)  # nearest would give 0 or 255


def test_load_image_keeps_shrunk_deep_grey_within_range(tmp_path):
    path = tmp_path / "edge.png"
    pixels = np.zeros((64, 64), np.uint16)
    pixels[:, 30:] = 65535
    Image.fromarray(pixels).save(path)
    image = load_image(path, max_side=20)
    assert image.shape == (20, 20, 3)
    assert image.min() >= 0 and image.max() <= 255


def test_load_image_refuses_a_max_side_of_nothing(tmp_path, pixels_u8):
    save_image(tmp_path / "any.png", pixels_u8)
    with pytest.raises(ValueError, match="max_side is 0 pixels, needs at least 1"):
        load_image(tmp_path / "any.png", max_side=0)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (9, 1)])
def test_load_image_reads_a_picture_one_pixel_thin(tmp_path, height, width):
    Image.new("RGB", (width, height), (1, 2, 3)).save(tmp_path / "thin.png")
    image = load_image(tmp_path / "thin.png")
    assert image.shape == (height, width, 3) and (image == (1, 2, 3)).all()


def test_load_image_reads_more_megapixels_than_pillow_would_without_a_warning(tmp_path, monkeypatch):
    path = tmp_path / "panorama.png"
    Image.new("L", (50, 40), 7).save(path)
    monkeypatch.setattr(decoding, "MAX_PIXELS", 3000)  # Pillow warns from half of it on
    with warnings.catch_warnings(record=True) as by_load_image:
        warnings.simplefilter("always")
        assert load_image(path).shape == (40, 50, 3)
    assert not by_load_image


@pytest.mark.parametrize(("height", "width"), [(15_000, 15_000), (60_000, 60_000)])
def test_load_image_refuses_decompression_bombs(tmp_path, height, width, recwarn):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_bytes(height=height, width=width, bits=8, colour_type=2, rows=b"\0"))
    message = error_of(load_image, path)
    assert "more than 200 megapixels" in message
    assert f"{height * width} pixels" in message
    assert "scale it down" in message
    assert not recwarn.list


def test_the_pixel_limit_is_200_megapixels():
    assert decoding.MAX_PIXELS == 200_000_000


def test_load_image_decodes_on_several_threads_at_once(tmp_path, monkeypatch):
    path = tmp_path / "photo.png"
    Image.new("RGB", (50, 40)).save(path)
    decode, together = decoding._decoding_mode, threading.Barrier(2, timeout=10)

    def decode_together(*arguments):
        together.wait()  # passes only if the other thread gets here while this one waits
        return decode(*arguments)

    monkeypatch.setattr(decoding, "_decoding_mode", decode_together)
    with ThreadPoolExecutor(2) as pool:
        assert [image.shape for image in pool.map(load_image, [path, path])] == [(40, 50, 3)] * 2


def test_load_image_works_in_several_threads_at_once(tmp_path, pixels_u8):
    former_limit = Image.MAX_IMAGE_PIXELS
    path = tmp_path / "photo.png"
    Image.fromarray(pixels_u8).save(path)
    loaded = []
    threads = [threading.Thread(target=lambda: loaded.append(load_image(path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(loaded) == 8
    assert all(np.array_equal(image, pixels_u8) for image in loaded)
    assert former_limit == Image.MAX_IMAGE_PIXELS


# Reading: files that are no pictures


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
@pytest.mark.parametrize(
    ("suffix", "options"),
    [(".jpg", {}), (".jpg", {"progressive": True}), (".png", {}), (".webp", {}), (".gif", {}), (".bmp", {})]
    + [(".tif", {}), (".tif", {"compression": "tiff_lzw"})],
)
def test_load_image_refuses_truncated_files(tmp_path, recwarn, capfd, suffix, options, kept):
    path = tmp_path / f"cut{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, **options)
    assert load_image(path).shape == (64, 64, 3)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    message = error_of(load_image, path)
    assert "damaged or cut short" in message or "not an image" in message
    assert "JPEG, PNG, WebP, TIFF, BMP or GIF" in message
    assert not recwarn.list
    assert capfd.readouterr().err == ""


def test_load_image_says_that_a_truncated_photo_is_cut_short(tmp_path, pixels_u8):
    path = tmp_path / "cut.jpg"
    Image.fromarray(pixels_u8).save(path)
    path.write_bytes(path.read_bytes()[:-100])
    message = error_of(load_image, path)
    assert "damaged or cut short (image file is truncated" in message
    assert "replace it with" in message


def test_load_image_refuses_a_file_that_is_no_image(tmp_path):
    path = tmp_path / "notes.jpg"
    path.write_text("these are words, not pixels")
    message = error_of(load_image, path)
    assert "not an image" in message
    assert "give a JPEG, PNG, WebP, TIFF, BMP or GIF file" in message
    assert "BufferedReader" not in message


def test_load_image_refuses_an_empty_file(tmp_path):
    path = tmp_path / "empty.png"
    path.touch()
    assert "is empty (0 bytes); replace it" in error_of(load_image, path)


def test_load_image_names_a_missing_file(tmp_path):
    message = error_of(load_image, tmp_path / "missing.png")
    assert "No such file" in message
    assert "check the path" in message


def test_load_image_refuses_a_folder(tmp_path):
    assert "Is a directory" in error_of(load_image, tmp_path)


def test_load_image_reports_a_file_it_may_not_read(tmp_path, monkeypatch):
    def refuse(self, *arguments):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    monkeypatch.setattr(Path, "open", refuse)  # chmod would not stop a test that runs as root
    message = error_of(load_image, tmp_path / "locked.png")
    assert "Permission denied" in message
    assert "permissions" in message


def test_load_image_keeps_warnings_about_odd_metadata_to_itself(tmp_path, pixels_u8):
    path = tmp_path / "odd.jpg"
    Image.fromarray(pixels_u8).save(path, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x05garbage")
    with warnings.catch_warnings(record=True) as by_pillow:
        warnings.simplefilter("always")
        with Image.open(path) as picture:
            picture.getexif()
    assert by_pillow  # or the next lines prove nothing
    with warnings.catch_warnings(record=True) as by_load_image:
        warnings.simplefilter("always")
        assert load_image(path).shape == (HEIGHT, WIDTH, 3)
    assert not by_load_image


# Resizing


@pytest.mark.parametrize(("height", "width"), [(10, 15), (40, 45), (7, 90), (HEIGHT, WIDTH)])
def test_resize_image_gives_the_size_asked_for(pixels_u8, height, width):
    resized = resize_image(pixels_u8.astype(np.float32), height=height, width=width)
    assert resized.shape == (height, width, 3)
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized.mean(axis=(0, 1)), pixels_u8.mean(axis=(0, 1)), atol=2)


def test_resize_image_keeps_fractions_and_channels_apart():
    image = np.full((8, 8, 3), (0.25, 100.5, 254.75), np.float32)
    resized = resize_image(image, height=5, width=3)
    np.testing.assert_allclose(resized, np.full((5, 3, 3), (0.25, 100.5, 254.75)), atol=1e-3)


def test_resize_image_antialiases():
    board = np.repeat((np.indices((64, 64)).sum(axis=0) % 2 * 255.0)[..., None], 3, axis=-1)
    inner = resize_image(board.astype(np.float32), height=16, width=16)[2:-2, 2:-2]
    np.testing.assert_allclose(inner, np.full_like(inner, 127.5), atol=2)


def test_resize_image_stays_within_range_at_hard_edges():
    image = np.zeros((16, 16, 3), np.float32)
    image[:, 8:] = 255
    resized = resize_image(image, height=37, width=37)
    assert resized.min() == 0 and resized.max() == 255


def test_resize_image_leaves_its_input_alone():
    image = np.random.default_rng(0).uniform(0, 255, (9, 9, 3)).astype(np.float32)
    former = image.copy()
    resize_image(image, height=4, width=4)
    np.testing.assert_array_equal(image, former)


# Writing


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


def test_save_image_rounds_to_nearest_and_clips(tmp_path):
    path = tmp_path / "stylized.png"
    image = np.zeros((2, 4, 3), np.float32)
    image[0, :, 0] = (-40.0, 99.4, 99.6, 300.0)
    image[1, :, 1] = (254.9, 0.6, 0.4, 255.4)
    save_image(path, image)
    saved = load_image(path)
    np.testing.assert_array_equal(saved[0, :, 0], (0, 99, 100, 255))
    np.testing.assert_array_equal(saved[1, :, 1], (255, 1, 0, 255))


def test_save_image_leaves_its_input_alone(tmp_path):
    image = np.full((4, 4, 3), 300.25, np.float32)
    save_image(tmp_path / "stylized.png", image)
    assert (image == 300.25).all()


def test_save_image_keeps_full_colour_resolution_in_jpeg(tmp_path):
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
    tmp_path, pixels_u8, monkeypatch, owner, step
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


def test_save_image_refuses_a_target_that_is_a_folder(tmp_path, pixels_u8):
    path = tmp_path / "folder.png"
    path.mkdir()
    assert "Is a directory" in error_of(save_image, path, pixels_u8)
    assert list(tmp_path.iterdir()) == [path]


def test_save_image_refuses_a_parent_that_is_a_file(tmp_path, pixels_u8):
    (tmp_path / "file").touch()
    message = error_of(save_image, tmp_path / "file" / "stylized.png", pixels_u8)
    assert "cannot be written" in message
    assert "choose another path" in message


def test_save_image_reports_a_folder_it_may_not_write(tmp_path, pixels_u8, monkeypatch):
    def refuse(self, *arguments):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))

    monkeypatch.setattr(Path, "open", refuse)  # chmod would not stop a test that runs as root
    message = error_of(save_image, tmp_path / "stylized.png", pixels_u8)
    assert "Permission denied" in message
    assert "permissions" in message
    assert ".tmp" not in message  # the user never asked for that file


def test_save_image_reports_a_format_that_cannot_hold_the_picture(tmp_path):
    message = error_of(save_image, tmp_path / "wide.webp", np.zeros((2, 16_384, 3), np.float32))
    assert "16383" in message
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_save_image_refuses_values_that_are_not_finite(tmp_path, value):
    image = np.zeros((4, 4, 3), np.float32)
    image[1, 2, 0] = value
    assert "NaN or infinite" in error_of(save_image, tmp_path / "stylized.png", image)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [(4, 4), (1, 4, 4, 3), (4, 4, 1), (4, 4, 4), (0, 4, 3)])
def test_save_image_refuses_an_array_that_is_no_image(tmp_path, shape):
    message = error_of(save_image, tmp_path / "stylized.png", np.zeros(shape, np.float32))
    assert str(shape) in message
    assert "[H, W, 3]" in message


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
def test_an_unknown_suffix_is_refused_with_the_list_of_known_ones(tmp_path, save, name, received):
    message = error_of(save, tmp_path / name)
    assert received in message
    assert message.endswith(" ".join(SAVED_SUFFIXES))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [*SAVED_SUFFIXES, ".JPG", ".Png"])
def test_check_image_suffix_accepts_every_format_that_can_be_written(tmp_path, pixels_u8, suffix):
    check_image_suffix(tmp_path / f"stylized{suffix}")
    save_image(tmp_path / f"stylized{suffix}", pixels_u8)
    assert load_image(tmp_path / f"stylized{suffix}").shape == pixels_u8.shape


# Listing


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_list_images_searches_folders_recursively_in_order_of_name(tmp_path):
    names = ["b.png", "a.jpg", "sub/d.TIFF", "sub/c.webp", "sub/deeper/e.Gif", "z.bmp"]
    touch(*(tmp_path / name for name in names), tmp_path / "notes.txt", tmp_path / "no_suffix")
    listed = list_images([tmp_path])
    expected = ["a.jpg", "b.png", "sub/c.webp", "sub/d.TIFF", "sub/deeper/e.Gif", "z.bmp"]
    assert [path.relative_to(tmp_path).as_posix() for path in listed] == expected


def test_list_images_skips_hidden_files_and_folders_below_a_folder(tmp_path):
    folder = tmp_path / ".cache"  # hidden, yet named by the caller
    touch(folder / "seen.png", folder / ".hidden.png", folder / ".thumbnails" / "small.png")
    assert list_images([folder]) == [folder / "seen.png"]


def test_list_images_skips_a_folder_that_is_named_like_an_image(tmp_path):
    touch(tmp_path / "album.png" / "inside.jpg")
    assert list_images([tmp_path]) == [tmp_path / "album.png" / "inside.jpg"]


def test_list_images_keeps_files_as_given_whatever_their_suffix(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touch(Path("photo.heic"), Path(".hidden"))
    assert list_images([Path("photo.heic"), Path(".hidden")]) == [Path("photo.heic"), Path(".hidden")]


def test_list_images_names_each_file_once_in_the_order_first_met(tmp_path):
    first, second, third = (tmp_path / name for name in ("a.png", "b.png", "c.png"))
    touch(first, second, third, tmp_path / "sub" / "d.png")
    roundabout = tmp_path / "sub" / ".." / "b.png"
    assert list_images([third, second, tmp_path, roundabout, third]) == [
        third,
        second,
        first,
        tmp_path / "sub" / "d.png",
    ]


def test_list_images_of_nothing_is_empty():
    assert list_images([]) == []


def test_list_images_names_a_missing_input(tmp_path):
    message = error_of(list_images, [tmp_path / "missing.png"])
    assert "no such file or folder" in message
    assert "check the spelling" in message


def test_list_images_names_a_folder_without_images(tmp_path):
    touch(tmp_path / "notes.txt", tmp_path / ".hidden.png")
    message = error_of(list_images, [tmp_path])
    assert "holds no images" in message
    assert ".bmp .gif .jpeg .jpg .png .tif .tiff .webp" in message


def test_image_suffixes_are_lower_case_and_start_with_a_dot():
    assert isinstance(IMAGE_SUFFIXES, frozenset)
    assert all(re.fullmatch(r"\.[a-z]+", suffix) for suffix in IMAGE_SUFFIXES)


# Start-up


def test_importing_the_module_loads_no_heavy_package():
    probe = (
        "import sys, data.images; print(sorted({'tensorflow', 'keras', 'imageio', 'PIL'} & set(sys.modules)))"
    )
    root = Path(decoding.__file__).parent.parent
    finished = subprocess.run(
        [sys.executable, "-c", probe], cwd=root, capture_output=True, text=True, check=True
    )
    assert finished.stdout.strip() == "[]"


def luminance(image: np.ndarray) -> np.ndarray:
    return image @ np.array([0.299, 0.587, 0.114])


def test_keep_colors_takes_luminance_from_one_and_chroma_from_the_other():
    generator = np.random.default_rng(0)
    content, stylized = (generator.uniform(100, 150, (5, 6, 3)).astype(np.float32) for _ in range(2))
    kept = keep_colors(stylized, content)
    assert kept.dtype == np.float32
    np.testing.assert_allclose(luminance(kept), luminance(stylized), atol=1e-3)
    for first, second in ((0, 1), (1, 2)):
        np.testing.assert_allclose(
            kept[..., first] - kept[..., second], content[..., first] - content[..., second], atol=1e-3
        )


def test_keep_colors_stays_in_range():
    content, stylized = np.full((2, 2, 3), [250.0, 10.0, 0.0]), np.full((2, 2, 3), 255.0)
    kept = keep_colors(stylized.astype(np.float32), content.astype(np.float32))
    assert kept.max() <= 255 and kept.min() >= 0

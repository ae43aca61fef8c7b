"""data/decoding.py: every kind of file comes in, and damaged files are refused with a reason."""

import errno
import io
import os
import socket
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
import pyvips
from PIL import Image, ImageOps, features

from data import containers, decoding
from data.decoding import decode_file, image_claim
from data.encoding import encode_file
from data.images import load_image, load_mask
from data.photo import load_photo
from data.picture import ImageError, Picture

HEIGHT, WIDTH = 20, 30  # of the fixture pixels_u8
HAS_AVIF = decoding.can_read_avif()
needs_avif = pytest.mark.skipif(not HAS_AVIF, reason="this Pillow does not read AVIF")
AVIF = pytest.param(".avif", marks=needs_avif)
READABLE = f"a JPEG, PNG, WebP, TIFF, BMP{', GIF or AVIF' if HAS_AVIF else ' or GIF'} file"


@pytest.fixture(autouse=True)
def _without_heif(monkeypatch):
    """tests/test_heif.py has the tests of the optional package for HEIC."""
    monkeypatch.setattr(containers, "can_read_heif", lambda: False)


@pytest.fixture
def gray_u16() -> np.ndarray:
    """Values from the whole 16-bit range, including both ends: [20, 30]."""
    return np.linspace(0, 65535, HEIGHT * WIDTH).round().astype(np.uint16).reshape(HEIGHT, WIDTH)


def png_bytes(*, height: int, width: int, bits: int, color_type: int, rows: bytes) -> bytes:
    """Builds a PNG file that Pillow can read but cannot write."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(rows, 1))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


# Formats and color modes


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_load_image_reads_lossless_formats_exactly(tmp_path, pixels_u8, suffix):
    path = tmp_path / f"photo{suffix}"
    Image.fromarray(pixels_u8).save(path)
    image = load_image(path)
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert image.dtype == np.float32
    assert image.flags["C_CONTIGUOUS"] and image.flags["WRITEABLE"]
    np.testing.assert_array_equal(image, pixels_u8)


@pytest.mark.parametrize(
    ("suffix", "tolerance"),
    [(".jpg", 3), (".webp", 5), (".gif", 20), pytest.param(".avif", 3, marks=needs_avif)],
)
def test_load_image_reads_lossy_formats_closely(tmp_path, pixels_u8, suffix, tolerance):
    path = tmp_path / f"photo{suffix}"
    Image.fromarray(pixels_u8).save(path, quality=95)
    assert np.abs(load_image(path) - pixels_u8).mean() < tolerance


def test_load_image_tells_the_format_from_the_content(tmp_path, pixels_u8):
    path = tmp_path / "really_a_png.jpg"
    Image.fromarray(pixels_u8).save(path, format="PNG")
    np.testing.assert_array_equal(load_image(path), pixels_u8)


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp", ".tif"])
def test_load_image_takes_the_first_of_several_frames(tmp_path, suffix):
    path = tmp_path / f"frames{suffix}"
    frames = [Image.new("RGB", (WIDTH, HEIGHT), color) for color in ("red", "blue")]
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
    assert shown.std() > 20  # not one flat color that anything would equal
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
def test_load_image_scales_16_bit_gray_by_257(tmp_path, gray_u16, suffix):
    path = tmp_path / f"deep{suffix}"
    Image.fromarray(gray_u16).save(path)
    expected = np.repeat(gray_u16[..., None] / 257, 3, axis=-1)
    np.testing.assert_allclose(load_image(path), expected, atol=1e-3)


def test_load_image_reads_big_endian_16_bit_gray(tmp_path, gray_u16):
    path = tmp_path / "deep.tif"
    Image.frombytes("I;16B", (WIDTH, HEIGHT), gray_u16.astype(">u2").tobytes()).save(path)
    np.testing.assert_allclose(load_image(path)[..., 0], gray_u16 / 257, atol=1e-3)


def test_load_image_reads_32_bit_integers_on_the_16_bit_scale(tmp_path, gray_u16):
    path = tmp_path / "deep.tif"
    Image.fromarray(gray_u16.astype(np.int32)).save(path)
    np.testing.assert_allclose(load_image(path)[..., 1], gray_u16 / 257, atol=1e-3)


@pytest.mark.parametrize("full_scale", [1, 255])
def test_load_image_reads_float_gray_of_either_scale(tmp_path, gray_u16, full_scale):
    path = tmp_path / "float.tif"
    Image.fromarray((gray_u16 / 65535 * full_scale).astype(np.float32)).save(path)
    np.testing.assert_allclose(load_image(path)[..., 2], gray_u16 / 257, atol=1e-3)


@pytest.mark.parametrize("values", [(-1, 200), (0, 70000), (5.0, 65535.0), (-0.5, 1.0), (0.0, np.nan)])
def test_load_image_refuses_gray_of_unknown_scale(tmp_path, values, error_of):
    path = tmp_path / "deep.tif"
    is_float = isinstance(values[1], float)
    pixels = np.resize(np.array(values, np.float32 if is_float else np.int32), (4, 4))
    Image.fromarray(pixels).save(path)
    message = error_of(load_image, path)
    if not np.isnan(values[1]):
        assert f"from {pixels.min()} to {pixels.max()}" in message
    assert ("0..1 or 0..255" if is_float else "0..65535") in message
    assert "rescale them" in message


def test_load_image_reads_16_bit_rgb_to_its_last_bit(tmp_path, gray_u16):
    pixels_u16 = np.stack([gray_u16, gray_u16[::-1], gray_u16[:, ::-1]], axis=-1)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels_u16)
    path = tmp_path / "deep.png"
    path.write_bytes(png_bytes(height=HEIGHT, width=WIDTH, bits=16, color_type=2, rows=rows))
    np.testing.assert_allclose(load_image(path), pixels_u16 / 257, atol=1e-4)


def test_load_image_reads_16_bit_cmyk_as_pillow_does(tmp_path):
    cyan = np.full((HEIGHT, WIDTH, 4), (65535, 0, 0, 0), np.uint16)
    pyvips.Image.new_from_array(cyan, interpretation="cmyk").write_to_file(str(tmp_path / "cyan.tif"))
    np.testing.assert_array_equal(
        load_image(tmp_path / "cyan.tif"), np.full((HEIGHT, WIDTH, 3), (0, 255, 255))
    )


@pytest.mark.parametrize(("dtype", "name"), [(np.float32, "32-bit float"), (np.uint32, "32-bit")])
def test_load_image_refuses_deep_colors_that_are_not_16_bit_integers(tmp_path, dtype, name, error_of):
    image = pyvips.Image.new_from_array(np.zeros((4, 4, 3), dtype), interpretation="rgb")
    image.write_to_file(str(tmp_path / "odd.tif"))
    message = error_of(load_image, tmp_path / "odd.tif")
    assert f"not supported: {name} RGB, no compression; save it as 8-bit or 16-bit RGB" in message


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_load_image_lays_16_bit_alpha_over_the_background(tmp_path, suffix):
    pixels_u16 = np.full((4, 4, 4), (65535, 0, 0, 13107), np.uint16)  # a fifth opaque
    image = pyvips.Image.new_from_array(pixels_u16, interpretation="rgb16")
    image.write_to_file(str(tmp_path / f"alpha{suffix}"))
    shown = load_image(tmp_path / f"alpha{suffix}", background=(0, 255, 0))
    np.testing.assert_allclose(shown, np.full((4, 4, 3), (51, 204, 0)), atol=1e-3)


def test_load_image_takes_an_unspecified_channel_of_16_bits_for_no_alpha(tmp_path):
    """Pillow does the same for 8 bits: the extra channel may be a selection, for example."""
    path = tmp_path / "selection.tif"
    pixels_u16 = np.full((4, 4, 4), (65535, 0, 0, 0), np.uint16)
    pyvips.Image.new_from_array(pixels_u16, interpretation="rgb16").write_to_file(str(path))
    extra_samples = struct.Struct("<HHII")  # tag 338, short, one value: 2 is alpha, 0 unspecified
    alpha, unspecified = (extra_samples.pack(338, 3, 1, value) for value in (2, 0))
    assert path.read_bytes().count(alpha) == 1
    path.write_bytes(path.read_bytes().replace(alpha, unspecified))
    np.testing.assert_array_equal(load_image(path), np.full((4, 4, 3), (255, 0, 0)))


def test_load_image_refuses_an_unsupported_mode(tmp_path, error_of):
    path = tmp_path / "premultiplied.tif"
    Image.new("LA", (4, 4), (50, 100)).save(path)
    extra_samples = struct.Struct("<HHII")  # tag 338, short, one value: 2 is plain alpha, 1 premultiplied
    plain, premultiplied = (extra_samples.pack(338, 3, 1, value) for value in (2, 1))
    assert path.read_bytes().count(plain) == 1
    path.write_bytes(path.read_bytes().replace(plain, premultiplied))
    message = error_of(load_image, path)
    assert "8-bit gray with premultiplied alpha and 1 extra channel" in message
    assert "save it as 8-bit or 16-bit RGB" in message


@pytest.mark.parametrize(
    ("mode", "suffix", "transparency"),
    [("P", ".png", 0), ("P", ".png", bytes([0, 255])), ("P", ".gif", 0), ("L", ".png", 0)]
    + [("RGB", ".png", (0, 0, 0)), ("1", ".png", 0)],
)
def test_load_image_honors_a_transparent_color_in_every_mode(tmp_path, mode, suffix, transparency):
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
    pixels[:, WIDTH // 2 :] = 255
    gray = Image.fromarray(pixels)
    stored = gray.convert("RGB").quantize(2) if mode == "P" else gray.convert(mode)
    if mode == "P":  # whichever index the quantizer gave to black becomes index 0
        stored = stored.remap_palette([int(np.asarray(stored)[0, 0]), int(np.asarray(stored)[0, -1])])
    path = tmp_path / f"key{suffix}"
    stored.save(path, transparency=transparency)
    image = load_image(path, background=(9, 8, 7))
    np.testing.assert_array_equal(image[0, 0], (9, 8, 7))
    np.testing.assert_array_equal(image[0, -1], (255, 255, 255))


# Orientation


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jpg", AVIF])
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
    assert np.abs(image - upright).mean() < (3 if suffix in (".jpg", ".avif") else 1e-6)


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


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (9, 1)])
def test_load_image_reads_a_picture_one_pixel_thin(tmp_path, height, width):
    Image.new("RGB", (width, height), (1, 2, 3)).save(tmp_path / "thin.png")
    image = load_image(tmp_path / "thin.png")
    assert image.shape == (height, width, 3) and (image == (1, 2, 3)).all()


# Limits and threads


def test_load_image_reads_more_megapixels_than_pillow_would_without_a_warning(tmp_path, monkeypatch):
    path = tmp_path / "panorama.png"
    Image.new("L", (50, 40), 7).save(path)
    monkeypatch.setattr(decoding, "MAX_PIXELS", 3000)  # Pillow warns from half of it on
    with warnings.catch_warnings(record=True) as by_load_image:
        warnings.simplefilter("always")
        assert load_image(path).shape == (40, 50, 3)
    assert not by_load_image


@pytest.mark.parametrize(("height", "width"), [(15_000, 15_000), (60_000, 60_000)])
def test_load_image_refuses_decompression_bombs(tmp_path, height, width, recwarn, error_of):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_bytes(height=height, width=width, bits=8, color_type=2, rows=b"\0"))
    message = error_of(load_image, path)
    assert "more than 200 megapixels" in message
    assert f"{height * width} pixels" in message
    assert "scale it down" in message
    assert not recwarn.list


def test_the_pixel_limit_is_ours_and_not_that_of_pillow(tmp_path, monkeypatch, error_of):
    Image.new("L", (50, 40)).save(tmp_path / "photo.png")
    monkeypatch.setattr(decoding, "MAX_PIXELS", 2000)
    assert load_image(tmp_path / "photo.png").shape == (40, 50, 3)
    monkeypatch.setattr(decoding, "MAX_PIXELS", 1998)
    assert "(Image size (2000 pixels)" in error_of(load_image, tmp_path / "photo.png")


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


# Files that are not images


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
@pytest.mark.parametrize(
    ("suffix", "options"),
    [(".jpg", {}), (".jpg", {"progressive": True}), (".png", {}), (".webp", {}), (".gif", {}), (".bmp", {})]
    + [(".tif", {}), (".tif", {"compression": "tiff_lzw"}), pytest.param(".avif", {}, marks=needs_avif)],
)
def test_load_image_refuses_truncated_files(tmp_path, recwarn, capfd, suffix, options, kept, error_of):
    path = tmp_path / f"cut{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, **options)
    assert load_image(path).shape == (64, 64, 3)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    message = error_of(load_image, path)
    assert "damaged or cut short" in message or "not an image" in message
    assert READABLE in message
    assert not recwarn.list
    assert capfd.readouterr().err == ""


def test_load_image_says_that_a_truncated_photo_is_cut_short(tmp_path, pixels_u8, error_of):
    path = tmp_path / "cut.jpg"
    Image.fromarray(pixels_u8).save(path)
    path.write_bytes(path.read_bytes()[:-100])
    message = error_of(load_image, path)
    assert "damaged or cut short (image file is truncated" in message
    assert "replace it with" in message


def test_load_image_refuses_a_file_that_is_no_image(tmp_path, error_of):
    path = tmp_path / "notes.jpg"
    path.write_text("these are words, not pixels")
    message = error_of(load_image, path)
    assert "not an image" in message
    assert message.endswith(f"give {READABLE}")
    assert "BufferedReader" not in message


def test_load_image_refuses_an_empty_file(tmp_path, error_of):
    path = tmp_path / "empty.png"
    path.touch()
    assert "is empty (0 bytes); replace it" in error_of(load_image, path)


def test_load_image_names_a_missing_file(tmp_path, error_of):
    message = error_of(load_image, tmp_path / "missing.png")
    assert "No such file" in message
    assert "check the path" in message


def test_load_image_refuses_a_folder(tmp_path, error_of):
    assert "Is a directory" in error_of(load_image, tmp_path)


def test_load_image_reports_a_file_it_may_not_read(tmp_path, monkeypatch, error_of):
    def refuse(path, *arguments):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    (tmp_path / "locked.png").write_bytes(b"locked")
    monkeypatch.setattr(os, "open", refuse)  # chmod would not stop a test that runs as root
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


# Only the documented formats, by content

FOREIGN = {
    "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n%%EOF\n",
    "EPS with a preview": b"\xc5\xd0\xd3\xc6"
    + struct.pack("<6IH", 32, 60, 0, 0, 0, 0, 0xFFFF)
    + b"%!PS-Adobe-3.0",
    "PDF": b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\ntrailer\n<<>>\n%%EOF\n",
    "FITS": b"SIMPLE  =                    T" + b" " * 50,
    "WMF": b"\xd7\xcd\xc6\x9a\0\0" + b"\0" * 40,
    "EMF": b"\1\0\0\0" + b"\0" * 36 + b" EMF" + b"\0" * 60,
    "PPM": b"P6\n1 1\n255\nabc",
    "PSD": b"8BPS\0\1" + b"\0" * 60,
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
    "ICO": b"\0\0\1\0\1\0" + b"\x10\x10" + b"\0" * 60,
    "PCX": b"\x0a\5\1\x08" + b"\0" * 130,
    "TGA": b"\0\0\2" + b"\0" * 9 + b"\1\0\1\0\x18\0abc",
    "DDS": b"DDS " + b"\0" * 130,
    "JPEG 2000": b"\0\0\0\x0cjP  \x0d\x0a\x87\x0a" + b"\0" * 60,
    "HDF5": b"\x89HDF\r\n\x1a\n" + b"\0" * 60,
    "ImageMagick script": b"push graphic-context\nviewbox 0 0 9 9\n",
    "HEIC": b"\0\0\0\x18ftypheic" + b"\0" * 60,
}


@pytest.mark.parametrize("name", FOREIGN)
def test_other_formats_never_reach_a_decoder(tmp_path, name, monkeypatch, error_of):
    def reached(*arguments, **options):
        raise AssertionError("a decoder was called")

    monkeypatch.setattr(Image, "open", reached)
    for vips_class in (pyvips.Image, pyvips.Source):
        for loader in ("new_from_file", "new_from_memory", "new_from_source", "new_from_descriptor"):
            monkeypatch.setattr(vips_class, loader, reached, raising=False)
    for suffix in (".jpg", ".tif", ".png"):
        (tmp_path / f"odd{suffix}").write_bytes(FOREIGN[name])
        message = error_of(load_image, tmp_path / f"odd{suffix}")
        reason = f"not an image in a supported format; give {READABLE}"
        assert ("HEIC needs pip install pillow-heif" if name == "HEIC" else reason) in message


def test_only_the_decoder_of_the_content_is_tried(tmp_path, pixels_u8, monkeypatch):
    tried = []
    open_image = Image.open

    def noting_open(stream, mode="r", formats=None):
        tried.append(formats)
        return open_image(stream, mode, formats)

    monkeypatch.setattr(Image, "open", noting_open)
    for suffix in (".jpg", ".png", ".webp", ".tif", ".bmp", ".gif"):
        Image.fromarray(pixels_u8).save(tmp_path / f"a{suffix}")
        load_image(tmp_path / f"a{suffix}")
    assert tried == [(name,) for name in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF")]


def test_libvips_blocks_its_untrusted_loaders(tmp_path, gray_u16):
    script = (
        "import sys; from pathlib import Path; from data.decoding import decode_file; import pyvips\n"
        "decode_file(Path(sys.argv[1]))\n"
        "try: pyvips.Image.new_from_buffer(b'P6 1 1 255 abc', '')\n"
        "except pyvips.Error as error: print('blocked' if 'ppm' not in str(error) else error)"
    )
    pyvips.Image.new_from_array(np.dstack([gray_u16] * 3), interpretation="rgb16").write_to_file(
        str(tmp_path / "deep.png")
    )
    finished = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "deep.png")],
        cwd=Path(decoding.__file__).parents[1],
        capture_output=True,
        text=True,
    )
    assert finished.stdout == "blocked\n", finished.stderr


# Pipes, sockets and devices


@pytest.fixture
def pipe(tmp_path) -> Path:
    os.mkfifo(tmp_path / "pipe.jpg")
    return tmp_path / "pipe.jpg"


def test_a_pipe_is_refused_and_not_waited_for(pipe, error_of):
    message = error_of(load_image, pipe)
    assert message == f"{pipe}: is not a file but a pipe, socket or device; give an image file"


def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(pipe, monkeypatch, error_of):
    a_file = os.stat(__file__)
    monkeypatch.setattr(os, "stat", lambda path: a_file)
    assert "is not a file but a pipe" in error_of(load_image, pipe)


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null"])
def test_a_device_is_refused(path, error_of):
    assert "is not a file but a pipe, socket or device" in error_of(load_image, Path(path))


def test_a_socket_is_refused(tmp_path, monkeypatch, error_of):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.jpg")
        assert "is not a file but a pipe" in error_of(load_image, Path("socket.jpg"))


def test_a_name_with_a_zero_byte_is_refused():
    with pytest.raises(decoding.ImageError, match="null byte"):
        load_image("a\0b.jpg")


def test_control_characters_of_a_name_are_shown_as_escapes(tmp_path):
    with pytest.raises(decoding.ImageError) as caught:
        load_image(tmp_path / "a\x1b[31m\nb\udcff.jpg")
    assert str(caught.value).isprintable() and r"a\x1b[31m\nb" in str(caught.value)


# Claims that the file cannot keep


def claim(content: bytes, at: int, layout: str, size: int = 14_000) -> bytes:
    body = struct.pack(layout, size, size)
    return content[:at] + body + content[at + len(body) :]


def encoded(name: str, mode: str = "RGB", **options) -> bytes:
    stream = io.BytesIO()
    Image.new(mode, (16, 16)).save(stream, name, **options)
    return stream.getvalue()


def bombs() -> dict[str, bytes]:
    """Tiny files that claim 14000x14000 pixels."""
    lossless = encoded("WEBP", lossless=True)
    bits = struct.unpack("<I", lossless[21:25])[0] & 0xF0000000 | 13_999 | 13_999 << 14
    extended = encoded("WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0")
    assert extended[12:16] == b"VP8X"
    three_bytes = struct.pack("<I", 13_999)[:3]
    jpeg, progressive = encoded("JPEG"), encoded("JPEG", progressive=True)
    run_length = claim(encoded("BMP", "P"), 18, "<ii")
    made = {
        "jpeg": claim(jpeg, jpeg.index(b"\xff\xc0") + 5, ">HH"),
        "progressive jpeg": claim(progressive, progressive.index(b"\xff\xc2") + 5, ">HH"),
        "bmp": claim(encoded("BMP"), 18, "<ii"),
        "1-bit bmp": claim(encoded("BMP", "1"), 18, "<ii"),
        "run-length bmp": run_length[:30] + struct.pack("<I", 1) + run_length[34:],
        "gif": claim(encoded("GIF", "P"), 6, "<HH"),
        "lossy webp": claim(encoded("WEBP"), 26, "<HH"),
        "lossless webp": lossless[:21] + struct.pack("<I", bits) + lossless[25:],
        "extended webp": extended[:24] + three_bytes * 2 + extended[30:],
    }
    for depth, color in ((1, 0), (8, 2), (8, 3), (16, 0), (16, 2), (16, 4), (16, 6)):
        made[f"{depth}-bit png {color}"] = png_bytes(
            height=14_000, width=14_000, bits=depth, color_type=color, rows=b"\0" * 1000
        )
    if HAS_AVIF:
        avif = encoded("AVIF")
        made["avif"] = claim(avif, avif.index(b"ispe") + 8, ">II")
    return made


@pytest.mark.parametrize("name", bombs())
def test_a_tiny_file_that_claims_a_huge_picture_is_refused_before_memory_is_taken(tmp_path, name, error_of):
    content = bombs()[name]
    assert len(content) < 1000
    (tmp_path / "bomb").write_bytes(content)
    script = (
        "import resource, sys; from pathlib import Path; from data.decoding import decode_file, ImageError\n"
        "resource.setrlimit(resource.RLIMIT_AS, (10**9, 10**9))\n"
        "try: decode_file(Path(sys.argv[1]))\n"
        "except ImageError as error: print(error)"
    )
    assert f"{len(content)} bytes cannot hold 14000x14000 pixels" in error_of(load_image, tmp_path / "bomb")
    if name in ("lossless webp", "extended webp", "avif"):  # whose decoders allocate while they open
        finished = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / "bomb")],
            cwd=Path(decoding.__file__).parents[1],
            capture_output=True,
            text=True,
        )
        assert "cannot hold" in finished.stdout, finished.stderr


@pytest.mark.parametrize(
    ("suffix", "options"),
    [(".png", {"compress_level": 9}), (".jpg", {"progressive": True}), (".gif", {}), (".bmp", {})]
    + [(".webp", {"quality": 1, "method": 0}), pytest.param(".avif", {"speed": 10}, marks=needs_avif)],
)
def test_a_large_black_picture_is_no_bomb(tmp_path, suffix, options):
    Image.new("L" if suffix in (".gif", ".bmp") else "RGB", (4100, 4000)).save(
        tmp_path / f"a{suffix}", **options
    )
    assert load_image(tmp_path / f"a{suffix}", max_side=41).shape == (40, 41, 3)


def test_a_cut_bmp_is_refused_before_it_is_decoded(tmp_path, pixels_u8, error_of):
    path = tmp_path / "cut.bmp"
    Image.fromarray(pixels_u8).save(path)
    content = path.read_bytes()
    path.write_bytes(content[:-4])
    assert "bytes cannot hold 30x20 pixels" in error_of(load_image, path)


@pytest.mark.parametrize("name", ["WEBP", pytest.param("AVIF", marks=needs_avif)])
def test_a_file_that_would_fill_the_memory_is_refused_before_it_is_read(tmp_path, name, error_of):
    path = tmp_path / "large"
    path.write_bytes(encoded(name))
    os.truncate(path, 5 * 10**9)  # a hole, which takes no space on the disk
    assert f"5000000000 bytes are too many for a {name} file" in error_of(load_image, path)


def test_too_little_memory_is_not_called_damage(tmp_path, pixels_u8, monkeypatch, error_of):
    def fail(*arguments):
        raise MemoryError

    Image.fromarray(pixels_u8).save(tmp_path / "a.png")
    monkeypatch.setattr(decoding, "_decode_by_pillow", fail)
    assert "too little memory to decode it" in error_of(load_image, tmp_path / "a.png")


def test_too_little_memory_of_libvips_is_not_called_damage(tmp_path, gray_u16, monkeypatch, error_of):
    def fail(*arguments):
        raise pyvips.Error(
            "unable to write to memory", "vips_image_write_to_memory: out of memory -- size == 9GB"
        )

    pixels = np.dstack([gray_u16] * 3)
    pyvips.Image.new_from_array(pixels, interpretation="rgb16").write_to_file(str(tmp_path / "a.png"))
    monkeypatch.setattr(pyvips.Image, "write_to_memory", fail)
    assert "too little memory to decode it" in error_of(load_image, tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
@pytest.mark.parametrize("is_deep", [False, True], ids=["pillow", "libvips"])
def test_a_fault_of_the_program_is_not_called_damage(tmp_path, gray_u16, monkeypatch, name, is_deep):
    def fail(*arguments):
        raise TypeError("a fault of the program")

    pixels = np.dstack([gray_u16] * 3).astype(np.uint16 if is_deep and name != "a.jpg" else np.uint8)
    encode_file(tmp_path / name, Picture(pixels))
    monkeypatch.setattr(decoding, "_upright", fail)
    with pytest.raises(TypeError, match="a fault of the program"):
        load_image(tmp_path / name)


def test_too_little_memory_without_the_metadata_is_not_called_damage(
    tmp_path, pixels_u8, monkeypatch, error_of
):
    encode_file(tmp_path / "a.jpg", Picture(pixels_u8, exif=b"Exif\0\0MM\0*nonsense"))
    results = iter([SyntaxError("damaged metadata"), MemoryError()])

    def fail(*arguments, **options):
        raise next(results)

    monkeypatch.setattr(Image, "open", fail)
    assert "too little memory to decode it" in error_of(load_image, tmp_path / "a.jpg")


# 16 bits and transparency of PNG


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_the_transparent_gray_of_a_png_counts_in_every_depth(tmp_path, bits):
    white = 2**bits - 1
    rows = bytes([0, 0b01_00_00_00 if bits < 8 else 1]) if bits <= 8 else b"\0" + struct.pack(">H", 1)
    first = {1: 0, 2: 1, 4: 4, 8: 1, 16: 1}[bits]
    key = b"tRNS" + struct.pack(">H", first)
    content = png_bytes(height=1, width=1, bits=bits, color_type=0, rows=rows)
    position = content.index(b"IDAT") - 4
    chunk = struct.pack(">I", 2) + key + struct.pack(">I", zlib.crc32(key))
    (tmp_path / "opaque.png").write_bytes(content)
    (tmp_path / "key.png").write_bytes(content[:position] + chunk + content[position:])
    np.testing.assert_allclose(
        load_image(tmp_path / "opaque.png")[0, 0], [255 * first / white] * 3, atol=1e-3
    )
    np.testing.assert_array_equal(load_image(tmp_path / "key.png", background=(9, 8, 7))[0, 0], (9, 8, 7))


def test_16_bit_gray_with_alpha_keeps_its_16_bits(tmp_path, gray_u16):
    pixels = np.stack([gray_u16, gray_u16[::-1]], axis=-1)
    image = pyvips.Image.new_from_array(pixels, interpretation="grey16")
    image.write_to_file(str(tmp_path / "deep.png"))
    decoded = decoding.decode_file(tmp_path / "deep.png").pixels
    np.testing.assert_array_equal(decoded, pixels[..., [0, 0, 0, 1]])


# AVIF, which not every Pillow reads


def test_can_read_avif_is_what_pillow_says():
    assert HAS_AVIF is features.check("avif")


def test_an_old_pillow_that_does_not_know_avif_is_asked_without_a_warning(monkeypatch):
    monkeypatch.delitem(features.modules, "avif")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not decoding.can_read_avif.__wrapped__()  # without the cache


def test_messages_do_not_offer_avif_where_it_cannot_be_read(tmp_path, monkeypatch, error_of):
    (tmp_path / "notes.jpg").write_text("these are words, not pixels")
    monkeypatch.setattr(containers, "can_read_avif", lambda: False)
    assert error_of(load_image, tmp_path / "notes.jpg").endswith(
        "give a JPEG, PNG, WebP, TIFF, BMP or GIF file"
    )


@pytest.mark.parametrize("most", [1.001, 1.5, 2.0])
def test_floats_that_may_be_of_two_ranges_are_refused(tmp_path, error_of, most):
    values = np.linspace(0, most, 20, dtype=np.float32).reshape(4, 5)
    Image.fromarray(values).save(tmp_path / "f.tif")
    assert "only 0..1 or 0..255" in error_of(decode_file, tmp_path / "f.tif")


@pytest.mark.parametrize("colors", [0, 4])
def test_a_palette_that_lacks_colors_is_damage(tmp_path, error_of, colors):
    image = Image.new("P", (4, 4))
    image.putdata(list(range(16)))
    image.putpalette([200] * 48)
    image.save(tmp_path / "p.png")
    content = (tmp_path / "p.png").read_bytes()
    start = content.index(b"PLTE") - 4
    chunk = b"" if not colors else png_chunk(b"PLTE", b"\xc8" * 3 * colors)
    (tmp_path / "p.png").write_bytes(content[:start] + chunk + content[start + 12 + 48 :])
    assert "damaged" in error_of(decode_file, tmp_path / "p.png")


def png_chunk(name: bytes, content: bytes) -> bytes:
    return len(content).to_bytes(4, "big") + name + content + zlib.crc32(name + content).to_bytes(4, "big")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff", ".bmp", ".gif"])
def test_a_claim_is_read_without_decoding(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"photo{suffix}"
    Image.new("RGB", (30, 20), (9, 99, 199)).save(path)
    monkeypatch.setattr(decoding, "_decode", lambda *_: pytest.fail("it was decoded"))
    claim = image_claim(path)
    assert (claim.height, claim.width, claim.is_deep) == (20, 30, False)
    assert suffix in (f".{claim.format.lower()}", ".jpg")


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_a_claim_tells_16_bits(tmp_path, suffix):
    path = tmp_path / f"deep{suffix}"
    pyvips.Image.new_from_array(np.zeros((4, 5, 3), np.uint16)).write_to_file(str(path))
    assert image_claim(path).is_deep


@pytest.mark.parametrize("read", [image_claim, decode_file, load_photo, load_image, load_mask])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tiff"])
def test_a_lower_limit_of_pixels_holds_for_every_way_to_read(tmp_path, read, suffix):
    path = tmp_path / f"photo{suffix}"
    Image.new("RGB", (30, 20)).save(path)
    read(path, max_pixels=600)
    with pytest.raises(ImageError, match=r"more than 0\.000599 megapixels \(30x20"):
        read(path, max_pixels=599)


def test_the_limit_of_all_photos_cannot_be_raised(tmp_path, monkeypatch):
    path = tmp_path / "photo.png"
    Image.new("RGB", (30, 20)).save(path)
    monkeypatch.setattr(decoding, "MAX_PIXELS", 500)
    with pytest.raises(ImageError, match="megapixels"):
        decode_file(path, max_pixels=10**9)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_a_claim_of_what_is_no_image_is_refused(tmp_path, error_of, content):
    path = tmp_path / "photo.png"
    path.write_bytes(content)
    error_of(image_claim, path)

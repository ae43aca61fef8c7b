"""data/metadata.py: ICC profiles and EXIF are carried over; damage in them costs no picture."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

from data.decoding import decode_file, image_claim
from data.metadata import exif_without_orientation, rgb_profile, without_metadata

RGB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
NOTE = "its metadata is damaged and was left out"


def png_chunk(kind: bytes, content: bytes, *, checksum: int | None = None) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", checksum or zlib.crc32(body))


def encoded(pixels: np.ndarray, name: str, **options) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, name, **options)
    return stream.getvalue()


def with_png_chunk(content: bytes, chunk: bytes) -> bytes:
    """The chunk comes after the header."""
    return content[:33] + chunk + content[33:]


DAMAGED_CHUNKS = {
    "a profile that is no zlib stream": png_chunk(b"iCCP", b"name\0\0damaged"),
    "a profile without a name": png_chunk(b"iCCP", b"x" * 200),
    "a profile that inflates to 100 MB": png_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(100_000_000))),
    "a text that inflates to 100 MB": png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(100_000_000))),
    "a checksum that is wrong": png_chunk(b"tEXt", b"a\0b", checksum=7),
    "a short gamma": png_chunk(b"gAMA", b"\0"),
    "a short resolution": png_chunk(b"pHYs", b"\0"),
    "a short chromaticity": png_chunk(b"cHRM", b"\0"),
    "a short rendering intent": png_chunk(b"sRGB", b""),
    "EXIF of nonsense": png_chunk(b"eXIf", b"nonsense"),
    "EXIF of an endless chain": png_chunk(b"eXIf", b"II*\0\x08\0\0\0\0\0\x08\0\0\0"),
}


@pytest.mark.parametrize("chunk", DAMAGED_CHUNKS.values(), ids=DAMAGED_CHUNKS)
def test_a_damaged_chunk_of_a_png_costs_no_picture(tmp_path, pixels_u8, chunk):
    content = encoded(pixels_u8, "PNG")
    (tmp_path / "odd.png").write_bytes(with_png_chunk(content, chunk))
    picture = decode_file(tmp_path / "odd.png")
    np.testing.assert_array_equal(picture.pixels, pixels_u8)
    assert picture.notes in ((), (NOTE,))


def test_metadata_that_had_to_be_left_out_is_noted(tmp_path, pixels_u8):
    chunk = DAMAGED_CHUNKS["a short gamma"]
    (tmp_path / "odd.png").write_bytes(with_png_chunk(encoded(pixels_u8, "PNG"), chunk))
    assert decode_file(tmp_path / "odd.png").notes == (NOTE,)
    claim = image_claim(tmp_path / "odd.png")  # what the HTTP service asks first
    assert (claim.format, claim.height, claim.width) == ("PNG", *pixels_u8.shape[:2])
    (tmp_path / "good.png").write_bytes(encoded(pixels_u8, "PNG"))
    assert decode_file(tmp_path / "good.png").notes == ()


def test_a_profile_of_some_megabytes_is_read_from_a_png(tmp_path, pixels_u8):
    profile = RGB_PROFILE + np.random.default_rng(0).bytes(PngImagePlugin.MAX_TEXT_CHUNK // 2)
    (tmp_path / "large.png").write_bytes(encoded(pixels_u8, "PNG", icc_profile=profile))
    picture = decode_file(tmp_path / "large.png")
    assert picture.icc_profile == profile and picture.notes == ()


def jpeg_segment(marker: int, content: bytes, *, length: int | None = None) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, length or len(content) + 2) + content


DAMAGED_SEGMENTS = {
    "EXIF of nonsense": jpeg_segment(0xE1, b"Exif\0\0nonsense"),
    "EXIF that points outside": jpeg_segment(0xE1, b"Exif\0\0II*\0\xff\xff\xff\xff"),
    "a profile without its parts": jpeg_segment(0xE2, b"ICC_PROFILE\0\x02\x05" + b"x" * 20),
    "a short profile": jpeg_segment(0xE2, b"ICC_PROFILE\0"),
    "several pictures that are not there": jpeg_segment(0xE2, b"MPF\0II*\0\x08\0\0\0\xff\xff"),
    "an empty Photoshop block": jpeg_segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed\0"),
    "an empty comment": jpeg_segment(0xFE, b""),
    "bytes that fill up": b"\xff" * 9 + jpeg_segment(0xE5, b"x"),
}


@pytest.mark.parametrize("segment", DAMAGED_SEGMENTS.values(), ids=DAMAGED_SEGMENTS)
def test_a_damaged_segment_of_a_jpeg_costs_no_picture(tmp_path, pixels_u8, segment):
    content = encoded(pixels_u8, "JPEG")
    (tmp_path / "plain.jpg").write_bytes(content)
    (tmp_path / "odd.jpg").write_bytes(content[:2] + segment + content[2:])
    np.testing.assert_array_equal(
        decode_file(tmp_path / "odd.jpg").pixels, decode_file(tmp_path / "plain.jpg").pixels
    )
    assert image_claim(tmp_path / "odd.jpg") == image_claim(tmp_path / "plain.jpg")


@pytest.mark.parametrize("tag", [ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo, ExifTags.IFD.Interop])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
def test_a_tiff_whose_exif_points_nowhere_costs_no_picture(tmp_path, pixels_u8, tag, compression):
    options = {} if compression is None else {"compression": compression}
    tags = {ExifTags.Base.Artist: "Somebody", ExifTags.Base.Orientation: 3}
    Image.fromarray(pixels_u8).save(tmp_path / "odd.tif", tiffinfo={**tags, tag: 2**31 - 5}, **options)
    picture = decode_file(tmp_path / "odd.tif")
    np.testing.assert_array_equal(picture.pixels, pixels_u8[::-1, ::-1])
    assert b"Somebody" in picture.exif


def test_the_describing_tags_of_a_16_bit_tiff_are_kept(tmp_path):
    import pyvips

    image = pyvips.Image.new_from_array(np.zeros((4, 4, 3), np.uint16), interpretation="rgb16")
    image.set_type(pyvips.GValue.gstr_type, "image-description", "A sunset")
    image.write_to_file(str(tmp_path / "deep.tif"))
    assert b"A sunset" in decode_file(tmp_path / "deep.tif").exif


@pytest.mark.parametrize("name", ["PNG", "JPEG"])
def test_without_metadata_keeps_what_has_pixels(pixels_u8, name):
    plain = encoded(pixels_u8, name)
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "Somebody"
    rich = encoded(pixels_u8, name, exif=exif, icc_profile=RGB_PROFILE)
    assert b"Somebody" in rich and len(rich) > len(plain) + 400
    assert without_metadata(name, rich) == plain
    assert without_metadata(name, plain) == plain
    with Image.open(io.BytesIO(without_metadata(name, rich))) as image:
        assert image.size == (30, 20)


@pytest.mark.parametrize("name", ["PNG", "JPEG"])
@pytest.mark.parametrize("kept", range(0, 90, 7))
def test_without_metadata_stops_at_the_end_of_a_cut_file(pixels_u8, name, kept):
    content = encoded(pixels_u8, name)[:kept]
    assert len(without_metadata(name, content)) <= max(len(content), 8)


def test_a_cut_picture_is_no_picture_without_metadata_either(tmp_path, pixels_u8, error_of):
    content = with_png_chunk(encoded(pixels_u8, "PNG"), DAMAGED_CHUNKS["a short gamma"])
    (tmp_path / "cut.png").write_bytes(content[:-40])
    message = error_of(decode_file, tmp_path / "cut.png")
    assert "damaged or cut short" in message or "damaged, or not an image" in message  # Pillow 10


@pytest.mark.parametrize(
    "content", [b"", b"x", b"Exif\0\0", b"MM\0*\0\0\0\x08\xff\xff", b"II*\0" + b"\xff" * 40]
)
def test_damaged_exif_becomes_none(content):
    assert exif_without_orientation(content) is None


@pytest.mark.parametrize("profile", [None, "text", b"", b"short", b"\0" * 16 + b"GRAY" + b"\0" * 100])
def test_only_profiles_of_rgb_are_kept(profile):
    assert rgb_profile(profile) is None
    assert rgb_profile(RGB_PROFILE) == RGB_PROFILE

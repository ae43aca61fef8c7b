"""Pixels -> image files, written completely or not at all.

Pillow encodes, mostly through imageio. It cannot write 16-bit colors, so libvips writes those (see data/decoding.py).
"""

import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import BinaryIO

import numpy as np

from data.containers import MAX_METADATA
from data.picture import ImageError, Picture
from system.faults import disk_fault, one_line
from system.files import WRITE_REMEDY, write_whole

SAVE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"})
DEEP_SUFFIXES = frozenset({".png", ".tif", ".tiff"})  # formats with 16 bits per channel
ALPHA_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".webp"})
MOST_SIDE = {".jpg": 65500, ".jpeg": 65500, ".webp": 16383}  # pixels; limits of libjpeg and libwebp
JPEG_QUALITY = 95  # of 100; more makes larger files without a visible difference
JPEG_SUBSAMPLING = "4:4:4"  # full color resolution, because brush strokes have sharp color edges
WEBP_QUALITY = 95  # of 100, lossy
PNG_COMPRESS_LEVEL = 2  # of 9, lossless
# Run lengths only. On stylized pictures this is 27 percent faster than zlib's default and 6 percent smaller.
PNG_STRATEGY = zlib.Z_RLE
# The most bytes of EXIF and of an ICC profile that a format stores: one segment of JPEG, and 255 of them for a profile.
# A PNG file stores profiles of any size, but readers stop at some size, ours at MAX_METADATA.
_MOST_EXIF = {".jpg": 65_533, ".jpeg": 65_533}
_MOST_PROFILE = {".jpg": 255 * 65_519, ".jpeg": 255 * 65_519, ".png": MAX_METADATA}
_PNG_HEAD = 1000  # bytes of a PNG file in which its ICC profile starts
# What encoders raise for metadata or pixels that the format cannot hold, such as more than 16383 pixels in WebP.
_ENCODER_ERRORS = (OSError, ValueError, SyntaxError, struct.error)
# Pillow's names of the formats of most pictures. imageio would hand them to Pillow too, but its import takes 55 ms.
_COMMON_FORMATS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
_ENCODER_OPTIONS = {
    ".jpg": {"quality": JPEG_QUALITY, "subsampling": JPEG_SUBSAMPLING},
    ".jpeg": {"quality": JPEG_QUALITY, "subsampling": JPEG_SUBSAMPLING},
    ".webp": {"quality": WEBP_QUALITY},
    ".png": {"compress_level": PNG_COMPRESS_LEVEL, "compress_type": PNG_STRATEGY},
}


def check_image_size(path: Path, height: int, width: int) -> None:
    """Raises ImageError if the format that the suffix names cannot store a picture of this size."""
    most = MOST_SIDE.get(Path(path).suffix.lower(), math.inf)
    if max(height, width) > most:
        raise ImageError(
            f"{path}: {height}x{width} pixels (height x width) are too many for this format, {most} a side at most;"
            " give --max-side or end the name in .png"
        )


def check_image_suffix(path: Path) -> None:
    """Raises ImageError unless `encode_file` can write the format that the suffix names."""
    suffix = Path(path).suffix
    if suffix.lower() not in SAVE_SUFFIXES:
        received = f"unknown suffix '{suffix}'" if suffix else "no suffix"
        raise ImageError(f"{path}: {received}; end the name in one of {' '.join(sorted(SAVE_SUFFIXES))}")


def encode_file(path: Path, picture: Picture) -> tuple[str, ...]:
    """Writes a picture in the format that the suffix names; creates parent folders.

    picture: pixels uint8 or uint16, [H, W, 3 or 4]. The caller converts pixels to what the format can store, see
    DEEP_SUFFIXES and ALPHA_SUFFIXES. Formats without metadata get none.
    An older file is replaced, or kept unchanged if anything fails.
    Returns one line for each piece of metadata that was left out because the format cannot hold it, such as EXIF of
    more than 64 KB in JPEG.
    Raises ImageError for an unknown suffix, and if the file cannot be written.
    """
    check_image_suffix(path)
    check_image_size(path, *picture.pixels.shape[:2])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _write_with_metadata(path, picture)
    except (MemoryError, *_ENCODER_ERRORS) as error:
        raise write_error(path, error) from error


def _write_with_metadata(path: Path, picture: Picture) -> tuple[str, ...]:
    """Writes a picture with all of its metadata, or else with what its format accepts; returns what was left out."""
    is_deep = picture.pixels.dtype == np.uint16
    encode = _encode_by_vips if is_deep else _encode_by_pillow
    suffix = path.suffix.lower()
    first_error: Exception | None = None
    for attempt in _with_less_metadata(_within_limits(picture, suffix, is_deep=is_deep)):
        try:
            write_whole(path, partial(encode, suffix=suffix, picture=attempt))
        except _ENCODER_ERRORS as error:
            if getattr(error, "errno", None) is not None:
                raise  # not a fault of the metadata
            first_error = first_error or error
        else:
            return tuple(_left_out(picture, attempt, f"{'16-bit ' * is_deep}{suffix}"))
    raise first_error


def _within_limits(picture: Picture, suffix: str, *, is_deep: bool) -> Picture:
    """Drops metadata that the format cannot store. libvips writes no EXIF into TIFF files."""
    most_exif = 0 if is_deep and suffix in (".tif", ".tiff") else _MOST_EXIF.get(suffix, math.inf)
    if len(picture.exif or b"") > most_exif:
        picture = replace(picture, exif=None)
    if len(picture.icc_profile or b"") > _MOST_PROFILE.get(suffix, math.inf):
        picture = replace(picture, icc_profile=None)
    return picture


def _with_less_metadata(picture: Picture) -> Iterator[Picture]:
    """Yields the picture, and then without EXIF, without ICC profile and without both, as far as it has them."""
    yield picture
    without_exif, without_profile = replace(picture, exif=None), replace(picture, icc_profile=None)
    if picture.exif:
        yield without_exif
    if picture.icc_profile:
        yield without_profile
    if picture.exif and picture.icc_profile:
        yield replace(without_exif, icc_profile=None)


def _left_out(picture: Picture, written: Picture, kind: str) -> Iterator[str]:
    for name, wanted, kept in (
        ("EXIF", picture.exif, written.exif),
        ("the ICC profile", picture.icc_profile, written.icc_profile),
    ):
        if wanted and not kept:
            yield f"{name} ({len(wanted)} bytes) was left out: it cannot be stored in a {kind} file"


def write_error(path: Path, error: Exception) -> ImageError:
    """Returns the exception to raise when `error` prevents that `path` is written."""
    if isinstance(error, MemoryError):
        reason, remedy = "not enough memory", "free some memory, or give --max-side"
    elif getattr(error, "errno", None) is None:
        reason, remedy = one_line(error), "give --max-side or another format"
    else:
        reason, remedy = disk_fault(error), WRITE_REMEDY
    return ImageError(f"{path}: cannot be written: {reason}; {remedy}")


def _encode_by_pillow(stream: BinaryIO, *, suffix: str, picture: Picture) -> None:
    # BMP, which has neither, ignores them.
    metadata = {"icc_profile": picture.icc_profile, "exif": picture.exif}
    options = {name: value for name, value in metadata.items() if value}
    options |= _ENCODER_OPTIONS.get(suffix, {})
    if suffix in _COMMON_FORMATS:
        from PIL import Image

        Image.fromarray(picture.pixels).save(stream, format=_COMMON_FORMATS[suffix], **options)
        return
    import imageio.v3 as iio

    iio.imwrite(stream, picture.pixels, plugin="pillow", extension=suffix, is_batch=False, **options)


def _encode_by_vips(stream: BinaryIO, *, suffix: str, picture: Picture) -> None:
    import pyvips

    try:
        image = pyvips.Image.new_from_array(np.ascontiguousarray(picture.pixels), interpretation="rgb16")
        for name, value in {"icc-profile-data": picture.icc_profile, "exif-data": picture.exif}.items():
            if value:
                image.set_type(pyvips.GValue.blob_type, name, value)
        options = {"compression": PNG_COMPRESS_LEVEL} if suffix == ".png" else {}
        content = image.write_to_buffer(suffix, **options)
    except pyvips.Error as error:
        raise OSError(one_line(error)) from error
    if suffix == ".png" and picture.icc_profile and b"iCCP" not in content[:_PNG_HEAD]:
        raise ValueError("libpng refuses the ICC profile")
    stream.write(content)

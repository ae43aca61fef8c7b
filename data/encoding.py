"""Pixels -> image files, written completely or not at all.

Pillow encodes, through imageio. It cannot write 16-bit colors, so libvips writes those (see data/decoding.py).
"""

import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from data.decoding import ImageError, Picture
from system.faults import one_line
from system.files import WRITE_REMEDY, write_whole

SAVE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"})
DEEP_SUFFIXES = frozenset({".png", ".tif", ".tiff"})  # formats with 16 bits per channel
ALPHA_SUFFIXES = frozenset({".png", ".tif", ".tiff", ".webp"})
JPEG_QUALITY = 95  # of 100; more makes larger files without a visible difference
JPEG_SUBSAMPLING = "4:4:4"  # full color resolution, because brush strokes have sharp color edges
WEBP_QUALITY = 95  # of 100, lossy
PNG_COMPRESS_LEVEL = 2  # of 9, lossless
# Run lengths only. On stylized pictures this is 27 percent faster than zlib's default and 6 percent smaller.
PNG_STRATEGY = zlib.Z_RLE
_ENCODER_OPTIONS = {
    ".jpg": {"quality": JPEG_QUALITY, "subsampling": JPEG_SUBSAMPLING},
    ".jpeg": {"quality": JPEG_QUALITY, "subsampling": JPEG_SUBSAMPLING},
    ".webp": {"quality": WEBP_QUALITY},
    ".png": {"compress_level": PNG_COMPRESS_LEVEL, "compress_type": PNG_STRATEGY},
}


def check_image_suffix(path: Path) -> None:
    """Raises ImageError unless `encode_file` can write the format that the suffix names."""
    suffix = Path(path).suffix
    if suffix.lower() not in SAVE_SUFFIXES:
        received = f"unknown suffix '{suffix}'" if suffix else "no suffix"
        raise ImageError(f"{path}: {received}; end the name in one of {' '.join(sorted(SAVE_SUFFIXES))}")


def encode_file(path: Path, picture: Picture) -> None:
    """Writes a picture in the format that the suffix names; creates parent folders.

    picture: pixels uint8 or uint16, [H, W, 3 or 4]. The caller converts pixels to what the format can store, see
    DEEP_SUFFIXES and ALPHA_SUFFIXES. Formats without metadata get none.
    An older file is replaced, or kept unchanged if anything fails.
    Raises ImageError for an unknown suffix, and if the file cannot be written.
    """
    check_image_suffix(path)
    encode = _encode_by_vips if picture.pixels.dtype == np.uint16 else _encode_by_pillow
    suffix = path.suffix.lower()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, lambda stream: encode(stream, suffix, picture))
    except (OSError, ValueError) as error:  # ValueError: a limit of the format, such as 16383 pixels in WebP
        raise write_error(path, error) from error


def write_error(path: Path, error: Exception) -> ImageError:
    """Returns the exception to raise when `error` prevents that `path` is written."""
    reason = getattr(error, "strerror", None) or error
    return ImageError(f"{path}: cannot be written: {reason}; {WRITE_REMEDY}")


def _encode_by_pillow(stream: BinaryIO, suffix: str, picture: Picture) -> None:
    import imageio.v3 as iio

    metadata = {
        "icc_profile": picture.icc_profile,
        "exif": picture.exif,
    }  # BMP, which has neither, ignores them
    options = {name: value for name, value in metadata.items() if value}
    options |= _ENCODER_OPTIONS.get(suffix, {})
    iio.imwrite(stream, picture.pixels, plugin="pillow", extension=suffix, is_batch=False, **options)


def _encode_by_vips(stream: BinaryIO, suffix: str, picture: Picture) -> None:
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
    stream.write(content)

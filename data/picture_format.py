"""The format of a picture whose name nobody gave: that of its photo, or PNG where that cannot hold the picture."""

from pathlib import Path

import numpy as np

from data.containers import HEADER_BYTES, JPEG_SUFFIXES, bmp_depth, format_of
from data.decoding import decode_file
from data.encoding import ALPHA_SUFFIXES, DEEP_SUFFIXES, MOST_SIDE, SAVE_SUFFIXES
from data.picture import ImageError, Picture
from system.files import open_regular

_FORMATS = {
    ".bmp": "BMP", ".jpeg": "JPEG", ".jpg": "JPEG", ".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".webp": "WEBP",
}  # fmt: skip
_BMP_ALPHA_BITS = 32  # per pixel; with fewer, a BMP file has no transparency


def is_same_format(suffix: str, other: str) -> bool:
    """Returns whether two suffixes name one format, such as .jpg and .JPEG."""
    return _FORMATS.get(suffix.lower(), suffix) == _FORMATS.get(other.lower(), other)


def picture_suffix(photo_path: Path, *, max_side: int | None = None) -> str:
    """Returns the suffix of the picture of a photo, lower case.

    It is that of the photo. It is .png where that format cannot be written, or cannot hold the transparency, the bit
    depth or the size of the picture: for a transparent BMP file, or where the file contains another format than its
    suffix says.
    max_side: the longest side of the picture, where it is smaller than the photo.
    """
    suffix = suffix_by_name(photo_path)
    if suffix in ALPHA_SUFFIXES & DEEP_SUFFIXES or not _may_hold_more(photo_path, suffix):
        return suffix
    try:
        picture = decode_file(photo_path)
    except ImageError:
        return suffix  # whoever reads the photo next reports the fault
    return suffix if _holds(suffix, picture, max_side) else ".png"


def suffix_by_name(photo_path: Path) -> str:
    """Returns the suffix of the picture of a photo, as far as the name of the photo tells."""
    suffix = photo_path.suffix.lower()
    suffix = ".jpg" if suffix in JPEG_SUFFIXES else suffix  # which every program knows
    return suffix if suffix in SAVE_SUFFIXES else ".png"


def _may_hold_more(path: Path, suffix: str) -> bool:
    """Returns whether a file may hold a picture that the format of its suffix cannot. Reads its first bytes only."""
    try:
        with open_regular(path) as stream:
            header = stream.read(HEADER_BYTES)
    except OSError:
        return False
    name = format_of(header)
    if name == "BMP" and bmp_depth(header) == _BMP_ALPHA_BITS:
        return True
    return name not in (None, _FORMATS[suffix])


def _holds(suffix: str, picture: Picture, max_side: int | None) -> bool:
    pixels = picture.pixels
    has_alpha = pixels.ndim == 3 and pixels.shape[-1] == 4
    is_transparent = has_alpha and pixels[..., 3].min() < np.iinfo(pixels.dtype).max
    side = min(max(pixels.shape[:2]), max_side or max(pixels.shape[:2]))
    return (
        (suffix in ALPHA_SUFFIXES or not is_transparent)
        and (suffix in DEEP_SUFFIXES or pixels.dtype == np.uint8)
        and side <= MOST_SIDE.get(suffix, side)
    )

"""ICC profiles, EXIF and other metadata in image files. Damage in it never costs the picture."""

import contextlib
import struct
from collections.abc import Iterator
from typing import Any

# The tags of a TIFF file that describe the picture; the others describe the layout of that file.
_TEXT_TAGS = ("ImageDescription", "Make", "Model", "Software", "DateTime", "Artist", "Copyright")
_PNG_SIGNATURE_BYTES = 8
_PNG_PIXEL_CHUNKS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_JPEG_START, _JPEG_SCAN = b"\xff\xd8", 0xDA
# Markers of JPEG segments without pixels: applications 1 to 15 and comments. Application 0 is JFIF; Adobe's, 14, says
# which color space is used.
_JPEG_METADATA = frozenset(range(0xE1, 0xF0)) - {0xEE} | {0xFE}


def rgb_profile(icc_profile: Any) -> bytes | None:
    """Drops profiles of gray and CMYK files: their pixels become RGB, for which those profiles are wrong."""
    is_rgb = isinstance(icc_profile, bytes) and icc_profile[16:20] == b"RGB "
    return icc_profile if is_rgb else None


def exif_without_orientation(exif_bytes: bytes | None, tags: Any = None) -> bytes | None:
    """Returns EXIF for the upright pixels: that of the file, or one of the `tags` of a TIFF that describe the picture.

    exif_bytes: EXIF as the file holds it. tags: value by number. None if there is neither, or if it is damaged.
    """
    if exif_bytes:
        with contextlib.suppress(Exception):  # damaged
            return _upright_exif(exif_bytes)
    with contextlib.suppress(Exception):
        return _exif_of_texts(tags or {})
    return None


def orientation_of(image: Any) -> int:
    """Returns the EXIF orientation of an image that Pillow has opened, 1 if it has none or if EXIF is damaged."""
    from PIL import ExifTags

    with contextlib.suppress(Exception):
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    return 1


def use_tiff_tags_only(image: Any) -> None:
    """Makes Pillow turn a TIFF upright by the tag of its first directory; it reads no EXIF, which may be damaged."""
    from PIL import ExifTags, Image

    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = image.tag_v2.get(ExifTags.Base.Orientation, 1)
    image.getexif = lambda: exif


def without_metadata(name: str, content: bytes) -> bytes:
    """Returns a PNG or JPEG file without the parts that hold no pixels; `content` itself if nothing can be removed."""
    with contextlib.suppress(struct.error, IndexError):
        if name == "PNG":
            return content[:_PNG_SIGNATURE_BYTES] + b"".join(_pixel_chunks(content))
        if name == "JPEG":
            return _JPEG_START + b"".join(_pixel_segments(content))
    return content


def _upright_exif(exif_bytes: bytes) -> bytes | None:
    from PIL import ExifTags, Image

    exif = Image.Exif()
    exif.load(exif_bytes)
    exif.pop(ExifTags.Base.Orientation, None)
    return exif.tobytes() if len(exif) else None


def _exif_of_texts(tags: Any) -> bytes | None:
    from PIL import ExifTags, Image

    exif = Image.Exif()
    for name in _TEXT_TAGS:
        text = tags.get(ExifTags.Base[name])
        if isinstance(text, str):
            exif[ExifTags.Base[name]] = text
    return exif.tobytes() if len(exif) else None


def _pixel_chunks(content: bytes) -> Iterator[bytes]:
    position = _PNG_SIGNATURE_BYTES
    while position < len(content):
        length, kind = struct.unpack_from(">I4s", content, position)
        end = position + 12 + length  # length, kind, data, checksum
        if kind in _PNG_PIXEL_CHUNKS:
            yield content[position:end]
        position = end


def _pixel_segments(content: bytes) -> Iterator[bytes]:
    position = len(_JPEG_START)
    while content[position] == 0xFF:
        marker = content[position + 1]
        if marker == _JPEG_SCAN:
            break
        if marker == 0xFF:  # a byte that fills up
            position += 1
            continue
        end = position + 2 + int.from_bytes(content[position + 2 : position + 4], "big")
        if marker not in _JPEG_METADATA:
            yield content[position:end]
        position = end
    yield content[position:]

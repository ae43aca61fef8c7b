"""The image formats that are read: told from the content, and their claims checked against the size of the file.

A few bytes can claim a picture of hundreds of megapixels, for which a decoder allocates gigabytes before it finds
nothing to decode. So the claimed size is compared with what the bytes of the file can hold at best.
"""

import functools
from collections.abc import Callable

HEADER_BYTES = 32  # all that is needed of the start of a file
MAX_METADATA = 2**24  # bytes of one ICC profile or text in a PNG file; Pillow allows 2**20
# Larger pictures must have enough bytes for their pixels. Smaller ones cost less than 100 MB, whatever they claim.
FREE_PIXELS = 16_000_000
# The most pixels that one byte can stand for. GIF: a code of 12 bits for 4095 pixels. JPEG: one bit for a block of
# 8x8 pixels, and color at a quarter of the size. WebP and AVIF: three times what a black picture of 100 megapixels
# takes when WebP is lossy and AVIF as fast as possible; lossless WebP stores one color in 34 bytes at every size.
_PIXELS_PER_BYTE = {"JPEG": 2048, "GIF": 4096, "WEBP": 65_536, "AVIF": 262_144, "BMP": 255}
DEFLATE_RATIO = 1032  # of zlib at best
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_DEPTH_AT, _PNG_COLOR_TYPE_AT = 24, 25  # byte offsets in the file
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by color type
_PNG_DEEP_TYPES = (2, 4, 6)  # RGB, gray with alpha, RGB with alpha
_BMP_DEPTH_AT = slice(28, 30)  # bits per pixel
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two: BigTIFF
_AVIF_BRANDS = (b"avif", b"avis", b"mif1", b"msf1")


@functools.cache
def can_read_avif() -> bool:
    """Returns whether the installed Pillow decodes AVIF files, as Pillow 11.3 and later usually do."""
    from PIL import features

    return "avif" in features.modules and features.check("avif")


def format_of(header: bytes) -> str | None:
    """Returns Pillow's name of the format of a file that starts with `header`, or None for all that is not read."""
    return next((name for name, matches in _SIGNATURES.items() if matches(header)), None)


def readable_formats() -> str:
    """Returns what to give instead of a file that cannot be read."""
    return f"a JPEG, PNG, WebP, TIFF, BMP{', GIF or AVIF' if can_read_avif() else ' or GIF'} file"


def is_deep_png(header: bytes) -> bool:
    """Returns whether a PNG file has 16 bits per channel and more channels than one."""
    is_png = header.startswith(_PNG_SIGNATURE) and len(header) > _PNG_COLOR_TYPE_AT
    return is_png and header[_PNG_DEPTH_AT] == 16 and header[_PNG_COLOR_TYPE_AT] in _PNG_DEEP_TYPES


def png_depth(header: bytes) -> int | None:
    """Returns the bits per channel of a PNG file, None for other files."""
    return header[_PNG_DEPTH_AT] if header.startswith(_PNG_SIGNATURE) else None


def bmp_depth(header: bytes) -> int:
    """Returns the bits per pixel of a BMP file; those of OS/2 have no such number there, nor transparency."""
    return _number(header[_BMP_DEPTH_AT])


def webp_size(header: bytes) -> tuple[int, int]:
    """Returns the width and height that a WebP file claims, (0, 0) if it has none.

    Needed because Pillow allocates memory for WebP pictures before it says how large they are.
    """
    kind = header[12:16]
    if kind == b"VP8X":  # extended
        return 1 + _number(header[24:27]), 1 + _number(header[27:30])
    if kind == b"VP8L":  # lossless
        bits = _number(header[21:25])
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":  # lossy
        return _number(header[26:28]) & 0x3FFF, _number(header[28:30]) & 0x3FFF
    return 0, 0


def least_bytes(name: str, header: bytes, width: int, height: int) -> int:
    """Returns how many bytes a file must have at least to hold a picture of this size."""
    if name == "PNG":
        bits = header[_PNG_DEPTH_AT] * _PNG_CHANNELS.get(header[_PNG_COLOR_TYPE_AT], 1)
        return (1 + width * bits // 8) * height // DEFLATE_RATIO
    if width * height <= FREE_PIXELS or name not in _PIXELS_PER_BYTE:
        return 0
    return width * height // _PIXELS_PER_BYTE[name]


def _number(content: bytes) -> int:
    return int.from_bytes(content, "little")


def _starts_with(*signatures: bytes) -> Callable[[bytes], bool]:
    return lambda header: header.startswith(signatures)


def _is_webp(header: bytes) -> bool:
    return header.startswith(b"RIFF") and header[8:12] == b"WEBP"


def _is_avif(header: bytes) -> bool:
    return header[4:8] == b"ftyp" and header[8:12] in _AVIF_BRANDS and can_read_avif()


_SIGNATURES: dict[str, Callable[[bytes], bool]] = {
    "JPEG": _starts_with(b"\xff\xd8\xff"),
    "PNG": _starts_with(_PNG_SIGNATURE),
    "WEBP": _is_webp,
    "TIFF": _starts_with(*_TIFF_SIGNATURES),
    "BMP": _starts_with(b"BM"),
    "GIF": _starts_with(b"GIF87a", b"GIF89a"),
    "AVIF": _is_avif,
}

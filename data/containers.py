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
# takes when WebP is lossy and AVIF as fast as possible; lossless WebP stores one color in 34 bytes at every size. HEIC
# is a relative of AVIF.
_PIXELS_PER_BYTE = {"JPEG": 2048, "GIF": 4096, "WEBP": 65_536, "AVIF": 262_144, "HEIF": 262_144, "BMP": 255}
DEFLATE_RATIO = 1032  # of zlib at best
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_DEPTH_AT, _PNG_COLOR_TYPE_AT = 24, 25  # byte offsets in the file
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # by color type
_PNG_DEEP_TYPES = (2, 4, 6)  # RGB, gray with alpha, RGB with alpha
_BMP_DEPTH_AT = slice(28, 30)  # bits per pixel
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two: BigTIFF
_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_SHARED_BRANDS = frozenset({b"mif1", b"msf1"})  # AVIF or HEIC: the brands that follow tell which
HEIF_SUFFIXES = frozenset({".heic", ".heif", ".hif"})
# Other names of files that contain JPEG data: of old programs, of stereo pictures, of panoramas.
JPEG_SUFFIXES = frozenset({".jfif", ".jpe", ".mpo", ".insp"})


@functools.cache
def can_read_avif() -> bool:
    """Returns whether the installed Pillow decodes AVIF files, as Pillow 11.3 and later usually do."""
    from PIL import features

    return "avif" in features.modules and features.check("avif")


@functools.cache
def can_read_heif() -> bool:
    """Returns whether the optional package pillow-heif is installed, which reads HEIC files."""
    from importlib.util import find_spec

    return find_spec("pillow_heif") is not None


def format_of(header: bytes) -> str | None:
    """Returns Pillow's name of the format of a file that starts with `header`, or None for all that is not read."""
    return next((name for name, matches in _SIGNATURES.items() if matches(header)), None)


def readable_formats() -> str:
    """Returns what to give instead of a file that cannot be read."""
    names = [
        "JPEG",
        "PNG",
        "WebP",
        "TIFF",
        "BMP",
        "GIF",
        *["AVIF"] * can_read_avif(),
        *["HEIC"] * can_read_heif(),
    ]
    return f"a {', '.join(names[:-1])} or {names[-1]} file"


def why_not_read(header: bytes) -> str:
    """Returns why a file that starts with `header` has no format, and what to do."""
    if _is_heif(header):
        return "HEIC needs pip install pillow-heif; install it, or convert the photo to JPEG first"
    return f"not an image in a supported format; give {readable_formats()}"


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


def _brands(header: bytes) -> tuple[bytes, frozenset[bytes]]:
    """Returns the main brand of an AVIF or HEIC file, and those of the others that `header` contains."""
    if header[4:8] != b"ftyp":
        return b"", frozenset()
    end = min(int.from_bytes(header[:4], "big"), len(header))
    return header[8:12], frozenset(header[start : start + 4] for start in range(16, end, 4))


def _is_avif(header: bytes) -> bool:
    main, others = _brands(header)
    return main in _AVIF_BRANDS or (main in _SHARED_BRANDS and not others & _HEIF_BRANDS)


def _is_heif(header: bytes) -> bool:
    main, others = _brands(header)
    return main in _HEIF_BRANDS or (main in _SHARED_BRANDS and bool(others & _HEIF_BRANDS))


_SIGNATURES: dict[str, Callable[[bytes], bool]] = {
    "JPEG": _starts_with(b"\xff\xd8\xff"),
    "PNG": _starts_with(_PNG_SIGNATURE),
    "WEBP": _is_webp,
    "TIFF": _starts_with(*_TIFF_SIGNATURES),
    "BMP": _starts_with(b"BM"),
    "GIF": _starts_with(b"GIF87a", b"GIF89a"),
    "AVIF": lambda header: _is_avif(header) and can_read_avif(),
    "HEIF": lambda header: _is_heif(header) and can_read_heif(),
}

"""The layout of a TIFF file: which decoder reads it, what is refused by name, and whether its pixels are all there.

TIFF allows any number of channels of any type. Decoders show some layouts wrongly and without an error: Pillow reads
the planes of 16-bit CMYK as RGBA and inverted 16-bit gray as a negative, for example. So only the layouts below are
read. tests/test_tiff.py compares each with the pixels that were stored.
"""

import math
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from data.containers import DEFLATE_RATIO, FREE_PIXELS
from data.picture import MissingPixels, UnsupportedLayout

# Numbers of tags and of their values are those of the TIFF 6.0 specification and of libtiff.
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIP_OFFSETS, _SAMPLES, _ROWS_PER_STRIP, _STRIP_COUNTS, _PLANAR = 273, 277, 278, 279, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILE_OFFSETS, _TILE_COUNTS = 322, 323, 324, 325
_INK_SET, _EXTRA_SAMPLES, _SAMPLE_FORMAT, _SUBSAMPLING = 332, 338, 339, 530
_INVERTED_GRAY, _GRAY, _RGB, _PALETTE, _CMYK, _YCBCR, _LAB = 0, 1, 2, 3, 5, 6, 8
_COLORS = {_INVERTED_GRAY: "gray", _GRAY: "gray", _RGB: "RGB", _PALETTE: "palette", _CMYK: "CMYK"} | {
    _YCBCR: "YCbCr", _LAB: "CIELab", 4: "mask", 9: "ICCLab", 10: "ITULab", 32803: "camera raw",
    32844: "LogL", 32845: "LogLuv", 34892: "camera raw",
}  # fmt: skip
_CHANNELS = {"gray": 1, "RGB": 3, "palette": 1, "CMYK": 4, "YCbCr": 3, "CIELab": 3}
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
_SAMPLE_FORMATS = {_UNSIGNED: "", _SIGNED: " signed", _FLOAT: " float"}
# Kinds of extra channels; 1 is premultiplied alpha, 2 is alpha.
_ASSOCIATED, _UNASSOCIATED = 1, 2
_CODECS = {
    1: "no", 2: "CCITT", 3: "CCITT", 4: "CCITT", 5: "LZW", 6: "old JPEG", 7: "JPEG", 8: "deflate", 32773: "PackBits",
    32946: "deflate", 34712: "JPEG 2000", 34887: "LERC", 34925: "LZMA", 50000: "Zstandard", 50001: "WebP",
    52546: "JPEG XL", 33003: "JPEG 2000", 33005: "JPEG 2000",
}  # fmt: skip
# Decompressed bytes per byte of the file at best. CCITT codes a row of any length in one bit.
_RATIOS = {
    "no": 1, "LZW": 4096, "JPEG": 8192, "old JPEG": 8192, "deflate": DEFLATE_RATIO, "PackBits": 64, "LZMA": 8192,
    "Zstandard": 65_536, "WebP": 262_144, "CCITT": 65_536,
}  # fmt: skip
# Those that are missing in some builds of libtiff; then decoding fails.
_OPTIONAL_CODECS = frozenset({"old JPEG", "LZMA", "Zstandard", "WebP"})
_VIPS_CODECS = frozenset({"no", "LZW", "deflate", "PackBits"})  # that libvips decodes in every build
_LOSSY_CODECS = frozenset({"JPEG", "old JPEG", "WebP"})
_MOST_CHANNELS = 32


@dataclass(frozen=True)
class TiffLayout:
    """How a TIFF file stores its first picture.

    color: a name such as "RGB". sample_format: 1 unsigned, 2 signed, 3 float. extras: the kinds of the channels after
    those of the color. codec: the name of the compression. tags: all tags by number.
    """

    width: int
    height: int
    color: str
    is_inverted: bool
    bits: int
    sample_format: int
    channels: int
    extras: tuple[int, ...]
    is_planar: bool
    is_tiled: bool
    codec: str
    is_little_endian: bool
    tags: Any

    @property
    def has_alpha(self) -> bool:
        """Whether the first channel after the color is the opacity; RGB with an unexplained fourth channel has one."""
        is_unexplained = self.color == "RGB" and not self.extras and self.channels == 4
        return is_unexplained or self.extras[:1] in ((_ASSOCIATED,), (_UNASSOCIATED,))

    @property
    def has_optional_codec(self) -> bool:
        """Whether the installed decoders may lack the codec."""
        return self.codec in _OPTIONAL_CODECS

    @property
    def is_for_vips(self) -> bool:
        """Whether libvips decodes the file, because Pillow would reduce it to 8 bits or show it wrongly."""
        if self.codec not in _VIPS_CODECS or (self.is_planar and self.is_tiled):
            return False
        if self.is_planar:  # libvips reads gray in planes wrongly, Pillow RGB with extra channels in planes
            is_deep_color = self.bits == 16 and self.color in ("RGB", "CMYK")
            return is_deep_color or (self.color == "RGB" and self.extras != ())
        return self.bits > 12

    @property
    def drops_extras(self) -> bool:
        """Whether Pillow leaves out the extra channels: libtiff gives it the planes of the color only."""
        is_unexplained = self.extras != () and max(self.extras) == 0
        return self.is_planar and self.codec != "no" and is_unexplained and not self.is_for_vips

    def __str__(self) -> str:
        """For example: 16-bit float RGB with 1 extra channel in planes, LZMA compression."""
        kind = "inverted gray" if self.is_inverted else self.color
        extras = self.channels - _CHANNELS.get(self.color, self.channels)
        text = f"{self.bits}-bit{_SAMPLE_FORMATS.get(self.sample_format, ' complex')} {kind}"
        if extras > 0:
            kinds = " premultiplied alpha and" * (_ASSOCIATED in self.extras)
            text += f" with{kinds} {extras} extra channel{'s' if extras > 1 else ''}"
        return text + " in planes" * self.is_planar + f", {self.codec} compression"


def read_layout(stream: BinaryIO) -> TiffLayout:
    """Reads the tags of the first picture of a TIFF file.

    Raises UnsupportedLayout for a picture that is not supported, and any exception if the file is damaged.
    """
    tags = _tags_of(stream)
    number = tags.get(_COMPRESSION, 1)
    is_old_jpeg = _CODECS.get(number) == "old JPEG"
    photometric = _YCBCR if is_old_jpeg else tags.get(_PHOTOMETRIC, _INVERTED_GRAY)
    channels = int(tags.get(_SAMPLES, 3 if is_old_jpeg else 1))
    bits, formats = _per_channel(tags.get(_BITS, 1)), _per_channel(tags.get(_SAMPLE_FORMAT, _UNSIGNED))
    layout = TiffLayout(
        width=_positive(tags[_WIDTH]),
        height=_positive(tags[_HEIGHT]),
        color=_COLORS.get(photometric, f"color space {photometric}"),
        is_inverted=photometric == _INVERTED_GRAY,
        bits=int(bits[0]),
        sample_format=int(formats[0]),
        channels=channels,
        extras=tuple(_per_channel(tags.get(_EXTRA_SAMPLES, ()))),
        is_planar=channels > 1 and tags.get(_PLANAR, 1) == 2,
        is_tiled=_TILE_OFFSETS in tags,
        codec=_CODECS.get(number, f"unknown ({number})"),
        is_little_endian=tags.prefix == b"II",
        tags=tags,
    )
    if len({*bits[:channels]}) > 1 or len({*formats[:channels]}) > 1:
        raise UnsupportedLayout(f"channels of different types ({bits[:8]} bits)")
    if not _is_supported(layout):
        raise UnsupportedLayout(str(layout))
    return layout


def check_pixels_are_there(layout: TiffLayout, file_size: int) -> None:
    """Raises MissingPixels if a part of the picture lies behind the end of the file, or cannot fit into it.

    Nothing is allocated for the picture before this is known.
    """
    width, height = _chunk_size(layout)
    planes = layout.channels if layout.is_planar else 1
    across, down = math.ceil(layout.width / width), math.ceil(layout.height / height)
    bits_per_pixel = layout.bits * (1 if layout.is_planar else layout.channels)
    chunk_bytes = math.ceil(width * bits_per_pixel / 8) * height
    if layout.codec == "old JPEG":
        return  # it may have no strips, but a JPEG file in a tag of its own
    if width * height > max(FREE_PIXELS, 4 * layout.width * layout.height):
        raise MissingPixels(f"tiles of {width}x{height} pixels are larger than the picture")
    needed = across * down * planes
    offsets, counts = _chunks(layout, needed)
    if layout.codec == "no":
        counts = np.full(needed, chunk_bytes, np.float64)
        if not layout.is_tiled and layout.height % height:  # the last strip of each plane has fewer rows
            counts[down - 1 :: down] = chunk_bytes // height * (layout.height % height)
    ends = offsets + counts
    if (counts <= 0).any() or ends.max() > file_size:
        raise MissingPixels(f"{ends.max():.0f} bytes are needed, the file has {file_size}")
    raw_bytes = math.ceil(layout.width * bits_per_pixel / 8) * layout.height * planes
    if raw_bytes > FREE_PIXELS and raw_bytes > file_size * _RATIOS[layout.codec]:
        raise MissingPixels(f"{file_size} bytes cannot hold {layout.width}x{layout.height} pixels")


def rgb_from_cmyk(pixels: np.ndarray) -> np.ndarray:
    """Converts CMYK [H, W, 4], uint16, to RGB [H, W, 3], uint16, by the rule that Pillow uses for 8 bits."""
    white = np.uint32(65535)
    light = white - pixels[..., 3:].astype(np.uint32)
    return ((white - pixels[..., :3]) * light // white).astype(np.uint16)


def _tags_of(stream: BinaryIO) -> Any:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    header = stream.read(8)
    if header.startswith(b"MM\0+"):
        raise UnsupportedLayout("big-endian BigTIFF")  # Pillow takes it for a file of 32 bits
    if header.startswith(b"II+\0"):
        header += stream.read(8)  # BigTIFF
    directory = ImageFileDirectory_v2(header)
    stream.seek(directory.next)
    directory.load(stream)
    return directory


def _is_supported(layout: TiffLayout) -> bool:
    if layout.codec not in _RATIOS or layout.channels > _MOST_CHANNELS:
        return False
    if layout.codec in _LOSSY_CODECS and (layout.bits != 8 or layout.color == "palette"):
        return False
    extras = layout.channels - _CHANNELS.get(layout.color, layout.channels)
    if layout.drops_extras:
        extras -= len(layout.extras)
    if extras < 0 or any(kind in (_ASSOCIATED, _UNASSOCIATED) for kind in layout.extras[1:]):
        return False
    is_supported = _RULES.get((layout.color, layout.sample_format, layout.bits))
    return is_supported is not None and is_supported(layout, extras)


def _is_shallow_gray(layout: TiffLayout, extras: int) -> bool:
    if extras == 0:
        return True
    is_premultiplied = layout.extras[:1] == (_ASSOCIATED,)
    is_chunky = layout.bits == 8 and extras == 1 and not layout.is_planar and not layout.is_inverted
    return is_chunky and not is_premultiplied


def _is_12_bit_gray(layout: TiffLayout, extras: int) -> bool:
    return extras == 0 and layout.codec == "no" and layout.is_little_endian and not layout.is_inverted


def _is_16_bit_gray(layout: TiffLayout, extras: int) -> bool:
    if layout.is_for_vips:
        return extras == 0 or (extras == 1 and not layout.is_planar and not layout.is_inverted)
    return extras == 0 and not layout.is_inverted  # Pillow would not invert it


def _is_32_bit_gray(layout: TiffLayout, extras: int) -> bool:
    return extras == 0 and not layout.is_inverted and (layout.is_for_vips or layout.is_little_endian)


def _is_shallow_rgb(layout: TiffLayout, extras: int) -> bool:
    is_one_alpha = extras == 1 and layout.codec != "no"
    return extras == 0 or not layout.is_planar or layout.is_for_vips or is_one_alpha


def _is_16_bit_color(layout: TiffLayout, extras: int) -> bool:
    """Pillow reduces to 8 bits what libvips cannot decompress."""
    is_plain = extras == 0 or (extras == 1 and not layout.is_planar)
    return layout.is_for_vips or (is_plain and layout.codec != "no")


def _is_palette(layout: TiffLayout, extras: int) -> bool:
    return extras == 0 or (layout.bits == 8 and extras == 1 and not layout.is_planar)


def _is_cmyk(layout: TiffLayout, extras: int) -> bool:
    if layout.tags.get(_INK_SET, 1) != 1 or layout.has_alpha:
        return False
    return (
        layout.is_for_vips
        or extras == 0
        and (layout.bits == 8 or layout.codec != "no")
        or (layout.bits == 8 and not layout.is_planar)
    )


def _is_ycbcr(layout: TiffLayout, extras: int) -> bool:
    is_full_size = tuple(_per_channel(layout.tags.get(_SUBSAMPLING, (2, 2)))) == (1, 1)
    is_readable = layout.codec in ("JPEG", "old JPEG") or (is_full_size and layout.codec != "no")
    return extras == 0 and (is_readable or (is_full_size and not layout.is_planar))


def _is_lab(layout: TiffLayout, extras: int) -> bool:
    return extras == 0 and layout.codec != "JPEG"


_RULES = {
    **{("gray", _UNSIGNED, bits): _is_shallow_gray for bits in (1, 2, 4, 8)},
    ("gray", _UNSIGNED, 12): _is_12_bit_gray,
    ("gray", _UNSIGNED, 16): _is_16_bit_gray,
    **{("gray", kind, 32): _is_32_bit_gray for kind in (_UNSIGNED, _SIGNED, _FLOAT)},
    ("RGB", _UNSIGNED, 8): _is_shallow_rgb,
    ("RGB", _UNSIGNED, 16): _is_16_bit_color,
    **{("palette", _UNSIGNED, bits): _is_palette for bits in (1, 2, 4, 8)},
    ("CMYK", _UNSIGNED, 8): _is_cmyk,
    ("CMYK", _UNSIGNED, 16): _is_cmyk,
    ("YCbCr", _UNSIGNED, 8): _is_ycbcr,
    ("CIELab", _UNSIGNED, 8): _is_lab,
}


def _chunk_size(layout: TiffLayout) -> tuple[int, int]:
    """Width and height of a strip or tile."""
    tags = layout.tags
    if layout.is_tiled:
        return _positive(tags[_TILE_WIDTH]), _positive(tags[_TILE_HEIGHT])
    return layout.width, min(layout.height, _positive(tags.get(_ROWS_PER_STRIP, layout.height)))


def _chunks(layout: TiffLayout, needed: int) -> tuple[np.ndarray, np.ndarray]:
    """Offsets and byte counts of the strips or tiles, float64, which holds all that a file can reach."""
    names = (_TILE_OFFSETS, _TILE_COUNTS) if layout.is_tiled else (_STRIP_OFFSETS, _STRIP_COUNTS)
    offsets, counts = (_per_channel(layout.tags.get(name, ())) for name in names)
    if not layout.is_tiled and layout.codec != "no" and not counts:
        counts = (1,) * len(offsets)
    if len(offsets) < needed or (layout.codec != "no" and len(counts) < needed):
        raise MissingPixels(f"{needed} parts are needed, the file has {len(offsets)}")
    return np.array(offsets[:needed], np.float64), np.array(counts[:needed], np.float64)


def _per_channel(value: Any) -> tuple:
    return value if isinstance(value, tuple) else (value,)


def _positive(value: Any) -> int:
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{value} is not a size")
    return value

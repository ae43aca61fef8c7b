"""Builds TIFF files of any layout, which no library writes in full."""

import struct
import zlib

import numpy as np

GRAY, INVERTED, RGB, PALETTE, CMYK, YCBCR, LAB = 1, 0, 2, 3, 5, 6, 8
NONE, LZW, JPEG, DEFLATE, PACKBITS = 1, 5, 7, 8, 32773
_TYPES = {"H": 3, "I": 4, "Q": 16}


def tiff_bytes(
    samples: np.ndarray,
    *,
    photometric: int,
    bits: int | None = None,
    extras: tuple[int, ...] = (),
    planar: bool = False,
    order: str = "<",
    big: bool = False,
    tile: int | None = None,
    rows_per_strip: int | None = None,
    compression: int = NONE,
    more_tags: dict[int, tuple[int, ...]] | None = None,
    pixels_last: bool = False,
) -> bytes:
    """Returns a file that holds `samples` [H, W, C].

    The type of the samples is that of the array; bits: fewer than it has. extras: the kinds of the extra channels.
    order: "<" little-endian, ">" big-endian. big: BigTIFF. tile: the side of square tiles. pixels_last: the directory
    comes before the pixels.
    """
    height, width, channels = samples.shape
    bits = bits or samples.dtype.itemsize * 8
    planes = np.moveaxis(samples, -1, 0)[..., None] if planar else samples[None]
    parts = [part for plane in planes for part in _parts(plane, tile, rows_per_strip or height)]
    packed = [_compressed(_packed(part, bits, order), compression) for part in parts]
    tags = {256: (width,), 257: (height,), 258: (bits,) * channels, 259: (compression,), 262: (photometric,)}
    tags |= {277: (channels,), 284: (2 if planar else 1,)}
    tags |= {322: (tile,), 323: (tile,)} if tile else {278: (rows_per_strip or height,)}
    tags |= {338: extras} if extras else {}
    tags |= {339: ({"u": 1, "i": 2, "f": 3}[samples.dtype.kind],) * channels}

    def directory(pixels_at: int, directory_at: int) -> bytes:
        offsets = tuple(pixels_at + sum(map(len, packed[:index])) for index in range(len(packed)))
        places = {324 if tile else 273: offsets, 325 if tile else 279: tuple(map(len, packed))}
        return _directory(tags | places | (more_tags or {}), order, big, directory_at)

    pixels = b"".join(packed)
    directory_at = 16 if pixels_last else 16 + len(pixels)
    pixels_at = 16 + len(directory(0, 16)) if pixels_last else 16
    mark = b"II" if order == "<" else b"MM"
    start = (
        struct.pack(f"{order}HHHQ", 43, 8, 0, directory_at)
        if big
        else struct.pack(f"{order}HI", 42, directory_at)
    )
    body = directory(pixels_at, directory_at)
    return (mark + start).ljust(16, b"\0") + (body + pixels if pixels_last else pixels + body)


def _parts(plane: np.ndarray, tile: int | None, rows_per_strip: int) -> list[np.ndarray]:
    height, width = plane.shape[:2]
    if not tile:
        return [plane[row : row + rows_per_strip] for row in range(0, height, rows_per_strip)]
    padded = np.pad(plane, ((0, -height % tile), (0, -width % tile), (0, 0)))
    return [
        padded[row : row + tile, column : column + tile]
        for row in range(0, height, tile)
        for column in range(0, width, tile)
    ]


def _packed(part: np.ndarray, bits: int, order: str) -> bytes:
    if bits % 8 == 0:
        return part.astype(part.dtype.newbyteorder(order)).tobytes()
    rows = part.reshape(part.shape[0], -1).astype(np.uint32)
    as_bits = (rows[..., None] >> np.arange(bits - 1, -1, -1)) & 1  # the highest first
    return np.packbits(as_bits.reshape(part.shape[0], -1).astype(np.uint8), axis=-1).tobytes()


def _compressed(content: bytes, compression: int) -> bytes:
    return zlib.compress(content) if compression == DEFLATE else content


def _directory(tags: dict[int, tuple[int, ...]], order: str, big: bool, offset: int) -> bytes:
    inline, count, entry = (8, "Q", 20) if big else (4, "I", 12)
    head = struct.pack(f"{order}{'Q' if big else 'H'}", len(tags))
    values_at = offset + len(head) + entry * len(tags) + inline
    entries, values = b"", b""
    for tag, numbers in sorted(tags.items()):
        code = "I" if tag in (256, 257, 273, 278, 279, 322, 323, 324, 325) else "H"
        content = struct.pack(f"{order}{len(numbers)}{code}", *numbers)
        entries += struct.pack(f"{order}HH{count}", tag, _TYPES[code], len(numbers))
        if len(content) <= inline:
            entries += content.ljust(inline, b"\0")
        else:
            entries += struct.pack(f"{order}{count}", values_at + len(values))
            values += content
    return head + entries + b"\0" * inline + values

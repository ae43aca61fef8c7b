"""Fuzz target for image files: data/decoding.py. Run `python -m fuzz.picture --cases 2000`."""

import functools
import io
import struct
import sys
import zlib
from pathlib import Path

import numpy as np

from fuzz.engine import Target, main

HEIGHT, WIDTH = 18, 23
_EXIF = (
    b"Exif\0\0II*\0\x08\0\0\0\x02\0\x0f\x01\x02\0\x04\0\0\0ABC\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
)
_PILLOW = {  # name -> mode, format, options
    "rgb_jpeg": ("RGB", "JPEG", {"exif": _EXIF}),
    "progressive_jpeg": ("RGB", "JPEG", {"progressive": True}),
    "gray_jpeg": ("L", "JPEG", {}),
    "cmyk_jpeg": ("CMYK", "JPEG", {}),
    "rgb_png": ("RGB", "PNG", {"exif": _EXIF, "icc_profile": b"\0" * 16 + b"RGB " + b"\0" * 200}),
    "palette_png": ("P", "PNG", {"transparency": 3}),
    "bilevel_png": ("1", "PNG", {}),
    "rgba_webp": ("RGBA", "WEBP", {"lossless": True, "exif": _EXIF}),
    "lossy_webp": ("RGB", "WEBP", {"quality": 50}),
    "gif": ("P", "GIF", {}),
    "rgb_bmp": ("RGB", "BMP", {}),
    "palette_bmp": ("P", "BMP", {}),
    "rgb_tiff": ("RGB", "TIFF", {}),
    "lzw_tiff": ("RGB", "TIFF", {"compression": "tiff_lzw"}),
    "jpeg_tiff": ("RGB", "TIFF", {"compression": "jpeg"}),
    "bilevel_tiff": ("1", "TIFF", {"compression": "group4"}),
    "cmyk_tiff": ("CMYK", "TIFF", {"compression": "packbits"}),
    "lab_tiff": ("LAB", "TIFF", {}),
    "float_tiff": ("F", "TIFF", {}),
    "deep_gray_tiff": ("I;16", "TIFF", {}),
    "deep_gray_png": ("I;16", "PNG", {}),
}
_VIPS = {  # name -> channels, interpretation, suffix, options
    "deep_rgb_png": (3, "rgb16", ".png", {}),
    "deep_rgba_png": (4, "rgb16", ".png", {"interlace": True}),
    "deep_gray_alpha_png": (2, "grey16", ".png", {}),
    "deep_rgb_tiff": (3, "rgb16", ".tif", {}),
    "deep_rgba_tiff": (4, "rgb16", ".tif", {"compression": "lzw", "predictor": "horizontal"}),
    "deep_cmyk_tiff": (4, "cmyk", ".tif", {"compression": "deflate"}),
    "tiled_tiff": (3, "rgb16", ".tif", {"tile": True, "tile_width": 16, "tile_height": 16}),
    "bigtiff": (3, "rgb16", ".tif", {"bigtiff": True}),
}


@functools.cache
def seeds() -> dict[str, bytes]:
    """Small pictures of every format and of many modes."""
    ramp = np.linspace(0, 65535, HEIGHT * WIDTH * 4).reshape(HEIGHT, WIDTH, 4).astype(np.uint16)
    made = {name: _by_pillow(ramp, *kind) for name, kind in _PILLOW.items()}
    made |= {name: _by_vips(ramp, *kind) for name, kind in _VIPS.items()}
    made["animated_gif"] = _animation(ramp)
    made["adam7_png"] = _gray_png(bits=4, extra=_chunk(b"tRNS", struct.pack(">H", 3)))
    from data.containers import can_read_avif

    if can_read_avif():
        made["avif"] = _by_pillow(ramp, "RGB", "AVIF", {"speed": 10})
    return made


def run(content: bytes, folder: Path) -> None:
    """Decodes a file, and checks that the result is a picture."""
    from data.decoding import decode_file
    from data.images import rgb_over

    path = folder / "picture"
    path.write_bytes(content)
    picture = decode_file(path)
    assert picture.pixels.ndim == 2 or picture.pixels.shape[-1] in (3, 4), picture.pixels.shape
    assert picture.pixels.dtype in (np.uint8, np.uint16, np.float32), picture.pixels.dtype
    assert rgb_over(picture.pixels).shape == (*picture.pixels.shape[:2], 3)
    assert all(note.isprintable() for note in picture.notes), picture.notes


def refusals() -> tuple[type[Exception], ...]:
    from data.picture import ImageError

    return (ImageError,)


def _by_pillow(ramp: np.ndarray, mode: str, name: str, options: dict) -> bytes:
    from PIL import Image

    if mode == "I;16":
        image = Image.fromarray(ramp[..., 0])
    elif mode in ("F", "LAB"):
        image = Image.fromarray((ramp[..., 0] / 65535).astype(np.float32))
        image = image if mode == "F" else Image.merge("LAB", [Image.new("L", image.size, 99)] * 3)
    else:
        image = Image.fromarray((ramp[..., :3] // 257).astype(np.uint8)).convert(mode)
    stream = io.BytesIO()
    image.save(stream, name, **options)
    return stream.getvalue()


def _by_vips(ramp: np.ndarray, channels: int, interpretation: str, suffix: str, options: dict) -> bytes:
    import pyvips

    pixels = np.ascontiguousarray(ramp[..., :channels])
    image = pyvips.Image.new_from_array(pixels, interpretation=interpretation)
    return image.write_to_buffer(suffix, **options)


def _animation(ramp: np.ndarray) -> bytes:
    from PIL import Image

    frames = [Image.fromarray((ramp[..., index] // 257).astype(np.uint8)).convert("P") for index in range(3)]
    stream = io.BytesIO()
    frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    return stream.getvalue()


def _gray_png(*, bits: int, extra: bytes) -> bytes:
    """A PNG file with a transparent gray and damaged metadata."""
    rows = b"".join(b"\0" + bytes(range(WIDTH * bits // 8 + 1)) for _ in range(HEIGHT))
    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, bits, 0, 0, 0, 0)
    chunks = _chunk(b"IHDR", header) + _chunk(b"iCCP", b"name\0\0damaged") + extra
    return b"\x89PNG\r\n\x1a\n" + chunks + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    body = kind + content
    return struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))


TARGET = Target("picture", seeds, run, refusals)

if __name__ == "__main__":
    sys.exit(main(TARGET))

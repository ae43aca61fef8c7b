"""How much the network will have to compute, roughly, before any photo is read: it decides which runtime is faster."""

import os
from collections.abc import Sequence
from pathlib import Path

from cli.infer_config import FastConfig

PIXELS_PER_BYTE = 3.0  # of photos as JPEG files; other formats have fewer


def expected_pixels(config: FastConfig, photos: Sequence[Path]) -> float:
    """Returns about how many pixels the network will compute for `photos` together."""
    return sum(pixels_of(config, _size(path)) for path in photos)


def _size(path: Path) -> int:
    try:
        return os.path.getsize(path)
    except OSError:  # is reported when the photo is read
        return 0


def pixels_of(config: FastConfig, file_bytes: int) -> float:
    """Returns about how many pixels the network will compute for a photo whose file has `file_bytes`."""
    from data.enlarging import LARGE_PIXELS

    pixels = PIXELS_PER_BYTE * file_bytes
    if config.max_side is not None:
        pixels = min(pixels, float(config.max_side) ** 2)
    return min(pixels, LARGE_PIXELS) if config.stroke_scale is None else pixels / config.stroke_scale**2

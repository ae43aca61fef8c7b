"""How much the network will have to compute, roughly, before any photo is read: it decides which runtime is faster."""

import os
from collections.abc import Sequence
from pathlib import Path

from cli.infer_config import FastConfig

PIXELS_PER_BYTE = 3.0  # of photos as JPEG files; other formats have fewer


def expected_pixels(config: FastConfig, photos: Sequence[Path]) -> float:
    """Returns about how many pixels the network will compute for `photos` together."""
    return sum(_pixels(config, path) for path in photos)


def _pixels(config: FastConfig, path: Path) -> float:
    from data.enlarging import LARGE_PIXELS

    try:
        pixels = PIXELS_PER_BYTE * os.path.getsize(path)
    except OSError:  # is reported when the photo is read
        return 0.0
    if config.max_side is not None:
        pixels = min(pixels, float(config.max_side) ** 2)
    return min(pixels, LARGE_PIXELS) if config.stroke_scale is None else pixels / config.stroke_scale**2

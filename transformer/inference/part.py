"""What every way of stylizing an image yields: finished parts, with progress on the way."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

Progress = Callable[[float], None]  # called with the share of the work that is done, 0..1


class Part(NamedTuple):
    """A finished rectangle of a stylized image: its place, and RGB float32 0..255 [rows, columns, 3]."""

    rows: slice
    columns: slice
    pixels: np.ndarray


def no_progress(share: float) -> None:
    """A Progress for callers that need none."""

"""One check of each kind of argument that library functions take. Rooms use it, so that their errors read alike."""

from collections.abc import Sequence
from typing import Any

import numpy as np

MOST = 10**18  # TensorFlow and NumPy count in 64 bits


def check_count(name: str, value: Any, *, least: int = 1, most: int = MOST) -> None:
    """Raises ValueError unless `value` is a whole number from `least` to `most`."""
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not is_whole or not least <= value <= most:
        limit = f" and at most {most}" if most != MOST else ""
        received = (
            repr(value)[:40] if not is_whole or abs(value) < 10**30 else "a number of more than 30 digits"
        )
        raise ValueError(f"{name} must be a whole number of at least {least}{limit}, got {received}")


def check_images(name: str, images: Any, *, rank: int = 3) -> None:
    """Raises ValueError unless `images` is a finite array [H, W, 3] or (rank 4) [B, H, W, 3], no side zero."""
    shape = tuple(np.shape(images))
    if len(shape) != rank or shape[-1] != 3 or 0 in shape:
        wanted = "[H, W, 3]" if rank == 3 else "[B, H, W, 3]"
        raise ValueError(f"{name} must be an array {wanted} without a zero side, got the shape {list(shape)}")
    if not np.isfinite(np.asarray(images, np.float32)).all():
        raise ValueError(f"{name} must not contain NaN or infinite values")


def check_size(name: str, size: Sequence[int]) -> None:
    """Raises ValueError unless `size` is (height, width) with sides of at least 1."""
    if len(size) != 2:
        raise ValueError(f"{name} must be (height, width), got {repr(size)[:40]}")
    for side in size:
        check_count(f"each side of {name}", side)

"""Crops for the trainings of train.py in this folder, cut once by all cores and kept in memory files.

A crop is that of data/pipeline.py:random_crop with the same seed and number, from the packed photos.
"""

import functools
import io
import os
from collections.abc import Mapping
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from PIL import Image

from tools.jax_port.pack_format import load_contents

SEED = 0
PHOTOS: list[np.ndarray] = []  # of this process and those forked from it


def decoded(content: bytes) -> np.ndarray:
    """Returns the pixels [H, W, 3], uint8, of a picture file."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def random_crop(pixels: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
    """Returns data/pipeline.py:random_crop, draw by draw."""
    height, width = pixels.shape[:2]
    short_side = min(height, width)
    side = int(generator.integers(min(size, short_side), short_side + 1))
    top = int(generator.integers(height - side + 1))
    left = int(generator.integers(width - side + 1))
    crop = pixels[top : top + side, left : left + side]
    if side != size:
        image = Image.fromarray(np.ascontiguousarray(crop))
        crop = np.asarray(image.resize((size, size), Image.Resampling.LANCZOS))
    return crop[:, ::-1] if generator.integers(2) else crop


@functools.lru_cache(maxsize=2)
def _epoch_order(count: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((SEED, 1, epoch)).permutation(count)


def _cut(task: tuple[int, int, int, str, int]) -> None:
    size, first, last, path, count = task
    crops = np.memmap(path, np.uint8, "r+", shape=(count, size, size, 3))
    for number in range(first, last):
        epoch, position = divmod(number, len(PHOTOS))
        photo = PHOTOS[_epoch_order(len(PHOTOS), epoch)[position]]
        crops[number] = random_crop(photo, size, np.random.default_rng((SEED, number)))


def cut_crops(packed_dir: Path, counts: Mapping[int, int], memory_dir: Path) -> dict[int, np.ndarray]:
    """Returns the crops [count, size, size, 3], uint8, for each size; `counts` says how many.

    They lie in files in `memory_dir`, which the caller removes.
    """
    cores, fork = os.cpu_count() or 1, get_context("fork")  # forked processes have the photos
    contents = [
        content for path in sorted(packed_dir.glob("photos_*.npz")) for content in load_contents(path)
    ]
    with fork.Pool(cores) as pool:
        PHOTOS[:] = pool.map(decoded, contents, chunksize=16)
    tasks, paths = [], {size: str(memory_dir / f"crops_{size}") for size in counts}
    for size, count in counts.items():
        np.memmap(paths[size], np.uint8, "w+", shape=(count, size, size, 3))
        share = max(1, count // (8 * cores))
        tasks += [
            (size, first, min(count, first + share), paths[size], count) for first in range(0, count, share)
        ]
    with fork.Pool(cores) as pool:
        pool.map(_cut, tasks, chunksize=1)
    return {
        size: np.memmap(paths[size], np.uint8, "r", shape=(count, size, size, 3))
        for size, count in counts.items()
    }

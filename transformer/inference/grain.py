"""Fine noise that is added to a photo before the network.

A network turns what varies in a photo into strokes. Where nothing varies but a smooth gradient, as in drawings, in
skies without noise or on white backgrounds, instance norm amplifies the gradient, and the network draws stripes along
it. Noise of one level, which nobody sees, is enough to get strokes there.
"""

import functools
from typing import Any

import numpy as np

# The noise is the sum of two tables that repeat with different periods, so together they repeat after 194,947 rows. It
# depends on the place alone: tiles, and the frames of a video, get the same noise as the whole picture.
PERIODS = ((509, 521), (383, 397))  # rows and columns


class Grained:
    """A photo [H, W, 3], 0..255, with gray noise of standard deviation `grain`, in 0..255 again.

    It has what `Stylizer.parts` needs: `shape` and slicing to arrays [rows, columns, 3], float32.
    """

    def __init__(self, image: Any, grain: float):
        self.shape = image.shape
        self._image, self._grain = image, np.float32(grain)

    def __getitem__(self, place: tuple[slice, slice]) -> np.ndarray:
        rows, columns = (
            np.arange(*part.indices(side)) for part, side in zip(place, self.shape[:2], strict=True)
        )
        pixels = np.asarray(self._image[place], np.float32)
        noise = self._grain * noise_at(rows, columns)
        return np.clip(pixels + noise[:, :, np.newaxis], 0, 255)


def noise_at(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Returns the noise at rows [R] and columns [C] of a picture: [R, C], float32, mean 0 and variance 1."""
    tables = zip(_tables(), PERIODS, strict=True)
    return sum(table[np.ix_(rows % height, columns % width)] for table, (height, width) in tables)


@functools.cache
def _tables() -> tuple[np.ndarray, ...]:
    generator = np.random.default_rng(0)
    scale = np.float32(1 / np.sqrt(len(PERIODS)))
    return tuple(scale * generator.standard_normal(period, np.float32) for period in PERIODS)

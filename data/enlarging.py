"""Enlarges a stylized image to the size of its photo, so that brush strokes grow and edges of the photo stay sharp.

A network draws strokes of a fixed size in pixels. A large photo is therefore stylized at a smaller size, and the result
is enlarged here. The details that the small photo has lost come from the photo itself: where the stylized luminance
follows that of the small photo, it also follows the details. How far it does is the slope of a guided filter at reduced
resolution (He & Sun 2015, https://arxiv.org/abs/1505.00996).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from data.images import LUMINANCE_WEIGHTS, shrunk_size

NATURAL_PIXELS = 1200 * 900  # of a photo in which strokes have about their size in the painting
LARGE_PIXELS = (
    1500 * 1125
)  # up to here a photo is stylized as it is: enlarging by less blurs more than it helps
LEAST_SIDE = 256  # pixels; a panorama is not shrunk to a lower height than that of the training crops
BAND_PIXELS = 2**20  # of the large image that are computed at once
WINDOW_RADIUS = 3  # pixels of the small image; the slope is that of a window of 7x7
SMOOTHNESS = 150.0  # levels squared; luminance that varies less than this transfers no detail
SMALL_PIXEL_BYTES, BAND_PIXEL_BYTES = 110, 80  # measured
LARGEST_SLOPE = 1.2  # of the transfer of details, in both directions


def natural_scale(height: int, width: int) -> float:
    """Returns how much larger than in a small photo strokes must be for a photo of this size; at least 1."""
    if height * width <= LARGE_PIXELS:
        return 1.0
    return max(1.0, min((height * width / NATURAL_PIXELS) ** 0.5, min(height, width) / LEAST_SIDE))


def size_at_scale(height: int, width: int, stroke_scale: float) -> tuple[int, int]:
    """Returns the height and width at which a photo is stylized for strokes `stroke_scale` times as large."""
    return shrunk_size((height, width), max(1, round(max(height, width) / stroke_scale)))


def bands(height: int, width: int) -> Iterator[slice]:
    """Yields the rows of an image in bands of about BAND_PIXELS."""
    rows = max(1, BAND_PIXELS // width)
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


def enlarging_bytes(size: tuple[int, int], small_size: tuple[int, int], threads: int) -> float:
    """Returns an estimate of the memory that an Enlargement needs beside the photo, in bytes."""
    band = max(BAND_PIXELS, size[1])
    return SMALL_PIXEL_BYTES * small_size[0] * small_size[1] + threads * BAND_PIXEL_BYTES * band


class Enlargement:
    """A stylized image [h, w, 3] at the size [H, W, 3] of its photo; enlargement.rows(slice) computes a part of it.

    photo: has a `shape` and returns parts as images when it is sliced, like data.photo.Photo or an array.
    small: the photo at the size of `stylized`. All images are RGB, float32, 0..255.
    """

    def __init__(self, photo, small: np.ndarray, stylized: np.ndarray):
        self._photo = photo
        self._planes = [_pillow_plane(stylized[..., channel]) for channel in range(3)]
        luminance = small @ LUMINANCE_WEIGHTS
        self._luminance = _pillow_plane(luminance)
        self._slope = _pillow_plane(_slope(luminance, stylized @ LUMINANCE_WEIGHTS))

    def rows(self, rows: slice) -> np.ndarray:
        """Returns these rows of the enlarged image, [rows, W, 3], float32, 0..255."""
        details = self._photo[rows, :] @ LUMINANCE_WEIGHTS - self._enlarged(self._luminance, rows)
        details *= self._enlarged(self._slope, rows)
        enlarged = np.stack([self._enlarged(plane, rows) for plane in self._planes], axis=-1)
        enlarged += details[..., np.newaxis]
        return enlarged.clip(0, 255, out=enlarged)

    def _enlarged(self, plane: Any, rows: slice) -> np.ndarray:
        """Returns rows of the enlarged plane; neighbors beyond them count, so bands fit together without seams."""
        from PIL import Image

        height, width = self._photo.shape[:2]
        scale = plane.height / height
        box = (0, rows.start * scale, plane.width, rows.stop * scale)
        size = (width, rows.stop - rows.start)
        return np.asarray(plane.resize(size, Image.Resampling.BICUBIC, box=box))


def _pillow_plane(values: np.ndarray) -> Any:
    """Returns [H, W] as a Pillow image of float32, once for all bands, because Pillow copies the values."""
    from PIL import Image

    return Image.fromarray(np.ascontiguousarray(values, np.float32))


def _slope(guide: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Returns the slope of `values` over `guide` in the window of each pixel; all [H, W]."""
    mean_guide, mean_values = _window_mean(guide), _window_mean(values)
    covariance = _window_mean(guide * values) - mean_guide * mean_values
    variance = _window_mean(guide * guide) - mean_guide * mean_guide
    slope = covariance / (np.maximum(variance, 0) + SMOOTHNESS)
    return _window_mean(slope).clip(-LARGEST_SLOPE, LARGEST_SLOPE).astype(np.float32)


def _window_mean(values: np.ndarray) -> np.ndarray:
    """Returns the mean of the window around each pixel, in float64; the edge is repeated."""
    side = 2 * WINDOW_RADIUS + 1
    padded = np.pad(values.astype(np.float64), ((WINDOW_RADIUS + 1, WINDOW_RADIUS),) * 2, mode="edge")
    sums = padded.cumsum(0).cumsum(1)
    return (sums[side:, side:] - sums[:-side, side:] - sums[side:, :-side] + sums[:-side, :-side]) / side**2

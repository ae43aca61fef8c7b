"""Less flicker in videos: what has not changed in the clip shall not change in the picture.

A network stylizes every frame by itself, and answers camera noise and movement elsewhere with other strokes. Where
the clip stands still, each picture is therefore mixed with the one before.
"""

import numpy as np

# Levels of 0..255 by which a pixel may differ and still counts as unchanged; by which it has surely moved.
STILL, MOVED = 8.0, 24.0
NOISE_WINDOW = (
    5  # pixels a side over which differences are averaged: camera noise differs from pixel to pixel
)
# What moves counts as moving for REACH blocks of BLOCK pixels around: strokes follow edges into plain areas.
BLOCK, REACH = 4, 4


class TemporalSmoother:
    """Called frame by frame with content and stylized [H, W, 3], returns what to show instead of `stylized`.

    `strength`, 0 to below 1, is the share of the former picture where nothing moves. The content that the former
    picture shows is mixed in the same shares, so that slow changes add up until they count as movement.
    """

    def __init__(self, strength: float):
        if not 0 <= strength < 1:
            raise ValueError(f"strength must be at least 0 and below 1, got {strength}")
        self._strength = np.float32(strength)
        self._content = self._shown = None

    def __call__(self, content: np.ndarray, stylized: np.ndarray) -> np.ndarray:
        if self._shown is None or self._shown.shape != stylized.shape:
            self._content, self._shown = content, stylized
            return stylized
        change = box_mean(np.abs(content - self._content).max(axis=-1), NOISE_WINDOW)  # [H, W]
        change = box_mean(spread(change), 2 * BLOCK + 1)  # so that no edge of a block shows
        kept = self._strength * ((MOVED - change) / (MOVED - STILL)).clip(0, 1)[..., np.newaxis]
        self._content = content + kept * (self._content - content)
        self._shown = stylized + kept * (self._shown - stylized)
        return self._shown


def spread(values: np.ndarray) -> np.ndarray:
    """The largest value of REACH blocks around each pixel, no finer than blocks: [H, W] -> [H, W]."""
    height, width = values.shape
    padded = np.pad(values, ((0, -height % BLOCK), (0, -width % BLOCK)), mode="edge")
    blocks = padded.reshape(padded.shape[0] // BLOCK, BLOCK, padded.shape[1] // BLOCK, BLOCK).max((1, 3))
    for axis in (0, 1):
        margins = [(0, 0), (0, 0)]
        margins[axis] = (REACH, REACH)
        around, side = np.pad(blocks, margins), blocks.shape[axis]
        blocks = np.max(
            [around.take(range(start, start + side), axis) for start in range(2 * REACH + 1)], axis=0
        )
    return blocks.repeat(BLOCK, 0).repeat(BLOCK, 1)[:height, :width]


def box_mean(values: np.ndarray, size: int) -> np.ndarray:
    """The mean of size x size neighbours, size odd, edges repeated: [H, W] -> [H, W]."""
    for axis in (0, 1):
        margins = [(0, 0), (0, 0)]
        margins[axis] = (size // 2, size // 2)
        padded, side = np.pad(values, margins, mode="edge"), values.shape[axis]
        values = sum(padded.take(range(start, start + side), axis) for start in range(size)) / size
    return values

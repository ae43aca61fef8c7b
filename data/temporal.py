"""Reduces flicker in stylized videos.

The network stylizes each frame independently. Noise of the camera, and motion elsewhere in the frame, make it draw
other strokes where nothing changed. There each stylized frame is mixed with the one before it.
"""

from collections.abc import Iterator

import numpy as np

# Differences of pixels, 0..255. Up to STILL a pixel counts as unchanged, from MOVED on as changed.
STILL, MOVED = 8.0, 24.0
# Differences are averaged over squares of this side, in pixels, because camera noise differs from pixel to pixel.
NOISE_WINDOW = 5
# Motion counts for REACH blocks of BLOCK pixels around it, because strokes along edges reach into plain areas.
BLOCK, REACH = 4, 4


class TemporalSmoother:
    """A function of successive frames: smoother(content, stylized) returns the frame to show; all [H, W, 3].

    Where nothing moves, the result is `strength` * previous result + (1 - strength) * stylized. The content of the
    previous result is mixed in the same proportions, so that slow changes add up until they count as motion.
    A frame of another size starts anew.

    strength: 0 to below 1. With 0 frames are returned unchanged and none is kept.
    """

    def __init__(self, strength: float):
        if not 0 <= strength < 1:
            raise ValueError(f"strength must be at least 0 and below 1, got {strength}")
        self._strength = np.float32(strength)
        self._content = self._shown = None

    def __call__(self, content: np.ndarray, stylized: np.ndarray) -> np.ndarray:
        if self._strength == 0:
            return stylized
        if self._shown is None or self._shown.shape != stylized.shape:
            self._content, self._shown = content, stylized
            return stylized
        change = box_mean(np.abs(content - self._content).max(axis=-1), NOISE_WINDOW)  # [H, W]
        change = box_mean(spread(change), 2 * BLOCK + 1)  # hides the edges of the blocks
        kept = self._strength * ((MOVED - change) / (MOVED - STILL)).clip(0, 1)[..., np.newaxis]
        self._content = content + kept * (self._content - content)
        self._shown = stylized + kept * (self._shown - stylized)
        return self._shown


def spread(values: np.ndarray) -> np.ndarray:
    """Replaces each block by the largest value within REACH blocks around it: [H, W] -> [H, W]."""
    height, width = values.shape
    padded = np.pad(values, ((0, -height % BLOCK), (0, -width % BLOCK)), mode="edge")
    blocks = padded.reshape(padded.shape[0] // BLOCK, BLOCK, padded.shape[1] // BLOCK, BLOCK).max((1, 3))
    for axis in (0, 1):
        blocks = np.max(list(_shifted(blocks, axis, REACH, mode="constant")), axis=0)
    return blocks.repeat(BLOCK, 0).repeat(BLOCK, 1)[:height, :width]


def box_mean(values: np.ndarray, size: int) -> np.ndarray:
    """Returns the mean of size x size neighbors of each value; edges are repeated: [H, W] -> [H, W]. size is odd."""
    for axis in (0, 1):
        values = sum(_shifted(values, axis, size // 2, mode="edge")) / size
    return values


def _shifted(values: np.ndarray, axis: int, reach: int, *, mode: str) -> Iterator[np.ndarray]:
    """Yields `values` [H, W] shifted along an axis by -reach to reach; `mode` fills the margins, see np.pad."""
    margins = [(0, 0), (0, 0)]
    margins[axis] = (reach, reach)
    padded, side = np.pad(values, margins, mode=mode), values.shape[axis]
    return (padded.take(range(start, start + side), axis) for start in range(2 * reach + 1))

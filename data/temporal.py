"""Reduces flicker in stylized videos.

The network stylizes each frame independently. Noise of the camera, and motion, make it draw other strokes on the same
things. There each stylized frame is mixed with the one before it, moved along with what is seen. Without OpenCV nothing
is moved, and only what stands still is smoothed.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from data.motion import MotionError, MotionFinder, is_outside, largest_channel, load_opencv

# Differences of pixels, 0..255. Up to STILL a pixel counts as unchanged, from MOVED on as changed.
STILL, MOVED = 8.0, 24.0
# Differences are averaged over squares of this side, in pixels, because camera noise differs from pixel to pixel.
NOISE_WINDOW = 5
# Motion counts for REACH blocks of BLOCK pixels around it, because strokes along edges reach into plain areas.
BLOCK, REACH = 4, 4
# A flow is wrong by fractions of a pixel, which shows at edges: this share of the contrast of neighbors is no change.
INACCURACY = 0.25
SEEN_BEFORE = 0.25  # share of a frame; where less than this was seen in the frame before, a new scene begins

USUAL_STRENGTH = 0.8  # more makes plain areas look soft (docs/inference.md)


def usual_strength() -> tuple[float, MotionError | None]:
    """The strength for videos where none is given: 0 without OpenCV, with the fault: little would be smoothed."""
    try:
        load_opencv()
    except MotionError as error:
        return 0.0, error
    return USUAL_STRENGTH, None


class TemporalSmoother:
    """A function of successive frames: smoother(content, stylized) returns the frame to show; all [H, W, 3].

    Where the frame before explains what is seen, the result is `strength` * previous result + (1 - strength) *
    stylized. The content of the previous result is mixed in the same proportions, so that slow changes add up until
    they count as a change. A frame of another size starts anew, and so does a scene of which little was seen before.

    strength: 0 to below 1. With 0 frames are returned unchanged and none is kept.
    follows_motion: the previous frame is moved along with what is seen, by OpenCV. False: only what stands still is
    smoothed. None: as OpenCV is there or not; `fault` tells then what is wrong with it. Raises MotionError for True
    without OpenCV, and where OpenCV fails.
    """

    def __init__(self, strength: float, *, follows_motion: bool | None = None):
        if not 0 <= strength < 1:
            raise ValueError(f"strength must be at least 0 and below 1, got {strength}")
        self._strength = np.float32(strength)
        self._past: _Past | None = None
        self._motion: MotionFinder | None = None
        self.fault: MotionError | None = None
        if strength > 0 and follows_motion is not False:
            try:
                self._motion = MotionFinder()
            except MotionError as error:
                if follows_motion:
                    raise
                self.fault = error

    def __call__(self, content: np.ndarray, stylized: np.ndarray) -> np.ndarray:
        if self._strength == 0:
            return stylized
        if self._past is not None and self._past.shown.shape != stylized.shape:
            self._past = None
        if self._motion is None:
            self._past = self._still(content, stylized)
        else:
            self._past = self._moving(self._motion, np.float32(content), np.float32(stylized))
        return self._past.shown

    def _still(self, content: np.ndarray, stylized: np.ndarray) -> "_Past":
        if self._past is None:
            return _Past(content, content, stylized)
        change = box_mean(np.abs(content - self._past.content).max(axis=-1), NOISE_WINDOW)  # [H, W]
        change = box_mean(spread(change), 2 * BLOCK + 1)  # hides the edges of the blocks
        kept = self._share(change)
        return _Past(
            content, mixed(content, self._past.content, kept), mixed(stylized, self._past.shown, kept)
        )

    def _moving(self, motion: MotionFinder, content: np.ndarray, stylized: np.ndarray) -> "_Past":
        """The same along the flow. What is moved and kept is found on small pictures, `source`."""
        source = motion.small(content)
        if self._past is None:
            return _Past(source, source, stylized)
        flow, gap = motion.flow(self._past.source, source)
        past = motion.moved(self._past.content, flow)
        height, width = stylized.shape[:2]
        scale = np.float32([width / source.shape[1], height / source.shape[0]])
        change = _unexplained(motion, source, past, odd(NOISE_WINDOW / scale.max()))
        change = np.maximum(change, STILL * gap)
        change[is_outside(flow)] = 2 * MOVED
        if (change < MOVED).mean() < SEEN_BEFORE:
            return _Past(source, source, stylized)
        change = motion.largest(change, odd((2 * REACH + 1) * BLOCK / scale.max()))
        kept = self._share(motion.mean(change, odd((2 * BLOCK + 1) / scale.max())))
        shown = motion.moved(self._past.shown, motion.resized(flow, height, width) * scale)
        np.clip(shown, 0, 255, out=shown)  # cubic interpolation exceeds them at edges
        shown = motion.mixed(stylized, shown, motion.resized(kept, height, width))
        return _Past(source, motion.mixed(source, past, kept), shown)

    def _share(self, change: np.ndarray) -> np.ndarray:
        """How much of the previous frame is kept where something changes so much: both [H, W]."""
        return self._strength * ((MOVED - change) / (MOVED - STILL)).clip(0, 1)


class _Past(NamedTuple):
    """The frame before. source: what the camera saw; content: what `shown` was made of, in the same proportions."""

    source: np.ndarray
    content: np.ndarray
    shown: np.ndarray


def _unexplained(motion: MotionFinder, source: np.ndarray, past: np.ndarray, window: int) -> np.ndarray:
    """How much two pictures [H, W, 3] differ, beyond what edges do that are off by a fraction of a pixel: [H, W]."""
    change = largest_channel(np.abs(source - past)) - INACCURACY * motion.contrast(source)
    return motion.mean(change.clip(0, None), window)


def mixed(new: np.ndarray, old: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Returns kept * old + (1 - kept) * new: [H, W, 3] of two pictures and a share of [H, W]."""
    return new + kept[..., np.newaxis] * (old - new)


def odd(size: float) -> int:
    """An odd number near to a size, at least 1."""
    return 2 * round((size - 1) / 2) + 1 if size > 1 else 1


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

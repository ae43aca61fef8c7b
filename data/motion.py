"""The motion between two frames of a video: dense optical flow of OpenCV, an optional package.

A flow says for each pixel of the later frame where it was in the earlier one: [H, W, 2], x before y, float32, in
pixels, relative to where it is now. Flows are found on pictures whose longest side is at most LONGEST_SIDE.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from data import opencv
from data.picture import ImageError

# Pixels of the pictures that are compared. Flow is smooth, and its time grows with the area.
LONGEST_SIDE = 640
SHORTEST_SIDE = 32  # pixels; OpenCV's search from coarse to fine needs some
PACKAGE = "opencv-python-headless"  # opencv-python does as well

# A flow there and back again should end where it began. Up to this distance it is believed: pixels, and a share of the
# way (Sundaram et al. 2010, who square both).
CLOSED, CLOSED_SHARE = 0.7, 0.1
# Noise looks like tiny motion. A flow counts where it explains more than stillness does, by a factor from NOT_STILL to
# CLEARLY_MOVES, over squares of STILL_WINDOW pixels.
NOT_STILL, CLEARLY_MOVES, STILL_WINDOW = 1.05, 1.2, 65


class MotionError(ImageError):
    """OpenCV is missing or fails: one line that says what to do."""


def load_opencv() -> Any:
    """Returns the module cv2. Raises MotionError if it is not installed or cannot be loaded."""
    cv2 = opencv.load_opencv(MotionError, f"; to follow motion, run pip install {PACKAGE}")
    if not hasattr(cv2, "DISOpticalFlow_create"):
        raise MotionError(
            f"this OpenCV has no optical flow; to follow motion, run pip install --upgrade {PACKAGE}"
        )
    return cv2


class MotionFinder:
    """Finds flows, and moves pictures along them. Raises MotionError without OpenCV."""

    def __init__(self):
        self._cv2 = cv2 = load_opencv()
        cv2.setNumThreads(1)  # frames are computed by threads already; more of them gain nothing here
        self._search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)

    def small(self, image: np.ndarray) -> np.ndarray:
        """The picture [H, W, 3] with its longest side at most LONGEST_SIDE; itself if it is small enough."""
        height, width = image.shape[:2]
        scale = max(LONGEST_SIDE / max(height, width), SHORTEST_SIDE / min(height, width))
        if scale >= 1:
            return image
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        with _clear_errors(self._cv2):
            return self._cv2.resize(image, size, interpolation=self._cv2.INTER_AREA)

    def flow(self, before: np.ndarray, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the flow of two pictures [H, W, 3] of 0..255, and how far it is from being closed: [H, W].

        1 is as far as is believed. The flow is 0 for pictures that are too small to be compared.
        """
        height, width = after.shape[:2]
        if min(height, width) < SHORTEST_SIDE:
            return np.zeros((height, width, 2), np.float32), np.zeros((height, width), np.float32)
        grays = self._gray(before), self._gray(after)
        with _clear_errors(self._cv2):
            back = self._search.calc(grays[1], grays[0], None)
            forth = self._search.calc(grays[0], grays[1], None)
        way_back = back + self.moved(forth, back, is_smooth=True)
        gap = length(way_back) / (CLOSED + CLOSED_SHARE * length(back))
        moves = self._moves(*grays, back)
        return back * moves[..., np.newaxis], gap * moves

    def moved(self, image: np.ndarray, flow: np.ndarray, *, is_smooth: bool = False) -> np.ndarray:
        """Returns the earlier picture [H, W, C] as the flow moves it. Edges are repeated.

        Cubic interpolation stays sharp over many frames; is_smooth: linear, for what is smooth anyway.
        """
        cv2 = self._cv2
        with _clear_errors(cv2):
            places = flow + grid(*flow.shape[:2])
            kind = cv2.INTER_LINEAR if is_smooth else cv2.INTER_CUBIC
            return cv2.remap(image, places, None, kind, borderMode=cv2.BORDER_REPLICATE)

    def resized(self, values: np.ndarray, height: int, width: int) -> np.ndarray:
        """Returns the values [h, w] or [h, w, C] for a picture of another size."""
        if values.shape[:2] == (height, width):
            return values
        with _clear_errors(self._cv2):
            return self._cv2.resize(values, (width, height), interpolation=self._cv2.INTER_LINEAR)

    def mixed(self, new: np.ndarray, old: np.ndarray, kept: np.ndarray) -> np.ndarray:
        """Returns kept * old + (1 - kept) * new, up to 0.003 levels: two pictures [H, W, 3] and a share of [H, W]."""
        with _clear_errors(self._cv2):
            return self._cv2.blendLinear(new, old, 1 - kept, kept)

    def largest(self, values: np.ndarray, size: int) -> np.ndarray:
        """Replaces each value by the largest within a square of side `size` around it: [H, W] -> [H, W]."""
        with _clear_errors(self._cv2):
            return self._cv2.dilate(values, np.ones((size, size), np.uint8))

    def mean(self, values: np.ndarray, size: int) -> np.ndarray:
        """Replaces each value by the mean of a square of side `size` around it: [H, W] -> [H, W]."""
        with _clear_errors(self._cv2):
            return self._cv2.blur(values, (size, size), borderType=self._cv2.BORDER_REPLICATE)

    def contrast(self, image: np.ndarray) -> np.ndarray:
        """Returns the largest difference of each pixel's 3 x 3 neighbors, of all channels: [H, W, 3] -> [H, W]."""
        square = np.ones((3, 3), np.uint8)
        with _clear_errors(self._cv2):
            return largest_channel(self._cv2.dilate(image, square) - self._cv2.erode(image, square))

    def _moves(self, before: np.ndarray, after: np.ndarray, flow: np.ndarray) -> np.ndarray:
        """Where the flow of two gray pictures explains more than stillness: [H, W], 0..1, gradual."""
        before, after = np.float32(before), np.float32(after)
        still = self.mean(np.abs(after - before), STILL_WINDOW)
        moved = self.mean(np.abs(after - self.moved(before, flow)), STILL_WINDOW) + np.float32(0.1)
        return ((still / moved - NOT_STILL) / (CLEARLY_MOVES - NOT_STILL)).clip(0, 1)

    def _gray(self, image: np.ndarray) -> np.ndarray:
        pixels_u8 = np.rint(image.clip(0, 255)).astype(np.uint8)
        with _clear_errors(self._cv2):
            return self._cv2.cvtColor(pixels_u8, self._cv2.COLOR_RGB2GRAY)


def grid(height: int, width: int) -> np.ndarray:
    """The place of each pixel, x before y: [H, W, 2], float32."""
    rows, columns = np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32)
    return np.stack(np.meshgrid(columns, rows), axis=-1)


def largest_channel(image: np.ndarray) -> np.ndarray:
    """The largest value of each pixel's channels, much faster than max(axis=-1): [H, W, 3] -> [H, W]."""
    return np.maximum(np.maximum(image[..., 0], image[..., 1]), image[..., 2])


def length(flow: np.ndarray) -> np.ndarray:
    """How far each pixel moves: [H, W, 2] -> [H, W]."""
    return np.hypot(flow[..., 0], flow[..., 1])


def is_outside(flow: np.ndarray) -> np.ndarray:
    """Where a flow comes from beyond the frame: bool [H, W]."""
    height, width = flow.shape[:2]
    places = flow + grid(height, width)
    x, y = places[..., 0], places[..., 1]
    return (x < -0.5) | (y < -0.5) | (x > width - 0.5) | (y > height - 0.5)


@contextmanager
def _clear_errors(cv2: Any) -> Iterator[None]:
    try:
        yield
    except cv2.error as error:
        if getattr(error, "code", None) == cv2.Error.StsNoMem:
            raise MemoryError(f"OpenCV: {error.err}") from error
        raise MotionError(
            f"OpenCV {cv2.__version__} cannot follow the motion ({error}); leave out --temporal"
        ) from error

"""Clips whose motion is known, and how far their stylized frames are from moving along, for video_stability.py.

Synthetic clips are cut from photos along an exact path of the camera. The motion of video files is optical flow.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data.images import resize_image, shrunk_size
from data.video import video_frames

FRAME = (320, 240)  # longer and shorter side of the frames of synthetic clips, in pixels
PAN_STEP = (1.7, 0.6)  # pixels a frame along x and y; no whole numbers, so that strokes fall between pixels
ZOOM_STEP = 1.006  # a frame, about the center
SHAKE_SHIFT, SHAKE_DEGREES = 2.0, 0.4  # standard deviations of the camera's position and angle in each frame
SHAKE_NOISE, SHAKE_QUALITY = 3.0, 85  # sensor noise in levels, and quality of JPEG
PATHS = ("pan", "zoom", "shake")
SPARE = 6  # pixels between a path and the border of its photo, for the kernel
MARGIN = 16  # pixels at the border of the frame before and of the frame that are not compared
# Standard deviation in pixels: both frames are blurred before they are compared. Without it, interpolation alone costs
# 3.1 levels in a photo that pans and 2.5 in glued strokes, with it 0.6 and 0.7; styles lose 9 to 28 % of their error.
BLUR = 0.7
REAL_SIDE = 448  # longest side of the frames of video files
CUT_LEVELS = 20.0  # mean difference of the moved source above which a pair of frames counts as a scene cut

Image = np.ndarray  # [H, W, 3], RGB, float32, 0..255
Stylize = Callable[[Image], Image]


class Motion(NamedTuple):
    """Where the pixels of a frame were in an earlier frame.

    places: [H, W, 2], x and y in the earlier frame. is_known: [H, W], where that can be compared.
    """

    places: np.ndarray
    is_known: np.ndarray


@dataclass(frozen=True)
class Clip:
    """A clip with its motion. motion(earlier, later) takes numbers of frames; None for a scene cut."""

    column: str
    frames: Sequence[np.ndarray]  # uint8
    motion: Callable[[int, int], Motion | None]
    is_synthetic: bool
    photo: Image | None = None  # what the camera moves over, and
    views: Sequence[
        np.ndarray
    ] = ()  # for each frame the matrix [3, 3] from places of the frame to those of the photo


# Synthetic clips


def camera_path(kind: str, count: int, generator: np.random.Generator) -> list[np.ndarray]:
    """Returns for each frame the matrix [3, 3] of a path, about the center: frame -> photo, both from their centers."""
    views = []
    for index in range(count):
        shift, angle, scale = np.zeros(2), 0.0, 1.0
        if kind == "pan":
            shift = np.array(PAN_STEP) * (index - (count - 1) / 2)
        elif kind == "zoom":
            scale = ZOOM_STEP**-index  # inwards: a photo is only ever enlarged, which needs no further filter
        else:
            shift = generator.normal(0, SHAKE_SHIFT, 2).clip(-2 * SHAKE_SHIFT, 2 * SHAKE_SHIFT)
            angle = np.radians(generator.normal(0, SHAKE_DEGREES))
        cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
        views.append(np.array([[cosine, -sine, shift[0]], [sine, cosine, shift[1]], [0, 0, 1]]))
    return views


def synthetic_clip(photo: Image, kind: str, count: int, seed: int) -> Clip:
    """Returns a clip of `count` frames of a camera that moves over a photo and never leaves it."""
    generator = np.random.default_rng([seed, PATHS.index(kind)])
    is_wide = photo.shape[1] >= photo.shape[0]
    width, height = FRAME if is_wide else FRAME[::-1]
    path = camera_path(kind, count, generator)
    room = needed_room(path, width, height)
    scale = max(
        (side + 2 * more) / have
        for side, more, have in zip((width, height), room, photo.shape[1::-1], strict=True)
    )
    photo = resize_image(photo, height=round(photo.shape[0] * scale), width=round(photo.shape[1] * scale))
    to_center = shift_matrix(-(width - 1) / 2, -(height - 1) / 2)
    from_center = shift_matrix((photo.shape[1] - 1) / 2, (photo.shape[0] - 1) / 2)
    views = [from_center @ view @ to_center for view in path]
    frames = [moved_view(photo, view, width, height) for view in views]
    if kind == "shake":
        frames = [compressed(frame + generator.normal(0, SHAKE_NOISE, frame.shape)) for frame in frames]

    def motion(earlier: int, later: int) -> Motion:
        return homography_motion(np.linalg.inv(views[earlier]) @ views[later], width, height)

    return Clip(kind, [to_bytes(frame) for frame in frames], motion, True, photo, views)


def needed_room(path: Sequence[np.ndarray], width: int, height: int) -> tuple[float, float]:
    """Returns how many pixels the corners of the frames leave a frame in the middle of the photo, along x and y."""
    corners = np.array([[x, y, 1] for x in (-width / 2, width / 2) for y in (-height / 2, height / 2)])
    reach = np.abs([view @ corner for view in path for corner in corners]).max(0)
    return max(reach[0] - width / 2, 0) + SPARE, max(reach[1] - height / 2, 0) + SPARE


def shift_matrix(x: float, y: float) -> np.ndarray:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]])


def moved_view(photo: Image, view: np.ndarray, width: int, height: int) -> Image:
    """Returns what the camera sees; one interpolation, so that all frames are equally sharp."""
    places = homography_motion(view, width, height).places
    return interpolated(photo, places).clip(0, 255)


def homography_motion(matrix: np.ndarray, width: int, height: int) -> Motion:
    """Returns the motion of a matrix [3, 3] from places of a frame to those of the frame before, both of one size."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    moved = np.stack([x, y, np.ones_like(x)], -1) @ matrix.T
    places = moved[..., :2] / moved[..., 2:]
    return Motion(places.astype(np.float32), is_inside(places))


def is_inside(places: np.ndarray, margin: int = MARGIN) -> np.ndarray:
    """Returns where the pixels are at least `margin` from the border, here and in the frame before: [H, W]."""
    height, width = places.shape[:2]
    last = np.array([width - 1, height - 1])
    inside = ((places >= margin) & (places <= last - margin)).all(-1)
    inside[:margin] = inside[-margin:] = inside[:, :margin] = inside[:, -margin:] = False
    return inside


def interpolated(image: np.ndarray, places: np.ndarray, kernel: int = cv2.INTER_LANCZOS4) -> np.ndarray:
    """Returns the values of an image at places [H, W, 2]."""
    return cv2.remap(image, places.astype(np.float32), None, kernel, borderMode=cv2.BORDER_REFLECT_101)


def compressed(image: Image) -> Image:
    _, data = cv2.imencode(".jpg", to_bytes(image)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, SHAKE_QUALITY])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


def to_bytes(image: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(image, 0, 255)).astype(np.uint8)


# Video files


def real_clip(path: Path, first: int, count: int) -> Clip:
    """Returns `count` frames of a video file, with their optical flow."""
    frames = []
    for frame in islice(video_frames(path), first, first + count):
        height, width = shrunk_size(frame.shape[:2], REAL_SIDE)
        frames.append(to_bytes(resize_image(frame, height=height, width=width)))
    finder = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    known: dict[tuple[int, int], Motion | None] = {}

    def motion(earlier: int, later: int) -> Motion | None:
        if (earlier, later) not in known:
            backward = finder.calc(gray[later], gray[earlier], None)
            forward = finder.calc(gray[earlier], gray[later], None)
            found = flow_motion(backward, forward)
            known[earlier, later] = None if is_cut(frames[earlier], frames[later], found) else found
        return known[earlier, later]

    return Clip(path.stem, frames, motion, False)


def flow_motion(backward: np.ndarray, forward: np.ndarray) -> Motion:
    """Returns the motion of the flows [H, W, 2] from a frame to the one before and back.

    Unknown are pixels that were hidden before and the edges of moving things, as in Ruder et al. 2016, section 4.
    """
    height, width = backward.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    places = np.stack([x, y], -1) + backward
    returned = interpolated(forward, places, cv2.INTER_LINEAR)
    squares = (backward**2).sum(-1)
    is_hidden = ((backward + returned) ** 2).sum(-1) > 0.01 * (squares + (returned**2).sum(-1)) + 0.5
    slopes = sum((np.gradient(backward, axis=axis) ** 2).sum(-1) for axis in (0, 1))
    is_edge = slopes > 0.01 * squares + 0.002
    return Motion(places, is_inside(places) & ~is_hidden & ~is_edge)


def is_cut(earlier: np.ndarray, later: np.ndarray, motion: Motion) -> bool:
    """Tells whether the motion does not explain the later frame, or hardly any of it."""
    if motion.is_known.mean() < 0.1:
        return True
    difference = np.abs(interpolated(earlier, motion.places, cv2.INTER_LINEAR).astype(np.float32) - later)
    return bool(difference[motion.is_known].mean() > CUT_LEVELS)


# The measure


def warping_error(pictures: Sequence[np.ndarray], clip: Clip, distance: int, blur: float = BLUR) -> float:
    """Returns the root mean square of pictures minus those `distance` before, moved; levels. NaN without a pair."""
    squares, count = 0.0, 0
    for earlier in range(len(pictures) - distance):
        motion = clip.motion(earlier, earlier + distance)
        if motion is not None:
            difference = error_map(pictures[earlier], pictures[earlier + distance], motion, blur)
            squares += float((difference[motion.is_known] ** 2).sum(dtype=np.float64))
            count += 3 * int(motion.is_known.sum())
    return float(np.sqrt(squares / count)) if count else float("nan")


def error_map(earlier: np.ndarray, later: np.ndarray, motion: Motion, blur: float = BLUR) -> np.ndarray:
    """Returns the later picture minus the earlier one, moved; [H, W, 3]."""
    difference = later.astype(np.float32) - interpolated(earlier.astype(np.float32), motion.places)
    return cv2.GaussianBlur(difference, (0, 0), blur) if blur else difference


def glued_pictures(clip: Clip, stylize: Stylize) -> list[np.ndarray]:
    """Returns what the camera of a synthetic clip sees of a stylized photo."""
    height, width = clip.frames[0].shape[:2]
    stylized = stylize(clip.photo)
    return [moved_view(stylized, view, width, height) for view in clip.views]

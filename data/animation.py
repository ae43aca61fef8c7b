"""Reads and writes animated GIF and WebP files, as sources and targets of video.py. Pillow is imported on first use."""

import contextlib
import struct
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from data.clip_formats import ANIMATION_SUFFIXES
from data.clip_frames import UNSPECIFIED, ColorTags, usual_matrix
from data.clip_source import FRAME_BYTES, SourceClip
from data.clip_times import LEAST_STEP, Times
from data.decoding import ImageError, frame_pixels, opened_animation
from data.encoding import check_image_size
from data.images import rgb_over
from system.machine import available_memory

MILLISECOND = Fraction(1, 1000)
UNTIMED = 100  # milliseconds; browsers show frames of a GIF without a duration for so long
LEAST_GIF_STEP = Fraction(1, 50)  # seconds; browsers show what is shorter for a tenth of a second
GIF_UNIT = 10  # milliseconds
WEBP_QUALITY = 90  # of 100, lossy
# Bytes per pixel of a frame that is collected, and of the copy that Pillow makes of all frames when it writes them.
_COLLECTED = {".gif": 1, ".webp": 3}
_COPIED = {".gif": 2, ".webp": 1}


def is_animation(path: Path) -> bool:
    """Returns whether a path has the suffix and the content of an animated GIF or WebP file."""
    if path.suffix.lower() not in ANIMATION_SUFFIXES:
        return False
    try:
        with opened_animation(path):
            return True
    except ImageError:
        return False


class AnimationFrame(NamedTuple):
    """A frame of an animation, with the interface of ClipFrame. time, duration: milliseconds."""

    pixels_u8: np.ndarray  # [H, W, 4]
    time: int
    duration: int
    is_deep: bool = False

    def image(self) -> np.ndarray:
        """Returns the image [H, W, 3] over white."""
        return rgb_over(self.pixels_u8)

    def color_tags(self, height: int, width: int) -> ColorTags:
        """Returns the tags for a video of a size."""
        return ColorTags(UNSPECIFIED, UNSPECIFIED, usual_matrix(height, width))


class AnimationSource:
    """An animated GIF or WebP file that is open for reading, with the interface of SourceClip."""

    def __init__(self, path: Path):
        self.path, self.video, self.sounds, self.frames = path, None, [], 0
        self.decoded_sounds: set[int] = set()
        self.time_base = MILLISECOND
        self._fault = ""
        with contextlib.ExitStack() as stack:
            self._image = stack.enter_context(opened_animation(path))
            self.size = self._image.height, self._image.width
            self._check_memory()
            self.frames_claimed = self._image.n_frames
            self.plays = _plays(self._image)
            self._first_duration = _duration(self._image)
            self._resources = stack.pop_all()

    def __enter__(self) -> "AnimationSource":
        return self

    def __exit__(self, *error) -> None:
        self._resources.close()

    @property
    def rate(self) -> Fraction:
        """Frames per second, from the duration of the first frame."""
        return 1 / (self._first_duration * MILLISECOND)

    def parts(self) -> Iterator[AnimationFrame]:
        """Yields the frames. What follows a frame that cannot be read is left out, see `fault`."""
        time = 0
        for index in range(self.frames_claimed):
            try:
                pixels_u8 = frame_pixels(self._image, index)
            except MemoryError:
                raise
            except Exception as error:  # the decoder's
                self._fault = (
                    f"{index} of {self.frames_claimed} frames could be read ({error.__cause__ or error})"
                )
                return
            duration = _duration(self._image)
            self.frames += 1
            yield AnimationFrame(pixels_u8, time, duration)
            time += duration

    def fault(self) -> str:
        """Returns what cannot be read, once all parts were read; "" for nothing."""
        return self._fault

    def _check_memory(self) -> None:
        height, width = self.size
        if height * width * FRAME_BYTES > available_memory():
            raise ImageError(
                f"{self.path}: its frames of {width}x{height} pixels take"
                f" {height * width * FRAME_BYTES / 1e9:.1f} GB, more than is free; scale it down first"
            )


class AnimationWriter:
    """An animated GIF or WebP file that is being written, with the interface of ClipWriter.

    The frames are collected in memory, GIF with 256 colors each, because Pillow writes them all at once.
    """

    def __init__(self, stream: BinaryIO, source: "SourceClip | AnimationSource", target_path: Path):
        self._stream, self._source, self._path = stream, source, target_path
        self._suffix = target_path.suffix.lower()
        self._times = Times(1 / source.rate / source.time_base, LEAST_STEP / source.time_base)
        from_gif = source.path.suffix.lower() == ".gif"
        self._least_step = LEAST_GIF_STEP if self._suffix == ".gif" and not from_gif else Fraction(0)
        self._shown: list[tuple[Fraction, Any]] = []  # when a picture begins, in seconds, and Pillow's image
        self._end = Fraction(0)  # of the last frame, in seconds

    @classmethod
    @contextlib.contextmanager
    def opened(cls, stream: BinaryIO, source, target_path: Path) -> Iterator["AnimationWriter"]:
        """A writer to `stream`. The file is complete after `finish`."""
        yield cls(stream, source, target_path)

    def notes(self) -> list[str]:
        """Returns one line for what the file cannot store."""
        return ["the sound was left out, because animations have none"] if self._source.sounds else []

    def write_picture(self, pixels: np.ndarray, source_frame: Any) -> None:
        """Takes one picture, uint8 or uint16, in place of a frame of the source."""
        time = self._times.following(source_frame.time) * self._source.time_base
        duration = getattr(source_frame, "duration", None)
        self._end = time + (duration * MILLISECOND if duration else 1 / self._source.rate)
        if self._shown and time - self._shown[-1][0] < self._least_step:
            return  # too fast for GIF
        if pixels.dtype == np.uint16:
            pixels = np.rint(pixels / 257).astype(np.uint8)
        self._check_memory(*pixels.shape[:2])
        self._shown.append((time, self._pillow_image(pixels)))

    def write_sound(self, sounds: Sequence) -> None:
        """Animations have no sound."""

    def finish(self) -> None:
        """Writes the file. Raises ImageError if there was no picture."""
        if not self._shown:
            fault = self._source.fault()
            raise ImageError(
                f"{self._source.path}: contains no readable frame{fault and f': {fault}'}; give another one"
            )
        images = [image for _, image in self._shown]
        try:
            images[0].save(
                self._stream,
                format=self._suffix[1:].upper(),
                save_all=True,
                append_images=images[1:],
                duration=self._durations(),
                **self._options(),
            )
        except (OverflowError, struct.error) as error:  # Pillow joins pictures that are the same
            raise ImageError(
                f"{self._path}: shows one picture for longer than the format can store, which is 655 seconds in a GIF;"
                " give a name that ends in .mp4"
            ) from error

    def _options(self) -> dict[str, Any]:
        if self._suffix == ".webp":
            return {"loop": self._source.plays, "quality": WEBP_QUALITY}
        plays = self._source.plays  # GIF counts repetitions, and has none without a loop
        return {"optimize": False} if plays == 1 else {"loop": max(0, plays - 1), "optimize": False}

    def _durations(self) -> list[int]:
        """How long each picture is shown, in milliseconds. Rounding errors do not add up."""
        unit = GIF_UNIT if self._suffix == ".gif" else 1
        begins = [time for time, _ in self._shown]
        begins.append(self._end)
        rounded = [round((time - begins[0]) / MILLISECOND / unit) * unit for time in begins]
        return [max(unit, after - before) for before, after in zip(rounded, rounded[1:], strict=False)]

    def _pillow_image(self, pixels_u8: np.ndarray) -> Any:
        from PIL import Image

        image = Image.fromarray(pixels_u8)
        if self._shown and image.size != self._shown[0][1].size:  # frames may change their size on the way
            image = image.resize(self._shown[0][1].size, Image.Resampling.BICUBIC)
        return image.quantize(256) if self._suffix == ".gif" else image

    def _check_memory(self, height: int, width: int) -> None:
        check_image_size(self._path, height, width)
        count = len(self._shown) + 1
        needed = height * width * (_COLLECTED[self._suffix] + count * _COPIED[self._suffix])
        if needed > available_memory():
            raise ImageError(
                f"{self._path}: {count} frames of {width}x{height} pixels take more memory than is free, because an"
                " animation is written at once; give --max-side, or a name that ends in .mp4"
            )


def _plays(image: Any) -> int:
    """How often an animation is shown; 0: without end. GIF counts repetitions, WebP showings."""
    loop = image.info.get("loop")
    if image.format == "WEBP":
        return loop or 0
    return 1 if loop is None else loop + 1 if loop else 0


def _duration(image: Any) -> int:
    """Milliseconds that the current frame of Pillow's image is shown."""
    return round(image.info.get("duration") or UNTIMED)

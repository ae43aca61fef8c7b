"""Stylizes videos and animations: frames are decoded and encoded while threads stylize those between."""

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.animation import ANIMATION_SUFFIXES, AnimationFrame, AnimationSource, AnimationWriter, is_animation
from data.clip_frames import ClipFrame
from data.clip_sound import Sound
from data.clip_source import SourceClip
from data.clip_writer import CONSTANT_QUALITY, FORMATS, ClipWriter
from data.decoding import ImageError
from data.encoding import write_error
from data.images import quantized
from system.files import write_whole
from system.threads import in_order

__all__ = ["CONSTANT_QUALITY", "DamagedClipError", "check_video_suffix", "stylize_video", "video_frames"]

MOST_PACKETS = 1000  # of sound that wait for the next frame; some files have their sound behind the pictures

StylizeFrame = Callable[[np.ndarray], Any]
Finish = Callable[[Any], np.ndarray]
OnFrame = Callable[[int, int], None]


class DamagedClipError(ImageError):
    """A video was damaged or cut off. What could be read of it was written. The message tells what is missing."""


def check_video_suffix(path: Path) -> None:
    """Raises ImageError unless `stylize_video` can write the format that the suffix names."""
    allowed = [*FORMATS, *sorted(ANIMATION_SUFFIXES)]
    if path.suffix.lower() not in allowed:
        raise ImageError(f"{path}: cannot be written as a video; end the name in one of {' '.join(allowed)}")


def opened_clip(path: Path) -> SourceClip | AnimationSource:
    """Returns a video or an animation for a `with` statement. Raises ImageError if it cannot be read."""
    return AnimationSource(path) if is_animation(path) else SourceClip(path)


def clip_size(path: Path) -> tuple[int, int]:
    """Returns the height and width that a video or an animation claims for its frames. Raises ImageError."""
    with opened_clip(path) as clip:
        return clip.size


def stylize_video(
    source_path: Path,
    target_path: Path,
    stylize: StylizeFrame,
    on_frame: OnFrame = lambda frames_done, frames: None,
    *,
    finish: Finish | None = None,
    workers: int = 1,
    stop: Callable[[], object] | None = None,
    on_note: Callable[[str], object] = lambda note: None,
) -> int:
    """Writes a copy of a video in which every frame is replaced by stylize(frame).

    Some frames for each worker are in memory, so memory does not depend on the length. The times of the frames and the
    sound are those of the source; where times are missing, repeat or go back, the frames follow each other at the frame
    rate. A frame that changes the size on the way is scaled to the size of the first. Transparency is dropped. Sources
    with more than 8 bits per component give 10 bits. Sound that the target cannot store is transcoded.
    An older file is replaced, or kept unchanged if anything fails.

    Args:
        source_path: the video.
        target_path: the file to write; the suffix names the format.
        stylize: image [H, W, 3] -> image, RGB, float32, 0..255, upright. It may change the size. Odd sides are
            extended by one pixel, because the codecs of videos need even ones.
        on_frame: called after each frame with the number of frames done and the number of frames in total, 0 if
            the file does not tell.
        finish: makes the image of what `stylize` returns, which may then be anything. Called in the order of the
            frames, in the caller's thread, for what depends on the previous frame.
        workers: the threads that call `stylize`, in any order of the frames. The caller's thread reads and writes
            meanwhile. One worker without `stop` is the caller's thread itself.
        stop: called when a signal ends the work, to make the running calls of `stylize` fail.
        on_note: called once the file is written, with one line for what it stores in another form than the source.

    Returns:
        The number of frames.

    Raises:
        ImageError: the video cannot be read, or the target cannot be written.
        DamagedClipError: the video is damaged or cut off. The target was written from what could be read.
    """
    check_video_suffix(target_path)
    with opened_clip(source_path) as source:
        copy = _Copy(source, target_path, _Threads(stylize, finish, workers, stop), on_frame)
        copy.save()
        for note in copy.notes:
            on_note(note)
        if fault := source.fault():
            raise DamagedClipError(
                f"{source_path}: is damaged or cut off: {fault}; wrote {target_path} with the"
                f" {copy.frames_done} frames that could be read"
            )
        return copy.frames_done


def video_frames(path: Path) -> Iterator[np.ndarray]:
    """Yields the frames of a video, upright, [H, W, 3], RGB, float32, 0..255.

    Raises ImageError, for a damaged video after its last frame.
    """
    with opened_clip(path) as source:
        for part in source.parts():
            if not isinstance(part, Sound):
                yield part.image()
        if fault := source.fault():
            raise DamagedClipError(f"{path}: is damaged or cut off: {fault}")


class _Part(NamedTuple):
    """A frame of a video and the packets of sound before it. There is no frame behind the last one."""

    sound: list[Sound]
    frame: ClipFrame | AnimationFrame | None


class _Threads(NamedTuple):
    """Who stylizes the frames; the fields are arguments of `stylize_video`."""

    stylize: StylizeFrame
    finish: Finish | None
    workers: int
    stop: Callable[[], object] | None

    def outcomes(self, parts: Iterator[_Part]) -> Iterator[tuple[_Part, Future]]:
        """Yields each part with what became of its frame, in order. Is to be closed."""
        return in_order(parts, self._outcome, self.workers, self.stop and self._stop_for_signals)

    def pixels(self, part: _Part, outcome: Any) -> np.ndarray:
        """The picture to write, [H, W, 3] of uint8 or uint16."""
        return outcome if self.finish is None else _pixels(self.finish(outcome), part.frame)

    def _outcome(self, part: _Part) -> Any:
        if part.frame is None:
            return None
        outcome = self.stylize(part.frame.image())
        return _pixels(outcome, part.frame) if self.finish is None else outcome

    def _stop_for_signals(self) -> None:
        """Stops the work for a signal only. After an error the frames in work end by themselves, and others follow."""
        if not isinstance(sys.exc_info()[1], Exception | GeneratorExit):
            self.stop()


class _Copy:
    """The copy of one video while it is written."""

    def __init__(self, source: SourceClip, target_path: Path, threads: _Threads, on_frame: OnFrame):
        self._source, self._target_path = source, target_path
        self._threads, self._on_frame = threads, on_frame
        self.frames_done, self.notes = 0, []

    def save(self) -> None:
        """Writes the file; creates parent folders. Raises ImageError."""
        path, (height, width) = self._target_path, self._source.size
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_whole(path, self._write)
        except OSError as error:
            raise write_error(path, error) from error
        except MemoryError as error:
            raise ImageError(
                f"{self._source.path}: too little memory for frames of {width}x{height} pixels;"
                " scale it down first"
            ) from error

    def _write(self, stream) -> None:
        is_animation = self._target_path.suffix.lower() in ANIMATION_SUFFIXES
        writer_class = AnimationWriter if is_animation else ClipWriter
        with writer_class.opened(stream, self._source, self._target_path) as writer:
            with closing(self._threads.outcomes(self._parts())) as outcomes:
                try:
                    self._write_all(writer, outcomes)
                except Exception:
                    raise
                except BaseException:  # a signal
                    if self._threads.stop is not None:
                        self._threads.stop()
                    raise
            writer.finish()
            self.notes = writer.notes()

    def _write_all(
        self, writer: ClipWriter | AnimationWriter, outcomes: Iterator[tuple[_Part, Future]]
    ) -> None:
        for part, future in outcomes:
            writer.write_sound(part.sound)
            if part.frame is None:
                continue
            pixels = self._threads.pixels(part, future.result())
            writer.write_picture(pixels, part.frame)
            self.frames_done += 1
            self._on_frame(self.frames_done, self._source.frames_claimed)

    def _parts(self) -> Iterator[_Part]:
        """Yields the frames, each with the sound before it, so that sound takes no place among those in work."""
        sound: list = []
        for part in self._source.parts():
            if isinstance(part, Sound):
                sound.append(part)
            if not isinstance(part, Sound) or len(sound) >= MOST_PACKETS:
                yield _Part(sound, None if isinstance(part, Sound) else part)
                sound = []
        yield _Part(sound, None)


def _pixels(image: np.ndarray, frame) -> np.ndarray:
    return quantized(image, np.uint16 if frame.is_deep else np.uint8)

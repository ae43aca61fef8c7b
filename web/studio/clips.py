"""A clip of a visitor becomes a clip in a style: the work of infer.py, with a turn at the network for each frame.

A turn for each frame, not for the whole clip: a photo that comes meanwhile waits for one frame, which takes a fraction
of a second, and not for minutes. The clip is slower by what the photos take.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cli.flags import UsageError, check_ranges
from cli.infer_config import FastConfig
from data.clip_formats import ANIMATION_SUFFIXES, VIDEO_SUFFIXES
from web.pictures import PictureMaker, without_flags
from web.turns import Deadline

SUFFIXES = (*sorted(VIDEO_SUFFIXES), *sorted(ANIMATION_SUFFIXES))
MOST_SIDE = 1920  # pixels, longest side of the result

OnFrame = Callable[[int, int], None]


@dataclass(frozen=True)
class ClipRequest:
    """What to make of a clip; the fields mean what the flags of infer.py mean."""

    style: str
    temporal: float = 0.8
    max_side: int = 640
    keep_colors: bool = False

    def config(self) -> FastConfig:
        """The settings of infer.py. Raises UsageError for a value that is out of its range."""
        config = FastConfig(temporal=self.temporal, max_side=self.max_side, keep_colors=self.keep_colors)
        try:
            check_ranges(config)
        except UsageError as error:
            raise UsageError(without_flags(str(error))) from error
        if self.max_side > MOST_SIDE:
            raise UsageError(f"max_side must be at most {MOST_SIDE}, got {self.max_side}")
        return config


class FinishedClip(NamedTuple):
    """A clip that was written.

    notes: what it stores in another form than the source, what of that is missing, or why motion is not followed.
    """

    path: Path
    frames: int
    notes: tuple[str, ...]


def stylized_clip(
    maker: PictureMaker,
    source_path: Path,
    request: ClipRequest,
    folder: Path,
    *,
    name: str,
    deadline: Deadline,
    most_frames: int,
    on_frame: OnFrame = lambda done, total: None,
) -> FinishedClip:
    """Writes the clip in a style as `folder`/`name` with .mp4, or the suffix of an animation.

    on_frame: see data.video.stylize_video. Raises UsageError, ImageError, StyleError, MemoryError, Busy and GaveUp.
    """
    from cli.frames import FrameStylizer
    from cli.styles import load_controls
    from data.video import DamagedClipError, stylize_video

    config = request.config()
    frames_claimed = _checked_frames(source_path, most_frames, maker.config.max_megapixels)
    maker.shelf.folder(request.style)
    with maker.turns.turn(deadline, is_refused=False):
        stylizer = maker.shelf.stylizer([(request.style, 1.0)])
    frames_of = FrameStylizer(config, stylizer, load_controls(config), workers=1)
    done = 0

    def stylize(image):
        with maker.turns.turn(deadline, is_refused=False):
            return frames_of.stylize(image)

    def count(frames_done: int, frames: int) -> None:
        nonlocal done
        done = frames_done
        if frames_done > most_frames:  # of a file that does not tell how many it has
            raise _too_long(source_path, f"more than {most_frames}", most_frames)
        on_frame(frames_done, frames or frames_claimed)

    suffix = source_path.suffix.lower()
    target = folder / f"{name}{suffix if suffix in ANIMATION_SUFFIXES else '.mp4'}"
    notes = [frames_of.fault] if frames_of.fault else []
    try:
        stylize_video(source_path, target, stylize, count, finish=frames_of.finish, on_note=notes.append)
    except DamagedClipError as error:  # what could be read of it was written
        notes.append(str(error).partition("; wrote ")[0].replace(str(source_path), "the clip"))
    return FinishedClip(target, done, tuple(notes))


def _checked_frames(path: Path, most_frames: int, most_megapixels: float) -> int:
    """The number of frames that a clip claims, 0 if it does not tell. Raises ImageError."""
    from data.clip_source import check_clip
    from data.decoding import ImageError
    from data.video import opened_clip

    if path.suffix.lower() not in SUFFIXES:
        raise ImageError(f"{path}: is not a clip; give a file with one of {' '.join(SUFFIXES)}")
    check_clip(path)
    with opened_clip(path) as clip:
        frames, (height, width) = clip.frames_claimed, clip.size
    if height * width > most_megapixels * 1e6:
        raise ImageError(
            f"{path}: has frames of {width}x{height} pixels, at most {most_megapixels:g} megapixels are allowed;"
            " scale it down first"
        )
    if frames > most_frames:
        raise _too_long(path, str(frames), most_frames)
    return frames


def _too_long(path: Path, frames: str, most_frames: int) -> Exception:
    from data.decoding import ImageError

    return ImageError(f"{path}: has {frames} frames, at most {most_frames} are allowed; cut it first")

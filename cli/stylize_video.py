"""infer.py --mode fast with videos: every frame is stylized, the sound is kept."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from cli.bars import progress_bar
from cli.flags import UsageError, report
from cli.frames import FrameStylizers
from cli.infer_config import FastConfig
from cli.outcomes import fault_line, interrupted_text
from cli.styles import picture_name
from cli.targets import check_folder_outputs, check_outputs, target_paths, without_pictures
from data.clip_formats import ANIMATION_SUFFIXES
from system.program import prog
from system.signals import Interrupted

PROG = prog("infer")


def stylize_all(config: FastConfig, clip_inputs: Sequence[Path]) -> int:
    """Stylizes the photos of a call, then its videos; returns the exit status, 0 or 1.

    clip_inputs: those of `config.photos` that are videos or folders of videos only, see `clip_inputs_of`.
    """
    photo_inputs = tuple(path for path in config.photos if path not in clip_inputs)
    if config.format is not None and not photo_inputs:
        raise UsageError("--format is for photos; the suffix of -o chooses the format of a video")
    output = config.output
    if photo_inputs and output is not None and output.suffix and not output.is_dir():
        raise UsageError(f"-o {output}: is one file, but the input is photos and videos; give a folder")
    job = ClipJob(config, clip_inputs)  # finds what is wrong with the flags before the photos are stylized
    status = 0
    if photo_inputs:
        from cli.stylize import stylize_photos

        status = stylize_photos(replace(config, photos=photo_inputs, temporal=0.0), job.targets)
    return max(status, job.stylize_all())


def clip_inputs_of(config: FastConfig) -> list[Path]:
    """Returns the inputs that are videos or animations, and the folders that hold videos and no images.

    Of an animation the first frame is used where a still picture is asked for.
    """
    from data.listing import holds_only_videos

    wants_still = config.sheet or config.benchmark or config.format is not None or _is_still(config.output)
    return [
        path
        for path in config.photos
        if (holds_only_videos(path) if os.path.isdir(path) else _is_clip(path, wants_still))
    ]


def _is_clip(path: Path, wants_still: bool) -> bool:
    from data.clip_formats import is_video

    if is_video(path):
        return True
    if wants_still:
        return False
    from data.animation import is_animation

    return is_animation(path)


def _is_still(output: Path | None) -> bool:
    from data.encoding import SAVE_SUFFIXES

    is_file = output is not None and not os.path.isdir(output)
    return is_file and output.suffix.lower() in SAVE_SUFFIXES - ANIMATION_SUFFIXES


def _clip_suffix(path: Path) -> str:
    suffix = path.suffix.lower()
    return suffix if suffix in ANIMATION_SUFFIXES else ".mp4"


class ClipJob:
    """The videos of one call. Raises UsageError and StyleError for what is wrong with the flags.

    targets: the file that each of them will become.
    """

    def __init__(self, config: FastConfig, inputs: Sequence[Path]):
        from data.listing import find_videos
        from data.video import check_video_suffix

        listing = find_videos(inputs)
        for line in (*listing.skipped_lines(), *listing.errors):
            report(PROG, line)
        self._config, self._clips = config, listing.images
        self._failures = len(listing.errors) + len(listing.unread)
        self._count = len(self._clips) + self._failures
        self.targets, faults = {}, {}
        if self._clips:
            self.targets, faults = target_paths(
                inputs, self._clips, config.output, picture_name(config), _clip_suffix
            )
        check_outputs(self.targets.values(), [*config.photos, *self._clips, config.mask])
        check_folder_outputs(self.targets.values(), [path for path in config.photos if os.path.isdir(path)])
        for target in self.targets.values():
            check_video_suffix(target)
        for path, fault in faults.items():
            self._fail(path, fault)
        self._written = self._frames = 0

    def stylize_all(self) -> int:
        """Writes the videos, reports those that fail and goes on; returns the exit status, 0 or 1."""
        missing = without_pictures(self.targets) if self._config.skip_existing else list(self.targets)
        start = time.perf_counter()
        styles = FrameStylizers(self._config)
        try:
            sizes = self._sizes(missing)
            if sizes:
                styles.load()  # a fault of the style ends the call
            for path, size in sizes.items():
                with self._faults_reported(path):
                    self._stylize(path, styles.for_size(*size))
        except Interrupted as error:
            error.done = interrupted_text(
                self._written, len(missing), "video", skips_existing=self._config.skip_existing
            )
            raise
        self._report_end(time.perf_counter() - start, len(self.targets) - len(missing))
        return 1 if self._failures else 0

    def _sizes(self, paths: Sequence[Path]) -> dict[Path, tuple[int, int]]:
        """The height and width of the clips that can be opened; the others are reported before the work begins."""
        from data.video import clip_size

        sizes = {}
        for path in paths:
            with self._faults_reported(path):
                sizes[path] = clip_size(path)
        return sizes

    @contextmanager
    def _faults_reported(self, path: Path) -> Iterator[None]:
        """Within this context, what is wrong with a clip is reported and does not leave the context."""
        from data.images import ImageError
        from transformer.export.style_folder import StyleError

        try:
            yield
        except (ImageError, StyleError, MemoryError, OSError) as error:
            self._fail(path, error)

    def _fail(self, path: Path, fault: object) -> None:
        self._failures += 1
        report(PROG, fault_line(path, fault))

    def _stylize(self, path: Path, frames_of) -> None:
        from data.video import DamagedClipError, stylize_video

        target = self.targets[path]
        with progress_bar(total=None, unit="frames", desc=path.name) as bar:

            def show(frames_done: int, frames: int) -> None:
                bar.total = frames or None
                bar.update()

            try:
                frames = stylize_video(
                    path,
                    target,
                    frames_of.stylize,
                    show,
                    finish=frames_of.finish,
                    workers=frames_of.workers,
                    stop=frames_of.stop,
                    on_note=lambda note: report(PROG, f"{target}: {note}"),
                )
            except DamagedClipError:  # what could be read of it was written
                self._written += 1
                raise
        self._written += 1
        self._frames += frames
        if self._count == 1:
            report(PROG, f"wrote {target} ({frames} frame{'s' if frames > 1 else ''})")

    def _report_end(self, seconds: float, skipped: int) -> None:
        if self._count > 1:
            report(PROG, self._summary(seconds, skipped))
        elif skipped:
            report(PROG, f"{next(iter(self.targets.values()))} exists already; nothing was written")

    def _summary(self, seconds: float, skipped: int) -> str:
        text = f"wrote {self._written} video{'' if self._written == 1 else 's'}"
        if self._written:
            folder = self._config.output or Path.cwd()
            text += f" to {folder} in {seconds:.1f} s, {self._frames / seconds:.2f} frames/s"
        text += f", {skipped} existed already" if skipped else ""
        return text + (f", {self._failures} of {self._count} videos failed" if self._failures else "")

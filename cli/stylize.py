"""infer.py --mode fast: stylizes photos and folders of photos with a trained network."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from cli.bars import progress_bar
from cli.expected_work import expected_pixels
from cli.flags import UsageError, report
from cli.infer_config import FastConfig
from cli.outcomes import fault_line, interrupted_text
from cli.styles import load_controls, load_styles, picture_name
from cli.targets import (
    check_folder_outputs,
    check_format,
    check_outputs,
    suffix_rule,
    target_paths,
    without_clips,
    without_pictures,
)
from system.faults import memory_faults
from system.program import prog
from system.signals import Interrupted

PROG = prog("infer")
_TILE_BAR = "{l_bar}{bar}| {elapsed}<{remaining}"
_TILE_LINE = "{desc}: {percentage:3.0f}%, {elapsed} passed, {remaining} left"


def stylize_photos(config: FastConfig, clips: Mapping[Path, Path] | None = None) -> int:
    """Stylizes every photo, reports those that fail and goes on; returns the exit status, 0 or 1.

    clips: the videos of the same call, each with the file that it will become.
    """
    if config.temporal:
        raise UsageError("--temporal is for videos; photos have no previous frame")
    from data.images import check_image_suffix
    from data.listing import find_images
    from system.machine import available_cores

    listing = find_images(config.photos)
    for line in (*listing.skipped_lines(), *listing.errors):
        report(PROG, line)
    if not listing.images:
        return 1
    photos = listing.images
    targets, faults = target_paths(
        config.photos, photos, config.output, picture_name(config), suffix_rule(config)
    )
    check_format(config, targets.values())
    without_clips(targets, faults, clips or {})
    check_outputs(targets.values(), [*photos, *(clips or {}), config.mask])
    check_folder_outputs(targets.values(), [path for path in config.photos if os.path.isdir(path)])
    for target in targets.values():
        check_image_suffix(target)
    missing = without_pictures(targets) if config.skip_existing else list(targets)
    # One photo uses all cores; several photos are faster with one core each.
    workers = min(available_cores(), len(photos))
    not_found = len(listing.errors) + len(listing.unread)
    job = PhotoJob(config, len(photos) + not_found, targets, missing)
    job.failures += not_found
    job.load(threads=available_cores() if workers == 1 else 1)
    for path, fault in faults.items():
        job.fail(path, fault)
    job.stylize_all(workers)
    return 1 if job.failures else 0


class WrittenPicture(NamedTuple):
    """A picture that was written: its height and width, and how much larger its strokes are than the network's."""

    path: Path
    size: tuple[int, ...]
    stroke_scale: float


class PhotoJob:
    """The photos of one call on their way to pictures."""

    def __init__(
        self, config: FastConfig, photos: int, targets: Mapping[Path, Path], missing: Sequence[Path]
    ):
        self._config, self._photos, self._targets, self._missing = config, photos, targets, missing
        self._being_read: dict[Path, Future] = {}
        self._written: list[WrittenPicture] = []
        self.failures = 0

    def load(self, threads: int) -> None:
        """Loads the style while the first photo is read."""
        from cli.painting import PhotoPainter

        with ThreadPoolExecutor(1) as reader:
            for path in self._missing[:1]:
                self._being_read[path] = reader.submit(self._read, path)
            expected = expected_pixels(self._config, self._missing)
            self._stylizer = load_styles(self._config, threads, expected)
        self._painter = PhotoPainter(
            self._stylizer,
            load_controls(self._config),
            threads,
            stroke_scale=self._config.stroke_scale,
            max_memory=self._config.max_memory,
        )

    def stylize_all(self, workers: int) -> None:
        """Writes the pictures, `workers` at a time, and reports what was written."""
        from system.threads import in_order

        # Signals arrive in this thread, which must not be busy in ONNX Runtime then. Of photos that are computed one at
        # a time, another one is read or written meanwhile.
        workers = min(workers, 2) if self._stylizer.one_at_a_time else workers
        start = time.perf_counter()
        skipped = len(self._targets) - len(self._missing)
        stylize = memory_faults("shrink the photo with --max-side")(self._stylize)
        with PhotoProgress(len(self._targets), skipped) as self._progress:
            try:
                with closing(in_order(self._missing, stylize, workers, self._stylizer.stop)) as outcomes:
                    for path, future in outcomes:
                        self._take(path, future)
            except Interrupted as error:
                error.done = interrupted_text(
                    len(self._written),
                    len(self._missing),
                    "picture",
                    skips_existing=self._config.skip_existing,
                )
                raise
        self._report_end(time.perf_counter() - start, skipped)

    def fail(self, path: Path, fault: object) -> None:
        """Reports a photo that has no picture."""
        self.failures += 1
        report(PROG, fault_line(path, fault, self._targets.get(path)))

    def _read(self, path: Path) -> Any:
        from data.photo import load_photo

        return load_photo(path, max_side=self._config.max_side)

    def _stylize(self, path: Path) -> tuple[str, ...]:
        """Writes the picture of a photo; returns one line for each piece of metadata that was left out."""
        from data.photo import save_photo

        photo = self._being_read.pop(path).result() if path in self._being_read else self._read(path)
        painted = self._painter.painted(
            photo, self._targets[path], lambda is_tiled: self._progress.of_photo(is_tiled=is_tiled)
        )
        notes = save_photo(self._targets[path], painted.canvas, photo, restore_size=self._config.restore_size)
        size = photo.full_size if self._config.restore_size else photo.shape[:2]
        self._written.append(WrittenPicture(self._targets[path], size, painted.stroke_scale))
        return notes

    def _take(self, path: Path, future: Future) -> None:
        from data.images import ImageError
        from transformer.export.style_folder import StyleError

        error = future.exception()
        if isinstance(error, ImageError | StyleError | MemoryError | OSError):
            self.fail(path, error)
        elif error is not None:
            raise error
        else:
            for note in future.result() or ():
                report(PROG, f"{self._targets[path]}: {note}")
        self._progress.advance()

    def _report_end(self, seconds: float, skipped: int) -> None:
        if self._photos > 1:
            report(PROG, self._summary(seconds, skipped))
        elif self._written:
            (written,) = self._written
            height, width = written.size
            report(PROG, f"wrote {written.path} ({width}x{height} pixels{self._scale_note()})")
        elif skipped:
            report(PROG, f"{next(iter(self._targets.values()))} exists already; nothing was written")

    def _summary(self, seconds: float, skipped: int) -> str:
        count = len(self._written)
        text = f"wrote {count} picture{'' if count == 1 else 's'}"
        if count:
            folder = self._config.output or Path.cwd()
            text += f" to {folder} in {seconds:.1f} s, {count / seconds:.2f} pictures/s"
        text += self._scale_note()
        text += f", {skipped} existed already" if skipped else ""
        return text + (f", {self.failures} of {self._photos} photos failed" if self.failures else "")

    def _scale_note(self) -> str:
        """Says which brush strokes nobody asked for are larger than the network draws them; "" if none is."""
        scales = [written.stroke_scale for written in self._written if written.stroke_scale > 1]
        if self._config.stroke_scale is not None or not scales:
            return ""
        which = "" if self._photos == 1 else f" of {len(scales)} large photo{'s' * (len(scales) > 1)} up to"
        return f", brush strokes{which} {max(scales):.1f} times as large: --stroke-scale 1 keeps them small"


class PhotoProgress:
    """The bar for several photos, and the one for a photo in tiles. One small photo has none."""

    def __init__(self, photos: int, skipped: int):
        self._photos, self._skipped, self._bar = photos, skipped, None

    def __enter__(self) -> "PhotoProgress":
        if self._photos > 1:
            self._bar = progress_bar(
                total=self._photos, initial=self._skipped, unit="photos", desc="stylizing", smoothing=0.1
            )
        return self

    def __exit__(self, *_) -> None:
        if self._bar is not None:
            self._bar.close()

    def advance(self) -> None:
        """One photo is done."""
        if self._bar is not None:
            self._bar.update()

    @contextmanager
    def of_photo(self, *, is_tiled: bool) -> Iterator[Callable[[float], None]]:
        """A function that takes the share of one photo that is done."""
        if not is_tiled:
            yield lambda share: None
            return
        with progress_bar(
            total=1.0,
            unit="",
            desc="in tiles",
            bar_format=_TILE_BAR,
            line_format=_TILE_LINE,
            leave=self._bar is None,
        ) as bar:
            yield lambda share: bar.update(share - bar.n)

"""What a visitor asks for becomes a picture: the same work as infer.py, with turns at the network and limits."""

import re
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from cli.flags import UsageError, check_ranges
from cli.infer_config import FastConfig
from cli.painting import PhotoPainter
from web.config import ServiceConfig
from web.shelf import StyleShelf
from web.turns import Deadline, Turns

MOST_STYLES = 4  # in a blend
SHEET_SIDE = 480  # pixels, longest side of a picture on a sheet


@dataclass(frozen=True)
class PictureRequest:
    """What to make of a photo; the fields mean what the flags of infer.py mean. styles: [(name, weight), ...]."""

    styles: tuple[tuple[str, float], ...]
    strength: float = 1.0
    keep_colors: bool = False
    stroke_scale: float | None = None
    grain: float = FastConfig.grain
    max_side: int | None = None
    format: str | None = None  # None: that of the photo
    mask: Path | None = None

    def check(self) -> None:
        """Raises UsageError for a value that is out of its range; it names fields, not flags."""
        try:
            check_ranges(FastConfig(**self._flags()))
        except UsageError as error:
            raise UsageError(without_flags(str(error))) from error
        if not 1 <= len(self.styles) <= MOST_STYLES:
            raise UsageError(f"give 1 to {MOST_STYLES} styles, got {len(self.styles)}")
        weights = [weight for _, weight in self.styles]
        if not all(0 <= weight <= 1e6 for weight in weights) or not sum(weights):
            raise UsageError("weights of styles must be 0 to 1e6, and not all 0")

    def _flags(self) -> dict[str, Any]:
        names = ("strength", "keep_colors", "stroke_scale", "grain", "max_side", "format")
        return {name: getattr(self, name) for name in names}


class Finished(NamedTuple):
    """A picture that was written. notes: one line for each piece of metadata that was left out."""

    path: Path
    height: int
    width: int
    stroke_scale: float
    notes: tuple[str, ...]


class PictureMaker:
    """Makes pictures for every page and every request of one process; threads may share it."""

    def __init__(self, config: ServiceConfig, shelf: StyleShelf):
        from system.machine import available_cores

        self.config, self.shelf = config, shelf
        self.turns = Turns(config.max_waiting)
        self._threads = available_cores()

    def deadline(self) -> Deadline:
        """The time limit of a request that begins now."""
        return Deadline(self.config.time_limit)

    def make(
        self,
        photo_path: Path,
        request: PictureRequest,
        folder: Path,
        *,
        name: str = "picture",
        deadline: Deadline | None = None,
        on_place: Callable[[int], None] = lambda place: None,
        on_progress: Callable[[float], None] = lambda share: None,
    ) -> Finished:
        """Writes the picture of the photo as `folder`/`name` with the suffix of its format.

        The photo keeps its EXIF data, color profile, transparency and bit depth, as with infer.py.
        Raises UsageError, ImageError, StyleError, MemoryError, Busy and GaveUp; see web/faults.py for their answers.
        """
        from data.controls import Controls
        from data.images import load_mask
        from data.photo import load_photo, save_photo
        from data.picture_format import picture_suffix

        request.check()
        for style, _ in request.styles:
            self.shelf.folder(style)
        deadline = deadline or self.deadline()
        suffix = (
            f".{request.format}" if request.format else picture_suffix(photo_path, max_side=request.max_side)
        )
        target = folder / f"{name}{suffix}"

        def on_part(share: float) -> None:
            deadline.check()
            on_progress(share)

        with self.turns.turn(deadline, on_place):
            photo = load_photo(photo_path, max_side=request.max_side)
            mask = None if request.mask is None else load_mask(request.mask)
            controls = Controls(keep_colors=request.keep_colors, strength=request.strength, mask=mask)
            stylizer = self.shelf.stylizer(request.styles)
            painter = PhotoPainter(stylizer, controls, self._threads, stroke_scale=request.stroke_scale)
            painted = painter.painted(photo, target, lambda is_tiled: nullcontext(on_part))
        notes = save_photo(target, painted.canvas, photo)
        height, width = painted.canvas.shape[:2]
        return Finished(target, height, width, painted.stroke_scale, notes)

    def sheet(
        self,
        photo_path: Path,
        *,
        names: Sequence[str] | None = None,
        deadline: Deadline | None = None,
        on_place: Callable[[int], None] = lambda place: None,
        on_progress: Callable[[float], None] = lambda share: None,
    ) -> list[tuple[str, Any]]:
        """Returns the photo in every style: [(name, image [H, W, 3], float32, 0..255), ...]. A turn for each style."""
        from data.images import load_image

        deadline = deadline or self.deadline()
        names = self.shelf.names() if names is None else names
        pictures = []
        photo = load_image(photo_path, max_side=SHEET_SIDE)
        for index, name in enumerate(names):
            with self.turns.turn(deadline, on_place):
                pictures.append((name, self.shelf.stylizer([(name, 1.0)])(photo)))
            on_progress((index + 1) / len(names))
        return pictures


def without_flags(message: str) -> str:
    """Returns a message of infer.py with the names of fields in place of its flags: --max-side becomes max_side."""
    return re.sub(r"--([a-z]+(?:-[a-z]+)*)", lambda found: found[1].replace("-", "_"), message)

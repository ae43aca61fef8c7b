"""What a visitor asks for becomes a picture: the same work as infer.py, with turns at the network and limits."""

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from cli.flags import UsageError, check_ranges
from cli.infer_config import FastConfig
from cli.painting import Painted, PhotoPainter
from system.machine import available_cores
from web.config import ServiceConfig
from web.shelf import StyleShelf
from web.stages import DEEP_PIXEL_BYTES, MASK_PIXEL_BYTES, PIXEL_BYTES, Stages
from web.turns import Deadline

MOST_STYLES = 4  # in a blend
SHEET_SIDE = 480  # pixels, longest side of a picture on a sheet
STAGES = WAITING, DECODING, NETWORK, ENCODING = "waiting", "decoding", "network", "encoding"


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
    """A picture that was written. notes: one line for each piece of metadata that was left out.

    seconds: how long the photo waited, was decoded, was on the network, and was encoded, by the names of STAGES.
    """

    path: Path
    height: int
    width: int
    stroke_scale: float
    notes: tuple[str, ...]
    seconds: Mapping[str, float]


class PictureMaker:
    """Makes pictures for every page and every request of one process; threads may share it.

    turns: those at the network. Whoever uses a stylizer of `shelf` takes one.
    """

    def __init__(self, config: ServiceConfig, shelf: StyleShelf):
        self.config, self.shelf = config, shelf
        self.stages = Stages(config)
        self.turns = self.stages.network
        self._threads = available_cores()

    def deadline(self) -> Deadline:
        """The time limit of a request that begins now."""
        return Deadline(self.config.time_limit)

    @property
    def max_pixels(self) -> int:
        """Of a photo, and of a mask."""
        return round(1e6 * self.config.max_megapixels)

    @property
    def waiting(self) -> int:
        """Photos that wait, read or not, without the one on the network."""
        return self.stages.line.waiting + self.stages.network.waiting

    def check(self, request: PictureRequest) -> None:
        """Raises UsageError for values out of range, and UnknownStyle."""
        request.check()
        for style, _ in request.styles:
            self.shelf.folder(style)

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

        The photo keeps its EXIF data, color profile, transparency and bit depth, as with infer.py. While it is on the
        network, other threads read and write theirs, see web/stages.py.
        Raises UsageError, ImageError, StyleError, MemoryError, Busy and GaveUp; see web/faults.py for their answers.
        """
        from data.photo import save_photo

        self.check(request)
        deadline, clock = deadline or self.deadline(), _Clock()
        needed = self._bytes_of(photo_path, request)

        def on_part(share: float) -> None:
            deadline.check()
            on_progress(share)

        with ExitStack() as held:
            with ExitStack() as held_until_painted:
                held_until_painted.enter_context(self.stages.line.turn(deadline, on_place))
                self.stages.enter_memory(held, needed, deadline)
                clock.ends(WAITING)
                photo, mask, target = self._read(photo_path, request, folder / name)
                clock.ends(DECODING)
                held_until_painted.enter_context(
                    self.stages.network.turn(deadline, on_place, is_refused=False, is_measured=True)
                )
                clock.ends(WAITING)
                painted = self._painted(photo, mask, target, request, on_part)
                clock.ends(NETWORK)
                held.enter_context(self.stages.finishing.turn(deadline))
            clock.ends(WAITING)
            notes = save_photo(target, painted.canvas, photo)
            clock.ends(ENCODING)
            height, width = painted.canvas.shape[:2]
            return Finished(target, height, width, painted.stroke_scale, notes, clock.seconds)

    @contextmanager
    def reading(self, photo_path: Path, deadline: Deadline) -> Iterator[None]:
        """Within this context a photo may be decoded, and a smaller copy written: the memory for it is reserved.

        Raises ImageError, MemoryError and GaveUp.
        """
        with ExitStack() as held:
            needed = self._bytes_of(photo_path, PictureRequest(styles=()))
            self.stages.enter_memory(held, needed, deadline)
            held.enter_context(self.stages.finishing.turn(deadline))
            yield

    def _bytes_of(self, photo_path: Path, request: PictureRequest) -> float:
        """The memory that a photo and its mask need. Raises ImageError for what is too large or not an image."""
        from data.decoding import image_claim

        photo = image_claim(photo_path, max_pixels=self.max_pixels)
        needed = photo.height * photo.width * (DEEP_PIXEL_BYTES if photo.is_deep else PIXEL_BYTES)
        if request.mask is not None:
            mask = image_claim(request.mask, max_pixels=self.max_pixels)
            needed += mask.height * mask.width * MASK_PIXEL_BYTES
        return needed

    def _read(self, photo_path: Path, request: PictureRequest, place: Path) -> tuple[Any, Any, Path]:
        """Returns the photo, the mask, and the path of the picture: `place` with a suffix."""
        from data.images import load_mask
        from data.photo import load_photo
        from data.picture_format import picture_suffix

        photo = load_photo(photo_path, max_side=request.max_side, max_pixels=self.max_pixels)
        mask = None if request.mask is None else load_mask(request.mask, max_pixels=self.max_pixels)
        suffix = (
            f".{request.format}" if request.format else picture_suffix(photo_path, max_side=request.max_side)
        )
        return photo, mask, place.with_name(f"{place.name}{suffix}")

    def _painted(
        self, photo: Any, mask: Any, target: Path, request: PictureRequest, on_part: Callable[[float], None]
    ) -> Painted:
        from data.controls import Controls

        controls = Controls(keep_colors=request.keep_colors, strength=request.strength, mask=mask)
        stylizer = self.shelf.stylizer(request.styles, grain=request.grain)
        painter = PhotoPainter(stylizer, controls, self._threads, stroke_scale=request.stroke_scale)
        return painter.painted(photo, target, lambda is_tiled: nullcontext(on_part))

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
        request = PictureRequest(styles=())
        with ExitStack() as held:
            held.enter_context(self.stages.line.turn(deadline, on_place))
            self.stages.enter_memory(held, self._bytes_of(photo_path, request), deadline)
            photo = load_image(photo_path, max_side=SHEET_SIDE, max_pixels=self.max_pixels)
            pictures = []
            for index, name in enumerate(names):
                with self.turns.turn(deadline, on_place, is_refused=False):
                    stylizer = self.shelf.stylizer([(name, 1.0)], grain=request.grain)
                    pictures.append((name, stylizer(photo)))
                on_progress((index + 1) / len(names))
            return pictures


class _Clock:
    """Adds up the seconds of the stages of one photo."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self._last = time.monotonic()

    def ends(self, stage: str) -> None:
        """What was done since the last call, or since the start, belongs to this stage."""
        now = time.monotonic()
        self.seconds[stage] += now - self._last
        self._last = now


def without_flags(message: str) -> str:
    """Returns a message of infer.py with the names of fields in place of its flags: --max-side becomes max_side."""
    return re.sub(r"--([a-z]+(?:-[a-z]+)*)", lambda found: found[1].replace("-", "_"), message)

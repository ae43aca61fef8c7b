"""The slow method for a visitor: infer.py --mode optimize as a process, and the pictures that it makes on the way."""

import contextlib
import csv
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cli.flags import UsageError
from loss_net.presets import PRESETS
from web.studio.door_process import DoorProcess, flags_of
from web.studio.uploads import Upload, file_stem
from web.studio.visits import Visit

DOOR = "infer"
PICTURES = 20  # on the way, at most
WIDTHS, ITERATIONS = (64, 512), (2, 1000)  # least and most, in pixels and updates
LOOK_SECONDS = 1.0  # between two looks at what the process has written
STARTS = ("content", "noise")
VGG19_PRESETS = tuple(name for name, preset in PRESETS.items() if preset.loss.architecture == "vgg19")


@dataclass(frozen=True)
class SlowRequest:
    """What a visitor asks for; the fields mean what the flags of infer.py mean."""

    photo: Upload
    painting: Upload
    preset: str
    width: int
    iterations: int
    initial: str

    def check(self) -> None:
        """Raises UsageError for a value that is out of its range."""
        for name, (least, most) in {"width": WIDTHS, "iterations": ITERATIONS}.items():
            if not least <= getattr(self, name) <= most:
                raise UsageError(f"{name} must be {least} to {most}, got {getattr(self, name)}")
        for name, allowed in {"preset": VGG19_PRESETS, "initial": STARTS}.items():
            if getattr(self, name) not in allowed:
                raise UsageError(f"{name} must be one of {', '.join(allowed)}")


@dataclass(frozen=True)
class SlowProgress:
    """How far it is. picture: the newest one, None before the first. losses: (iteration, term, loss) so far."""

    iteration: int = 0
    picture: Path | None = None
    losses: tuple[tuple[int, str, float], ...] = ()
    is_running: bool = True


class SlowFailure(Exception):
    """The process has ended without a picture; the message is its last line."""


def slow_pictures(
    request: SlowRequest,
    visit: Visit,
    vgg: Path | None,
    *,
    seconds: float,
    more_flags: tuple[str, ...] = (),
) -> Iterator[SlowProgress]:
    """Runs the slow method and yields its progress about once a second; the last item is the result.

    It ends early, with the best picture so far, when `visit` is stopped or after `seconds`.
    Raises UsageError, and SlowFailure.
    """
    request.check()
    folder = visit.new_folder()
    target = folder / f"{file_stem(request.photo)}_{file_stem(request.painting)}.png"
    process = DoorProcess(DOOR, [*_flags(request, folder, target, vgg), *more_flags], folder / "output.log")
    end = time.monotonic() + seconds
    try:
        with visit.work(process.stop):
            while process.is_running:
                yield _progress(folder, target, is_running=True)
                if time.monotonic() > end:
                    process.stop()
                time.sleep(LOOK_SECONDS)
    finally:
        process.end()  # also where the visitor has left
    if not target.exists():
        raise SlowFailure((process.lines() or ["the slow method has ended without a picture"])[-1])
    yield _progress(folder, target, is_running=False)


def _flags(request: SlowRequest, folder: Path, target: Path, vgg: Path | None) -> list[str]:
    values = {
        "mode": "optimize",
        "preset": request.preset,
        "width": request.width,
        "iterations": request.iterations,
        "initial": request.initial,
        "output": target,
        "checkpoint_output": folder / "picture_%s.png",
        "checkpoint_iterations": max(1, request.iterations // PICTURES),
        "history": folder / "losses.csv",
        "vgg": vgg,
    }
    return [str(request.photo.path), *flags_of(values), "--style-images", str(request.painting.path)]


def _progress(folder: Path, target: Path, *, is_running: bool) -> SlowProgress:
    pictures = {int(path.stem.rpartition("_")[2]): path for path in folder.glob("picture_*.png")}
    newest = max(pictures, default=0)
    losses = tuple(_losses(folder / "losses.csv"))
    step = max((row[0] for row in losses), default=newest)
    picture = pictures.get(newest) if is_running else target
    return SlowProgress(max(step, newest), picture, losses, is_running)


def _losses(path: Path) -> Iterator[tuple[int, str, float]]:
    """The rows of --history, without the first, which is far above the others."""
    with contextlib.suppress(OSError), open(path, encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            step = int(row.pop("step"))
            if step:
                yield from ((step, term, float(loss)) for term, loss in row.items() if term != "tv")

"""What the photo tab does: the picture at full size, and smaller copies that the page shows."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from web.pictures import Finished, PictureMaker, PictureRequest
from web.studio.style_cards import card_of
from web.studio.uploads import Upload, file_stem
from web.turns import Deadline

VIEW_SIDE = 1280  # pixels, longest side of what the page shows


class Result(NamedTuple):
    """A picture: the file to download, the views before and after, and a line about it."""

    path: Path
    before: Path
    after: Path
    line: str


def picture(
    maker: PictureMaker,
    upload: Upload,
    request: PictureRequest,
    folder: Path,
    deadline: Deadline,
    on_place: Callable[[int], None],
    on_progress: Callable[[float], None],
) -> Result:
    """Makes the picture. Raises what PictureMaker.make raises."""
    start = time.monotonic()
    name = "_".join([file_stem(upload), *(style for style, _ in request.styles)])
    finished = maker.make(
        upload.path, request, folder, name=name, deadline=deadline, on_place=on_place, on_progress=on_progress
    )
    seconds = time.monotonic() - start
    before, after = folder / "before.jpg", folder / "after.jpg"
    view(maker, upload.path, before, VIEW_SIDE, deadline)
    view(maker, finished.path, after, VIEW_SIDE, deadline)
    return Result(finished.path, before, after, result_line(finished, seconds))


def view(maker: PictureMaker, path: Path, target: Path, side: int, deadline: Deadline) -> Path:
    """Writes a small copy of a photo without its metadata. Raises what PictureMaker.reading raises."""
    from data.images import load_image, save_image

    with maker.reading(path, deadline):
        save_image(target, load_image(path, max_side=side, max_pixels=maker.max_pixels))
    return target


def result_line(finished: Finished, seconds: float) -> str:
    """Time, size and strokes of a picture, and what of the photo was left out."""
    megabytes = finished.path.stat().st_size / 1e6
    parts = [
        f"{seconds:.1f} seconds",
        f"{finished.width} × {finished.height} pixels",
        f"{megabytes:.1f} MB {finished.path.suffix[1:].upper()}",
    ]
    if finished.stroke_scale != 1:
        parts.append(
            f"brush strokes {finished.stroke_scale:.1f} times as large as trained, to suit this size"
        )
    return "; ".join([*parts, *finished.notes])


def sheet_pictures(
    maker: PictureMaker,
    upload: Upload,
    folder: Path,
    deadline: Deadline,
    on_place: Callable[[int], None],
    on_progress: Callable[[float], None],
) -> tuple[list[tuple[str, str]], list[str]]:
    """The photo in every style: [(path, title), ...] for a gallery, and the names of the styles."""
    from data.images import save_image

    made = maker.sheet(upload.path, deadline=deadline, on_place=on_place, on_progress=on_progress)
    pictures = []
    for number, (name, image) in enumerate(made):
        path = folder / f"sheet{number}.jpg"
        save_image(path, image)
        pictures.append((str(path), card_of(maker.shelf, name).title))
    return pictures, [name for name, _ in made]

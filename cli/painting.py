"""A photo becomes a picture: the network at the size of the brush strokes, the controls, and the way to full size."""

from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cli.memory import check_memory

STROKE_REMEDY = "shrink the photo with --max-side, or give a larger --stroke-scale"
PartDone = Callable[[float], None]  # is told which share of a photo is done, 0..1; may raise to end the work
ShownProgress = Callable[
    [bool], AbstractContextManager[PartDone]
]  # True for a photo in tiles, which takes long


class Painted(NamedTuple):
    """A picture [H, W, 3], uint8 or uint16, and how much larger its strokes are than those of the network."""

    canvas: np.ndarray
    stroke_scale: float


class PhotoPainter:
    """Makes pictures of photos; threads may share it, and wait for each other's memory.

    stylizer: see transformer.inference.stylizer. controls: see data.controls. threads: that one photo may use.
    stroke_scale: None means one that suits the size of each photo. max_memory: limit in GB for the way to full size.
    """

    def __init__(
        self,
        stylizer: Any,
        controls: Any,
        threads: int,
        *,
        stroke_scale: float | None = None,
        max_memory: float | None = None,
    ):
        from system.threads import MemoryBudget

        self._stylizer, self._controls, self._threads = stylizer, controls, threads
        self._asked_scale, self._max_memory = stroke_scale, max_memory
        self._budget = MemoryBudget(stylizer.plan.memory_for_all())

    def painted(self, photo: Any, target: Path, shown_progress: ShownProgress) -> Painted:
        """Returns the picture of a data.photo.Photo, with the bit depth that the format of `target` can store.

        Raises ImageError if that format cannot store this size, StyleError, and MemoryError.
        """
        from data.enlarging import enlarging_bytes, size_at_scale

        canvas = photo.canvas(target)
        scale = self._stroke_scale(photo)
        small = photo.shrunk(size_at_scale(*photo.shape[:2], scale))
        size, plan, more = small.shape[:2], self._stylizer.plan, 0.0
        if small is not photo:
            more = enlarging_bytes(photo.shape[:2], size, self._threads)
            check_memory("larger strokes need", more, STROKE_REMEDY, self._max_memory)
        with (
            self._budget.reserved(plan.bytes_for(*size) + more),
            shown_progress(plan.tile_for(*size) is not None) as on_progress,
        ):
            if small is photo:
                for rows, columns, stylized in self._stylizer.parts(photo, on_progress):
                    self._controls.paint(canvas, rows, columns, photo, stylized)
            else:
                self._paint_enlarged(canvas, photo, small, on_progress)
        return Painted(canvas, 1.0 if small is photo else scale)

    def _stroke_scale(self, photo: Any) -> float:
        from data.enlarging import natural_scale

        return natural_scale(*photo.shape[:2]) if self._asked_scale is None else self._asked_scale

    def _paint_enlarged(self, canvas: np.ndarray, photo: Any, small: Any, on_progress: PartDone) -> None:
        """Stylizes the small photo and paints the result at the size of the photo."""
        from data.enlarging import Enlargement, bands
        from system.threads import in_order

        everything = slice(0, photo.shape[1])
        stylized = np.empty(small.shape, np.float32)
        for rows, columns, pixels in self._stylizer.parts(small, on_progress):
            stylized[rows, columns] = pixels
        enlargement = Enlargement(photo, small[:, :], stylized)

        def paint(rows: slice) -> None:
            self._stylizer.check_stopped()
            self._controls.paint(canvas, rows, everything, photo, enlargement.rows(rows))

        with closing(in_order(bands(*photo.shape[:2]), paint, self._threads)) as painted:
            for _, band in painted:
                band.result()
                on_progress(1.0)

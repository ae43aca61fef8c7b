"""What becomes of the frames of a clip: how many at once, by how many threads, and how they are stylized."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from cli.infer_config import FastConfig
from cli.styles import load_controls, load_styles, once_reported


class FrameStylizers:
    """The style of a call, for clips of any size. It is loaded for the first clip, and kept for the next ones."""

    def __init__(self, config: FastConfig):
        self._config = config
        self._stylizer: Any = None
        self._threads = 0
        self._controls, self._report = load_controls(config), once_reported()

    def for_size(self, height: int, width: int) -> "FrameStylizer":
        """Returns what stylizes the frames of one clip. Raises StyleError, and MemoryError for too large frames."""
        from system.machine import available_cores

        self.load()
        cores = available_cores()
        workers = min(cores, self._most_frames(max(1, height), max(1, width)))  # 0 where a file does not tell
        if self._stylizer.one_at_a_time:
            workers = 1
        elif self._threads != cores // workers:  # large frames: fewer at once, each by several threads
            self._load_with(cores // workers)
        frames_of = FrameStylizer(self._config, self._stylizer, self._controls, workers)
        if frames_of.fault:
            self._report(frames_of.fault)
        return frames_of

    def load(self) -> None:
        """Loads the style unless it is loaded. Raises StyleError."""
        if self._stylizer is None:
            self._load_with(threads=1)

    def _load_with(self, threads: int) -> None:
        self._stylizer = None  # frees its memory
        self._stylizer = load_styles(self._config, threads=threads, report=self._report)
        self._threads = threads

    def _most_frames(self, height: int, width: int) -> int:
        """How many frames memory can hold at once, at least 1."""
        from data.clip_source import FRAME_BYTES
        from data.enlarging import enlarging_bytes

        plan = self._stylizer.plan
        size, small = _sizes(self._config, (height, width))
        in_work = plan.bytes_for(*small) + (0 if small == size else enlarging_bytes(size, small, threads=1))
        waiting = 2 * FRAME_BYTES * height * width  # for each worker: what was read and what is to be written
        return max(1, int(plan.memory_for_all() / max(1.0, in_work + waiting)))


@dataclass(frozen=True)
class _Work:
    """A frame after the network: `content` is what is shown without a style, `small` what the network was given."""

    full_size: tuple[int, int]
    content: np.ndarray
    small: np.ndarray
    stylized: np.ndarray


class FrameStylizer:
    """Stylizes the frames of one clip. `stylize`, `finish`, `workers` and `stop` are arguments of `stylize_video`.

    Threads may call `stylize`. `finish` smooths over time and is None if nothing is smoothed. `fault` is a line that
    says why the frames are not smoothed as they could be, or None.
    """

    def __init__(self, config: FastConfig, stylizer: Any, controls: Any, workers: int):
        from data.temporal import TemporalSmoother, usual_strength
        from system.threads import MemoryBudget

        self.workers, self.stop = workers, stylizer.stop
        self._config, self.stylizer, self._controls = config, stylizer, controls
        self._budget = MemoryBudget(stylizer.plan.memory_for_all())
        self.stylize, self.finish, self.fault = self._picture_of, None, None
        strength, missing = usual_strength() if config.temporal is None else (config.temporal, None)
        if missing:
            self.fault = f"the video may flicker: {missing}"
        if strength:
            self._smooth = TemporalSmoother(strength)
            self.stylize, self.finish = self._network, self._smoothed
            if self._smooth.fault:
                self.fault = f"only what stands still is smoothed: {self._smooth.fault}"

    def _picture_of(self, image: np.ndarray) -> np.ndarray:
        return self._picture(self._network(image))

    def _network(self, image: np.ndarray) -> _Work:
        from data.images import resize_pixels

        full_size = image.shape[:2]
        size, small_size = _sizes(self._config, full_size)
        image = resize_pixels(image, *size)
        small = resize_pixels(image, *small_size)
        with self._budget.reserved(self.stylizer.plan.bytes_for(*small_size)):  # sizes may change on the way
            stylized = self.stylizer(np.ascontiguousarray(small))
        return _Work(full_size, image, small, stylized)

    def _smoothed(self, work: _Work) -> np.ndarray:
        return self._picture(work, self._smooth(work.small, work.stylized))

    def _picture(self, work: _Work, smoothed: np.ndarray | None = None) -> np.ndarray:
        from data.enlarging import Enlargement
        from data.images import resize_pixels

        content, stylized = work.content, work.stylized if smoothed is None else smoothed
        if work.small is not content:
            stylized = Enlargement(content, work.small, stylized).rows(slice(0, content.shape[0]))
        picture = self._controls.applied(content, stylized)
        return resize_pixels(picture, *work.full_size) if self._config.restore_size else picture


def _sizes(config: FastConfig, full_size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """The size of the picture and that of what the network is given, for a frame of a size."""
    from data.enlarging import size_at_scale
    from data.images import shrunk_size

    size = full_size if config.max_side is None else shrunk_size(full_size, config.max_side)
    return size, size_at_scale(*size, config.stroke_scale or 1.0)

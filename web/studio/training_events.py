"""Losses and previews of a training, from its TensorBoard event files. Imports no TensorFlow."""

import sys
import threading
import types
from pathlib import Path
from typing import Any, NamedTuple

from transformer.training.log_folder import EVENT_SUFFIX

TERMS = ("total", "content", "style")
_STRING = 7  # of TensorFlow's data types
_PREVIEW = "preview/"


class Preview(NamedTuple):
    """A preview photo beside its stylized form, as a PNG file."""

    name: str
    step: int
    png: bytes


class TrainingEvents:
    """The events in a log folder; `read` adds those that are new. Threads may share it."""

    def __init__(self, log_dir: Path):
        self._log_dir = log_dir
        self._loaders: dict[Path, Any] = {}
        self._losses: dict[int, dict[str, float]] = {}
        self._previews: dict[str, Preview] = {}
        self._lock = threading.RLock()

    def read(self) -> None:
        """Reads what was written since the last call. A record that is being written is read by a later call."""
        with self._lock:
            for path in sorted(self._log_dir.glob(f"events.out.tfevents.*{EVENT_SUFFIX}")):
                if path not in self._loaders:
                    self._loaders[path] = _loader(path)
                for event in self._loaders[path].Load():
                    for value in event.summary.value:
                        self._take(event.step, value)

    @property
    def losses(self) -> dict[int, dict[str, float]]:
        """{step: {term: loss}} so far. A resumed training may repeat steps; the later value counts."""
        with self._lock:
            return {step: dict(terms) for step, terms in self._losses.items()}

    @property
    def previews(self) -> dict[str, Preview]:
        """The newest preview of each photo so far, by the name of the photo."""
        with self._lock:
            return dict(self._previews)

    @property
    def step(self) -> int:
        """The last step of which something is known."""
        with self._lock:
            return max([0, *self._losses, *(preview.step for preview in self._previews.values())])

    def _take(self, step: int, value: Any) -> None:
        kind, _, name = value.tag.partition("/")
        if kind == "loss" and name in TERMS:
            self._losses.setdefault(step, {})[name] = float(_array(value))
        elif value.tag.startswith(_PREVIEW) and value.tensor.dtype == _STRING:
            _, _, png, *_ = value.tensor.string_val  # width, height, the image
            self._previews[name] = Preview(name, step, png)


def _array(value: Any) -> Any:
    from tensorboard.util import tensor_util

    return tensor_util.make_ndarray(value.tensor)


def _loader(path: Path) -> Any:
    # TensorBoard reads its files without TensorFlow where this module exists; it is empty in its own builds for that.
    sys.modules.setdefault("tensorboard.compat.notf", types.ModuleType("tensorboard.compat.notf"))
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

    return EventFileLoader(str(path))

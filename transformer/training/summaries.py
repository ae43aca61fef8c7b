"""TensorBoard summaries of a training: scalars, images, graph and text; and the means that the scalars show."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tensorflow as tf

from system.console import printable
from transformer.json_text import json_text, read_numbers
from transformer.training.log_folder import EVENT_SUFFIX
from transformer.training.step import Losses

# Values of a step other than loss terms. TensorBoard shows them under training/ instead of loss/.
COUNTS = ("skipped", "skipped_in_a_row")  # shown as they are, not as means
TRAINING = ("gradient_norm", "learning_rate", "images_per_second", "warping_error", *COUNTS)
FORECAST = ("images_per_second_overall", "hours_left", "peak_memory_gb")


class RunningMeans:
    """Means of the losses since the last `flush`, because the losses of single batches are noisy.

    Skipped steps ("skipped_in_a_row" above 0) do not count, since their losses may be NaN.
    """

    def __init__(self, saved: Mapping | None = None):
        """saved: a result of `as_json`, to continue from."""
        self._clear()
        if saved is not None:
            self._sums, self._weight = read_numbers(saved["sums"]), saved["weight"]

    def _clear(self) -> None:
        self._unread: list[Losses] = []
        self._sums: dict[str, float] = {}
        self._latest: dict[str, float] = {}
        self._weight = 0  # steps in the sums
        self._count = 0  # steps, with skipped ones
        self._start = time.perf_counter()

    def add(self, losses: Losses) -> None:
        """Takes the losses of one step. They are read later, because reading a value makes a GPU wait."""
        self._unread.append(losses)
        self._count += 1

    def _read(self) -> None:
        for losses in self._unread:
            values = {name: float(value) for name, value in losses.items()}
            self._latest = {name: values.pop(name) for name in COUNTS if name in values}
            if self._latest.get("skipped_in_a_row"):
                continue
            self._weight += 1
            for name, value in values.items():  # step by step, so that a resumed run adds in the same order
                self._sums[name] = self._sums.get(name, 0.0) + value
        self._unread = []

    def as_json(self) -> dict:
        """Returns the exact sums so far as JSON values."""
        self._read()
        return {"sums": dict(self._sums), "weight": self._weight}

    @contextmanager
    def clock_stopped(self) -> Iterator[None]:
        """Time within this context does not count: saving and previews are not training."""
        stopped = time.perf_counter()
        yield
        self._start += time.perf_counter() - stopped

    def flush(self, batch_size: int) -> dict[str, float]:
        """Returns the means by name, the latest counts and "images_per_second", and starts again from zero."""
        self._read()
        means = {name: total / self._weight for name, total in self._sums.items()} if self._weight else {}
        means.update(self._latest)
        means["images_per_second"] = self._count * batch_size / (time.perf_counter() - self._start)
        self._clear()
        return means


class TrainingSummaries:
    """Writes one event file in `log_dir`. Its name ends with EVENT_SUFFIX."""

    def __init__(self, log_dir: Path):
        self._writer = tf.summary.create_file_writer(str(log_dir), filename_suffix=EVENT_SUFFIX)

    def write_losses(self, step: int, means: Mapping[str, float]) -> None:
        """Writes scalars: loss terms under loss/, all others (rate, norm, speed, time) under training/."""
        training = (*TRAINING, *FORECAST)
        with self._writer.as_default(step=step):
            for name, value in means.items():
                tf.summary.scalar(f"training/{name}" if name in training else f"loss/{name}", value)
        self._writer.flush()

    def write_validation(self, step: int, means: Mapping[str, float]) -> None:
        """Writes the mean loss terms of the validation photos as scalars under validation/."""
        with self._writer.as_default(step=step):
            for name, value in means.items():
                tf.summary.scalar(f"validation/{name}", value)
        self._writer.flush()

    def write_previews(
        self, step: int, names: Sequence[str], photos: Sequence[np.ndarray], stylized: Sequence[np.ndarray]
    ) -> None:
        """Writes each photo [H, W, 3], RGB 0..255, beside its stylized form: one image [H, 2 W, 3]."""
        with self._writer.as_default(step=step):
            for name, photo, stylized_photo in zip(names, photos, stylized, strict=True):
                pair = np.concatenate([photo, stylized_photo], axis=1)
                pixels_u8 = np.rint(pair.clip(0, 255)).astype(np.uint8)
                tf.summary.image(f"preview/{printable(name)}", pixels_u8[np.newaxis])
        self._writer.flush()

    def write_sheet(self, name: str, sheet: np.ndarray) -> None:
        """Writes one image [H, W, 3], RGB 0..255."""
        with self._writer.as_default(step=0):
            tf.summary.image(name, np.rint(sheet.clip(0, 255)).astype(np.uint8)[np.newaxis])
        self._writer.flush()

    def write_config(self, config: Mapping) -> None:
        """Writes the configuration as JSON text."""
        with self._writer.as_default(step=0):
            tf.summary.text("config", f"```json\n{json_text(config, indent=2)}\n```")

    def write_graph(self, function: tf.types.experimental.ConcreteFunction) -> None:
        """Writes the graph of a traced function."""
        with self._writer.as_default(step=0):
            tf.summary.graph(function.graph)

    def close(self) -> None:
        self._writer.close()

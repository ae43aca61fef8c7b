"""What a running training shows: TensorBoard scalars, images, graph and text."""

import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tensorflow as tf

from transformer.training import Losses

# What a step says beside its loss terms. Under training/ in TensorBoard, not under loss/.
COUNTS = ("skipped", "skipped_in_a_row")  # the latest counts, not the mean
TRAINING = ("gradient_norm", "learning_rate", "images_per_second", *COUNTS)
FORECAST = ("images_per_second_overall", "hours_left", "peak_memory_gb")


class RunningMeans:
    """Means of the losses since the last `flush`: single batches are too noisy to read a curve from.

    Steps that were skipped, "skipped_in_a_row" above 0, do not count: theirs may be NaN.
    """

    def __init__(self, saved: Mapping | None = None):
        """`saved`: what `as_json` gave, to go on from there."""
        self._clear()
        if saved is not None:
            self._sums = {name: tf.constant(value, tf.float32) for name, value in saved["sums"].items()}
            self._weight = tf.constant(saved["weight"], tf.float32)

    def _clear(self) -> None:
        self._sums: Losses = {}
        self._latest: Losses = {}
        self._weight = tf.constant(0.0)  # steps that count
        self._count = 0
        self._start = time.perf_counter()

    def add(self, losses: Losses) -> None:
        # sums stay tensors: reading a value would make a GPU wait at every step
        counts = tf.cast(losses.get("skipped_in_a_row", 0.0) == 0, tf.float32)
        self._weight += counts
        self._latest = {name: losses[name] for name in COUNTS if name in losses}
        for name in (name for name in losses if name not in COUNTS):
            self._sums[name] = self._sums.get(name, 0.0) + tf.math.multiply_no_nan(
                tf.cast(losses[name], tf.float32), counts
            )
        self._count += 1

    def as_json(self) -> dict:
        """The sums so far, exactly."""
        return {
            "sums": {name: float(value) for name, value in self._sums.items()},
            "weight": float(self._weight),
        }

    @contextmanager
    def clock_stopped(self) -> Iterator[None]:
        """Within it time does not count: saving and previews are not training."""
        stopped = time.perf_counter()
        yield
        self._start += time.perf_counter() - stopped

    def flush(self, batch_size: int) -> dict[str, float]:
        """The means by name, the latest counts, and "images_per_second"; then starts anew."""
        weight = float(self._weight)
        means = {name: float(total) / weight if weight else math.nan for name, total in self._sums.items()}
        means.update({name: float(value) for name, value in self._latest.items()})
        means["images_per_second"] = self._count * batch_size / (time.perf_counter() - self._start)
        self._clear()
        return means


class TrainingSummaries:
    """Writes one run's event file. Loss terms appear as loss/..., validation terms as validation/..."""

    def __init__(self, log_dir: Path):
        self._writer = tf.summary.create_file_writer(str(log_dir))

    def write_losses(self, step: int, means: Mapping[str, float]) -> None:
        """Scalars: every weighted loss term under loss/, the rest (rate, norm, speed, time) under training/."""
        training = (*TRAINING, *FORECAST)
        with self._writer.as_default(step=step):
            for name, value in means.items():
                tf.summary.scalar(f"training/{name}" if name in training else f"loss/{name}", value)
        self._writer.flush()

    def write_validation(self, step: int, means: Mapping[str, float]) -> None:
        """Scalars: the mean loss terms over the validation photos."""
        with self._writer.as_default(step=step):
            for name, value in means.items():
                tf.summary.scalar(f"validation/{name}", value)
        self._writer.flush()

    def write_previews(
        self, step: int, names: Sequence[str], photos: Sequence[np.ndarray], stylized: Sequence[np.ndarray]
    ) -> None:
        """Each photo [H, W, 3], 0..255, beside its stylized form, as one picture [1, H, 2 W, 3]."""
        with self._writer.as_default(step=step):
            for name, photo, picture in zip(names, photos, stylized, strict=True):
                pair = np.concatenate([photo, picture], axis=1)
                pixels_u8 = np.rint(pair.clip(0, 255)).astype(np.uint8)
                tf.summary.image(f"preview/{name}", pixels_u8[np.newaxis])
        self._writer.flush()

    def write_sheet(self, name: str, sheet: np.ndarray) -> None:
        """One picture [H, W, 3], 0..255."""
        with self._writer.as_default(step=0):
            tf.summary.image(name, np.rint(sheet.clip(0, 255)).astype(np.uint8)[np.newaxis])
        self._writer.flush()

    def write_config(self, config: Mapping) -> None:
        """The configuration as JSON text."""
        with self._writer.as_default(step=0):
            tf.summary.text("config", f"```json\n{json.dumps(config, indent=2)}\n```")

    def write_graph(self, function: tf.types.experimental.ConcreteFunction) -> None:
        """The graph of a traced function."""
        with self._writer.as_default(step=0):
            tf.summary.graph(function.graph)

    def close(self) -> None:
        self._writer.close()

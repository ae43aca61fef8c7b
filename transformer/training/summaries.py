"""What a running training shows: TensorBoard scalars, images, graph and text."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tensorflow as tf

from transformer.training.step import Losses

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
            self._sums, self._weight = dict(saved["sums"]), saved["weight"]

    def _clear(self) -> None:
        self._unread: list[Losses] = []
        self._sums: dict[str, float] = {}
        self._latest: dict[str, float] = {}
        self._weight = 0  # steps that count
        self._count = 0
        self._start = time.perf_counter()

    def add(self, losses: Losses) -> None:
        # kept as they are: reading a value makes a GPU wait, and adding one is Python between two steps
        self._unread.append(losses)
        self._count += 1

    def _read(self) -> None:
        for losses in self._unread:
            values = {name: float(value) for name, value in losses.items()}
            self._latest = {name: values.pop(name) for name in COUNTS if name in values}
            if self._latest.get("skipped_in_a_row"):
                continue
            self._weight += 1
            for name, value in values.items():  # one by one, so that a resumed run adds in the same order
                self._sums[name] = self._sums.get(name, 0.0) + value
        self._unread = []

    def as_json(self) -> dict:
        """The sums so far, exactly."""
        self._read()
        return {"sums": self._sums, "weight": self._weight}

    @contextmanager
    def clock_stopped(self) -> Iterator[None]:
        """Within it time does not count: saving and previews are not training."""
        stopped = time.perf_counter()
        yield
        self._start += time.perf_counter() - stopped

    def flush(self, batch_size: int) -> dict[str, float]:
        """The means by name, the latest counts, and "images_per_second"; then starts anew."""
        self._read()
        means = {name: total / self._weight for name, total in self._sums.items()} if self._weight else {}
        means.update(self._latest)
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

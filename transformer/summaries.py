"""What a running training shows: TensorBoard scalars, images, graph and text."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tensorflow as tf

from transformer.training import Losses


class RunningMeans:
    """Means of the losses since the last `flush`: single batches are too noisy to read a curve from."""

    def __init__(self):
        self._clear()

    def _clear(self) -> None:
        self._sums: Losses = {}
        self._count = 0
        self._start = time.perf_counter()

    def add(self, losses: Losses) -> None:
        # sums stay tensors: reading a value would make a GPU wait at every step
        self._sums = {name: self._sums.get(name, 0.0) + value for name, value in losses.items()}
        self._count += 1

    @contextmanager
    def clock_stopped(self) -> Iterator[None]:
        """Within it time does not count: saving and previews are not training."""
        stopped = time.perf_counter()
        yield
        self._start += time.perf_counter() - stopped

    def flush(self, batch_size: int) -> dict[str, float]:
        """The means by name, and "images_per_second"; then starts anew."""
        means = {name: float(total) / self._count for name, total in self._sums.items()}
        means["images_per_second"] = self._count * batch_size / (time.perf_counter() - self._start)
        self._clear()
        return means


class TrainingSummaries:
    """Writes one run's event file. Loss terms appear as loss/..., validation terms as validation/..."""

    def __init__(self, log_dir: Path):
        self._writer = tf.summary.create_file_writer(str(log_dir))

    def write_losses(self, step: int, means: Mapping[str, float]) -> None:
        """Scalars: every weighted loss term under loss/, the rest (rate, norm, speed) under training/."""
        training = ("gradient_norm", "learning_rate", "images_per_second")
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

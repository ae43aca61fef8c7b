"""Shows a training in TensorBoard: losses, preview photos, validation loss, graph and configuration."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tensorflow as tf

from system.faults import disk_fault
from system.files import write_text
from transformer.json_text import json_text
from transformer.network import Transformer
from transformer.training.log_folder import CONFIG_FILE
from transformer.training.step import Loss
from transformer.training.summaries import TrainingSummaries

logger = logging.getLogger(__name__)


class Monitor:
    """Evaluates `network` during a training and writes the results to `log_dir`, for TensorBoard.

    photos: previews by name, each [H, W, 3], RGB 0..255; they are shown beside their stylized form.
    val_images: photos [H, W, 3] of which the mean `loss` is computed; may be empty.
    config: JSON values, written to config.json and shown as text.

    No file is created before `open`. What is written here is not needed to train. If the folder cannot be written, one
    warning is logged, `is_incomplete` becomes True, and the next `evaluate` tries again with a new event file.
    """

    def __init__(
        self,
        log_dir: Path,
        network: Transformer,
        loss: Loss,
        *,
        photos: Mapping[str, np.ndarray],
        val_images: Sequence[np.ndarray],
        config: Mapping,
    ):
        images = tf.TensorSpec([1, None, None, 3], tf.float32)
        stylized = tf.TensorSpec([1, None, None, 3], network.dtype)
        self._stylize = tf.function(network, input_signature=[images], autograph=False)
        self._loss = tf.function(loss, input_signature=[stylized, images], autograph=False)
        self._photos, self._val_images, self._config = photos, val_images, config
        self._log_dir = log_dir
        self._summaries: TrainingSummaries | None = None
        self.is_incomplete = False  # whether something could not be written

    def open(self) -> None:
        """Creates the event file and writes the configuration and the graph. Must be called first."""
        with self._attempt(_is_write_fault):
            write_text(self._log_dir / CONFIG_FILE, json_text(self._config, indent=2) + "\n")
        self._open_events()

    def write_scalars(self, step: int, means: Mapping[str, float]) -> None:
        """Writes mean losses and other scalars of the training, by name."""
        with self._attempt(_is_write_fault):
            if self._summaries is not None:
                self._summaries.write_losses(step, means)

    def evaluate(self, step: int) -> dict[str, float]:
        """Writes previews and validation losses; returns the mean validation losses by name.

        Without validation photos, or without the memory for them, the result is empty.
        """
        if self._summaries is None:
            self._open_events()
        stylized, validation = [], {}
        with self._attempt(_is_memory_fault):
            stylized = [self._stylize(photo[np.newaxis])[0].numpy() for photo in self._photos.values()]
        with self._attempt(_is_write_fault):
            if stylized and self._summaries is not None:
                self._summaries.write_previews(
                    step, list(self._photos), list(self._photos.values()), stylized
                )
        with self._attempt(_is_memory_fault):
            validation = self._validation()
        with self._attempt(_is_write_fault):
            if validation and self._summaries is not None:
                self._summaries.write_validation(step, validation)
        return validation

    def _validation(self) -> dict[str, float]:
        batches = [image[np.newaxis] for image in self._val_images]
        losses = [self._loss(self._stylize(images), images) for images in batches]
        return (
            {name: float(np.mean([terms[name] for terms in losses])) for name in losses[0]} if losses else {}
        )

    def _open_events(self) -> None:
        graph = self._stylize.get_concrete_function()
        with self._attempt(_is_write_fault):
            self._log_dir.mkdir(parents=True, exist_ok=True)
            self._summaries = TrainingSummaries(self._log_dir)
            self._summaries.write_config(self._config)
            self._summaries.write_graph(graph)

    @contextmanager
    def _attempt(self, is_expected: Callable[[Exception], bool]) -> Iterator[None]:
        """Within this context an error that is expected is logged once and does not end the training."""
        try:
            yield
        except Exception as error:
            if not is_expected(error):
                raise
            if not self.is_incomplete:
                logger.warning(
                    "%s: TensorBoard events cannot be written (%s); the training continues without them, and its states"
                    " are saved as before; free some space",
                    self._log_dir,
                    _fault(error),
                )
            self.is_incomplete = True
            self._summaries = None  # a cut record makes the rest of its file unreadable


def _is_write_fault(error: Exception) -> bool:
    """TensorFlow has errors of its own for the disk; two of them tell of wrong arguments instead."""
    is_programming = isinstance(error, tf.errors.InvalidArgumentError | tf.errors.UnimplementedError)
    return isinstance(error, OSError | MemoryError | tf.errors.OpError) and not is_programming


def _is_memory_fault(error: Exception) -> bool:
    words = ("oom when allocating", "failed to allocate", "out of memory", "out_of_memory")
    is_told = isinstance(error, tf.errors.OpError) and any(word in str(error).lower() for word in words)
    return isinstance(error, MemoryError) or is_told


def _fault(error: Exception) -> str:
    return "not enough memory" if _is_memory_fault(error) else disk_fault(error)[:120]

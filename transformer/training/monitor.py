"""Shows a training in TensorBoard: losses, preview photos, validation loss, graph and configuration."""

from collections.abc import Iterator, Mapping, Sequence
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


class Monitor:
    """Evaluates `network` during a training and writes the results to `log_dir`, for TensorBoard.

    photos: previews by name, each [H, W, 3], RGB 0..255; they are shown beside their stylized form.
    val_images: photos [H, W, 3] of which the mean `loss` is computed; may be empty.
    config: JSON values, written to config.json and shown as text.

    No file is created before `open`. Every method raises OSError if the folder cannot be written.
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

    def open(self) -> None:
        """Creates the event file and writes the configuration and the graph. Must be called first."""
        graph = self._stylize.get_concrete_function()
        write_text(self._log_dir / CONFIG_FILE, json_text(self._config, indent=2) + "\n")
        with self._disk_faults():
            self._summaries = TrainingSummaries(self._log_dir)
            self._summaries.write_config(self._config)
            self._summaries.write_graph(graph)

    def write_scalars(self, step: int, means: Mapping[str, float]) -> None:
        """Writes mean losses and other scalars of the training, by name."""
        with self._disk_faults():
            self._summaries.write_losses(step, means)

    def evaluate(self, step: int) -> dict[str, float]:
        """Writes previews and validation losses; returns the mean validation losses by name.

        Without validation photos the result is empty.
        """
        if self._photos:
            stylized = [self._stylize(photo[np.newaxis])[0].numpy() for photo in self._photos.values()]
            with self._disk_faults():
                self._summaries.write_previews(
                    step, list(self._photos), list(self._photos.values()), stylized
                )
        if not self._val_images:
            return {}
        batches = [image[np.newaxis] for image in self._val_images]
        losses = [self._loss(self._stylize(images), images) for images in batches]
        validation = {name: float(np.mean([terms[name] for terms in losses])) for name in losses[0]}
        with self._disk_faults():
            self._summaries.write_validation(step, validation)
        return validation

    @contextmanager
    def _disk_faults(self) -> Iterator[None]:
        try:
            yield
        except tf.errors.OpError as error:  # TensorFlow's own class, even for a full disk
            raise OSError(
                f"{self._log_dir}: TensorBoard events cannot be written ({disk_fault(error)}); the saved states are"
                " intact: free some space, then continue with --resume"
            ) from error

"""What TensorBoard shows of a run: losses, preview photos, validation loss, graph and configuration."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from system.faults import disk_fault
from transformer.network import Transformer
from transformer.training.step import Loss
from transformer.training.summaries import TrainingSummaries


class Watch:
    """Looks at `network` now and then, and writes what it sees to `log_dir`.

    `photos` by name are shown stylized, the mean `loss` over `val_images` is written; each [H, W, 3]. Raises
    OSError when the folder cannot be written.
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
        self._stylize = tf.function(network, input_signature=[images])
        stylized = tf.TensorSpec([1, None, None, 3], network.dtype)
        self._loss = tf.function(loss, input_signature=[stylized, images])
        self._photos, self._val_images = photos, val_images
        self._log_dir = log_dir
        self._summaries = TrainingSummaries(log_dir)
        self._write(lambda: self._summaries.write_config(config))
        self._write(lambda: self._summaries.write_graph(self._stylize.get_concrete_function()))

    def losses(self, step: int, means: Mapping[str, float]) -> None:
        """Scalars of the training loss and of how the training goes."""
        self._write(lambda: self._summaries.write_losses(step, means))

    def pictures(self, step: int) -> dict[str, float]:
        """Shows the previews; returns the validation loss, empty where there are no validation photos."""
        if self._photos:
            stylized = [self._stylize(photo[np.newaxis])[0].numpy() for photo in self._photos.values()]
            names, photos = list(self._photos), list(self._photos.values())
            self._write(lambda: self._summaries.write_previews(step, names, photos, stylized))
        if not self._val_images:
            return {}
        batches = [image[np.newaxis] for image in self._val_images]
        terms = [self._loss(self._stylize(images), images) for images in batches]
        validation = {name: float(np.mean([term[name] for term in terms])) for name in terms[0]}
        self._write(lambda: self._summaries.write_validation(step, validation))
        return validation

    def _write(self, write: Callable[[], None]) -> None:
        try:
            write()
        except tf.errors.OpError as error:  # TensorFlow's own, for a full disk too
            raise OSError(
                f"{self._log_dir}: TensorBoard's events cannot be written ({disk_fault(error)}); the states saved"
                " before are whole: make room there, then go on with --resume"
            ) from error

"""Weaves: a loss on patterns that repeat with the strides of the network.

The network samples an image down and up again by SIDE_MULTIPLE pixels. What it paints can depend on where a pixel lies
between these samples, its phase. Then a weave of that period covers the picture, and the losses of Gatys et al. mind it
little. In a picture without a weave, the pixels of every phase have about the same mean color in any larger window.

The term is the product of two means over images, so with several replicas it would depend on which of them has which
image. Therefore train.py uses it with batches of one image only, which is its default on one device.
"""

import tensorflow as tf

from transformer.architecture import SIDE_MULTIPLE
from transformer.training.hyperparameters import (
    LATTICE_WEIGHT,
    LATTICE_WINDOW,
    LEAST_CONTRAST,
    LEAST_ERROR,
)


def lattice_term(stylized: tf.Tensor, perceptual_loss: tf.Tensor) -> tf.Tensor:
    """Returns LATTICE_WEIGHT * perceptual loss * `lattice_share` of images [B, H, W, 3]; a scalar."""
    scale = tf.stop_gradient(perceptual_loss)
    return LATTICE_WEIGHT * scale * tf.cast(lattice_share(stylized), scale.dtype)


def lattice_share(images: tf.Tensor) -> tf.Tensor:
    """Returns the contrast of the mean colors of the phases, relative to that of images [B, H, W, 3] of known size.

    Both are root mean squares, the first over windows of about LATTICE_WINDOW pixels. No gradient goes through the
    contrast of the images: more contrast is not a cure. A scalar.
    """
    means = _phase_means(images)  # [B, windows down, phases, windows across, phases, C]
    deviations = means - tf.reduce_mean(means, axis=(2, 4), keepdims=True)
    error = tf.reduce_mean(tf.square(deviations), axis=(1, 2, 3, 4, 5))
    unit = tf.reduce_mean(tf.math.reduce_variance(tf.stop_gradient(images), axis=(1, 2)), axis=-1)
    return tf.sqrt(tf.reduce_mean(error / tf.maximum(unit, LEAST_CONTRAST**2)) + LEAST_ERROR**2)


def _phase_means(images: tf.Tensor) -> tf.Tensor:
    """Returns the mean color of each phase in each window; what is left at the end of a side does not count."""
    batch, height, width, channels = images.shape
    (down, rows), (across, columns) = _windows(height), _windows(width)
    inside = images[:, : down * rows * SIDE_MULTIPLE, : across * columns * SIDE_MULTIPLE]
    shape = [batch, down, rows, SIDE_MULTIPLE, across, columns, SIDE_MULTIPLE, channels]
    return tf.reduce_mean(tf.reshape(inside, shape), axis=(2, 5))


def _windows(side: int) -> tuple[int, int]:
    """Returns the number of windows along a side, and how often each contains every phase."""
    count = max(1, side // LATTICE_WINDOW)
    return count, side // count // SIDE_MULTIPLE

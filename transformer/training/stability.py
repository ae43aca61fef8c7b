"""Stability in videos: pairs of pictures whose motion is known, made from still photos, and the loss on them.

A network paints each frame of a video anew. What it paints changes with the place of the picture on its grid of
strides, and with the noise of the camera, so the frames flicker. Here the network also sees the inside of every
training photo a second time, as a camera would that has moved a little. Its two pictures must differ by the same
motion. No video and no estimated flow is needed.

The second picture shows the inside only, so that its border, where the network sees its own padding, has to be what
the network paints in the middle of a photo. This works against stripes and frames at borders.

The consistency loss under a known motion with a masked border is that of Ruder et al. 2018,
https://arxiv.org/abs/1708.04538. The idea of adding noise to the second picture is Rainy's (2017). See
docs/deviations.md for the differences.
"""

import math
from typing import NamedTuple

import tensorflow as tf

from transformer.training.hyperparameters import LEAST_CONTRAST, LEAST_ERROR

SHIFT = 8.0  # pixels, in each direction; beyond the strides of the network, 4 pixels
ZOOM = 0.04  # natural logarithm of the factor
ROTATION = math.radians(2.0)
PERSPECTIVE = 0.02  # change of the scale from the middle of a picture to its border
BRIGHTNESS = 0.04  # natural logarithm of the factor
NOISE = 6.0  # levels of 0..255, largest standard deviation
INSET_SHARE = 8  # what the second picture leaves out at each border is one in so many pixels of a side


class Motion(NamedTuple):
    """Where each pixel of a moved picture [B, h, w] comes from."""

    rows: tf.Tensor  # [B, h, w], places in the picture before the motion
    columns: tf.Tensor  # [B, h, w]
    is_known: (
        tf.Tensor
    )  # [B, h, w, 1], 1 where the place is away from the border of the picture before, else 0


def inset_of(side: int) -> int:
    """Returns how many pixels of a side the second picture leaves out at each end."""
    return side // INSET_SHARE


def random_motion(
    batch: int, height: int, width: int, seed: tf.Tensor, dtype: tf.DType = tf.float32
) -> Motion:
    """Returns motions to the inside of `batch` pictures [height, width]: shift, zoom, rotation and perspective.

    The moved picture is smaller by `inset_of` each side, twice. seed: two integers; the same seed gives the same
    motions.
    """
    values = tf.random.stateless_uniform([6, batch, 1, 1], seed, -1.0, 1.0, dtype)
    down, right, zoom, turn, tilt_down, tilt_right = tf.unstack(values)
    rows, columns = tf.meshgrid(
        _centered_places(height, dtype), _centered_places(width, dtype), indexing="ij"
    )
    half = max(height, width) / 2
    depth = 1.0 + PERSPECTIVE * (tilt_down * rows + tilt_right * columns) / half
    scale, angle = tf.exp(ZOOM * zoom) / depth, ROTATION * turn
    from_rows = scale * (tf.cos(angle) * rows - tf.sin(angle) * columns) + SHIFT * down + (height - 1) / 2
    from_columns = scale * (tf.sin(angle) * rows + tf.cos(angle) * columns) + SHIFT * right + (width - 1) / 2
    is_known = _is_inside(from_rows, height) & _is_inside(from_columns, width)
    return Motion(from_rows, from_columns, tf.cast(is_known, dtype)[..., tf.newaxis])


def _centered_places(side: int, dtype: tf.DType) -> tf.Tensor:
    inside = side - 2 * inset_of(side)
    return tf.range(inside, dtype=dtype) - (inside - 1) / 2


def _is_inside(places: tf.Tensor, side: int) -> tf.Tensor:
    margin = inset_of(side) // 2  # a motion towards the border ends about there
    return (places >= margin) & (places <= side - 1 - margin)


def moved(images: tf.Tensor, motion: Motion) -> tf.Tensor:
    """Returns images [B, H, W, C] after a motion [B, h, w], by cubic interpolation; the edges are repeated.

    The cubic is that of Keys 1981. Linear interpolation would blur the strokes, and the network would learn to blur.
    """
    batch, height, width, channels = images.shape
    rows, columns = tf.cast(motion.rows, images.dtype), tf.cast(motion.columns, images.dtype)
    pixels = tf.reshape(images, [batch, height * width, channels])
    top, left = tf.floor(rows), tf.floor(columns)
    row_weights, column_weights = _cubic_weights(rows - top), _cubic_weights(columns - left)
    top, left = tf.cast(top, tf.int32), tf.cast(left, tf.int32)
    places = [tf.clip_by_value(left + offset, 0, width - 1) for offset in range(-1, 3)]
    result = tf.zeros([batch, *motion.rows.shape[1:], channels], images.dtype)
    for row_offset, row_weight in zip(range(-1, 3), row_weights, strict=True):
        start = tf.clip_by_value(top + row_offset, 0, height - 1) * width
        row = [
            weight[..., tf.newaxis] * tf.gather(pixels, start + place, batch_dims=1)
            for place, weight in zip(places, column_weights, strict=True)
        ]
        result += row_weight[..., tf.newaxis] * tf.add_n(row)
    return result


def _cubic_weights(part: tf.Tensor) -> list[tf.Tensor]:
    """Returns the weights of the four neighbors at -1, 0, 1 and 2, for a place `part` of the way from 0 to 1."""
    square = part * part
    cube = square * part
    return [
        (-cube + 2 * square - part) / 2,
        (3 * cube - 5 * square + 2) / 2,
        (-3 * cube + 4 * square + part) / 2,
        (cube - square) / 2,
    ]


class Stability:
    """The stability term of a training.

    weight: of the term, 0 or more, relative to the perceptual loss: the term is weight * perceptual loss * warping
        error / contrast of the picture, both as root mean squares. So one weight fits all styles and presets.
    seed: of the motions.
    """

    def __init__(self, weight: float, seed: int = 0):
        self.weight = weight
        self.seed = seed

    def seen_again(self, content: tf.Tensor, step: tf.Tensor) -> tuple[tf.Tensor, Motion]:
        """Returns the inside of photos [B, H, W, 3], as a camera sees it that has moved, and its motion.

        The result is [B, h, w, 3], RGB 0..255, see `random_motion`. Brightness changes a little, and there is noise.
        step: a number; each has motions of its own.
        """
        batch, height, width, _ = content.shape
        seed = tf.stack([tf.constant(self.seed, tf.int64), tf.cast(step, tf.int64)])
        motion = random_motion(batch, height, width, seed, content.dtype)
        changes = tf.random.stateless_uniform([2, batch, 1, 1, 1], seed + [1, 0], -1.0, 1.0, content.dtype)
        again = moved(content, motion)
        noise = tf.random.stateless_normal(again.shape, seed + [2, 0], dtype=content.dtype)
        again = tf.exp(BRIGHTNESS * changes[0]) * again + NOISE * tf.abs(changes[1]) * noise
        return tf.clip_by_value(again, 0.0, 255.0), motion

    def terms(
        self, stylized: tf.Tensor, stylized_again: tf.Tensor, motion: Motion, perceptual_loss: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Returns the weighted term "stability" and "warping_error", relative to the contrast; scalars.

        The pictures are [B, H, W, 3] and [B, h, w, 3]. The gradient reaches the second picture only: the first, of the
        photo without noise, is what the second has to be.
        """
        target = tf.stop_gradient(moved(stylized, motion))
        is_known = tf.cast(motion.is_known, target.dtype)
        error = _variance_of(stylized_again - target, is_known, about=0.0)
        unit = _variance_of(target, is_known, about=_mean_of_known(target, is_known))
        relative = tf.sqrt(tf.reduce_mean(error / tf.maximum(unit, LEAST_CONTRAST**2)) + LEAST_ERROR**2)
        scale = tf.stop_gradient(tf.cast(perceptual_loss, relative.dtype))
        return {"stability": self.weight * scale * relative, "warping_error": relative}


def _variance_of(images: tf.Tensor, is_known: tf.Tensor, about: tf.Tensor | float) -> tf.Tensor:
    """Returns the mean square of images [B, H, W, C] about a value where `is_known` is 1: [B]."""
    squares = _mean_of_known(tf.math.squared_difference(images, about), is_known)
    return tf.reduce_mean(squares, axis=(1, 2, 3))


def _mean_of_known(values: tf.Tensor, is_known: tf.Tensor) -> tf.Tensor:
    """Returns the mean of each channel of values [B, H, W, C] where `is_known` [B, H, W, 1] is 1: [B, 1, 1, C]."""
    total = tf.reduce_sum(is_known * values, axis=(1, 2), keepdims=True)
    return tf.math.divide_no_nan(total, tf.reduce_sum(is_known, axis=(1, 2), keepdims=True))

"""Stability in videos: pairs of pictures whose motion is known, made from still photos, and the loss on them.

A network paints each frame of a video anew. What it paints changes with the place of the picture on its grid of
strides, and with the noise of the camera, so the frames flicker. Here the network also sees every training photo a
second time, as a camera would that has moved a little. Its two pictures must differ by the same motion. No video and
no estimated flow is needed.

The consistency loss under a known motion with a masked border is that of Ruder et al. 2018,
https://arxiv.org/abs/1708.04538. The idea of adding noise to the second picture is Rainy's (2017). See
docs/deviations.md for the differences.
"""

import math
from typing import NamedTuple

import tensorflow as tf

SHIFT = 8.0  # pixels, in each direction; beyond the strides of the network, 4 pixels
ZOOM = 0.04  # natural logarithm of the factor
ROTATION = math.radians(2.0)
PERSPECTIVE = 0.02  # change of the scale from the middle of a picture to its border
BRIGHTNESS = 0.04  # natural logarithm of the factor
NOISE = 6.0  # levels of 0..255, largest standard deviation
MARGIN = 16  # pixels at the border that do not count: there a network sees its own padding
MARGIN_SHARE = 8  # the margin is at most one in so many pixels of a side
LEAST_ERROR = 1e-4  # of the contrast; below it the gradient of the root vanishes
# Standard deviation in levels. A picture with less, such as that of a new network, counts as if it had it.
LEAST_CONTRAST = 16.0


class Motion(NamedTuple):
    """Where each pixel of a moved picture comes from."""

    rows: tf.Tensor  # [B, H, W], places in the picture before the motion
    columns: tf.Tensor  # [B, H, W]
    is_known: tf.Tensor  # [B, H, W, 1], 1 where both pictures show the place away from their borders, else 0


def random_motion(
    batch: int, height: int, width: int, seed: tf.Tensor, dtype: tf.DType = tf.float32
) -> Motion:
    """Returns a motion of the camera for each of `batch` pictures: shift, zoom, rotation and perspective.

    seed: two integers; the same seed gives the same motions.
    """
    values = tf.random.stateless_uniform([6, batch, 1, 1], seed, -1.0, 1.0, dtype)
    down, right, zoom, turn, tilt_down, tilt_right = tf.unstack(values)
    rows, columns = tf.meshgrid(
        tf.range(height, dtype=dtype) - (height - 1) / 2,
        tf.range(width, dtype=dtype) - (width - 1) / 2,
        indexing="ij",
    )
    half = max(height, width) / 2
    depth = 1.0 + PERSPECTIVE * (tilt_down * rows + tilt_right * columns) / half
    scale, angle = tf.exp(ZOOM * zoom) / depth, ROTATION * turn
    from_rows = scale * (tf.cos(angle) * rows - tf.sin(angle) * columns) + SHIFT * down + (height - 1) / 2
    from_columns = scale * (tf.sin(angle) * rows + tf.cos(angle) * columns) + SHIFT * right + (width - 1) / 2
    return Motion(from_rows, from_columns, _is_known(from_rows, from_columns, height, width))


def _is_known(rows: tf.Tensor, columns: tf.Tensor, height: int, width: int) -> tf.Tensor:
    margin = min(MARGIN, height // MARGIN_SHARE, width // MARGIN_SHARE)
    inside = tf.pad(tf.ones([height - 2 * margin, width - 2 * margin], tf.bool), [[margin, margin]] * 2)
    comes_from_inside = (
        (rows >= margin)
        & (rows <= height - 1 - margin)
        & (columns >= margin)
        & (columns <= width - 1 - margin)
    )
    return tf.cast(inside & comes_from_inside, rows.dtype)[..., tf.newaxis]


def moved(images: tf.Tensor, motion: Motion) -> tf.Tensor:
    """Returns images [B, H, W, C] after a motion, by cubic interpolation; the edges are repeated.

    The cubic is that of Keys 1981. Linear interpolation would blur the strokes, and the network would learn to blur.
    """
    batch, height, width, channels = images.shape
    rows, columns = tf.cast(motion.rows, images.dtype), tf.cast(motion.columns, images.dtype)
    pixels = tf.reshape(images, [batch, height * width, channels])
    top, left = tf.floor(rows), tf.floor(columns)
    row_weights, column_weights = _cubic_weights(rows - top), _cubic_weights(columns - left)
    top, left = tf.cast(top, tf.int32), tf.cast(left, tf.int32)
    places = [tf.clip_by_value(left + offset, 0, width - 1) for offset in range(-1, 3)]
    result = tf.zeros_like(images)
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
        """Returns photos [B, H, W, 3], RGB 0..255, as a camera sees them that has moved, and its motion.

        Brightness changes a little, and there is noise. step: a number; each has motions of its own.
        """
        batch, height, width, _ = content.shape
        seed = tf.stack([tf.constant(self.seed, tf.int64), tf.cast(step, tf.int64)])
        motion = random_motion(batch, height, width, seed, content.dtype)
        changes = tf.random.stateless_uniform([2, batch, 1, 1, 1], seed + [1, 0], -1.0, 1.0, content.dtype)
        noise = tf.random.stateless_normal(content.shape, seed + [2, 0], dtype=content.dtype)
        again = tf.exp(BRIGHTNESS * changes[0]) * moved(content, motion) + NOISE * tf.abs(changes[1]) * noise
        return tf.clip_by_value(again, 0.0, 255.0), motion

    def terms(
        self, stylized: tf.Tensor, stylized_again: tf.Tensor, motion: Motion, perceptual_loss: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """Returns the weighted term "stability" and "warping_error", relative to the contrast; scalars.

        Both pictures are [B, H, W, 3]. The gradient reaches the second picture only: the first, of the photo without
        noise, is what the second has to be.
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

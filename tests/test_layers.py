"""The layers, compared with references: Keras for instance norm, NumPy for padding and upsampling."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from transformer.architecture import NORM_EPSILON, padded_side
from transformer.layers import (
    convolution,
    instance_norm,
    pad_to,
    reflected_indices,
    reflection_pad,
    upsample_nearest,
)

GENERATOR = np.random.default_rng(0)
FEATURE_MAP = GENERATOR.normal(3, 2, (3, 6, 5, 4)).astype(np.float32)
SCALE = GENERATOR.normal(1, 0.5, 4).astype(np.float32)
OFFSET = GENERATOR.normal(0, 0.5, 4).astype(np.float32)
UPSTREAM = GENERATOR.normal(0, 1, FEATURE_MAP.shape).astype(np.float32)

# Two code paths: the batch size is known while tracing, or it is not.
BATCH_SIZES = pytest.mark.parametrize("batch_size", [3, None], ids=["static", "unknown"])


def keras_instance_norm(feature_map: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    layer = keras.layers.GroupNormalization(
        groups=-1, epsilon=NORM_EPSILON, center=False, scale=False, dtype="float32"
    )
    return layer(feature_map) * scale + offset


def traced(function, batch_size: int | None):
    """Compiles `function` of (feature_map, scale, offset) for feature maps of that batch size."""
    signature = [
        tf.TensorSpec([batch_size, None, None, 4], tf.float32),
        tf.TensorSpec([4], tf.float32),
        tf.TensorSpec([4], tf.float32),
    ]
    return tf.function(function, input_signature=signature)


def gradients(function, feature_map: np.ndarray, upstream: np.ndarray) -> list[np.ndarray]:
    operands = [tf.constant(value) for value in (feature_map, SCALE, OFFSET)]
    with tf.GradientTape() as tape:
        tape.watch(operands)
        product = tf.reduce_sum(function(*operands) * upstream)
    return [gradient.numpy() for gradient in tape.gradient(product, operands)]


@BATCH_SIZES
def test_instance_norm_gives_the_values_of_keras(batch_size):
    expected = keras_instance_norm(FEATURE_MAP, SCALE, OFFSET)
    actual = traced(instance_norm, batch_size)(FEATURE_MAP, SCALE, OFFSET)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@BATCH_SIZES
def test_instance_norm_gives_the_gradients_of_keras(batch_size):
    expected = gradients(keras_instance_norm, FEATURE_MAP, UPSTREAM)
    actual = gradients(traced(instance_norm, batch_size), FEATURE_MAP, UPSTREAM)
    for ours, reference in zip(actual, expected, strict=True):
        np.testing.assert_allclose(ours, reference, rtol=1e-3, atol=1e-4)


@BATCH_SIZES
def test_instance_norm_uses_the_projects_epsilon_where_contrast_is_small(batch_size):
    faint = FEATURE_MAP * 0.01  # variance 4e-4, less than epsilon
    expected = keras_instance_norm(faint, SCALE, OFFSET)
    actual = traced(instance_norm, batch_size)(faint, SCALE, OFFSET)
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4)


@BATCH_SIZES
def test_instance_norm_treats_every_image_of_a_batch_alone(batch_size):
    together = traced(instance_norm, batch_size)(FEATURE_MAP, SCALE, OFFSET)
    alone = [instance_norm(tf.constant(image[np.newaxis]), SCALE, OFFSET)[0] for image in FEATURE_MAP]
    np.testing.assert_allclose(together, np.stack(alone), rtol=1e-4, atol=1e-5)


@BATCH_SIZES
def test_instance_norm_of_a_flat_map_is_the_offset_and_has_finite_gradients(batch_size):
    flat = np.full(FEATURE_MAP.shape, 7, np.float32)
    normalize = traced(instance_norm, batch_size)
    expected = np.broadcast_to(OFFSET, flat.shape)
    np.testing.assert_allclose(normalize(flat, SCALE, OFFSET), expected, atol=1e-4)
    assert all(np.isfinite(gradient).all() for gradient in gradients(normalize, flat, UPSTREAM))


@BATCH_SIZES
def test_instance_norm_keeps_bfloat16_and_stays_near_float32(batch_size):
    signature = [tf.TensorSpec([batch_size, None, None, 4], tf.bfloat16)]
    normalize = tf.function(lambda maps: instance_norm(maps, SCALE, OFFSET), input_signature=signature)
    actual = normalize(tf.cast(FEATURE_MAP, tf.bfloat16))
    assert actual.dtype == tf.bfloat16
    expected = keras_instance_norm(FEATURE_MAP, SCALE, OFFSET)
    np.testing.assert_allclose(tf.cast(actual, tf.float32), expected, atol=0.06)  # 8 bits of values up to 5


@pytest.mark.parametrize("size", [1, 4])
def test_reflection_pad_is_that_of_numpy(size):
    padding = [(0, 0), (size, size), (size, size), (0, 0)]
    expected = np.pad(FEATURE_MAP, padding, mode="reflect")
    np.testing.assert_array_equal(reflection_pad(tf.constant(FEATURE_MAP), size), expected)


@pytest.mark.parametrize("length", [1, 2, 3, 7, 8])
def test_reflected_indices_are_those_of_numpy_even_for_several_reflections(length):
    for padded_length in range(length, 4 * length + 12):
        expected = np.pad(np.arange(length), (0, padded_length - length), mode="reflect")
        np.testing.assert_array_equal(reflected_indices(length, padded_length), expected)


@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (1, 7), (2, 2), (3, 8), (5, 3), (8, 8), (13, 22), (33, 47)]
)
def test_pad_to_extends_by_reflection_at_the_bottom_and_the_right(height, width):
    images = GENERATOR.uniform(0, 255, (2, height, width, 3)).astype(np.float32)
    padding = [(0, 0), (0, padded_side(height) - height), (0, padded_side(width) - width), (0, 0)]
    actual = pad_to(tf.constant(images), padded_side(height), padded_side(width))
    np.testing.assert_array_equal(actual, np.pad(images, padding, mode="reflect"))


def test_pad_to_may_reflect_more_than_once():
    images = GENERATOR.uniform(0, 255, (1, 2, 3, 3)).astype(np.float32)
    expected = np.pad(images, [(0, 0), (0, 9), (0, 17), (0, 0)], mode="reflect")
    np.testing.assert_array_equal(pad_to(tf.constant(images), 11, 20), expected)


@pytest.mark.parametrize("side", range(1, 40))
def test_padded_side_is_the_next_multiple_of_four_and_at_least_eight(side):
    expected = min(multiple for multiple in range(8, 44, 4) if multiple >= side)
    assert padded_side(side) == expected


@pytest.mark.parametrize("factor", [2, 3])
def test_upsampling_is_that_of_numpy(factor):
    expected = FEATURE_MAP.repeat(factor, axis=1).repeat(factor, axis=2)
    np.testing.assert_array_equal(upsample_nearest(tf.constant(FEATURE_MAP), factor), expected)


@pytest.mark.parametrize("stride", [1, 2])
def test_convolution_is_a_sum_over_the_reflected_neighborhood(stride):
    kernel = GENERATOR.normal(0, 1, (3, 3, 4, 2)).astype(np.float32)
    padded = np.pad(FEATURE_MAP, [(0, 0), (1, 1), (1, 1), (0, 0)], mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))  # [B, H, W, C, 3, 3]
    expected = np.einsum("bhwcij,ijcd->bhwd", windows, kernel)[:, ::stride, ::stride]
    actual = convolution(tf.constant(FEATURE_MAP), tf.constant(kernel), stride)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def convolution_and_gradients(images: np.ndarray, kernel: np.ndarray, stride: int) -> list[tf.Tensor]:
    images, kernel = tf.constant(images), tf.constant(kernel)
    with tf.GradientTape() as tape:
        tape.watch([images, kernel])
        convolved = convolution(images, kernel, stride)
        value = tf.reduce_sum(tf.sin(convolved))
    return [convolved, *tape.gradient(value, [images, kernel])]


# 32 rows are two bands of rows; with 19 rows, and with 64 channels, the map is taken as a whole
@pytest.mark.parametrize("batch, height, channels", [(1, 32, 4), (3, 48, 4), (1, 19, 4), (2, 32, 64)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [3, 5])
def test_fast_gradients_are_those_of_tensorflow(monkeypatch, batch, height, channels, stride, size):
    generator = np.random.default_rng(3)
    images = generator.normal(size=(batch, height, 12, channels)).astype(np.float32)
    kernel = generator.normal(0, 0.3, (size, size, channels, channels)).astype(np.float32)
    results = []
    for bits in (0, 256):
        monkeypatch.setattr("transformer.layers.vector_bits", lambda bits=bits: bits)
        results.append(convolution_and_gradients(images, kernel, stride))
    for plain, fast in zip(*results, strict=True):
        np.testing.assert_allclose(fast, plain, rtol=0, atol=2e-5 * np.abs(plain).max())


@pytest.mark.parametrize("size", [1, 4])
def test_the_gradient_of_reflection_padding_of_known_sides_is_that_of_tensorflow(size):
    images = tf.constant(np.random.default_rng(0).normal(size=(2, 9, 7, 3)), tf.float32)
    upstream = tf.constant(
        np.random.default_rng(1).normal(size=(2, 9 + 2 * size, 7 + 2 * size, 3)), tf.float32
    )
    around = [[0, 0], [size, size], [size, size], [0, 0]]
    gradients = []
    for pad in (lambda x: reflection_pad(x, size), lambda x: tf.pad(x, around, mode="REFLECT")):
        with tf.GradientTape() as tape:
            tape.watch(images)
            padded = pad(images)
        gradients.append(tape.gradient(padded, images, upstream))
    np.testing.assert_allclose(gradients[0], gradients[1], rtol=1e-6)

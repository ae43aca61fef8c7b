"""The ways to compute a frozen convolution: all are TensorFlow's conv2d, and each CPU gets the one for it."""

import numpy as np
import pytest
import tensorflow as tf

from loss_net.convolution import frozen_convolution, winograd_convolution

SHAPES = [(1, 16, 16), (2, 19, 22), (1, 1, 1), (1, 3, 5), (3, 4, 9)]  # batch, height, width


def random_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)


def random_kernel(channels: int, filters: int) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(3, 3, channels, filters)).astype(np.float32)


def value_and_gradient(convolution, feature_map: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    @tf.function
    def compute(feature_map):
        convolved = convolution(feature_map)
        return convolved, tf.gradients(tf.reduce_sum(tf.sin(convolved)), feature_map)[0]

    return tuple(result.numpy() for result in compute(tf.constant(feature_map)))


@pytest.fixture
def cpu(monkeypatch):
    """A function that fakes a CPU with vectors of 0, 256 or 512 bits; few channels count as many."""
    monkeypatch.setattr("loss_net.convolution.TRANSPOSED_FROM_CHANNELS", 4)
    monkeypatch.setattr("loss_net.convolution.WINOGRAD_FROM_CHANNELS", (4, 6))
    return lambda bits: monkeypatch.setattr("loss_net.convolution.vector_bits", lambda: bits)


@pytest.mark.parametrize("bits", [0, 256, 512])
@pytest.mark.parametrize("channels, filters", [(2, 3), (4, 6), (6, 4)])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_cpu_computes_conv2d_and_its_gradient(cpu, bits, channels, filters, shape):
    cpu(bits)
    kernel, feature_map = random_kernel(channels, filters), random_images(*shape, channels) / 255
    plain = value_and_gradient(lambda x: tf.nn.conv2d(x, kernel, 1, "SAME"), feature_map)
    fast = value_and_gradient(frozen_convolution(kernel, tf.float32), feature_map)
    for expected, actual in zip(plain, fast, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=0, atol=2e-5 * np.abs(expected).max())


def operations(convolution, shape=(1, 8, 8, 4)) -> set[str]:
    """Returns the types of the operations of value and gradient."""

    def value_and_slope(feature_map):
        return tf.gradients(tf.reduce_sum(tf.square(convolution(feature_map))), feature_map)

    graph = tf.function(value_and_slope).get_concrete_function(tf.TensorSpec(shape)).graph
    return {operation.type for operation in graph.get_operations()}


def test_each_cpu_gets_the_fast_operations(cpu):
    kernel = random_kernel(4, 6)
    cpu(512)
    assert "Conv2D" not in operations(frozen_convolution(kernel, tf.float32))
    cpu(256)
    assert not {"Conv2D", "Conv2DBackpropInput"} & operations(frozen_convolution(kernel, tf.float32))
    small = operations(frozen_convolution(random_kernel(4, 5), tf.float32))
    assert "Conv2D" in small and "Conv2DBackpropInput" not in small
    cpu(0)
    assert "Conv2D" not in operations(frozen_convolution(kernel, tf.float32))
    small = operations(frozen_convolution(random_kernel(3, 6), tf.float32), (1, 8, 8, 3))
    assert {"Conv2D", "Conv2DBackpropInput"} <= small


def test_winograd_is_left_where_the_size_is_not_known(cpu):
    cpu(256)
    assert "Conv2D" in operations(frozen_convolution(random_kernel(4, 6), tf.float32), (1, None, None, 4))


@pytest.mark.parametrize("dtype", [tf.bfloat16, tf.float64])
@pytest.mark.parametrize("bits", [256, 512])
def test_other_types_keep_conv2d(cpu, bits, dtype):
    cpu(bits)
    convolution = frozen_convolution(random_kernel(4, 6), dtype)
    assert convolution(tf.ones([1, 8, 8, 4], dtype)).dtype == dtype

    def slope(feature_map):
        return tf.gradients(tf.reduce_sum(convolution(feature_map)), feature_map)

    graph = tf.function(slope).get_concrete_function(tf.TensorSpec([1, 8, 8, 4], dtype)).graph
    assert {"Conv2D", "Conv2DBackpropInput"} <= {operation.type for operation in graph.get_operations()}


def test_winograd_stays_near_float64_with_the_channels_of_vgg():
    kernel = random_kernel(512, 8) / 68
    feature_map = random_images(1, 8, 8, 512)
    exact = tf.nn.conv2d(tf.cast(feature_map, tf.float64), tf.cast(kernel, tf.float64), 1, "SAME").numpy()
    error = np.abs(tf.function(winograd_convolution(kernel))(tf.constant(feature_map)).numpy() - exact)
    assert 0 < error.max() <= 1e-5 * np.abs(exact).max()

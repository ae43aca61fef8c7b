"""The network as a whole: sizes, costs, its first output, precision, and crops without any contrast."""

import math

import numpy as np
import pytest
import tensorflow as tf

from transformer.architecture import Architecture
from transformer.network import Transformer, initial_parameters

TINY = Architecture(width=0.125, residual_blocks=1)
FULL_DEPTH = Architecture(width=0.125, residual_blocks=5)
SIZES = [(1, 1), (1, 7), (7, 1), (2, 2), (5, 3), (8, 8), (13, 22), (33, 47)]


@pytest.fixture(scope="module")
def stylize():
    """The untrained tiny network, compiled once for all batch sizes and image sizes."""
    signature = [tf.TensorSpec([None, None, None, 3], tf.float32)]
    return tf.function(Transformer(TINY), input_signature=signature)


def random_images(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 255, shape).astype(np.float32)


@pytest.mark.parametrize("batch_size", [1, 3])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_stylized_images_have_exactly_the_size_of_the_images(stylize, height, width, batch_size):
    stylized = stylize(random_images(batch_size, height, width, 3)).numpy()
    assert stylized.shape == (batch_size, height, width, 3)
    assert stylized.dtype == np.float32
    assert np.isfinite(stylized).all()


def test_each_image_of_a_batch_is_stylized_as_if_alone(stylize):
    images = random_images(3, 16, 20, 3)
    alone = np.concatenate([stylize(image[np.newaxis]) for image in images])
    np.testing.assert_allclose(stylize(images), alone, atol=0.05)


def test_a_known_batch_size_gives_the_same_as_an_unknown_one(stylize):
    images = random_images(2, 16, 20, 3)
    np.testing.assert_allclose(Transformer(TINY)(tf.constant(images)), stylize(images), atol=0.05)


def test_an_odd_size_is_stylized_like_its_extension_by_reflection(stylize):
    images = random_images(1, 13, 22, 3)
    extended = np.pad(images, [(0, 0), (0, 3), (0, 2), (0, 0)], mode="reflect")
    np.testing.assert_allclose(stylize(images), stylize(extended)[:, :13, :22], atol=0.05)


def test_the_full_network_has_the_parameters_of_the_papers():
    shapes = Architecture(width=1, residual_blocks=5).parameter_shapes()
    assert sum(math.prod(shape) for shape in shapes.values()) == pytest.approx(1.68e6, rel=0.02)


@pytest.mark.parametrize(("width", "expected"), [(1, 10.1e9), (0.5, 2.8e9)])
def test_the_multiply_adds_are_those_counted_for_256_pixels(width, expected):
    assert Architecture(width, 5, outer_kernel=9).multiply_adds(256, 256) == pytest.approx(expected, rel=0.02)


def test_the_network_has_exactly_the_parameters_of_its_architecture():
    for architecture in (TINY, FULL_DEPTH, Architecture(0.25, 0)):
        shapes = {name: tuple(value.shape) for name, value in Transformer(architecture).parameters.items()}
        assert shapes == architecture.parameter_shapes()


def test_every_parameter_changes_the_stylized_image(varied_network):
    network = varied_network(1, residual_blocks=5)
    images = tf.constant(random_images(1, 16, 16, 3))
    with tf.GradientTape() as tape:
        error = tf.reduce_mean(tf.square(network(images) - images))
    for name, gradient in tape.gradient(error, network.parameters).items():
        assert gradient is not None and np.any(gradient.numpy()), name


@pytest.mark.parametrize("width", [0, -1, 5, float("nan")])
def test_a_width_out_of_range_is_refused_by_its_value(width):
    with pytest.raises(ValueError, match=f"width .* got {width}"):
        Architecture(width=width)


def test_a_negative_number_of_residual_blocks_is_refused():
    with pytest.raises(ValueError, match=r"residual_blocks .* got -1"):
        Architecture(residual_blocks=-1)


@pytest.mark.parametrize("side", [1, 4, 11])
def test_an_outer_kernel_that_no_graph_of_ours_has_is_refused(side):
    with pytest.raises(ValueError, match=rf"outer_kernel must be one of 3, 5, 7, 9, got {side}"):
        Architecture(outer_kernel=side)


@pytest.mark.parametrize("architecture", [TINY, Architecture(0.5, 5)], ids=["tiny", "half width"])
@pytest.mark.parametrize("kind", ["white", "black", "random"])
def test_the_untrained_output_is_far_from_saturation(architecture, kind):
    images = {
        "white": np.full((1, 32, 32, 3), 255, np.float32),
        "black": np.zeros((1, 32, 32, 3), np.float32),
        "random": random_images(1, 32, 32, 3),
    }[kind]
    stylized = Transformer(architecture, seed=3)(tf.constant(images)).numpy()
    activation = (stylized - 127.5) / 150  # the tanh
    assert np.abs(activation).max() < 0.9
    assert np.abs(activation).mean() < 0.3


def test_one_seed_gives_one_set_of_weights():
    first, again, other = (initial_parameters(TINY, seed) for seed in (5, 5, 6))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["encoder/conv1/kernel"], other["encoder/conv1/kernel"])


@pytest.mark.parametrize("residual_blocks", [1, 5])
def test_bfloat16_stays_near_float32(residual_blocks):
    architecture = Architecture(0.25, residual_blocks)
    images = tf.constant(random_images(1, 32, 32, 3))
    exact = Transformer(architecture)(images).numpy()
    rounded = Transformer(architecture, compute_dtype=tf.bfloat16)(images)
    assert rounded.dtype == tf.float32
    error = np.abs(rounded.numpy() - exact)
    assert 0 < error.mean() < 2 and error.max() < 12  # of 255

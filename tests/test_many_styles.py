"""The network of many styles: shared kernels, rows of its own for each style, and the order of the styles."""

import numpy as np
import pytest
import tensorflow as tf

from transformer.architecture import Architecture
from transformer.export.base_folder import Base, is_of_style
from transformer.network import stylize
from transformer.training.many_styles import ManyStyles, best_style, style_of_step

TINY = Architecture(width=0.125, residual_blocks=1)
IMAGES = np.random.default_rng(5).uniform(0, 255, (1, 16, 16, 3)).astype(np.float32)


@pytest.fixture
def network():
    network = ManyStyles(TINY, styles=3)
    generator = np.random.default_rng(1)
    for variable in network.parameters.values():
        variable.assign_add(0.1 * generator.normal(size=variable.shape).astype(np.float32))
    return network


def test_each_style_is_an_ordinary_network_with_its_own_row(network):
    for style in range(3):
        parameters = {
            name: value[style] if is_of_style(name) else value.value()
            for name, value in network.parameters.items()
        }
        expected = stylize(IMAGES, parameters, TINY)
        np.testing.assert_allclose(network(IMAGES, tf.constant(style)), expected, atol=1e-3)


def test_a_step_of_one_style_leaves_the_rows_of_the_others_alone(network):
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(network(IMAGES, tf.constant(1)))
    gradients = tape.gradient(total, network.parameters)
    for name, gradient in gradients.items():
        assert isinstance(gradient, tf.Tensor)
        if is_of_style(name):
            np.testing.assert_array_equal(np.delete(gradient, 1, axis=0), 0)
    assert np.abs(gradients["decoder/conv3/bias"][1]).min() > 0
    assert np.abs(gradients["encoder/conv1/kernel"]).max() > 0


def test_all_hidden_kernels_are_shared(network):
    assert [tuple(kernel.shape) for kernel in network.hidden_kernels] == [
        TINY.parameter_shapes()[f"{spec.name}/kernel"] for spec in TINY.convolutions[:-1]
    ]


def test_every_pass_trains_every_style_once_in_an_order_of_its_own():
    passes = [
        [int(style_of_step(tf.constant(step), 7, 0)) for step in range(first, first + 7)] for first in (0, 7)
    ]
    assert sorted(passes[0]) == sorted(passes[1]) == list(range(7))
    assert passes[0] != passes[1]
    other_seed = [int(style_of_step(tf.constant(step), 7, 1)) for step in range(7)]
    assert other_seed != passes[0]


@pytest.mark.parametrize(("wanted", "best"), [(10.0, 0), (240.0, 2)])
def test_the_best_style_has_the_lowest_mean_loss_over_all_photos(network, wanted, best):
    parameters = {name: variable.numpy() for name, variable in network.parameters.items()}
    parameters["decoder/conv3/bias"] = np.array([[-2.0] * 3, [0.0] * 3, [2.0] * 3], np.float32)
    base = Base(TINY, ("dark", "grey", "bright"), parameters)

    def loss(stylized, content):
        return {"total": tf.abs(tf.reduce_mean(stylized) - wanted)}

    assert best_style(base, [IMAGES[0], 255 - IMAGES[0]], loss) == best


def test_without_any_finite_loss_no_style_is_the_best(network):
    parameters = {name: variable.numpy() for name, variable in network.parameters.items()}
    with pytest.raises(FloatingPointError, match="--start-from none"):
        best_style(
            Base(TINY, ("a", "b", "c"), parameters), [IMAGES[0]], lambda *_: {"total": tf.constant(np.nan)}
        )

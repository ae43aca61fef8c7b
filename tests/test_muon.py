"""Muon: the orthogonalized momentum against a decomposition, and what it does to a training."""

import numpy as np
import pytest
import tensorflow as tf

from transformer.training.hyperparameters import MOMENTUM, MUON_RATE
from transformer.training.muon import muon_directions, orthogonalized
from transformer.training.optimizer import Optimizer, learning_rate_schedule

USABLE = tf.constant(True)


def matrices(shape: tuple[int, ...], scale: float = 1.0) -> tf.Tensor:
    return tf.constant(scale * np.random.default_rng(3).normal(size=shape), tf.float32)


@pytest.mark.parametrize("shape", [(2, 5, 3), (1, 3, 5), (3, 4, 4), (1, 576, 64), (1, 6, 1)])
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_the_singular_vectors_stay_and_the_singular_values_come_near_1(shape, scale):
    values = matrices(shape, scale)
    before, after = np.linalg.svd(values, full_matrices=False), np.linalg.svd(orthogonalized(values))
    exact = before.U @ before.Vh
    cosine = np.sum(exact * orthogonalized(values), axis=(1, 2)) / (
        np.linalg.norm(exact, axis=(1, 2)) * np.linalg.norm(orthogonalized(values), axis=(1, 2))
    )
    assert after.S.max() < 1.25 and after.S.min() > 0.3
    assert cosine.min() > 0.97


def test_a_kernel_without_momentum_stays_where_it_is():
    np.testing.assert_array_equal(orthogonalized(tf.zeros([2, 3, 4])), 0)


def test_each_kernel_gets_its_own_direction_whatever_the_others_are():
    shapes = [tf.TensorShape(shape) for shape in ((3, 3, 4, 6), (3, 3, 6, 6), (3, 3, 4, 6))]
    rows = [
        tf.reshape(matrices((shape.num_elements(),)) * factor + index, [-1])
        for index, (shape, factor) in enumerate(zip(shapes, (1, 5, -2), strict=True))
    ]
    together = muon_directions(rows, shapes)
    for row, shape, direction in zip(rows, shapes, together, strict=True):
        (alone,) = muon_directions([row], [shape])
        np.testing.assert_allclose(direction, alone, rtol=1e-4, atol=1e-6)


def test_the_outputs_of_a_wide_and_a_narrow_kernel_change_by_the_same():
    for shape in ((3, 3, 4, 8), (3, 3, 64, 8)):
        count = int(np.prod(shape))
        (direction,) = muon_directions([matrices((count,))], [tf.TensorShape(shape)])
        norms = np.linalg.norm(np.reshape(direction, [-1, 8]), axis=0)  # one for each output channel
        np.testing.assert_allclose(norms / np.sqrt(count / 64), 1.0, atol=0.35)


def test_kernels_move_along_nesterov_momentum_and_the_rest_as_with_adam():
    kernel, offset = tf.Variable(matrices((1, 1, 3, 2))), tf.Variable(tf.zeros([2]))
    alone = tf.Variable(tf.zeros([2]))
    start = kernel.numpy()
    both = Optimizer([kernel, offset], kernels=[kernel], learning_rate=0.01, steps=40)
    adam = Optimizer([alone], learning_rate=0.01, steps=40)
    gradients = [matrices((8,)) * factor for factor in (1.0, -3.0)]
    momentum, expected = 0, start.reshape(3, 2)
    for step, gradient in enumerate(gradients):
        both.apply(gradient, USABLE)
        adam.apply(gradient[6:], USABLE)
        momentum = MOMENTUM * momentum + gradient[:6]
        direction = orthogonalized(tf.reshape(gradient[:6] + MOMENTUM * momentum, [1, 3, 2]))[0]
        expected = (
            expected - MUON_RATE * float(learning_rate_schedule(0.01, 40)(step)) * np.sqrt(1.5) * direction
        )
    np.testing.assert_allclose(kernel.numpy().reshape(3, 2), expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(offset, alone, rtol=1e-3, atol=1e-7)  # epsilon depends on all gradients


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_changes_neither_kernel_nor_momentum(value):
    kernel = tf.Variable(matrices((1, 1, 3, 2)))
    optimizer = Optimizer([kernel], kernels=[kernel], learning_rate=0.01, steps=40)
    optimizer.apply(matrices((6,)), USABLE)
    before = [variable.numpy() for variable in (kernel, optimizer.variables["first_moment"])]
    optimizer.apply(tf.constant([1, 2, 3, value, 5, 6], tf.float32), USABLE)
    for old, variable in zip(before, (kernel, optimizer.variables["first_moment"]), strict=True):
        np.testing.assert_array_equal(old, variable.numpy())


def test_losses_of_any_size_move_kernels_by_the_same():
    moved = []
    for scale in (1e-12, 1.0, 1e9):
        kernel = tf.Variable(matrices((1, 1, 4, 4)))
        optimizer = Optimizer([kernel], kernels=[kernel], learning_rate=0.01, steps=40)
        for step in range(3):
            optimizer.apply(matrices((16,), scale) * (step + 1), USABLE)
        moved.append(kernel.numpy())
    np.testing.assert_allclose(moved[0], moved[1], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(moved[2], moved[1], rtol=1e-4, atol=1e-6)

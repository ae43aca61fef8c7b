"""transformer/training/lattice.py: a loss on weaves with the period of the network's strides, and on nothing else."""

import numpy as np
import pytest
import tensorflow as tf
from test_step import color_swap_loss, photo_batch

from transformer.architecture import SIDE_MULTIPLE, Architecture
from transformer.network import Transformer
from transformer.training.hyperparameters import LATTICE_WINDOW as WINDOW
from transformer.training.lattice import lattice_share, lattice_term
from transformer.training.optimizer import Optimizer
from transformer.training.step import build_training_step

SIDE = 2 * WINDOW


def strokes(height: int = SIDE, width: int = SIDE, seed: int = 0) -> np.ndarray:
    """Random colors without a period, [1, height, width, 3]."""
    return np.random.default_rng(seed).normal(128, 40, (1, height, width, 3)).astype(np.float32)


def weave(period: int, levels: float, height: int = SIDE, width: int = SIDE) -> np.ndarray:
    """Stripes that repeat after `period` rows, [1, height, width, 1]; their root mean square is `levels`."""
    row = np.sin(2 * np.pi * np.arange(height) / period) * np.sqrt(2) * levels
    return np.broadcast_to(row[np.newaxis, :, np.newaxis, np.newaxis], (1, height, width, 1)).astype(
        np.float32
    )


def share_of(images: np.ndarray) -> float:
    return float(lattice_share(tf.constant(images)))


@pytest.mark.parametrize("levels", [10.0, 20.0])
def test_the_share_of_a_weave_is_its_contrast_in_that_of_the_picture(levels):
    expected = levels / np.hypot(40, levels)
    assert share_of(strokes() + weave(SIDE_MULTIPLE, levels)) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("period", [3, 5, 7, 16, 32])
def test_patterns_of_other_periods_cost_next_to_nothing(period):
    assert share_of(strokes() + weave(period, 20)) < share_of(strokes()) + 0.03


def test_pictures_without_a_weave_cost_next_to_nothing():
    assert share_of(strokes()) < 0.08
    assert share_of(np.full((1, SIDE, SIDE, 3), 70.0, np.float32)) < 1e-3


def test_a_weave_that_turns_around_between_windows_counts():
    opposed = weave(SIDE_MULTIPLE, 20)
    opposed = np.concatenate([opposed[:, :, :WINDOW], -opposed[:, :, WINDOW:]], axis=2)
    assert share_of(strokes() + opposed) > 0.3


@pytest.mark.parametrize(("height", "width"), [(8, 8), (30, 50), (65, 131), (96, 128)])
def test_any_size_has_a_share(height, width):
    plain = np.full((1, height, width, 3), 128, np.float32)
    assert share_of(plain) < 1e-3
    assert share_of(plain + weave(SIDE_MULTIPLE, 20, height, width)) > 0.5


def test_the_share_is_a_mean_over_images():
    woven = strokes() + weave(SIDE_MULTIPLE, 20)
    both = np.concatenate([woven, strokes(seed=1)])
    assert share_of(both) == pytest.approx(
        np.sqrt((share_of(woven) ** 2 + share_of(strokes(seed=1)) ** 2) / 2), rel=1e-3
    )


def test_the_gradient_weakens_the_weave_and_leaves_the_contrast():
    images = tf.Variable(strokes() + weave(SIDE_MULTIPLE, 20))
    before = share_of(images.numpy())
    with tf.GradientTape() as tape:
        share = lattice_share(images)
    step = tape.gradient(share, images)
    changed = images - step * 5 / tf.sqrt(tf.reduce_mean(tf.square(step)))
    assert share_of(changed.numpy()) < before - 0.05
    assert np.std(strokes() + weave(SIDE_MULTIPLE, 15)) == pytest.approx(np.std(changed.numpy()), rel=0.03)


def test_flat_pictures_have_a_finite_gradient():
    flat = tf.Variable(tf.fill([1, SIDE, SIDE, 3], 200.0))
    with tf.GradientTape() as tape:
        share = lattice_share(flat)
    assert np.isfinite(tape.gradient(share, flat)).all()


def test_the_term_is_relative_to_the_perceptual_loss():
    images = tf.constant(strokes() + weave(SIDE_MULTIPLE, 20))
    terms = [float(lattice_term(images, tf.constant(loss))) for loss in (5.0, 50.0)]
    assert terms[1] == pytest.approx(10 * terms[0]) and terms[0] == pytest.approx(
        5 * share_of(images.numpy())
    )


@pytest.mark.parametrize("has_lattice_term", [False, True])
def test_a_training_reports_the_term_as_part_of_the_total(has_lattice_term):
    network = Transformer(Architecture(width=0.125, residual_blocks=1), seed=0)
    optimizer = Optimizer(list(network.parameters.values()), learning_rate=1e-3, steps=100)
    step = build_training_step(network, color_swap_loss, optimizer, has_lattice_term=has_lattice_term)
    stylized = network(photo_batch(0, size=64))
    terms = step(photo_batch(0, size=64))
    perceptual = float(color_swap_loss(stylized, photo_batch(0, size=64))["total"])
    expected = perceptual * share_of(stylized.numpy()) if has_lattice_term else 0
    assert float(terms["total"]) == pytest.approx(perceptual + expected, rel=1e-4)
    assert ("lattice" in terms) is has_lattice_term
    if has_lattice_term:
        assert float(terms["lattice"]) == pytest.approx(expected, rel=1e-3)

"""The optimizer: Keras' Adam as the reference, its learning rate, gradient clipping, skipped gradients."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from transformer.training.optimizer import (
    DECAY_SHARE,
    NORM_SETTLED,
    WARMUP_STEPS,
    Optimizer,
    learning_rate_schedule,
)

SHAPES = ((3, 4), (5,), (2, 2, 2))
USABLE = tf.constant(True)


def parameters(seed: int = 0) -> list[tf.Variable]:
    generator = np.random.default_rng(seed)
    return [tf.Variable(generator.normal(size=shape).astype(np.float32)) for shape in SHAPES]


def gradients(step: int, scale: float = 1.0) -> list[np.ndarray]:
    generator = np.random.default_rng((7, step))
    return [(scale * generator.normal(size=shape)).astype(np.float32) for shape in SHAPES]


def flat(values) -> tf.Tensor:
    return tf.concat([tf.reshape(value, [-1]) for value in values], axis=0)


class KerasSchedule(tf.keras.optimizers.schedules.LearningRateSchedule):
    def __init__(self, *arguments):
        self.rate = learning_rate_schedule(*arguments)

    def __call__(self, step):
        return tf.cast(self.rate(step), tf.float32)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e6])
def test_the_updates_are_those_of_keras_adam(scale):
    own, theirs = parameters(), parameters()
    optimizer = Optimizer(own, learning_rate=0.01, steps=40)
    adam = tf.keras.optimizers.Adam(KerasSchedule(0.01, 40), epsilon=1e-19)
    adam.build(theirs)
    for step in range(20):
        optimizer.apply(flat(gradients(step, scale)), USABLE)
        adam.apply([tf.constant(value) for value in gradients(step, scale)], theirs)
    for mine, other in zip(own, theirs, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-4)  # a hundredth of the rate


def test_losses_of_any_size_give_the_same_updates():
    """Adam's usual epsilon stops it where gradients are of its size, as in presets with small weights."""
    moved = []
    for scale in (1e-12, 1.0, 1e9):
        own = parameters()
        optimizer = Optimizer(own, learning_rate=0.01, steps=40)
        for step in range(5):
            optimizer.apply(flat(gradients(step, scale)), USABLE)
        moved.append(flat(own))
    np.testing.assert_allclose(moved[0], moved[1], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(moved[2], moved[1], rtol=1e-4, atol=1e-6)


@functools.cache
def settled_values() -> list[np.ndarray]:
    """Parameters and variables after NORM_SETTLED equal gradients, none of which is clipped."""
    optimizer = Optimizer(parameters(), learning_rate=0.01, steps=200, clip_factor=2.0)
    for _ in range(NORM_SETTLED):
        optimizer.apply(flat(gradients(0)), USABLE)
    return [variable.numpy() for variable in (*optimizer.parameters, *optimizer.variables.values())]


def settled(clip_factor: float) -> Optimizer:
    optimizer = Optimizer(parameters(), learning_rate=0.01, steps=200, clip_factor=clip_factor)
    variables = (*optimizer.parameters, *optimizer.variables.values())
    for variable, value in zip(variables, settled_values(), strict=True):
        variable.assign(value)
    return optimizer


def norm_of(values) -> float:
    return float(tf.linalg.norm(flat(values)))


def test_the_mean_norm_is_that_of_the_gradients():
    assert float(settled(2.0).variables["mean_norm"]) == pytest.approx(norm_of(gradients(0)), rel=1e-4)


@pytest.mark.parametrize(("clip_factor", "counted"), [(2.0, 2.0), (0.0, 1000.0), (5000.0, 1000.0)])
def test_a_long_gradient_is_clipped_to_the_clip_factor_times_the_mean_norm(clip_factor, counted):
    optimizer = settled(clip_factor)
    moment = optimizer.variables["first_moment"].numpy()
    update = optimizer.apply(flat(gradients(0, 1000.0)), USABLE)
    added = (optimizer.variables["first_moment"].numpy() - 0.9 * moment) / 0.1
    np.testing.assert_allclose(added, counted * flat(gradients(0)).numpy(), rtol=1e-3)
    assert float(update["gradient_norm"]) == pytest.approx(
        1000 * norm_of(gradients(0)), rel=1e-4
    )  # unclipped


def test_a_clipped_gradient_raises_the_mean_norm_only_by_its_clipped_length():
    optimizer = settled(2.0)
    mean = float(optimizer.variables["mean_norm"])
    optimizer.apply(flat(gradients(0, 1e6)), USABLE)
    assert mean < float(optimizer.variables["mean_norm"]) < 1.05 * mean


def test_nothing_is_clipped_before_the_mean_has_settled():
    optimizer = Optimizer(parameters(), learning_rate=0.01, steps=200, clip_factor=2.0)
    optimizer.apply(flat(gradients(0)), USABLE)
    moment = optimizer.variables["first_moment"].numpy()
    optimizer.apply(flat(gradients(0, 100.0)), USABLE)
    added = (optimizer.variables["first_moment"].numpy() - 0.9 * moment) / 0.1
    np.testing.assert_allclose(added, 100 * flat(gradients(0)).numpy(), rtol=1e-3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_is_skipped(value):
    optimizer = settled(2.0)
    before = flat(optimizer.parameters).numpy()
    bad = flat(gradients(0)).numpy()
    bad[3] = value
    update = optimizer.apply(tf.constant(bad), USABLE)
    np.testing.assert_array_equal(flat(optimizer.parameters), before)
    assert (update["skipped"], update["skipped_in_a_row"]) == (1, 1)
    assert np.isfinite(float(optimizer.variables["mean_norm"]))


def test_the_learning_rate_climbs_to_its_peak_stays_and_falls_to_zero():
    schedule = tf.function(learning_rate_schedule(2e-3, 1000))
    rates = np.array([float(schedule(tf.constant(step))) for step in range(1001)])
    falls_from = round(1000 * (1 - DECAY_SHARE))
    assert 0 < rates[0] < 1e-4 and np.all(np.diff(rates[:WARMUP_STEPS]) > 0)
    np.testing.assert_allclose(rates[WARMUP_STEPS : falls_from + 1], 2e-3)
    assert np.all(np.diff(rates[falls_from:]) < 0)
    assert rates[(1000 + falls_from) // 2] == pytest.approx(1e-3)  # a line is at half its height half-way
    assert rates[-1] == 0


@pytest.mark.parametrize("steps", [1, 5, 19])
def test_a_short_training_has_a_rate_above_zero_at_every_step(steps):
    schedule = learning_rate_schedule(1e-3, steps)
    assert all(0 < float(schedule(step)) <= 1.0001e-3 for step in range(steps))


def test_a_step_returns_the_learning_rate_that_it_used():
    optimizer = Optimizer(parameters(), learning_rate=1e-3, steps=100)
    rates = [float(optimizer.apply(flat(gradients(0)), USABLE)["learning_rate"]) for _ in range(2)]
    assert rates == pytest.approx([float(learning_rate_schedule(1e-3, 100)(step)) for step in range(2)])
    assert rates[0] != rates[1]


def test_a_lowered_rate_stays_lowered():
    optimizer = Optimizer(parameters(), learning_rate=1e-3, steps=100)
    full = float(optimizer.learning_rate)
    optimizer.lower_rate(0.5)
    optimizer.lower_rate(0.5)
    assert float(optimizer.learning_rate) == pytest.approx(full / 4)

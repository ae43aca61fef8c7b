"""The training loop: it learns, its rate rises and falls, and neither flat crops nor NaN ruin it."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from loss_net.losses import total_variation_loss
from transformer.architecture import Architecture
from transformer.network import Transformer
from transformer.training import build_optimizer, build_training_step, training_steps

TINY = Architecture(width=0.125, residual_blocks=1)


def simple_loss(stylized: tf.Tensor, content: tf.Tensor) -> dict[str, tf.Tensor]:
    """A stand-in for the perceptual loss: to copy the content smoothly."""
    terms = {
        "content": tf.reduce_mean(tf.math.squared_difference(stylized, content)),
        "tv": total_variation_loss(stylized),
    }
    return {"total": terms["content"] + terms["tv"], **terms}


def colour_swap_loss(stylized: tf.Tensor, content: tf.Tensor) -> dict[str, tf.Tensor]:
    """Learnable in a few steps: red becomes green, green blue, blue red."""
    return {"total": tf.reduce_mean(tf.math.squared_difference(stylized, tf.roll(content, 1, axis=3)))}


def photo_batch(seed: int, *, size: int = 32) -> tf.Tensor:
    """Two smooth random pictures, [2, size, size, 3]."""
    colours = np.random.default_rng(seed).uniform(0, 255, (2, 5, 5, 3)).astype(np.float32)
    return tf.image.resize(colours, [size, size], "bilinear")


def one_colour_batch(colour: tuple[float, float, float]) -> tf.Tensor:
    return tf.constant(np.broadcast_to(np.float32(colour), (2, 32, 32, 3)))


def flat_batches() -> dict[str, tf.Tensor]:
    flat = {
        name: one_colour_batch(colour)
        for name, colour in {"white": (255,) * 3, "black": (0,) * 3, "one colour": (200, 30, 31)}.items()
    }
    half = tf.concat([photo_batch(0)[:1], flat["white"][:1]], axis=0)
    faint = flat["white"] - np.random.default_rng(0).integers(0, 2, (2, 32, 32, 3)).astype(np.float32)
    return {**flat, "white beside a photo": half, "white with one grey level of noise": faint}


FLAT_BATCHES = flat_batches()


def new_training(architecture: Architecture, loss=simple_loss, *, steps: int = 100, learning_rate=1e-3):
    network = Transformer(architecture, seed=0)
    optimizer = build_optimizer(learning_rate, steps)
    return network, optimizer, build_training_step(network, loss, optimizer)


@pytest.fixture(scope="module", params=[1, 5], ids=["1 block", "5 blocks"])
def flat_training(request, varied_network):
    """One compiled training at each depth for all flat crops, and the gradient norm of a photo.

    Not of an untrained network: residual blocks that start as the identity would hide what comes later.
    """
    network = varied_network(1, residual_blocks=request.param)
    optimizer = build_optimizer(1e-3, 100)
    training_step = build_training_step(network, simple_loss, optimizer)
    initial = [variable.numpy() for variable in (*network.parameters.values(), *slots(optimizer))]
    photo_norm = float(training_step(photo_batch(0))["gradient_norm"])
    return network, optimizer, training_step, initial, photo_norm


def slots(optimizer) -> list[tf.Variable]:
    return [variable.value for variable in optimizer.variables]


@pytest.mark.parametrize("name", FLAT_BATCHES)
def test_a_crop_without_contrast_does_no_harm_to_a_training_step(flat_training, name):
    network, optimizer, training_step, initial, photo_norm = flat_training
    variables = (*network.parameters.values(), *slots(optimizer))
    for variable, value in zip(variables, initial, strict=True):
        variable.assign(value)
    flat = training_step(FLAT_BATCHES[name])
    assert all(np.isfinite(term) for term in flat.values()), {k: float(v) for k, v in flat.items()}
    # squares of larger gradients stay in Adam's second moment and stop the learning for thousands of steps
    assert flat["gradient_norm"] < 1000 * photo_norm
    after = training_step(photo_batch(1))
    assert all(np.isfinite(term) for term in after.values()), {k: float(v) for k, v in after.items()}
    assert all(np.isfinite(variable.numpy()).all() for variable in variables)


def test_the_loss_falls():
    _, _, training_step = new_training(TINY, colour_swap_loss, steps=60, learning_rate=0.01)
    batches = itertools.cycle([photo_batch(0), photo_batch(1)])
    totals = [float(losses["total"]) for _, losses in training_steps(training_step, batches, steps=60)]
    assert np.mean(totals[-5:]) < 0.5 * np.mean(totals[:5])


def test_one_seed_and_one_stream_give_one_network():
    def trained() -> dict[str, np.ndarray]:
        network, _, training_step = new_training(TINY, steps=3)
        for _ in training_steps(training_step, map(photo_batch, range(3)), steps=3):
            pass
        return {name: variable.numpy() for name, variable in network.parameters.items()}

    first, again = trained(), trained()
    for name, value in first.items():
        np.testing.assert_allclose(again[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_two_steps_move_every_parameter_by_about_the_learning_rate():
    network, _, training_step = new_training(TINY, steps=2, learning_rate=0.01)
    before = {name: variable.numpy() for name, variable in network.parameters.items()}
    for seed in range(2):  # a block that starts as the identity passes no gradient to its depth at first
        training_step(photo_batch(seed))
    for name, variable in network.parameters.items():
        assert 0 < np.abs(variable.numpy() - before[name]).max() < 0.03, name  # Adam's steps are bounded


def test_a_step_gives_the_losses_of_the_network_before_it_and_the_size_of_its_gradient():
    network, _, training_step = new_training(TINY)
    content = photo_batch(0)
    with tf.GradientTape() as tape:
        expected = simple_loss(network(content), content)
    gradients = tape.gradient(expected["total"], list(network.parameters.values()))
    losses = training_step(content)
    assert set(losses) == {"total", "content", "tv", "gradient_norm", "learning_rate"}
    for name, value in expected.items():
        np.testing.assert_allclose(losses[name], value, rtol=1e-4, err_msg=name)
    squares = sum(np.square(gradient.numpy(), dtype=np.float64).sum() for gradient in gradients)
    np.testing.assert_allclose(losses["gradient_norm"], np.sqrt(squares), rtol=1e-3)


def test_the_learning_rate_climbs_to_its_peak_and_falls_to_zero():
    optimizer = build_optimizer(2e-3, 1000)
    rates = np.array([float(optimizer.learning_rate)])
    for step in range(1, 1001):
        optimizer.iterations.assign(step)
        rates = np.append(rates, float(optimizer.learning_rate))
    peak = rates.argmax()
    assert 0 < rates[0] < 2e-4
    assert rates[peak] == pytest.approx(2e-3) and peak == 100
    assert np.all(np.diff(rates[: peak + 1]) > 0) and np.all(np.diff(rates[peak:]) <= 0)
    assert rates[550] == pytest.approx(1e-3, rel=0.01)  # a cosine is at half its height half-way
    assert rates[-1] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("steps", [1, 5, 19])
def test_a_short_training_has_a_rate_above_zero_at_every_step(steps):
    optimizer = build_optimizer(1e-3, steps)
    for step in range(steps):
        optimizer.iterations.assign(step)
        assert 0 < float(optimizer.learning_rate) <= 1.0001e-3


def test_the_rate_that_a_step_tells_is_the_one_it_used():
    _, optimizer, training_step = new_training(TINY, steps=100, learning_rate=1e-3)
    told = [float(training_step(photo_batch(0))["learning_rate"]) for _ in range(2)]
    expected = []
    for step in range(2):
        optimizer.iterations.assign(step)
        expected.append(float(optimizer.learning_rate))
    assert told == pytest.approx(expected) and told[0] != told[1]


def recorded_step(totals: list[float]):
    """A step without a network: it gives the totals one by one and keeps the batches it was given."""
    seen = []

    def training_step(content):
        seen.append(content)
        return {"total": tf.constant(totals[len(seen) - 1], tf.float32)}

    return training_step, seen


def test_training_steps_yields_the_steps_done_and_their_losses():
    training_step, seen = recorded_step([3, 2, 1])
    yielded = [
        (step, float(losses["total"])) for step, losses in training_steps(training_step, "abc", steps=3)
    ]
    assert yielded == [(1, 3), (2, 2), (3, 1)]
    assert seen == ["a", "b", "c"]


def test_training_steps_goes_on_after_the_first_step_and_takes_no_batch_too_many():
    training_step, seen = recorded_step([3, 2])
    steps = training_steps(training_step, iter("ab"), steps=9, first_step=7)
    assert [step for step, _ in steps] == [8, 9]
    assert seen == ["a", "b"]


def test_a_finished_training_yields_nothing():
    training_step, seen = recorded_step([])
    assert list(training_steps(training_step, "a", steps=5, first_step=5)) == []
    assert seen == []


@pytest.mark.parametrize("total", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_ends_the_training_at_the_next_check(total):
    training_step, seen = recorded_step([1, total, total, total, 1])
    steps = training_steps(training_step, "abcde", steps=5, check_every=4)
    with pytest.raises(FloatingPointError, match=rf"{total} at step 4"):
        list(steps)
    assert len(seen) == 4


def test_a_gradient_that_is_not_finite_ends_the_training_too():
    def training_step(content):
        return {"total": tf.constant(1.0), "gradient_norm": tf.constant(float("inf"))}

    with pytest.raises(FloatingPointError, match="inf at step 2"):
        list(training_steps(training_step, "abcd", steps=4, check_every=2))


def test_a_loss_that_is_not_finite_at_the_last_step_is_noticed():
    training_step, _ = recorded_step([1, 1, float("nan")])
    with pytest.raises(FloatingPointError, match="step 3"):
        list(training_steps(training_step, "abc", steps=3))

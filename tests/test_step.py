"""The training step and its loop: they learn, and neither flat crops nor NaN ruin them."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from loss_net.losses import total_variation_loss
from transformer.architecture import Architecture
from transformer.network import Transformer, initial_parameters
from transformer.training.optimizer import Optimizer
from transformer.training.step import (
    CHECK_EVERY,
    SKIPPED_LIMIT,
    Diverged,
    build_training_step,
    training_steps,
)

TINY = Architecture(width=0.125, residual_blocks=1)


def simple_loss(stylized: tf.Tensor, content: tf.Tensor) -> dict[str, tf.Tensor]:
    """Stands in for the perceptual loss: asks for a smooth copy of the content."""
    terms = {
        "content": tf.reduce_mean(tf.math.squared_difference(stylized, content)),
        "tv": total_variation_loss(stylized),
    }
    return {"total": terms["content"] + terms["tv"], **terms}


def color_swap_loss(stylized: tf.Tensor, content: tf.Tensor) -> dict[str, tf.Tensor]:
    """Can be learned in a few steps: red becomes green, green becomes blue, blue becomes red."""
    return {"total": tf.reduce_mean(tf.math.squared_difference(stylized, tf.roll(content, 1, axis=3)))}


def photo_batch(seed: int, *, size: int = 32) -> tf.Tensor:
    """Returns two smooth random images, [2, size, size, 3]."""
    colors = np.random.default_rng(seed).uniform(0, 255, (2, 5, 5, 3)).astype(np.float32)
    return tf.image.resize(colors, [size, size], "bilinear")


def one_color_batch(color: tuple[float, float, float]) -> tf.Tensor:
    return tf.constant(np.broadcast_to(np.float32(color), (2, 32, 32, 3)))


def flat_batches() -> dict[str, tf.Tensor]:
    flat = {
        name: one_color_batch(color)
        for name, color in {"white": (255,) * 3, "black": (0,) * 3, "one color": (200, 30, 31)}.items()
    }
    half = tf.concat([photo_batch(0)[:1], flat["white"][:1]], axis=0)
    faint = flat["white"] - np.random.default_rng(0).integers(0, 2, (2, 32, 32, 3)).astype(np.float32)
    return {**flat, "white beside a photo": half, "white with one gray level of noise": faint}


FLAT_BATCHES = flat_batches()


def new_optimizer(network: Transformer, *, steps: int = 100, learning_rate: float = 1e-3) -> Optimizer:
    return Optimizer(list(network.parameters.values()), learning_rate=learning_rate, steps=steps)


def new_training(architecture: Architecture, loss=simple_loss, *, steps: int = 100, learning_rate=1e-3):
    network = Transformer(architecture, seed=0)
    optimizer = new_optimizer(network, steps=steps, learning_rate=learning_rate)
    return network, optimizer, build_training_step(network, loss, optimizer)


@pytest.fixture(scope="module", params=[1, 5], ids=["1 block", "5 blocks"])
def flat_training(request, varied_network):
    """One compiled training per depth for all flat crops, and the gradient norm of a photo.

    The network is not an untrained one, whose residual blocks are the identity and would hide faults.
    """
    network = varied_network(1, residual_blocks=request.param)
    optimizer = new_optimizer(network)
    training_step = build_training_step(network, simple_loss, optimizer)
    initial = [variable.numpy() for variable in (*network.parameters.values(), *slots(optimizer))]
    photo_norm = float(training_step(photo_batch(0))["gradient_norm"])
    return network, optimizer, training_step, initial, photo_norm


def slots(optimizer) -> list[tf.Variable]:
    return list(optimizer.variables.values())


@pytest.fixture(scope="module")
def compiled_training() -> tuple[Transformer, Optimizer, Callable]:
    return new_training(TINY)


@pytest.fixture
def restarted(compiled_training) -> Callable[[], tuple[Transformer, Callable]]:
    """Sets the one compiled training back to its start; returns its network and its step."""
    network, optimizer, training_step = compiled_training

    def restart() -> tuple[Transformer, Callable]:
        for name, value in initial_parameters(TINY, seed=0).items():
            network.parameters[name].assign(value)
        for name, variable in new_optimizer(network).variables.items():
            optimizer.variables[name].assign(variable)
        return network, training_step

    return restart


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
    _, _, training_step = new_training(TINY, color_swap_loss, steps=60, learning_rate=0.01)
    batches = itertools.cycle([photo_batch(0), photo_batch(1)])
    totals = [float(losses["total"]) for _, losses in training_steps(training_step, batches, steps=60)]
    assert np.mean(totals[-5:]) < 0.5 * np.mean(totals[:5])


def test_one_seed_and_one_stream_give_one_network(restarted):
    def trained() -> dict[str, np.ndarray]:
        network, training_step = restarted()
        for _ in training_steps(training_step, map(photo_batch, range(3)), steps=3):
            pass
        return {name: variable.numpy() for name, variable in network.parameters.items()}

    first, again = trained(), trained()
    for name, value in first.items():
        np.testing.assert_allclose(again[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_two_steps_move_every_parameter_by_about_the_learning_rate(restarted):
    network, training_step = restarted()
    before = {name: variable.numpy() for name, variable in network.parameters.items()}
    # two, because a residual block that starts as the identity passes no gradient to its first layers
    rates = [float(training_step(photo_batch(seed))["learning_rate"]) for seed in range(2)]
    for name, variable in network.parameters.items():
        assert 0 < np.abs(variable.numpy() - before[name]).max() < 2 * sum(rates), (
            name
        )  # Adam bounds its steps


def test_a_step_gives_the_losses_of_the_network_before_it_and_the_size_of_its_gradient(restarted):
    network, training_step = restarted()
    content = photo_batch(0)
    with tf.GradientTape() as tape:
        expected = simple_loss(network(content), content)
    gradients = tape.gradient(expected["total"], list(network.parameters.values()))
    losses = training_step(content)
    update = {"gradient_norm", "learning_rate", "skipped", "skipped_in_a_row"}
    assert set(losses) == {"total", "content", "tv", *update}
    for name, value in expected.items():
        np.testing.assert_allclose(losses[name], value, rtol=1e-4, err_msg=name)
    squares = sum(np.square(gradient.numpy(), dtype=np.float64).sum() for gradient in gradients)
    np.testing.assert_allclose(losses["gradient_norm"], np.sqrt(squares), rtol=1e-3)


def recorded_step(totals: list[float]):
    """A step without a network: it returns the totals one by one and keeps the batches that it gets."""
    seen = []

    def training_step(content):
        seen.append(content)
        return {"total": tf.constant(totals[len(seen) - 1], tf.float32), "skipped_in_a_row": tf.constant(0.0)}

    return training_step, seen


def test_training_steps_yields_the_steps_done_and_their_losses():
    training_step, seen = recorded_step([3, 2, 1])
    yielded = [
        (step, float(losses["total"])) for step, losses in training_steps(training_step, "abc", steps=3)
    ]
    assert yielded == [(1, 3), (2, 2), (3, 1)]
    assert seen == ["a", "b", "c"]


def test_training_steps_continues_after_the_first_step_and_takes_no_batch_too_many():
    training_step, seen = recorded_step([3, 2])
    steps = training_steps(training_step, iter("ab"), steps=9, first_step=7)
    assert [step for step, _ in steps] == [8, 9]
    assert seen == ["a", "b"]


def test_a_finished_training_yields_nothing():
    training_step, seen = recorded_step([])
    assert list(training_steps(training_step, "a", steps=5, first_step=5)) == []
    assert seen == []


def skipping_step(skipped_in_a_row: list[int]):
    seen = []

    def training_step(content):
        seen.append(content)
        return {"skipped_in_a_row": tf.constant(float(skipped_in_a_row[len(seen) - 1]))}

    return training_step, seen


def test_as_many_skipped_steps_in_a_row_as_the_limit_end_the_training_at_the_next_check():
    counts = [0, *range(1, SKIPPED_LIMIT + CHECK_EVERY + 1)]
    training_step, seen = skipping_step(counts)
    with pytest.raises(Diverged, match=r"19 steps in a row skipped at step 20: loss or gradient not finite"):
        list(training_steps(training_step, counts, steps=len(counts)))
    assert SKIPPED_LIMIT < len(seen) <= SKIPPED_LIMIT + CHECK_EVERY


def test_fewer_skipped_steps_in_a_row_do_not_end_the_training():
    counts = [*range(1, SKIPPED_LIMIT), 0] * 3
    training_step, seen = skipping_step(counts)
    assert len(list(training_steps(training_step, counts, steps=len(counts)))) == len(counts) == len(seen)


def nan_loss(stylized: tf.Tensor, content: tf.Tensor) -> dict[str, tf.Tensor]:
    """Is NaN for a batch whose first pixel is black."""
    total = tf.reduce_mean(tf.math.squared_difference(stylized, content))
    return {"total": tf.where(content[0, 0, 0, 0] == 0, np.nan, 1.0) * total}


def nan_gradient_loss(stylized: tf.Tensor, content: tf.Tensor) -> dict[str, tf.Tensor]:
    """Is finite, but has a gradient of NaN for such a batch: the root of 0 inside a `where`, a common trap."""
    is_bad = content[0, 0, 0, 0] == 0
    trap = tf.sqrt(tf.where(is_bad, 0.0, 1.0) * tf.reduce_sum(tf.square(stylized)))
    return {"total": tf.reduce_mean(stylized) + 1e-9 * trap}


@pytest.mark.parametrize("loss", [nan_loss, nan_gradient_loss])
def test_a_step_that_is_not_finite_changes_nothing_but_the_counts(loss):
    network, optimizer, training_step = new_training(TINY, loss)
    training_step(photo_batch(0))
    variables = [*network.parameters.values(), *slots(optimizer)]
    before = [variable.numpy() for variable in variables]
    bad = tf.concat([tf.zeros([2, 1, 32, 3]), photo_batch(1)[:, 1:]], axis=1)
    losses = training_step(bad)
    assert (losses["skipped"], losses["skipped_in_a_row"]) == (1, 1)
    counts = {"steps", "skipped", "skipped_in_a_row"}
    unchanged = {id(value) for name, value in optimizer.variables.items() if name not in counts}
    unchanged |= {id(value) for value in network.parameters.values()}
    for variable, value in zip(variables, before, strict=True):
        if id(variable) in unchanged:
            np.testing.assert_array_equal(variable.numpy(), value, err_msg=variable.name)
    assert int(optimizer.variables["steps"]) == 2 and int(optimizer.variables["updates"]) == 1
    after = training_step(photo_batch(2))
    assert (after["skipped"], after["skipped_in_a_row"]) == (1, 0)
    assert all(np.isfinite(variable.numpy()).all() for variable in network.parameters.values())

"""The slow method against NumPy's Adam and SciPy's own loop, on losses known by heart."""

import threading
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import fmin_l_bfgs_b

from loss_net.optimize import optimize_image
from loss_net.perceptual import build_perceptual_loss
from loss_net.recipes import RECIPES

SHAPE = (3, 4, 3)
TARGET = np.random.default_rng(1).uniform(20, 230, SHAPE).astype(np.float32)
INITIAL = np.random.default_rng(2).uniform(0, 255, SHAPE).astype(np.float32)
CURVATURES = np.geomspace(0.01, 1, TARGET.size).reshape(SHAPE).astype(np.float32)  # a long narrow valley
ADAM = replace(RECIPES["athalye"], iterations=6)
LBFGS = replace(RECIPES["athalye"], optimizer="lbfgs", iterations=12)


def valley(images: tf.Tensor) -> dict[str, tf.Tensor]:
    return {"total": tf.reduce_sum(CURVATURES * tf.square(images - TARGET))}


def valley_value_and_gradient(image: np.ndarray) -> tuple[float, np.ndarray]:
    difference = image.astype(np.float64) - TARGET
    return float(np.sum(CURVATURES * difference**2)), 2 * CURVATURES * difference


def adam_reference(recipe, image: np.ndarray, steps: int) -> list[np.ndarray]:
    """Kingma & Ba 2014 in the form before section 2.1, as TensorFlow has it, on pixels in recipe.pixel_unit."""
    unit = recipe.pixel_unit
    pixels = image.astype(np.float64) / unit
    m, v, images = 0, 0, [image]
    for t in range(1, steps + 1):
        gradient = valley_value_and_gradient(pixels * unit)[1] * unit
        m = recipe.beta1 * m + (1 - recipe.beta1) * gradient
        v = recipe.beta2 * v + (1 - recipe.beta2) * gradient**2
        rate = recipe.learning_rate * np.sqrt(1 - recipe.beta2**t) / (1 - recipe.beta1**t)
        pixels = pixels - rate * m / (np.sqrt(v) + recipe.epsilon)
        pixels = pixels.clip(0, 255 / unit) if recipe.clipped else pixels
        images.append(pixels * unit)
    return images


def minimiser_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "minimise" in thread.name]


@pytest.fixture(autouse=True)
def no_thread_is_left_behind():
    yield
    assert minimiser_threads() == []


@pytest.mark.parametrize("recipe", [ADAM, LBFGS], ids=["adam", "lbfgs"])
def test_step_0_is_the_initial_image_before_any_update(recipe):
    initial = INITIAL.copy()
    step, losses, image = next(optimize_image(valley, initial, recipe))
    assert step == 0
    np.testing.assert_array_equal(image, INITIAL)
    assert losses["total"] == pytest.approx(valley_value_and_gradient(INITIAL)[0], rel=1e-5)


@pytest.mark.parametrize("recipe", [ADAM, LBFGS], ids=["adam", "lbfgs"])
def test_losses_belong_to_the_image_beside_them(recipe):
    initial = INITIAL.copy()
    steps = list(optimize_image(valley, initial, recipe))  # kept: no image may change after its yield
    assert len(steps) > recipe.iterations
    for _, losses, image in steps:
        assert image.dtype == np.float32 and image.shape == SHAPE
        assert losses["total"] == pytest.approx(valley_value_and_gradient(image)[0], rel=1e-4)
    np.testing.assert_array_equal(initial, INITIAL)


@pytest.mark.parametrize(
    "recipe",
    [
        ADAM,
        replace(RECIPES["tf-tutorial"], iterations=6),
        replace(RECIPES["tf-tutorial"], iterations=6, epsilon=50.0, clipped=False),  # large enough to be felt
        replace(ADAM, clipped=True, learning_rate=90.0),
    ],
    ids=["athalye", "tf-tutorial", "large epsilon", "clipped"],
)
def test_adam_is_that_of_the_paper_in_the_pixels_of_the_source(recipe):
    steps = list(optimize_image(valley, INITIAL, recipe))
    assert [step for step, *_ in steps] == list(range(7))
    for (*_, image), expected in zip(steps, adam_reference(recipe, INITIAL, 6), strict=True):
        np.testing.assert_allclose(image, expected, rtol=1e-4, atol=0.01)  # levels of 0..255


def evaluations_of_scipy(recipe) -> list[np.ndarray]:
    """Every image that SciPy's minimiser asks for in the recipe's loop."""
    asked = []

    def ask(pixels: np.ndarray) -> tuple[float, np.ndarray]:
        image = pixels.astype(np.float32).reshape(SHAPE)
        asked.append(image)
        value, gradient = valley_value_and_gradient(image)
        return value, gradient.ravel().astype(np.float64)

    pixels = INITIAL.astype(np.float64).ravel()
    bounds = [(0, 255)] * pixels.size if recipe.clipped else None
    if recipe.round_evaluations is None:
        fmin_l_bfgs_b(ask, pixels, bounds=bounds, maxiter=recipe.iterations)
        return asked
    for _ in range(recipe.iterations):
        pixels, *_ = fmin_l_bfgs_b(ask, pixels, bounds=bounds, maxfun=recipe.round_evaluations)
    return asked


@pytest.mark.parametrize(
    "recipe",
    [LBFGS, replace(LBFGS, round_evaluations=3, iterations=5), replace(LBFGS, clipped=True)],
    ids=["iterations", "rounds", "bounds"],
)
def test_lbfgs_evaluates_what_scipy_asks_for(recipe):
    images = [image for *_, image in optimize_image(valley, INITIAL, recipe)]
    expected = evaluations_of_scipy(recipe)
    assert len(images) == len(expected)
    for image, asked in zip(images, expected, strict=True):
        np.testing.assert_allclose(image, asked, rtol=1e-3, atol=0.05)  # the loss here is float32


def rosenbrock(images: tf.Tensor) -> dict[str, tf.Tensor]:
    """A curved valley, in which line searches need several evaluations."""
    x = tf.reshape(images, [-1]) / 100
    return {"total": tf.reduce_sum(100 * tf.square(x[1:] - tf.square(x[:-1])) + tf.square(1 - x[:-1]))}


def test_a_step_of_lbfgs_is_an_accepted_iteration_and_its_first_yield_never_rises():
    steps = list(optimize_image(rosenbrock, INITIAL, replace(LBFGS, iterations=30)))
    numbers = [step for step, *_ in steps]
    assert numbers == sorted(numbers) and set(numbers) == set(range(31))
    assert len(numbers) > 31  # some line search took more than one evaluation, or this tests nothing
    firsts = [losses["total"] for index, (step, losses, _) in enumerate(steps) if step not in numbers[:index]]
    assert firsts == sorted(firsts, reverse=True)


def test_a_step_of_rounds_is_a_round():
    steps = list(optimize_image(rosenbrock, INITIAL, replace(LBFGS, round_evaluations=4, iterations=3)))
    numbers = [step for step, *_ in steps]
    assert numbers == sorted(numbers) and set(numbers) == {0, 1, 2, 3}
    assert 3 * 4 <= len(numbers) <= 3 * 8


def test_lbfgs_ends_early_where_nothing_is_left_to_gain():
    steps = list(optimize_image(valley, TARGET, replace(LBFGS, iterations=1000)))
    assert len(steps) < 5 and steps[-1][1]["total"] == 0


@pytest.mark.parametrize("evaluations", [0, 1, 2, 5])
def test_closing_early_ends_the_thread(evaluations):
    steps = optimize_image(rosenbrock, INITIAL, replace(LBFGS, iterations=1000))
    for _ in range(evaluations):
        next(steps)
    assert len(minimiser_threads()) == (1 if evaluations else 0)
    steps.close()
    assert minimiser_threads() == []


@pytest.mark.parametrize("recipe", [ADAM, LBFGS], ids=["adam", "lbfgs"])
def test_an_error_in_the_loss_reaches_the_caller(recipe):
    def broken(images: tf.Tensor) -> dict[str, tf.Tensor]:
        raise ValueError("no such loss")

    with pytest.raises(ValueError, match="no such loss"):
        list(optimize_image(broken, INITIAL, recipe))


def test_a_loss_that_is_no_number_is_yielded_for_the_caller_to_judge():
    def breaking(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"total": tf.sqrt(tf.reduce_min(images)) + tf.reduce_sum(images)}  # NaN below 0

    totals = [
        losses["total"] for _, losses, _ in optimize_image(breaking, INITIAL, replace(ADAM, iterations=40))
    ]
    assert np.isfinite(totals[0]) and np.isnan(totals[-1])


@pytest.mark.parametrize("recipe", [ADAM, LBFGS], ids=["adam", "lbfgs"])
@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_the_loss_of_training_is_lowered(recipe, dtype, tiny_vgg_weights):
    content, style = np.random.default_rng(3).uniform(0, 255, (2, 20, 18, 3)).astype(np.float32)
    loss = build_perceptual_loss(tiny_vgg_weights("vgg19"), [style], recipe, compute_dtype=dtype)
    steps = list(optimize_image(loss.for_content(content[np.newaxis]), content, recipe))
    totals = [losses["total"] for _, losses, _ in steps]
    assert min(totals) < 0.8 * totals[0]
    assert steps[0][1].keys() >= {"content", "style", "tv", "total"}


def test_the_same_start_gives_the_same_picture():
    first, second = ([image for *_, image in optimize_image(rosenbrock, INITIAL, LBFGS)] for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_lbfgs_goes_on_where_the_loss_is_small():
    """Of preset balanced it is about 1, its gradients by pixel 1e-6, below what SciPy takes for the end."""
    scale = 1e-7

    def small_valley(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {name: scale * value for name, value in valley(images).items()}

    totals = [losses["total"] for _, losses, _ in optimize_image(small_valley, INITIAL, LBFGS)]
    assert totals[-1] < 0.05 * totals[0]

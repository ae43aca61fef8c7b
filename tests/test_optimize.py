"""The slow method against NumPy's Adam and SciPy's own loop, on losses known by heart."""

import threading
from dataclasses import dataclass, fields, replace

import numpy as np
import pytest
import tensorflow as tf
from scipy.optimize import fmin_l_bfgs_b

from loss_net.optimize import optimize_image
from loss_net.perceptual import build_perceptual_loss
from loss_net.presets import PRESETS

SHAPE = (3, 4, 3)
TARGET = np.random.default_rng(1).uniform(20, 230, SHAPE).astype(np.float32)
INITIAL = np.random.default_rng(2).uniform(0, 255, SHAPE).astype(np.float32)
CURVATURES = np.geomspace(0.01, 1, TARGET.size).reshape(SHAPE).astype(np.float32)  # a long narrow valley
ADAM = replace(PRESETS["athalye"], iterations=6)
LBFGS = replace(PRESETS["athalye"], optimizer="lbfgs", iterations=12)


def valley(images: tf.Tensor) -> dict[str, tf.Tensor]:
    return {"total": tf.reduce_sum(CURVATURES * tf.square(images - TARGET))}


def valley_value_and_gradient(image: np.ndarray) -> tuple[float, np.ndarray]:
    difference = image.astype(np.float64) - TARGET
    return float(np.sum(CURVATURES * difference**2)), 2 * CURVATURES * difference


@dataclass(frozen=True)
class AdamFigures:
    """Of an Adam that works on pixels in a unit of its own."""

    learning_rate: float
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    unit: float = 1  # levels of 0..255
    clipped: bool = False

    @classmethod
    def of(cls, preset) -> "AdamFigures":
        shared = [getattr(preset, field.name) for field in fields(cls)[:4]]
        return cls(*shared, preset.loss.pixel_unit, preset.clipped)


def adam_reference(figures: AdamFigures, gradient_at, image: np.ndarray, steps: int) -> list[np.ndarray]:
    """Kingma & Ba 2014 in the form before section 2.1, as TensorFlow has it, on pixels in units of figures.unit."""
    unit, beta1, beta2 = figures.unit, figures.beta1, figures.beta2
    pixels = image.astype(np.float64) / unit
    m, v, images = 0, 0, [image]
    for t in range(1, steps + 1):
        gradient = gradient_at(pixels * unit) * unit
        m = beta1 * m + (1 - beta1) * gradient
        v = beta2 * v + (1 - beta2) * gradient**2
        rate = figures.learning_rate * np.sqrt(1 - beta2**t) / (1 - beta1**t)
        pixels = pixels - rate * m / (np.sqrt(v) + figures.epsilon)
        pixels = pixels.clip(0, 255 / unit) if figures.clipped else pixels
        images.append(pixels * unit)
    return images


def minimizer_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if "minimizer" in thread.name]


@pytest.fixture(autouse=True)
def no_thread_is_left_behind():
    yield
    assert minimizer_threads() == []


@pytest.mark.parametrize("preset", [ADAM, LBFGS], ids=["adam", "lbfgs"])
def test_step_0_is_the_initial_image_before_any_update(preset):
    initial = INITIAL.copy()
    step, losses, image = next(optimize_image(valley, initial, preset))
    assert step == 0
    np.testing.assert_array_equal(image, INITIAL)
    assert losses["total"] == pytest.approx(valley_value_and_gradient(INITIAL)[0], rel=1e-5)


@pytest.mark.parametrize("preset", [ADAM, LBFGS], ids=["adam", "lbfgs"])
def test_losses_belong_to_the_image_beside_them(preset):
    initial = INITIAL.copy()
    steps = list(optimize_image(valley, initial, preset))  # kept: no image may change after its yield
    assert len(steps) > preset.iterations
    for _, losses, image in steps:
        assert image.dtype == np.float32 and image.shape == SHAPE
        assert losses["total"] == pytest.approx(valley_value_and_gradient(image)[0], rel=1e-4)
    np.testing.assert_array_equal(initial, INITIAL)


@pytest.mark.parametrize(
    "preset",
    [
        ADAM,
        replace(PRESETS["tf-tutorial"], iterations=6),
        replace(PRESETS["tf-tutorial"], iterations=6, epsilon=50.0, clipped=False),  # large enough to be felt
        replace(ADAM, clipped=True, learning_rate=90.0),
    ],
    ids=["athalye", "tf-tutorial", "large epsilon", "clipped"],
)
def test_adam_is_that_of_the_paper_in_the_pixels_of_the_source(preset):
    steps = list(optimize_image(valley, INITIAL, preset))
    assert [step for step, *_ in steps] == list(range(7))
    images = adam_reference(
        AdamFigures.of(preset), lambda image: valley_value_and_gradient(image)[1], INITIAL, 6
    )
    for (*_, image), expected in zip(steps, images, strict=True):
        np.testing.assert_allclose(image, expected, rtol=1e-4, atol=0.01)  # levels of 0..255


# As the programs say it: AdamOptimizer(LEARNING_RATE, BETA1, BETA2, EPSILON) of athalye; AdamOptimizer(0.5) of souljoy
# and AdamOptimizer(2.0) of ist, the rest TensorFlow's defaults; the tutorial's Adam(0.02, 0.99, epsilon=1e-1) on 0..1.
PUBLISHED_ADAMS = {
    "athalye": AdamFigures(1e1, 0.9, 0.999, 1e-08),
    "souljoy": AdamFigures(0.5),
    "ist": AdamFigures(2.0),
    "tf-tutorial": AdamFigures(0.02, 0.99, epsilon=1e-1, unit=255, clipped=True),
}


@pytest.mark.parametrize("name", PUBLISHED_ADAMS)
def test_every_preset_takes_the_steps_of_its_program(name):
    """In a valley so flat that epsilon counts, narrow enough to be crossed, and partly beyond the allowed pixels."""
    figures = PUBLISHED_ADAMS[name]
    pace = figures.learning_rate * figures.unit  # levels a step
    initial = INITIAL.copy()
    target = initial + 3 * pace * np.random.default_rng(4).choice([-1, 1], SHAPE)
    initial[0], target[0] = pace, -3 * pace
    scale = figures.epsilon / (2 * pace * figures.unit)  # gradients of some epsilons in the program's unit

    def flat_valley(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"total": tf.reduce_sum(scale * tf.square(images - target.astype(np.float32)))}

    steps = list(optimize_image(flat_valley, initial, replace(PRESETS[name], iterations=8)))
    expected = adam_reference(figures, lambda image: 2 * scale * (image - target), initial, 8)
    for (*_, image), wanted in zip(steps, expected, strict=True):
        np.testing.assert_allclose(image, wanted, rtol=0, atol=2e-3 * pace)
    assert (expected[-1].min() < 0) == (not figures.clipped)


def evaluations_of_scipy(preset) -> list[np.ndarray]:
    """Every image that SciPy's minimizer asks for in the preset's loop."""
    asked = []

    def ask(pixels: np.ndarray) -> tuple[float, np.ndarray]:
        image = pixels.astype(np.float32).reshape(SHAPE)
        asked.append(image)
        value, gradient = valley_value_and_gradient(image)
        return value, gradient.ravel().astype(np.float64)

    pixels = INITIAL.astype(np.float64).ravel()
    bounds = [(0, 255)] * pixels.size if preset.clipped else None
    if preset.round_evaluations is None:
        fmin_l_bfgs_b(ask, pixels, bounds=bounds, maxiter=preset.iterations)
        return asked
    for _ in range(preset.iterations):
        pixels, *_ = fmin_l_bfgs_b(ask, pixels, bounds=bounds, maxfun=preset.round_evaluations)
    return asked


@pytest.mark.parametrize(
    "preset",
    [LBFGS, replace(LBFGS, round_evaluations=3, iterations=5), replace(LBFGS, clipped=True)],
    ids=["iterations", "rounds", "bounds"],
)
def test_lbfgs_evaluates_what_scipy_asks_for(preset):
    images = [image for *_, image in optimize_image(valley, INITIAL, preset)]
    expected = evaluations_of_scipy(preset)
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
    assert len(minimizer_threads()) == (1 if evaluations else 0)
    steps.close()
    assert minimizer_threads() == []


@pytest.mark.parametrize("preset", [ADAM, LBFGS], ids=["adam", "lbfgs"])
def test_an_error_in_the_loss_reaches_the_caller(preset):
    def broken(images: tf.Tensor) -> dict[str, tf.Tensor]:
        raise ValueError("no such loss")

    with pytest.raises(ValueError, match="no such loss"):
        list(optimize_image(broken, INITIAL, preset))


def test_a_loss_that_is_no_number_is_yielded_for_the_caller_to_judge():
    def breaking(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"total": tf.sqrt(tf.reduce_min(images)) + tf.reduce_sum(images)}  # NaN below 0

    totals = [
        losses["total"] for _, losses, _ in optimize_image(breaking, INITIAL, replace(ADAM, iterations=40))
    ]
    assert np.isfinite(totals[0]) and np.isnan(totals[-1])


@pytest.mark.parametrize("preset", [ADAM, LBFGS], ids=["adam", "lbfgs"])
@pytest.mark.parametrize("dtype", [tf.float32, tf.bfloat16])
def test_the_loss_of_training_is_lowered(preset, dtype, tiny_vgg_weights):
    content, style = np.random.default_rng(3).uniform(0, 255, (2, 20, 18, 3)).astype(np.float32)
    loss = build_perceptual_loss(tiny_vgg_weights("vgg19"), [style], preset.loss, compute_dtype=dtype)
    steps = list(optimize_image(loss.for_content(content[np.newaxis]), content, preset))
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

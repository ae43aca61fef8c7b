"""The slow method: one picture made by changing its pixels until the loss is low.

Gatys et al. 2016, https://arxiv.org/abs/1508.06576. The loss is the one that networks are trained with.
"""

import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue

import numpy as np
import tensorflow as tf
from scipy.optimize import fmin_l_bfgs_b

from loss_net.recipes import Recipe

NO_LIMIT = 2**31 - 1  # the largest number SciPy takes
NO_TOLERANCE = 0.0  # of the gradient: SciPy's 1e-5 is a loss of thousands' and ends one of about 1 at once

Losses = dict[str, float]
Evaluation = tuple[Losses, tf.Tensor]  # the terms; the gradient [1, H, W, 3] of the total


def optimize_image(
    loss: Callable[[tf.Tensor], dict[str, tf.Tensor]], initial: np.ndarray, recipe: Recipe
) -> Iterator[tuple[int, Losses, np.ndarray]]:
    """Yields (step, losses, image) after every evaluation of `loss`, the first of the initial image, step 0.

    `loss` takes images [1, H, W, 3] and gives named terms with "total", as PerceptualLoss.for_content;
    `initial` and the images yielded are [H, W, 3] float32, RGB 0..255 and beyond unless recipe.clipped.
    A step is an update of Adam, or an iteration of L-BFGS (a round of them with recipe.round_evaluations), which
    may take several evaluations: they repeat the number of the step before until theirs is accepted. The
    losses belong to the image beside them. Ends after recipe.iterations, or earlier where L-BFGS finds no
    lower loss. Closing the generator ends the work.
    """
    optimize = {"adam": _adam_steps, "lbfgs": _lbfgs_steps}[recipe.optimizer]
    yield from optimize(_compiled(loss, initial.shape), initial.astype(np.float32), recipe)


def _compiled(loss: Callable, shape: tuple[int, int, int]) -> Callable[[tf.Tensor], Evaluation]:
    """The terms, and the gradient of their total, in one compiled call."""

    @tf.function(input_signature=[tf.TensorSpec([1, *shape], tf.float32)])
    def value_and_gradient(images: tf.Tensor):
        with tf.GradientTape() as tape:
            tape.watch(images)
            losses = loss(images)
        return losses, tape.gradient(losses["total"], images)

    def evaluate(images: tf.Tensor) -> Evaluation:
        losses, gradient = value_and_gradient(images)
        return {name: float(value) for name, value in losses.items()}, gradient

    return evaluate


def _adam_steps(
    evaluate: Callable[[tf.Tensor], Evaluation], initial: np.ndarray, recipe: Recipe
) -> Iterator[tuple[int, Losses, np.ndarray]]:
    """Adam (Kingma & Ba 2014, https://arxiv.org/abs/1412.6980) on the pixels, its figures in recipe.pixel_unit."""
    images = tf.Variable(initial[np.newaxis])
    optimizer = tf.keras.optimizers.Adam(
        recipe.learning_rate * recipe.pixel_unit,
        beta_1=recipe.beta1,
        beta_2=recipe.beta2,
        epsilon=recipe.epsilon / recipe.pixel_unit,  # beside gradients by 0..255, that much smaller
    )
    optimizer.build([images])

    @tf.function
    def update(gradient: tf.Tensor) -> None:
        optimizer.apply([gradient], [images])
        if recipe.clipped:
            images.assign(tf.clip_by_value(images, 0.0, 255.0))

    losses, gradient = evaluate(images)
    yield 0, losses, images.numpy()[0]
    for step in range(1, recipe.iterations + 1):
        update(gradient)
        losses, gradient = evaluate(images)
        yield step, losses, images.numpy()[0]


class _Closed(Exception):
    """Ends the thread of SciPy's minimiser from inside the function that it minimises."""


def _lbfgs_steps(
    evaluate: Callable[[tf.Tensor], Evaluation], initial: np.ndarray, recipe: Recipe
) -> Iterator[tuple[int, Losses, np.ndarray]]:
    """L-BFGS-B by SciPy (Byrd et al. 1995, https://doi.org/10.1137/0916069).

    SciPy runs to its end and calls us; a generator is called. So SciPy runs in a thread that asks for
    evaluations and waits, while TensorFlow and signals stay in the caller's: never do both run.
    """
    questions, answers = SimpleQueue(), SimpleQueue()

    def ask(pixels: np.ndarray) -> tuple[float, np.ndarray]:
        questions.put(("evaluate", pixels.astype(np.float32).reshape(initial.shape)))
        answer = answers.get()
        if answer is None:
            raise _Closed
        return answer

    def minimise() -> None:
        try:
            _minimise_pixels(ask, lambda *_: questions.put(("accepted", None)), initial, recipe)
            questions.put(("finished", None))
        except _Closed:
            pass
        except Exception as error:
            questions.put(("failed", error))

    minimiser = threading.Thread(target=minimise, daemon=True)
    minimiser.start()
    step, evaluated = 0, None
    try:
        while True:
            event, payload = questions.get()
            if event == "accepted":
                step += 1
                continue
            if evaluated is not None:
                yield step, *evaluated
            if event == "failed":
                raise payload
            if event == "finished":
                return
            losses, gradient = evaluate(tf.constant(payload[np.newaxis]))
            evaluated = losses, payload
            answers.put((losses["total"], gradient.numpy().astype(np.float64).ravel()))
    finally:
        answers.put(None)
        minimiser.join()


def _minimise_pixels(
    ask: Callable[[np.ndarray], tuple[float, np.ndarray]],
    accept: Callable[..., None],
    initial: np.ndarray,
    recipe: Recipe,
) -> None:
    """Calls `ask` for (loss, gradient) of pixels, and `accept` after each iteration of the recipe."""
    pixels = initial.astype(np.float64).ravel()
    bounds = [(0, 255)] * pixels.size if recipe.clipped else None
    if recipe.round_evaluations is not None:
        for _ in range(recipe.iterations):
            pixels, _, _ = fmin_l_bfgs_b(
                ask, pixels, bounds=bounds, maxfun=recipe.round_evaluations, pgtol=NO_TOLERANCE
            )
            accept()
        return
    left = recipe.iterations
    while left > 0:
        pixels, _, outcome = fmin_l_bfgs_b(
            ask, pixels, bounds=bounds, maxiter=left, maxfun=NO_LIMIT, pgtol=NO_TOLERANCE, callback=accept
        )
        # float32 rounding can end a line search early; a fresh history goes on unless nothing is left to gain
        if outcome["nit"] == 0:
            return
        left -= outcome["nit"]

"""The slow method: it minimizes the perceptual loss over the pixels of one image.

Gatys et al. 2016, https://arxiv.org/abs/1508.06576. The loss is the one that networks are trained with.
"""

import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue

import numpy as np
import tensorflow as tf
from scipy.optimize import fmin_l_bfgs_b

from loss_net.presets import SlowPreset
from system.arguments import check_count, check_images

NO_LIMIT = 2**31 - 1  # of function evaluations: the largest number that SciPy accepts
# Of the gradient. SciPy's default, 1e-5, suits losses in the thousands. A loss near 1 has gradients of about 1e-6
# per pixel and would stop at once.
NO_TOLERANCE = 0.0

Losses = dict[str, float]
Evaluation = tuple[Losses, tf.Tensor]  # the terms; the gradient [1, H, W, 3] of the total


def optimize_image(
    loss: Callable[[tf.Tensor], dict[str, tf.Tensor]], initial: np.ndarray, preset: SlowPreset
) -> Iterator[tuple[int, Losses, np.ndarray]]:
    """Yields (step, losses, image) after every evaluation of the loss. Step 0 is the initial image.

    loss: maps images [1, H, W, 3] to named terms with "total", for example PerceptualLoss.for_content(content).
    initial: [H, W, 3], RGB 0..255 and beyond.

    A step is one update of Adam, or one iteration of L-BFGS; with preset.round_evaluations it is one round of
    L-BFGS iterations. L-BFGS may need several evaluations for a step. They carry the number of the step before,
    until one of them is accepted.

    The losses belong to the image that is yielded with them, [H, W, 3] float32. The image can exceed 0..255
    unless preset.clipped. The iterator ends after preset.iterations steps, or earlier if L-BFGS finds no lower
    loss. Closing it stops the work. Raises ValueError for an initial image that has a zero side or is not finite, and
    for iterations below 1.
    """
    check_images("initial", initial)
    check_count("iterations", preset.iterations)
    optimize = {"adam": _adam_steps, "lbfgs": _lbfgs_steps}[preset.optimizer]
    yield from optimize(_compiled(loss, initial.shape), initial.astype(np.float32), preset)


def _compiled(loss: Callable, shape: tuple[int, int, int]) -> Callable[[tf.Tensor], Evaluation]:
    """Returns a function that computes the terms and the gradient of their total in one graph."""

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
    evaluate: Callable[[tf.Tensor], Evaluation], initial: np.ndarray, preset: SlowPreset
) -> Iterator[tuple[int, Losses, np.ndarray]]:
    """Minimizes by Adam: Kingma & Ba 2014, https://arxiv.org/abs/1412.6980.

    The preset's figures hold for pixels in units of `pixel_unit`; here they are converted to 0..255.
    """
    images, unit = tf.Variable(initial[np.newaxis]), preset.loss.pixel_unit
    optimizer = tf.keras.optimizers.Adam(
        preset.learning_rate * unit,
        beta_1=preset.beta1,
        beta_2=preset.beta2,
        epsilon=preset.epsilon / unit,  # gradients with respect to 0..255 are smaller by this factor
    )
    optimizer.build([images])

    @tf.function
    def update(gradient: tf.Tensor) -> None:
        optimizer.apply([gradient], [images])
        if preset.clipped:
            images.assign(tf.clip_by_value(images, 0.0, 255.0))

    losses, gradient = evaluate(images)
    yield 0, losses, images.numpy()[0]
    for step in range(1, preset.iterations + 1):
        update(gradient)
        losses, gradient = evaluate(images)
        yield step, losses, images.numpy()[0]


def _lbfgs_steps(
    evaluate: Callable[[tf.Tensor], Evaluation], initial: np.ndarray, preset: SlowPreset
) -> Iterator[tuple[int, Losses, np.ndarray]]:
    """Minimizes by SciPy's L-BFGS-B: Byrd et al. 1995, https://doi.org/10.1137/0916069."""
    minimizer = _MinimizerThread(initial, preset)
    step, evaluated = 0, None
    try:
        for event, payload in minimizer.events():
            if event == "accepted":
                step += 1
                continue
            if evaluated is not None:
                yield step, *evaluated
            if event == "failed":
                raise payload
            if event == "evaluate":
                losses, gradient = evaluate(tf.constant(payload[np.newaxis]))
                evaluated = losses, payload
                minimizer.answer(losses["total"], gradient.numpy().astype(np.float64).ravel())
    finally:
        minimizer.stop()


class _Stopped(Exception):
    """Raised inside the function that SciPy minimizes, to end SciPy's loop and its thread."""


class _MinimizerThread:
    """Runs SciPy's minimizer in a thread that asks for evaluations and waits for the answers.

    SciPy calls the function that it minimizes, but a generator must yield between two evaluations. The thread
    makes this possible. TensorFlow runs in the caller's thread, which also receives the signals; the two threads
    never work at the same time.
    """

    def __init__(self, initial: np.ndarray, preset: SlowPreset):
        self._initial, self._preset = initial, preset
        self._events, self._answers = SimpleQueue(), SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="lbfgs-minimizer", daemon=True)
        self._thread.start()

    def events(self) -> Iterator[tuple[str, object]]:
        """Yields what the thread asks for or reports.

        ("evaluate", image [H, W, 3]): the caller must call `answer`. ("accepted", None): the step has ended.
        ("failed", exception): the thread has ended. The iterator ends after ("finished", None).
        """
        while True:
            event, payload = self._events.get()
            yield event, payload
            if event == "finished":
                return

    def answer(self, total: float, gradient: np.ndarray) -> None:
        """Gives the thread the loss and the gradient [H*W*3] of the image that it asked for."""
        self._answers.put((total, gradient))

    def stop(self) -> None:
        """Ends the thread and waits for its end."""
        self._answers.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            _minimize_pixels(self._ask, self._accept, self._initial, self._preset)
            self._events.put(("finished", None))
        except _Stopped:
            pass
        except Exception as error:
            self._events.put(("failed", error))

    def _ask(self, pixels: np.ndarray) -> tuple[float, np.ndarray]:
        self._events.put(("evaluate", pixels.astype(np.float32).reshape(self._initial.shape)))
        answer = self._answers.get()
        if answer is None:
            raise _Stopped
        return answer

    def _accept(self, *_: object) -> None:
        self._events.put(("accepted", None))


def _minimize_pixels(
    ask: Callable[[np.ndarray], tuple[float, np.ndarray]],
    accept: Callable[..., None],
    initial: np.ndarray,
    preset: SlowPreset,
) -> None:
    """Minimizes over pixels [H*W*3]: `ask` returns (loss, gradient), `accept` is called after every step."""
    pixels = initial.astype(np.float64).ravel()
    bounds = [(0, 255)] * pixels.size if preset.clipped else None
    if preset.round_evaluations is not None:
        for _ in range(preset.iterations):
            pixels, _, _ = fmin_l_bfgs_b(
                ask, pixels, bounds=bounds, maxfun=preset.round_evaluations, pgtol=NO_TOLERANCE
            )
            accept()
        return
    left = preset.iterations
    while left > 0:
        pixels, _, outcome = fmin_l_bfgs_b(
            ask, pixels, bounds=bounds, maxiter=left, maxfun=NO_LIMIT, pgtol=NO_TOLERANCE, callback=accept
        )
        # Rounding in float32 can end a line search early. A new start without history continues, unless no
        # iteration is possible.
        if outcome["nit"] == 0:
            return
        left -= outcome["nit"]

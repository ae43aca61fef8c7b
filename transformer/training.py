"""The training loop: a generator of (step, losses) that knows neither files nor flags."""

from collections.abc import Callable, Iterable, Iterator

import tensorflow as tf

from transformer.network import Transformer

Losses = dict[str, tf.Tensor]
Loss = Callable[[tf.Tensor, tf.Tensor], Losses]

WARMUP_STEPS = 100  # Adam's first steps, on unsettled statistics, are the ones that saturate the output


def build_optimizer(learning_rate: float, steps: int) -> tf.keras.optimizers.Optimizer:
    """Adam whose rate climbs to `learning_rate` in a short warm-up and falls to zero as a cosine by `steps`.

    Adam: Kingma & Ba 2014, https://arxiv.org/abs/1412.6980; cosine: https://arxiv.org/abs/1608.03983.
    """
    warmup_steps = min(WARMUP_STEPS, steps // 10)
    schedule = tf.keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=learning_rate / max(1, warmup_steps),
        decay_steps=max(1, steps - warmup_steps),
        warmup_target=learning_rate,
        warmup_steps=warmup_steps,
    )
    return tf.keras.optimizers.Adam(schedule)


def build_training_step(
    network: Transformer, loss: Loss, optimizer: tf.keras.optimizers.Optimizer
) -> Callable[[tf.Tensor], Losses]:
    """A compiled function: content images [B, H, W, 3] -> losses, after one update of the network.

    To the loss terms it adds "gradient_norm" and "learning_rate".
    """
    variables = list(network.parameters.values())
    optimizer.build(variables)

    @tf.function(reduce_retracing=True)
    def training_step(content: tf.Tensor) -> Losses:
        with tf.GradientTape() as tape:
            losses = loss(_without_flat_gradients(network(content), content), content)
        gradients = tape.gradient(losses["total"], variables)
        learning_rate = tf.cast(optimizer.learning_rate, tf.float32)
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return {**losses, "gradient_norm": tf.linalg.global_norm(gradients), "learning_rate": learning_rate}

    return training_step


def _without_flat_gradients(stylized: tf.Tensor, content: tf.Tensor) -> tf.Tensor:
    # In a crop of one colour every variance is 0, and instance norm multiplies gradients 30-fold a layer: 1e19
    # at the first. One step with that, and Adam's second moments are infinite or stand still for good.
    is_flat = tf.reduce_all(tf.equal(content, content[:, :1, :1]), axis=[1, 2, 3], keepdims=True)
    return tf.where(is_flat, tf.stop_gradient(stylized), stylized)


def check_finite(step: int, losses: Losses) -> None:
    """Raises FloatingPointError if a loss or the gradient norm is NaN or infinite: the weights are lost then."""
    for name, value in losses.items():
        if not bool(tf.math.is_finite(value)):
            raise FloatingPointError(f"{name} is {float(value)} at step {step}; try a lower --learning-rate")


def training_steps(
    training_step: Callable[[tf.Tensor], Losses],
    batches: Iterable[tf.Tensor],
    *,
    steps: int,
    first_step: int = 0,
    check_every: int = 50,
) -> Iterator[tuple[int, Losses]]:
    """Yields (steps done so far, losses of the last one) until `steps` are done.

    Every `check_every` steps the losses are looked at, and a NaN or infinite one raises FloatingPointError; not
    at every step, because looking makes a GPU wait.
    """
    stream = iter(batches)
    for step in range(first_step + 1, steps + 1):
        losses = training_step(next(stream))
        if step % check_every == 0 or step == steps:
            check_finite(step, losses)
        yield step, losses

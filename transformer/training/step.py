"""The training step and the loop around it: a generator of (step, losses) that knows neither files nor flags."""

from collections.abc import Callable, Iterable, Iterator

import tensorflow as tf

from transformer.network import Transformer
from transformer.training.optimizer import Optimizer

Losses = dict[str, tf.Tensor]
Loss = Callable[[tf.Tensor, tf.Tensor], Losses]

CHECK_EVERY = 10  # steps between looks at the losses; looking makes a GPU wait
SKIPPED_LIMIT = 10  # steps in a row; so many are not bad luck with photos, the weights themselves are lost


class Diverged(FloatingPointError):
    """Loss or gradients have not been finite for SKIPPED_LIMIT steps in a row."""


def build_training_step(
    network: Transformer,
    loss: Loss,
    optimizer: Optimizer,
    *,
    strategy: tf.distribute.Strategy | None = None,
    xla: bool = False,
) -> Callable[[tf.Tensor], Losses]:
    """A compiled function: content images [B, H, W, 3] -> losses, after one update of the network.

    To the loss terms it adds those that `Optimizer.apply` returns. Under a `strategy` images and losses of all
    replicas are averaged, so that the network changes as it would in one replica with all the images; B is then
    that of one replica, the images are a distributed value. `xla` compiles losses and gradients with XLA.
    """
    strategy = strategy or tf.distribute.get_strategy()

    @tf.function(reduce_retracing=True, jit_compile=xla or None)
    def losses_and_gradient(content: tf.Tensor) -> tuple[Losses, tf.Tensor]:
        with tf.GradientTape() as tape:
            losses = loss(_without_flat_gradients(network(content), content), content)
        gradients = tape.gradient(losses["total"], optimizer.parameters)
        return losses, tf.concat([tf.reshape(gradient, [-1]) for gradient in gradients], axis=0)

    def replica_step(content: tf.Tensor) -> Losses:
        losses, gradient = losses_and_gradient(content)
        values = tf.stack([tf.cast(value, gradient.dtype) for value in losses.values()])
        if strategy.num_replicas_in_sync > 1:  # in one message: a NaN of one replica is then a NaN of all
            message = tf.concat([gradient, values], axis=0)
            message = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, message)
            gradient, values = tf.split(message, [gradient.shape[0], values.shape[0]])
        said = optimizer.apply(gradient, tf.reduce_all(tf.math.is_finite(values)))
        return {**dict(zip(losses, tf.unstack(values), strict=True)), **said}

    @tf.function(reduce_retracing=True)
    def training_step(content: tf.Tensor) -> Losses:
        if strategy.num_replicas_in_sync == 1:
            return replica_step(content)
        of_replicas = strategy.run(replica_step, args=(content,))
        return {name: strategy.experimental_local_results(value)[0] for name, value in of_replicas.items()}

    return training_step


def _without_flat_gradients(stylized: tf.Tensor, content: tf.Tensor) -> tf.Tensor:
    # In a crop of one colour every variance is 0, and instance norm multiplies gradients 30-fold a layer: 1e19
    # at the first. One step with that, and Adam's second moments are infinite or stand still for good.
    is_flat = tf.reduce_all(tf.equal(content, content[:, :1, :1]), axis=[1, 2, 3], keepdims=True)
    return tf.where(is_flat, tf.stop_gradient(stylized), stylized)


def training_steps(
    training_step: Callable[[tf.Tensor], Losses],
    batches: Iterable[tf.Tensor],
    *,
    steps: int,
    first_step: int = 0,
) -> Iterator[tuple[int, Losses]]:
    """Yields (steps done so far, losses of the last one) until `steps` are done.

    A step whose losses are not finite has changed nothing and says so by "skipped_in_a_row"; SKIPPED_LIMIT of
    them raise Diverged, CHECK_EVERY steps later at the latest.
    """
    stream = iter(batches)
    for step in range(first_step + 1, steps + 1):
        losses = training_step(next(stream))
        if (step % CHECK_EVERY == 0 or step == steps) and losses["skipped_in_a_row"] >= SKIPPED_LIMIT:
            raise Diverged(f"{int(losses['skipped_in_a_row'])} steps in a row were not finite at step {step}")
        yield step, losses

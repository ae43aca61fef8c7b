"""The training step and the loop around it. Both know neither files nor flags."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import tensorflow as tf

from transformer.network import Transformer
from transformer.training.lattice import lattice_term
from transformer.training.optimizer import Optimizer
from transformer.training.stability import Stability

Losses = dict[str, tf.Tensor]
Loss = Callable[[tf.Tensor, tf.Tensor], Losses]

ADDED_TERMS = ("lattice", "stability")  # of the step itself; they are part of "total"
CHECK_EVERY = 10  # steps between reads of the losses; reading makes a GPU wait
SKIPPED_LIMIT = (
    10  # skipped steps in a row after which the weights count as lost; photos alone do not cause so many
)


class Diverged(FloatingPointError):
    """Loss or gradient was not finite for SKIPPED_LIMIT steps in a row."""


def build_training_step(
    network: Transformer,
    loss: Loss,
    optimizer: Optimizer,
    *,
    strategy: tf.distribute.Strategy | None = None,
    xla: bool = False,
    stability: Stability | None = None,
    has_lattice_term: bool = False,
) -> Callable[[tf.Tensor], Losses]:
    """Returns a compiled function: content images [B, H, W, 3], RGB 0..255 -> losses, after one update of `network`.

    loss: (stylized, content) images -> scalar terms by name, of which "total" is minimized.
    strategy: gradients and losses are averaged over all its replicas, so the network changes as it would in one
        replica with all images. The images are then a distributed value and B is the batch size of one replica.
    xla: compiles losses and gradients with XLA.
    stability: adds the term "stability" to the losses and to "total".
    has_lattice_term: adds the term "lattice", for batches of one image, see lattice.py.

    The losses also contain the values that `Optimizer.apply` returns.
    """
    strategy = strategy or tf.distribute.get_strategy()
    losses_and_gradient = _compiled_gradient(
        network,
        loss,
        optimizer.parameters,
        xla=xla,
        stability=stability,
        has_lattice_term=has_lattice_term,
    )

    def replica_step(content: tf.Tensor) -> Losses:
        losses, gradient = losses_and_gradient(content, _pair_number(optimizer, strategy))
        values = tf.stack([tf.cast(value, gradient.dtype) for value in losses.values()])
        if strategy.num_replicas_in_sync > 1:
            gradient, values = _mean_over_replicas(gradient, values)
        update = optimizer.apply(gradient, tf.reduce_all(tf.math.is_finite(values)))
        return {**dict(zip(losses, tf.unstack(values), strict=True)), **update}

    # Traced anew for each size of crop: with known sizes the network is faster (layers.reflection_pad).
    @tf.function(autograph=False)
    def training_step(content: tf.Tensor) -> Losses:
        if strategy.num_replicas_in_sync == 1:
            return replica_step(content)
        per_replica = strategy.run(replica_step, args=(content,))
        return {name: strategy.experimental_local_results(value)[0] for name, value in per_replica.items()}

    return training_step


def _pair_number(optimizer: Optimizer, strategy: tf.distribute.Strategy) -> tf.Tensor:
    """Returns a number that no other step and no other replica has."""
    replica = tf.distribute.get_replica_context().replica_id_in_sync_group
    return optimizer.variables["steps"] * strategy.num_replicas_in_sync + tf.cast(replica, tf.int64)


def _compiled_gradient(
    network: Transformer,
    loss: Loss,
    parameters: Sequence[tf.Variable],
    *,
    xla: bool,
    stability: Stability | None,
    has_lattice_term: bool,
) -> Callable[[tf.Tensor, tf.Tensor], tuple[Losses, tf.Tensor]]:
    """Returns a function of content images [B, H, W, 3] and a number for `Stability.seen_again`.

    The result is losses, gradient [P] of all parameters in a row.
    """

    # Without AutoGraph tracing is faster. Nothing here has Python control flow that depends on tensors.
    @tf.function(jit_compile=xla or None, autograph=False)
    def losses_and_gradient(content: tf.Tensor, pair_number: tf.Tensor) -> tuple[Losses, tf.Tensor]:
        with tf.GradientTape() as tape:
            losses = _losses(network, loss, content, pair_number, stability, has_lattice_term)
        gradients = tape.gradient(losses["total"], parameters)
        return losses, tf.concat([tf.reshape(gradient, [-1]) for gradient in gradients], axis=0)

    return losses_and_gradient


def _losses(
    network: Transformer,
    loss: Loss,
    content: tf.Tensor,
    pair_number: tf.Tensor,
    stability: Stability | None,
    has_lattice_term: bool,
) -> Losses:
    stylized = _stylized(network, content)
    losses = loss(stylized, content)
    terms = {}
    if has_lattice_term:
        terms["lattice"] = lattice_term(stylized, losses["total"])
    if stability is not None:
        again, motion = stability.seen_again(content, pair_number)
        terms |= stability.terms(stylized, _stylized(network, again), motion, losses["total"])
    added = [terms[name] for name in ADDED_TERMS if name in terms]
    return {**losses, **terms, "total": tf.add_n([losses["total"], *added])}


def _mean_over_replicas(gradient: tf.Tensor, values: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    # One message for both: a NaN in one replica reaches all replicas, so all of them skip the same steps.
    message = tf.concat([gradient, values], axis=0)
    message = tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, message)
    return tf.split(message, [gradient.shape[0], values.shape[0]])


def _stylized(network: Transformer, content: tf.Tensor) -> tf.Tensor:
    # In a crop of one color every variance is 0, and each instance norm multiplies the gradient about 30 times: it
    # reaches 1e19 at the first layer. A single step with it would spoil Adam's second moments for good.
    stylized = network(content)
    is_flat = tf.reduce_all(tf.equal(content, content[:, :1, :1]), axis=[1, 2, 3], keepdims=True)
    return tf.where(is_flat, tf.stop_gradient(stylized), stylized)


def training_steps(
    training_step: Callable[[tf.Tensor], Losses],
    batches: Iterable[tf.Tensor],
    *,
    steps: int,
    first_step: int = 0,
) -> Iterator[tuple[int, Losses]]:
    """Yields (steps done so far, losses of the last step) until `steps` are done.

    A step whose loss or gradient is not finite changes nothing and raises the count "skipped_in_a_row". Raises
    Diverged when this count reaches SKIPPED_LIMIT, at most CHECK_EVERY steps later.
    """
    stream = iter(batches)
    for step in range(first_step + 1, steps + 1):
        losses = training_step(next(stream))
        if (step % CHECK_EVERY == 0 or step == steps) and losses["skipped_in_a_row"] >= SKIPPED_LIMIT:
            skipped = int(losses["skipped_in_a_row"])
            raise Diverged(f"{skipped} steps in a row skipped at step {step}: loss or gradient not finite")
        yield step, losses

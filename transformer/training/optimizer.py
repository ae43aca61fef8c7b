"""Adam over all parameters as one vector: what training changes besides the network itself.

One vector, because everything that guards a training is then one operation on it: the all-reduce between workers,
the norm that clipping goes by, the test for NaN, and leaving a step out without touching the moments.
"""

from collections.abc import Sequence

import tensorflow as tf

WARMUP_STEPS = 100  # Adam's first steps, on unsettled statistics, are the ones that saturate the output
BETA1, BETA2 = 0.9, 0.999  # Kingma & Ba 2014
# Of the root mean square of the gradient, added to the root of the second moment. Kingma & Ba's 1e-8 itself suits
# losses of about 1 and no others: gradients of preset johnson are 1e-9, those of lengstrom 1e4. Where a gradient
# is zero but for rounding (an offset that the next instance norm takes away) it keeps Adam from blowing that up.
EPSILON_SHARE = 1e-6
NORM_DECAY = 0.98  # of the running mean of gradient norms: it remembers some 50 steps
NORM_SETTLED = 50  # updates until that mean is one to clip by


def learning_rate_schedule(learning_rate: float, steps: int) -> tf.keras.optimizers.schedules.CosineDecay:
    """Climbs to `learning_rate` in a short warm-up and falls to zero as a cosine by `steps`.

    Loshchilov & Hutter 2016, https://arxiv.org/abs/1608.03983.
    """
    warmup_steps = min(WARMUP_STEPS, steps // 10)
    return tf.keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=learning_rate / max(1, warmup_steps),
        decay_steps=max(1, steps - warmup_steps),
        warmup_target=learning_rate,
        warmup_steps=warmup_steps,
    )


class Optimizer:
    """Adam (Kingma & Ba 2014, https://arxiv.org/abs/1412.6980) that clips, and leaves out what is not finite.

    `variables`, by name, is all that it remembers. `clip_norm` is a multiple of the running mean of gradient
    norms, to which a longer gradient is shortened; 0 turns that off. A multiple, because losses of different
    presets differ by factors of millions.
    """

    def __init__(
        self, parameters: Sequence[tf.Variable], *, learning_rate: float, steps: int, clip_norm: float = 0.0
    ):
        self.parameters = list(parameters)
        self.clip_norm = clip_norm
        self._schedule = learning_rate_schedule(learning_rate, steps)
        self._sizes = [variable.shape.num_elements() for variable in self.parameters]
        count, self._dtype = sum(self._sizes), self.parameters[0].dtype
        self.variables = {
            "first_moment": _state(tf.zeros([count], self._dtype)),
            "second_moment": _state(tf.zeros([count], self._dtype)),
            "steps": _state(tf.constant(0, tf.int64)),  # done, with those that were skipped
            "updates": _state(tf.constant(0, tf.int64)),
            "skipped": _state(tf.constant(0, tf.int64)),
            "skipped_in_a_row": _state(tf.constant(0, tf.int64)),
            "mean_norm": _state(tf.constant(0.0, self._dtype)),
            # lowered when a training had to be taken back
            "rate_scale": _state(tf.constant(1.0, self._dtype)),
        }

    @property
    def learning_rate(self) -> tf.Tensor:
        """Of the step to come."""
        return self.variables["rate_scale"] * tf.cast(self._schedule(self.variables["steps"]), self._dtype)

    def apply(self, gradient: tf.Tensor, is_usable: tf.Tensor) -> dict[str, tf.Tensor]:
        """One update by `gradient` [P], all parameters in a row, or none unless `is_usable`; what it says of it."""
        variables = self.variables
        learning_rate = self.learning_rate
        norm = tf.linalg.norm(gradient)
        is_usable = tf.logical_and(is_usable, tf.math.is_finite(norm))
        gradient, norm = _zero_unless(is_usable, gradient), _zero_unless(is_usable, norm)
        clipping = self._clipping(norm)
        gradient *= clipping
        updates = variables["updates"] + tf.cast(is_usable, tf.int64)
        first = BETA1 * variables["first_moment"] + (1 - BETA1) * gradient
        second = BETA2 * variables["second_moment"] + (1 - BETA2) * tf.square(gradient)
        count = tf.cast(tf.maximum(updates, 1), self._dtype)
        beta1, beta2 = tf.constant(BETA1, self._dtype), tf.constant(BETA2, self._dtype)
        correction = tf.sqrt(1 - tf.pow(beta2, count)) / (1 - tf.pow(beta1, count))
        mean_norm = self._mean_norm(clipping * norm)
        epsilon = EPSILON_SHARE * mean_norm / tf.sqrt(tf.cast(tf.size(gradient), self._dtype))
        change = tf.math.divide_no_nan(learning_rate * correction * first, tf.sqrt(second) + epsilon)
        self._subtract(_zero_unless(is_usable, change))
        for name, value in {"first_moment": first, "second_moment": second, "mean_norm": mean_norm}.items():
            variables[name].assign(tf.where(is_usable, value, variables[name]))
        skipped = tf.cast(tf.logical_not(is_usable), tf.int64)
        counts = {
            "steps": variables["steps"] + 1,
            "updates": updates,
            "skipped": variables["skipped"] + skipped,
            "skipped_in_a_row": (variables["skipped_in_a_row"] + 1) * skipped,
        }
        for name, value in counts.items():
            variables[name].assign(value)
        said = {name: tf.cast(counts[name], tf.float32) for name in ("skipped", "skipped_in_a_row")}
        return {"gradient_norm": norm, "learning_rate": learning_rate, **said}

    def value(self, name: str) -> float:
        """Of one of the scalar `variables`, as a number; int() and float() do not know distributed variables."""
        return self.variables[name].numpy().item()

    def lower_rate(self, factor: float) -> None:
        """Multiplies the learning rate of all steps to come; not to be called within a compiled step."""
        self.variables["rate_scale"].assign(self.value("rate_scale") * factor)

    def _clipping(self, norm: tf.Tensor) -> tf.Tensor:
        """The factor that shortens a gradient of `norm`; at most 1."""
        longest = self.clip_norm * self.variables["mean_norm"]
        is_settled = self.variables["updates"] >= NORM_SETTLED
        is_long = tf.logical_and(is_settled, norm > longest)
        one = tf.constant(1.0, self._dtype)
        return tf.where(is_long, tf.math.divide_no_nan(longest, norm), one) if self.clip_norm else one

    def _mean_norm(self, norm: tf.Tensor) -> tf.Tensor:
        # an arithmetic mean at first; later a clipped gradient counts as clipped, or one could raise the bar
        updates = tf.cast(self.variables["updates"], self._dtype)
        share = tf.maximum(tf.constant(1 - NORM_DECAY, self._dtype), 1 / (updates + 1))
        return self.variables["mean_norm"] + share * (norm - self.variables["mean_norm"])

    def _subtract(self, change: tf.Tensor) -> None:
        for variable, part in zip(self.parameters, tf.split(change, self._sizes), strict=True):
            variable.assign_sub(tf.reshape(part, variable.shape))


def _state(value: tf.Tensor) -> tf.Variable:
    # under tf.distribute every replica computes the same value, so any one of them is the value
    return tf.Variable(value, trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)


def _zero_unless(condition: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
    return tf.where(condition, value, tf.zeros_like(value))

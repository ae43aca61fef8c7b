"""Muon and Adam over all parameters as one vector [P], with gradient clipping, skipped steps and a rate schedule.

One vector makes each safeguard of a training one operation: the all-reduce between replicas, the norm for clipping,
the test for NaN, and skipping a step without a change of the moments.
"""

from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from transformer.training.hyperparameters import (
    BETA1,
    BETA2,
    DECAY_SHARE,
    EPSILON_SHARE,
    MOMENTUM,
    MUON_RATE,
    NORM_DECAY,
    NORM_SETTLED,
    WARMUP_STEPS,
)
from transformer.training.muon import muon_directions


def learning_rate_schedule(learning_rate: float, steps: int) -> Callable[[tf.Tensor | int], tf.Tensor]:
    """Returns the learning rate as a function of the steps done.

    It rises to `learning_rate` in a short warm-up, stays there, and falls linearly to zero over the last DECAY_SHARE
    of the steps. Hägele et al. 2024, https://arxiv.org/abs/2405.18392.
    """
    warmup_steps = max(1, min(WARMUP_STEPS, steps // 10))
    decay_steps = max(1, round(DECAY_SHARE * steps))

    def rate(step: tf.Tensor | int) -> tf.Tensor:
        step = tf.cast(step, tf.float64)  # float32 cannot tell steps beyond 2**24 apart
        share = tf.minimum((step + 1) / warmup_steps, (steps - step) / decay_steps)
        return learning_rate * tf.clip_by_value(share, 0.0, 1.0)

    return rate


class Optimizer:
    """Muon for `kernels` and Adam for the other parameters. It clips gradients and skips those that are not finite.

    Adam: Kingma & Ba 2014, https://arxiv.org/abs/1412.6980. Muon: Jordan et al. 2024,
    https://kellerjordan.github.io/posts/muon/.

    parameters: the variables to train, all of one float type.
    kernels: those of `parameters` that Muon updates, kernels [k, k, in, out] or matrices. Adam updates all others.
    learning_rate: peak of `learning_rate_schedule`, for Adam. Muon's rate is MUON_RATE times as high.
    steps: length of the training.
    clip_factor: gradients are clipped to this multiple of their running mean norm; 0 disables clipping. An absolute
        norm would not do, because the losses of the presets differ by factors of millions.

    `variables` contains the complete state of the optimizer by name.
    """

    def __init__(
        self,
        parameters: Sequence[tf.Variable],
        *,
        learning_rate: float,
        steps: int,
        kernels: Sequence[tf.Variable] = (),
        clip_factor: float = 0.0,
    ):
        self.parameters = list(parameters)
        self.clip_factor = clip_factor
        self._schedule = learning_rate_schedule(learning_rate, steps)
        self._sizes = [variable.shape.num_elements() for variable in self.parameters]
        self._is_kernel = [any(variable is kernel for kernel in kernels) for variable in self.parameters]
        count, self._dtype = sum(self._sizes), self.parameters[0].dtype
        self.variables = {
            "first_moment": _state(tf.zeros([count], self._dtype)),
            "second_moment": _state(tf.zeros([count], self._dtype)),  # not used for kernels
            "steps": _state(tf.constant(0, tf.int64)),  # all, with skipped ones
            "updates": _state(tf.constant(0, tf.int64)),  # steps that were not skipped
            "skipped": _state(tf.constant(0, tf.int64)),
            "skipped_in_a_row": _state(tf.constant(0, tf.int64)),
            "mean_norm": _state(tf.constant(0.0, self._dtype)),
            "rate_scale": _state(tf.constant(1.0, self._dtype)),  # lowered by rollbacks
        }

    @property
    def learning_rate(self) -> tf.Tensor:
        """Adam's learning rate in the next step, a scalar."""
        return self.variables["rate_scale"] * tf.cast(self._schedule(self.variables["steps"]), self._dtype)

    def apply(self, gradient: tf.Tensor, is_usable: tf.Tensor) -> dict[str, tf.Tensor]:
        """Updates the parameters by `gradient` [P], the gradients of all parameters in a row.

        The step is skipped if `is_usable` is false or the gradient is not finite: then only the counts change.
        Returns scalars: "gradient_norm" before clipping, "learning_rate", and the counts "skipped" and
        "skipped_in_a_row".
        """
        variables = self.variables
        learning_rate = self.learning_rate
        norm = tf.linalg.norm(gradient)
        is_usable = tf.logical_and(is_usable, tf.math.is_finite(norm))
        gradient, norm = _zero_unless(is_usable, gradient), _zero_unless(is_usable, norm)
        clipping = self._clipping(norm)
        gradient *= clipping
        updates = variables["updates"] + tf.cast(is_usable, tf.int64)
        decay = self._first_moment_decay()
        moments = {
            "first_moment": decay * variables["first_moment"] + (1 - decay) * gradient,
            "second_moment": BETA2 * variables["second_moment"] + (1 - BETA2) * tf.square(gradient),
            "mean_norm": self._mean_norm(clipping * norm),
        }
        direction = self._direction(gradient, moments, updates)
        self._subtract(_zero_unless(is_usable, learning_rate * direction))
        for name, value in moments.items():
            variables[name].assign(tf.where(is_usable, value, variables[name]))
        counts = self._count(updates, is_usable)
        return {"gradient_norm": norm, "learning_rate": learning_rate, **counts}

    def value(self, name: str) -> float:
        """Returns one of the scalar `variables` as a number. int() and float() reject distributed variables."""
        return self.variables[name].numpy().item()

    def lower_rate(self, factor: float) -> None:
        """Multiplies the learning rate of all later steps. Must not be called in a compiled function."""
        self.variables["rate_scale"].assign(self.value("rate_scale") * factor)

    def _clipping(self, norm: tf.Tensor) -> tf.Tensor:
        """Returns the factor, at most 1, by which a gradient of length `norm` is multiplied."""
        longest = self.clip_factor * self.variables["mean_norm"]
        is_settled = self.variables["updates"] >= NORM_SETTLED
        is_long = tf.logical_and(is_settled, norm > longest)
        one = tf.constant(1.0, self._dtype)
        return tf.where(is_long, tf.math.divide_no_nan(longest, norm), one) if self.clip_factor else one

    def _first_moment_decay(self) -> tf.Tensor | float:
        """Returns the decay of the first moment: a number, or one for each parameter [P]."""
        if not any(self._is_kernel):
            return BETA1
        decays = [MOMENTUM if is_kernel else BETA1 for is_kernel in self._is_kernel]
        return tf.repeat(tf.constant(decays, self._dtype), self._sizes)

    def _direction(
        self, gradient: tf.Tensor, moments: Mapping[str, tf.Tensor], updates: tf.Tensor
    ) -> tf.Tensor:
        """Returns the change of all parameters [P] at the learning rate -1."""
        epsilon = EPSILON_SHARE * moments["mean_norm"] / tf.sqrt(tf.cast(tf.size(gradient), self._dtype))
        scaled = self._bias_correction(updates) * moments["first_moment"]
        adam = self._parts(tf.math.divide_no_nan(scaled, tf.sqrt(moments["second_moment"]) + epsilon))
        if not any(self._is_kernel):
            return tf.concat(adam, axis=0)
        # Nesterov's momentum: the gradient counts once more, as it will in the next step
        ahead = self._parts(MOMENTUM * moments["first_moment"] + (1 - MOMENTUM) * gradient)
        return tf.concat(self._with_muon(adam, ahead), axis=0)

    def _with_muon(self, adam: list[tf.Tensor], ahead: list[tf.Tensor]) -> list[tf.Tensor]:
        """Returns the changes of the parameters, each in a row: Muon's for kernels, Adam's for the others."""
        kernels = [index for index, is_kernel in enumerate(self._is_kernel) if is_kernel]
        shapes = [self.parameters[index].shape for index in kernels]
        muon = muon_directions([ahead[index] for index in kernels], shapes)
        changes = dict(enumerate(adam)) | dict(zip(kernels, muon, strict=True))
        return [MUON_RATE * change if self._is_kernel[index] else change for index, change in changes.items()]

    def _parts(self, vector: tf.Tensor) -> list[tf.Tensor]:
        return tf.split(vector, self._sizes)

    def _bias_correction(self, updates: tf.Tensor) -> tf.Tensor:
        count = tf.cast(tf.maximum(updates, 1), self._dtype)
        beta1, beta2 = tf.constant(BETA1, self._dtype), tf.constant(BETA2, self._dtype)
        return tf.sqrt(1 - tf.pow(beta2, count)) / (1 - tf.pow(beta1, count))

    def _mean_norm(self, norm: tf.Tensor) -> tf.Tensor:
        # An arithmetic mean at first. `norm` is the norm after clipping, or one long gradient would raise the limit
        # for all that follow.
        updates = tf.cast(self.variables["updates"], self._dtype)
        share = tf.maximum(tf.constant(1 - NORM_DECAY, self._dtype), 1 / (updates + 1))
        return self.variables["mean_norm"] + share * (norm - self.variables["mean_norm"])

    def _subtract(self, change: tf.Tensor) -> None:
        for variable, part in zip(self.parameters, self._parts(change), strict=True):
            variable.assign_sub(tf.reshape(part, variable.shape))

    def _count(self, updates: tf.Tensor, is_usable: tf.Tensor) -> dict[str, tf.Tensor]:
        skipped = tf.cast(tf.logical_not(is_usable), tf.int64)
        counts = {
            "steps": self.variables["steps"] + 1,
            "updates": updates,
            "skipped": self.variables["skipped"] + skipped,
            "skipped_in_a_row": (self.variables["skipped_in_a_row"] + 1) * skipped,
        }
        for name, value in counts.items():
            self.variables[name].assign(value)
        return {name: tf.cast(counts[name], tf.float32) for name in ("skipped", "skipped_in_a_row")}


def _state(value: tf.Tensor) -> tf.Variable:
    # Under tf.distribute all replicas compute the same value, so the value of the first one is taken.
    return tf.Variable(value, trainable=False, aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)


def _zero_unless(condition: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
    return tf.where(condition, value, tf.zeros_like(value))

"""The training step in JAX: the formulas of transformer/; those of loss_net/ are in loss.py.

Parameters and features have the names and shapes of the project's own code. The parameters of norms and the last bias
have one row for each style, [S, ...], as in transformer/training/many_styles.py.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from tools.jax_port.loss import CHANNELS_LAST, Arrays, lattice_share, losses
from transformer.architecture import (
    NORM_EPSILON,
    OUTPUT_CENTER,
    OUTPUT_SPAN,
    SIDE_MULTIPLE,
    Architecture,
    ConvSpec,
)
from transformer.training.hyperparameters import (
    BETA1,
    BETA2,
    DECAY_SHARE,
    EPSILON_SHARE,
    LATTICE_WEIGHT,
    MOMENTUM,
    MUON_RATE,
    NEWTON_SCHULZ,
    NEWTON_SCHULZ_STEPS,
    NORM_DECAY,
    NORM_SETTLED,
    WARMUP_STEPS,
)

ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh, "linear": lambda values: values}


def parameters_of(parameters: Arrays, style: jax.Array | int) -> dict[str, jax.Array]:
    """Returns the parameters of style number `style`."""
    return {name: value if name.endswith("/kernel") else value[style] for name, value in parameters.items()}


def stylize(images: jax.Array, parameters: Arrays, architecture: Architecture, dtype: Any) -> jax.Array:
    """Stylizes images [B, H, W, 3], RGB 0..255, of at least 8x8 pixels; like transformer.network.stylize."""
    height, width = images.shape[1:3]
    paddings = [(0, 0), (0, -height % SIDE_MULTIPLE), (0, -width % SIDE_MULTIPLE), (0, 0)]
    values = (jnp.pad(images, paddings, mode="reflect") / OUTPUT_CENTER - 1.0).astype(dtype)
    for spec in architecture.encoder:
        values = _apply(spec, values, parameters)
    for first, second in architecture.residual:
        values += _apply(second, _apply(first, values, parameters), parameters)
    for spec in architecture.decoder:
        values = _apply(spec, values, parameters)
    return (OUTPUT_CENTER + OUTPUT_SPAN * values.astype(jnp.float32))[:, :height, :width]


def _apply(spec: ConvSpec, values: jax.Array, parameters: Arrays) -> jax.Array:
    if spec.upsample > 1:
        values = values.repeat(spec.upsample, axis=1).repeat(spec.upsample, axis=2)
    margin = spec.kernel_size // 2
    values = jnp.pad(values, [(0, 0), (margin, margin), (margin, margin), (0, 0)], mode="reflect")
    kernel = (spec.gain * parameters[f"{spec.name}/kernel"]).astype(values.dtype)
    values = lax.conv_general_dilated(
        values, kernel, (spec.stride, spec.stride), "VALID", dimension_numbers=CHANNELS_LAST
    )
    if spec.norm:
        values = _norm(values, parameters[f"{spec.name}/scale"], parameters[f"{spec.name}/offset"])
    else:
        values = values.astype(jnp.float32) + parameters[f"{spec.name}/bias"]
    return ACTIVATIONS[spec.activation](values)


def _norm(values: jax.Array, scale: jax.Array, offset: jax.Array) -> jax.Array:
    """Instance norm of values [B, H, W, C] with scale and offset [C]."""
    exact = values.astype(jnp.float32)
    centered = exact - exact.mean((1, 2), keepdims=True)
    variance = jnp.square(centered).mean((1, 2), keepdims=True)
    return (centered * (scale * lax.rsqrt(variance + NORM_EPSILON)) + offset).astype(values.dtype)


def learning_rate(step: jax.Array, peak: jax.Array, steps: jax.Array) -> jax.Array:
    """Returns transformer.training.optimizer.learning_rate_schedule at `step`; all arguments are floats."""
    warmup = jnp.maximum(1, jnp.minimum(WARMUP_STEPS, jnp.floor(steps / 10)))
    decay = jnp.maximum(1, jnp.round(DECAY_SHARE * steps))
    return peak * jnp.clip(jnp.minimum((step + 1) / warmup, (steps - step) / decay), 0, 1)


def initial_state(parameters: Arrays) -> dict[str, Any]:
    """Returns the state of a training: parameters, moments and counters."""
    zeros = {name: jnp.zeros_like(value) for name, value in parameters.items()}
    counters = {"updates": jnp.int32(0), "skipped": jnp.int32(0), "mean_norm": jnp.float32(0)}
    return {"parameters": dict(parameters), "first": zeros, "second": dict(zeros), **counters}


def training_step(
    state: Mapping[str, Any],
    images: jax.Array,
    style: jax.Array | int,
    targets: Mapping[str, Any],
    weights: Arrays,
    rate: jax.Array,
    architecture: Architecture,
    dtype: Any,
    clip_factor: float = 10.0,
) -> tuple[dict[str, Any], jax.Array]:
    """Returns the state after one update on images [B, H, W, 3] of style number `style`, and the losses [4].

    targets: those of `target_of`, stacked [S, ...]. rate: Adam's learning rate.
    """
    content = images.astype(jnp.float32)
    target = jax.tree.map(lambda rows: rows[style], targets)
    is_flat = (content == content[:, :1, :1]).all((1, 2, 3), keepdims=True)

    def total(parameters: Arrays) -> tuple[jax.Array, jax.Array]:
        stylized = stylize(content, parameters_of(parameters, style), architecture, dtype)
        stylized = jnp.where(is_flat, lax.stop_gradient(stylized), stylized)
        terms = losses(stylized, content, weights, target, dtype)
        if content.shape[0] == 1:  # as train.py
            terms = terms.at[0].add(LATTICE_WEIGHT * lax.stop_gradient(terms[0]) * lattice_share(stylized))
        return terms[0], terms

    gradients, terms = jax.grad(total, has_aux=True)(state["parameters"])
    is_usable = jnp.isfinite(terms).all()
    return _updated(state, gradients, is_usable, rate, architecture.hidden_kernels, clip_factor), terms


def _updated(
    state: Mapping[str, Any],
    gradients: Arrays,
    is_usable: jax.Array,
    rate: jax.Array,
    kernels: tuple,
    clip_factor: float,
) -> dict[str, Any]:
    """Muon for `kernels`, Adam for the rest, as transformer.training.optimizer.Optimizer.apply."""
    norm = jnp.sqrt(sum(jnp.square(gradient).sum() for gradient in gradients.values()))
    is_usable &= jnp.isfinite(norm)
    norm, longest = jnp.where(is_usable, norm, 0), clip_factor * state["mean_norm"]
    is_long = (state["updates"] >= NORM_SETTLED) & (norm > longest)
    clipping = jnp.where(is_long, longest / jnp.where(norm > 0, norm, 1), 1.0)
    gradients = {name: clipping * jnp.where(is_usable, value, 0) for name, value in gradients.items()}
    decays = {name: MOMENTUM if name in kernels else BETA1 for name in gradients}
    first = {
        name: decays[name] * state["first"][name] + (1 - decays[name]) * gradient
        for name, gradient in gradients.items()
    }
    second = {
        name: BETA2 * state["second"][name] + (1 - BETA2) * jnp.square(gradient)
        for name, gradient in gradients.items()
    }
    updates = state["updates"] + is_usable.astype(jnp.int32)
    share = jnp.maximum(1 - NORM_DECAY, 1 / (state["updates"].astype(jnp.float32) + 1))
    mean_norm = state["mean_norm"] + share * (clipping * norm - state["mean_norm"])
    ahead = {name: MOMENTUM * first[name] + (1 - MOMENTUM) * gradients[name] for name in kernels}
    adam = {name: value for name, value in first.items() if name not in kernels}
    size = sum(int(np.prod(gradient.shape)) for gradient in gradients.values())
    epsilon = EPSILON_SHARE * mean_norm / np.sqrt(size)
    changes = {**_muon_changes(ahead), **_adam_changes(adam, second, updates, epsilon)}

    def kept(new: Any, old: Any) -> Any:
        return jax.tree.map(lambda one, other: jnp.where(is_usable, one, other), new, old)

    return {
        "parameters": {
            name: value - jnp.where(is_usable, rate * changes[name], 0)
            for name, value in state["parameters"].items()
        },
        "first": kept(first, state["first"]),
        "second": kept(second, state["second"]),
        "updates": updates,
        "skipped": state["skipped"] + (~is_usable).astype(jnp.int32),
        "mean_norm": kept(mean_norm, state["mean_norm"]),
    }


def _adam_changes(
    first: Arrays, second: Arrays, updates: jax.Array, epsilon: jax.Array
) -> dict[str, jax.Array]:
    count = jnp.maximum(updates, 1).astype(jnp.float32)
    correction = jnp.sqrt(1 - BETA2**count) / (1 - BETA1**count)
    changes = {}
    for name, moment in first.items():
        divisor = jnp.sqrt(second[name]) + epsilon
        changes[name] = jnp.where(divisor > 0, correction * moment / jnp.where(divisor > 0, divisor, 1), 0)
    return changes


def _muon_changes(ahead: Arrays) -> dict[str, jax.Array]:
    by_shape: dict[tuple, list[str]] = {}  # kernels of one shape are orthogonalized together
    for name, value in ahead.items():
        by_shape.setdefault((int(np.prod(value.shape[:3])), value.shape[3]), []).append(name)
    changes = {}
    for (rows, columns), names in by_shape.items():
        matrices = jnp.stack([ahead[name].reshape(rows, columns) for name in names])
        rotations = MUON_RATE * max(1.0, rows / columns) ** 0.5 * _orthogonalized(matrices)
        for name, rotation in zip(names, rotations, strict=True):
            changes[name] = rotation.reshape(ahead[name].shape)
    return changes


def _orthogonalized(matrices: jax.Array) -> jax.Array:
    rows, columns = matrices.shape[-2:]
    if rows > columns:
        return _orthogonalized(matrices.swapaxes(-1, -2)).swapaxes(-1, -2)
    a, b, c = NEWTON_SCHULZ
    norms = jnp.sqrt(jnp.square(matrices).sum((-2, -1), keepdims=True))
    values = jnp.where(norms > 0, matrices / jnp.where(norms > 0, norms, 1), 0)
    for _ in range(NEWTON_SCHULZ_STEPS):
        squares = values @ values.swapaxes(-1, -2)
        values = a * values + (b * squares + c * (squares @ squares)) @ values
    return values

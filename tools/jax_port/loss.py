"""The loss in JAX: the formulas of loss_net/, for VGG19 with max pooling."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from loss_net.presets import (
    BORDER_SHARE,
    BORDER_WEIGHT,
    PER_ELEMENT,
    PER_GRAM_ELEMENT,
    TRAINING_BORDER,
    LossPreset,
)
from loss_net.topology import CONV_LAYERS, least_side
from transformer.architecture import SIDE_MULTIPLE
from transformer.training.hyperparameters import LATTICE_WINDOW, LEAST_CONTRAST, LEAST_ERROR

Arrays = Mapping[str, jax.Array]
CHANNELS_LAST = ("NHWC", "HWIO", "NHWC")


def vgg_features(images: jax.Array, weights: Arrays, deepest: str, dtype: Any) -> dict[str, jax.Array]:
    """Returns the feature maps of VGG19 by layer, up to `deepest`. weights: with kernels for RGB, and "mean_rgb"."""
    values, features = (images - weights["mean_rgb"]).astype(dtype), {}
    for conv in CONV_LAYERS["vgg19"]:
        if conv.endswith("_1") and conv != "conv1_1":
            values = _pooled(values)
        kernel, bias = weights[f"{conv}/kernel"].astype(dtype), weights[f"{conv}/bias"].astype(dtype)
        values = lax.conv_general_dilated(values, kernel, (1, 1), "SAME", dimension_numbers=CHANNELS_LAST)
        values = jax.nn.relu(values + bias)
        layer = conv.replace("conv", "relu")
        features[layer] = values
        if layer == deepest:
            return features
    raise ValueError(f"VGG19 has no layer {deepest}")


def _pooled(values: jax.Array) -> jax.Array:
    """Returns the maxima of windows of 2x2: [B, H, W, C] -> [B, ceil(H / 2), ceil(W / 2), C]."""
    batch, height, width, channels = values.shape
    if height % 2 or width % 2:
        return lax.reduce_window(values, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "SAME")
    # as a maximum over axes, whose gradient is no scatter
    return values.reshape(batch, height // 2, 2, width // 2, 2, channels).max((2, 4))


@jax.custom_vjp
def _correlations(features: jax.Array) -> jax.Array:
    """Returns F'F [B, C, C] of features F [B, N, C] in float32. The gradient is computed in the type of F."""
    return jnp.einsum(
        "bnc,bnd->bcd", features, features, preferred_element_type=jnp.float32, precision="highest"
    )


def _correlations_gradient(features: jax.Array, upstream: jax.Array) -> tuple[jax.Array]:
    both = (upstream + upstream.swapaxes(1, 2)).astype(features.dtype)
    return (jnp.einsum("bnc,bcd->bnd", features, both),)


_correlations.defvjp(lambda features: (_correlations(features), features), _correlations_gradient)


def target_of(preset: LossPreset, grams: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Returns what `losses` needs to know of a style, as arrays. grams: Gram matrices [C, C] by layer.

    Raises ValueError for a preset whose formulas are not those of lengstrom or balanced.
    """
    forms = (
        preset.content_divisor,
        preset.gram_divisor,
        preset.style_divisor,
        preset.tv_form,
        preset.pixel_unit,
    )
    is_known = forms == (PER_ELEMENT, PER_ELEMENT, PER_GRAM_ELEMENT, "mean_squares", 1.0)
    if not is_known or (preset.architecture, preset.pooling, preset.input_mean) != ("vgg19", "max", None):
        raise ValueError("only the formulas of the presets lengstrom and balanced are ported")
    if len(preset.content_layers) != 1:
        raise ValueError("only presets with one content layer are ported")
    share = 1 / len(preset.style_layers) if preset.style_layers_averaged else 1.0
    weights = {}
    for layer, weight in preset.style_layers.items():
        size = np.square(grams[layer]).sum() if preset.relative else grams[layer].shape[0] ** 2
        weights[layer] = np.float32(preset.style_weight * share * weight / size)
    return {
        "grams": {layer: np.float32(grams[layer]) for layer in preset.style_layers},
        "style_weights": weights,
        "content_weight": np.float32(preset.content_weight),
        "is_relative": np.float32(preset.relative),
        "tv_weight": np.float32(preset.tv_weight),
    }


def losses(
    stylized: jax.Array,
    content: jax.Array,
    weights: Arrays,
    target: Mapping[str, Any],
    dtype: Any,
    border: int = TRAINING_BORDER,
) -> jax.Array:
    """Returns total, content, style and total variation loss [4] of images [B, H, W, 3], RGB 0..255.

    weights: as for `vgg_features`. target: of one style, as `target_of` returns it. border: as for
    loss_net.perceptual.PerceptualLoss.with_border.
    """
    content_layer = "relu4_2"
    layers = list(target["grams"])
    content_map = lax.stop_gradient(vgg_features(content, weights, content_layer, dtype)[content_layer])
    features = vgg_features(stylized, weights, max(layers), dtype)
    squares = _sum_of_squares(features[content_layer].astype(jnp.float32) - content_map.astype(jnp.float32))
    energy = jnp.maximum(_sum_of_squares(content_map.astype(jnp.float32)), 1e-20)
    divisor = jnp.where(target["is_relative"] > 0, energy, np.prod(content_map.shape[1:]))
    content_term = target["content_weight"] * (squares / divisor).mean()
    style_term = 0.0
    border = min(border, min(stylized.shape[1:3]) // BORDER_SHARE)
    for layer in layers:
        for part_weight, pixels in _style_parts(features[layer], border // least_side(layer)):
            difference = _correlations(pixels) / np.prod(pixels.shape[1:]) - target["grams"][layer]
            style_term += (
                part_weight * target["style_weights"][layer] * jnp.square(difference).sum((1, 2)).mean()
            )
    down, across = jnp.diff(stylized, axis=1), jnp.diff(stylized, axis=2)
    tv_term = target["tv_weight"] * (jnp.square(down).mean() + jnp.square(across).mean())
    return jnp.stack([content_term + style_term + tv_term, content_term, style_term, tv_term])


def _style_parts(features: jax.Array, border: int) -> list[tuple[float, jax.Array]]:
    """Returns the pixels [B, N, C] of feature maps and those of their border, with the weights of their style losses.

    As loss_net.perceptual.PerceptualLoss.with_border.
    """
    batch, height, width, channels = features.shape
    pixels = features.reshape(batch, -1, channels)
    if border == 0:
        return [(1.0, pixels)]
    is_border = np.ones((height, width), bool)
    is_border[border:-border, border:-border] = False
    return [(1.0, pixels), (BORDER_WEIGHT * is_border.mean(), pixels[:, np.flatnonzero(is_border)])]


def lattice_share(images: jax.Array) -> jax.Array:
    """Returns transformer.training.lattice.lattice_share of images [B, H, W, 3]; a scalar."""
    batch, height, width, channels = images.shape
    down, across = max(1, height // LATTICE_WINDOW), max(1, width // LATTICE_WINDOW)
    rows, columns = height // down // SIDE_MULTIPLE, width // across // SIDE_MULTIPLE
    inside = images[:, : down * rows * SIDE_MULTIPLE, : across * columns * SIDE_MULTIPLE]
    shape = (batch, down, rows, SIDE_MULTIPLE, across, columns, SIDE_MULTIPLE, channels)
    error = inside.reshape(shape).mean((2, 5)).var((2, 4)).mean((1, 2, 3))
    unit = lax.stop_gradient(images).var((1, 2)).mean(-1)
    return jnp.sqrt((error / jnp.maximum(unit, LEAST_CONTRAST**2)).mean() + LEAST_ERROR**2)


def _sum_of_squares(values: jax.Array) -> jax.Array:
    return jnp.square(values).sum((1, 2, 3))

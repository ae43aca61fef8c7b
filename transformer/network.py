"""The transformer network: images in, stylized images out, RGB 0..255 on both sides.

Parameters are plain variables in a dict and the network is a pure function of them, so that the exported
TensorFlow 1 graph is built by the very code that was trained.
"""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from transformer.architecture import (
    MIN_SIDE,
    OUTPUT_CENTER,
    OUTPUT_SPAN,
    SIDE_MULTIPLE,
    Architecture,
    ConvSpec,
)
from transformer.layers import convolution, instance_norm, pad_to, upsample_nearest

ACTIVATIONS = {"relu": tf.nn.relu, "tanh": tf.tanh, "linear": tf.identity}


def initial_parameters(architecture: Architecture, seed: int) -> dict[str, np.ndarray]:
    """Random float32 parameters by name: He-normal kernels, unit scales, zero offsets and bias.

    He et al. 2015, https://arxiv.org/abs/1502.01852. The last layer is made small by its spec's gain, not by
    small random values: a large output saturates tanh and leaves holes that never heal, and since Adam moves
    every weight by about the learning rate, small values over so many inputs would jump from step to step.
    A residual block starts as the identity, its second scale zero (https://arxiv.org/abs/1706.02677, 5.1): the
    photo reaches the decoder undistorted, and the content is learnt sooner.
    """
    generator = np.random.default_rng(seed)
    block_ends = {second.name for _, second in architecture.residual}
    unit_scales = {f"{spec.name}/scale" for spec in architecture.convolutions if spec.name not in block_ends}
    parameters = {}
    for name, shape in architecture.parameter_shapes().items():
        if name.endswith("kernel"):
            deviation = np.sqrt(2.0 / np.prod(shape[:3]))
            parameters[name] = generator.normal(0.0, deviation, shape).astype(np.float32)
        else:
            parameters[name] = np.full(shape, float(name in unit_scales), np.float32)
    return parameters


def stylize(
    images: tf.Tensor,
    parameters: Mapping[str, tf.Tensor],
    architecture: Architecture,
    compute_dtype: tf.DType = tf.float32,
) -> tf.Tensor:
    """Stylizes images [B, H, W, 3], RGB 0..255, of any size from 1x1: the same shape and float32.

    Values may leave 0..255 a little; export and inference clip them. `compute_dtype` is that of the
    convolutions; statistics and output stay float32, but are float64 where it is that.
    """
    shape = tf.shape(images)
    images = tf.cast(images, _exact_dtype(compute_dtype))
    padded = pad_to(images, _padded_side(shape[1]), _padded_side(shape[2]))
    feature_map = tf.cast(padded / OUTPUT_CENTER - 1.0, compute_dtype)
    for spec in architecture.encoder:
        feature_map = _apply(spec, feature_map, parameters)
    for first, second in architecture.residual:
        feature_map += _apply(second, _apply(first, feature_map, parameters), parameters)
    for spec in architecture.decoder:
        feature_map = _apply(spec, feature_map, parameters)
    stylized = OUTPUT_CENTER + OUTPUT_SPAN * tf.cast(feature_map, images.dtype)
    return tf.slice(stylized, [0, 0, 0, 0], shape)


def _exact_dtype(compute_dtype: tf.DType) -> tf.DType:
    return tf.float64 if compute_dtype == tf.float64 else tf.float32


def _padded_side(side: tf.Tensor) -> tf.Tensor:
    return tf.maximum(MIN_SIDE, (side + SIDE_MULTIPLE - 1) // SIDE_MULTIPLE * SIDE_MULTIPLE)


def _apply(spec: ConvSpec, feature_map: tf.Tensor, parameters: Mapping[str, tf.Tensor]) -> tf.Tensor:
    if spec.upsample > 1:
        feature_map = upsample_nearest(feature_map, spec.upsample)
    feature_map = convolution(feature_map, spec.gain * parameters[f"{spec.name}/kernel"], spec.stride)
    if spec.norm:
        feature_map = instance_norm(
            feature_map, parameters[f"{spec.name}/scale"], parameters[f"{spec.name}/offset"]
        )
    else:  # tanh of a bfloat16 sum would show as bands in the picture, hence float32
        bias = parameters[f"{spec.name}/bias"]
        feature_map = tf.cast(feature_map, bias.dtype) + bias
    return ACTIVATIONS[spec.activation](feature_map)


class Transformer(tf.Module):
    """The trainable network: `Transformer(architecture)(images)`, see `stylize`."""

    def __init__(self, architecture: Architecture, *, seed: int = 0, compute_dtype: tf.DType = tf.float32):
        super().__init__(name="transformer")
        self.architecture = architecture
        self.compute_dtype = compute_dtype
        # under tf.distribute every replica computes the same update, so any one of them will do
        self.dtype = _exact_dtype(compute_dtype)  # of parameters and stylized images
        kind = {
            "dtype": self.dtype,
            "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA,
        }
        self.parameters = {
            name: tf.Variable(value, name=name, **kind)
            for name, value in initial_parameters(architecture, seed).items()
        }

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        return stylize(images, self.parameters, self.architecture, self.compute_dtype)

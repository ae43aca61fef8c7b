"""The transformer network: from images to stylized images, both RGB 0..255.

The network is a pure function of its parameters, which are variables in a dict. The export builds its TensorFlow 1
graph with the same function.
"""

from collections.abc import Mapping

import tensorflow as tf

from transformer.architecture import (
    MIN_SIDE,
    OUTPUT_CENTER,
    OUTPUT_SPAN,
    SIDE_MULTIPLE,
    Architecture,
    ConvSpec,
)
from transformer.initial_parameters import initial_parameters
from transformer.layers import convolution, instance_norm, pad_to, upsample_nearest

ACTIVATIONS = {"relu": tf.nn.relu, "tanh": tf.tanh, "linear": tf.identity}


def stylize(
    images: tf.Tensor,
    parameters: Mapping[str, tf.Tensor],
    architecture: Architecture,
    compute_dtype: tf.DType = tf.float32,
) -> tf.Tensor:
    """Stylizes images [B, H, W, 3], RGB 0..255, of any size from 1x1; the result has the same shape.

    Values may lie slightly outside 0..255; export and inference clip them.
    compute_dtype: the type of the convolutions. Statistics and the result are float64 if it is float64, else float32.
    """
    shape = tf.shape(images)
    images = tf.cast(images, _exact_dtype(compute_dtype))
    padded = pad_to(images, padded_sides(shape[1]), padded_sides(shape[2]))
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


def padded_sides(side: tf.Tensor) -> tf.Tensor:
    """Returns `architecture.padded_side` of sides that are tensors."""
    return tf.maximum(MIN_SIDE, (side + SIDE_MULTIPLE - 1) // SIDE_MULTIPLE * SIDE_MULTIPLE)


def _apply(spec: ConvSpec, feature_map: tf.Tensor, parameters: Mapping[str, tf.Tensor]) -> tf.Tensor:
    if spec.upsample > 1:
        feature_map = upsample_nearest(feature_map, spec.upsample)
    feature_map = convolution(feature_map, spec.gain * parameters[f"{spec.name}/kernel"], spec.stride)
    if spec.norm:
        feature_map = instance_norm(
            feature_map, parameters[f"{spec.name}/scale"], parameters[f"{spec.name}/offset"]
        )
    else:  # in float32, because the tanh of a bfloat16 sum would show as bands in the image
        bias = parameters[f"{spec.name}/bias"]
        feature_map = tf.cast(feature_map, bias.dtype) + bias
    return ACTIVATIONS[spec.activation](feature_map)


class Transformer(tf.Module):
    """The trainable network. `Transformer(architecture)(images)` returns stylized images, see `stylize`.

    `parameters` contains the variables by name.
    """

    def __init__(self, architecture: Architecture, *, seed: int = 0, compute_dtype: tf.DType = tf.float32):
        super().__init__(name="transformer")
        self.architecture = architecture
        self.compute_dtype = compute_dtype
        self.dtype = _exact_dtype(compute_dtype)  # of parameters and stylized images
        # Under tf.distribute all replicas compute the same update, so the one of the first replica is taken.
        kind = {
            "dtype": self.dtype,
            "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA,
        }
        self.parameters = {
            name: tf.Variable(value, name=name, **kind)
            for name, value in initial_parameters(architecture, seed).items()
        }

    @property
    def hidden_kernels(self) -> list[tf.Variable]:
        """The kernels of all layers but the last, each of which a norm follows."""
        return [self.parameters[name] for name in self.architecture.hidden_kernels]

    def __call__(self, images: tf.Tensor) -> tf.Tensor:
        return stylize(images, self.parameters, self.architecture, self.compute_dtype)

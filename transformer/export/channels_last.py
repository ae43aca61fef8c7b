"""Builds the network in TensorFlow from the parameters of the ONNX file, for SavedModel and LiteRT.

Like the ONNX graph it computes the convolutions after an upsampling, and the last one, as blocks of pixels
(onnx_graph.onnx_parameters). On a CPU this takes less time than the graph of `network.stylize`, which training needs,
and a style needs no other file than its ONNX file. All operations are builtin ones of LiteRT.
"""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from transformer.architecture import (
    NORM_EPSILON,
    OUTPUT_CENTER,
    OUTPUT_SPAN,
    Architecture,
    ConvSpec,
    padded_side,
)
from transformer.export.onnx_graph import margin_of
from transformer.export.onnx_shapes import block_of
from transformer.layers import pad_to
from transformer.network import ACTIVATIONS, padded_sides

Parameters = Mapping[str, tf.Tensor | tf.Variable]


def channels_last_parameters(
    parameters: Mapping[str, np.ndarray], architecture: Architecture
) -> dict[str, np.ndarray]:
    """Converts kernels to [k, k, in, out], and blocks of pixels to the order of TensorFlow.

    ONNX (mode CRD) has the pixels of a block within each channel, TensorFlow the channels within each pixel.
    """
    converted = dict(parameters)
    for spec in architecture.convolutions:
        names = [f"{spec.name}/kernel"] + ([] if spec.norm else [f"{spec.name}/bias"])
        for name in names:
            converted[name] = _pixels_first(parameters[name], spec)
        converted[names[0]] = converted[names[0]].transpose(2, 3, 1, 0)
    return converted


def _pixels_first(value: np.ndarray, spec: ConvSpec) -> np.ndarray:
    """[out * block**2, ...] -> [block**2 * out, ...]."""
    blocks = value.reshape(spec.out_channels, -1, *value.shape[1:])
    return blocks.swapaxes(0, 1).reshape(value.shape)


def stylize(images: tf.Tensor, parameters: Parameters, architecture: Architecture) -> tf.Tensor:
    """Stylizes images [B, H, W, 3], float32 RGB 0..255, of any size from 1x1; the result is the same, clipped.

    parameters: as `channels_last_parameters` returns them.
    """
    padded = _padded(images)
    feature_map = padded / OUTPUT_CENTER - 1.0
    for spec in architecture.encoder:
        feature_map = _layer(spec, feature_map, parameters)
    for first, second in architecture.residual:
        feature_map += _layer(second, _layer(first, feature_map, parameters), parameters)
    for spec in architecture.decoder:
        feature_map = _layer(spec, feature_map, parameters)
    stylized = tf.clip_by_value(OUTPUT_CENTER + OUTPUT_SPAN * feature_map, 0.0, 255.0)
    return stylized if padded is images else tf.slice(stylized, [0, 0, 0, 0], tf.shape(images))


def _padded(images: tf.Tensor) -> tf.Tensor:
    """Pads by reflection to sides that the network can halve twice; without an operation where that is known."""
    sides = images.shape[1:3]
    if sides.is_fully_defined() and all(padded_side(side) == side for side in sides):
        return images
    shape = tf.shape(images)
    return pad_to(images, padded_sides(shape[1]), padded_sides(shape[2]))


def _layer(spec: ConvSpec, feature_map: tf.Tensor, parameters: Parameters) -> tf.Tensor:
    margin, block = margin_of(spec), block_of(spec)
    extend = _repeat_edge if spec.upsample > 1 else _reflect
    padded = extend(extend(feature_map, margin, axis=1), margin, axis=2)
    stride = spec.stride * block // spec.upsample
    feature_map = tf.nn.conv2d(padded, parameters[f"{spec.name}/kernel"], stride, "VALID")
    if not spec.norm:
        feature_map += parameters[f"{spec.name}/bias"]
    if block > 1:
        feature_map = tf.nn.depth_to_space(feature_map, block)
    if spec.norm:
        scale, offset = (parameters[f"{spec.name}/{part}"] for part in ("scale", "offset"))
        feature_map = _instance_norm(feature_map, scale, offset)
    return ACTIVATIONS[spec.activation](feature_map)


def _instance_norm(feature_map: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    """Instance norm with the mean taken off first: in a picture of one color nothing but zeros is then enlarged."""
    centered = feature_map - tf.reduce_mean(feature_map, axis=[1, 2], keepdims=True)  # [B, H, W, C]
    variance = tf.reduce_mean(tf.square(centered), axis=[1, 2], keepdims=True)  # [B, 1, 1, C]
    return centered * (scale * tf.math.rsqrt(variance + NORM_EPSILON)) + offset


def _reflect(feature_map: tf.Tensor, margin: int, axis: int) -> tf.Tensor:
    """Reflection padding of one axis. Slices, because LiteRT's fast kernels (XNNPACK) have no MIRROR_PAD."""
    before = [_line(feature_map, index, axis) for index in range(margin, 0, -1)]
    after = [_line(feature_map, -1 - index, axis) for index in range(1, margin + 1)]
    return tf.concat([*before, feature_map, *after], axis)


def _repeat_edge(feature_map: tf.Tensor, margin: int, axis: int) -> tf.Tensor:
    first, last = _line(feature_map, 0, axis), _line(feature_map, -1, axis)
    return tf.concat([first] * margin + [feature_map] + [last] * margin, axis)


def _line(feature_map: tf.Tensor, index: int, axis: int) -> tf.Tensor:
    """One row (axis 1) or column (axis 2), which keeps its axis."""
    lines = slice(index, index + 1 or None)
    return feature_map[:, lines] if axis == 1 else feature_map[:, :, lines]

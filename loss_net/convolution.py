"""Convolutions with the frozen 3x3 kernels of VGG, computed in the way that is fastest on this machine.

All of them compute tf.nn.conv2d(feature_map, kernel, 1, "SAME") and its gradient for the feature map. They differ in
speed, and by rounding. TensorFlow's own float32 kernels for CPUs are slow for some shapes, and which ones depends on
the CPU: benchmarks/README.md has the measurements.
"""

import functools
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from system.machine import vector_bits

Convolution = Callable[[tf.Tensor], tf.Tensor]

# On CPUs with AVX-512, and on those of which nothing is known: from this many input channels on, conv2d takes 1.5 to 2
# times as long as conv2d_transpose.
TRANSPOSED_FROM_CHANNELS = 256
# On CPUs with AVX2 only: where the smaller of both numbers of channels is at least the first number, and the larger at
# least the second, Winograd's algorithm takes about half the time of conv2d.
WINOGRAD_FROM_CHANNELS = (128, 256)

# Winograd's algorithm F(4x4, 3x3), Lavin & Gray 2015, https://arxiv.org/abs/1509.09308, section 4.2: each tile of 4x4
# results needs 36 products per pair of channels, in place of 144.
TILE, INPUT_TILE = 4, 6  # pixels per side, of the result and of the input
INPUT_TRANSFORM = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ],
    np.float32,
)
KERNEL_TRANSFORM = (
    np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], np.float64) / 24
)
OUTPUT_TRANSFORM = np.array(
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]], np.float32
)


def frozen_convolution(kernel: np.ndarray, dtype: tf.DType) -> Convolution:
    """Returns the function feature map [B, H, W, C] -> [B, H, W, C'] for a frozen kernel [3, 3, C, C'].

    The feature map receives a gradient; the kernel receives none. dtype: that of the feature maps.
    """
    is_cpu = dtype == tf.float32 and not tf.config.list_physical_devices("GPU")
    if is_cpu and vector_bits() == 256:
        smaller, larger = sorted(kernel.shape[2:])
        is_large = smaller >= WINOGRAD_FROM_CHANNELS[0] and larger >= WINOGRAD_FROM_CHANNELS[1]
        return _with_rotated_gradient(winograd_convolution if is_large else _plain, kernel)
    is_deep = kernel.shape[2] >= TRANSPOSED_FROM_CHANNELS
    return _transposed(kernel) if is_cpu and is_deep else _plain(kernel, dtype)


def winograd_convolution(kernel: np.ndarray, dtype: tf.DType = tf.float32) -> Convolution:
    """Returns the convolution with a kernel [3, 3, C, C'] by Winograd's algorithm, for use inside a custom gradient.

    The algorithm is compiled for each size of image, which takes half a second. Therefore it serves only inside a
    tf.function, and only for images of known size; elsewhere conv2d is used.
    """
    rows_and_columns = np.einsum("ax,by,xyio->baio", KERNEL_TRANSFORM, KERNEL_TRANSFORM, kernel)
    products = tf.constant(rows_and_columns.reshape(INPUT_TILE**2, *kernel.shape[2:]), dtype)  # [36, C, C']

    def convolve(feature_map: tf.Tensor) -> tf.Tensor:
        if not (tf.inside_function() and feature_map.shape.is_fully_defined()):
            return _plain(kernel, dtype)(feature_map)  # the constant is made only where it is needed
        return _compiled_winograd(tuple(feature_map.shape), kernel.shape[3])(feature_map, products)

    return convolve


# One compiled function for all layers and directions that have the same shape. It is keyed here, because TensorFlow
# warns about a function that is traced for many shapes.
@functools.lru_cache(maxsize=64)
def _compiled_winograd(shape: tuple[int, ...], filters: int) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    # XLA fuses the transforms; without it they would take longer than the products save.
    return tf.function(
        _winograd,
        input_signature=[tf.TensorSpec(shape), tf.TensorSpec([INPUT_TILE**2, shape[3], filters])],
        jit_compile=True,
        autograph=False,
    )


def _winograd(feature_map: tf.Tensor, products: tf.Tensor) -> tf.Tensor:
    batch, height, width, channels = feature_map.shape
    rows, columns = -(-height // TILE), -(-width // TILE)  # of tiles
    padding = [[0, 0], [1, 1 + TILE * rows - height], [1, 1 + TILE * columns - width], [0, 0]]
    padded = tf.pad(feature_map, padding)
    tiles = _tile_parts(padded, rows, axis=1)  # [6, B, rows, W + 2, C]
    tiles = _tile_parts(tf.tensordot(INPUT_TRANSFORM, tiles, 1), columns, axis=3)
    tiles = tf.tensordot(INPUT_TRANSFORM, tiles, 1)  # [6 (column), 6 (row), B, rows, columns, C]
    tiles = tf.reshape(tiles, [INPUT_TILE**2, batch * rows * columns, channels])
    convolved = tf.matmul(tiles, products)  # [36, tiles, C']
    convolved = tf.tensordot(OUTPUT_TRANSFORM, tf.reshape(convolved, [INPUT_TILE, -1]), 1)
    convolved = tf.transpose(tf.reshape(convolved, [TILE, INPUT_TILE, -1]), [1, 0, 2])
    convolved = tf.tensordot(OUTPUT_TRANSFORM, tf.reshape(convolved, [INPUT_TILE, -1]), 1)
    convolved = tf.reshape(
        convolved, [TILE, TILE, batch, rows, columns, -1]
    )  # [row, column, B, rows, columns, C']
    convolved = tf.transpose(convolved, [2, 3, 0, 4, 1, 5])
    return tf.reshape(convolved, [batch, TILE * rows, TILE * columns, -1])[:, :height, :width]


def _tile_parts(values: tf.Tensor, tiles: int, axis: int) -> tf.Tensor:
    """Returns the pixels 0 to 5 of each of the overlapping tiles along an axis, stacked in a new first axis."""
    before = (slice(None),) * axis
    last = TILE * (tiles - 1)
    return tf.stack([values[(*before, slice(part, part + last + 1, TILE))] for part in range(INPUT_TILE)])


def _plain(kernel: np.ndarray, dtype: tf.DType = tf.float32) -> Convolution:
    constant = tf.constant(kernel, dtype)
    return lambda feature_map: tf.nn.conv2d(feature_map, constant, 1, "SAME")


def _with_rotated_gradient(build: Callable[[np.ndarray], Convolution], kernel: np.ndarray) -> Convolution:
    """The gradient of a convolution is the convolution with the rotated kernel."""
    forward, backward = build(kernel), build(_rotated(kernel))

    @tf.custom_gradient
    def convolve(feature_map: tf.Tensor):
        convolved = forward(feature_map)
        return convolved, lambda upstream: backward(tf.ensure_shape(upstream, convolved.shape))

    return convolve


def _transposed(kernel: np.ndarray) -> Convolution:
    """The convolution as conv2d_transpose with the rotated kernel."""
    plain, rotated = tf.constant(kernel, tf.float32), tf.constant(_rotated(kernel), tf.float32)

    @tf.custom_gradient
    def convolve(feature_map: tf.Tensor):
        shape = tf.shape(feature_map)  # [B, H, W, C]
        convolved_shape = tf.concat([shape[:3], [kernel.shape[3]]], axis=0)
        convolved = tf.nn.conv2d_transpose(feature_map, rotated, convolved_shape, 1, "SAME")
        convolved = tf.ensure_shape(convolved, [*feature_map.shape[:3], kernel.shape[3]])
        return convolved, lambda upstream: tf.nn.conv2d_transpose(upstream, plain, shape, 1, "SAME")

    return convolve


def _rotated(kernel: np.ndarray) -> np.ndarray:
    """Returns the kernel rotated by 180 degrees with its channel axes swapped: [3, 3, C', C]."""
    return np.ascontiguousarray(kernel[::-1, ::-1].swapaxes(2, 3))

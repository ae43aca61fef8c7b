"""The layers of the transformer network as pure functions of tensors. All tensors are channels-last.

The functions are pure because training runs them in a tf.function and the export builds a TensorFlow 1 graph from
the same code.
"""

import tensorflow as tf

from system.machine import vector_bits
from transformer.architecture import NORM_EPSILON

BAND_ROWS = 16  # rows of the bands from which the gradient of a kernel is computed
FAST_KERNEL_GRADIENT_FROM_CHANNELS = 64  # TensorFlow's kernel is then faster without bands


def reflected_indices(length: tf.Tensor, padded_length: tf.Tensor) -> tf.Tensor:
    """Returns indices [padded_length] that extend 0..length-1 by reflection, several times if needed.

    The edge is not repeated, so the indices have the period 2 * (length - 1). For length 1 all of them are 0.
    """
    period = tf.maximum(2 * (length - 1), 1)
    position = tf.range(padded_length) % period
    return tf.minimum(position, period - position)


def pad_to(images: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Pads images [B, H, W, C] at the bottom and on the right to [B, height, width, C] by reflection.

    Unlike tf.pad it may add more rows and columns than the image has, so that it works for a 1x1 image too.
    """
    shape = tf.shape(images)
    images = tf.gather(images, reflected_indices(shape[1], height), axis=1)
    return tf.gather(images, reflected_indices(shape[2], width), axis=2)


def reflection_pad(feature_map: tf.Tensor, size: int) -> tf.Tensor:
    """Adds reflection padding of `size` pixels on every side: [B, H, W, C] -> [B, H + 2 size, W + 2 size, C].

    H and W must be greater than `size`.
    """
    paddings = [[0, 0], [size, size], [size, size], [0, 0]]
    if None in feature_map.shape[1:3]:
        return tf.pad(feature_map, paddings, mode="REFLECT")

    # The sides are known when the graph is built, as in training. Copying whole rows and columns then takes a CPU
    # about two thirds of the time of tf.pad, which copies single values. For the gradient tf.pad's own kernel is the
    # fastest (benchmarks/README.md).
    @tf.custom_gradient
    def pad(feature_map: tf.Tensor) -> tf.Tensor:
        padded = _extend(_extend(feature_map, size, axis=2), size, axis=1)
        return padded, lambda upstream: tf.raw_ops.MirrorPadGrad(
            input=upstream, paddings=paddings, mode="REFLECT"
        )

    return pad(feature_map)


def _extend(feature_map: tf.Tensor, size: int, axis: int) -> tf.Tensor:
    length = feature_map.shape[axis]
    before = tf.gather(feature_map, list(range(size, 0, -1)), axis=axis)
    after = tf.gather(feature_map, list(range(length - 2, length - 2 - size, -1)), axis=axis)
    return tf.concat([before, feature_map, after], axis=axis)


def convolution(feature_map: tf.Tensor, kernel: tf.Tensor, stride: int = 1) -> tf.Tensor:
    """Convolves with reflection padding: [B, H, W, C] -> [B, ceil(H / stride), ceil(W / stride), C'].

    kernel: [size, size, C, C'] with an odd size.
    """
    padded = reflection_pad(feature_map, kernel.shape[0] // 2)
    kernel = tf.cast(kernel, padded.dtype)
    if stride == 1 and padded.shape.is_fully_defined() and _has_slow_gradients(padded.dtype):
        return _convolution_with_fast_gradients(padded, kernel)
    return tf.nn.conv2d(padded, kernel, strides=stride, padding="VALID")


def _has_slow_gradients(dtype: tf.DType) -> bool:
    # measured on CPUs with AVX2 but without AVX-512 only: benchmarks/README.md
    return dtype == tf.float32 and vector_bits() == 256 and not tf.config.list_physical_devices("GPU")


@tf.custom_gradient
def _convolution_with_fast_gradients(padded: tf.Tensor, kernel: tf.Tensor):
    """Computes conv2d without padding, with the gradients that TensorFlow computes too, in less time.

    padded: [B, H, W, C]; kernel: [size, size, C, C']. The gradient of the feature map is a convolution with the rotated
    kernel. That of the kernel is computed from bands of a few rows, as if each band were an image, because
    TensorFlow's kernel uses several cores only for several images.
    """
    size, convolved = kernel.shape[0], tf.nn.conv2d(padded, kernel, 1, "VALID")

    def gradients(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:  # [B, H - size + 1, W - size + 1, C']
        upstream = tf.ensure_shape(upstream, convolved.shape)  # a gradient may come without its size
        rotated = tf.transpose(tf.reverse(kernel, axis=[0, 1]), [0, 1, 3, 2])
        around = [[0, 0], [size - 1, size - 1], [size - 1, size - 1], [0, 0]]
        return tf.nn.conv2d(upstream, rotated, 1, around), _kernel_gradient(padded, upstream, kernel.shape)

    return convolved, gradients


def _kernel_gradient(padded: tf.Tensor, upstream: tf.Tensor, kernel_shape: tf.TensorShape) -> tf.Tensor:
    height = upstream.shape[1]
    is_fast = min(kernel_shape[2:]) >= FAST_KERNEL_GRADIENT_FROM_CHANNELS
    rows = height if is_fast or height % BAND_ROWS else BAND_ROWS
    overlap = kernel_shape[0] - 1
    bands = [padded[:, top : top + rows + overlap] for top in range(0, height, rows)]
    return tf.raw_ops.Conv2DBackpropFilter(
        input=tf.concat(bands, axis=0),
        filter_sizes=kernel_shape,
        out_backprop=_bands_first(upstream, rows),
        strides=[1, 1, 1, 1],
        padding="VALID",
    )


def _bands_first(feature_map: tf.Tensor, rows: int) -> tf.Tensor:
    """Cuts feature maps [B, H, W, C] into bands: [H / rows * B, rows, W, C], the upper bands of all images first."""
    batch, height, width, channels = feature_map.shape
    bands = tf.reshape(feature_map, [batch, height // rows, rows, width, channels])
    return tf.reshape(tf.transpose(bands, [1, 0, 2, 3, 4]), [-1, rows, width, channels])


def upsample_nearest(feature_map: tf.Tensor, factor: int) -> tf.Tensor:
    """Repeats every pixel factor x factor times: [B, H, W, C] -> [B, factor H, factor W, C].

    The gradient is defined here as a pooled sum. The gradient that TensorFlow derives for the broadcast takes several
    times as long, and that of tf.image.resize has no XLA kernel on CPUs.
    """

    @tf.custom_gradient
    def repeat(feature_map: tf.Tensor) -> tf.Tensor:
        shape = tf.shape(feature_map)
        channels = feature_map.shape[3]
        column = tf.reshape(feature_map, [shape[0], shape[1], 1, shape[2], 1, channels])
        repeated = tf.broadcast_to(column, [shape[0], shape[1], factor, shape[2], factor, channels])
        upsampled = tf.reshape(repeated, [shape[0], factor * shape[1], factor * shape[2], channels])
        return upsampled, lambda upstream: factor**2 * tf.nn.avg_pool2d(upstream, factor, factor, "VALID")

    return repeat(feature_map)


def instance_norm(feature_map: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    """Normalizes every channel of every image to zero mean and unit variance, then computes scale * x + offset.

    feature_map: [B, H, W, C] of any float type; the result has the same shape and type.
    scale, offset: [C]. Mean and variance are computed in their type.
    Ulyanov et al. 2016, https://arxiv.org/abs/1607.08022.
    """
    if (
        feature_map.shape[0] is None or feature_map.dtype == tf.float64
    ):  # the fused kernel does not support float64
        return _instance_norm_by_moments(feature_map, scale, offset)
    return _instance_norm_by_image(feature_map, scale, offset)


def _instance_norm_by_image(feature_map: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    # Batch norm over a batch of one image is instance norm. Its fused kernel is 2 to 3 times as fast, forward and
    # backward, as separate operations (benchmarks/README.md). It needs a known batch size.
    normalized = [
        tf.compat.v1.nn.fused_batch_norm(image, scale, offset, epsilon=NORM_EPSILON)[0]
        for image in tf.split(feature_map, feature_map.shape[0])
    ]
    return tf.concat(normalized, axis=0)


def _instance_norm_by_moments(feature_map: tf.Tensor, scale: tf.Tensor, offset: tf.Tensor) -> tf.Tensor:
    mean, variance = tf.nn.moments(
        tf.cast(feature_map, scale.dtype), axes=[1, 2], keepdims=True
    )  # [B, 1, 1, C]
    gain = scale * tf.math.rsqrt(variance + NORM_EPSILON)
    shift = offset - mean * gain
    return feature_map * tf.cast(gain, feature_map.dtype) + tf.cast(shift, feature_map.dtype)

"""VGG features by literature name, "relu1_1" to "relu5_4": the frozen network that judges pictures.

Simonyan & Zisserman 2014, https://arxiv.org/abs/1409.1556. The only place that knows BGR and mean subtraction.
"""

from collections.abc import Iterable

import tensorflow as tf

from loss_net.topology import CONV_LAYERS, deepest_layer, layer_names
from loss_net.weights import VggWeights

POOLINGS = {"max": tf.nn.max_pool2d, "avg": tf.nn.avg_pool2d}

# From so many input channels on, float32 conv2d on a CPU (oneDNN, TensorFlow 2.21) takes 1.5 to 2 times as long
# as the gradient kernel for the same convolution with its kernel turned around: benchmarks/README.md.
TURNED_FROM_CHANNELS = 256


class Vgg:
    """Callable: images [B, H, W, 3], RGB 0..255 -> {layer: feature map [B, H', W', C]} in `compute_dtype`.

    Built only as deep as the deepest of `layers`. With pool_padding SAME any size from 1x1 passes.
    """

    def __init__(
        self,
        weights: VggWeights,
        layers: Iterable[str],
        *,
        pooling: str,
        pool_padding: str,
        mean_rgb: tuple[float, float, float] | None,
        compute_dtype: tf.DType,
    ):
        if pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {', '.join(POOLINGS)}, got {pooling!r}")
        self.architecture = weights.architecture
        self.pool, self.pool_padding = POOLINGS[pooling], pool_padding
        self.compute_dtype = compute_dtype
        mean_rgb = weights.mean_bgr[::-1] if mean_rgb is None else mean_rgb
        # subtracted in the images' own precision: in bfloat16 pixels are a level apart
        self.mean_rgb = tf.constant(mean_rgb, tf.float64 if compute_dtype == tf.float64 else tf.float32)
        self.kernels, self.biases, self.turned_kernels = {}, {}, {}
        for conv in self._names_to(layers):
            kernel = weights.kernels[conv]
            # turning the first kernel around once spares turning every image from RGB to BGR
            kernel = kernel[:, :, ::-1, :] if conv == "conv1_1" else kernel
            self.kernels[conv] = tf.constant(kernel, compute_dtype)
            self.biases[conv] = tf.constant(weights.biases[conv], compute_dtype)
            if self._is_turned(kernel.shape[2]):
                turned = kernel[::-1, ::-1].swapaxes(2, 3)  # [3, 3, out, in]
                self.turned_kernels[conv] = tf.constant(turned, compute_dtype)

    def __call__(self, images: tf.Tensor, layers: Iterable[str]) -> dict[str, tf.Tensor]:
        feature_map = tf.cast(tf.cast(images, self.mean_rgb.dtype) - self.mean_rgb, self.compute_dtype)
        features = {}
        for conv in self._names_to(layers):
            if conv.endswith("_1") and conv != "conv1_1":
                feature_map = self.pool(feature_map, 2, 2, self.pool_padding)
            convolved = self._convolve(conv, feature_map)
            feature_map = tf.nn.relu(tf.nn.bias_add(convolved, self.biases[conv]))
            features[conv.replace("conv", "relu")] = feature_map
        return {layer: features[layer] for layer in layers}

    def multiply_adds(self, layers: Iterable[str], side: int) -> int:
        """Multiply-accumulate operations of one pass to the deepest of `layers`, for one image of side x side."""
        total = 0
        for conv in self._names_to(layers):
            block = int(conv.removeprefix("conv").partition("_")[0])
            total += (side >> (block - 1)) ** 2 * self.kernels[conv].shape.num_elements()
        return total

    def _convolve(self, conv: str, feature_map: tf.Tensor) -> tf.Tensor:
        if conv in self.turned_kernels:
            return _convolution_by_gradient(feature_map, self.kernels[conv], self.turned_kernels[conv])
        return tf.nn.conv2d(feature_map, self.kernels[conv], 1, "SAME")

    def _is_turned(self, channels: int) -> bool:
        is_slow = self.compute_dtype == tf.float32 and channels >= TURNED_FROM_CHANNELS
        return is_slow and not tf.config.list_physical_devices("GPU")

    def _names_to(self, layers: Iterable[str]) -> tuple[str, ...]:
        deepest = deepest_layer(layers, self.architecture)
        names = layer_names(self.architecture)
        return CONV_LAYERS[self.architecture][: names.index(deepest) + 1]


def build_vgg(
    weights: VggWeights,
    layers: Iterable[str],
    *,
    pooling: str = "max",
    pool_padding: str = "SAME",
    mean_rgb: tuple[float, float, float] | None = None,
    compute_dtype: tf.DType = tf.float32,
) -> Vgg:
    """The feature network for `layers`, see `Vgg`; ValueError for an unknown layer or pooling.

    `mean_rgb` is subtracted from images, RGB 0..255; by default it is the mean that the weights came with.
    """
    return Vgg(
        weights,
        tuple(layers),
        pooling=pooling,
        pool_padding=pool_padding,
        mean_rgb=mean_rgb,
        compute_dtype=compute_dtype,
    )


@tf.custom_gradient
def _convolution_by_gradient(feature_map: tf.Tensor, kernel: tf.Tensor, turned: tf.Tensor):
    """conv2d of `kernel` [3, 3, in, out], computed as the gradient of conv2d of `turned` [3, 3, out, in].

    `turned` is the kernel turned by 180 degrees. A gradient passes to the feature map, none to the kernel, which
    is frozen.
    """
    shape = tf.shape(feature_map)  # [B, H, W, in]
    convolved_shape = tf.concat([shape[:3], [kernel.shape[3]]], axis=0)
    convolved = tf.nn.conv2d_transpose(feature_map, turned, convolved_shape, 1, "SAME")
    convolved = tf.ensure_shape(convolved, [*feature_map.shape[:3], kernel.shape[3]])

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None, None]:
        return tf.nn.conv2d_transpose(upstream, kernel, shape, 1, "SAME"), None, None

    return convolved, gradient

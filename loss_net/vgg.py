"""The frozen VGG network: feature maps of images by their names in the literature, "relu1_1" to "relu5_4".

Simonyan & Zisserman 2014, https://arxiv.org/abs/1409.1556. Only this module subtracts the mean color and knows
that the published weights expect BGR; all other modules work with RGB images in 0..255.
"""

from collections.abc import Iterable

import tensorflow as tf

from loss_net.convolution import frozen_convolution
from loss_net.topology import CONV_LAYERS, deepest_layer, layer_names
from loss_net.weights import VggWeights

POOLINGS = {"max": tf.nn.max_pool2d, "avg": tf.nn.avg_pool2d}


class Vgg:
    """Callable that maps images [B, H, W, 3], RGB 0..255, and layer names to {layer: feature map}.

    A feature map is [B, H', W', C] in `compute_dtype`. The network is built no deeper than the deepest of
    `layers`. With pool_padding "SAME" it takes images of any size from 1x1. `build_vgg` describes the arguments.
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
        # subtracted in float32 or float64: in bfloat16, values from 128 to 255 are rounded to whole levels
        self.mean_rgb = tf.constant(mean_rgb, tf.float64 if compute_dtype == tf.float64 else tf.float32)
        self.convolutions, self.biases, self._kernel_sizes = {}, {}, {}
        for conv in self._names_to(layers):
            kernel = weights.kernels[conv]
            # reversing the input channels of the first kernel once saves converting every image to BGR
            kernel = kernel[:, :, ::-1, :] if conv == "conv1_1" else kernel
            self.convolutions[conv] = frozen_convolution(kernel, compute_dtype)
            self.biases[conv] = tf.constant(weights.biases[conv], compute_dtype)
            self._kernel_sizes[conv] = kernel.size

    def __call__(self, images: tf.Tensor, layers: Iterable[str]) -> dict[str, tf.Tensor]:
        feature_map = tf.cast(tf.cast(images, self.mean_rgb.dtype) - self.mean_rgb, self.compute_dtype)
        features = {}
        for conv in self._names_to(layers):
            if conv.endswith("_1") and conv != "conv1_1":
                feature_map = self.pool(feature_map, 2, 2, self.pool_padding)
            convolved = self.convolutions[conv](feature_map)
            feature_map = tf.nn.relu(tf.nn.bias_add(convolved, self.biases[conv]))
            features[conv.replace("conv", "relu")] = feature_map
        return {layer: features[layer] for layer in layers}

    def multiply_adds(self, layers: Iterable[str], side: int) -> int:
        """Returns the multiply-accumulate operations of one forward pass, for one image of side x side pixels.

        The pass ends at the deepest of `layers`. Only convolutions are counted.
        """
        total = 0
        for conv in self._names_to(layers):
            block = int(conv.removeprefix("conv").partition("_")[0])
            total += (side >> (block - 1)) ** 2 * self._kernel_sizes[conv]
        return total

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
    """Builds the frozen network that computes the feature maps `layers`.

    pooling: "max" or "avg", in windows of 2x2.
    pool_padding: "SAME", or "VALID" to drop an odd last row or column.
    mean_rgb: the color subtracted from images, RGB 0..255. By default it is the mean of the weights file.
    compute_dtype: type of the convolutions and feature maps.

    Raises ValueError for an unknown layer or pooling, or if `layers` is empty.
    """
    return Vgg(
        weights,
        tuple(layers),
        pooling=pooling,
        pool_padding=pool_padding,
        mean_rgb=mean_rgb,
        compute_dtype=compute_dtype,
    )

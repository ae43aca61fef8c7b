"""VGG features by literature name, "relu1_1" to "relu5_4": the frozen network that judges pictures.

Simonyan & Zisserman 2014, https://arxiv.org/abs/1409.1556. The only place that knows BGR and mean subtraction.
"""

from collections.abc import Iterable

import tensorflow as tf

from loss_net.weights import CONV_LAYERS, VggWeights

POOLINGS = {"max": tf.nn.max_pool2d, "avg": tf.nn.avg_pool2d}


def layer_names(architecture: str) -> tuple[str, ...]:
    """The features that `architecture` ("vgg16" or "vgg19") can give, shallow to deep."""
    return tuple(name.replace("conv", "relu") for name in CONV_LAYERS[architecture])


def deepest_layer(layers: Iterable[str], architecture: str) -> str:
    """The deepest of `layers`; ValueError with the allowed names if one is unknown or none is given."""
    names = layer_names(architecture)
    layers = list(layers)
    for layer in layers:
        if layer not in names:
            raise ValueError(f"unknown {architecture} layer {layer!r}; choose from {', '.join(names)}")
    if not layers:
        raise ValueError(f"no {architecture} layer asked for; choose from {', '.join(names)}")
    return max(layers, key=names.index)


class Vgg:
    """Callable: images [B, H, W, 3], RGB 0..255 -> {layer: feature map [B, H', W', C]} in `compute_dtype`.

    Built only as deep as the deepest of `layers`. Pooling is SAME, so that any size from 1x1 passes.
    """

    def __init__(
        self,
        weights: VggWeights,
        layers: Iterable[str],
        *,
        pooling: str,
        compute_dtype: tf.DType,
    ):
        if pooling not in POOLINGS:
            raise ValueError(f"pooling must be one of {', '.join(POOLINGS)}, got {pooling!r}")
        self.architecture = weights.architecture
        self.pool = POOLINGS[pooling]
        self.compute_dtype = compute_dtype
        self.mean_rgb = tf.constant(weights.mean_bgr[::-1], tf.float32)
        self.kernels, self.biases = {}, {}
        for conv in self._convolutions_to(layers):
            kernel = weights.kernels[conv]
            # turning the first kernel around once spares turning every image from RGB to BGR
            kernel = kernel[:, :, ::-1, :] if conv == "conv1_1" else kernel
            self.kernels[conv] = tf.constant(kernel, compute_dtype)
            self.biases[conv] = tf.constant(weights.biases[conv], compute_dtype)

    def __call__(self, images: tf.Tensor, layers: Iterable[str]) -> dict[str, tf.Tensor]:
        feature_map = tf.cast(images - self.mean_rgb, self.compute_dtype)
        features = {}
        for conv in self._convolutions_to(layers):
            if conv.endswith("_1") and conv != "conv1_1":
                feature_map = self.pool(feature_map, 2, 2, "SAME")
            feature_map = tf.nn.conv2d(feature_map, self.kernels[conv], 1, "SAME")
            feature_map = tf.nn.relu(tf.nn.bias_add(feature_map, self.biases[conv]))
            features[conv.replace("conv", "relu")] = feature_map
        return {layer: features[layer] for layer in layers}

    def _convolutions_to(self, layers: Iterable[str]) -> tuple[str, ...]:
        deepest = deepest_layer(layers, self.architecture)
        names = layer_names(self.architecture)
        return CONV_LAYERS[self.architecture][: names.index(deepest) + 1]


def build_vgg(
    weights: VggWeights,
    layers: Iterable[str],
    *,
    pooling: str = "max",
    compute_dtype: tf.DType = tf.float32,
) -> Vgg:
    """The feature network for `layers`, see `Vgg`; ValueError for an unknown layer or pooling."""
    return Vgg(weights, tuple(layers), pooling=pooling, compute_dtype=compute_dtype)

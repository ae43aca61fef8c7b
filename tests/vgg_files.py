"""VGG weights of a few channels, and a writer of our own .npz form: for tests, where 80 MB would be slow."""

from pathlib import Path

import numpy as np

from loss_net.topology import BLOCK_CHANNELS, CONV_LAYERS, expected_kernel_shape
from loss_net.weight_files import KERAS_MEAN_BGR
from loss_net.weights import VggWeights

TINY_VGG_CHANNELS = (5, 6, 7, 8, 9)  # no number twice, so that a wrong axis cannot fit by chance


def random_vgg_weights(
    architecture: str, block_channels: tuple[int, ...] = TINY_VGG_CHANNELS, *, seed: int = 1
) -> VggWeights:
    generator = np.random.default_rng(seed)
    kernels, biases = {}, {}
    for name in CONV_LAYERS[architecture]:
        shape = expected_kernel_shape(name, block_channels)
        scale = np.sqrt(2 / np.prod(shape[:3]))  # He et al.: features keep their size through the layers
        kernels[name] = generator.normal(scale=scale, size=shape).astype(np.float32)
        biases[name] = generator.normal(size=shape[3]).astype(np.float32)
    mean_bgr = np.array(KERAS_MEAN_BGR, np.float32)
    return VggWeights(architecture, kernels, biases, mean_bgr, "random", block_channels)


def save_vgg_weights(path: Path, weights: VggWeights) -> None:
    """Writes an .npz file from which `load_vgg_weights` loads the same arrays."""
    arrays = {f"{name}/kernel": kernel for name, kernel in weights.kernels.items()}
    arrays |= {f"{name}/bias": bias for name, bias in weights.biases.items()}
    if weights.block_channels != BLOCK_CHANNELS:
        arrays["block_channels"] = np.array(weights.block_channels)
    np.savez(path, mean_bgr=weights.mean_bgr, **arrays)

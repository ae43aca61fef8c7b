"""The convolutions of VGG16 and VGG19: names, order and channels. No weights; imports no library.

Simonyan & Zisserman 2014, https://arxiv.org/abs/1409.1556, table 1: columns D (VGG16) and E (VGG19).
Convolution "conv3_1" is the first of block 3; its feature map after ReLU is "relu3_1". A pooling of stride 2
stands between two blocks.
"""

from collections.abc import Iterable

BLOCK_DEPTHS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}  # convolutions of each block
BLOCK_CHANNELS = (64, 128, 256, 512, 512)  # output channels of each block's convolutions
CONV_LAYERS: dict[str, tuple[str, ...]] = {
    architecture: tuple(f"conv{b}_{c}" for b, depth in enumerate(depths, 1) for c in range(1, depth + 1))
    for architecture, depths in BLOCK_DEPTHS.items()
}


def layer_names(architecture: str) -> tuple[str, ...]:
    """Returns the names of all feature maps of `architecture` ("vgg16" or "vgg19"), shallow to deep."""
    return tuple(name.replace("conv", "relu") for name in CONV_LAYERS[architecture])


def deepest_layer(layers: Iterable[str], architecture: str) -> str:
    """Returns the deepest of `layers`.

    Raises ValueError with the allowed names if a layer is unknown or `layers` is empty.
    """
    names = layer_names(architecture)
    layers = list(layers)
    for layer in layers:
        if layer not in names:
            raise ValueError(f"unknown {architecture} layer {layer!r}; choose from {', '.join(names)}")
    if not layers:
        raise ValueError(f"no {architecture} layer given; choose from {', '.join(names)}")
    return max(layers, key=names.index)


def least_side(layer: str) -> int:
    """Returns the least height and width of an image, in pixels, that `layer` needs.

    At this size every feature map before `layer` is at least as large as its 2x2 pooling window.
    """
    block = int(layer.removeprefix("relu").partition("_")[0])
    return 2 ** (block - 1)


def expected_kernel_shape(
    name: str, block_channels: tuple[int, ...] = BLOCK_CHANNELS
) -> tuple[int, int, int, int]:
    """Returns the kernel shape (3, 3, in, out) of a convolution, given the output channels of the five blocks.

    VGG16 and VGG19 agree in the convolutions that both have.
    """
    block, index = int(name[4]), int(name[6])
    channels = (3, *block_channels)
    return (3, 3, channels[block - 1] if index == 1 else channels[block], channels[block])

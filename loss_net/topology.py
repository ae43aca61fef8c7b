"""The layers of VGG16 and VGG19 by literature name: what there is, and how deep. No weights, no libraries."""

from collections.abc import Iterable

# Simonyan & Zisserman 2014 (arXiv:1409.1556), table 1: columns D (VGG16) and E (VGG19).
BLOCK_DEPTHS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}
CONV_LAYERS: dict[str, tuple[str, ...]] = {
    architecture: tuple(f"conv{b}_{c}" for b, depth in enumerate(depths, 1) for c in range(1, depth + 1))
    for architecture, depths in BLOCK_DEPTHS.items()
}


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


def least_side(layer: str) -> int:
    """The pixels that each side of an image needs so that no pooling before `layer` looks past its border."""
    block = int(layer.removeprefix("relu").partition("_")[0])
    return 2 ** (block - 1)

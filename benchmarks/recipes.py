"""What a style was trained for: its painting, its loss and the Gram matrices, for video_stability.py."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data.images import load_image
from transformer.export.style_folder import find_style

LOSSES = ("content", "style", "total")
TRACE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")


class Recipe(NamedTuple):
    """What a style was trained for. weights: content, style and TV weight, where they differ from the preset's."""

    painting: Path
    preset: str
    style_size: int | None
    weights: dict[str, float]


def read_recipe(style: str, folders: Sequence[Path]) -> Recipe:
    """Returns the recipe in style.json. Raises FileNotFoundError if the painting is in none of the folders."""
    info = json.loads((find_style(style) / "style.json").read_text(encoding="utf-8"))
    config = info.get("config") or info.get("base", {}).get("config", {})
    stem = Path(config.get("style") or info["style_picture"]["file"]).stem
    for folder in folders:
        for path in sorted(folder.glob(f"{stem}.*")):
            names = [f"{term}_weight" for term in ("content", "style", "tv")]
            weights = {name: config[name] for name in names if name in config}
            return Recipe(path, config.get("preset", "lengstrom"), config.get("style_size"), weights)
    raise FileNotFoundError(
        f"{stem}: the painting of {style} is in none of {' '.join(map(str, folders))}; give --paintings"
    )


def build_loss(vgg: Path, recipe: Recipe) -> Callable:
    """Returns the loss that the style was trained for, of stylized and content images [1, H, W, 3]."""
    import tensorflow as tf

    from loss_net.perceptual import build_perceptual_loss
    from loss_net.presets import LOSS_PRESETS
    from loss_net.weights import load_vgg_weights

    preset = replace(LOSS_PRESETS[recipe.preset], **recipe.weights)
    painting = load_image(recipe.painting, max_side=recipe.style_size)
    loss = build_perceptual_loss(load_vgg_weights(vgg, preset.architecture), [painting], preset)
    images = tf.TensorSpec([1, None, None, 3], tf.float32)
    return tf.function(loss, input_signature=[images, images])


def still_losses(stylize: Callable, photos: Sequence[np.ndarray], loss: Callable) -> dict[str, float]:
    """Returns the means of LOSSES over photos at their own size."""
    terms = [loss(stylize(photo)[np.newaxis], photo[np.newaxis]) for photo in photos]
    return {name: float(np.mean([float(term[name]) for term in terms])) for name in LOSSES}


def gram_traces(vgg: Path, recipe: Recipe) -> dict[str, float]:
    """Returns the trace of the Gram matrix of a painting in each of TRACE_LAYERS: the mean of C squares, over C."""
    from loss_net.losses import gram_matrix
    from loss_net.vgg import build_vgg
    from loss_net.weights import load_vgg_weights

    network = build_vgg(load_vgg_weights(vgg, "vgg19"), TRACE_LAYERS)
    maps = network(load_image(recipe.painting, max_side=recipe.style_size)[np.newaxis], TRACE_LAYERS)
    return {layer: float(np.trace(gram_matrix(maps[layer])[0].numpy())) for layer in TRACE_LAYERS}

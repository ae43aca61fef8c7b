"""Named recipes: which layers, weights and normalisations make up the loss, each with its source.

Data, not code: no TensorFlow here, so that a door can look a recipe up before anything slow is imported.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """A perceptual loss. Every term is a mean squared difference; Gram matrices are divided by H*W*C."""

    source: str  # where the figures come from
    architecture: str  # vgg16 or vgg19
    pooling: str  # max or avg
    content_layers: dict[str, float]  # layer -> relative weight
    style_layers: dict[str, float]  # layer -> relative weight
    content_weight: float
    style_weight: float
    tv_weight: float
    tv_reduction: str = "mean"  # mean or sum, see losses.total_variation_loss


RECIPES = {
    "lengstrom": Recipe(
        source="https://github.com/lengstrom/fast-style-transfer",
        architecture="vgg19",
        pooling="max",
        content_layers={"relu4_2": 1.0},
        style_layers={"relu1_1": 1.0, "relu2_1": 1.0, "relu3_1": 1.0, "relu4_1": 1.0, "relu5_1": 1.0},
        content_weight=7.5,
        style_weight=100.0,
        tv_weight=200.0,
    ),
    "johnson": Recipe(
        source="https://github.com/jcjohnson/fast-neural-style",
        architecture="vgg16",
        pooling="max",
        content_layers={"relu3_3": 1.0},
        style_layers={"relu1_2": 1.0, "relu2_2": 1.0, "relu3_3": 1.0, "relu4_3": 1.0},
        content_weight=1.0,
        style_weight=5.0,
        tv_weight=1e-6,
        tv_reduction="sum",
    ),
    "lesson30": Recipe(
        source="the widespread 'lesson 30' fast style transfer course scripts",
        architecture="vgg19",
        pooling="avg",
        content_layers={"relu3_3": 1.0},
        style_layers={"relu1_2": 1.0, "relu2_2": 1.0, "relu3_3": 1.0, "relu4_3": 1.0},
        content_weight=1.0,
        style_weight=250.0,
        tv_weight=0.01,
    ),
}

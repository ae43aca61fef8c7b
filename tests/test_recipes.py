"""The named recipes: the figures of their sources, and nothing that the losses cannot do."""

import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from loss_net.recipes import RECIPES
from loss_net.topology import CONV_LAYERS

REPOSITORY_DIR = Path(__file__).parents[1]

# Read from each project's code: architecture, pooling, content layer, style layers, then the weights of content,
# style and total variation, and how the latter is reduced.
LENGSTROM_STYLE = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
JOHNSON_STYLE = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
FIGURES = {
    "lengstrom": ("vgg19", "max", "relu4_2", LENGSTROM_STYLE, 7.5, 100, 200, "mean"),
    "johnson": ("vgg16", "max", "relu3_3", JOHNSON_STYLE, 1, 5, 1e-6, "sum"),
    "lesson30": ("vgg19", "avg", "relu3_3", JOHNSON_STYLE, 1, 250, 0.01, "mean"),
}


def test_every_recipe_has_its_figures_here():
    assert set(RECIPES) == set(FIGURES)


@pytest.mark.parametrize("name", FIGURES)
def test_the_figures_are_those_of_the_source(name):
    recipe = RECIPES[name]
    architecture, pooling, content_layer, style_layers, content_weight, style_weight, tv_weight, reduction = (
        FIGURES[name]
    )
    assert (recipe.architecture, recipe.pooling, recipe.tv_reduction) == (architecture, pooling, reduction)
    assert recipe.content_layers == {content_layer: 1}
    assert recipe.style_layers == dict.fromkeys(style_layers, 1)
    assert (recipe.content_weight, recipe.style_weight, recipe.tv_weight) == (
        content_weight,
        style_weight,
        tv_weight,
    )


@pytest.mark.parametrize("name", RECIPES)
def test_every_layer_exists_in_the_architecture(name):
    recipe = RECIPES[name]
    existing = {conv.replace("conv", "relu") for conv in CONV_LAYERS[recipe.architecture]}
    assert recipe.content_layers.keys() | recipe.style_layers.keys() <= existing


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_names_its_source(name):
    assert RECIPES[name].source


def test_a_recipe_cannot_be_changed_by_accident():
    with pytest.raises(FrozenInstanceError):
        RECIPES["lengstrom"].style_weight = 1.0


def test_looking_up_a_recipe_imports_nothing_slow():
    code = "import sys, loss_net.recipes; print(*{'tensorflow', 'keras', 'numpy'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=REPOSITORY_DIR, text=True) == "\n"

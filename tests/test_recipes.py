"""The named recipes: the figures of their sources, and nothing that the losses cannot do."""

import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from loss_net.losses import TV_FORMS
from loss_net.recipes import RECIPES, Divisor, Noise
from loss_net.topology import deepest_layer

REPOSITORY_DIR = Path(__file__).parents[1]

# Read from each program: what its recipe must say. "divisors" are those of content, Gram and style terms.
GATYS_STYLE = dict.fromkeys(("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"), 1)
JOHNSON_STYLE = dict.fromkeys(("relu1_2", "relu2_2", "relu3_3", "relu4_3"), 1)
MEANS = (Divisor(1, 1, 1), Divisor(1, 1, 1), Divisor(1, 0, 2))
FIGURES = {
    "athalye": {
        "network": ("vgg19", "max", "SAME", None),
        "layers": ({"relu4_2": 1}, GATYS_STYLE),
        "weights": (5, 100, 100),
        "divisors": MEANS,
        "forms": (False, "mean_squares", 1),
        "start": ("noise", Noise("normal", 0, 0.256), 1),
        "optimizer": ("adam", 10, 0.9, 0.999, 1e-8, False, None, 1000),
        "sizes": (None, None, None, "width"),
    },
    "souljoy": {
        "network": ("vgg19", "max", "SAME", (128, 128, 128)),
        "layers": ({"relu1_2": 1}, dict.fromkeys(("relu1_2", "relu2_2", "relu3_2"), 1)),
        "weights": (1, 1, 0),
        "divisors": (Divisor(2, 1, 1), Divisor(1, 1, 1), Divisor(2, 1, 1)),
        "forms": (False, "mean_squares", 1),
        "start": ("noise", Noise("normal", 0, 1), 1),
        "optimizer": ("adam", 0.5, 0.9, 0.999, 1e-8, False, None, 500),
        "sizes": ((224, 224), None, None, "size"),
    },
    "keras-lbfgs": {
        "network": ("vgg16", "max", "VALID", None),
        "layers": ({"relu4_2": 1}, GATYS_STYLE),
        "weights": (0.025, 1, 1),
        "divisors": (Divisor(), Divisor(), Divisor(36, image_pixels=2)),
        "forms": (True, "sum_powers", 1),
        "start": ("noise", Noise("uniform", -128, 127), 1),
        "optimizer": ("lbfgs", 10, 0.9, 0.999, 1e-8, False, 20, 30),
        "sizes": ((300, 500), None, None, "size"),
    },
    "ist": {
        "network": ("vgg19", "avg", "SAME", (123.68, 116.779, 103.939)),
        "layers": (
            {"relu4_2": 1},
            {"relu1_1": 0.5, "relu2_1": 1, "relu3_1": 1.5, "relu4_1": 3, "relu5_1": 4},
        ),
        "weights": (5, 100, 0),
        "divisors": (Divisor(4, 1, 1), Divisor(), Divisor(4, 2, 2)),
        "forms": (False, "mean_squares", 1),
        "start": ("noise", Noise("uniform", -20, 20), 0.7),
        "optimizer": ("adam", 2, 0.9, 0.999, 1e-8, False, None, 1000),
        "sizes": ((720, 1080), None, None, "size"),
    },
    "tf-tutorial": {
        "network": ("vgg19", "max", "VALID", None),
        "layers": ({"relu5_2": 1}, GATYS_STYLE),
        "weights": (1e4, 1e-2, 30),
        "divisors": (Divisor(1, 1, 1), Divisor(1, 1, 0), Divisor(1, 0, 2)),
        "forms": (True, "sum_absolutes", 255),
        "start": ("content", Noise("normal", 0, 0.256), 1),
        "optimizer": ("adam", 0.02, 0.99, 0.999, 0.1, True, None, 1000),
        "sizes": (None, None, 512, "max_side"),
    },
    "lengstrom": {
        "network": ("vgg19", "max", "SAME", None),
        "layers": ({"relu4_2": 1}, GATYS_STYLE),
        "weights": (7.5, 100, 200),
        "divisors": MEANS,
        "forms": (False, "mean_squares", 1),
    },
    "balanced": {
        "network": ("vgg19", "max", "SAME", None),
        "layers": ({"relu4_2": 1}, GATYS_STYLE),
        "weights": (1, 2.5, 5e-5),
        "divisors": MEANS,
        "forms": (True, "mean_squares", 1),
        "relative": (True,),
    },
    "johnson": {
        "network": ("vgg16", "max", "SAME", None),
        "layers": ({"relu3_3": 1}, JOHNSON_STYLE),
        "weights": (1, 5, 1e-6),
        "divisors": MEANS,
        "forms": (False, "sum_squares", 1),
    },
    "lesson30": {
        "network": ("vgg19", "avg", "SAME", None),
        "layers": ({"relu3_3": 1}, JOHNSON_STYLE),
        "weights": (1, 250, 0.01),
        "divisors": MEANS,
        "forms": (False, "mean_squares", 1),
    },
}
FIELDS = {
    "network": "architecture pooling pool_padding input_mean",
    "layers": "content_layers style_layers",
    "weights": "content_weight style_weight tv_weight",
    "divisors": "content_divisor gram_divisor style_divisor",
    "forms": "style_layers_averaged tv_form pixel_unit",
    "relative": "relative",
    "start": "initial noise noise_ratio",
    "optimizer": "optimizer learning_rate beta1 beta2 epsilon clipped round_evaluations iterations",
    "sizes": "size width max_side style_sizing",
}


def test_every_recipe_has_its_figures_here():
    assert set(RECIPES) == set(FIGURES)


@pytest.mark.parametrize(("name", "part"), [(name, part) for name in FIGURES for part in FIGURES[name]])
def test_the_figures_are_those_of_the_source(name, part):
    assert tuple(getattr(RECIPES[name], field) for field in FIELDS[part].split()) == FIGURES[name][part]


@pytest.mark.parametrize("name", RECIPES)
def test_every_layer_exists_in_the_architecture(name):
    recipe = RECIPES[name]
    assert deepest_layer({**recipe.content_layers, **recipe.style_layers}, recipe.architecture)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_says_only_what_the_code_knows(name):
    recipe = RECIPES[name]
    assert recipe.source
    assert recipe.tv_form in TV_FORMS
    assert recipe.noise.distribution in ("normal", "uniform")
    assert recipe.optimizer in ("adam", "lbfgs")
    assert recipe.style_sizing in ("width", "size", "max_side")


def test_a_recipe_cannot_be_changed_by_accident():
    with pytest.raises(FrozenInstanceError):
        RECIPES["lengstrom"].style_weight = 1.0


def test_looking_up_a_recipe_imports_nothing_slow():
    code = "import sys, loss_net.recipes; print(*{'tensorflow', 'keras', 'numpy'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=REPOSITORY_DIR, text=True) == "\n"


def test_only_the_balanced_recipe_is_relative():
    assert [name for name, recipe in RECIPES.items() if recipe.relative] == ["balanced"]

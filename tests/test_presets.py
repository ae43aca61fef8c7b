"""The presets: their figures against the programs that they come from, and what they make loss and optimizer do.

test_preset_losses.py computes each loss anew from pixels, and so checks networks, divisors and forms as well.
"""

import subprocess
import sys
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from vgg_files import random_vgg_weights

from loss_net.losses import TV_FORMS, content_loss, gram_matrix, style_loss
from loss_net.optimize import optimize_image
from loss_net.perceptual import build_perceptual_loss
from loss_net.presets import LOSS_PRESETS, PRESETS, LossPreset, SlowPreset, overridden
from loss_net.start import content_size, initial_image, style_size
from loss_net.topology import CONV_LAYERS, deepest_layer

REPOSITORY_DIR = Path(__file__).parents[1]


def relu(*names: str) -> tuple[str, ...]:
    """The layers of Keras ("block4_conv2") and of MatConvNet ("conv4_2") by our names."""
    return tuple(
        f"relu{name.replace('block', '').replace('_conv', '_').replace('conv', '')}" for name in names
    )


def torch_modules(*numbers: int) -> tuple[str, ...]:
    """The layers of VGG16 that Torch's nn.Sequential counts from 1: convolution, ReLU, ..., pooling."""
    modules = []
    for conv in CONV_LAYERS["vgg16"]:
        modules += ["pool"] if conv.endswith("_1") and conv != "conv1_1" else []
        modules += [conv, conv.replace("conv", "relu")]
    return tuple(modules[number - 1] for number in numbers)


KERAS_BLOCKS = relu("block1_conv1", "block2_conv1", "block3_conv1", "block4_conv1", "block5_conv1")
GATYS = relu("conv1_1", "conv2_1", "conv3_1", "conv4_1", "conv5_1")  # arXiv:1508.06576, "Methods"

# What each program says, as far as it is published.
SOURCES = {
    # anishathalye/neural-style, neural_style.py and stylize.py; STYLE_WEIGHT was 1e2 until 2016 and is 5e2 since
    "athalye": {
        "architecture": "vgg19",  # VGG_PATH = "imagenet-vgg-verydeep-19.mat"
        "pooling": "max",
        "content_layers": {"relu4_2": 1},  # with relu5_2 times 1 - CONTENT_WEIGHT_BLEND, which is 0
        "style_layers": dict.fromkeys(GATYS, 1),  # STYLE_LAYER_WEIGHT_EXP = 1
        "content_weight": 5e0,
        "style_weight": 1e2,
        "tv_weight": 1e2,
        "learning_rate": 1e1,
        "beta1": 0.9,
        "beta2": 0.999,
        "epsilon": 1e-08,
        "iterations": 1000,
    },
    # lengstrom/fast-style-transfer, style.py and src/optimize.py; learning rate and iterations are those of --slow
    "lengstrom": {
        "architecture": "vgg19",
        "content_layers": {"relu4_2": 1},
        "style_layers": dict.fromkeys(GATYS, 1),
        "content_weight": 7.5e0,
        "style_weight": 1e2,
        "tv_weight": 2e2,
        "learning_rate": 1e1,
        "iterations": 1000,
    },
    # jcjohnson/fast-neural-style, train.lua: -content_layers 16, -style_layers 4,9,16,23
    "johnson": {
        "architecture": "vgg16",
        "content_layers": dict.fromkeys(torch_modules(16), 1),
        "style_layers": dict.fromkeys(torch_modules(4, 9, 16, 23), 1),
        "content_weight": 1.0,
        "style_weight": 5.0,
        "tv_weight": 1e-6,
    },
    # tensorflow/docs, site/en/tutorials/generative/style_transfer.ipynb
    "tf-tutorial": {
        "architecture": "vgg19",
        "content_layers": dict.fromkeys(relu("block5_conv2"), 1),
        "style_layers": dict.fromkeys(KERAS_BLOCKS, 1),
        "content_weight": 1e4,
        "style_weight": 1e-2,
        "tv_weight": 30,
        "learning_rate": 0.02,
        "beta1": 0.99,
        "epsilon": 1e-1,
        "pixel_unit": 255,  # images are 0..1
        "clipped": True,  # clip_0_1
        "iterations": 10 * 100,  # epochs * steps_per_epoch
        "max_side": 512,  # max_dim
    },
    # keras-team/keras of 2016, examples/neural_style_transfer.py
    "keras-lbfgs": {
        "architecture": "vgg16",
        "content_layers": dict.fromkeys(relu("block4_conv2"), 1),
        "style_layers": dict.fromkeys(KERAS_BLOCKS, 1),
        "style_layers_averaged": True,  # style_weight / len(feature_layers)
        "content_weight": 0.025,
        "style_weight": 1.0,
        "tv_weight": 1.0,
        "optimizer": "lbfgs",
        "round_evaluations": 20,  # fmin_l_bfgs_b(..., maxfun=20)
        "iterations": 30,  # rounds of the script that the preset follows; the example of 2016 has 10
    },
    # the widespread TensorFlow programs with BETA = 5, ALPHA = 100, NOISE_RATIO = 0.7
    "ist": {
        "architecture": "vgg19",
        "pooling": "avg",
        "input_mean": (123.68, 116.779, 103.939),
        "content_layers": dict.fromkeys(relu("conv4_2"), 1),
        "style_layers": dict(zip(GATYS, (0.5, 1.0, 1.5, 3.0, 4.0), strict=True)),
        "content_weight": 5,
        "style_weight": 100,
        "tv_weight": 0,
        "noise_ratio": 0.7,
        "learning_rate": 2.0,  # tf.train.AdamOptimizer(2.0)
        "iterations": 1000,
    },
    # the scripts of that name, which are not published in one place
    "souljoy": {
        "architecture": "vgg19",
        "input_mean": (128, 128, 128),
        "content_layers": dict.fromkeys(relu("conv1_2"), 1),
        "style_layers": dict.fromkeys(relu("conv1_2", "conv2_2", "conv3_2"), 1),
        "tv_weight": 0,
        "learning_rate": 0.5,
        "iterations": 500,
    },
    "lesson30": {
        "architecture": "vgg19",
        "pooling": "avg",
        "content_layers": dict.fromkeys(relu("conv3_3"), 1),
        "style_layers": dict.fromkeys(relu("conv1_2", "conv2_2", "conv3_3", "conv4_3"), 1),
        "content_weight": 1,
        "style_weight": 250,
        "tv_weight": 0.01,
    },
}


def figure(preset: SlowPreset, name: str):
    return getattr(preset if hasattr(preset, name) else preset.loss, name)


@pytest.mark.parametrize(
    ("name", "figure_name"), [(name, figure_name) for name in SOURCES for figure_name in SOURCES[name]]
)
def test_the_figures_are_those_of_the_source(name, figure_name):
    assert figure(PRESETS[name], figure_name) == SOURCES[name][figure_name]


@pytest.mark.parametrize("name", ["lengstrom", "balanced", "johnson", "lesson30"])
def test_presets_of_training_programs_are_minimized_as_by_athalye(name):
    assert replace(PRESETS[name], loss=PRESETS["athalye"].loss) == PRESETS["athalye"]


@pytest.mark.parametrize("name", PRESETS)
def test_every_layer_exists_in_the_architecture(name):
    loss = LOSS_PRESETS[name]
    assert deepest_layer({**loss.content_layers, **loss.style_layers}, loss.architecture)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_says_only_what_the_code_knows(name):
    preset = PRESETS[name]
    assert preset.loss.source
    assert preset.loss.tv_form in TV_FORMS
    assert preset.noise.distribution in ("normal", "uniform")
    assert preset.initial in ("content", "noise")
    assert preset.optimizer in ("adam", "lbfgs")
    assert preset.style_sizing in ("width", "size", "max_side")


@pytest.mark.parametrize("name", PRESETS)
def test_content_and_style_weight_mean_the_whole_term(name):
    """The weights of content layers sum to 1, and those of averaged style layers have the mean 1."""
    loss = LOSS_PRESETS[name]
    assert sum(loss.content_layers.values()) == 1
    if loss.style_layers_averaged:
        assert np.mean(list(loss.style_layers.values())) == 1


SIZES = {  # of the content and of the style picture, for a photo of 600x900 pixels and a picture of 700x500
    "souljoy": ((224, 224), (224, 224)),
    "keras-lbfgs": ((300, 500), (300, 500)),
    "ist": ((720, 1080), (720, 1080)),
    "tf-tutorial": ((341, 512), (512, 366)),  # the longest side becomes 512
}


@pytest.mark.parametrize("name", PRESETS)
def test_pictures_have_the_sizes_of_the_source(name):
    expected_content, expected_style = SIZES.get(name, ((600, 900), (1260, 900)))  # the photo's own width
    content = content_size(PRESETS[name], (600, 900))
    assert content == expected_content
    assert style_size(PRESETS[name], (700, 500), content) == expected_style


def scaled_features(architecture: str, scale: float):
    """Weights that make every feature `scale` times as strong: ReLU and pooling only pass the factor on."""
    weights = random_vgg_weights(architecture)
    kernels = weights.kernels | {"conv1_1": scale * weights.kernels["conv1_1"]}
    return replace(
        weights, kernels=kernels, biases={name: scale * bias for name, bias in weights.biases.items()}
    )


@pytest.mark.parametrize("name", PRESETS)
def test_terms_follow_the_strength_of_features_unless_they_are_relative(name):
    """Squared features: content grows with the square, style with the fourth power. Only "balanced" is scale free."""
    loss, scale = LOSS_PRESETS[name], 3.0
    stylized, content, style = np.random.default_rng(0).uniform(0, 255, (3, 1, 33, 36, 3)).astype(np.float32)
    weak, strong = (
        build_perceptual_loss(scaled_features(loss.architecture, s), list(style), loss)(stylized, content)
        for s in (1.0, scale)
    )
    powers = (0, 0) if name == "balanced" else (2, 4)
    assert float(strong["content"]) == pytest.approx(scale ** powers[0] * float(weak["content"]), rel=1e-4)
    assert float(strong["style"]) == pytest.approx(scale ** powers[1] * float(weak["style"]), rel=1e-4)
    assert float(strong["tv"]) == float(weak["tv"])


@pytest.mark.parametrize("name", PRESETS)
def test_terms_do_not_depend_on_the_image_size_but_in_two_programs(name):
    """Of a picture repeated 2x2, which looks the same: the Keras example sums, and souljoy divides once too often."""
    loss = LOSS_PRESETS[name]
    maps, others = np.random.default_rng(1).normal(size=(2, 1, 6, 8, 5)).astype(np.float32)

    def terms(repeats: int) -> tuple[float, float]:
        stylized, target = (tf.tile(each, [1, repeats, repeats, 1]) for each in (maps, others))
        content = content_loss(stylized, target, loss.content_divisor, relative=loss.relative)
        style = style_loss(
            stylized,
            gram_matrix(target, loss.gram_divisor),
            gram_divisor=loss.gram_divisor,
            divisor=loss.style_divisor,
            relative=loss.relative,
            image_pixels=repeats**2 * 12 * 16,
        )
        return float(content), float(style)

    growth = {"keras-lbfgs": (4, 1), "souljoy": (1, 1 / 4)}.get(name, (1, 1))
    for once, repeated, factor in zip(terms(1), terms(2), growth, strict=True):
        assert repeated == pytest.approx(factor * once, rel=1e-4)


@pytest.mark.parametrize("name", ["athalye", "souljoy", "keras-lbfgs", "ist", "tf-tutorial"])
def test_every_slow_program_lowers_its_own_loss_within_a_few_steps(name):
    preset = replace(PRESETS[name], iterations=3)
    content, style = np.random.default_rng(3).uniform(0, 255, (2, 32, 36, 3)).astype(np.float32)
    loss = build_perceptual_loss(random_vgg_weights(preset.loss.architecture), [style], preset.loss)
    initial = initial_image(preset, content, np.asarray(loss.vgg.mean_rgb), seed=0)
    totals = [
        losses["total"] for _, losses, _ in optimize_image(loss.for_content(content[None]), initial, preset)
    ]
    assert np.isfinite(totals).all()
    assert min(totals) < totals[0]


def test_a_preset_cannot_be_changed_by_accident():
    with pytest.raises(FrozenInstanceError):
        PRESETS["lengstrom"].iterations = 1
    with pytest.raises(FrozenInstanceError):
        PRESETS["lengstrom"].loss.style_weight = 1.0


def test_looking_up_a_preset_imports_nothing_slow():
    code = "import sys, loss_net.presets; print(*{'tensorflow', 'keras', 'numpy'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=REPOSITORY_DIR, text=True) == "\n"


def test_changes_reach_the_part_of_the_preset_that_they_belong_to():
    changes = {"style_weight": 3.0, "content_layers": {"relu2_1": 1.0}, "iterations": 7, "width": 300}
    preset = PRESETS["athalye"]
    changed = overridden(preset, changes)
    assert (changed.loss.style_weight, changed.loss.content_layers) == (3.0, {"relu2_1": 1.0})
    assert (changed.iterations, changed.width) == (7, 300)
    assert preset == PRESETS["athalye"] and (preset.loss.style_weight, preset.iterations) == (100.0, 1000)


def test_every_other_figure_stays_when_a_preset_is_overridden():
    for preset in PRESETS.values():
        assert overridden(preset, {}) == preset
        changed = overridden(preset, {"tv_weight": -1.0, "noise_ratio": -1.0})
        assert replace(changed, noise_ratio=preset.noise_ratio, loss=preset.loss) == preset
        assert replace(changed.loss, tv_weight=preset.loss.tv_weight) == preset.loss


@pytest.mark.parametrize("part", [LossPreset, SlowPreset])
def test_every_field_can_be_overridden_by_its_name(part):
    for field in fields(part):
        if field.name != "loss":
            assert figure(overridden(PRESETS["ist"], {field.name: "changed"}), field.name) == "changed"


@pytest.mark.parametrize("name", ["loss", "styleweight", ""])
def test_a_change_of_an_unknown_name_is_refused_with_the_names_allowed(name):
    with pytest.raises(ValueError) as caught:
        overridden(PRESETS["ist"], {"iterations": 1, name: 2})
    message = str(caught.value)
    assert message.startswith(f"unknown preset field {name!r}; choose from architecture, beta1, ")
    assert " iterations," in message and " style_weight," in message and " loss," not in message

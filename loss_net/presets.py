"""The presets: the losses of published programs, and the settings of the slow method, as data.

A `LossPreset` is the loss alone, which is all that a training needs. A `SlowPreset` adds how the slow method
minimizes that loss. This module imports no library, so a door can look up a preset before the slow imports.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace


@dataclass(frozen=True)
class Divisor:
    """The number that divides a sum of squares or products, as a product of powers of sizes.

    divisor = factor * (H*W)^pixels * C^channels * (rows*columns)^image_pixels

    H, W and C are the sizes of the stylized feature map; rows and columns are those of the stylized image, which
    only the style divisor can depend on.
    """

    factor: float = 1.0
    pixels: int = 0
    channels: int = 0
    image_pixels: int = 0


@dataclass(frozen=True)
class Noise:
    """The noise of an initial image, which is added to the mean color of the network's input."""

    distribution: str  # a method of numpy.random.Generator: "normal" or "uniform"
    first: float  # mean or lower bound, in levels of 0..255
    second: float  # standard deviation or upper bound, in levels of 0..255


PER_ELEMENT = Divisor(pixels=1, channels=1)  # the mean over a feature map
PER_GRAM_ELEMENT = Divisor(channels=2)  # the mean over a Gram matrix


@dataclass(frozen=True)
class LossPreset:
    """A perceptual loss: content, style and total variation terms on the features of a VGG network.

    Weights multiply sums of squares that are divided by divisors, so every figure can stand as its source has it.
    """

    source: str  # the program or document that the figures come from
    # the network
    architecture: str  # "vgg16" or "vgg19"
    pooling: str  # "max" or "avg"
    # the terms
    content_layers: dict[str, float]  # {layer: relative weight}
    style_layers: dict[str, float]  # {layer: relative weight}
    content_weight: float
    style_weight: float
    tv_weight: float
    pool_padding: str = "SAME"  # "VALID" drops an odd last row or column, as Keras does
    input_mean: tuple[float, float, float] | None = None  # RGB 0..255; None: the mean of the weights file
    content_divisor: Divisor = PER_ELEMENT
    gram_divisor: Divisor = PER_ELEMENT
    style_divisor: Divisor = PER_GRAM_ELEMENT
    relative: bool = False  # divide by the target's own sum of squares instead of content and style divisor
    style_layers_averaged: bool = False  # mean over the style layers instead of their sum
    tv_form: str = "mean_squares"  # see losses.total_variation_loss
    pixel_unit: float = 1.0  # one unit of the source's pixel values, in levels of 0..255


@dataclass(frozen=True)
class SlowPreset:
    """The slow method: a loss, the initial image, the optimizer and the sizes of the pictures."""

    loss: LossPreset
    # the initial image
    initial: str = "noise"  # "content" or "noise"
    noise: Noise = Noise("normal", 0.0, 0.256)
    noise_ratio: float = 1.0  # if initial is "noise": share of noise, 0 to 1; the rest is the content
    # the minimization
    optimizer: str = "adam"  # "adam" or "lbfgs"
    learning_rate: float = 10.0  # Adam: in units of loss.pixel_unit
    beta1: float = 0.9  # Adam
    beta2: float = 0.999  # Adam
    epsilon: float = 1e-8  # Adam: for gradients with respect to pixels in units of loss.pixel_unit
    clipped: bool = False  # clip pixels to 0..255 after every step
    round_evaluations: int | None = None  # L-BFGS: restart every N evaluations; an iteration is a round
    iterations: int = 1000
    # the sizes in pixels, where the user gives none
    size: tuple[int, int] | None = None  # height and width of the content
    width: int | None = None  # width of the content; the height keeps its proportions
    max_side: int | None = None  # longest side of the content; a smaller photo is not enlarged
    style_sizing: str = "width"  # "width", "size" or "max_side": see start.style_size


# The border of a training crop, which has a style loss of its own on top: see PerceptualLoss.with_border.
TRAINING_BORDER = 16  # pixels, about the width of the stripes that networks paint there otherwise
# Weight of that loss, times the border's share of the area. It is small, because it costs loss elsewhere
# (benchmarks/README.md, Artefacts).
BORDER_WEIGHT = 0.25
BORDER_SHARE = 8  # at most one in so many pixels of the shorter side

GATYS_LAYERS = dict.fromkeys(("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"), 1.0)
JOHNSON_LAYERS = dict.fromkeys(("relu1_2", "relu2_2", "relu3_3", "relu4_3"), 1.0)

PRESETS: dict[str, SlowPreset] = {
    "athalye": SlowPreset(
        loss=LossPreset(
            source="https://github.com/anishathalye/neural-style",
            architecture="vgg19",
            pooling="max",
            content_layers={"relu4_2": 1.0},
            style_layers=GATYS_LAYERS,
            content_weight=5.0,
            style_weight=100.0,
            tv_weight=100.0,
        ),
    ),
    "souljoy": SlowPreset(
        loss=LossPreset(
            source="the 'souljoy' neural style transfer scripts",
            architecture="vgg19",
            pooling="max",
            input_mean=(128.0, 128.0, 128.0),
            content_layers={"relu1_2": 1.0},
            style_layers=dict.fromkeys(("relu1_2", "relu2_2", "relu3_2"), 1.0),
            content_weight=1.0,
            style_weight=1.0,
            tv_weight=0.0,
            content_divisor=Divisor(2, pixels=1, channels=1),
            style_divisor=Divisor(2, pixels=1, channels=1),
        ),
        noise=Noise("normal", 0.0, 1.0),
        learning_rate=0.5,
        iterations=500,
        size=(224, 224),
        style_sizing="size",
    ),
    "keras-lbfgs": SlowPreset(
        loss=LossPreset(
            source="https://keras.io/examples/generative/neural_style_transfer/, its L-BFGS version",
            architecture="vgg16",
            pooling="max",
            pool_padding="VALID",
            content_layers={"relu4_2": 1.0},
            style_layers=GATYS_LAYERS,
            content_weight=0.025,
            style_weight=1.0,
            tv_weight=1.0,
            content_divisor=Divisor(),
            gram_divisor=Divisor(),
            style_divisor=Divisor(4 * 3**2, image_pixels=2),
            style_layers_averaged=True,
            tv_form="sum_powers",
        ),
        noise=Noise("uniform", -128.0, 127.0),
        optimizer="lbfgs",
        round_evaluations=20,
        iterations=30,
        size=(300, 500),
        style_sizing="size",
    ),
    "ist": SlowPreset(
        loss=LossPreset(
            source="the 'IST' implementations of Gatys et al. 2016, https://arxiv.org/abs/1508.06576",
            architecture="vgg19",
            pooling="avg",
            input_mean=(123.68, 116.779, 103.939),
            content_layers={"relu4_2": 1.0},
            style_layers={"relu1_1": 0.5, "relu2_1": 1.0, "relu3_1": 1.5, "relu4_1": 3.0, "relu5_1": 4.0},
            content_weight=5.0,
            style_weight=100.0,
            tv_weight=0.0,
            content_divisor=Divisor(4, pixels=1, channels=1),
            gram_divisor=Divisor(),
            style_divisor=Divisor(4, pixels=2, channels=2),
        ),
        noise=Noise("uniform", -20.0, 20.0),
        noise_ratio=0.7,
        learning_rate=2.0,
        size=(720, 1080),
        style_sizing="size",
    ),
    "tf-tutorial": SlowPreset(
        loss=LossPreset(
            source="https://www.tensorflow.org/tutorials/generative/style_transfer",
            architecture="vgg19",
            pooling="max",
            pool_padding="VALID",
            content_layers={"relu5_2": 1.0},
            style_layers=GATYS_LAYERS,
            content_weight=1e4,
            style_weight=1e-2,
            tv_weight=30.0,
            gram_divisor=Divisor(pixels=1),
            style_layers_averaged=True,
            tv_form="sum_absolutes",
            pixel_unit=255.0,
        ),
        initial="content",
        learning_rate=0.02,
        beta1=0.99,
        epsilon=0.1,
        clipped=True,
        max_side=512,
        style_sizing="max_side",
    ),
    "lengstrom": SlowPreset(
        loss=LossPreset(
            source="https://github.com/lengstrom/fast-style-transfer",
            architecture="vgg19",
            pooling="max",
            content_layers={"relu4_2": 1.0},
            style_layers=GATYS_LAYERS,
            content_weight=7.5,
            style_weight=100.0,
            tv_weight=200.0,
        ),
    ),
    "balanced": SlowPreset(
        loss=LossPreset(
            source="this project: docs/method.md",
            architecture="vgg19",
            pooling="max",
            content_layers={"relu4_2": 1.0},
            style_layers=GATYS_LAYERS,
            content_weight=1.0,
            style_weight=2.5,
            tv_weight=5e-5,
            relative=True,
            style_layers_averaged=True,
        ),
    ),
    "johnson": SlowPreset(
        loss=LossPreset(
            source="https://github.com/jcjohnson/fast-neural-style",
            architecture="vgg16",
            pooling="max",
            content_layers={"relu3_3": 1.0},
            style_layers=JOHNSON_LAYERS,
            content_weight=1.0,
            style_weight=5.0,
            tv_weight=1e-6,
            tv_form="sum_squares",
        ),
    ),
    "lesson30": SlowPreset(
        loss=LossPreset(
            source="the widespread 'lesson 30' fast style transfer course scripts",
            architecture="vgg19",
            pooling="avg",
            content_layers={"relu3_3": 1.0},
            style_layers=JOHNSON_LAYERS,
            content_weight=1.0,
            style_weight=250.0,
            tv_weight=0.01,
        ),
    ),
}

LOSS_PRESETS: dict[str, LossPreset] = {name: preset.loss for name, preset in PRESETS.items()}


def overridden(preset: SlowPreset, changes: Mapping[str, object]) -> SlowPreset:
    """Returns a copy of `preset` with `changes`, {field name: value}, in its loss or in its own fields.

    Raises ValueError if a name is a field of neither. The field "loss" cannot be changed as a whole.
    """
    loss_names = {field.name for field in fields(LossPreset)}
    slow_names = {field.name for field in fields(SlowPreset)} - {"loss"}
    for name in changes:
        if name not in loss_names | slow_names:
            allowed = ", ".join(sorted(loss_names | slow_names))
            raise ValueError(f"unknown preset field {name!r}; choose from {allowed}")
    of_loss = {name: value for name, value in changes.items() if name in loss_names}
    of_slow = {name: value for name, value in changes.items() if name in slow_names}
    return replace(preset, loss=replace(preset.loss, **of_loss), **of_slow)

"""Named recipes: what makes up a loss and how the slow method minimises it, each with its source.

Data, not code: no TensorFlow here, so that a door can look a recipe up before anything slow is imported.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Divisor:
    """What a sum of squares or products is divided by, as exponents of the sizes around it.

    factor * (H*W)^pixels * C^channels * (rows*columns)^image_pixels, where H, W, C are those of the stylized
    feature map and rows, columns those of the stylized image.
    """

    factor: float = 1.0
    pixels: int = 0
    channels: int = 0
    image_pixels: int = 0


@dataclass(frozen=True)
class Noise:
    """Added to the mean of the network's input: a method of numpy.random.Generator and its two arguments."""

    distribution: str  # normal(mean, standard deviation) or uniform(low, high), in levels of 0..255
    first: float
    second: float


PER_ELEMENT = Divisor(pixels=1, channels=1)  # the mean over a feature map
PER_GRAM_ELEMENT = Divisor(channels=2)  # the mean over a Gram matrix


@dataclass(frozen=True)
class Recipe:
    """A perceptual loss, and the start, optimiser and sizes by which the slow method minimises it.

    Weights multiply sums of squares over their divisors, so that every figure can stand as its source has it.
    """

    source: str  # where the figures come from
    # the network
    architecture: str  # vgg16 or vgg19
    pooling: str  # max or avg
    # the loss
    content_layers: dict[str, float]  # layer -> relative weight
    style_layers: dict[str, float]  # layer -> relative weight
    content_weight: float
    style_weight: float
    tv_weight: float
    pool_padding: str = "SAME"  # SAME, or VALID: an odd row or column at the end is left out, as in Keras
    input_mean: tuple[float, float, float] | None = (
        None  # RGB, subtracted from images; None: the weights' own
    )
    content_divisor: Divisor = PER_ELEMENT
    gram_divisor: Divisor = PER_ELEMENT
    style_divisor: Divisor = PER_GRAM_ELEMENT
    relative: bool = False  # each layer's sum of squares over that of its target, instead of both divisors
    style_layers_averaged: bool = False  # the mean over the style layers instead of their sum
    tv_form: str = "mean_squares"  # see losses.total_variation_loss
    pixel_unit: float = 1.0  # levels of 0..255 in the source's unit of pixels, for tv and the optimiser
    # the start
    initial: str = "noise"  # content or noise
    noise: Noise = Noise("normal", 0.0, 0.256)
    noise_ratio: float = 1.0  # of noise in a start from noise; the rest is content
    # the minimisation
    optimizer: str = "adam"  # adam or lbfgs
    learning_rate: float = 10.0  # Adam's, in pixel_unit
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8  # Adam's, for gradients by pixel_unit
    clipped: bool = False  # to 0..255 after each step
    round_evaluations: int | None = None  # L-BFGS forgets its history after so many; an iteration is a round
    iterations: int = 1000
    # the sizes in pixels, if none is asked for
    size: tuple[int, int] | None = None  # rows, columns of the content
    width: int | None = None  # of the content
    max_side: int | None = None  # of the content
    style_sizing: str = "width"  # the style's width as the content's; "size": stretched to it; "max_side"


GATYS_LAYERS = dict.fromkeys(("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"), 1.0)
JOHNSON_LAYERS = dict.fromkeys(("relu1_2", "relu2_2", "relu3_3", "relu4_3"), 1.0)

RECIPES = {
    "athalye": Recipe(
        source="https://github.com/anishathalye/neural-style",
        architecture="vgg19",
        pooling="max",
        content_layers={"relu4_2": 1.0},
        style_layers=GATYS_LAYERS,
        content_weight=5.0,
        style_weight=100.0,
        tv_weight=100.0,
    ),
    "souljoy": Recipe(
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
        noise=Noise("normal", 0.0, 1.0),
        learning_rate=0.5,
        iterations=500,
        size=(224, 224),
        style_sizing="size",
    ),
    "keras-lbfgs": Recipe(
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
        noise=Noise("uniform", -128.0, 127.0),
        optimizer="lbfgs",
        round_evaluations=20,
        iterations=30,
        size=(300, 500),
        style_sizing="size",
    ),
    "ist": Recipe(
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
        noise=Noise("uniform", -20.0, 20.0),
        noise_ratio=0.7,
        learning_rate=2.0,
        size=(720, 1080),
        style_sizing="size",
    ),
    "tf-tutorial": Recipe(
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
        initial="content",
        learning_rate=0.02,
        beta1=0.99,
        epsilon=0.1,
        clipped=True,
        max_side=512,
        style_sizing="max_side",
    ),
    "lengstrom": Recipe(
        source="https://github.com/lengstrom/fast-style-transfer",
        architecture="vgg19",
        pooling="max",
        content_layers={"relu4_2": 1.0},
        style_layers=GATYS_LAYERS,
        content_weight=7.5,
        style_weight=100.0,
        tv_weight=200.0,
    ),
    "balanced": Recipe(
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
    "johnson": Recipe(
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
    "lesson30": Recipe(
        source="the widespread 'lesson 30' fast style transfer course scripts",
        architecture="vgg19",
        pooling="avg",
        content_layers={"relu3_3": 1.0},
        style_layers=JOHNSON_LAYERS,
        content_weight=1.0,
        style_weight=250.0,
        tv_weight=0.01,
    ),
}

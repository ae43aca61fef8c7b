"""Every preset computed once more, as its program would: NumPy and SciPy in float64, from pixels to row 0.

The computation uses nothing of loss_net but the weights, and imports no figure of a preset. The gradients that the
slow method follows are checked by finite differences in float64.
"""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from scipy.signal import correlate
from vgg_files import save_vgg_weights

import infer
from data.images import load_image, resize_image
from loss_net.perceptual import build_perceptual_loss
from loss_net.presets import LOSS_PRESETS, PRESETS
from loss_net.weights import VggWeights, load_vgg_weights

HEIGHT, WIDTH, SEED = 35, 46, 7  # odd after one halving or more, so that the last window is cut
MEAN_RGB = np.array([123.68, 116.779, 103.939])  # of the ImageNet photographs
GATYS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
JOHNSON = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")


def pooled(feature_map: np.ndarray, pooling: str, is_valid: bool) -> np.ndarray:
    """2x2 windows of [H, W, C]; a window cut by the border counts what it has, or with is_valid is left out."""
    height, width, channels = feature_map.shape
    if is_valid:
        feature_map = feature_map[: height // 2 * 2, : width // 2 * 2]
    reduce = {"max": np.max, "avg": np.mean}[pooling]
    rows = range(0, feature_map.shape[0], 2)
    columns = range(0, feature_map.shape[1], 2)
    return np.array(
        [[reduce(feature_map[y : y + 2, x : x + 2], axis=(0, 1)) for x in columns] for y in rows]
    ).reshape(len(rows), len(columns), channels)


def vgg(weights: VggWeights, centered: np.ndarray, *, bgr: bool, pooling="max", is_valid=False) -> dict:
    """All features of a mean-centered image [H, W, 3]; the kernels expect BGR."""
    feature_map = np.asarray(centered if bgr else centered[..., ::-1], np.float64)
    features = {}
    for name, kernel in weights.kernels.items():
        if name.endswith("_1") and name != "conv1_1":
            feature_map = pooled(feature_map, pooling, is_valid)
        padded = np.pad(feature_map, ((1, 1), (1, 1), (0, 0)))
        maps = [
            correlate(padded, kernel[..., channel].astype(np.float64), mode="valid")[..., 0]
            for channel in range(kernel.shape[3])
        ]
        feature_map = np.maximum(np.stack(maps, axis=-1) + weights.biases[name], 0)
        features[name.replace("conv", "relu")] = feature_map
    return features


def products(feature_map: np.ndarray) -> np.ndarray:
    """F'F."""
    features = feature_map.reshape(-1, feature_map.shape[-1])
    return features.T @ features


def neighbors(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return image[1:] - image[:-1], image[:, 1:] - image[:, :-1]


def athalye(weights, image, content, styles, *, blend=(1.0,), weighted=(5, 100, 100), layers=None, **network):
    content_layers, style_layers = layers or ({"relu4_2": 1}, dict.fromkeys(GATYS, 1))
    of_image, of_content = (
        vgg(weights, picture - MEAN_RGB, bgr=False, **network) for picture in (image, content)
    )
    content_term = sum(
        w * np.mean((of_image[layer] - of_content[layer]) ** 2) for layer, w in content_layers.items()
    )
    style_term = 0
    for share, style in zip(blend, styles, strict=True):
        of_style = vgg(weights, style - MEAN_RGB, bgr=False, **network)
        for layer, w in style_layers.items():
            gram = products(of_image[layer]) / of_image[layer].size
            style_gram = products(of_style[layer]) / of_style[layer].size
            style_term += share / sum(blend) * w * np.mean((gram - style_gram) ** 2)
    dy, dx = neighbors(image)
    tv = np.mean(dy**2) + np.mean(dx**2)
    return tuple(w * term for w, term in zip(weighted, (content_term, style_term, tv), strict=True))


def souljoy(weights, image, content, styles):
    of_image, of_content, of_style = (
        vgg(weights, picture - 128, bgr=False) for picture in (image, content, *styles)
    )
    difference = of_image["relu1_2"] - of_content["relu1_2"]
    content_term = np.sum(difference**2) / 2 / difference.size
    style_term = 0
    for layer in ("relu1_2", "relu2_2", "relu3_2"):
        size = of_image[layer].size
        gram, style_gram = products(of_image[layer]) / size, products(of_style[layer]) / of_style[layer].size
        style_term += np.sum((gram - style_gram) ** 2) / 2 / size
    return content_term, style_term, 0


def keras_lbfgs(weights, image, content, styles):
    of_image, of_content, of_style = (
        vgg(weights, picture[..., ::-1] - MEAN_RGB[::-1], bgr=True, is_valid=True)
        for picture in (image, content, *styles)
    )
    content_term = 0.025 * np.sum((of_image["relu4_2"] - of_content["relu4_2"]) ** 2)
    rows, columns = image.shape[:2]
    style_term = 0
    for layer in GATYS:
        squares = np.sum((products(of_image[layer]) - products(of_style[layer])) ** 2)
        style_term += squares / (4 * 3**2 * (rows * columns) ** 2) / len(GATYS)
    a = (image[:-1, :-1] - image[1:, :-1]) ** 2
    b = (image[:-1, :-1] - image[:-1, 1:]) ** 2
    return content_term, style_term, np.sum((a + b) ** 1.25)


def ist(weights, image, content, styles):
    of_image, of_content, of_style = (
        vgg(weights, picture - np.array([123.68, 116.779, 103.939]), bgr=False, pooling="avg")
        for picture in (image, content, *styles)
    )
    difference = of_image["relu4_2"] - of_content["relu4_2"]
    content_term = 5 * np.sum(difference**2) / (4 * difference.size)
    style_term = 0
    for layer, weight in zip(GATYS, (0.5, 1, 1.5, 3, 4), strict=True):
        height, width, channels = of_image[layer].shape
        squares = np.sum((products(of_image[layer]) - products(of_style[layer])) ** 2)
        style_term += weight * squares / (4 * channels**2 * (height * width) ** 2)
    return content_term, 100 * style_term, 0


def tf_tutorial(weights, image, content, styles):
    def features(picture_01: np.ndarray) -> dict:
        return vgg(weights, picture_01[..., ::-1] * 255 - MEAN_RGB[::-1], bgr=True, is_valid=True)

    of_image, of_content, of_style = (features(picture / 255) for picture in (image, content, *styles))
    content_term = 1e4 * np.mean((of_image["relu5_2"] - of_content["relu5_2"]) ** 2)
    style_terms = []
    for layer in GATYS:
        grams = [products(f[layer]) / (f[layer].shape[0] * f[layer].shape[1]) for f in (of_image, of_style)]
        style_terms.append(np.mean((grams[0] - grams[1]) ** 2))
    dy, dx = neighbors(image / 255)
    return content_term, 1e-2 * np.mean(style_terms), 30 * (np.abs(dy).sum() + np.abs(dx).sum())


def lengstrom(weights, image, content, styles):
    return athalye(weights, image, content, styles, weighted=(7.5, 100, 200))


def johnson(weights, image, content, styles):
    layers = ({"relu3_3": 1}, dict.fromkeys(JOHNSON, 1))
    content_term, style_term, _ = athalye(weights, image, content, styles, weighted=(1, 5, 0), layers=layers)
    dy, dx = neighbors(image)
    return content_term, style_term, 1e-6 * (np.sum(dy**2) + np.sum(dx**2))


def lesson30(weights, image, content, styles):
    layers = ({"relu3_3": 1}, dict.fromkeys(JOHNSON, 1))
    return athalye(weights, image, content, styles, weighted=(1, 250, 0.01), layers=layers, pooling="avg")


def balanced(weights, image, content, styles):
    of_image, of_content, of_style = (
        vgg(weights, picture - MEAN_RGB, bgr=False) for picture in (image, content, *styles)
    )
    target = of_content["relu4_2"]
    content_term = np.sum((of_image["relu4_2"] - target) ** 2) / np.sum(target**2)
    style_terms = []
    for layer in GATYS:
        gram, style_gram = (products(f[layer]) / f[layer].size for f in (of_image, of_style))
        style_terms.append(np.sum((gram - style_gram) ** 2) / np.sum(style_gram**2))
    dy, dx = neighbors(image)
    return content_term, 2.5 * np.mean(style_terms), 5e-5 * (np.mean(dy**2) + np.mean(dx**2))


def around(mean, distribution: str, *parameters: float) -> Callable[[np.ndarray], np.ndarray]:
    def start(content: np.ndarray) -> np.ndarray:
        return mean + getattr(np.random.default_rng(SEED), distribution)(*parameters, content.shape)

    return start


def mixed_start(content: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(SEED).uniform(-20, 20, content.shape)
    return 0.7 * noise + 0.3 * (content - MEAN_RGB) + MEAN_RGB


PROGRAMS = {  # name -> (network, loss, start)
    "athalye": ("vgg19", athalye, around(MEAN_RGB, "normal", 0, 0.256)),
    "souljoy": ("vgg19", souljoy, around(128, "normal", 0, 1)),
    "keras-lbfgs": ("vgg16", keras_lbfgs, around(MEAN_RGB, "uniform", -128, 127)),
    "ist": ("vgg19", ist, mixed_start),
    "tf-tutorial": ("vgg19", tf_tutorial, lambda content: content),
    "lengstrom": ("vgg19", lengstrom, around(MEAN_RGB, "normal", 0, 0.256)),
    "balanced": ("vgg19", balanced, around(MEAN_RGB, "normal", 0, 0.256)),
    "johnson": ("vgg16", johnson, around(MEAN_RGB, "normal", 0, 0.256)),
    "lesson30": ("vgg19", lesson30, around(MEAN_RGB, "normal", 0, 0.256)),
}


@pytest.fixture
def pictures(tmp_path, photo) -> dict[str, Path]:
    return {
        "photo": photo(tmp_path / "photo.png", height=HEIGHT, width=WIDTH, seed=1),
        "style": photo(tmp_path / "style.png", height=50, width=61, seed=2),
        "second": photo(tmp_path / "second.png", height=44, width=39, seed=3),
    }


@pytest.fixture
def row_0(tmp_path, pictures, tiny_vgg_weights):
    """A function: preset, network and flags -> the weights, and row 0 as content, style, tv and total."""

    def row(preset: str, architecture: str, *flags: str):
        vgg_path, history_path = tmp_path / f"{architecture}.npz", tmp_path / "history.csv"
        save_vgg_weights(vgg_path, tiny_vgg_weights(architecture))
        command = [str(pictures["photo"]), "--mode", "optimize", "--preset", preset, "--vgg", str(vgg_path)]
        command += ["--iterations", "1", "--history", str(history_path), "-o", str(tmp_path / "out.png")]
        if "--style-images" not in flags:
            command += ["--style-images", str(pictures["style"])]
        assert infer.main([*command, "--seed", str(SEED), *flags]) == 0
        with history_path.open(newline="") as file:
            first = next(csv.DictReader(file))
        assert list(first) == ["step", "content", "style", "tv", "total"] and first["step"] == "0"
        return load_vgg_weights(vgg_path, architecture), [float(first[name]) for name in list(first)[1:]]

    return row


def assert_agrees(row: list[float], terms: tuple[float, float, float]) -> None:
    assert row[:3] == pytest.approx(terms, rel=1e-4, abs=1e-12)
    assert row[3] == pytest.approx(sum(terms), rel=1e-4)


def sized(path: Path, height: int, width: int) -> np.ndarray:
    return resize_image(load_image(path), height=height, width=width).astype(np.float64)


def test_every_preset_is_computed_here():
    assert set(PROGRAMS) == set(PRESETS)


@pytest.mark.parametrize("name", PROGRAMS)
def test_row_0_of_the_history_is_what_the_program_computes(name, row_0, pictures):
    architecture, loss, start = PROGRAMS[name]
    weights, row = row_0(name, architecture, "--size", f"{HEIGHT}x{WIDTH}")
    content = load_image(pictures["photo"]).astype(np.float64)
    if PRESETS[name].style_sizing == "size":
        style = sized(pictures["style"], HEIGHT, WIDTH)
    elif PRESETS[name].style_sizing == "max_side":
        style = sized(pictures["style"], round(50 * 46 / 61), 46)
    else:
        style = sized(pictures["style"], round(50 * WIDTH / 61), WIDTH)
    assert_agrees(row, loss(weights, start(content), content, [style]))


def test_row_0_of_a_preset_that_starts_from_the_content_has_its_content_term_from_another_picture(
    row_0, pictures
):
    size = ("--size", f"{HEIGHT}x{WIDTH}")
    weights, row = row_0("tf-tutorial", "vgg19", *size, "--initial", str(pictures["second"]))
    content = load_image(pictures["photo"]).astype(np.float64)
    image, style = sized(pictures["second"], HEIGHT, WIDTH), sized(pictures["style"], round(50 * 46 / 61), 46)
    assert row[0] > 0
    assert_agrees(row, tf_tutorial(weights, image, content, [style]))


def test_row_0_of_two_styles_with_scales_and_blend_weights(row_0, pictures):
    weights, row = row_0(
        "athalye", "vgg19", "--style-images", str(pictures["style"]), str(pictures["second"]),
        "--style-scales", "0.75", "1.5", "--style-blend-weights", "1", "3", "--width", "40",
    )  # fmt: skip
    content = sized(pictures["photo"], round(HEIGHT * 40 / WIDTH), 40)
    styles = [
        sized(pictures["style"], round(50 * 30 / 61), 30),
        sized(pictures["second"], round(44 * 60 / 39), 60),
    ]
    _, _, start = PROGRAMS["athalye"]
    assert_agrees(row, athalye(weights, start(content), content, styles, blend=(1, 3)))


def test_row_0_with_everything_overridden(row_0, pictures):
    weights, row = row_0(
        "athalye", "vgg19", "--content-layers", "relu2_1:0.5", "relu3_2", "--style-layers", "relu1_2:3", "relu4_1",
        "--content-weight", "2", "--style-weight", "30", "--tv-weight", "4", "--pooling", "avg",
        "--initial", str(pictures["second"]), "--noise-ratio", "0.25",
    )  # fmt: skip
    content = load_image(pictures["photo"]).astype(np.float64)
    base = sized(pictures["second"], HEIGHT, WIDTH)
    noise = np.random.default_rng(SEED).normal(0, 0.256, base.shape)
    image = 0.25 * noise + 0.75 * (base - MEAN_RGB) + MEAN_RGB
    layers = ({"relu2_1": 0.5, "relu3_2": 1}, {"relu1_2": 3, "relu4_1": 1})
    style = sized(pictures["style"], round(50 * WIDTH / 61), WIDTH)
    terms = athalye(weights, image, content, [style], weighted=(2, 30, 4), layers=layers, pooling="avg")
    assert_agrees(row, terms)


def losses_of(name: str, tiny_vgg_weights, dtype: tf.DType, images: np.ndarray):
    """total(image) and its gradient, of one preset on images of `dtype`."""
    content, style, preset = images[0], images[1], LOSS_PRESETS[name]
    loss = build_perceptual_loss(
        tiny_vgg_weights(preset.architecture), [style], preset, compute_dtype=dtype
    ).for_content(tf.constant(content[np.newaxis], dtype))

    @tf.function
    def value_and_gradient(image: tf.Tensor):
        with tf.GradientTape() as tape:
            tape.watch(image)
            total = loss(image)["total"]
        return total, tape.gradient(total, image)

    return lambda image: [result.numpy() for result in value_and_gradient(tf.constant(image[None], dtype))]


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_gradient_is_that_of_finite_differences_in_float64(name, tiny_vgg_weights):
    generator = np.random.default_rng(0)
    images = generator.uniform(0, 255, (3, 21, 18, 3))
    evaluate = losses_of(name, tiny_vgg_weights, tf.float64, images)
    image = images[2]
    total, gradient = evaluate(image)
    assert total.dtype == gradient.dtype == np.float64
    for _ in range(4):
        direction = generator.normal(size=image.shape)
        step = 1e-6  # levels of 0..255: small enough to stay on one side of nearly every kink
        slope = (evaluate(image + step * direction)[0] - evaluate(image - step * direction)[0]) / (2 * step)
        assert slope == pytest.approx(np.sum(gradient[0] * direction), rel=1e-5)


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_gradient_in_float32_is_near_that_in_float64(name, tiny_vgg_weights):
    images = np.random.default_rng(1).uniform(0, 255, (3, 21, 18, 3)).astype(np.float32)
    exact, near = (
        losses_of(name, tiny_vgg_weights, dtype, images)(images[2])[1] for dtype in (tf.float64, tf.float32)
    )
    assert np.linalg.norm(near - exact) <= 1e-3 * np.linalg.norm(exact)

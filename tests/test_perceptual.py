"""The perceptual loss: its terms, their weights and their gradients."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from data.images import load_image, resize_image
from loss_net.losses import content_loss, gram_matrix, style_loss, total_variation_loss
from loss_net.perceptual import PerceptualLoss, build_perceptual_loss
from loss_net.presets import BORDER_WEIGHT, LOSS_PRESETS, TRAINING_BORDER, LossPreset
from loss_net.vgg import build_vgg
from loss_net.weights import VggWeights, load_vgg_weights

PRESET = LossPreset(
    source="this test: two layers of each kind, one of them in common",
    architecture="vgg19",
    pooling="avg",
    content_layers={"relu2_2": 1.0, "relu3_1": 0.5},
    style_layers={"relu1_1": 3.0, "relu2_2": 0.25},
    content_weight=7.0,
    style_weight=0.1,
    tv_weight=0.2,
)
TERMS = ["content", "style", "tv"]
STYLE_TERMS = ["style/relu1_1", "style/relu2_2"]


def random_images(*shape: int, seed: int = 0) -> tf.Tensor:
    return tf.constant(np.random.default_rng(seed).uniform(0, 255, shape), tf.float32)


STYLE = random_images(11, 14, 3, seed=1) * tf.constant([1.0, 0.5, 0.2])
STYLIZED, CONTENT = random_images(2, 12, 10, 3, seed=2), random_images(2, 12, 10, 3, seed=3) / 2


@pytest.fixture
def weights(tiny_vgg_weights) -> VggWeights:
    return tiny_vgg_weights("vgg19")


@pytest.fixture
def loss(weights) -> PerceptualLoss:
    return build_perceptual_loss(weights, [STYLE], PRESET)


def numbers(terms: dict[str, tf.Tensor]) -> dict[str, float]:
    return {name: float(term) for name, term in terms.items()}


def test_the_terms_have_names_and_are_scalars_of_float32(loss):
    terms = loss(STYLIZED, CONTENT)
    assert list(terms) == ["total", *TERMS, *STYLE_TERMS]
    assert {(term.dtype, term.shape.rank) for term in terms.values()} == {(tf.float32, 0)}


def test_content_style_and_tv_sum_to_the_total(loss):
    terms = numbers(loss(STYLIZED, CONTENT))
    assert min(terms.values()) > 0
    assert terms["total"] == pytest.approx(sum(terms[name] for name in TERMS), rel=1e-6)


def test_the_style_layers_sum_to_the_style(loss):
    terms = numbers(loss(STYLIZED, CONTENT))
    assert terms["style"] == pytest.approx(sum(terms[name] for name in STYLE_TERMS), rel=1e-6)


def test_every_term_is_its_weighted_loss(loss, weights):
    vgg = build_vgg(weights, ["relu3_1"], pooling="avg")
    layers = ["relu1_1", "relu2_2", "relu3_1"]
    stylized, content, style = (vgg(images, layers) for images in (STYLIZED, CONTENT, STYLE[tf.newaxis]))
    expected = {
        "content": 7 * content_loss(stylized["relu2_2"], content["relu2_2"])
        + 7 * 0.5 * content_loss(stylized["relu3_1"], content["relu3_1"]),
        "tv": 0.2 * total_variation_loss(STYLIZED),
        "style/relu1_1": 0.1 * 3 * style_loss(stylized["relu1_1"], gram_matrix(style["relu1_1"])),
        "style/relu2_2": 0.1 * 0.25 * style_loss(stylized["relu2_2"], gram_matrix(style["relu2_2"])),
    }
    terms = numbers(loss(STYLIZED, CONTENT))
    for name, term in expected.items():
        assert terms[name] == pytest.approx(float(term), rel=1e-5), name


@pytest.mark.parametrize("term", TERMS)
def test_the_weight_of_a_term_scales_it_and_no_other(loss, weights, term):
    weight = f"{term}_weight"
    heavier = replace(PRESET, **{weight: 4 * getattr(PRESET, weight)})
    before = numbers(loss(STYLIZED, CONTENT))
    after = numbers(build_perceptual_loss(weights, [STYLE], heavier)(STYLIZED, CONTENT))
    for name in [*TERMS, *STYLE_TERMS]:
        factor = 4 if name.split("/")[0] == term else 1
        assert after[name] == pytest.approx(factor * before[name], rel=1e-6), name


def test_the_total_variation_is_reduced_as_the_preset_says(weights):
    by_sum = build_perceptual_loss(weights, [STYLE], replace(PRESET, tv_form="sum_squares"))
    expected = 0.2 * total_variation_loss(STYLIZED, "sum_squares")
    assert float(by_sum(STYLIZED, CONTENT)["tv"]) == pytest.approx(float(expected), rel=1e-6)


def test_the_pooling_is_that_of_the_preset(loss, weights):
    max_loss = build_perceptual_loss(weights, [STYLE], replace(PRESET, pooling="max"))
    stylized = build_vgg(weights, ["relu2_2"], pooling="max")(STYLIZED, ["relu2_2"])["relu2_2"]
    style = build_vgg(weights, ["relu2_2"], pooling="max")(STYLE[tf.newaxis], ["relu2_2"])["relu2_2"]
    expected = 0.1 * 0.25 * style_loss(stylized, gram_matrix(style))
    term = float(max_loss(STYLIZED, CONTENT)["style/relu2_2"])
    assert term == pytest.approx(float(expected), rel=1e-5)
    assert term != pytest.approx(float(loss(STYLIZED, CONTENT)["style/relu2_2"]), rel=1e-2)


def test_the_style_itself_has_no_style_loss(loss):
    style_term = float(loss(STYLE[tf.newaxis], random_images(1, 11, 14, 3))["style"])
    assert style_term <= 1e-9 * float(loss(STYLIZED, CONTENT)["style"])


def test_the_content_itself_has_no_content_loss(loss):
    assert float(loss(CONTENT, CONTENT)["content"]) <= 1e-9 * float(loss(STYLIZED, CONTENT)["content"])


def test_the_loss_of_a_batch_is_the_mean_of_its_images(loss):
    whole = numbers(loss(STYLIZED, CONTENT))
    alone = [numbers(loss(STYLIZED[index : index + 1], CONTENT[index : index + 1])) for index in range(2)]
    for name, term in whole.items():
        assert term == pytest.approx(np.mean([terms[name] for terms in alone]), rel=1e-5), name


def test_with_border_the_border_has_a_style_loss_of_its_own_on_top(loss):
    stylized, content = random_images(2, 40, 48, 3, seed=2), random_images(2, 40, 48, 3, seed=3)
    terms = numbers(loss.with_border(4)(stylized, content))
    maps = loss.vgg(stylized, ["relu1_1", "relu2_2"])
    for layer, weight, border in (("relu1_1", 3.0, 4), ("relu2_2", 0.25, 2)):
        rows, columns = np.indices(maps[layer].shape[1:3])
        height, width = rows.shape
        is_inner = (np.minimum(rows, height - 1 - rows) >= border) & (
            np.minimum(columns, width - 1 - columns) >= border
        )
        part = maps[layer].numpy()[:, ~is_inner][:, :, np.newaxis]  # [B, N, 1, C]
        expected = float(style_loss(maps[layer], loss.style_grams[layer]))
        expected += BORDER_WEIGHT * (1 - is_inner.mean()) * float(style_loss(part, loss.style_grams[layer]))
        assert terms[f"style/{layer}"] == pytest.approx(PRESET.style_weight * weight * expected, rel=1e-5)
    whole = numbers(loss(stylized, content))
    assert terms["style"] != pytest.approx(whole["style"], rel=1e-4)
    assert (terms["content"], terms["tv"]) == pytest.approx((whole["content"], whole["tv"]))


def test_a_border_that_lacks_the_style_costs_more_with_border(loss):
    """The same pixels, once with the plain ones spread, once all at the border."""
    pixels = np.tile(STYLE.numpy(), (3, 3, 1))[:32, :32]
    border, spread = pixels.copy(), pixels.copy()
    border[:4] = border[-4:] = 128
    spread[::4] = 128  # as many rows
    style = {
        name: numbers(loss.with_border(4)(image[np.newaxis], image[np.newaxis]))["style"]
        / numbers(loss(image[np.newaxis], image[np.newaxis]))["style"]
        for name, image in (("border", tf.constant(border)), ("spread", tf.constant(spread)))
    }
    assert style["border"] > 1.2 * style["spread"]


def test_the_border_of_a_small_image_is_an_eighth_of_it(loss):
    images = random_images(1, 16, 32, 3, seed=2)
    assert numbers(loss.with_border()(images, images)) == numbers(loss.with_border(2)(images, images))
    assert TRAINING_BORDER > 2


def test_a_loss_with_border_keeps_it_for_one_style_and_can_be_undone(loss):
    images = random_images(1, 64, 64, 3, seed=2)
    assert loss.with_border(8).for_style(tf.constant(0)).border == 8
    assert numbers(loss.with_border(8).with_border(0)(images, images)) == numbers(loss(images, images))


def test_images_of_unknown_size_are_taken_whole(loss):
    images = random_images(1, 64, 64, 3, seed=2)
    compiled = tf.function(loss.with_border(8), input_signature=[tf.TensorSpec([1, None, None, 3])] * 2)
    assert numbers(compiled(images, images)) == pytest.approx(numbers(loss(images, images)), rel=1e-5)


def test_only_layers_that_the_preset_needs_are_built(loss):
    assert set(loss.vgg.convolutions) == {"conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1"}


@pytest.mark.parametrize("name", LOSS_PRESETS)
def test_every_preset_makes_a_loss_in_a_graph_of_unknown_size(tiny_vgg_weights, name):
    preset = LOSS_PRESETS[name]
    style = random_images(17, 18, 3, seed=2)
    loss = build_perceptual_loss(tiny_vgg_weights(preset.architecture), [style], preset)
    images = tf.TensorSpec([1, None, None, 3], tf.float32)
    in_a_graph = tf.function(loss, input_signature=[images, images])
    stylized, content = random_images(1, 17, 20, 3), random_images(1, 17, 20, 3, seed=1)
    terms = numbers(in_a_graph(stylized, content))
    assert set(terms) == {"total", *TERMS, *(f"style/{layer}" for layer in preset.style_layers)}
    assert terms == pytest.approx(numbers(loss(stylized, content)), rel=1e-4)


@pytest.mark.parametrize("term", ["total", *TERMS, *STYLE_TERMS])
def test_gradient_of_every_term_reaches_the_stylized_images(loss, term):
    with tf.GradientTape() as tape:
        tape.watch(STYLIZED)
        terms = loss(STYLIZED, CONTENT)
    gradient = tape.gradient(terms[term], STYLIZED).numpy()
    assert np.isfinite(gradient).all()
    assert all(np.abs(image_gradient).max() > 0 for image_gradient in gradient)


def test_no_gradient_reaches_the_content(loss):
    with tf.GradientTape() as tape:
        tape.watch(CONTENT)
        terms = loss(STYLIZED, CONTENT)
    assert tape.gradient(terms["total"], CONTENT) is None


def test_the_style_is_measured_in_float32_whatever_the_precision(loss, weights):
    bfloat16_loss = build_perceptual_loss(weights, [STYLE], PRESET, compute_dtype=tf.bfloat16)
    assert bfloat16_loss.vgg.compute_dtype == tf.bfloat16
    for layer, gram in loss.style_grams.items():
        np.testing.assert_array_equal(bfloat16_loss.style_grams[layer], gram)


def assert_bfloat16_is_near(weights, style, preset, stylized, content):
    exact, near = (
        build_perceptual_loss(weights, [style], preset, compute_dtype=compute_dtype)(stylized, content)
        for compute_dtype in (tf.float32, tf.bfloat16)
    )
    assert {term.dtype for term in near.values()} == {tf.float32}
    assert numbers(near) == pytest.approx(numbers(exact), rel=0.02)
    assert numbers(near)["content"] != numbers(exact)["content"]


def test_bfloat16_gives_the_loss_within_two_percent(weights):
    assert_bfloat16_is_near(weights, STYLE, PRESET, STYLIZED, CONTENT)


@pytest.mark.shared
def test_bfloat16_gives_the_loss_of_the_real_vgg19_within_two_percent(shared_dir):
    weights = load_vgg_weights(shared_dir / "vgg19/vgg19_notop.h5")
    style = load_image(shared_dir / "styles/great_wave.jpg", max_side=96)
    photo = load_image(next((shared_dir / "photos/val").iterdir()))
    content = resize_image(photo, height=64, width=64)[np.newaxis]
    stylized = np.clip(content + np.random.default_rng(0).normal(scale=20, size=content.shape), 0, 255)
    assert_bfloat16_is_near(weights, style, LOSS_PRESETS["lengstrom"], stylized.astype(np.float32), content)


def test_weights_of_another_architecture_than_the_presets_are_refused(tiny_vgg_weights):
    style = np.zeros((16, 16, 3), np.float32)
    with pytest.raises(ValueError) as caught:
        build_perceptual_loss(tiny_vgg_weights("vgg19"), [style], LOSS_PRESETS["johnson"])
    assert str(caught.value) == (
        "the preset needs vgg16 weights, got vgg19: load the weights of vgg16 or choose another preset"
    )


SECOND = random_images(9, 17, 3, seed=9)


def style_term(weights, styles, **options) -> float:
    return float(build_perceptual_loss(weights, styles, PRESET, **options)(STYLIZED, CONTENT)["style"])


def test_several_styles_are_blended_by_their_weights(weights):
    alone = [style_term(weights, [style]) for style in (STYLE, SECOND)]
    assert alone[0] != pytest.approx(alone[1], rel=0.01)
    blended = style_term(weights, [STYLE, SECOND], blend_weights=[1, 3])
    assert blended == pytest.approx(0.25 * alone[0] + 0.75 * alone[1], rel=1e-5)
    assert style_term(weights, [STYLE, SECOND]) == pytest.approx(np.mean(alone), rel=1e-5)


@pytest.mark.parametrize("style", [0, 1])
def test_the_loss_of_one_of_several_styles_is_that_of_this_style_alone(weights, style):
    several = build_perceptual_loss(weights, [STYLE, SECOND], PRESET)
    alone = build_perceptual_loss(weights, [[STYLE, SECOND][style]], PRESET)
    found = numbers(several.for_style(tf.constant(style))(STYLIZED, CONTENT))
    assert found == pytest.approx(numbers(alone(STYLIZED, CONTENT)), rel=1e-5)


@pytest.mark.parametrize("blend_weights", [[1], [1, 2, 3], [0, 0], [-1, 2]])
def test_blend_weights_that_do_not_fit_are_refused(weights, blend_weights):
    with pytest.raises(
        ValueError, match=r"^blend_weights must be 2 numbers of at least 0, not all 0, got \["
    ):
        style_term(weights, [STYLE, SECOND], blend_weights=blend_weights)


def test_the_loss_for_one_content_is_the_same_loss(loss):
    expected = numbers(loss(STYLIZED, CONTENT))
    assert numbers(loss.for_content(CONTENT)(STYLIZED)) == pytest.approx(expected, rel=1e-6)


def test_the_content_is_computed_once_for_one_content(loss, monkeypatch):
    of_content = loss.for_content(CONTENT)
    monkeypatch.setattr(PerceptualLoss, "_content_maps", None)  # any further use would fail
    assert numbers(of_content(STYLIZED))["content"] > 0


def test_the_operations_of_a_training_image_are_those_counted_by_hand(tiny_vgg_weights):
    """Three passes: the content's to relu4_2, the stylized image's to relu5_1, and that again backward."""
    channels, side = (5, 6, 7, 8, 9), 32
    blocks, counts = (2, 2, 4, 4, 1), {}
    total, before = 0, 3
    for block, depth in enumerate(blocks, 1):
        for index in range(1, depth + 1):
            total += (side // 2 ** (block - 1)) ** 2 * 9 * before * channels[block - 1]
            before = channels[block - 1]
            counts[f"relu{block}_{index}"] = total
    style = np.zeros((32, 32, 3), np.float32)
    loss = build_perceptual_loss(tiny_vgg_weights("vgg19"), [style], LOSS_PRESETS["lengstrom"])
    assert loss.multiply_adds(side) == counts["relu4_2"] + 2 * counts["relu5_1"]

"""The losses against values known by heart, NumPy loops in float64, and finite differences."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from loss_net.losses import TV_FORMS, content_loss, gram_matrix, style_loss, total_variation_loss


def random_array(*shape: int, scale: float = 1.0, seed: int = 0) -> np.ndarray:
    return (scale * np.random.default_rng(seed).normal(size=shape)).astype(np.float32)


def reference_gram(feature_map: np.ndarray) -> np.ndarray:
    """Johnson et al., equation 3, letter by letter: [B, C, C] float64."""
    batch, height, width, channels = feature_map.shape
    gram = np.zeros((batch, channels, channels))
    for b, y, x, i, j in np.ndindex(batch, height, width, channels, channels):
        gram[b, i, j] += float(feature_map[b, y, x, i]) * float(feature_map[b, y, x, j])
    return gram / (channels * height * width)


def reference_total_variation(images: np.ndarray, form: str) -> float:
    down, across, both = [], [], []
    batch, height, width, channels = images.shape
    for b, y, x, c in np.ndindex(batch, height, width, channels):
        pixel = float(images[b, y, x, c])
        dy = float(images[b, y + 1, x, c]) - pixel if y + 1 < height else None
        dx = float(images[b, y, x + 1, c]) - pixel if x + 1 < width else None
        down += [dy] if dy is not None else []
        across += [dx] if dx is not None else []
        both += [(dy**2 + dx**2) ** 1.25] if None not in (dx, dy) else []
    if form == "mean_squares":
        return sum(sum(d**2 for d in part) / len(part) for part in (down, across) if part)
    if form == "sum_squares":
        return sum(d**2 for d in down + across) / batch
    if form == "sum_absolutes":
        return sum(abs(d) for d in down + across) / batch
    return sum(both) / batch


def finite_differences(
    function: Callable[[np.ndarray], float], array: np.ndarray, step: float = 1.0
) -> np.ndarray:
    """Central differences in float64: exact but for rounding where `function` is quadratic."""
    array = array.astype(np.float64)
    slopes = np.zeros_like(array)
    for index in np.ndindex(array.shape):
        moved = [array.copy(), array.copy()]
        moved[0][index] += step / 2
        moved[1][index] -= step / 2
        slopes[index] = (function(moved[0]) - function(moved[1])) / step
    return slopes


def gradient_of(function: Callable[[tf.Tensor], tf.Tensor], tensor: tf.Tensor) -> tf.Tensor:
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        result = function(tensor)
    return tape.gradient(result, tensor)


@pytest.mark.parametrize("shape", [(1, 4, 4, 1), (2, 3, 5, 4)])
def test_gram_matrix_of_ones_is_one_over_the_channels(shape):
    batch, *_, channels = shape
    np.testing.assert_allclose(
        gram_matrix(tf.ones(shape)), np.full((batch, channels, channels), 1 / channels), rtol=1e-6
    )


def test_gram_matrix_of_uncorrelated_channels_is_diagonal():
    checkerboard = np.indices((4, 4)).sum(axis=0) % 2
    feature_map = np.stack([checkerboard, 3 * (1 - checkerboard)], axis=-1)[None].astype(np.float32)
    np.testing.assert_allclose(gram_matrix(tf.constant(feature_map)), [[[0.25, 0], [0, 2.25]]], rtol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (1, 1, 6, 2), (2, 5, 1, 3), (2, 3, 4, 5)])
def test_gram_matrix_equals_the_loops(shape):
    feature_map = random_array(*shape)
    gram = gram_matrix(tf.constant(feature_map))
    np.testing.assert_allclose(gram, reference_gram(feature_map), rtol=1e-5, atol=1e-7)


def test_gram_matrix_ignores_image_size():
    feature_map = tf.constant(random_array(1, 3, 4, 5))
    tiled = tf.tile(feature_map, [1, 2, 3, 1])
    np.testing.assert_allclose(gram_matrix(tiled), gram_matrix(feature_map), rtol=1e-5, atol=1e-7)


def test_gram_matrix_ignores_where_things_are():
    feature_map = random_array(1, 3, 4, 5)
    moved = np.roll(feature_map, (1, 2), axis=(1, 2))
    np.testing.assert_allclose(gram_matrix(moved), gram_matrix(feature_map), rtol=1e-5, atol=1e-7)


def test_gram_matrix_of_bfloat16_features_is_exact_to_float32():
    feature_map = tf.cast(random_array(1, 64, 64, 3) + 1, tf.bfloat16)
    gram = gram_matrix(feature_map)
    assert gram.dtype == tf.float32
    exact = feature_map.numpy().astype(np.float64).reshape(-1, 3)
    np.testing.assert_allclose(gram[0], exact.T @ exact / exact.size, rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (2, 3, 4, 5)])
def test_gradient_of_gram_matrix_equals_finite_differences(shape):
    feature_map = random_array(*shape)
    upstream = random_array(shape[0], shape[3], shape[3], seed=1)  # not symmetric, as no loss may rely on it
    gradient = gradient_of(
        lambda tensor: tf.reduce_sum(upstream * gram_matrix(tensor)), tf.constant(feature_map)
    )
    slopes = finite_differences(lambda array: (upstream * reference_gram(array)).sum(), feature_map)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-4, atol=1e-6)


def test_gradient_of_gram_matrix_equals_that_of_plain_products():
    def plain_gram(feature_map: tf.Tensor) -> tf.Tensor:
        return tf.einsum("bhwi,bhwj->bij", feature_map, feature_map) / (6 * 7 * 8)

    feature_map, style_gram = (
        tf.constant(random_array(2, 6, 7, 8)),
        gram_matrix(random_array(1, 5, 5, 8, seed=1)),
    )
    gradient = gradient_of(lambda tensor: style_loss(tensor, style_gram), feature_map)
    expected = gradient_of(lambda tensor: tf.reduce_mean((plain_gram(tensor) - style_gram) ** 2), feature_map)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-8)


def test_gradient_of_gram_matrix_keeps_the_type_of_bfloat16_features():
    feature_map = tf.cast(random_array(1, 6, 7, 8), tf.bfloat16)
    upstream = random_array(1, 8, 8, seed=1)

    def weighted_gram(tensor: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(upstream * gram_matrix(tensor))

    gradient = gradient_of(weighted_gram, feature_map)
    exact = gradient_of(weighted_gram, tf.cast(feature_map, tf.float32))
    assert gradient.dtype == tf.bfloat16
    np.testing.assert_allclose(
        tf.cast(gradient, tf.float32), exact, rtol=0.02, atol=0.01 * np.abs(exact).max()
    )


def test_losses_work_where_batch_and_size_are_unknown_beforehand():
    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3])])
    def losses(images):
        gram = gram_matrix(images)
        tv = total_variation_loss(images)
        return gram, tv, tf.gradients(tf.reduce_sum(gram) + tv, images)[0]

    images = random_array(2, 3, 4, 3)
    gram, tv, gradient = losses(images)
    np.testing.assert_allclose(gram, reference_gram(images), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(tv, reference_total_variation(images, "mean_squares"), rtol=1e-5)
    assert gradient.shape == images.shape


def test_content_loss_of_equal_maps_is_zero():
    feature_map = tf.constant(random_array(2, 3, 4, 5))
    assert content_loss(feature_map, feature_map) == 0


def test_content_loss_of_maps_that_differ_by_three_everywhere_is_nine():
    feature_map = tf.constant(random_array(2, 3, 4, 5))
    np.testing.assert_allclose(content_loss(feature_map + 3, feature_map), 9, rtol=1e-5)


def test_content_loss_equals_the_loop():
    stylized, content = random_array(2, 3, 4, 5), random_array(2, 3, 4, 5, seed=1)
    squares = [
        (float(left) - float(right)) ** 2 for left, right in zip(stylized.flat, content.flat, strict=True)
    ]
    np.testing.assert_allclose(content_loss(stylized, content), sum(squares) / len(squares), rtol=1e-5)


def test_content_loss_of_bfloat16_maps_is_computed_in_float32():
    stylized, content = (tf.cast(random_array(1, 32, 32, 3, seed=seed), tf.bfloat16) for seed in (0, 1))
    loss = content_loss(stylized, content)
    assert loss.dtype == tf.float32
    difference = stylized.numpy().astype(np.float64) - content.numpy().astype(np.float64)
    np.testing.assert_allclose(loss, np.mean(difference**2), rtol=1e-5)


def test_style_loss_of_the_style_itself_is_zero():
    feature_map = tf.constant(random_array(1, 3, 4, 5))
    assert style_loss(feature_map, gram_matrix(feature_map)) == 0


def test_style_loss_equals_the_loops():
    stylized, style = random_array(2, 3, 4, 5), random_array(1, 6, 2, 5, seed=1)
    expected = np.mean((reference_gram(stylized) - reference_gram(style)) ** 2)
    np.testing.assert_allclose(style_loss(stylized, gram_matrix(style)), expected, rtol=1e-4)


def test_style_loss_of_a_batch_is_the_mean_of_its_images():
    stylized, style_gram = random_array(3, 4, 4, 5), gram_matrix(random_array(1, 4, 4, 5, seed=1))
    alone = [style_loss(stylized[index : index + 1], style_gram) for index in range(3)]
    np.testing.assert_allclose(style_loss(stylized, style_gram), np.mean(alone), rtol=1e-5)


@pytest.mark.parametrize("form", TV_FORMS)
def test_total_variation_of_flat_images_is_zero(form):
    assert total_variation_loss(tf.fill([2, 4, 5, 3], 200.0), form) == 0


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("mean_squares", 1 + 1),
        ("sum_squares", 3 * (3 * 5 + 4 * 4)),
        ("sum_powers", 3 * 3 * 4 * 2**1.25),
        ("sum_absolutes", 3 * (3 * 5 + 4 * 4)),
    ],
)
def test_total_variation_of_a_checkerboard_counts_every_pair_of_neighbors(form, expected):
    checkerboard = (np.indices((4, 5)).sum(axis=0) % 2).astype(np.float32)
    images = np.broadcast_to(checkerboard[None, :, :, None], (2, 4, 5, 3))
    np.testing.assert_allclose(total_variation_loss(images, form), expected, rtol=1e-6)


@pytest.mark.parametrize("form", TV_FORMS)
@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (1, 1, 5, 3), (2, 4, 1, 3), (2, 4, 5, 3), (3, 2, 2, 1)])
def test_total_variation_equals_the_loops(shape, form):
    images = random_array(*shape, scale=100)
    loss = total_variation_loss(tf.constant(images), form)
    np.testing.assert_allclose(loss, reference_total_variation(images, form), rtol=1e-5)


@pytest.mark.parametrize("form", TV_FORMS)
@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (1, 1, 5, 3), (2, 4, 1, 3), (2, 3, 4, 3)])
def test_gradient_of_total_variation_equals_finite_differences(shape, form):
    images = random_array(*shape)
    gradient = gradient_of(lambda tensor: total_variation_loss(tensor, form), tf.constant(images))
    slopes = finite_differences(lambda array: reference_total_variation(array, form), images, step=1e-6)
    np.testing.assert_allclose(gradient, slopes, rtol=1e-4, atol=1e-5)


def test_an_unknown_form_of_total_variation_is_refused():
    with pytest.raises(ValueError, match=r"^form must be one of mean_squares, .*, got 'max'$"):
        total_variation_loss(tf.ones([1, 2, 2, 3]), "max")


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e4])
def test_relative_losses_do_not_depend_on_how_strong_the_features_are(scale):
    """What makes one set of weights fit all styles: features twice as strong, and the loss is the same."""
    maps, others = random_array(2, 5, 4, 6, seed=1), random_array(2, 5, 4, 6, seed=2)
    grams = gram_matrix(random_array(3, 7, 7, 6, seed=3))
    content = content_loss(scale * maps, scale * others, relative=True)
    style = style_loss(scale * maps, scale**2 * grams, relative=True)
    np.testing.assert_allclose(content, content_loss(maps, others, relative=True), rtol=1e-4)
    np.testing.assert_allclose(style, style_loss(maps, grams, relative=True), rtol=1e-4)


def test_relative_losses_equal_the_formula_image_by_image():
    maps, others = random_array(2, 5, 4, 6, seed=1), random_array(2, 5, 4, 6, seed=2)
    others[1] *= 5
    ratios = [np.sum((a - b) ** 2) / np.sum(b**2) for a, b in zip(maps, others, strict=True)]
    np.testing.assert_allclose(content_loss(maps, others, relative=True), np.mean(ratios), rtol=1e-5)
    gram, targets = reference_gram(maps), reference_gram(random_array(2, 3, 3, 6, seed=3))
    ratios = [np.sum((g - t) ** 2) / np.sum(t**2) for g in gram for t in targets]
    targets = tf.constant(targets, tf.float32)
    np.testing.assert_allclose(style_loss(maps, targets, relative=True), np.mean(ratios), rtol=1e-4)


def test_relative_losses_of_features_that_are_all_zero_are_finite():
    zeros = np.zeros((1, 4, 4, 3), np.float32)
    assert np.isfinite(content_loss(zeros + 1, zeros, relative=True))
    assert np.isfinite(style_loss(zeros + 1, gram_matrix(zeros), relative=True))

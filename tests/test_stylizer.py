"""transformer/inference/stylizer.py: both runtimes give one picture; blends; what is refused or warned of."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from transformer.export.finished_style import export_style
from transformer.export.style_folder import (
    StyleError,
)
from transformer.inference.loading import load_blend, load_stylizer
from transformer.inference.stylizer import Stopped

SIZES = [(1, 1), (1, 7), (5, 3), (8, 8), (13, 22), (33, 47)]


def random_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)


@pytest.fixture(scope="module")
def stylizers(style_dirs):
    """The style "waves" loaded by each runtime."""
    return {runtime: load_stylizer(style_dirs["waves"], runtime) for runtime in ("onnx", "tensorflow")}


@pytest.fixture
def style_dir(style_dirs, tmp_path) -> Path:
    """A copy of a style that a test may damage."""
    return Path(shutil.copytree(style_dirs["waves"], tmp_path / "waves"))


@pytest.mark.parametrize("batch_size", [None, 1, 3])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_both_runtimes_give_the_same_picture_of_the_same_size(stylizers, height, width, batch_size):
    shape = (height, width, 3) if batch_size is None else (batch_size, height, width, 3)
    images = random_images(*shape)
    by_onnx, by_tensorflow = stylizers["onnx"](images), stylizers["tensorflow"](images)
    assert by_onnx.shape == by_tensorflow.shape == shape
    assert by_onnx.dtype == by_tensorflow.dtype == np.float32
    assert by_onnx.min() >= 0 and by_onnx.max() <= 255
    np.testing.assert_allclose(by_onnx, by_tensorflow, atol=0.5)


@pytest.mark.parametrize("runtime", ["onnx", "tensorflow"])
def test_an_image_is_stylized_as_a_batch_of_one(stylizers, runtime):
    image = random_images(13, 22, 3)
    batch = stylizers[runtime](image[np.newaxis])
    np.testing.assert_array_equal(stylizers[runtime](image), batch[0])


@pytest.mark.parametrize("runtime", ["onnx", "tensorflow"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float64, np.int32])
def test_any_number_type_is_taken_and_left_unchanged(stylizers, runtime, dtype):
    image = random_images(9, 10, 3).astype(dtype)
    before = image.copy()
    stylized = stylizers[runtime](image)
    np.testing.assert_array_equal(stylized, stylizers[runtime](image.astype(np.float32)))
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 4), (8, 8, 1), (1, 1, 8, 8, 3), (3,)])
def test_an_array_that_is_no_image_is_refused_by_its_shape(stylizers, shape):
    with pytest.raises(ValueError) as error:
        stylizers["onnx"](np.zeros(shape, np.float32))
    assert f"got the shape {list(shape)}" in str(error.value)


def test_two_styles_loaded_by_tensorflow_do_not_disturb_each_other(style_dirs, stylizers):
    image = random_images(16, 16, 3)
    before = stylizers["tensorflow"](image)
    other = load_stylizer(style_dirs["stars"], "tensorflow")(image)
    np.testing.assert_array_equal(stylizers["tensorflow"](image), before)
    assert np.abs(other - before).mean() > 10


def test_a_large_image_is_computed_in_tiles_by_the_library_too(style_dirs, monkeypatch):
    image = random_images(70, 90, 3)
    whole = load_stylizer(style_dirs["waves"], tile="off")(image)
    monkeypatch.setattr("transformer.inference.memory_plan.WHOLE_LIMIT", 0)
    monkeypatch.setattr("transformer.inference.memory_plan.TILES", (32,))
    stylizer = load_stylizer(style_dirs["waves"])
    assert len(list(stylizer.parts(image))) > 1
    assert np.abs(stylizer(image) - whole).max() <= 2


def test_tensorflow_has_no_tiles_and_says_so(style_dirs, stylizers):
    assert stylizers["tensorflow"].plan.tile_for(8400, 12000) is None
    with pytest.raises(StyleError, match="--tile off"):
        load_stylizer(style_dirs["waves"], "tensorflow", tile=64)(random_images(20, 20, 3))


def test_a_style_may_be_shared_by_threads(stylizers):
    images = [random_images(9 + index, 30 - index, 3) for index in range(12)]
    expected = [stylizers["onnx"](image) for image in images]
    with ThreadPoolExecutor(4) as pool:
        for stylized, alone in zip(pool.map(stylizers["onnx"], images), expected, strict=True):
            np.testing.assert_allclose(stylized, alone, atol=1e-3)


@pytest.mark.parametrize("value", [np.nan])
def test_a_network_that_gives_no_numbers_is_named(style_dir, varied_network, value):
    network = varied_network(1)
    network.parameters["decoder/conv3/bias"].assign([value, 0, 0])
    export_style(style_dir, network, {})
    with pytest.raises(StyleError, match="NaN or infinite"):
        load_stylizer(style_dir)(random_images(9, 9, 3))


def blended(style_dirs, weights, **options):
    return load_blend(list(zip(style_dirs.values(), weights, strict=True)), **options)


def test_a_blend_is_the_mean_in_the_shares_of_its_weights(style_dirs):
    image = random_images(30, 40, 3)
    waves, stars = (load_stylizer(style_dir)(image) for style_dir in style_dirs.values())
    np.testing.assert_allclose(blended(style_dirs, [3, 1])(image), 0.75 * waves + 0.25 * stars, atol=1e-3)


def test_a_blend_in_tiles_is_the_blend_and_its_progress_ends_at_one(style_dirs):
    image, shares = random_images(60, 70, 3), []
    whole = blended(style_dirs, [1, 1])(image)
    in_tiles = blended(style_dirs, [1, 1], tile=16)
    assert np.abs(in_tiles(image) - whole).max() <= 2
    list(in_tiles.parts(image, shares.append))
    assert len(shares) > 20 and shares == sorted(shares) and shares[-1] == pytest.approx(1)


def test_batches_are_checked_like_single_images(style_dirs, style_dir, varied_network, monkeypatch):
    stylizer = load_stylizer(style_dirs["waves"], tile="off")
    network = varied_network(1)
    network.parameters["decoder/conv3/bias"].assign([np.nan, 0, 0])
    export_style(style_dir, network, {})
    with pytest.raises(StyleError, match="NaN or infinite"):
        load_stylizer(style_dir)(random_images(2, 9, 9, 3))
    monkeypatch.setattr("transformer.inference.memory_plan.available_memory", lambda: 2.6e8)
    with pytest.raises(MemoryError, match="400x300 pixels"):
        stylizer(random_images(2, 400, 300, 3))


def test_large_images_of_a_batch_are_computed_in_tiles(style_dirs, monkeypatch):
    images = random_images(2, 70, 90, 3)
    whole = load_stylizer(style_dirs["waves"], tile="off")(images)
    monkeypatch.setattr("transformer.inference.memory_plan.WHOLE_LIMIT", 0)
    monkeypatch.setattr("transformer.inference.memory_plan.TILES", (32,))
    in_tiles = load_stylizer(style_dirs["waves"])(images)
    assert 0 < np.abs(in_tiles - whole).max() <= 2


@pytest.mark.parametrize("shape", [(0, 8, 3), (8, 0, 3), (0, 8, 8, 3), (2, 0, 8, 3)])
def test_an_empty_array_is_refused_by_its_shape(stylizers, shape):
    with pytest.raises(ValueError, match=r"without a zero side, got the shape \["):
        stylizers["onnx"](np.zeros(shape, np.float32))


@pytest.mark.parametrize("dtype", [object, bool, complex, "U3"])
def test_an_array_of_no_numbers_is_refused_by_its_type(stylizers, dtype):
    with pytest.raises(ValueError, match="got values of type"):
        stylizers["onnx"](np.zeros((8, 8, 3), dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_image_that_seems_to_be_in_0_to_1_is_warned_of(stylizers, dtype):
    with pytest.warns(UserWarning, match="multiply by 255"):
        stylizers["onnx"]((random_images(8, 8, 3) / 255).astype(dtype))
    with pytest.warns(UserWarning, match="multiply by 255"):  # one image of a batch
        stylizers["onnx"](np.stack([random_images(8, 8, 3), np.full((8, 8, 3), 0.5, np.float32)]))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_image_with_values_that_are_not_finite_is_refused(stylizers, value):
    image = random_images(8, 8, 3)
    image[2, 3, 1] = value
    with pytest.raises(ValueError, match="must not contain NaN or infinite values"):
        stylizers["onnx"](image)


@pytest.mark.parametrize("image", [np.zeros((8, 8, 3), np.float32), np.ones((8, 8, 3), np.uint8)])
def test_black_images_are_not_warned_of(stylizers, image, recwarn):
    stylizers["onnx"](image)
    assert not recwarn.list


def test_a_stylizer_that_is_told_to_stop_ends_at_the_next_tile(style_dirs):
    stylizer = load_stylizer(style_dirs["waves"], tile=16)
    with pytest.raises(Stopped):
        for _ in stylizer.parts(np.full((64, 64, 3), 99.0, np.float32), lambda share: stylizer.stop()):
            pass


def test_a_network_that_is_told_to_stop_computes_no_more(style_dirs):
    stylizer = load_stylizer(style_dirs["waves"], tile="off")
    image = np.full((32, 32, 3), 99.0, np.float32)
    stylizer(image)
    stylizer.stop()
    with pytest.raises(Exception, match="terminate"):
        stylizer(image)


def test_an_absurd_size_is_refused_before_its_values_are_looked_at(style_dirs):
    with pytest.raises(MemoryError, match="GB of memory"):
        load_stylizer(style_dirs["waves"])(np.broadcast_to(np.float32(0), (10**6, 10**6, 3)))


@pytest.mark.parametrize("image", [None, "photo.png", 5])
def test_parts_of_what_is_no_image_are_refused(style_dirs, image):
    with pytest.raises(ValueError, match="must be an array"):
        list(load_stylizer(style_dirs["waves"]).parts(image))


def test_a_variant_shares_the_networks_and_what_they_have_computed(style_dirs):
    stylizer = load_stylizer(style_dirs["waves"])
    image = random_images(20, 30, 3)
    variant = stylizer.variant([2.0], 5.0)
    expected = load_blend([(style_dirs["waves"], 1.0)], grain=5.0)(image)
    assert stylizer.usage.most_pixels == 0
    assert np.array_equal(variant(image), expected)
    assert stylizer.usage.most_pixels == variant.usage.most_pixels == 600
    assert not np.array_equal(stylizer(image), expected)

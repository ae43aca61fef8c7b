"""Both runtimes give one picture, and a folder that cannot be used is named in one line. And: the styles there are."""

import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from transformer.export.finished_style import export_style
from transformer.export.style_folder import (
    META_FILES,
    ONNX_FILE,
    StyleError,
    find_style,
    list_styles,
    style_info,
)
from transformer.inference.loading import RUNTIMES, load_blend, load_stylizer
from transformer.inference.memory_plan import TILES

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
    assert f"got shape {shape}" in str(error.value)


def test_auto_prefers_onnx_and_falls_back_to_tensorflow(style_dirs, style_dir):
    image = random_images(16, 16, 3)
    pictures = {name: load_stylizer(folder, "onnx")(image) for name, folder in style_dirs.items()}
    assert np.abs(pictures["waves"] - pictures["stars"]).mean() > 10
    # a folder whose .onnx is one style and whose meta graph another tells which of them was used
    shutil.copy(style_dirs["stars"] / ONNX_FILE, style_dir / ONNX_FILE)
    np.testing.assert_array_equal(load_stylizer(style_dir)(image), pictures["stars"])
    (style_dir / ONNX_FILE).unlink()
    np.testing.assert_allclose(load_stylizer(style_dir)(image), pictures["waves"], atol=0.5)


def test_auto_is_content_with_the_onnx_file_alone(style_dirs, tmp_path):
    shutil.copy(style_dirs["waves"] / ONNX_FILE, tmp_path)
    assert load_stylizer(tmp_path)(random_images(8, 9, 3)).shape == (8, 9, 3)


def test_a_folder_may_be_given_as_text(style_dirs):
    assert load_stylizer(str(style_dirs["waves"]))(random_images(8, 9, 3)).shape == (8, 9, 3)


def test_two_styles_loaded_by_tensorflow_do_not_disturb_each_other(style_dirs, stylizers):
    image = random_images(16, 16, 3)
    before = stylizers["tensorflow"](image)
    other = load_stylizer(style_dirs["stars"], "tensorflow")(image)
    np.testing.assert_array_equal(stylizers["tensorflow"](image), before)
    assert np.abs(other - before).mean() > 10


def refusal(style_dir: Path, runtime: str) -> str:
    """The message of the StyleError, of one line that names the folder."""
    with pytest.raises(StyleError) as error:
        load_stylizer(style_dir, runtime)
    message = str(error.value)
    assert "\n" not in message and str(style_dir) in message
    return message


@pytest.mark.parametrize("file", META_FILES)
def test_a_missing_part_of_the_meta_graph_is_named(style_dir, file):
    (style_dir / file).unlink()
    assert f"lacks {file}" in refusal(style_dir, "tensorflow")


def test_a_missing_onnx_file_is_named_with_the_other_runtime(style_dir):
    (style_dir / ONNX_FILE).unlink()
    message = refusal(style_dir, "onnx")
    assert ONNX_FILE in message and "--runtime tensorflow" in message


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_folder_that_does_not_exist_is_named(tmp_path, runtime):
    refusal(tmp_path / "nowhere", runtime)


@pytest.mark.parametrize("fraction", [0, 0.3, 0.9])
@pytest.mark.parametrize("file", [ONNX_FILE, *META_FILES])
def test_a_truncated_file_is_refused_with_what_to_do(style_dir, file, fraction):
    content = (style_dir / file).read_bytes()
    (style_dir / file).write_bytes(content[: int(fraction * len(content))])
    message = refusal(style_dir, "onnx" if file == ONNX_FILE else "tensorflow")
    assert "damaged" in message and "export the style again" in message


def test_an_unknown_runtime_is_refused_by_the_known_ones(style_dirs):
    with pytest.raises(ValueError, match="one of auto, onnx, tensorflow, got 'torch'"):
        load_stylizer(style_dirs["waves"], "torch")


def test_a_style_is_found_by_name_and_by_folder(style_dirs, tmp_path):
    checkpoints_dir = style_dirs["waves"].parent
    assert find_style("waves", checkpoints_dir) == style_dirs["waves"]
    assert find_style(str(style_dirs["waves"]), tmp_path) == style_dirs["waves"]


def test_an_unknown_style_is_refused_by_the_known_ones(style_dirs):
    with pytest.raises(StyleError, match="mud: no such style or folder.* stars, waves$"):
        find_style("mud", style_dirs["waves"].parent)


def test_an_unknown_style_among_none_is_refused_with_how_to_get_one(tmp_path):
    with pytest.raises(StyleError, match="none yet: train one with train.py"):
        find_style("mud", tmp_path / "nowhere")


def test_a_folder_without_a_style_is_refused_by_what_a_style_is(tmp_path):
    with pytest.raises(StyleError, match="contains no style; a style is a folder with"):
        find_style(str(tmp_path), tmp_path)


def test_the_styles_are_listed_by_name_and_nothing_else_is(style_dirs, tmp_path):
    for name in ("b", "a", ".a.1.unfinished"):
        shutil.copytree(style_dirs["waves"], tmp_path / name)
    (tmp_path / "empty").mkdir()
    (tmp_path / "README.md").write_text("no style")
    assert list_styles(tmp_path) == [tmp_path / "a", tmp_path / "b"]
    assert list_styles(tmp_path / "nowhere") == []


def test_a_style_of_either_form_is_listed(style_dirs, tmp_path):
    for name, file in {"by_onnx": ONNX_FILE, "by_meta": META_FILES[0]}.items():
        (tmp_path / name).mkdir()
        shutil.copy(style_dirs["waves"] / file, tmp_path / name)
    assert [path.name for path in list_styles(tmp_path)] == ["by_meta", "by_onnx"]


def test_style_info_is_the_content_of_style_json(style_dirs):
    assert style_info(style_dirs["waves"])["style_picture"]["source"] == "museum of waves"


def test_style_info_of_a_foreign_checkpoint_is_empty(tmp_path):
    assert style_info(tmp_path) == {}


def test_a_damaged_style_json_is_named(style_dir):
    (style_dir / "style.json").write_text("{")
    with pytest.raises(StyleError, match=r"style\.json: cannot be read") as error:
        style_info(style_dir)
    assert "\n" not in str(error.value)


# Memory: whole or in tiles


def test_small_images_are_computed_whole_and_large_ones_in_tiles(style_dirs):
    stylizer = load_stylizer(style_dirs["waves"])
    assert stylizer.plan.tile_for(1000, 1000) is None
    assert stylizer.plan.tile_for(8400, 12000) == TILES[0]
    assert load_stylizer(style_dirs["waves"], tile="off").plan.tile_for(8400, 12000) is None
    assert load_stylizer(style_dirs["waves"], tile=64).plan.tile_for(10, 10) == 64


def test_less_memory_means_smaller_tiles_and_at_last_an_error(style_dirs):
    def tile_within(gigabytes: float) -> int | None:
        return load_stylizer(style_dirs["waves"], max_memory=gigabytes).plan.tile_for(2000, 3000)

    tiles = [tile_within(gigabytes) for gigabytes in (5, 0.8, 0.43, 0.39)]
    assert tiles[0] is None and tiles[1] == TILES[0]
    assert tiles == sorted(tiles, key=lambda tile: -(tile or 10**6)) and tiles[-1] in TILES[1:]
    with pytest.raises(
        MemoryError,
        match=r"2000x3000 pixels .* even in tiles, 0\.3 GB are allowed; resize the image to at most \d+ pixels",
    ):
        tile_within(0.3)


def test_what_is_free_is_the_limit_where_none_is_given(style_dirs, monkeypatch):
    monkeypatch.setattr("transformer.inference.memory_plan.available_memory", lambda: 1e9)
    with pytest.raises(MemoryError, match="1.0 GB are allowed"):
        load_stylizer(style_dirs["waves"]).plan.tile_for(20_000, 20_000)


@pytest.mark.parametrize(("runtime", "tile"), [("onnx", "off"), ("tensorflow", "auto")])
def test_a_whole_image_that_memory_cannot_hold_is_refused(style_dirs, monkeypatch, runtime, tile):
    stylizer = load_stylizer(style_dirs["waves"], runtime, tile=tile)
    monkeypatch.setattr("transformer.inference.memory_plan.available_memory", lambda: 2.55e8)
    with pytest.raises(
        MemoryError,
        match=r"400x300 pixels .* 0\.3 GB are free; resize the image to at most \d+ pixels a side",
    ):
        stylizer(random_images(400, 300, 3))


def test_a_large_image_is_computed_in_tiles_by_the_library_too(style_dirs, monkeypatch):
    image = random_images(70, 90, 3)
    whole = load_stylizer(style_dirs["waves"], tile="off")(image)
    monkeypatch.setattr("transformer.inference.memory_plan.WHOLE_LIMIT", 0)
    monkeypatch.setattr("transformer.inference.memory_plan.TILES", (32,))
    stylizer = load_stylizer(style_dirs["waves"])
    assert len(list(stylizer.parts(image))) > 1
    assert np.abs(stylizer(image) - whole).max() <= 2


def test_tensorflow_has_no_tiles_and_says_so(style_dirs):
    assert load_stylizer(style_dirs["waves"], "tensorflow").plan.tile_for(8400, 12000) is None
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


# Blends


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


@pytest.mark.parametrize("weights", [[1, -1], [0, 0], [1, float("inf")], [1, float("nan")]])
def test_a_blend_of_impossible_weights_is_refused(style_dirs, weights):
    with pytest.raises(ValueError, match="finite weights of at least 0"):
        blended(style_dirs, weights)


def test_a_blend_counts_the_memory_of_all_its_styles(style_dirs):
    single, double = load_stylizer(style_dirs["waves"]).plan, blended(style_dirs, [1, 1]).plan
    assert double.whole_bytes(1000, 1000) - 250e6 > 2 * (
        single.whole_bytes(1000, 1000) - 250e6 - 1000**2 * 10
    )
    size = next((side, side) for side in range(1000, 9000, 100) if double.tile_for(side, side))
    assert single.tile_for(*size) is None
    assert double.held_bytes(*size) == 2 * single.held_bytes(*size)


def test_a_blend_is_refused_where_its_styles_together_need_too_much(style_dirs, monkeypatch):
    single = load_stylizer(style_dirs["waves"], tile="off")
    needed = single.plan.whole_bytes(60, 70)
    monkeypatch.setattr("transformer.inference.memory_plan.available_memory", lambda: needed)
    image = random_images(60, 70, 3)
    single(image)
    with pytest.raises(MemoryError, match="60x70 pixels"):
        blended(style_dirs, [1, 1], tile="off")(image)


# What the library refuses or warns of


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
    with pytest.raises(ValueError, match=r"got an empty array of shape \("):
        stylizers["onnx"](np.zeros(shape, np.float32))


@pytest.mark.parametrize("dtype", [object, bool, complex, "U3"])
def test_an_array_of_no_numbers_is_refused_by_its_type(stylizers, dtype):
    with pytest.raises(ValueError, match="got values of type"):
        stylizers["onnx"](np.zeros((8, 8, 3), dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_image_that_seems_to_be_in_0_to_1_is_warned_of(stylizers, dtype):
    with pytest.warns(UserWarning, match="multiply by 255"):
        stylizers["onnx"]((random_images(8, 8, 3) / 255).astype(dtype))


@pytest.mark.parametrize("image", [np.zeros((8, 8, 3), np.float32), np.ones((8, 8, 3), np.uint8)])
def test_black_images_are_not_warned_of(stylizers, image, recwarn):
    stylizers["onnx"](image)
    assert not recwarn.list


def test_the_library_takes_a_style_by_its_name():
    picture = load_stylizer("starry_night")(random_images(16, 16, 3))
    by_folder = load_stylizer(Path(__file__).resolve().parents[1] / "checkpoints" / "starry_night")
    np.testing.assert_array_equal(picture, by_folder(random_images(16, 16, 3)))


@pytest.mark.parametrize("style", ["starry_nihgt", Path("nowhere") / "style"])
def test_a_missing_style_is_called_missing(style):
    with pytest.raises(StyleError, match="no such style or folder; styles in .*great_wave, starry_night"):
        load_stylizer(style)


@pytest.mark.parametrize("max_memory", [0, -1, float("nan"), float("inf")])
def test_an_impossible_memory_limit_is_refused(style_dirs, max_memory):
    with pytest.raises(ValueError, match="max_memory must be above 0, in GB"):
        load_stylizer(style_dirs["waves"], max_memory=max_memory)


def test_the_memory_limit_is_in_gigabytes(style_dirs):
    assert load_stylizer(style_dirs["waves"], max_memory=4).plan.max_memory == 4e9


def test_no_impossible_size_is_advised(style_dirs):
    with pytest.raises(
        MemoryError, match=r"free some memory or allow more: the program alone needs 0\.25 GB"
    ):
        load_stylizer(style_dirs["waves"], max_memory=0.1).plan.tile_for(2000, 3000)


def test_the_advised_size_fits(style_dirs):
    plan = load_stylizer(style_dirs["waves"], max_memory=0.5).plan
    with pytest.raises(MemoryError) as error:
        plan.tile_for(8000, 12000)
    side = int(re.search(r"--max-side (\d+)", str(error.value))[1])
    assert plan.tile_for(side * 2 // 3, side) == TILES[-1]
    with pytest.raises(MemoryError):
        plan.tile_for(int(1.1 * side) * 2 // 3, int(1.1 * side))

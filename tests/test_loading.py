"""transformer/inference/loading.py: either runtime, by name or folder; a folder that cannot be used is named."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from transformer.export.style_folder import (
    META_FILES,
    ONNX_FILE,
    StyleError,
)
from transformer.inference.arguments import RUNTIMES
from transformer.inference.loading import load_blend, load_stylizer


def random_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)


@pytest.fixture
def style_dir(style_dirs, tmp_path) -> Path:
    """A copy of a style that a test may damage."""
    return Path(shutil.copytree(style_dirs["waves"], tmp_path / "waves"))


def blended(style_dirs, weights, **options):
    return load_blend(list(zip(style_dirs.values(), weights, strict=True)), **options)


@pytest.mark.tensorflow
def test_auto_prefers_onnx_and_falls_back_to_tensorflow(style_dirs, style_dir):
    image = random_images(16, 16, 3)
    pictures = {name: load_stylizer(folder, "onnx")(image) for name, folder in style_dirs.items()}
    assert np.abs(pictures["waves"] - pictures["stars"]).mean() > 10
    # a folder whose .onnx is one style and whose meta graph another tells which of them was used
    (style_dir / "style.json").unlink()  # its digests would refuse the mixture
    shutil.copy(style_dirs["stars"] / ONNX_FILE, style_dir / ONNX_FILE)
    np.testing.assert_array_equal(load_stylizer(style_dir)(image), pictures["stars"])
    (style_dir / ONNX_FILE).unlink()
    np.testing.assert_allclose(load_stylizer(style_dir)(image), pictures["waves"], atol=0.5)


def test_auto_is_content_with_the_onnx_file_alone(style_dirs, tmp_path):
    shutil.copy(style_dirs["waves"] / ONNX_FILE, tmp_path)
    assert load_stylizer(tmp_path)(random_images(8, 9, 3)).shape == (8, 9, 3)


def test_a_folder_may_be_given_as_text(style_dirs):
    assert load_stylizer(str(style_dirs["waves"]))(random_images(8, 9, 3)).shape == (8, 9, 3)


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
@pytest.mark.parametrize(
    "file", [ONNX_FILE, *(pytest.param(file, marks=pytest.mark.tensorflow) for file in META_FILES)]
)
def test_a_truncated_file_is_refused_with_what_to_do(style_dir, file, fraction):
    content = (style_dir / file).read_bytes()
    (style_dir / file).write_bytes(content[: int(fraction * len(content))])
    message = refusal(style_dir, "onnx" if file == ONNX_FILE else "tensorflow")
    assert "damaged" in message and "export the style again" in message


@pytest.mark.parametrize("tile", [0, -5, 15, 3.5, "abc", "16", None])
def test_an_impossible_tile_is_refused(style_dirs, tile):
    with pytest.raises(ValueError, match="tile must be 'auto', 'off' or at least 16 pixels, got"):
        load_stylizer(style_dirs["waves"], tile=tile)


@pytest.mark.parametrize("threads", [0, -1, 1.5])
def test_an_impossible_number_of_threads_is_refused(style_dirs, threads):
    with pytest.raises(
        ValueError, match="threads must be a whole number of at least 1 and at most 1024, got"
    ):
        load_stylizer(style_dirs["waves"], threads=threads)


def test_an_unknown_runtime_is_refused_by_the_known_ones(style_dirs):
    with pytest.raises(ValueError, match="one of auto, onnx, openvino, tensorflow, got 'torch'"):
        load_stylizer(style_dirs["waves"], "torch")


@pytest.mark.parametrize("weights", [[1, -1], [0, 0], [1, float("inf")], [1, float("nan")]])
def test_a_blend_of_impossible_weights_is_refused(style_dirs, weights):
    with pytest.raises(ValueError, match="finite weights of at least 0"):
        blended(style_dirs, weights)


def test_the_library_takes_a_style_by_its_name():
    picture = load_stylizer("starry_night")(random_images(16, 16, 3))
    by_folder = load_stylizer(Path(__file__).resolve().parents[1] / "checkpoints" / "starry_night")
    np.testing.assert_array_equal(picture, by_folder(random_images(16, 16, 3)))


@pytest.mark.parametrize("style", ["starry_nihgt", Path("nowhere") / "style"])
def test_a_missing_style_is_called_missing(style):
    with pytest.raises(
        StyleError, match="no such style or folder; styles in .*red_chalk, roman_mosaic, stained_glass"
    ):
        load_stylizer(style)


@pytest.mark.parametrize("max_memory", [0, -1, float("nan"), float("inf")])
def test_an_impossible_memory_limit_is_refused(style_dirs, max_memory):
    with pytest.raises(ValueError, match="max_memory must be above 0, in GB"):
        load_stylizer(style_dirs["waves"], max_memory=max_memory)

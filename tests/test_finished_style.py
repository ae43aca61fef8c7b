"""The style folder that a training exports, which old scripts can load."""

import hashlib
import json
import math
import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import tensorflow as tf

from transformer.architecture import Architecture
from transformer.export import finished_style
from transformer.export.finished_style import export_style, load_parameters
from transformer.export.onnx_graph import with_half_precision
from transformer.export.style_folder import META_PREFIX, StyleError, list_styles
from transformer.network import Transformer

STYLE_FILES = {
    "checkpoint",
    "fast_style_transfer.meta",
    "fast_style_transfer.index",
    "fast_style_transfer.data-00000-of-00001",
    "fast_style_transfer.onnx",
    "style.json",
}
TRAINING_WORDS = ("gradients", "backprop", "apply", "adam", "vgg", "loss", "iterator", "assignadd")


def random_images(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 255, shape).astype(np.float32)


@pytest.fixture
def old_dir(style_dirs, tmp_path) -> Path:
    """A style that is exported already, alone in its folder."""
    return shutil.copytree(style_dirs["waves"], tmp_path / "style")


def contents(style_dir: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in style_dir.iterdir()}


def digests_of(style_dir: Path) -> dict[str, str]:
    """The SHA-256 of every file of a style except style.json."""
    return {
        name: hashlib.sha256(content).hexdigest()
        for name, content in contents(style_dir).items()
        if name != "style.json"
    }


def test_a_style_is_exactly_these_files(style_dirs):
    assert {path.name for path in style_dirs["waves"].iterdir()} == STYLE_FILES


def test_style_json_is_the_given_values_as_valid_json(tmp_path, varied_network):
    info = {"name": "étoile", "losses": {"total": 1.5}}
    export_style(tmp_path / "style", varied_network(1), {**info, "validation": math.nan})

    def refuse(constant: str):
        raise AssertionError(f"{constant} is not JSON")

    text = (tmp_path / "style" / "style.json").read_text(encoding="utf-8")
    written = json.loads(text, parse_constant=refuse)
    assert written.pop("sha256") == digests_of(tmp_path / "style")
    assert written == {**info, "validation": None}


def test_exporting_again_replaces_the_old_style_and_every_file_of_it(old_dir, tmp_path, varied_network):
    (old_dir / "stale.txt").write_text("of an older version")
    before = (old_dir / "fast_style_transfer.onnx").read_bytes()
    export_style(old_dir, varied_network(2), {"name": "new"})
    assert {path.name for path in old_dir.iterdir()} == STYLE_FILES
    info = json.loads((old_dir / "style.json").read_text())
    assert info == {"name": "new", "sha256": digests_of(old_dir)}
    assert (old_dir / "fast_style_transfer.onnx").read_bytes() != before
    assert [path.name for path in tmp_path.iterdir()] == ["style"]


EXPORT = "transformer.export.finished_style"


@pytest.mark.parametrize(
    "part",
    [
        f"{EXPORT}.write_meta_graph",
        f"{EXPORT}.build_onnx_model",
        f"{EXPORT}.json_text",
        f"{EXPORT}.file_digests",
        "pathlib.Path.rename",
    ],
)
def test_an_export_that_fails_leaves_the_old_style_untouched_and_nothing_else(
    old_dir, tmp_path, varied_network, monkeypatch, part
):
    before = contents(old_dir)
    monkeypatch.setattr("system.files._exchange", lambda *_: False)  # which would need no rename

    def fail(*_args, **_kwargs):
        raise OSError("no space left on device")

    monkeypatch.setattr(part, fail)
    with pytest.raises(OSError, match="no space left"):
        export_style(old_dir, varied_network(2), {"name": "new"})
    assert contents(old_dir) == before
    assert [path.name for path in tmp_path.iterdir()] == ["style"]


def test_a_rename_that_fails_puts_the_old_style_back(old_dir, tmp_path, varied_network, monkeypatch):
    before, rename, onto_the_style = contents(old_dir), Path.rename, []
    monkeypatch.setattr("system.files._exchange", lambda *_: False)  # which would need no rename

    def fail_once(path, target):
        if target == old_dir:
            onto_the_style.append(path)
            if len(onto_the_style) == 1:
                raise OSError("input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail_once)
    with pytest.raises(OSError, match="input/output"):
        export_style(old_dir, varied_network(2), {"name": "new"})
    assert len(onto_the_style) == 2
    assert contents(old_dir) == before
    assert [path.name for path in tmp_path.iterdir()] == ["style"]


def test_the_weights_of_a_style_can_be_loaded_into_a_network(style_dirs, varied_network):
    network, exported = varied_network(2), varied_network(1)
    load_parameters(style_dirs["waves"], network)
    trained = {name: value.numpy() for name, value in exported.parameters.items()}
    for name, value in with_half_precision(trained, exported.architecture).items():
        np.testing.assert_array_equal(network.parameters[name], value, err_msg=name)


def test_the_weights_of_another_network_are_refused_in_one_line(style_dirs, varied_network):
    with pytest.raises(StyleError, match=r"its network differs in transformer/residual2/.* --outer-kernel$"):
        load_parameters(style_dirs["waves"], varied_network(1, residual_blocks=2))
    with pytest.raises(StyleError, match="its weights cannot be used .* same --width, --residual-blocks and"):
        load_parameters(style_dirs["waves"], Transformer(Architecture(width=0.25, residual_blocks=1)))


def test_a_damaged_style_is_refused_in_one_line(old_dir, varied_network):
    (old_dir / "fast_style_transfer.index").write_bytes(b"")
    with pytest.raises(StyleError, match=f"{old_dir}: its weights cannot be used") as caught:
        load_parameters(old_dir, varied_network(1))
    assert "\n" not in str(caught.value)


def lesson_30_stylize(graph_dir: Path, images: np.ndarray, *, weights_dir: Path | None = None) -> np.ndarray:
    """Does what the scripts in the wild do, line by line; `weights_dir` restores another style into the graph."""
    v1 = tf.compat.v1
    with tf.Graph().as_default() as graph, v1.Session() as session:
        session.run(v1.global_variables_initializer())
        saver = v1.train.import_meta_graph(str(graph_dir / "fast_style_transfer.meta"))
        saver.restore(session, tf.train.latest_checkpoint(str(weights_dir or graph_dir)))
        stylized = graph.get_tensor_by_name("transformer/g:0")
        return session.run(stylized, feed_dict={"X:0": images})


def onnx_stylize(style_dir: Path, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(style_dir / "fast_style_transfer.onnx"))
    return session.run(["g"], {"X": images.astype(np.float32)})[0]


@pytest.mark.parametrize("shape", [(1, 250, 333, 3), (2, 40, 31, 3), (1, 1, 1, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_a_lesson_30_script_gives_the_picture_of_onnx_runtime(style_dirs, shape, dtype):
    images = random_images(*shape).astype(dtype)
    stylized = lesson_30_stylize(style_dirs["waves"], images)
    assert stylized.shape == shape
    assert stylized.min() >= 0 and stylized.max() <= 255
    np.testing.assert_allclose(stylized, onnx_stylize(style_dirs["waves"], images), atol=1)


def test_the_picture_of_a_lesson_30_script_is_the_clipped_one_of_the_network(style_dirs, varied_network):
    images = random_images(2, 40, 31, 3)
    unclipped = varied_network(1)(tf.constant(images)).numpy()
    assert unclipped.min() < -5 and unclipped.max() > 260  # else clipping would not show
    stylized = lesson_30_stylize(style_dirs["waves"], images)
    np.testing.assert_allclose(stylized, unclipped.clip(0, 255), atol=1)


def test_a_style_works_after_its_folder_was_moved(style_dirs, tmp_path):
    images = random_images(1, 16, 16, 3)
    moved = shutil.copytree(style_dirs["waves"], tmp_path / "elsewhere")
    assert tf.train.latest_checkpoint(str(moved)) == str(moved / "fast_style_transfer")
    np.testing.assert_array_equal(
        lesson_30_stylize(moved, images), lesson_30_stylize(style_dirs["waves"], images)
    )


def test_one_styles_weights_in_the_graph_of_another_give_the_one_style(style_dirs):
    images = random_images(1, 24, 24, 3)
    waves, stars = style_dirs["waves"], style_dirs["stars"]
    mixed = lesson_30_stylize(waves, images, weights_dir=stars)
    np.testing.assert_allclose(mixed, lesson_30_stylize(stars, images), atol=1e-3)
    assert np.abs(mixed - lesson_30_stylize(waves, images)).mean() > 10


def test_all_styles_name_their_variables_alike(style_dirs):
    names = {
        style: tf.train.list_variables(str(style_dir / "fast_style_transfer"))
        for style, style_dir in style_dirs.items()
    }
    assert names["waves"] == names["stars"]
    assert dict(names["waves"])["transformer/encoder/conv1/kernel"] == [5, 5, 3, 4]


def test_the_meta_graph_of_the_full_depth_is_small_and_holds_inference_only(tmp_path, varied_network):
    export_style(tmp_path / "style", varied_network(1, residual_blocks=5), {})
    path = tmp_path / "style" / "fast_style_transfer.meta"
    assert path.stat().st_size < 300_000
    meta_graph = tf.compat.v1.MetaGraphDef.FromString(path.read_bytes())
    nodes = [f"{node.name} {node.op}".lower() for node in meta_graph.graph_def.node]
    assert len([node for node in nodes if node.endswith(" conv2d")]) == 16
    assert [node for node in nodes if any(word in node for word in TRAINING_WORDS)] == []
    constants = [node.attr["value"].tensor for node in meta_graph.graph_def.node if node.op == "Const"]
    assert max(constant.ByteSize() for constant in constants) < 5000  # no weights among them


def test_a_full_disk_leaves_the_old_style_and_nothing_half_written(
    old_dir, tmp_path, varied_network, monkeypatch
):
    before = contents(old_dir)

    def full(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "lines\nof TensorFlow; No space left on device")

    monkeypatch.setattr(finished_style, "write_meta_graph", full)
    with pytest.raises(OSError, match="^No space left on device$"):
        export_style(old_dir, varied_network(2), {"name": "new"})
    assert contents(old_dir) == before
    assert [path.name for path in tmp_path.iterdir()] == ["style"]


def test_the_weights_of_each_shipped_style_fit_the_graphs_of_the_others():
    shapes = {
        style_dir.name: tf.train.load_checkpoint(str(style_dir / META_PREFIX)).get_variable_to_shape_map()
        for style_dir in list_styles()
    }
    first = shapes.pop("great_wave")
    assert shapes and [name for name, own in shapes.items() if own != first] == []

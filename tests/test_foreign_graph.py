"""Meta graphs of other people: what they may not do, and what they may."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import infer
from transformer.export.style_folder import META_FILES, StyleError
from transformer.inference.foreign_graph import ALLOWED, ALLOWED_BESIDE, MetaGraphStylizer
from transformer.inference.loading import load_stylizer
from transformer.inference.picture_fit import fed_images, fitted

v1 = tf.compat.v1
IMAGE = np.random.default_rng(0).uniform(0, 255, (1, 9, 10, 3)).astype(np.float32)


def write_style(folder: Path, build, *, dtype=tf.float32, shape=(None, None, None, 3), train=None) -> Path:
    """A folder with the graph that `build` makes of X; its variables are saved as they are initialised."""
    folder.mkdir(exist_ok=True)
    with tf.Graph().as_default() as graph, v1.Session(graph=graph) as session:
        images = v1.placeholder(dtype, shape, name="X")
        stylized = tf.identity(build(images), name="transformer/g")
        if train is not None:
            train(stylized)
        if not v1.global_variables():
            v1.get_variable("unused", [1])
        session.run(v1.global_variables_initializer())
        v1.train.Saver().save(session, str(folder / "fast_style_transfer"))
    return folder


def brightened(images: tf.Tensor, use_resource: bool = False) -> tf.Tensor:
    """255 - x, by a variable of 1x1."""
    kernel = v1.get_variable(
        "k", initializer=-np.eye(3, dtype=np.float32)[None, None], use_resource=use_resource
    )
    return tf.nn.conv2d(images, kernel, 1, "SAME") + 255


def refusal(style_dir: Path) -> str:
    with pytest.raises(StyleError) as error:
        MetaGraphStylizer(
            style_dir
        )  # what the child process of load_stylizer calls, see test_graph_process.py
    assert "\n" not in str(error.value) and str(style_dir) in str(error.value)
    return str(error.value)


# Malicious graphs. Each operation, did it run, would leave its mark.


def writes_a_file(mark: Path) -> tf.Operation:
    return tf.io.write_file(str(mark), "was here")


def reads_a_file(mark: Path) -> tf.Tensor:
    return tf.io.read_file(str(mark))


def calls_python(mark: Path) -> tf.Tensor:
    return v1.py_func(lambda: mark.write_text("was here"), [], tf.int64)


def prints_to_a_file(mark: Path) -> tf.Operation:
    return tf.raw_ops.PrintV2(input=tf.constant("was here"), output_stream=f"file://{mark}")


def lists_files(mark: Path) -> tf.Tensor:
    return tf.raw_ops.MatchingFiles(pattern=str(mark))


def saves_a_checkpoint(mark: Path) -> tf.Operation:
    return tf.raw_ops.SaveV2(
        prefix=str(mark), tensor_names=["a"], shape_and_slices=[""], tensors=[tf.zeros(1)]
    )


MALICE = {
    "WriteFile": writes_a_file,
    "ReadFile": reads_a_file,
    "PyFunc": calls_python,
    "PrintV2": prints_to_a_file,
    "MatchingFiles": lists_files,
    "SaveV2": saves_a_checkpoint,
}


def in_the_open(images, act):
    with tf.control_dependencies([act()]):
        return brightened(tf.identity(images))


def in_a_function(images, act):
    @tf.function
    def innocent(value):
        with tf.control_dependencies([act()]):
            return tf.identity(value)

    return brightened(innocent(images))


def in_a_loop(images, act):
    def body(count, value):
        with tf.control_dependencies([act()]):
            return count + 1, tf.identity(value)

    return brightened(tf.while_loop(lambda count, _: count < 1, body, (0, images))[1])


@pytest.mark.parametrize("hidden", [in_the_open, in_a_function, in_a_loop])
@pytest.mark.parametrize("operation", MALICE)
def test_a_graph_that_reaches_outside_is_refused_by_the_operations_name(tmp_path, operation, hidden):
    mark = tmp_path / "mark"

    def act():
        return MALICE[operation](mark)

    style_dir = write_style(tmp_path / "style", lambda images: hidden(images, act))
    mark.unlink(missing_ok=True)
    message = refusal(style_dir)
    assert "refused" in message and "--trust" in message and not mark.exists()
    assert f"operation {operation} " in message


def test_an_operation_in_a_branch_in_a_function_is_found(tmp_path):
    mark = tmp_path / "mark"

    @tf.function
    def outer(value):
        def branch():
            with tf.control_dependencies([writes_a_file(mark)]):
                return tf.identity(value)

        return tf.cond(tf.reduce_sum(value) > 0, branch, lambda: value)

    message = refusal(write_style(tmp_path / "style", outer))
    assert "operation WriteFile" in message and "in function" in message and not mark.exists()


@pytest.mark.parametrize("operation", ["WriteFile", "ReadFile", "PyFunc"])
def test_an_operation_that_the_picture_does_not_need_is_refused_too(tmp_path, operation):
    def beside(images):
        MALICE[operation](tmp_path / "mark")
        return brightened(images)

    assert f"operation {operation}" in refusal(write_style(tmp_path / "style", beside))


def test_a_function_nobody_calls_is_checked_too(tmp_path):
    @tf.function
    def idle():
        return reads_a_file(tmp_path / "mark")

    def beside(images):
        idle.get_concrete_function().add_to_graph()
        return brightened(images)

    assert "operation ReadFile" in refusal(write_style(tmp_path / "style", beside))


def test_an_operation_of_a_loaded_library_is_refused_by_its_name(tmp_path):
    style_dir = write_style(tmp_path / "style", brightened)
    path = style_dir / "fast_style_transfer.meta"
    meta_graph = v1.MetaGraphDef.FromString(path.read_bytes())
    next(node for node in meta_graph.graph_def.node if node.op == "Conv2D").op = "EvilConv2D"
    path.write_bytes(meta_graph.SerializeToString())
    assert "operation EvilConv2D" in refusal(style_dir)


def test_who_trusts_a_graph_runs_it(tmp_path):
    mark = tmp_path / "mark"
    style_dir = write_style(
        tmp_path / "style", lambda images: in_the_open(images, lambda: writes_a_file(mark))
    )
    stylized = load_stylizer(style_dir, trust=True)(IMAGE)
    np.testing.assert_allclose(stylized, 255 - IMAGE, atol=1e-3)
    assert mark.read_text() == "was here"


def test_infer_refuses_a_malicious_style_in_one_line(tmp_path, photo, capsys):
    style_dir = write_style(
        tmp_path / "style", lambda images: in_the_open(images, lambda: writes_a_file(tmp_path / "mark"))
    )
    arguments = [str(photo(tmp_path / "a.png")), "--style", str(style_dir), "-o", str(tmp_path / "b.png")]
    assert infer.main(arguments) == 1
    captured = capsys.readouterr()
    assert len(captured.err.splitlines()) == 1 and "operation WriteFile" in captured.err
    assert infer.main([*arguments, "--trust"]) == 0 and (tmp_path / "b.png").is_file()


def test_nothing_on_the_allow_list_reads_writes_or_calls_out():
    words = (
        "File",
        "Py",
        "Dataset",
        "Iterator",
        "Print",
        "Reader",
        "Queue",
        "Rpc",
        "Remote",
        "Restore",
        "Save",
        "Env",
    )
    harmless = {
        "ShardedFilename",
        "ShardedFilespec",
        "Save",
        "SaveSlices",
        "SaveV2",
        "Restore",
        "RestoreSlice",
    }
    found = {name for name in ALLOWED_BESIDE if any(word in name for word in words)}
    assert not {name for name in ALLOWED if any(word in name for word in words)}
    assert found <= harmless | {"RestoreV2"}  # the Saver's, which are never imported


def endless_loop(images, *, as_function: bool):
    v1.enable_control_flow_v2() if as_function else v1.disable_control_flow_v2()
    try:
        return brightened(
            tf.while_loop(lambda *_: tf.constant(True), lambda i, x: (i + 1, x), (0, images))[1]
        )
    finally:
        v1.enable_control_flow_v2()


@pytest.mark.parametrize(
    ("as_function", "operation"), [(True, "(Stateless)?While"), (False, "(Enter|LoopCond|NextIteration)")]
)
def test_a_loop_is_refused_by_its_operation(tmp_path, as_function, operation):
    style_dir = write_style(tmp_path / "style", lambda images: endless_loop(images, as_function=as_function))
    assert re.search(
        f"operation {operation} .* is part of a loop, which may never end.*--trust", refusal(style_dir)
    )


def test_a_loop_in_a_function_is_refused(tmp_path):
    @tf.function
    def innocent(value):
        return tf.while_loop(lambda *_: tf.constant(True), lambda i, x: (i + 1, x), (0, value))[1]

    message = refusal(write_style(tmp_path / "style", lambda images: brightened(innocent(images))))
    assert "is part of a loop" in message and "in function" in message


def test_a_loop_of_the_training_is_no_reason_to_refuse(tmp_path):
    def train(stylized):
        tf.while_loop(lambda i: i < 3, lambda i: i + 1, [0])

    style_dir = write_style(tmp_path / "style", brightened, train=train)
    np.testing.assert_allclose(MetaGraphStylizer(style_dir)(IMAGE), 255 - IMAGE, atol=1e-3)


def edited(style_dir: Path, edit) -> Path:
    """The style with another meta graph."""
    path = style_dir / "fast_style_transfer.meta"
    meta_graph = v1.MetaGraphDef.FromString(path.read_bytes())
    edit(meta_graph.graph_def)
    path.write_bytes(meta_graph.SerializeToString())
    return style_dir


def call_themselves(graph_def) -> None:
    for function in graph_def.library.function:
        function.node_def.add(name="again", op=function.signature.name, input=["value"])


def call_each_other(graph_def) -> None:
    functions = graph_def.library.function
    for function, other in zip(functions, [*functions[1:], functions[0]], strict=True):
        call = function.node_def.add(name="again", op="PartitionedCall", input=["value"])
        call.attr["f"].func.name = other.signature.name


@pytest.mark.parametrize("edit", [call_themselves, call_each_other])
def test_functions_that_call_themselves_are_refused(tmp_path, edit):
    @tf.function
    def twice(value):
        return 2 * value

    @tf.function
    def half(value):
        return value / 2

    style_dir = write_style(tmp_path / "style", lambda images: brightened(half(twice(images))))
    np.testing.assert_allclose(MetaGraphStylizer(style_dir)(IMAGE), 255 - IMAGE, atol=1e-3)
    assert "calls itself, which may never end" in refusal(edited(style_dir, edit))


# Graphs that are fine


def test_our_own_styles_pass(style_dirs):
    stylized = load_stylizer(style_dirs["waves"], "tensorflow")(IMAGE)
    np.testing.assert_allclose(stylized, load_stylizer(style_dirs["waves"])(IMAGE), atol=0.5)


@pytest.mark.parametrize("use_resource", [False, True])
def test_a_fat_training_graph_passes_and_only_what_the_picture_needs_is_imported(tmp_path, use_resource):
    def train(stylized):
        loss = tf.reduce_mean(tf.square(stylized - 99)) + tf.reduce_sum(
            tf.constant(np.ones((500, 500), np.float32))
        )
        v1.train.AdamOptimizer(0.1).minimize(loss, global_step=v1.train.get_or_create_global_step())
        v1.summary.scalar("loss", loss)
        v1.summary.merge_all()

    style_dir = write_style(
        tmp_path / "style", lambda images: brightened(images, use_resource=use_resource), train=train
    )
    stylizer = MetaGraphStylizer(style_dir)
    np.testing.assert_allclose(stylizer(IMAGE), 255 - IMAGE, atol=1e-3)
    operations = {operation.type for operation in stylizer._graph.get_operations()}
    assert "Conv2D" in operations and not operations & {
        "ApplyAdam",
        "ResourceApplyAdam",
        "SaveV2",
        "RestoreV2",
    }


def test_a_uint8_placeholder_is_fed_rounded(tmp_path):
    style_dir = write_style(tmp_path / "style", lambda x: tf.cast(x, tf.float32), dtype=tf.uint8)
    np.testing.assert_array_equal(MetaGraphStylizer(style_dir)(IMAGE), np.rint(IMAGE))


@pytest.mark.parametrize("margins", [((0, 0), (0, 3), (0, 2), (0, 0)), ((0, 0), (5, 5), (6, 6), (0, 0))])
def test_a_picture_that_comes_back_larger_is_cropped_to_the_photo(tmp_path, margins):
    style_dir = write_style(tmp_path / "style", lambda x: tf.pad(x, margins))
    np.testing.assert_array_equal(MetaGraphStylizer(style_dir)(IMAGE), IMAGE)


def test_a_picture_that_comes_back_smaller_is_extended_by_its_edge():
    shrunk = fitted(IMAGE[:, :7, :6], 9, 10)
    assert shrunk.shape == IMAGE.shape
    np.testing.assert_array_equal(
        shrunk[:, :7, 2:8], IMAGE[:, :7, :6]
    )  # 4 columns less are a margin on both sides
    np.testing.assert_array_equal(shrunk[:, 8], shrunk[:, 6])


# Graphs that do not fit


def test_a_graph_of_a_fixed_size_says_which(tmp_path):
    style_dir = write_style(tmp_path / "style", brightened, shape=(1, 32, 32, 3))
    with pytest.raises(StyleError, match=r"does not accept images of shape \(1, 9, 10, 3\).*32, 32"):
        MetaGraphStylizer(style_dir)(IMAGE)


def test_a_graph_that_gives_no_images_is_named(tmp_path):
    style_dir = write_style(tmp_path / "style", lambda x: tf.reduce_mean(x, axis=3))
    with pytest.raises(StyleError, match=r"the graph returns shape"):
        MetaGraphStylizer(style_dir)(IMAGE)


@pytest.mark.parametrize(
    ("build", "options", "words"),
    [
        (lambda x: tf.reduce_mean(x, axis=3, keepdims=True), {}, r"returns shape \(None, None, None, 1\)"),
        (lambda x: x > 0, {}, "returns shape .* of type bool"),
        (lambda x: tf.cast(x, tf.float32), {"dtype": tf.int8}, "takes shape .* of type int8"),
        (lambda x: tf.cast(x, tf.float32), {"dtype": tf.bool}, "takes shape .* of type bool"),
        (lambda x: x, {"shape": (None, None, 3)}, r"takes shape \(None, None, 3\)"),
        (lambda x: x[..., :3], {"shape": (None, None, None, 4)}, r"takes shape \(None, None, None, 4\)"),
        (lambda x: x[:, :1, :1], {}, r"the graph returns shape \(1, 1, 1, 3\)"),
        (lambda x: tf.image.resize(x, 3 * tf.shape(x)[1:3]), {}, r"the graph returns shape \(1, 27, 30, 3\)"),
        (lambda x: tf.tile(x, [2, 1, 1, 1]), {}, r"the graph returns shape \(2, 9, 10, 3\)"),
    ],
)
def test_a_graph_that_takes_or_returns_no_images_of_the_photos_size_is_named(tmp_path, build, options, words):
    style_dir = write_style(tmp_path / "style", build, **options)
    with pytest.raises(StyleError, match=words) as error:
        MetaGraphStylizer(style_dir)(IMAGE)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("fraction", [0, 0.3, 0.9])
@pytest.mark.parametrize("file", META_FILES)
def test_a_truncated_file_without_a_digest_is_refused_with_what_to_do(tmp_path, file, fraction):
    style_dir = write_style(tmp_path / "style", brightened)
    content = (style_dir / file).read_bytes()
    (style_dir / file).write_bytes(content[: int(fraction * len(content))])
    message = refusal(style_dir)
    assert "damaged" in message and "export the style again" in message


def test_the_values_that_feed_an_integer_placeholder_are_limited_to_its_range():
    values = np.array([-3.0, 0.4, 254.6, 300.0], np.float32)
    np.testing.assert_array_equal(fed_images(values, np.dtype(np.uint8)), [0, 0, 255, 255])


def test_a_graph_without_the_tensors_of_the_contract_is_named(tmp_path):
    style_dir = write_style(tmp_path / "style", brightened)
    path = style_dir / "fast_style_transfer.meta"
    meta_graph = v1.MetaGraphDef.FromString(path.read_bytes())
    next(node for node in meta_graph.graph_def.node if node.name == "transformer/g").name = "result"
    path.write_bytes(meta_graph.SerializeToString())
    assert "has no tensor transformer/g:0" in refusal(style_dir)


def test_a_checkpoint_of_another_network_is_named(tmp_path):
    def wider(images):
        kernel = v1.get_variable("k", [3, 3, 3, 3])
        return tf.nn.conv2d(images, kernel, 1, "SAME")

    def other_name(images):
        return images * v1.get_variable("gain", [])

    style_dir = write_style(tmp_path / "style", brightened)
    for build, words in ((wider, "(3, 3, 3, 3) in the checkpoint"), (other_name, "lacks k")):
        other_dir = write_style(tmp_path / build.__name__, build)
        shutil.copy(style_dir / "fast_style_transfer.meta", other_dir)
        message = refusal(other_dir)
        assert words in message and "do not belong together" in message


def test_a_foreign_style_needs_no_style_json(tmp_path, photo):
    style_dir = write_style(tmp_path / "style", brightened)
    arguments = [str(photo(tmp_path / "a.png")), "--style", str(style_dir), "-o", str(tmp_path / "b.png")]
    assert infer.main(arguments) == 0
    assert not (style_dir / "style.json").exists()

"""ONNX files for other programs: of a fixed size for OpenCV, and in half precision."""

import numpy as np
import onnx
import onnxruntime
import pytest

from transformer.export.onnx_graph import read_onnx_parameters
from transformer.export.portable_onnx import build_portable_model
from transformer.export.style_folder import ONNX_FILE, StyleError

SIZES = [(64, 48), (33, 70), (6, 5), (1, 1)]
DYNAMIC_OPERATORS = {"Shape", "Range", "Mod", "Div", "Squeeze"}


@pytest.fixture(scope="module")
def waves(style_dirs):
    """Parameters and architecture of a style."""
    return read_onnx_parameters(style_dirs["waves"] / ONNX_FILE)


@pytest.fixture(scope="module")
def ours(style_dirs):
    """A function: images -> what the file of the style gives."""
    session = onnxruntime.InferenceSession(str(style_dirs["waves"] / ONNX_FILE))
    return lambda images: session.run(None, {"X": images})[0]


def smooth_images(height: int, width: int, count: int = 1) -> np.ndarray:
    """Images without flat regions, float32 [count, height, width, 3]."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [np.sin(rows / 5 + phase) + np.cos(columns / 7 - phase) for phase in range(3 * count)]
    images = 127.5 + 60 * np.stack(waves, -1).reshape(height, width, count, 3).transpose(2, 0, 1, 3)
    noise = np.random.default_rng(0).normal(0, 8, images.shape)
    return (images + noise).clip(0, 255).astype(np.float32)


def outputs_of(model: onnx.ModelProto, images: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {"X": images})[0]


@pytest.mark.parametrize("size", SIZES)
def test_a_file_of_a_fixed_size_gives_our_picture(waves, ours, size):
    images = smooth_images(*size)
    model = build_portable_model(*waves, size=size)
    np.testing.assert_allclose(outputs_of(model, images), ours(images), atol=0.01)


def test_a_file_of_a_fixed_size_computes_no_sizes(waves):
    model = build_portable_model(*waves, size=(33, 70))
    assert {node.op_type for node in model.graph.node} & DYNAMIC_OPERATORS == set()
    for value in (*model.graph.input, *model.graph.output):
        assert [axis.dim_value for axis in value.type.tensor_type.shape.dim] == [1, 33, 70, 3]


@pytest.mark.parametrize("size", [(64, 48), (33, 70), (6, 5)])
def test_opencv_reads_a_file_of_a_fixed_size_and_gives_our_picture(waves, ours, size):
    cv2 = pytest.importorskip("cv2", reason="needs opencv-python-headless")
    content = build_portable_model(*waves, size=size).SerializeToString()
    network = cv2.dnn.readNetFromONNX(np.frombuffer(content, np.uint8))
    images = smooth_images(*size)
    network.setInput(images)
    np.testing.assert_allclose(network.forward(), ours(images), atol=0.1)


@pytest.mark.parametrize("size", [None, (33, 70)])
def test_half_precision_changes_less_than_two_levels_and_keeps_float32_outside(waves, ours, size):
    images = smooth_images(33, 70)
    model = build_portable_model(*waves, size=size, is_half=True)
    stylized = outputs_of(model, images)
    assert stylized.dtype == np.float32
    np.testing.assert_allclose(stylized, ours(images), atol=2)


def test_half_precision_takes_several_images_of_any_size(waves, ours):
    images = smooth_images(20, 31, count=3)
    model = build_portable_model(*waves, is_half=True)
    np.testing.assert_allclose(outputs_of(model, images), ours(images), atol=2)


def types_of(model: onnx.ModelProto) -> dict[str, int]:
    """The element type of every value by name."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = (*graph.input, *graph.value_info, *graph.output)
    inferred = {value.name: value.type.tensor_type.elem_type for value in values}
    return inferred | {item.name: item.data_type for item in graph.initializer}


def test_half_precision_convolves_in_float16_and_takes_statistics_in_float32(waves):
    model = build_portable_model(*waves, is_half=True)
    types = types_of(model)
    operands = {
        operator: {
            types[name] for node in model.graph.node if node.op_type == operator for name in node.input
        }
        for operator in ("Conv", "InstanceNormalization", "Tanh", "Clip")
    }
    half, single = onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT
    assert operands.pop("Conv") == {half}
    assert operands == dict.fromkeys(operands, {single})


def test_a_file_in_half_precision_takes_half_the_place(waves):
    parameters, architecture = waves
    whole = build_portable_model(parameters, architecture)
    half = build_portable_model(parameters, architecture, is_half=True)
    kernels = [item for item in half.graph.initializer if item.name.endswith("/kernel")]
    assert {item.data_type for item in kernels} == {onnx.TensorProto.FLOAT16}
    saved = sum(parameters[item.name].size * 2 for item in kernels)
    assert half.ByteSize() < whole.ByteSize() - 0.8 * saved


def test_kernels_beyond_half_precision_are_refused_in_one_line(waves):
    parameters, architecture = waves
    huge = {**parameters, "encoder/conv1/kernel": parameters["encoder/conv1/kernel"] * 1e6}
    with pytest.raises(StyleError, match="encoder/conv1/kernel exceeds the range of half.* --format onnx$"):
        build_portable_model(huge, architecture, is_half=True)


def test_metadata_is_in_the_file(waves):
    model = build_portable_model(*waves, size=(8, 8), metadata={"style": "waves", "license": "public domain"})
    found = {item.key: item.value for item in model.metadata_props}
    assert found == {"width": str(waves[1].width), "style": "waves", "license": "public domain"}

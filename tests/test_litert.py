"""LiteRT files, run by LiteRT's own interpreter."""

import numpy as np
import onnxruntime
import pytest
import tensorflow as tf

from transformer.export.litert import build_litert_model
from transformer.export.onnx_graph import read_onnx_parameters
from transformer.export.style_folder import ONNX_FILE, StyleError

SIZES = [(64, 48), (33, 70), (6, 5)]


@pytest.fixture(scope="module")
def waves(style_dirs):
    return read_onnx_parameters(style_dirs["waves"] / ONNX_FILE)


@pytest.fixture(scope="module")
def ours(style_dirs):
    session = onnxruntime.InferenceSession(str(style_dirs["waves"] / ONNX_FILE))
    return lambda images: session.run(None, {"X": images})[0]


def random_images(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, (1, height, width, 3)).astype(np.float32)


def interpreter_of(content: bytes):
    litert = pytest.importorskip("ai_edge_litert.interpreter", reason="needs ai-edge-litert")
    return litert.Interpreter(model_content=content, num_threads=1)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("has_half_weights", "levels"), [(False, 0.1), (True, 2)])
def test_its_own_interpreter_gives_our_picture(waves, ours, size, has_half_weights, levels):
    content = build_litert_model(*waves, size, has_half_weights=has_half_weights)
    stylize = interpreter_of(content).get_signature_runner("serving_default")
    images = random_images(*size)
    stylized = stylize(images=images)["stylized"]
    assert stylized.dtype == np.float32
    np.testing.assert_allclose(stylized, ours(images), atol=levels)


@pytest.mark.parametrize("has_half_weights", [False, True])
def test_all_operations_are_builtin_and_the_fast_kernels_take_them(waves, has_half_weights):
    content = build_litert_model(*waves, (64, 48), has_half_weights=has_half_weights)
    interpreter = interpreter_of(content)
    interpreter.allocate_tensors()
    names = [operation["op_name"] for operation in interpreter._get_ops_details()]
    assert not [name for name in names if name.startswith("Flex") or name == "CUSTOM"]
    assert {"GATHER", "MIRROR_PAD", "BROADCAST_TO"}.isdisjoint(names)  # which XNNPACK does not have
    assert names.count("CONV_2D") == len(waves[1].convolutions)


def test_half_weights_are_float16_and_take_half_the_place(waves):
    parameters = sum(value.nbytes for value in waves[0].values())
    whole, half = (build_litert_model(*waves, (64, 48), has_half_weights=flag) for flag in (False, True))
    assert len(whole) - len(half) > 0.4 * parameters
    types = {tensor["dtype"] for tensor in interpreter_of(half).get_tensor_details()}
    assert np.float16 in types and np.int8 not in types


def test_a_tensorflow_without_the_converter_is_named_in_one_line(waves, monkeypatch):
    monkeypatch.delattr(tf.lite.TFLiteConverter, "from_concrete_functions")
    with pytest.raises(StyleError, match=r"this TensorFlow \(.*\) has no LiteRT converter .*; use 2.21$"):
        build_litert_model(*waves, (8, 8))

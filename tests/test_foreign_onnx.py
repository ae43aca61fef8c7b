"""transformer/inference/foreign_onnx.py: which ONNX graphs of others run, and why the others do not."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from transformer.export.style_folder import ONNX_FILE, StyleError
from transformer.inference.foreign_onnx import ALLOWED, OnnxGraphStylizer

IMAGES = np.random.default_rng(0).uniform(0, 255, (1, 40, 50, 3)).astype(np.float32)
PATH = Path("folder") / ONNX_FILE
SHAPE = ("N", "H", "W", 3)
node, info = helper.make_node, helper.make_tensor_value_info
FLOAT = TensorProto.FLOAT


def integers(name: str, *values: int) -> onnx.TensorProto:
    return helper.make_tensor(name, TensorProto.INT64, [len(values)], values)


def floats(name: str, *values: float) -> onnx.TensorProto:
    return helper.make_tensor(name, FLOAT, [len(values)], values)


def model(*nodes, takes=(FLOAT, SHAPE), returns=(FLOAT, SHAPE), constants=(), name="X") -> onnx.ModelProto:
    """A graph of X, by default from images to images; by default 255 - X."""
    if not nodes:
        nodes, constants = (node("Sub", ["white", name], ["g"]),), [floats("white", 255.0)]
    graph = helper.make_graph(nodes, "graph", [info(name, *takes)], [info("g", *returns)], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def stylized(made: onnx.ModelProto, *, trust: bool = False) -> np.ndarray:
    return OnnxGraphStylizer(made.SerializeToString(), PATH, threads=1, trust=trust)(IMAGES)


def refusal(made: onnx.ModelProto | bytes, **options) -> str:
    """The message of the StyleError, of one short line that names the file."""
    content = made if isinstance(made, bytes) else made.SerializeToString()
    with pytest.raises(StyleError) as error:
        OnnxGraphStylizer(content, PATH, threads=1, **options)(IMAGES)
    message = str(error.value)
    assert "\n" not in message and len(message) < 500 and str(PATH) in message
    return message


# Graphs that are fine


def test_a_graph_of_images_runs():
    np.testing.assert_allclose(stylized(model()), 255 - IMAGES, atol=1e-3)


@pytest.mark.parametrize("number_type", [TensorProto.UINT8, TensorProto.FLOAT16, TensorProto.INT32])
def test_the_photo_is_converted_to_the_type_of_the_input(number_type):
    made = model(node("Cast", ["X"], ["g"], to=FLOAT), takes=(number_type, SHAPE))
    np.testing.assert_allclose(stylized(made), IMAGES, atol=0.51)


def test_an_integer_picture_becomes_float32():
    made = model(node("Cast", ["X"], ["g"], to=TensorProto.UINT8), returns=(TensorProto.UINT8, SHAPE))
    picture = stylized(made)
    assert picture.dtype == np.float32
    np.testing.assert_array_equal(picture, np.floor(IMAGES))


def test_a_picture_with_a_margin_is_cropped():
    made = model(node("Pad", ["X", "pads"], ["g"]), constants=[integers("pads", 0, 5, 5, 0, 0, 6, 6, 0)])
    np.testing.assert_array_equal(stylized(made), IMAGES)


def test_a_domain_that_converters_list_may_be_listed():
    made = model()
    made.opset_import.append(helper.make_opsetid("ai.onnx.ml", 2))
    np.testing.assert_allclose(stylized(made), 255 - IMAGES, atol=1e-3)


# Interface


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (model(name="image"), "its inputs are image"),
        (model(takes=(FLOAT, ("N", 3, "H", "W"))), r"input X has the shape [?, 3, ?, ?]"),
        (model(takes=(FLOAT, ("H", "W", 3))), "input X has the shape [?, ?, 3]"),
        (model(takes=(FLOAT, ("N", "H", "W", 4))), "input X has the shape [?, ?, ?, 4]"),
        (model(takes=(TensorProto.INT8, SHAPE)), "input X has the type INT8"),
        (model(takes=(TensorProto.BOOL, SHAPE)), "input X has the type BOOL"),
        (model(takes=(TensorProto.STRING, SHAPE)), "input X has the type STRING"),
        (model(returns=(FLOAT, ())), "output g has the shape []"),
        (model(returns=(FLOAT, ("N", "H", "W", 1))), "output g has the shape [?, ?, ?, 1]"),
        (model(returns=(TensorProto.BOOL, SHAPE)), "output g has the type BOOL"),
    ],
)
def test_a_graph_that_takes_or_returns_no_images_is_refused_before_it_runs(made, words):
    message = refusal(made, trust=True)  # which allows operators, not another interface
    assert words in message and "a style takes X [N, H, W, 3]" in message


def test_a_graph_of_two_inputs_or_outputs_is_refused():
    made = model()
    made.graph.input.append(info("Y", FLOAT, SHAPE))
    assert "its inputs are X, Y" in refusal(made)
    made = model()
    made.graph.output.append(info("Y", FLOAT, SHAPE))
    assert "it has 2 outputs" in refusal(made)
    del made.graph.output[:]
    assert "it has 0 outputs" in refusal(made)


REDUCED = [node("ReduceSum", ["X"], ["g"], keepdims=0)]
MEAN = [node("ReduceMean", ["X"], ["g"], axes=[3])]
CORNER = [node("Slice", ["X", "first", "last", "axes"], ["g"])]
CORNER_ENDS = [integers("first", 0, 0), integers("last", 1, 1), integers("axes", 1, 2)]
ENLARGED = [node("Resize", ["X", "", "scales"], ["g"], mode="nearest")]
UNKNOWN = (FLOAT, None)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (model(*REDUCED, returns=UNKNOWN), "the graph returns shape () of type float32"),
        (model(*MEAN, returns=(FLOAT, ("N", "H", "W", "C"))), "the graph returns shape (1, 40, 50, 1)"),
        (model(*CORNER, constants=CORNER_ENDS), "the graph returns shape (1, 1, 1, 3)"),
        (
            model(*ENLARGED, constants=[floats("scales", 1, 2, 2, 1)]),
            "the graph returns shape (1, 80, 100, 3)",
        ),
        (
            model(*ENLARGED, constants=[floats("scales", 1, 0.5, 0.5, 1)]),
            "the graph returns shape (1, 20, 25, 3)",
        ),
        (model(node("Concat", ["X", "X"], ["g"], axis=0)), "the graph returns shape (2, 40, 50, 3)"),
        (model(takes=(FLOAT, (1, 224, 224, 3))), "does not accept images of shape (1, 40, 50, 3)"),
    ],
)
def test_an_output_of_another_shape_than_declared_is_refused(made, words):
    assert words in refusal(made)


def test_names_that_are_no_text_are_named_without_control_characters():
    content = model(name="image").SerializeToString()
    assert "its inputs are im\ufffd\ufffde" in refusal(content.replace(b"image", b"im\xff\xfee"))
    content = model(node("Relu", ["X"], ["g"])).SerializeToString()
    assert r"operator R\x1b[3 (without" in refusal(content.replace(b"Relu", b"R\x1b[3"))


# Operators and values


def subgraph() -> onnx.GraphProto:
    return helper.make_graph([node("Identity", ["X"], ["y"])], "body", [], [info("y", FLOAT, SHAPE)])


def branch() -> onnx.ModelProto:
    true = helper.make_tensor("true", TensorProto.BOOL, [], [True])
    branches = {"then_branch": subgraph(), "else_branch": subgraph()}
    return model(node("If", ["true"], ["g"], **branches), constants=[true])


def hidden_subgraph() -> onnx.ModelProto:
    return model(node("Relu", ["X"], ["g"], body=subgraph()))


def loop() -> onnx.ModelProto:
    nodes = [node("Identity", ["go"], ["again"]), node("Identity", ["value"], ["next"])]
    state = [
        info("step", TensorProto.INT64, []),
        info("go", TensorProto.BOOL, []),
        info("value", FLOAT, SHAPE),
    ]
    results = [info("again", TensorProto.BOOL, []), info("next", FLOAT, SHAPE)]
    true = helper.make_tensor("true", TensorProto.BOOL, [], [True])
    body = helper.make_graph(nodes, "body", state, results)
    return model(node("Loop", ["", "true", "X"], ["g"], body=body), constants=[true])


def calls_itself() -> onnx.ModelProto:
    made = model(node("F", ["X"], ["g"], domain="own"))
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    made.opset_import.append(opsets[1])
    body = [node("F", ["a"], ["b"], domain="own")]
    made.functions.append(helper.make_function("own", "F", ["a"], ["b"], body, opsets))
    return made


def function_in_the_standard_domain() -> onnx.ModelProto:
    made = model(node("Relu", ["X"], ["g"]))
    body = [node("Relu", ["a"], ["b"])]
    made.functions.append(helper.make_function("", "Relu", ["a"], ["b"], body, [helper.make_opsetid("", 17)]))
    return made


def custom_domain() -> onnx.ModelProto:
    made = model(node("Evil", ["X"], ["g"], domain="evil.com"))
    made.opset_import.append(helper.make_opsetid("evil.com", 1))
    return made


def unlisted_domain() -> onnx.ModelProto:
    return model(node("FusedConv", ["X"], ["g"], domain="com.microsoft"))


def machine_learning_operator() -> onnx.ModelProto:
    made = model(node("Scaler", ["X"], ["g"], domain="ai.onnx.ml"))
    made.opset_import.append(helper.make_opsetid("ai.onnx.ml", 2))
    return made


def external_tensor() -> onnx.TensorProto:
    tensor = onnx.TensorProto(name="w", data_type=FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../../../../etc/passwd")
    return tensor


def external_value() -> onnx.ModelProto:
    return model(node("Relu", ["X"], ["g"]), constants=[external_tensor()])


def external_constant() -> onnx.ModelProto:
    constant = onnx.NodeProto(op_type="Constant", output=["w"])
    constant.attribute.add(name="value", type=onnx.AttributeProto.TENSOR, t=external_tensor())
    return model(constant, node("Relu", ["X"], ["g"]))


def constant_of_undeclared_kind(**content) -> onnx.ModelProto:
    """A graph with a constant that has another content than its declared type, which a number is."""
    constant = onnx.NodeProto(op_type="Constant", output=["w"])
    constant.attribute.add(name="value", type=onnx.AttributeProto.FLOAT, f=1.0, **content)
    return model(constant, node("Relu", ["X"], ["g"]))


def external_values_without_a_location() -> onnx.ModelProto:
    tensor = onnx.TensorProto(name="w", data_type=FLOAT, dims=[1], raw_data=b"1234")
    tensor.external_data.add(key="location", value="/etc/passwd")
    return model(node("Relu", ["X"], ["g"]), constants=[tensor])


def huge_tensor() -> onnx.ModelProto:
    tensor = onnx.TensorProto(name="w", data_type=FLOAT, dims=[2**40, 2**30], raw_data=b"1234")
    return model(node("Relu", ["X"], ["g"]), constants=[tensor])


def negative_tensor() -> onnx.ModelProto:
    tensor = onnx.TensorProto(name="w", data_type=FLOAT, dims=[-4], raw_data=b"1234")
    return model(node("Relu", ["X"], ["g"]), constants=[tensor])


def texts() -> onnx.ModelProto:
    return model(
        node("Relu", ["X"], ["g"]), constants=[helper.make_tensor("w", TensorProto.STRING, [1], [b"a"])]
    )


def sparse_constant() -> onnx.ModelProto:
    sparse = helper.make_sparse_tensor(floats("v", 1.0), integers("i", 0), [4])
    return model(node("Constant", [], ["w"], sparse_value=sparse), node("Relu", ["X"], ["g"]))


def operator_set(version: int) -> onnx.ModelProto:
    made = model()
    made.opset_import[0].version = version
    return made


def ir_version(version: int) -> onnx.ModelProto:
    made = model()
    made.ir_version = version
    return made


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (loop(), "operator Loop (without a name) is not on the allow-list"),
        (branch(), "operator If (without a name) is not on the allow-list"),
        (hidden_subgraph(), "operator Relu (without a name) contains a graph"),
        (calls_itself(), "operators of the domain own"),
        (function_in_the_standard_domain(), "functions or training graphs"),
        (custom_domain(), "operators of the domain evil.com"),
        (unlisted_domain(), "operator FusedConv (without a name) of the domain com.microsoft"),
        (machine_learning_operator(), "operator Scaler (without a name) of the domain ai.onnx.ml"),
        (external_value(), "the values of tensor w are in another file"),
        (external_constant(), "the values of tensor w are in another file"),
        (constant_of_undeclared_kind(t=external_tensor()), "the values of tensor w are in another file"),
        (
            constant_of_undeclared_kind(tensors=[external_tensor()]),
            "the values of tensor w are in another file",
        ),
        (constant_of_undeclared_kind(sparse_tensor=onnx.SparseTensorProto()), "has sparse tensors"),
        (constant_of_undeclared_kind(tp=onnx.TypeProto()), "has sparse tensors or types"),
        (external_values_without_a_location(), "the values of tensor w are in another file"),
        (huge_tensor(), "tensor w has a side of 1099511627776"),
        (negative_tensor(), "tensor w has a side of -4"),
        (texts(), "of a type other than real numbers"),
        (sparse_constant(), "has sparse tensors"),
        (operator_set(1), "operator set 1; allowed are 7 to"),
        (operator_set(99), "operator set 99"),
        (ir_version(0), "IR version 0"),
        (ir_version(99), "IR version 99"),
        (model(node("SequenceEmpty", [], ["s"]), node("Relu", ["X"], ["g"])), "operator SequenceEmpty"),
        (
            model(node("Relu", ["X"], ["g"]), node("StringNormalizer", ["X"], ["s"])),
            "operator StringNormalizer",
        ),
    ],
)
def test_what_no_style_needs_is_refused_by_its_name(made, words):
    message = refusal(made)
    assert "refused: " in message and words in message and "--trust" in message


def test_who_trusts_a_graph_runs_its_branches():
    np.testing.assert_array_equal(stylized(branch(), trust=True), IMAGES)


def test_no_operator_on_the_allow_list_branches_loops_or_reads_text():
    words = ("Loop", "Scan", "If", "Sequence", "Optional", "String", "Regex", "Image", "TfIdf", "Gradient")
    assert not {name for name in ALLOWED if any(word in name for word in words)}
    for name in ALLOWED:
        attributes = onnx.defs.get_schema(name).attributes.values()
        assert not [item for item in attributes if "GRAPH" in item.type.name], name


# Damage


@pytest.mark.parametrize("content", [b"", b"no model", bytes(10_000), b"\xff" * 100])
def test_what_is_no_model_is_refused_with_what_to_do(content):
    message = refusal(content)
    assert "damaged or not an ONNX model" in message and "export the style again" in message


def test_a_graph_that_needs_itself_is_refused():
    assert "damaged or not an ONNX model" in refusal(model(node("Relu", ["g"], ["g"])))


def test_a_graph_that_needs_terabytes_is_a_memory_error():
    nodes = [
        node("Expand", ["X", "shape"], ["many"]),
        node("ReduceMax", ["many"], ["most"], keepdims=0),
        node("Add", ["X", "most"], ["g"]),
    ]
    content = model(*nodes, constants=[integers("shape", 10**9, 1, 1, 1)]).SerializeToString()
    with pytest.raises(MemoryError, match="memory ran out in ONNX Runtime; use a smaller picture"):
        OnnxGraphStylizer(content, PATH, threads=1)(IMAGES)

"""transformer/inference/own_graph.py: exactly the graphs that this project writes are recognized."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from transformer.architecture import OUTER_KERNELS, Architecture
from transformer.export.onnx_graph import (
    build_onnx_model,
    onnx_parameters,
    read_onnx_parameters,
    with_half_precision,
)
from transformer.export.onnx_shapes import onnx_shapes
from transformer.export.style_folder import ONNX_FILE, list_styles
from transformer.inference.loading import load_stylizer
from transformer.inference.own_graph import FINGERPRINTS, fingerprint, own_claim


def parameters_of(architecture: Architecture) -> dict[str, np.ndarray]:
    return with_half_precision(exact_parameters(architecture), architecture)


def exact_parameters(architecture: Architecture) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    shapes = architecture.parameter_shapes()
    return {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def model_of(width: float, residual_blocks: int, outer_kernel: int = 5) -> onnx.ModelProto:
    architecture = Architecture(width, residual_blocks, outer_kernel)
    return build_onnx_model(parameters_of(architecture), architecture)


@pytest.mark.parametrize("outer_kernel", OUTER_KERNELS)
@pytest.mark.parametrize("residual_blocks", FINGERPRINTS[5])
def test_the_table_of_fingerprints_is_that_of_the_graphs_we_build(residual_blocks, outer_kernel):
    content = model_of(0.125, residual_blocks, outer_kernel).SerializeToString()
    assert fingerprint(content) == FINGERPRINTS[outer_kernel][residual_blocks]


@pytest.mark.parametrize("outer_kernel", OUTER_KERNELS)
def test_a_graph_of_ours_is_recognized_with_every_outer_kernel(outer_kernel):
    claim = own_claim(model_of(0.125, 1, outer_kernel).SerializeToString())
    assert claim.is_known and claim.architecture == Architecture(0.125, 1, outer_kernel)


def test_the_table_is_complete():
    assert tuple(FINGERPRINTS) == OUTER_KERNELS
    assert all(list(by_blocks) == list(range(17)) for by_blocks in FINGERPRINTS.values())


def test_a_first_kernel_without_a_shape_is_no_graph_of_ours():
    model = onnx.ModelProto()
    model.graph.initializer.append(
        helper.make_tensor("encoder/conv1/kernel", TensorProto.FLOAT, [], b"1234", raw=True)
    )
    helper.set_model_props(model, {"width": "0.5"})
    assert own_claim(model.SerializeToString()) is None


@pytest.mark.parametrize("width", [0.1, 0.125, 0.25, 0.5, 1.0])
def test_a_graph_of_ours_is_recognized_at_every_width(width):
    claim = own_claim(model_of(width, 2).SerializeToString())
    assert claim.is_known and claim.architecture == Architecture(width, 2)


@pytest.mark.parametrize("width", [0.125, 0.5])
def test_the_shapes_are_those_of_the_converted_parameters(width):
    architecture = Architecture(width, 2)
    converted = onnx_parameters(parameters_of(architecture), architecture)
    assert {name: value.shape for name, value in converted.items()} == onnx_shapes(architecture)


def test_the_shipped_styles_are_recognized_without_importing_onnx():
    contents = [(folder / ONNX_FILE).read_bytes() for folder in list_styles()]
    assert len(contents) >= 12 and all(own_claim(content).is_known for content in contents)


def test_half_precision_loses_nothing_between_the_forms(tmp_path):
    architecture = Architecture(0.125, 2)
    parameters = parameters_of(architecture)
    model = build_onnx_model(parameters, architecture)
    types = {item.name: item.data_type for item in model.graph.initializer}
    assert types["residual1/conv1/kernel"] == types["encoder/conv1/kernel"] == TensorProto.FLOAT16
    assert types["decoder/conv1/kernel"] == types["encoder/conv1/scale"] == TensorProto.FLOAT
    (tmp_path / ONNX_FILE).write_bytes(model.SerializeToString())
    read, _ = read_onnx_parameters(tmp_path / ONNX_FILE)
    kernel = parameters["residual1/conv1/kernel"].transpose(3, 2, 0, 1)
    np.testing.assert_array_equal(read["residual1/conv1/kernel"], kernel)
    assert {value.dtype for value in read.values()} == {np.dtype(np.float32)}


def test_rounding_to_half_precision_is_close_and_leaves_the_last_layers_alone():
    architecture = Architecture(0.125, 1)
    exact = exact_parameters(architecture)
    rounded = with_half_precision(exact, architecture)
    for name, value in exact.items():
        np.testing.assert_allclose(rounded[name], value, rtol=2**-11, atol=1e-7)
    np.testing.assert_array_equal(rounded["decoder/conv1/kernel"], exact["decoder/conv1/kernel"])
    assert not np.array_equal(rounded["residual1/conv1/kernel"], exact["residual1/conv1/kernel"])


def test_kernels_too_large_for_half_precision_stay_as_they_are(tmp_path):
    architecture = Architecture(0.125, 1)
    exact = exact_parameters(architecture)
    exact["residual1/conv1/kernel"][0, 0, 0, 0] = 1e5
    large = with_half_precision(exact, architecture)
    assert all(large[name] is exact[name] for name in exact)
    model = build_onnx_model(large, architecture)
    assert TensorProto.FLOAT16 not in {item.data_type for item in model.graph.initializer}


def test_a_graph_all_in_float32_is_of_an_earlier_version_and_still_ours(tmp_path):
    architecture = Architecture(0.125, 2)
    content = build_onnx_model(exact_parameters(architecture), architecture).SerializeToString()
    assert own_claim(content) == (architecture, False)
    read, found = read_onnx_parameters(tmp_path / ONNX_FILE, content)
    assert found == architecture and read.keys() == onnx_shapes(architecture).keys()


def other_operator(model):
    next(node for node in model.graph.node if node.op_type == "Relu").op_type = "Loop"


def other_attribute(model):
    next(node for node in model.graph.node if node.op_type == "Pad").attribute[0].s = b"wrap"


def other_wiring(model):
    model.graph.node[-1].input[0] = model.graph.node[0].output[0]


def another_node(model):
    model.graph.node.append(helper.make_node("Identity", ["X"], ["y"]))


def another_input(model):
    model.graph.input.append(model.graph.input[0])


def another_output(model):
    model.graph.output.append(model.graph.output[0])


def another_constant(model):
    model.graph.initializer.append(helper.make_tensor("more", TensorProto.FLOAT, [1], [1.0]))


def other_constant(model):
    constant = next(item for item in model.graph.initializer if "/" not in item.name)
    constant.raw_data = constant.raw_data[:-1] + b"\1"


def another_parameter(model):
    model.graph.initializer.append(helper.make_tensor("a/b", TensorProto.FLOAT, [1], b"1234", raw=True))


def parameter_twice(model):
    model.graph.initializer.append(next(item for item in model.graph.initializer if "/" in item.name))


def parameter_elsewhere(model):
    tensor = next(item for item in model.graph.initializer if "/" in item.name)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def parameter_of_another_shape(model):
    tensor = next(item for item in model.graph.initializer if item.name == "encoder/conv1/kernel")
    tensor.dims[2], tensor.dims[3] = 27, 3


def parameter_of_another_type(model):
    next(item for item in model.graph.initializer if "/" in item.name).data_type = TensorProto.INT32


def short_parameter(model):
    tensor = next(item for item in model.graph.initializer if "/" in item.name)
    tensor.raw_data = tensor.raw_data[:-4]


def another_function(model):
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(
        helper.make_function("x", "F", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], opsets)
    )


def other_operator_set(model):
    model.opset_import[0].version = 16


def another_domain(model):
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def another_width(model):
    model.metadata_props[0].value = "0.25"


def other_spelling_of_the_width(model):
    model.metadata_props[0].value = "0.1250"


def no_width(model):
    del model.metadata_props[:]


def more_metadata(model):
    model.metadata_props.add(key="ort_config", value="{}")


def infinite_width(model):
    model.metadata_props[0].value = "inf"


TAMPERED = [
    *(other_operator, other_attribute, other_wiring, another_node, another_input, another_output),
    *(another_constant, other_constant, another_parameter, parameter_twice, parameter_elsewhere),
    *(parameter_of_another_shape, parameter_of_another_type, short_parameter, another_function),
    *(other_operator_set, another_domain, another_width, other_spelling_of_the_width, no_width),
    *(more_metadata, infinite_width),
]


@pytest.mark.parametrize("tamper", TAMPERED)
def test_a_graph_that_differs_anywhere_is_not_known(tamper):
    model = model_of(0.125, 1)
    tamper(model)
    claim = own_claim(model.SerializeToString())
    assert claim is None or not claim.is_known


def test_a_second_graph_in_the_same_file_is_not_known():
    content = model_of(0.125, 1).SerializeToString()
    more = onnx.ModelProto(graph=onnx.GraphProto(node=[helper.make_node("Identity", ["X"], ["z"])]))
    assert not own_claim(content + more.SerializeToString()).is_known


@pytest.mark.parametrize("content", [b"", b"no model", bytes(1000), b"\xff" * 1000])
def test_what_is_no_model_claims_nothing(content):
    assert own_claim(content) is None


def test_a_graph_of_ours_with_more_residual_blocks_than_the_table_is_still_ours(tmp_path):
    (tmp_path / ONNX_FILE).write_bytes(model_of(0.125, max(FINGERPRINTS[5]) + 1).SerializeToString())
    stylizer = load_stylizer(tmp_path)
    assert not stylizer.one_at_a_time  # runs in this process
    assert stylizer.plan.widths == [0.125]

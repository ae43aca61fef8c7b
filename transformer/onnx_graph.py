"""The network as an ONNX graph, written from the same table as the TensorFlow one.

Written by hand rather than converted: instance norm, reflection padding and upsampling each become the one
ONNX operator that ONNX Runtime has a kernel for, and no converter has to follow TensorFlow's releases.
"""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from transformer.architecture import (
    MIN_SIDE,
    NORM_EPSILON,
    OUTPUT_CENTER,
    OUTPUT_SPAN,
    SIDE_MULTIPLE,
    Architecture,
    ConvSpec,
)

OPSET = 17  # of 2022: any ONNX Runtime from 1.12 on reads it
IR_VERSION = 8
INPUT_NAME, OUTPUT_NAME = "X", "g"
ONNX_ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh", "linear": None}


def build_onnx_model(parameters: Mapping[str, np.ndarray], architecture: Architecture) -> onnx.ModelProto:
    """`X` [N, H, W, 3] float32 RGB 0..255 of any size -> `g`, the same shape, clipped to 0..255."""
    writer = _GraphWriter(parameters)
    padded = _pad_input(writer)
    value = writer.add("Transpose", padded, perm=[0, 3, 1, 2])
    value = writer.add("Mul", value, writer.constant(np.float32(1 / OUTPUT_CENTER)))
    value = writer.add("Sub", value, writer.constant(np.float32(1)))
    for spec in architecture.encoder:
        value = _add_convolution(writer, value, spec)
    for first, second in architecture.residual:
        branch = _add_convolution(writer, _add_convolution(writer, value, first), second)
        value = writer.add("Add", value, branch)
    for spec in architecture.decoder:
        value = _add_convolution(writer, value, spec)
    _add_output(writer, value)
    return writer.model()


class _GraphWriter:
    """Collects nodes and constants; `add` returns the name of the node's output."""

    def __init__(self, parameters: Mapping[str, np.ndarray]):
        self.parameters = parameters
        self.nodes, self.initializers = [], []

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes) -> str:
        output = output or f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def constant(self, value: np.ndarray | np.generic, name: str | None = None) -> str:
        name = name or f"constant_{len(self.initializers)}"
        self.initializers.append(
            numpy_helper.from_array(np.ascontiguousarray(value).reshape(value.shape), name)
        )
        return name

    def integers(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def parameter(self, name: str) -> str:
        return self.constant(self.parameters[name], name)

    def kernel(self, spec: ConvSpec) -> str:
        name = f"{spec.name}/kernel"
        value = np.float32(spec.gain) * self.parameters[name]
        return self.constant(value.transpose(3, 2, 0, 1), name)  # [kernel, kernel, in, out] -> [out, in, ...]

    def model(self) -> onnx.ModelProto:
        shape = ["N", "H", "W", 3]
        graph = helper.make_graph(
            self.nodes,
            "transformer",
            [helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, shape)],
            self.initializers,
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="train.py",
        )
        onnx.checker.check_model(model, full_check=True)
        return model


def _pad_input(writer: _GraphWriter) -> str:
    """X extended by reflection to sides that are multiples of SIDE_MULTIPLE, as layers.pad_to does."""
    value = INPUT_NAME
    for axis in (1, 2):
        side = writer.add("Shape", INPUT_NAME, start=axis, end=axis + 1)  # [1]
        value = writer.add("Gather", value, _reflected_indices(writer, side), axis=axis)
    return value


def _reflected_indices(writer: _GraphWriter, side: str) -> str:
    multiple, one, zero = writer.integers(SIDE_MULTIPLE), writer.integers(1), writer.integers(0)
    ceiling = writer.add("Add", side, writer.integers(SIDE_MULTIPLE - 1))
    padded = writer.add("Mul", writer.add("Div", ceiling, multiple), multiple)
    padded = writer.add("Max", padded, writer.integers(MIN_SIDE))
    scalars = [writer.add("Squeeze", value) for value in (zero, padded, one)]
    period = writer.add("Mul", writer.add("Sub", side, one), writer.integers(2))
    period = writer.add("Max", period, one)
    position = writer.add("Mod", writer.add("Range", *scalars), period)
    return writer.add("Min", position, writer.add("Sub", period, position))


def _add_convolution(writer: _GraphWriter, value: str, spec: ConvSpec) -> str:
    if spec.upsample > 1:
        scales = writer.constant(np.array([1, 1, spec.upsample, spec.upsample], np.float32))
        value = writer.add(
            "Resize", value, "", scales,
            mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        )  # fmt: skip
    margin = spec.kernel_size // 2
    value = writer.add(
        "Pad", value, writer.integers(0, 0, margin, margin, 0, 0, margin, margin), mode="reflect"
    )
    operands = [value, writer.kernel(spec)]
    if not spec.norm:
        operands.append(writer.parameter(f"{spec.name}/bias"))
    value = writer.add("Conv", *operands, strides=[spec.stride, spec.stride])
    if spec.norm:
        scale, offset = (writer.parameter(f"{spec.name}/{part}") for part in ("scale", "offset"))
        value = writer.add("InstanceNormalization", value, scale, offset, epsilon=NORM_EPSILON)
    activation = ONNX_ACTIVATIONS[spec.activation]
    return writer.add(activation, value) if activation else value


def _add_output(writer: _GraphWriter, value: str) -> None:
    value = writer.add("Mul", value, writer.constant(np.float32(OUTPUT_SPAN)))
    value = writer.add("Add", value, writer.constant(np.float32(OUTPUT_CENTER)))
    value = writer.add("Clip", value, writer.constant(np.float32(0)), writer.constant(np.float32(255)))
    size = writer.add("Shape", INPUT_NAME, start=1, end=3)  # [H, W]
    value = writer.add("Slice", value, writer.integers(0, 0), size, writer.integers(2, 3))
    writer.add("Transpose", value, perm=[0, 2, 3, 1], output=OUTPUT_NAME)

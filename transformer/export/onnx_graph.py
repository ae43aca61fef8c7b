"""Builds the network as an ONNX graph, from the same table as the TensorFlow network.

The graph is built here and not by a converter. Instance norm, reflection padding and upsampling thus become the one
ONNX operator that ONNX Runtime has a kernel for, and no converter has to support new releases of TensorFlow.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from system.faults import first_line
from system.program import prog
from transformer.architecture import (
    MIN_SIDE,
    NORM_EPSILON,
    OUTPUT_CENTER,
    OUTPUT_SPAN,
    SIDE_MULTIPLE,
    Architecture,
    ConvSpec,
)
from transformer.export.onnx_shapes import (
    architecture_of,
    block_of,
    half_precision_kernels,
    onnx_shapes,
    source_offsets,
)
from transformer.export.style_folder import StyleError

OPSET = 17  # ONNX Runtime 1.12 (2022) and later read it
IR_VERSION = 8
INPUT_NAME, OUTPUT_NAME = "X", "g"
ONNX_ACTIVATIONS = {"relu": "Relu", "tanh": "Tanh", "linear": None}


def build_onnx_model(parameters: Mapping[str, np.ndarray], architecture: Architecture) -> onnx.ModelProto:
    """Builds a model with input `X` [N, H, W, 3], float32 RGB 0..255 of any size, and output `g`, the same, clipped.

    parameters: with the names and shapes of `network.initial_parameters`. `onnx_parameters` converts them.
    """
    return build_whole_model(onnx_parameters(parameters, architecture), architecture)


def build_whole_model(
    parameters: Mapping[str, np.ndarray], architecture: Architecture, *, transposed: bool = False
) -> onnx.ModelProto:
    """Builds the same model from parameters that `onnx_parameters` or `read_onnx_parameters` returned.

    transposed: with transposed convolutions for the upsampling, see GraphWriter.
    """
    writer = GraphWriter(parameters, transposed)
    model = write_whole_graph(writer, architecture)
    helper.set_model_props(
        model, {"width": str(architecture.width)}
    )  # so that readers need not parse the graph
    return model


def write_whole_graph(writer: "GraphWriter", architecture: Architecture) -> onnx.ModelProto:
    """Writes the network for images of any size with `writer`; returns the model, without metadata."""
    value = add_scaled_network(writer, _pad_input(writer), architecture)
    size = writer.add("Shape", INPUT_NAME, start=1, end=3)  # [H, W]
    value = writer.add("Slice", value, writer.integers(0, 0), size, writer.integers(2, 3))
    writer.add("Transpose", value, perm=[0, 2, 3, 1], output=OUTPUT_NAME)
    shape = ["N", "H", "W", 3]
    return writer.model([value_info(INPUT_NAME, shape)], [value_info(OUTPUT_NAME, shape)])


def add_scaled_network(writer: "GraphWriter", value: str, architecture: Architecture) -> str:
    """Adds [N, H, W, 3] 0..255, padded -> [N, 3, H, W] 0..255: the network with the scaling before and after it."""
    value = add_input_scaling(writer, value)
    for spec in architecture.encoder:
        value = _add_layer(writer, value, spec)
    for first, second in architecture.residual:
        value = writer.add("Add", value, _add_layer(writer, _add_layer(writer, value, first), second))
    for spec in architecture.decoder:
        value = _add_layer(writer, value, spec)
    return add_output_scaling(writer, value)


def onnx_parameters(
    parameters: Mapping[str, np.ndarray], architecture: Architecture
) -> dict[str, np.ndarray]:
    """Converts parameters to the form in the ONNX file: kernels [out, in, k, k], gains applied, blocks unrolled.

    Convolutions after upsampling, and the last one, which has few channels, compute a block of pixels at once as
    additional channels. The sums are the same, but a CPU computes these shapes faster. Kernels that
    `with_half_precision` has rounded become float16; ONNX Runtime converts them to float32 once, when it loads them.
    """
    converted = dict(parameters)
    for spec in architecture.convolutions:
        kernel = np.float32(spec.gain) * parameters[f"{spec.name}/kernel"]
        kernel = kernel.transpose(3, 2, 0, 1)  # [k, k, in, out] -> [out, in, k, k]
        converted[f"{spec.name}/kernel"] = _unrolled(kernel, spec)
        if not spec.norm:
            converted[f"{spec.name}/bias"] = np.repeat(parameters[f"{spec.name}/bias"], block_of(spec) ** 2)
    halves = {name: _half(converted[name]) for name in half_precision_kernels(architecture)}
    if all(np.array_equal(half, converted[name]) for name, half in halves.items()):
        converted.update(halves)
    return converted


def with_half_precision(
    parameters: Mapping[str, np.ndarray], architecture: Architecture
) -> dict[str, np.ndarray]:
    """Rounds most kernels to half precision, which halves their place in the ONNX file; the type stays float32.

    The pictures change by less than one level of 255. If one kernel exceeds the range of float16, none is rounded.
    """
    halves = {name: _half(parameters[name]) for name in half_precision_kernels(architecture)}
    if not all(np.isfinite(half).all() for half in halves.values()):
        return dict(parameters)
    return {**parameters, **{name: half.astype(np.float32) for name, half in halves.items()}}


def _half(kernel: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # the caller looks for infinite values
        return kernel.astype(np.float16)


def _unrolled(kernel: np.ndarray, spec: ConvSpec) -> np.ndarray:
    """Returns the kernel [out * block**2, in, K, K] of a block for a kernel [out, in, k, k].

    The channels are in the order of DepthToSpace mode CRD.
    """
    block, (out_channels, in_channels, size, _) = block_of(spec), kernel.shape
    if block == 1:
        return kernel
    sources = source_offsets(spec)
    unrolled = np.zeros(
        (out_channels, block, block, in_channels, sources[-1] + 1, sources[-1] + 1), np.float32
    )
    for row, column in np.ndindex(block, block):
        for i, j in np.ndindex(size, size):
            unrolled[:, row, column, :, sources[row + i], sources[column + j]] += kernel[:, :, i, j]
    return unrolled.reshape(out_channels * block**2, *unrolled.shape[3:])


def _transposed(unrolled: np.ndarray, spec: ConvSpec) -> np.ndarray:
    """Returns the kernel [in, out, K, K] of a transposed convolution for that of `_unrolled`.

    Output pixel block * h + row of a block reads the source pixels h - 1 + offset. The transposed convolution puts
    source pixel s to the outputs block * s + position - K + 1.
    """
    block, side = block_of(spec), unrolled.shape[-1]
    blocks = unrolled.reshape(spec.out_channels, block, block, spec.in_channels, side, side)
    size = spec.kernel_size + block - 1
    kernel = np.zeros((spec.in_channels, spec.out_channels, size, size), np.float32)
    for row, column in np.ndindex(block, block):
        for i, j in np.ndindex(side, side):
            y, x = (size - 1 + at - block * offset for at, offset in ((row, i), (column, j)))
            if min(y, x) >= 0 and max(y, x) < size:
                kernel[:, :, y, x] = blocks[:, row, column, :, i, j].T
    return kernel


def read_onnx_parameters(
    path: Path, content: bytes | None = None
) -> tuple[dict[str, np.ndarray], Architecture]:
    """Reads parameters and architecture from a file of `build_onnx_model`.

    The parameters are those that `onnx_parameters` returns, but all in float32.
    content: the bytes of the file, if they have been read already.
    Raises StyleError if the file is damaged or contains another graph.
    """
    try:
        model = onnx.load_model_from_string(path.read_bytes() if content is None else content)
        architecture = _architecture_of(model)
        found = {item.name: item for item in model.graph.initializer}
        shapes = onnx_shapes(architecture)
        if not all(_is_plain(found[name], shape) for name, shape in shapes.items()):
            raise ValueError("its parameters are not those of one network")
        parameters = {name: numpy_helper.to_array(found[name]) for name in shapes}
        same = _without_parameters(build_whole_model(parameters, architecture)) == _without_parameters(model)
    except Exception as error:  # of protobuf, ONNX, NumPy or Architecture, depending on the damage
        raise StyleError(
            f"{path}: is damaged or was not written by {prog('train')} ({first_line(error)})"
        ) from error
    if not same:
        raise StyleError(f"{path}: was written by another version of this project; export the style again")
    return {name: value.astype(np.float32) for name, value in parameters.items()}, architecture


def _is_plain(tensor: onnx.TensorProto, shape: tuple[int, ...]) -> bool:
    """Returns whether a tensor of floating-point numbers has this shape and its values are in the file itself."""
    own_values = tensor.data_location == TensorProto.DEFAULT and not tensor.external_data
    is_float = tensor.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16)
    return own_values and is_float and tuple(tensor.dims) == shape


def _without_parameters(model: onnx.ModelProto) -> onnx.ModelProto:
    """Returns a copy without the values of the parameters, whose names contain a slash."""
    rest = onnx.ModelProto()
    rest.CopyFrom(model)
    for item in rest.graph.initializer:
        if "/" in item.name:
            item.ClearField("raw_data")
    return rest


def _architecture_of(model: onnx.ModelProto) -> Architecture:
    (width,) = (item.value for item in model.metadata_props if item.key == "width")
    return architecture_of(float(width), {item.name: tuple(item.dims) for item in model.graph.initializer})


class GraphWriter:
    """Collects the nodes and constants of a graph. Every method that adds one returns the name of its value.

    transposed: writes an upsampling with its convolution as one transposed convolution, which has less than half of the
    operations. OpenVINO computes it faster. ONNX Runtime does so for tiles; whole images would take twice the memory.
    """

    def __init__(self, parameters: Mapping[str, np.ndarray], transposed: bool = False):
        self.parameters, self.transposed = parameters, transposed
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
        """Adds a parameter. One in float16 is followed by its conversion to float32."""
        value = self.constant(self.parameters[name], name)
        is_half = self.parameters[name].dtype == np.float16
        return self.add("Cast", value, to=TensorProto.FLOAT) if is_half else value

    def model(self, inputs: list, outputs: list) -> onnx.ModelProto:
        graph = helper.make_graph(self.nodes, "transformer", inputs, outputs, self.initializers)
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="train.py",
        )
        onnx.checker.check_model(model, full_check=True)
        return model


def value_info(name: str, shape: list | None, element_type: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    """Describes an input or output of a graph; letters in `shape` stand for sizes unknown until the graph runs."""
    return helper.make_tensor_value_info(name, element_type, shape)


def _pad_input(writer: GraphWriter) -> str:
    """Pads X by reflection to multiples of SIDE_MULTIPLE, at least MIN_SIDE, like `layers.pad_to`."""
    value = INPUT_NAME
    for axis in (1, 2):
        side = writer.add("Shape", INPUT_NAME, start=axis, end=axis + 1)  # [1]
        value = writer.add("Gather", value, _reflected_indices(writer, side), axis=axis)
    return value


def _reflected_indices(writer: GraphWriter, side: str) -> str:
    multiple, one, zero = writer.integers(SIDE_MULTIPLE), writer.integers(1), writer.integers(0)
    ceiling = writer.add("Add", side, writer.integers(SIDE_MULTIPLE - 1))
    padded = writer.add("Mul", writer.add("Div", ceiling, multiple), multiple)
    padded = writer.add("Max", padded, writer.integers(MIN_SIDE))
    scalars = [writer.add("Squeeze", value) for value in (zero, padded, one)]
    period = writer.add("Mul", writer.add("Sub", side, one), writer.integers(2))
    period = writer.add("Max", period, one)
    position = writer.add("Mod", writer.add("Range", *scalars), period)
    return writer.add("Min", position, writer.add("Sub", period, position))


def add_input_scaling(writer: GraphWriter, value: str) -> str:
    """Adds [N, H, W, 3] 0..255 -> [N, 3, H, W] -1..1."""
    value = writer.add("Transpose", value, perm=[0, 3, 1, 2])
    value = writer.add("Mul", value, writer.constant(np.float32(1 / OUTPUT_CENTER)))
    return writer.add("Sub", value, writer.constant(np.float32(1)))


def _add_layer(writer: GraphWriter, value: str, spec: ConvSpec) -> str:
    margin = margin_of(spec)
    value = add_padding(writer, value, spec, writer.integers(0, 0, margin, margin, 0, 0, margin, margin))
    value = add_convolution(writer, value, spec)
    if spec.norm:
        scale, offset = (writer.parameter(f"{spec.name}/{part}") for part in ("scale", "offset"))
        value = writer.add("InstanceNormalization", value, scale, offset, epsilon=NORM_EPSILON)
    return add_activation(writer, value, spec)


def margin_of(spec: ConvSpec) -> int:
    """Returns the padding, in pixels on every side, of a convolution's input before upsampling."""
    return 1 if spec.upsample > 1 else spec.kernel_size // 2


def add_padding(writer: GraphWriter, value: str, spec: ConvSpec, pads: str) -> str:
    """Adds reflection padding.

    Before upsampling the edge is repeated instead, which is the reflection of the upsampled image.
    """
    return writer.add("Pad", value, pads, mode="edge" if spec.upsample > 1 else "reflect")


def add_convolution(writer: GraphWriter, value: str, spec: ConvSpec) -> str:
    """Adds the convolution of a padded value with its upsampling, and its bias if it has one."""
    if writer.transposed and spec.upsample > 1:
        kernel = _transposed(writer.parameters[f"{spec.name}/kernel"].astype(np.float32), spec)
        pads = [kernel.shape[-1] - 1] * 4  # what the edge pixels and the kernel add on each side
        return writer.add(
            "ConvTranspose", value, writer.constant(kernel), strides=[spec.upsample] * 2, pads=pads
        )
    operands = [value, writer.parameter(f"{spec.name}/kernel")]
    if not spec.norm:
        operands.append(writer.parameter(f"{spec.name}/bias"))
    block = block_of(spec)
    stride = spec.stride * block // spec.upsample
    value = writer.add("Conv", *operands, strides=[stride, stride])
    return writer.add("DepthToSpace", value, blocksize=block, mode="CRD") if block > 1 else value


def add_activation(writer: GraphWriter, value: str, spec: ConvSpec) -> str:
    """Adds ReLU, tanh or nothing."""
    activation = ONNX_ACTIVATIONS[spec.activation]
    return writer.add(activation, value) if activation else value


def add_output_scaling(writer: GraphWriter, value: str) -> str:
    """Adds the scaling of tanh's -1..1 to 0..255, with clipping."""
    value = writer.add("Mul", value, writer.constant(np.float32(OUTPUT_SPAN)))
    value = writer.add("Add", value, writer.constant(np.float32(OUTPUT_CENTER)))
    return writer.add("Clip", value, writer.constant(np.float32(0)), writer.constant(np.float32(255)))

"""Checks and runs ONNX graphs of other projects. Runs in a child process, see graph_process.py.

A graph is refused unless it takes and returns images as ours do, consists of operators on an allow-list, and contains
all its values in the file itself. ONNX Runtime would read other files, and some operators never end.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto

from system.faults import one_line
from transformer.export.onnx_graph import INPUT_NAME
from transformer.export.style_folder import StyleError
from transformer.inference.graph_frames import shown_name
from transformer.inference.onnx_session import FOREIGN_MEMORY_REMEDY, OnnxSession
from transformer.inference.picture_fit import checked_pictures, fed_images

DOMAINS = ("", "ai.onnx")
# Converters list this domain in every file. Its operators are refused all the same.
LISTED_DOMAINS = (*DOMAINS, "ai.onnx.ml")
IR_VERSIONS, OPSETS = range(3, 15), range(7, 28)
MAX_TENSOR_BYTES = 2**30
# No loops, branches, sequences, strings or decoders. `Constant` may hold numbers only.
_ALLOWED = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization BitShift BitwiseAnd
BitwiseNot BitwiseOr BitwiseXor Cast CastLike Ceil Celu CenterCropPad Clip Compress Concat Constant ConstantOfShape
Conv ConvInteger ConvTranspose Cos Cosh CumSum DepthToSpace DequantizeLinear Div Dropout DynamicQuantizeLinear Einsum
Elu Equal Erf Exp Expand EyeLike Flatten Floor Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalLpPool
GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization HardSigmoid HardSwish Hardmax Identity
InstanceNormalization IsInf IsNaN LRN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization
LpPool MatMul MatMulInteger Max MaxPool MaxUnpool Mean MeanVarianceNormalization Min Mish Mod Mul Neg NonZero Not
OneHot Or PRelu Pad Pow QLinearConv QLinearMatMul QuantizeLinear RMSNormalization RandomNormal RandomNormalLike
RandomUniform RandomUniformLike Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean
ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize Round ScatterElements ScatterND Selu Shape Shrink
Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Swish Tan Tanh
ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Upsample Where Xor
"""
ALLOWED = frozenset(_ALLOWED.split())
# Types of the input that images 0..255 can be converted to.
INPUT_TYPES = {
    TensorProto.FLOAT: np.float32,
    TensorProto.FLOAT16: np.float16,
    TensorProto.DOUBLE: np.float64,
    TensorProto.UINT8: np.uint8,
    TensorProto.INT16: np.int16,
    TensorProto.UINT16: np.uint16,
    TensorProto.INT32: np.int32,
    TensorProto.UINT32: np.uint32,
    TensorProto.INT64: np.int64,
    TensorProto.UINT64: np.uint64,
}
OUTPUT_TYPES = frozenset(INPUT_TYPES)
_NUMBERS = OUTPUT_TYPES | {TensorProto.BOOL, TensorProto.INT8, TensorProto.BFLOAT16}
REMEDY = "if you trust its author, run it with --trust; otherwise ask for a graph without it"
CONTRACT = f"a style takes {INPUT_NAME} [N, H, W, 3] and returns one output of the same shape, RGB 0..255"


class OnnxGraphStylizer:
    """Callable: images [N, H, W, 3], RGB 0..255 -> stylized images of the same shape.

    content: the serialized model; path: its file, for messages. trust: allow any operator.
    Raises StyleError if the graph is refused or damaged, MemoryError if memory runs out.
    """

    def __init__(self, content: bytes, path: Path, *, threads: int, trust: bool = False):
        self._path = path
        self._number_type = check_model(content, path, trust=trust)
        try:
            self._session = OnnxSession(
                content, threads=threads, remedy=FOREIGN_MEMORY_REMEDY, named=f"{path}: "
            )
        except MemoryError:
            raise
        except Exception as error:  # ONNX Runtime raises a class per status code, without a common base
            raise StyleError(_damaged(path, error)) from error

    def __call__(self, images: np.ndarray) -> np.ndarray:
        try:
            output, *_ = self._session.run({INPUT_NAME: fed_images(images, self._number_type)})
        except MemoryError:
            raise
        except Exception as error:
            raise StyleError(
                f"{self._path}: the graph does not accept images of shape {images.shape} ({one_line(error)})"
            ) from error
        return checked_pictures(output, images, self._path)


def check_model(content: bytes, path: Path, *, trust: bool = False) -> np.dtype:
    """Returns the number type of the input. Raises StyleError if the graph is damaged or refused. Runs nothing."""
    model = _parsed(content, path)
    if not trust:
        check_operators(model, path)
    return check_interface(model.graph, path)


def _parsed(content: bytes, path: Path) -> onnx.ModelProto:
    try:
        model = onnx.load_model_from_string(content)
        if not model.graph.node:
            raise ValueError("it contains no operators")
    except Exception as error:  # protobuf's class depends on its implementation
        raise StyleError(_damaged(path, error)) from error
    return model


def _damaged(path: Path, error: Exception) -> str:
    return f"{path}: damaged or not an ONNX model ({one_line(error, at_most=120)}); export the style again"


def check_operators(model: onnx.ModelProto, path: Path) -> None:
    """Raises StyleError for the first part of a model that is not allowed."""
    for fault in _faults(model):
        raise StyleError(f"{path}: refused: {fault}; {REMEDY}")


def _faults(model: onnx.ModelProto) -> Iterator[str]:
    if model.ir_version not in IR_VERSIONS:
        yield f"IR version {model.ir_version}; allowed are {IR_VERSIONS[0]} to {IR_VERSIONS[-1]}"
    for opset in model.opset_import:
        if opset.domain not in LISTED_DOMAINS:
            yield f"operators of the domain {shown_name(opset.domain)}"
        elif opset.domain in DOMAINS and opset.version not in OPSETS:
            yield f"operator set {opset.version}; allowed are {OPSETS[0]} to {OPSETS[-1]}"
    if model.functions or model.training_info:
        yield "functions or training graphs"
    if model.graph.sparse_initializer:
        yield "sparse tensors"
    for tensor in model.graph.initializer:
        yield from _tensor_faults(tensor)
    for node in model.graph.node:
        yield from _node_faults(node)


def _node_faults(node: onnx.NodeProto) -> Iterator[str]:
    place = f"({shown_name(node.name) or 'without a name'})"
    if node.domain not in DOMAINS:
        yield f"operator {shown_name(node.op_type)} {place} of the domain {shown_name(node.domain)}"
    elif node.op_type not in ALLOWED:
        yield f"operator {shown_name(node.op_type)} {place} is not on the allow-list"
    for attribute in node.attribute:
        if attribute.HasField("g") or attribute.graphs:
            yield f"operator {shown_name(node.op_type)} {place} contains a graph"
        if (
            attribute.HasField("sparse_tensor")
            or attribute.HasField("tp")
            or attribute.sparse_tensors
            or attribute.type_protos
        ):
            yield f"operator {shown_name(node.op_type)} {place} has sparse tensors or types"
        if attribute.HasField("t") or attribute.type == AttributeProto.TENSOR:  # ONNX Runtime may read either
            yield from _tensor_faults(attribute.t)
        for tensor in attribute.tensors:
            yield from _tensor_faults(tensor)


def _tensor_faults(tensor: TensorProto) -> Iterator[str]:
    name = shown_name(tensor.name) or "of a constant"
    if tensor.data_location != TensorProto.DEFAULT or tensor.external_data:
        yield f"the values of tensor {name} are in another file"
    if tensor.data_type not in _NUMBERS:
        yield f"the values of tensor {name} are of a type other than real numbers"
    count = 8  # bytes of the largest numbers
    for side in tensor.dims:
        count *= side
        if side < 0 or count > MAX_TENSOR_BYTES:
            yield f"tensor {name} has a side of {side}; at most {MAX_TENSOR_BYTES / 1e9:.1f} GB are allowed"
            return


def check_interface(graph: onnx.GraphProto, path: Path) -> np.dtype:
    """Returns the number type of the input. Raises StyleError unless input and output are images."""
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [item for item in graph.input if item.name not in constants]
    if [item.name for item in inputs] != [INPUT_NAME] or len(graph.output) != 1:
        names = ", ".join(shown_name(item.name, 40) for item in inputs[:4]) or "none"
        raise StyleError(
            f"{path}: not a style: its inputs are {names} and it has {len(graph.output)} outputs; {CONTRACT}"
        )
    _check_image(inputs[0], "input", INPUT_TYPES, path)
    _check_image(graph.output[0], "output", OUTPUT_TYPES, path)
    return np.dtype(INPUT_TYPES[inputs[0].type.tensor_type.elem_type])


def _check_image(item: onnx.ValueInfoProto, kind: str, number_types, path: Path) -> None:
    tensor = item.type.tensor_type
    if not item.type.HasField("tensor_type") or tensor.elem_type not in number_types:
        known = tensor.elem_type in TensorProto.DataType.values()
        name = TensorProto.DataType.Name(tensor.elem_type) if known else "unknown"
        raise StyleError(
            f"{path}: not a style: {kind} {shown_name(item.name, 40)} has the type {name}; {CONTRACT}"
        )
    if not tensor.HasField("shape"):
        return  # checked when the graph has run
    sides = [side.dim_value if side.HasField("dim_value") else None for side in tensor.shape.dim]
    has_channels_first = len(sides) == 4 and sides[1] == 3 and sides[2] != 3
    if len(sides) != 4 or sides[3] not in (3, None) or has_channels_first:
        shape = ", ".join("?" if side is None else str(side) for side in sides[:6])
        raise StyleError(
            f"{path}: not a style: {kind} {shown_name(item.name, 40)} has the shape [{shape}]; {CONTRACT}"
        )

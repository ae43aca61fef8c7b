"""Loads meta-graph checkpoints, ours and others', like the "lesson 30" scripts: X:0 in, transformer/g:0 out.

A graph is a program. TensorFlow would run every operation in it, and some operations read files, write files or call
Python. Therefore only the operations that compute the picture are imported, and all of them must be in ALLOWED. A
graph is refused if any other part of it contains an operation that neither inference nor training needs.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from system.faults import first_line
from transformer.export.meta_graph import INPUT_TENSOR, OUTPUT_TENSOR
from transformer.export.style_folder import META_PREFIX, StyleError

VARIABLES = frozenset({"Variable", "VariableV2", "VarHandleOp"})
# Operations of a network. None of these reaches outside the process: no files, sockets, Python or libraries.
_COMPUTING = """
Placeholder PlaceholderV2 PlaceholderWithDefault Const NoOp Identity IdentityN Snapshot StopGradient PreventGradient
CheckNumerics EnsureShape Assert ReadVariableOp Switch RefSwitch Merge RefMerge Enter RefEnter Exit RefExit
NextIteration LoopCond If StatelessIf While StatelessWhile PartitionedCall StatefulPartitionedCall Shape ShapeN Size
Rank Reshape ExpandDims Squeeze Pack Unpack ParallelConcat Concat ConcatV2 Split SplitV Slice StridedSlice Pad PadV2
MirrorPad Tile Transpose ConjugateTranspose Gather GatherV2 GatherNd ScatterNd Fill ZerosLike OnesLike Range LinSpace
BroadcastTo BroadcastArgs BroadcastGradientArgs Reverse ReverseV2 OneHot Where Select SelectV2 InvertPermutation
DynamicStitch DynamicPartition SpaceToBatch SpaceToBatchND BatchToSpace BatchToSpaceND SpaceToDepth DepthToSpace
UniqueV2 TopKV2 Cast Bitcast Abs Neg Sign Add AddV2 AddN Sub Mul MulNoNan Div DivNoNan RealDiv TruncateDiv FloorDiv
FloorMod Mod TruncateMod Reciprocal Inv Square SquaredDifference Sqrt Rsqrt Pow Exp Expm1 Log Log1p Sin Cos Tan Tanh
Sigmoid Erf Floor Ceil Round Rint Minimum Maximum ClipByValue Equal NotEqual Less LessEqual Greater GreaterEqual
LogicalAnd LogicalOr LogicalNot IsNan IsInf IsFinite Sum Mean Prod Max Min All Any ArgMax ArgMin Cumsum Cumprod L2Loss
MatMul BatchMatMul BatchMatMulV2 BatchMatMulV3 Einsum Conv2D Conv2DBackpropInput Conv2DBackpropFilter
DepthwiseConv2dNative DepthwiseConv2dNativeBackpropInput DepthwiseConv2dNativeBackpropFilter BiasAdd BiasAddV1 Relu
Relu6 Elu Selu LeakyRelu Softplus Softsign Softmax LogSoftmax MaxPool MaxPoolV2 AvgPool LRN FusedBatchNorm
FusedBatchNormV2 FusedBatchNormV3 BatchNormWithGlobalNormalization ResizeNearestNeighbor ResizeBilinear ResizeBicubic
ResizeArea CropAndResize RandomUniform RandomStandardNormal TruncatedNormal RandomUniformInt StatelessRandomUniform
StatelessRandomNormal
"""
# Other operations of a training graph. They are never imported; only those of the Saver read and write files.
_TRAINING = """
Assign AssignAdd AssignSub AssignVariableOp AssignAddVariableOp AssignSubVariableOp VarIsInitializedOp
IsVariableInitialized DestroyResourceOp CountUpTo ScatterUpdate ScatterAdd ResourceScatterAdd ResourceGather
ApplyGradientDescent ApplyMomentum ApplyAdam ApplyAdagrad ApplyRMSProp ResourceApplyGradientDescent
ResourceApplyMomentum ResourceApplyKerasMomentum ResourceApplyAdam ResourceApplyAdagrad ResourceApplyRMSProp ReluGrad
Relu6Grad EluGrad SeluGrad LeakyReluGrad SoftplusGrad SoftsignGrad TanhGrad SigmoidGrad SqrtGrad RsqrtGrad
ReciprocalGrad InvGrad BiasAddGrad MaxPoolGrad MaxPoolGradGrad AvgPoolGrad MirrorPadGrad LRNGrad FusedBatchNormGrad
FusedBatchNormGradV2 FusedBatchNormGradV3 BatchNormWithGlobalNormalizationGrad ResizeNearestNeighborGrad
ResizeBilinearGrad ResizeBicubicGrad StridedSliceGrad ConcatOffset SoftmaxCrossEntropyWithLogits
SparseSoftmaxCrossEntropyWithLogits SymbolicGradient RandomShuffle RandomCrop Multinomial ScalarSummary TensorSummary
TensorSummaryV2 HistogramSummary ImageSummary AudioSummary AudioSummaryV2 MergeSummary Timestamp UnsortedSegmentSum
SegmentSum Unique Size Bucketize Save SaveSlices SaveV2 Restore RestoreSlice RestoreV2 ShardedFilename ShardedFilespec
MergeV2Checkpoints StringJoin
"""
ALLOWED = VARIABLES | frozenset(_COMPUTING.split())
ALLOWED_BESIDE = ALLOWED | frozenset(_TRAINING.split())
REMEDY = (
    "if you trust its author, run it with --trust; otherwise ask for a graph that contains inference only"
)


class MetaGraphStylizer:
    """Callable: images [N, H, W, 3], RGB 0..255 -> stylized images of the same shape, in a session of its own.

    If the graph returns another height or width, its images are cropped or padded to those of the input.
    Raises StyleError if the graph is refused (unless `trust`), is damaged, or does not fit its checkpoint.
    """

    def __init__(self, style_dir: Path, *, trust: bool = False):
        self._style_dir = style_dir
        graph_def, variables = serving_graph(style_dir, trust=trust)
        values = _checkpoint_values(style_dir, variables)
        self._graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=self._graph)
        with self._graph.as_default():
            tf.import_graph_def(graph_def, name="")
            self._restore(values, variables)
            self._input = self._graph.get_tensor_by_name(INPUT_TENSOR)
            self._output = self._graph.get_tensor_by_name(OUTPUT_TENSOR)
        self._graph.finalize()

    def _restore(self, values: dict[str, np.ndarray], variables: dict[str, tf.compat.v1.NodeDef]) -> None:
        assignments, feeds = [], {}
        for name, value in values.items():
            variable = self._graph.get_tensor_by_name(f"{name}:0")
            fed = tf.compat.v1.placeholder(value.dtype, value.shape)
            feeds[fed] = value
            if variables[name].op == "VarHandleOp":
                assignments.append(tf.raw_ops.AssignVariableOp(resource=variable, value=fed))
            else:
                assignments.append(tf.compat.v1.assign(variable, fed).op)
        self._session.run(assignments, feeds)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        number_type = self._input.dtype.base_dtype.as_numpy_dtype
        fed = np.rint(images) if np.issubdtype(number_type, np.integer) else images
        try:
            stylized = self._session.run(self._output, {self._input: fed.astype(number_type)})
        except (ValueError, tf.errors.OpError) as error:  # ValueError: the placeholder has another shape
            raise StyleError(
                f"{self._style_dir}: the graph does not accept images of shape {images.shape} ({first_line(error)});"
                f" its input has shape {self._input.shape}"
            ) from error
        if (
            stylized.ndim != 4
            or stylized.shape[3] != 3
            or 0 in stylized.shape
            or len(stylized) != len(images)
        ):
            raise StyleError(
                f"{self._style_dir}: the graph returns shape {stylized.shape} for images of shape {images.shape}"
            )
        return fitted(stylized.astype(np.float32), images.shape[1], images.shape[2])


def fitted(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Crops images [N, h, w, 3], or pads them by repeating the edge, to [N, height, width, 3].

    A difference below 4 pixels comes from strides and is taken at the bottom and right; a larger one is a margin and
    is taken equally on all sides.
    """
    for axis, side in ((1, height), (2, width)):
        excess = images.shape[axis] - side
        before = abs(excess) // 2 if abs(excess) >= 4 else 0
        if excess > 0:
            images = np.take(images, range(before, before + side), axis=axis)
        elif excess < 0:
            margins = [(0, 0)] * 4
            margins[axis] = (before, -excess - before)
            images = np.pad(images, margins, mode="edge")
    return images


def serving_graph(
    style_dir: Path, *, trust: bool
) -> tuple[tf.compat.v1.GraphDef, dict[str, tf.compat.v1.NodeDef]]:
    """Returns the part of the graph that computes the picture, and its variables by name. Raises StyleError."""
    path = style_dir / f"{META_PREFIX}.meta"
    try:
        graph_def = tf.compat.v1.MetaGraphDef.FromString(path.read_bytes()).graph_def
    except Exception as error:  # protobuf's class depends on its implementation
        raise StyleError(
            f"{path}: damaged meta graph ({first_line(error)}); export the style again"
        ) from error
    names = {node.name for node in graph_def.node}
    for tensor in (INPUT_TENSOR, OUTPUT_TENSOR):
        if tensor.removesuffix(":0") not in names:
            raise StyleError(
                f"{path}: damaged or not a style: it has no tensor {tensor}; export the style again"
            )
    needed = list(_upstream(graph_def, OUTPUT_TENSOR.removesuffix(":0")))
    if not trust:
        _check_operations(path, graph_def, needed)
    serving = tf.compat.v1.GraphDef(versions=graph_def.versions, node=needed)
    functions = {function.signature.name: function for function in graph_def.library.function}
    serving.library.function.extend(functions[name] for name in _called_functions(needed, functions))
    for node in serving.node:
        node.device = ""  # the device of the training machine may not exist here
    return serving, {node.name: node for node in serving.node if node.op in VARIABLES}


def _upstream(graph_def: tf.compat.v1.GraphDef, output: str) -> Iterator[tf.compat.v1.NodeDef]:
    """Yields the nodes that `output` depends on and itself, in the order of the graph."""
    nodes = {node.name: node for node in graph_def.node}
    needed, waiting = set(), [output]
    while waiting:
        name = waiting.pop()
        if name in nodes and name not in needed:
            needed.add(name)
            waiting += [source.removeprefix("^").partition(":")[0] for source in nodes[name].input]
    return (node for node in graph_def.node if node.name in needed)


def _check_operations(path: Path, graph_def: tf.compat.v1.GraphDef, needed: Iterable) -> None:
    """Raises StyleError for the first operation that is not allowed, in the graph or in the body of a function."""
    functions = {function.signature.name: function for function in graph_def.library.function}
    serving_names = {node.name for node in needed}
    called = _called_functions(needed, functions)

    def check(node, place: str, allowed: frozenset[str]) -> None:
        if node.op not in allowed and node.op not in functions:
            raise StyleError(
                f"{path}: refused: operation {node.op} ({place}) is not on the allow-list; {REMEDY}"
            )

    for node in graph_def.node:
        check(node, node.name, ALLOWED if node.name in serving_names else ALLOWED_BESIDE)
    for name, function in functions.items():
        for node in function.node_def:
            check(node, f"{node.name} in function {name}", ALLOWED if name in called else ALLOWED_BESIDE)


def _called_functions(nodes: Iterable, functions: dict) -> set[str]:
    """Returns the names of the functions that the nodes call by any attribute, directly or through other functions."""
    called: set[str] = set()
    waiting = list(nodes)
    while waiting:
        node = waiting.pop()
        names = [node.op]
        for attribute in node.attr.values():
            names += [attribute.func.name, *(item.name for item in attribute.list.func)]
        for name in names:
            if name in functions and name not in called:
                called.add(name)
                waiting += functions[name].node_def
    return called


def _checkpoint_values(style_dir: Path, variables: dict) -> dict[str, np.ndarray]:
    """Returns the values of the variables. Raises StyleError if the checkpoint is damaged or does not fit."""
    prefix = style_dir / META_PREFIX
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        shapes = reader.get_variable_to_shape_map()
        values = {name: reader.get_tensor(name) for name in variables if name in shapes}
    except Exception as error:  # TensorFlow raises many classes for damaged files
        raise StyleError(
            f"{prefix}: damaged checkpoint ({first_line(error)}); copy the whole folder or export the style again"
        ) from error
    for name, node in variables.items():
        if name not in values:
            raise StyleError(
                f"{prefix}: the checkpoint lacks {name}, which the graph needs; the graph and the checkpoint do not"
                " belong together"
            )
        shape = tuple(side.size for side in node.attr["shape"].shape.dim)
        known = not node.attr["shape"].shape.unknown_rank and -1 not in shape
        if known and shape != values[name].shape:
            raise StyleError(
                f"{prefix}: {name} is {values[name].shape} in the checkpoint and {shape} in the graph;"
                " the graph and the checkpoint do not belong together"
            )
    return values

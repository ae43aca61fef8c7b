"""Loads meta-graph checkpoints, ours and others', like the "lesson 30" scripts: X:0 in, transformer/g:0 out.

A graph is a program. TensorFlow would run every operation in it, and some operations read files, write files or call
Python. Therefore only the operations that compute the picture are imported, and all of them must be in ALLOWED. A
graph is refused if any other part of it contains an operation that neither inference nor training needs. Loops and
functions that call themselves may never end; they are refused as well. Runs in a child process, see graph_process.py.
"""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf.rewriter_config_pb2 import RewriterConfig

from system.faults import memory_faults, one_line
from transformer.export.meta_graph import INPUT_TENSOR, OUTPUT_TENSOR
from transformer.export.style_folder import META_PREFIX, StyleError
from transformer.inference.graph_frames import shown_name
from transformer.inference.onnx_session import FOREIGN_MEMORY_REMEDY
from transformer.inference.picture_fit import checked_pictures, fed_images

VARIABLES = frozenset({"Variable", "VariableV2", "VarHandleOp"})
# Operations of a network. None of these reaches outside the process: no files, sockets, Python or libraries.
_COMPUTING = """
Placeholder PlaceholderV2 PlaceholderWithDefault Const NoOp Identity IdentityN Snapshot StopGradient PreventGradient
CheckNumerics EnsureShape Assert ReadVariableOp Switch RefSwitch Merge RefMerge If StatelessIf PartitionedCall
StatefulPartitionedCall Shape ShapeN Size
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
_LOOPS = "Enter RefEnter Exit RefExit NextIteration RefNextIteration LoopCond While StatelessWhile For"
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
LOOPS = frozenset(_LOOPS.split())
ALLOWED_BESIDE = ALLOWED | LOOPS | frozenset(_TRAINING.split())
REMEDY = (
    "if you trust its author, run it with --trust; otherwise ask for a graph that contains inference only"
)


class MetaGraphStylizer:
    """Callable: images [N, H, W, 3], RGB 0..255 -> stylized images of the same shape, in a session of its own.

    If the graph returns another height or width, its images are cropped or padded to those of the input.
    named: the folder that messages name, by default `style_dir`.
    Raises StyleError if the graph is refused (unless `trust`), is damaged, or does not fit its checkpoint, and
    MemoryError if memory runs out.
    """

    def __init__(self, style_dir: Path, *, trust: bool = False, named: Path | None = None):
        self._named = named or style_dir
        graph_def, variables = serving_graph(style_dir, trust=trust, named=self._named)
        values = _checkpoint_values(style_dir, variables, self._named)
        try:
            with _memory_faults(self._named):
                self._open_session(graph_def, variables, values)
        except (StyleError, MemoryError):
            raise
        except Exception as error:  # TensorFlow raises unrelated classes for incomplete graphs
            raise StyleError(
                f"{self._named}: damaged meta graph ({one_line(error)}); export the style again"
            ) from error

    def _open_session(self, graph_def: tf.compat.v1.GraphDef, variables: dict, values: dict) -> None:
        self._graph = tf.Graph()
        self._session = tf.compat.v1.Session(graph=self._graph, config=_session_config())
        with self._graph.as_default():
            tf.import_graph_def(graph_def, name="")
            self._restore(values, variables)
            self._input = self._graph.get_tensor_by_name(INPUT_TENSOR)
            self._output = self._graph.get_tensor_by_name(OUTPUT_TENSOR)
        _check_image_tensor(self._input, "takes", self._named)
        _check_image_tensor(self._output, "returns", self._named)
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
        number_type = np.dtype(self._input.dtype.base_dtype.as_numpy_dtype)
        try:
            with _memory_faults(self._named):
                stylized = self._session.run(self._output, {self._input: fed_images(images, number_type)})
        except (
            ValueError,
            TypeError,
            tf.errors.OpError,
        ) as error:  # ValueError: the placeholder has another shape
            raise StyleError(
                f"{self._named}: the graph does not accept images of shape {images.shape} ({one_line(error)});"
                f" its input has shape {self._input.shape}"
            ) from error
        return checked_pictures(stylized, images, self._named)


def _session_config() -> tf.compat.v1.ConfigProto:
    """Without constant folding, which computes parts of a graph again and again where memory does not suffice."""
    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.constant_folding = RewriterConfig.OFF
    return config


def _check_image_tensor(tensor: tf.Tensor, verb: str, named: Path) -> None:
    """Raises StyleError unless a tensor may hold images [N, H, W, 3] of numbers."""
    kind, shape = tensor.dtype.base_dtype, tensor.shape
    is_number = kind.is_floating or (kind.is_integer and not kind.is_quantized and kind.max >= 255)
    if not is_number or (shape.rank is not None and (shape.rank != 4 or shape[3] not in (3, None))):
        raise StyleError(
            f"{named}: not a style: the graph {verb} shape {shape} of type {kind.name} ({tensor.name}); it must be"
            " images [N, H, W, 3] of numbers 0..255"
        )


def _memory_faults(named: Path) -> AbstractContextManager:
    return memory_faults(FOREIGN_MEMORY_REMEDY, what=f"{named}: memory ran out in TensorFlow")


def serving_graph(
    style_dir: Path, *, trust: bool, named: Path
) -> tuple[tf.compat.v1.GraphDef, dict[str, tf.compat.v1.NodeDef]]:
    """Returns the part of the graph that computes the picture, and its variables by name. Raises StyleError."""
    file = f"{META_PREFIX}.meta"
    path = named / file
    try:
        graph_def = tf.compat.v1.MetaGraphDef.FromString((style_dir / file).read_bytes()).graph_def
    except Exception as error:  # protobuf's class depends on its implementation
        raise StyleError(
            f"{path}: damaged meta graph ({one_line(error, at_most=120)}); export the style again"
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
    placed = list(_placed_nodes(graph_def, needed, functions))
    for node, place, is_run in placed:
        allowed = ALLOWED | LOOPS if is_run else ALLOWED_BESIDE
        if node.op not in allowed and node.op not in functions:
            raise StyleError(
                f"{path}: refused: operation {shown_name(node.op)} ({shown_name(place, 120)}) is not on the allow-list;"
                f" {REMEDY}"
            )
    for (
        node,
        place,
        is_run,
    ) in placed:  # after the others, because an operation in a loop says more than the loop
        if is_run and node.op in LOOPS:
            raise StyleError(
                f"{path}: refused: operation {node.op} ({shown_name(place, 120)}) is part of a loop, which may never"
                f" end; {REMEDY}"
            )
    if name := _recursive_function(functions):
        raise StyleError(
            f"{path}: refused: function {shown_name(name)} calls itself, which may never end; {REMEDY}"
        )


def _placed_nodes(
    graph_def: tf.compat.v1.GraphDef, needed: Iterable, functions: dict
) -> Iterator[tuple[tf.compat.v1.NodeDef, str, bool]]:
    """Yields all nodes of a graph and its functions, each with its place and whether computing the picture runs it."""
    serving_names = {node.name for node in needed}
    called = _called_functions(needed, functions)
    for node in graph_def.node:
        yield node, node.name, node.name in serving_names
    for name, function in functions.items():
        for node in function.node_def:
            yield node, f"{node.name} in function {name}", name in called


def _recursive_function(functions: dict) -> str:
    """Returns the name of a function that calls itself, directly or through others; "" if there is none."""
    callees = {
        name: {callee for node in function.node_def for callee in _names_in(node) if callee in functions}
        for name, function in functions.items()
    }
    while leaves := [name for name, called in callees.items() if not called]:
        for name in leaves:
            del callees[name]
        for called in callees.values():
            called.difference_update(leaves)
    return next(iter(callees), "")


def _names_in(node: tf.compat.v1.NodeDef) -> Iterator[str]:
    """Yields the names of the functions that a node may call: its operation, and those in its attributes."""
    yield node.op
    for attribute in node.attr.values():
        yield attribute.func.name
        yield from (item.name for item in attribute.list.func)


def _called_functions(nodes: Iterable, functions: dict) -> set[str]:
    """Returns the names of the functions that the nodes call by any attribute, directly or through other functions."""
    called: set[str] = set()
    waiting = list(nodes)
    while waiting:
        for name in _names_in(waiting.pop()):
            if name in functions and name not in called:
                called.add(name)
                waiting += functions[name].node_def
    return called


def _checkpoint_values(style_dir: Path, variables: dict, named: Path) -> dict[str, np.ndarray]:
    """Returns the values of the variables. Raises StyleError if the checkpoint is damaged or does not fit."""
    prefix = named / META_PREFIX
    try:
        with _memory_faults(named):
            reader = tf.train.load_checkpoint(str(style_dir / META_PREFIX))
            shapes = reader.get_variable_to_shape_map()
            values = {name: reader.get_tensor(name) for name in variables if name in shapes}
    except MemoryError:
        raise
    except Exception as error:  # TensorFlow raises many classes for damaged files
        raise StyleError(
            f"{prefix}: damaged checkpoint ({one_line(error, at_most=120)}); copy the whole folder or export the style"
            " again"
        ) from error
    for name, node in variables.items():
        if name not in values:
            raise StyleError(
                f"{prefix}: the checkpoint lacks {shown_name(name, 120)}, which the graph needs; the graph and the"
                " checkpoint do not belong together"
            )
        shape = tuple(side.size for side in node.attr["shape"].shape.dim)
        known = not node.attr["shape"].shape.unknown_rank and -1 not in shape
        if known and shape != values[name].shape:
            raise StyleError(
                f"{prefix}: {shown_name(name, 120)} is {values[name].shape} in the checkpoint and {shape} in the graph;"
                " the graph and the checkpoint do not belong together"
            )
    return values

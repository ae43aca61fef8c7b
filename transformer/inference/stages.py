"""One or two convolutions of the network as a small ONNX model that runs on a tile.

Instance norm needs the statistics of whole feature maps. A stage therefore ends after a convolution, before its norm
(pre-activations). It also returns what the tile adds to the statistics. The norm is applied at the start of the next
stage, when the statistics of all tiles are known.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import onnx
from onnx import TensorProto

from transformer.architecture import NORM_EPSILON, ConvSpec
from transformer.export.onnx_graph import (
    GraphWriter,
    add_activation,
    add_convolution,
    add_input_scaling,
    add_output_scaling,
    add_padding,
    margin_of,
    value_info,
)
from transformer.inference.runtimes import Engine
from transformer.inference.tiles import Tile

# Number types in which pre-activations wait for the next stage; the residual sum itself is always float32.
PRECISE, COMPACT = np.dtype(np.float32), np.dtype(np.float16)
_ONNX_TYPES = {PRECISE: TensorProto.FLOAT, COMPACT: TensorProto.FLOAT16}


class Affine(NamedTuple):
    """An instance norm with known statistics: gain * x + shift; both [1, C, 1, 1] float32."""

    gain: np.ndarray
    shift: np.ndarray


class Moments(NamedTuple):
    """What a tile adds to the statistics: its pixels, mean and sum of squared deviations, both [1, C, 1, 1]."""

    count: int
    mean: np.ndarray
    squares: np.ndarray


class Stage:
    """One or two convolutions with the norms and activations between them.

    engine: opens the session that computes the stage, with one thread for each tile.
    after: the convolution whose pre-activations the stage reads; None if it reads pixels or the residual trunk.
    returns_map: whether the stage returns its pre-activations beside their moments.
    """

    def __init__(
        self,
        parameters: Mapping[str, np.ndarray],
        specs: Sequence[ConvSpec],
        stored: np.dtype,
        engine: Engine,
        after: ConvSpec | None = None,
        returns_map: bool = True,
    ):
        self.specs, self.returns_map = specs, returns_map
        writer = GraphWriter(parameters, transposed=True)
        model = _stage_model(writer, specs, _ONNX_TYPES[stored], after, returns_map)
        self._session = engine.open(model.SerializeToString(), threads=1)

    def input_region(self, place: Tile, height: int, width: int) -> tuple[Tile, list[Tile]]:
        """Returns the region of the input that `place` of the output needs, and the padding of each convolution.

        The output is height x width. A padding holds the pixels to add at the top, bottom, left and right; it is
        zero except at the borders of the image.
        """
        pads = []
        for spec in reversed(self.specs):
            factor = spec.stride / spec.upsample
            height, width = int(height * factor), int(width * factor)
            wanted = place.scaled(factor).grown(margin_of(spec))
            place = wanted.within(height, width)
            pads.append(Tile(*(abs(have - want) for have, want in zip(place, wanted, strict=True))))
        return place, pads[::-1]

    def __call__(self, value: np.ndarray, pads: Sequence[Tile], norms: Sequence[Affine]) -> list[np.ndarray]:
        """Returns [pre-activations if returns_map, mean, squares], or [pixels] for the last stage."""
        feeds = {"value": np.ascontiguousarray(value)}
        for index, pad in enumerate(pads):
            feeds[f"pads{index}"] = np.array([0, 0, pad.top, pad.left, 0, 0, pad.bottom, pad.right], np.int64)
        # The first convolution has no norm before it if it reads pixels or the trunk.
        first = len(self.specs) - len(norms)
        for index, norm in enumerate(norms, first):
            feeds[f"gain{index}"], feeds[f"shift{index}"] = norm
        return self._session.run(feeds)


def _stage_model(
    writer: GraphWriter,
    specs: Sequence[ConvSpec],
    stored: int,
    after: ConvSpec | None,
    returns_map: bool,
) -> onnx.ModelProto:
    inputs = []
    value = _add_stage_input(writer, inputs, specs[0], stored, after)
    for index, (previous, spec) in enumerate(zip([after, *specs], specs, strict=False)):
        if previous:
            value = _add_norm(writer, inputs, index, value, previous)
        inputs.append(value_info(f"pads{index}", [8], TensorProto.INT64))
        value = add_convolution(writer, add_padding(writer, value, spec, f"pads{index}"), spec)
    if not specs[-1].norm:  # the last convolution of the network
        value = add_output_scaling(writer, add_activation(writer, value, specs[-1]))
        writer.add("Transpose", value, perm=[0, 2, 3, 1], output="pixels")
        return writer.model(inputs, [value_info("pixels", [1, "h", "w", 3])])
    outputs = []
    if returns_map:
        writer.add("Cast", value, to=stored, output="pre_activations")
        outputs.append(value_info("pre_activations", [1, specs[-1].out_channels, "h", "w"], stored))
    outputs += _add_moments(writer, value, specs[-1].out_channels)
    return writer.model(inputs, outputs)


def _add_stage_input(
    writer: GraphWriter, inputs: list, spec: ConvSpec, stored: int, after: ConvSpec | None
) -> str:
    reads_pixels = spec.in_channels == 3
    shape = [1, "H", "W", 3] if reads_pixels else [1, spec.in_channels, "H", "W"]
    inputs.append(value_info("value", shape, stored if after else TensorProto.FLOAT))
    if after:
        return writer.add("Cast", "value", to=TensorProto.FLOAT)
    return add_input_scaling(writer, "value") if reads_pixels else "value"


def _add_norm(writer: GraphWriter, inputs: list, index: int, value: str, previous: ConvSpec) -> str:
    """The norm and activation of the `previous` convolution; gain and shift are inputs."""
    names = f"gain{index}", f"shift{index}"
    inputs.extend(value_info(name, [1, previous.out_channels, 1, 1]) for name in names)
    scaled = writer.add("Mul", value, names[0])
    return add_activation(writer, writer.add("Add", scaled, names[1]), previous)


def _add_moments(writer: GraphWriter, value: str, channels: int) -> list[onnx.ValueInfoProto]:
    mean = writer.add("ReduceMean", value, axes=[2, 3], keepdims=1)
    writer.add("Identity", mean, output="mean")
    writer.add("ReduceSumSquare", writer.add("Sub", value, mean), axes=[2, 3], keepdims=1, output="squares")
    return [value_info(name, [1, channels, 1, 1]) for name in ("mean", "squares")]


def norm_of(moments: Sequence[Moments], scale: np.ndarray, offset: np.ndarray) -> Affine:
    """Returns the instance norm of a map from the moments of its tiles, computed in float64 (Chan et al. 1979)."""
    counts = np.array([part.count for part in moments], np.float64).reshape(-1, 1, 1, 1)
    means = np.concatenate([part.mean for part in moments]).astype(np.float64)  # [tiles, C, 1, 1]
    squares = np.concatenate([part.squares for part in moments]).astype(np.float64)
    mean = (counts * means).sum(0) / counts.sum()
    variance = (squares + counts * (means - mean) ** 2).sum(0) / counts.sum()
    gain = scale[:, np.newaxis, np.newaxis] / np.sqrt(variance + NORM_EPSILON)
    shift = offset[:, np.newaxis, np.newaxis] - mean * gain
    return Affine(gain[np.newaxis].astype(np.float32), shift[np.newaxis].astype(np.float32))


def normalized(pre_activations: np.ndarray, norm: Affine) -> np.ndarray:
    """Applies a norm to a map [C, H, W]; float32."""
    values = pre_activations.astype(np.float32)
    values *= norm.gain[0]
    values += norm.shift[0]
    return values

"""Builds the network as ONNX files for other programs: of a fixed size, in half precision, or both.

OpenCV 4 and several converters need the size of the image in the file. GPUs and neural processors compute half
precision faster than float32, and the file is smaller.
"""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper

from transformer.architecture import Architecture, padded_side
from transformer.export.onnx_graph import (
    INPUT_NAME,
    OUTPUT_NAME,
    GraphWriter,
    add_scaled_network,
    value_info,
    write_whole_graph,
)
from transformer.export.style_folder import StyleError

HALF = TensorProto.FLOAT16


def build_portable_model(
    parameters: Mapping[str, np.ndarray],
    architecture: Architecture,
    *,
    size: tuple[int, int] | None = None,
    is_half: bool = False,
    metadata: Mapping[str, str] | None = None,
) -> onnx.ModelProto:
    """Builds a model with the input and output of `onnx_graph.build_onnx_model`: float32 RGB 0..255, NHWC.

    parameters: as `onnx_graph.read_onnx_parameters` returns them.
    size: height and width in pixels; the file then takes one image of this size. None: any number of any size.
    is_half: kernels and convolutions are float16; the statistics of instance norm, and the pixels, stay float32.
    metadata: texts by name, which tools such as Netron show.
    Raises StyleError if a kernel exceeds the range of float16.
    """
    writer = HalfWriter(parameters) if is_half else GraphWriter(parameters)
    model = write_whole_graph(writer, architecture) if size is None else _fixed(writer, architecture, size)
    helper.set_model_props(model, {"width": str(architecture.width), **(metadata or {})})
    return model


def _fixed(writer: GraphWriter, architecture: Architecture, size: tuple[int, int]) -> onnx.ModelProto:
    value = INPUT_NAME
    for axis, side in enumerate(size, 1):
        if padded_side(side) > side:
            value = writer.add("Gather", value, writer.constant(_reflected(side)), axis=axis)
    value = add_scaled_network(writer, value, architecture)
    if any(padded_side(side) > side for side in size):
        value = writer.add(
            "Slice", value, writer.integers(0, 0), writer.integers(*size), writer.integers(2, 3)
        )
    writer.add("Transpose", value, perm=[0, 2, 3, 1], output=OUTPUT_NAME)
    shape = [1, *size, 3]
    return writer.model([value_info(INPUT_NAME, shape)], [value_info(OUTPUT_NAME, shape)])


def _reflected(side: int) -> np.ndarray:
    """The indices that `layers.reflected_indices` computes, from 0 to the padded side."""
    period = max(2 * (side - 1), 1)
    position = np.arange(padded_side(side), dtype=np.int64) % period
    return np.minimum(position, period - position)


class HalfWriter(GraphWriter):
    """Writes convolutions and what lies between them in float16.

    Instance norm is computed in float32, because the sum over the pixels of an image exceeds 65504, the largest
    number of float16. So is everything after the last convolution, because rounded pixels would show as bands.
    """

    def __init__(self, parameters: Mapping[str, np.ndarray]):
        super().__init__(parameters)
        self._halves: set[str] = set()  # the values that are float16

    def parameter(self, name: str) -> str:
        """See GraphWriter. Kernels and biases become float16, scales and offsets of norms stay float32."""
        value = self.parameters[name]
        if name.endswith(("/scale", "/offset")):
            return self.constant(value, name)
        with np.errstate(over="ignore"):
            half = value.astype(np.float16)
        if not np.isfinite(half).all():
            raise StyleError(
                f"the parameter {name} exceeds the range of half precision; export the style with --format onnx"
            )
        return self.constant(half, name)

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes) -> str:
        """See GraphWriter. Adds the conversions before and after an operator that it needs."""
        value, *operands = inputs
        if operator == "Conv":
            result = self._plain(operator, self._as(HALF, value), *operands, **attributes)
            self._halves.add(result)
            has_bias = len(operands) == 2  # only the last one, see add_convolution
            return self._as(TensorProto.FLOAT, result) if has_bias else result
        if operator == "InstanceNormalization":
            value = self._as(TensorProto.FLOAT, value)
            return self._as(HALF, self._plain(operator, value, *operands, **attributes))
        result = self._plain(operator, value, *operands, output=output, **attributes)
        if value in self._halves:
            self._halves.add(result)
        return result

    def _as(self, element_type: int, value: str) -> str:
        if (value in self._halves) == (element_type == HALF):
            return value
        result = self._plain("Cast", value, to=element_type)
        if element_type == HALF:
            self._halves.add(result)
        return result

    def _plain(self, operator: str, *inputs: str, **attributes) -> str:
        return super().add(operator, *inputs, **attributes)

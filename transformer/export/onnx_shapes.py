"""The shapes of the parameters in the ONNX file. This module does not import onnx, which takes a fifth of a second."""

from collections.abc import Mapping, Sequence

from transformer.architecture import Architecture, ConvSpec

# The last layer computes blocks of 4x4 pixels as 48 channels: with 3 channels most SIMD lanes of a CPU would idle.
OUTPUT_BLOCK = 4


def block_of(spec: ConvSpec) -> int:
    """Returns the side of the block of pixels that the ONNX form computes as channels; 1 means no block."""
    return OUTPUT_BLOCK if spec.out_channels == 3 else spec.upsample


def half_precision_kernels(architecture: Architecture) -> tuple[str, ...]:
    """Returns the names of the kernels that finished styles hold in half precision: most of the parameters.

    The ONNX form of the others has sums or multiples of their values, which half precision does not represent exactly.
    """
    plain = (spec for spec in architecture.convolutions if block_of(spec) == 1 and spec.gain == 1)
    return tuple(f"{spec.name}/kernel" for spec in plain)


def source_offsets(spec: ConvSpec) -> list[int]:
    """Returns the offset of the source pixel that each of the outputs and kernel positions of one block reads.

    The outputs of a block and the positions of the kernel together span kernel_size + block - 1 pixels. After
    upsampling, several of them are the same source pixel.
    """
    span = range(spec.kernel_size + block_of(spec) - 1)
    if spec.upsample == 1:
        return list(span)
    return [(position - spec.kernel_size // 2) // block_of(spec) + 1 for position in span]


def architecture_of(width: float, shapes: Mapping[str, Sequence[int]]) -> Architecture:
    """Returns the architecture whose ONNX parameters could have these shapes; the caller compares all of them.

    shapes: by name. Raises ValueError if they are of no network of this project.
    """
    blocks = sum(name.startswith("residual") and name.endswith("conv1/kernel") for name in shapes)
    first_kernel = shapes.get("encoder/conv1/kernel") or (0,)
    return Architecture(width, blocks, outer_kernel=first_kernel[-1])


def onnx_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Returns the shape of every parameter that `onnx_graph.onnx_parameters` returns, by name."""
    shapes = {}
    for spec in architecture.convolutions:
        channels = spec.out_channels * block_of(spec) ** 2
        side = source_offsets(spec)[-1] + 1
        shapes[f"{spec.name}/kernel"] = (channels, spec.in_channels, side, side)
        for parameter in ("scale", "offset") if spec.norm else ("bias",):
            shapes[f"{spec.name}/{parameter}"] = (spec.out_channels if spec.norm else channels,)
    return shapes

"""The transformer network as a table: every convolution, its shape and what surrounds it.

One table serves the TensorFlow network, the meta graph and the ONNX graph, so they cannot drift apart.
The network is that of Johnson et al. 2016 (https://arxiv.org/abs/1603.08155, supplementary) with instance
normalisation (https://arxiv.org/abs/1607.08022) and nearest upsampling instead of transposed convolutions
(https://distill.pub/2016/deconv-checkerboard/). No TensorFlow here: the ONNX side reads this file too.
"""

from dataclasses import dataclass

BASE_CHANNELS = 32  # channels of the first convolution at width 1 (Johnson et al.)
NORM_EPSILON = 1e-3  # added to the variance; lengstrom's value. Far below the variances of a trained network
OUTPUT_CENTER = 127.5  # middle of the 0..255 range
OUTPUT_SPAN = (
    150.0  # tanh times this reaches past 0 and 255, so that white and black need no saturation (lengstrom)
)
OUTPUT_GAIN = 0.1  # the last layer starts small, see network.initial_parameters
SIDE_MULTIPLE = 4  # two stride-2 convolutions
MIN_SIDE = 8  # the smallest padded side: a trunk of 2x2, which 3x3 reflection padding still fits


@dataclass(frozen=True)
class ConvSpec:
    """One convolution: reflection padding before it, instance norm and activation after it."""

    name: str  # literature-like path, part of the exported variable names
    kernel_size: int  # odd; padding is kernel_size // 2 on every side
    in_channels: int
    out_channels: int
    stride: int = 1
    upsample: int = 1  # nearest-neighbour factor applied before the padding
    norm: bool = True  # instance norm with scale and offset; without it a bias
    activation: str = "relu"  # relu, tanh or linear
    gain: float = 1.0  # multiplies the kernel wherever it is used

    @property
    def multiply_adds_per_pixel(self) -> int:
        """Multiply-accumulate operations for one pixel of the output."""
        return self.kernel_size**2 * self.in_channels * self.out_channels


@dataclass(frozen=True)
class Architecture:
    """The whole network: encoder, residual trunk, decoder; channel counts derive from `width`."""

    width: float = 0.5
    residual_blocks: int = 5

    def __post_init__(self):
        if not 0 < self.width <= 4:
            raise ValueError(f"width must be above 0 and at most 4, got {self.width}")
        if self.residual_blocks < 0:
            raise ValueError(f"residual_blocks must be 0 or more, got {self.residual_blocks}")

    def channels(self, multiple: int) -> int:
        """Channels of a layer that has `multiple` times the first layer's, at least 4."""
        return max(4, round(BASE_CHANNELS * self.width)) * multiple

    @property
    def encoder(self) -> tuple[ConvSpec, ...]:
        narrow, middle, wide = (self.channels(multiple) for multiple in (1, 2, 4))
        return (
            ConvSpec("encoder/conv1", 9, 3, narrow),
            ConvSpec("encoder/conv2", 3, narrow, middle, stride=2),
            ConvSpec("encoder/conv3", 3, middle, wide, stride=2),
        )

    @property
    def residual(self) -> tuple[tuple[ConvSpec, ConvSpec], ...]:
        wide = self.channels(4)
        return tuple(
            (
                ConvSpec(f"residual{block}/conv1", 3, wide, wide),
                ConvSpec(f"residual{block}/conv2", 3, wide, wide, activation="linear"),
            )
            for block in range(1, self.residual_blocks + 1)
        )

    @property
    def decoder(self) -> tuple[ConvSpec, ...]:
        narrow, middle, wide = (self.channels(multiple) for multiple in (1, 2, 4))
        return (
            ConvSpec("decoder/conv1", 3, wide, middle, upsample=2),
            ConvSpec("decoder/conv2", 3, middle, narrow, upsample=2),
            ConvSpec("decoder/conv3", 9, narrow, 3, norm=False, activation="tanh", gain=OUTPUT_GAIN),
        )

    @property
    def convolutions(self) -> tuple[ConvSpec, ...]:
        """Every convolution in the order it runs."""
        trunk = tuple(spec for block in self.residual for spec in block)
        return self.encoder + trunk + self.decoder

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every trainable parameter; kernels are [kernel, kernel, in, out]."""
        shapes = {}
        for spec in self.convolutions:
            size, channels = spec.kernel_size, spec.out_channels
            shapes[f"{spec.name}/kernel"] = (size, size, spec.in_channels, channels)
            for parameter in ("scale", "offset") if spec.norm else ("bias",):
                shapes[f"{spec.name}/{parameter}"] = (channels,)
        return shapes

    def output_scales(self) -> dict[str, float]:
        """Returns the resolution of each convolution's output by name; 1 is that of the image."""
        scales, scale = {}, 1.0
        for spec in self.convolutions:
            scale *= spec.upsample / spec.stride
            scales[spec.name] = scale
        return scales

    def multiply_adds(self, height: int, width: int) -> int:
        """Returns the multiply-accumulate operations of all convolutions for one image of height x width."""
        scales = self.output_scales()
        per_pixel = sum(spec.multiply_adds_per_pixel * scales[spec.name] ** 2 for spec in self.convolutions)
        return round(height * width * per_pixel)


def padded_side(side: int) -> int:
    """The side that the network really works at: a multiple of SIDE_MULTIPLE, at least MIN_SIDE."""
    return max(MIN_SIDE, -(-side // SIDE_MULTIPLE) * SIDE_MULTIPLE)

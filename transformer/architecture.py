"""The transformer network as a table: the shape of every convolution and the operations around it.

The TensorFlow network, the meta graph and the ONNX graph are all built from this table, so they always agree.
The network is that of Johnson et al. 2016 (https://arxiv.org/abs/1603.08155, supplementary material) with instance
normalization (https://arxiv.org/abs/1607.08022) and nearest-neighbor upsampling instead of transposed convolutions
(https://distill.pub/2016/deconv-checkerboard/). The first and the last kernel have 5x5 pixels instead of 9x9.
This module imports no TensorFlow, because the ONNX runtime uses it.
"""

from dataclasses import dataclass

OUTER_KERNELS = (3, 5, 7, 9)
BASE_CHANNELS = 32  # channels of the first convolution at width 1 (Johnson et al.)
NORM_EPSILON = 1e-3  # added to the variance (lengstrom); the variances of a trained network are far larger
OUTPUT_CENTER = 127.5  # middle of the 0..255 range
# The output is OUTPUT_CENTER + OUTPUT_SPAN * tanh. It extends past 0 and 255, so white and black need no saturation.
OUTPUT_SPAN = 150.0  # lengstrom
OUTPUT_GAIN = 0.1  # makes the last layer small at the start, see network.initial_parameters
SIDE_MULTIPLE = 4  # of the padded image, because of two convolutions with stride 2
MIN_SIDE = (
    8  # of the padded image; the trunk is then 2x2, the least that reflection padding for 3x3 kernels allows
)


@dataclass(frozen=True)
class ConvSpec:
    """One convolution, with reflection padding before it and instance norm and activation after it."""

    name: str  # path such as "encoder/conv1", the start of the exported variable names
    kernel_size: int  # odd; the padding is kernel_size // 2 on every side
    in_channels: int
    out_channels: int
    stride: int = 1
    upsample: int = 1  # factor of nearest-neighbor upsampling before the padding
    norm: bool = True  # True: instance norm with scale and offset; False: a bias
    activation: str = "relu"  # relu, tanh or linear
    gain: float = 1.0  # factor of the kernel

    @property
    def multiply_adds_per_pixel(self) -> int:
        """Multiply-accumulate operations for one pixel of the output."""
        return self.kernel_size**2 * self.in_channels * self.out_channels


@dataclass(frozen=True)
class Architecture:
    """The complete network: encoder, residual trunk, decoder.

    Raises ValueError for a `width`, `residual_blocks` or `outer_kernel` out of range.
    """

    width: float = 0.5  # multiplier of the channels, above 0 to 4; 1 is the network of Johnson et al.
    residual_blocks: int = 5  # in the trunk, 0 or more
    outer_kernel: int = 5  # side of the first and the last kernel, in OUTER_KERNELS; 9: Johnson et al.

    def __post_init__(self):
        if not 0 < self.width <= 4:
            raise ValueError(f"width must be greater than 0 and at most 4, got {self.width}")
        if self.residual_blocks < 0:
            raise ValueError(f"residual_blocks must be 0 or more, got {self.residual_blocks}")
        if self.outer_kernel not in OUTER_KERNELS:
            allowed = ", ".join(map(str, OUTER_KERNELS))
            raise ValueError(f"outer_kernel must be one of {allowed}, got {self.outer_kernel}")

    def channels(self, multiple: int) -> int:
        """Returns the channels of a layer with `multiple` times the channels of the first; the first has at least 4."""
        return max(4, round(BASE_CHANNELS * self.width)) * multiple

    @property
    def encoder(self) -> tuple[ConvSpec, ...]:
        narrow, middle, wide = (self.channels(multiple) for multiple in (1, 2, 4))
        return (
            ConvSpec("encoder/conv1", self.outer_kernel, 3, narrow),
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
            ConvSpec(
                "decoder/conv3",
                self.outer_kernel,
                narrow,
                3,
                norm=False,
                activation="tanh",
                gain=OUTPUT_GAIN,
            ),
        )

    @property
    def convolutions(self) -> tuple[ConvSpec, ...]:
        """All convolutions in the order in which they run."""
        trunk = tuple(spec for block in self.residual for spec in block)
        return self.encoder + trunk + self.decoder

    @property
    def hidden_kernels(self) -> tuple[str, ...]:
        """The names of the kernels that a norm follows: all but the last."""
        return tuple(f"{spec.name}/kernel" for spec in self.convolutions if spec.norm)

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns the shape of every trainable parameter by name; kernels are [kernel, kernel, in, out]."""
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
    """Returns the side, in pixels, to which the network pads a side: a multiple of SIDE_MULTIPLE, at least MIN_SIDE."""
    return max(MIN_SIDE, -(-side // SIDE_MULTIPLE) * SIDE_MULTIPLE)

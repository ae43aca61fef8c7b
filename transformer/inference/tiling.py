"""Images larger than memory: the network tile by tile, with the result of the whole image.

Instance norm needs the mean and variance of whole feature maps, so tiles on their own would differ from the whole. Here
a layer goes over all tiles before the next one begins: its sums are stored, its statistics added up, and its
normalisation is applied when the next layer reads them. Only feature maps of half and quarter resolution are ever held
whole; those of full resolution are computed again where they are needed, some 20 percent more operations.
Tiles run side by side, each on one core.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto

from transformer.architecture import NORM_EPSILON, SIDE_MULTIPLE, Architecture, ConvSpec, padded_side
from transformer.export.onnx_graph import (
    GraphWriter,
    add_activation,
    add_convolution,
    add_input_scaling,
    add_output_scaling,
    add_padding,
    margin_of,
    read_onnx_parameters,
    value_info,
)
from transformer.inference.stylizer import Part, Progress, session_options

# Numbers in which a convolution's sums wait for the next layer; the residual sum itself is always float32.
PRECISE, COMPACT = np.dtype(np.float32), np.dtype(np.float16)
PRECISE_LIMIT = 2e9  # bytes up to which sums are held in PRECISE
_ONNX_TYPES = {PRECISE: TensorProto.FLOAT, COMPACT: TensorProto.FLOAT16}


class Tile(NamedTuple):
    """A rectangle of a feature map: rows top to bottom and columns left to right, the ends excluded."""

    top: int
    bottom: int
    left: int
    right: int

    def scaled(self, factor: float) -> "Tile":
        """The same place in a map of `factor` times the resolution."""
        return Tile(*(int(edge * factor) for edge in self))

    def grown(self, margin: int) -> "Tile":
        """With `margin` more on each side; edges may become negative."""
        return Tile(self.top - margin, self.bottom + margin, self.left - margin, self.right + margin)

    def within(self, height: int, width: int) -> "Tile":
        """The part that a map of height x width has."""
        return Tile(max(0, self.top), min(height, self.bottom), max(0, self.left), min(width, self.right))

    @property
    def rows(self) -> slice:
        return slice(self.top, self.bottom)

    @property
    def columns(self) -> slice:
        return slice(self.left, self.right)

    def of(self, feature_map: np.ndarray) -> np.ndarray:
        """This part of a map [C, H, W]."""
        return feature_map[:, self.rows, self.columns]


class Affine(NamedTuple):
    """An instance norm whose statistics are known: gain * x + shift; both [1, C, 1, 1] float32."""

    gain: np.ndarray
    shift: np.ndarray


class Moments(NamedTuple):
    """What a tile adds to the statistics: pixels, mean and sum of squared differences from it, [1, C, 1, 1]."""

    count: int
    mean: np.ndarray
    squares: np.ndarray


class TiledStylizer:
    """A style's network for images of any size. Raises StyleError for an .onnx file of another network."""

    def __init__(self, onnx_path: Path, threads: int, precise_limit: float = PRECISE_LIMIT):
        self._parameters, self._architecture = read_onnx_parameters(onnx_path)
        self._threads, self._precise_limit = threads, precise_limit

    def parts(
        self,
        image: np.ndarray,
        tile: int,
        on_progress: Progress = lambda share: None,
        stored: np.dtype | None = None,
    ) -> Iterator[Part]:
        """The stylized `image` [H, W, 3], RGB 0..255 of any number type, part after part, each pixel once.

        Tiles are at most `tile` pixels a side. All it needs of `image` is `shape` and slicing. `stored`: PRECISE or
        COMPACT; by default PRECISE for images that are not too large for it.
        """
        stored = np.dtype(stored or self._stored(*image.shape[:2]))
        image_run = _ImageRun(
            self._parameters, self._architecture, image, tile, self._threads, on_progress, stored
        )
        yield from image_run.parts()

    def held_bytes(self, height: int, width: int) -> int:
        """Bytes of the feature maps held at once at the most, for an image of height x width."""
        return _held_bytes(self._architecture, height, width, self._stored(height, width))

    def _stored(self, height: int, width: int) -> np.dtype:
        needed = _held_bytes(self._architecture, height, width, PRECISE)
        return PRECISE if needed <= self._precise_limit else COMPACT


def _held_bytes(architecture: Architecture, height: int, width: int, stored: np.dtype) -> int:
    pixels = padded_side(height) * padded_side(width)
    _, half, quarter = (spec.out_channels for spec in architecture.encoder)
    half_sums, quarter_sums = half / 4 * stored.itemsize, quarter / 16 * stored.itemsize
    trunk = quarter / 16 * np.dtype(np.float32).itemsize
    return round(pixels * max(half_sums + quarter_sums, trunk + 2 * quarter_sums, trunk + half_sums))


class _ImageRun:
    """One image on its way through the network."""

    def __init__(
        self,
        parameters: Mapping[str, np.ndarray],
        architecture: Architecture,
        image: np.ndarray,
        tile: int,
        threads: int,
        on_progress: Progress,
        stored: np.dtype,
    ):
        self._parameters, self._architecture, self._image = parameters, architecture, image
        self._threads, self._on_progress, self._stored = threads, on_progress, stored
        self._height, self._width = (padded_side(side) for side in image.shape[:2])
        self._places = _cut(self._height, self._width, tile)  # at full resolution
        self._scales = _scales(architecture)  # of a convolution's output to the image
        self._work_done = 0.0

    def parts(self) -> Iterator[Part]:
        """The whole way; a stage is one or two convolutions over all tiles."""
        conv1, conv2, conv3 = self._architecture.encoder
        up1, up2, last = self._architecture.decoder
        _, norm1 = self._pass(self._stage([conv1], give_sums=False), None, [])
        half, norm2 = self._pass(self._stage([conv1, conv2]), None, [norm1])
        quarter, norm3 = self._pass(self._stage([conv3], after=conv2), half, [norm2])
        del half
        trunk, sums = self._activated(quarter, norm3), None
        for first, second in self._architecture.residual:
            sums, norm = self._pass(self._stage([first]), trunk, [], into=sums)
            quarter, norm = self._pass(self._stage([second], after=first), sums, [norm], into=quarter)
            self._add(trunk, quarter, norm)
        sums = quarter = None
        half, norm4 = self._pass(self._stage([up1]), trunk, [])
        del trunk
        _, norm5 = self._pass(self._stage([up2], after=up1, give_sums=False), half, [norm4])
        yield from self._finished(self._stage([up2, last], after=up1), half, [norm4, norm5])

    def _stage(self, specs: Sequence[ConvSpec], **options) -> "_Stage":
        return _Stage(self._parameters, specs, self._stored, **options)

    def _pass(
        self,
        stage: "_Stage",
        source: np.ndarray | None,
        norms: Sequence[Affine],
        into: np.ndarray | None = None,
    ) -> tuple[np.ndarray | None, Affine]:
        """The stage over all tiles of `source`, or of the image: its sums [C, H, W], and their norm."""
        spec = stage.specs[-1]
        scale = self._scales[spec.name]
        shape = (spec.out_channels, int(self._height * scale), int(self._width * scale))
        if stage.give_sums and into is None:
            into = np.empty(shape, self._stored)

        def compute(place: Tile) -> Moments:
            place = place.scaled(scale)
            *sums, mean, squares = self._stage_outputs(stage, source, norms, place)
            if sums:
                place.of(into)[:] = sums[0][0]
            return Moments((place.bottom - place.top) * (place.right - place.left), mean, squares)

        moments = list(self._side_by_side(compute, stage.specs))
        return into, _norm(
            moments, *(self._parameters[f"{spec.name}/{part}"] for part in ("scale", "offset"))
        )

    def _finished(self, stage: "_Stage", source: np.ndarray, norms: Sequence[Affine]) -> Iterator[Part]:
        height, width = self._image.shape[:2]

        def compute(place: Tile) -> Part:
            (pixels,) = self._stage_outputs(stage, source, norms, place)
            kept = place.within(height, width)  # without what the image was extended by
            pixels = pixels[0, : kept.bottom - kept.top, : kept.right - kept.left]
            return Part(kept.rows, kept.columns, pixels)

        for part in self._side_by_side(compute, stage.specs):
            if part.pixels.size:
                yield part

    def _stage_outputs(
        self, stage: "_Stage", source: np.ndarray | None, norms: Sequence[Affine], place: Tile
    ) -> list[np.ndarray]:
        scale = self._scales[stage.specs[-1].name]
        needed, pads = stage.reach(place, round(self._height * scale), round(self._width * scale))
        value = self._pixels(needed) if source is None else needed.of(source)[np.newaxis]
        return stage(value, pads, norms)

    def _pixels(self, place: Tile) -> np.ndarray:
        """A part of the image, extended by reflection where it ends: [1, rows, columns, 3] float32."""
        height, width = self._image.shape[:2]
        rows, columns = (
            _reflected(np.arange(start, stop), side)
            for start, stop, side in ((place.top, place.bottom, height), (place.left, place.right, width))
        )
        pixels = self._image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        if pixels.shape[:2] != (len(rows), len(columns)):
            pixels = pixels[rows - rows.min()][:, columns - columns.min()]
        return np.ascontiguousarray(pixels, np.float32)[np.newaxis]

    def _activated(self, sums: np.ndarray, norm: Affine) -> np.ndarray:
        """ReLU of the norm of `sums`, as float32."""
        activated = np.empty(sums.shape, np.float32)

        def compute(place: Tile) -> None:
            place = place.scaled(1 / SIDE_MULTIPLE)
            np.maximum(_normalized(place.of(sums), norm), 0, out=place.of(activated))

        list(self._side_by_side(compute))
        return activated

    def _add(self, trunk: np.ndarray, sums: np.ndarray, norm: Affine) -> None:
        """Adds the norm of `sums` to `trunk`, in place."""

        def compute(place: Tile) -> None:
            place = place.scaled(1 / SIDE_MULTIPLE)
            part = place.of(trunk)
            part += _normalized(place.of(sums), norm)

        list(self._side_by_side(compute))

    def _side_by_side(self, compute: Callable, specs: Sequence[ConvSpec] = ()) -> Iterator:
        """compute(place) for all tiles, on all cores, in order; at most two results a core wait to be taken."""
        with ThreadPoolExecutor(self._threads) as pool:
            places = iter(self._places)
            waiting = deque(pool.submit(compute, place) for place in islice(places, 2 * self._threads))
            try:
                while waiting:
                    result = waiting.popleft().result()
                    waiting.extend(pool.submit(compute, place) for place in islice(places, 1))
                    self._count(specs)
                    yield result
            finally:
                pool.shutdown(cancel_futures=True)

    def _count(self, specs: Sequence[ConvSpec]) -> None:
        """Reports one more tile through `specs`, as its share of all operations."""
        recomputed = (self._architecture.encoder[0], self._architecture.decoder[1])
        work = sum(map(self._multiply_adds, (*self._architecture.convolutions, *recomputed)))
        self._work_done += sum(map(self._multiply_adds, specs)) / len(self._places) / work
        self._on_progress(min(1.0, self._work_done))

    def _multiply_adds(self, spec: ConvSpec) -> float:
        """Operations per pixel of the image."""
        return spec.kernel_size**2 * spec.in_channels * spec.out_channels * self._scales[spec.name] ** 2


class _Stage:
    """One or two convolutions as a model of its own: the norms before them are inputs.

    `after`: the convolution whose sums the stage reads; None for one that reads pixels or the trunk.
    """

    def __init__(
        self,
        parameters: Mapping[str, np.ndarray],
        specs: Sequence[ConvSpec],
        stored: np.dtype,
        after: ConvSpec | None = None,
        give_sums: bool = True,
    ):
        self.specs, self.give_sums = specs, give_sums
        model = _stage_model(parameters, specs, _ONNX_TYPES[stored], after, give_sums)
        self._session = onnxruntime.InferenceSession(
            model.SerializeToString(), session_options(1), providers=["CPUExecutionProvider"]
        )

    def reach(self, place: Tile, height: int, width: int) -> tuple[Tile, list[Tile]]:
        """What of the source `place` of the output, of height x width, needs; and the padding of each convolution.

        A padding is how many pixels to add at top, bottom, left and right: none but at the borders.
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
        """Sums, mean and squares, as far as the stage gives them; or the picture's pixels."""
        feeds = {"value": np.ascontiguousarray(value)}
        for index, pad in enumerate(pads):
            feeds[f"pads{index}"] = np.array([0, 0, pad.top, pad.left, 0, 0, pad.bottom, pad.right], np.int64)
        # The first convolution has no norm before it where it reads pixels or the trunk.
        first = len(self.specs) - len(norms)
        for index, norm in enumerate(norms, first):
            feeds[f"gain{index}"], feeds[f"shift{index}"] = norm
        return self._session.run(None, feeds)


def _stage_model(
    parameters: Mapping[str, np.ndarray],
    specs: Sequence[ConvSpec],
    stored: int,
    after: ConvSpec | None,
    give_sums: bool,
) -> onnx.ModelProto:
    writer = GraphWriter(parameters)
    reads_pixels, is_last = specs[0].in_channels == 3, not specs[-1].norm
    inputs, outputs = [], []

    def named_input(name: str, element_type: int, shape: list) -> str:
        inputs.append(value_info(name, shape, element_type))
        return name

    channels = specs[0].in_channels
    shape = [1, "H", "W", 3] if reads_pixels else [1, channels, "H", "W"]
    value = named_input("value", stored if after else TensorProto.FLOAT, shape)
    if after:
        value = writer.add("Cast", value, to=TensorProto.FLOAT)
    if reads_pixels:
        value = add_input_scaling(writer, value)
    for index, (previous, spec) in enumerate(zip([after, *specs], specs, strict=False)):
        if previous:
            per_channel = [1, previous.out_channels, 1, 1]
            value = writer.add("Mul", value, named_input(f"gain{index}", TensorProto.FLOAT, per_channel))
            value = writer.add("Add", value, named_input(f"shift{index}", TensorProto.FLOAT, per_channel))
            value = add_activation(writer, value, previous)
        value = add_padding(writer, value, spec, named_input(f"pads{index}", TensorProto.INT64, [8]))
        value = add_convolution(writer, value, spec)
    if is_last:
        value = add_output_scaling(writer, add_activation(writer, value, specs[-1]))
        writer.add("Transpose", value, perm=[0, 2, 3, 1], output="pixels")
        return writer.model(inputs, [value_info("pixels", [1, "h", "w", 3])])
    if give_sums:
        writer.add("Cast", value, to=stored, output="sums")
        outputs.append(value_info("sums", [1, specs[-1].out_channels, "h", "w"], stored))
    mean = writer.add("ReduceMean", value, axes=[2, 3], keepdims=1)
    writer.add("Identity", mean, output="mean")
    writer.add("ReduceSumSquare", writer.add("Sub", value, mean), axes=[2, 3], keepdims=1, output="squares")
    outputs += [value_info(name, [1, specs[-1].out_channels, 1, 1]) for name in ("mean", "squares")]
    return writer.model(inputs, outputs)


def _norm(moments: Sequence[Moments], scale: np.ndarray, offset: np.ndarray) -> Affine:
    """The instance norm of a map from the moments of its tiles, in float64 (Chan et al. 1979)."""
    counts = np.array([part.count for part in moments], np.float64).reshape(-1, 1, 1, 1)
    means = np.concatenate([part.mean for part in moments]).astype(np.float64)  # [tiles, C, 1, 1]
    squares = np.concatenate([part.squares for part in moments]).astype(np.float64)
    mean = (counts * means).sum(0) / counts.sum()
    variance = (squares + counts * (means - mean) ** 2).sum(0) / counts.sum()
    gain = scale[:, np.newaxis, np.newaxis] / np.sqrt(variance + NORM_EPSILON)
    shift = offset[:, np.newaxis, np.newaxis] - mean * gain
    return Affine(gain[np.newaxis].astype(np.float32), shift[np.newaxis].astype(np.float32))


def _normalized(sums: np.ndarray, norm: Affine) -> np.ndarray:
    normalized = sums.astype(np.float32)
    normalized *= norm.gain[0]
    normalized += norm.shift[0]
    return normalized


def _cut(height: int, width: int, tile: int) -> list[Tile]:
    """Tiles of at most `tile` pixels a side, about equal, their edges multiples of SIDE_MULTIPLE."""

    def edges(side: int) -> list[int]:
        units = side // SIDE_MULTIPLE
        count = -(-units // max(1, tile // SIDE_MULTIPLE))
        return [SIDE_MULTIPLE * (units * index // count) for index in range(count + 1)]

    return [
        Tile(top, bottom, left, right)
        for top, bottom in pairwise(edges(height))
        for left, right in pairwise(edges(width))
    ]


def _reflected(positions: np.ndarray, side: int) -> np.ndarray:
    """Positions past the end of a side mirrored back into it, as layers.reflected_indices does."""
    period = max(2 * (side - 1), 1)
    positions = positions % period
    return np.minimum(positions, period - positions)


def _scales(architecture: Architecture) -> dict[str, float]:
    """The resolution of each convolution's output: 1 is the image's."""
    scales, scale = {}, 1.0
    for spec in architecture.convolutions:
        scale *= spec.upsample / spec.stride
        scales[spec.name] = scale
    return scales

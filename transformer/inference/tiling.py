"""Images larger than memory: the network runs tile by tile, with the result of the whole image.

Each stage of the network goes over all tiles before the next stage begins, because instance norm needs the mean and
variance of whole feature maps (see stages.py). Only feature maps of half and quarter resolution are ever held whole.
Those of full resolution are computed again where they are needed, about 20 percent more operations.
Tiles run in parallel, each on one core.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from system.threads import in_order
from transformer.architecture import SIDE_MULTIPLE, Architecture, ConvSpec, padded_side
from transformer.export.onnx_graph import read_onnx_parameters
from transformer.inference.part import Part, Progress, no_progress
from transformer.inference.runtimes import ON_CPU, Engine
from transformer.inference.stages import COMPACT, PRECISE, Affine, Moments, Stage, norm_of, normalized
from transformer.inference.tiles import Tile, cut, region_pixels

PRECISE_LIMIT = 2e9  # bytes up to which pre-activations are stored in PRECISE


class TiledStylizer:
    """A style's network for images of any size. Raises StyleError for an .onnx file of another network.

    content: the bytes of the file, if they have been read already. engine: opens the sessions.
    """

    def __init__(
        self,
        onnx_path: Path,
        threads: int,
        precise_limit: float = PRECISE_LIMIT,
        content: bytes | None = None,
        engine: Engine = ON_CPU,
    ):
        self._parameters, self._architecture = read_onnx_parameters(onnx_path, content)
        self._threads, self._precise_limit, self._engine = threads, precise_limit, engine

    def parts(
        self, image, tile: int, on_progress: Progress = no_progress, stored: np.dtype | None = None
    ) -> Iterator[Part]:
        """Yields the stylized `image` [H, W, 3], RGB 0..255 of any number type, part by part, each pixel once.

        Tiles are at most `tile` pixels a side. `image` needs only `shape` and slicing. `stored`: PRECISE or COMPACT;
        by default PRECISE for images whose maps are within the limit.
        """
        stored = np.dtype(stored or self._stored(*image.shape[:2]))
        network_pass = _Pass(
            self._parameters,
            self._architecture,
            image,
            tile,
            self._threads,
            on_progress,
            stored,
            self._engine,
        )
        yield from network_pass.parts()

    def held_bytes(self, height: int, width: int) -> int:
        """Returns the most bytes of feature maps held at once for an image of height x width."""
        return _held_bytes(self._architecture, height, width, self._stored(height, width))

    def _stored(self, height: int, width: int) -> np.dtype:
        needed = _held_bytes(self._architecture, height, width, PRECISE)
        return PRECISE if needed <= self._precise_limit else COMPACT


def _held_bytes(architecture: Architecture, height: int, width: int, stored: np.dtype) -> int:
    pixels = padded_side(height) * padded_side(width)
    _, half, quarter = (spec.out_channels for spec in architecture.encoder)
    half_map, quarter_map = half / 4 * stored.itemsize, quarter / 16 * stored.itemsize
    trunk = quarter / 16 * np.dtype(np.float32).itemsize
    return round(pixels * max(half_map + quarter_map, trunk + 2 * quarter_map, trunk + half_map))


class _Pass:
    """One image on its way through the network."""

    def __init__(
        self,
        parameters: Mapping[str, np.ndarray],
        architecture: Architecture,
        image,
        tile: int,
        threads: int,
        on_progress: Progress,
        stored: np.dtype,
        engine: Engine,
    ):
        self._parameters, self._architecture, self._image = parameters, architecture, image
        self._threads, self._on_progress, self._stored = threads, on_progress, stored
        self._engine = engine
        self._height, self._width = (padded_side(side) for side in image.shape[:2])
        self._places = cut(self._height, self._width, tile)  # at full resolution
        self._scales = architecture.output_scales()
        self._work_done = 0.0

    def parts(self) -> Iterator[Part]:
        """Runs all stages; each is one or two convolutions over all tiles."""
        conv1, conv2, conv3 = self._architecture.encoder
        up1, up2, last = self._architecture.decoder
        _, norm1 = self._over_tiles(self._stage([conv1], returns_map=False), None, [])
        half, norm2 = self._over_tiles(self._stage([conv1, conv2]), None, [norm1])
        quarter, norm3 = self._over_tiles(self._stage([conv3], after=conv2), half, [norm2])
        del half
        trunk, inner = self._activated(quarter, norm3), None
        for first, second in self._architecture.residual:
            inner, norm = self._over_tiles(self._stage([first]), trunk, [], into=inner)
            quarter, norm = self._over_tiles(self._stage([second], after=first), inner, [norm], into=quarter)
            self._add(trunk, quarter, norm)
        inner = quarter = None
        half, norm4 = self._over_tiles(self._stage([up1]), trunk, [])
        del trunk
        _, norm5 = self._over_tiles(self._stage([up2], after=up1, returns_map=False), half, [norm4])
        yield from self._finished(self._stage([up2, last], after=up1), half, [norm4, norm5])

    def _stage(self, specs: Sequence[ConvSpec], **options) -> Stage:
        return Stage(self._parameters, specs, self._stored, self._engine, **options)

    def _over_tiles(
        self,
        stage: Stage,
        source: np.ndarray | None,
        norms: Sequence[Affine],
        into: np.ndarray | None = None,
    ) -> tuple[np.ndarray | None, Affine]:
        """Runs a stage over all tiles of `source`, or of the image: its pre-activations [C, H, W] and their norm."""
        spec = stage.specs[-1]
        scale = self._scales[spec.name]
        if stage.returns_map and into is None:
            shape = (spec.out_channels, int(self._height * scale), int(self._width * scale))
            into = np.empty(shape, self._stored)

        def compute(place: Tile) -> Moments:
            place = place.scaled(scale)
            *maps, mean, squares = self._stage_outputs(stage, source, norms, place)
            if maps:
                place.of(into)[:] = maps[0][0]
            return Moments(place.pixels, mean, squares)

        moments = list(self._for_each_tile(compute, stage.specs))
        scale_and_offset = (self._parameters[f"{spec.name}/{part}"] for part in ("scale", "offset"))
        return into, norm_of(moments, *scale_and_offset)

    def _finished(self, stage: Stage, source: np.ndarray, norms: Sequence[Affine]) -> Iterator[Part]:
        height, width = self._image.shape[:2]

        def compute(place: Tile) -> Part:
            (pixels,) = self._stage_outputs(stage, source, norms, place)
            kept = place.within(height, width)  # without the padding of the image
            pixels = pixels[0, : kept.bottom - kept.top, : kept.right - kept.left]
            return Part(kept.rows, kept.columns, pixels)

        for part in self._for_each_tile(compute, stage.specs):
            if part.pixels.size:
                yield part

    def _stage_outputs(
        self, stage: Stage, source: np.ndarray | None, norms: Sequence[Affine], place: Tile
    ) -> list[np.ndarray]:
        scale = self._scales[stage.specs[-1].name]
        region, pads = stage.input_region(place, round(self._height * scale), round(self._width * scale))
        value = region_pixels(self._image, region) if source is None else region.of(source)[np.newaxis]
        return stage(value, pads, norms)

    def _activated(self, pre_activations: np.ndarray, norm: Affine) -> np.ndarray:
        """ReLU of the norm of a map of quarter resolution, as float32."""
        activated = np.empty(pre_activations.shape, np.float32)

        def compute(place: Tile) -> None:
            place = place.scaled(1 / SIDE_MULTIPLE)
            np.maximum(normalized(place.of(pre_activations), norm), 0, out=place.of(activated))

        list(self._for_each_tile(compute))
        return activated

    def _add(self, trunk: np.ndarray, pre_activations: np.ndarray, norm: Affine) -> None:
        """Adds the norm of a map to `trunk`, in place."""

        def compute(place: Tile) -> None:
            place = place.scaled(1 / SIDE_MULTIPLE)
            part = place.of(trunk)
            part += normalized(place.of(pre_activations), norm)

        list(self._for_each_tile(compute))

    def _for_each_tile(self, compute: Callable, specs: Sequence[ConvSpec] = ()) -> Iterator:
        """Yields compute(place) for all tiles in order, computed on all cores."""
        for _, future in in_order(self._places, compute, self._threads):
            result = future.result()
            self._count(specs)
            yield result

    def _count(self, specs: Sequence[ConvSpec]) -> None:
        """Reports that one more tile went through `specs`, as a share of all operations."""
        recomputed = (self._architecture.encoder[0], self._architecture.decoder[1])
        work = sum(map(self._multiply_adds, (*self._architecture.convolutions, *recomputed)))
        self._work_done += sum(map(self._multiply_adds, specs)) / len(self._places) / work
        self._on_progress(min(1.0, self._work_done))

    def _multiply_adds(self, spec: ConvSpec) -> float:
        """Operations per pixel of the image."""
        return spec.multiply_adds_per_pixel * self._scales[spec.name] ** 2

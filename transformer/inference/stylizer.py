"""Stylizes images with one loaded style, or with several whose pictures are mixed.

Neither TensorFlow nor ONNX Runtime is imported here: networks are handed in, see loading.py.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from system.arguments import check_shape
from system.faults import memory_faults
from transformer.export.style_folder import StyleError
from transformer.inference.arguments import checked_images, shares
from transformer.inference.grain import Grained
from transformer.inference.memory_plan import WHOLE_BYTES, MemoryPlan
from transformer.inference.onnx_session import MEMORY_REMEDY
from transformer.inference.part import Part, Progress, no_progress

StylizeBatch = Callable[[np.ndarray], np.ndarray]  # images [B, H, W, 3], RGB float32 0..255 -> the same shape


class Tiled(Protocol):
    """A network that computes an image in tiles, see tiling.TiledStylizer."""

    def parts(self, image, tile: int, on_progress: Progress) -> Iterator[Part]: ...


@dataclass(frozen=True)
class Network:
    """One style's network: for whole images, and for tiles if it can be computed in tiles."""

    stylize_batch: StylizeBatch
    width: float  # multiplier of the channels
    load_tiled: Callable[[], Tiled] | None = None  # called when the first image needs tiles
    one_at_a_time: bool = False  # whether images that threads give at the same time wait for each other
    stop: Callable[[], object] = lambda: None  # ends calls of `stylize_batch` in other threads
    runtime: str = ""  # the library that runs it, for reports
    pixel_bytes: float = WHOLE_BYTES  # of memory per pixel of a whole image, at half width

    def parts(self, image, tile: int | None, on_progress: Progress) -> Iterator[Part]:
        """Yields the stylized image in tiles, or as one part if `tile` is None."""
        if tile:
            yield from self._tiled().parts(image, tile, on_progress)
            return
        rows, columns = (slice(0, side) for side in image.shape[:2])
        pixels = np.asarray(image[rows, columns], np.float32)
        yield Part(rows, columns, self.stylize_batch(pixels[np.newaxis])[0])

    def _tiled(self) -> Tiled:
        if self.load_tiled is None:
            raise StyleError(
                "only ONNX Runtime computes images in tiles, with the .onnx files of train.py; use --tile off or"
                " another style"
            )
        return self.load_tiled()


class Usage:
    """What the networks of a stylizer have computed so far, which decides how much memory they keep."""

    def __init__(self) -> None:
        self.most_pixels = 0  # of one image


class Stopped(Exception):
    """`Stylizer.stop` was called."""


class Stylizer:
    """Callable: stylizes images within a memory limit; threads may share it.

    stylize(images) takes an image [H, W, 3] or images [B, H, W, 3] of any size, RGB 0..255 of any number type. It
    returns the stylized images as float32 of the same shape. An image that would take too much memory is computed in
    tiles, with the same result. Several networks give the mean of their pictures, weighted by `weights`. Noise of
    standard deviation `grain` is added to the images before, see grain.py.
    Raises ValueError for another shape, an empty array or values that are no pixels, MemoryError if even tiles need
    too much memory, StyleError if a network gives NaN or infinite values. Warns if a floating-point image seems to be
    in 0..1.
    """

    def __init__(
        self, networks: Sequence[Network], weights: Sequence[float], plan: MemoryPlan, grain: float = 0.0
    ):
        if len(networks) != len(weights):
            raise ValueError(f"{len(networks)} styles need as many weights, got {len(weights)}")
        self._networks, self.plan, self._grain = networks, plan, grain
        self.runtime = ", ".join(dict.fromkeys(network.runtime for network in networks))
        self.one_at_a_time = any(network.one_at_a_time for network in networks)
        self._is_stopped = False
        self._shares = [np.float32(share) for share in shares(weights)]
        self.usage = Usage()

    def variant(self, weights: Sequence[float], grain: float) -> "Stylizer":
        """Returns a stylizer of the same loaded networks with other weights and another grain."""
        other = Stylizer(self._networks, weights, self.plan, grain)
        other.usage = self.usage
        return other

    def __call__(self, images: np.ndarray) -> np.ndarray:
        shape = np.shape(images)
        check_shape("images (RGB 0..255)", shape, ranks=(3, 4))
        self._check_memory(*shape[-3:-1])  # before all values are looked at
        images = _checked(images)
        if images.ndim == 4:
            return np.stack([self._stylized(image) for image in images])
        return self._stylized(images)

    def stop(self) -> None:
        """Ends what other threads compute, soon: their calls fail, and so do all later calls."""
        self._is_stopped = True
        for network in self._networks:
            network.stop()

    def check_stopped(self) -> None:
        """Raises Stopped after `stop` was called: for work on what `parts` returned."""
        if self._is_stopped:
            raise Stopped

    def _stylized(self, image: np.ndarray) -> np.ndarray:
        stylized = np.empty(image.shape, np.float32)
        for part in self.parts(image):
            stylized[part.rows, part.columns] = part.pixels
        return stylized

    def parts(self, image, on_progress: Progress = no_progress) -> Iterator[Part]:
        """Yields the stylized image part by part, each pixel once.

        `image` needs only `shape` and slicing to arrays [rows, columns, 3]. The networks of a blend take turns.
        """
        check_shape("the image", getattr(image, "shape", ()))
        with memory_faults(MEMORY_REMEDY):
            yield from self._parts(image, on_progress)

    def _parts(self, image, on_progress: Progress) -> Iterator[Part]:
        tile = self._check_memory(*image.shape[:2])
        self.usage.most_pixels = max(self.usage.most_pixels, image.shape[0] * image.shape[1])

        def on_progress_or_stop(share: float) -> None:
            self.check_stopped()
            on_progress(share)

        image = Grained(image, self._grain) if self._grain else image
        progress = _SharedProgress(len(self._networks), on_progress_or_stop)
        runs = [
            network.parts(image, tile, progress.of(index)) for index, network in enumerate(self._networks)
        ]
        for parts in zip(*runs, strict=True):
            yield _finite(self._mixed(parts))
        on_progress(1.0)

    def _check_memory(self, height: int, width: int) -> int | None:
        """Returns the side of the tiles, None for a whole image. Raises MemoryError if there is too little memory."""
        tile = self.plan.tile_for(height, width)
        if tile is None:
            self.plan.check_whole(height, width)
        return tile

    def _mixed(self, parts: Sequence[Part]) -> Part:
        if len(parts) == 1:
            return parts[0]
        pixels = sum(share * part.pixels for share, part in zip(self._shares, parts, strict=True))
        return Part(parts[0].rows, parts[0].columns, pixels)


class _SharedProgress:
    """The progress of several networks as one: the mean of their shares."""

    def __init__(self, count: int, on_progress: Progress):
        self._shares, self._on_progress = [0.0] * count, on_progress

    def of(self, index: int) -> Progress:
        def report(share: float) -> None:
            self._shares[index] = share
            self._on_progress(sum(self._shares) / len(self._shares))

        return report


def _checked(images: object) -> np.ndarray:
    images = checked_images(images)
    if images.dtype.kind == "f" and any(image.min() >= 0 and 0 < image.max() <= 1 for image in _each(images)):
        warnings.warn(
            "the values of an image are all in 0..1; images are RGB 0..255: multiply by 255", stacklevel=3
        )
    return images


def _each(images: np.ndarray) -> Sequence[np.ndarray]:
    return images if images.ndim == 4 else [images]


def _finite(part: Part) -> Part:
    if not np.isfinite(part.pixels).all():
        raise StyleError(
            "the network gives NaN or infinite values; train the style again or take another style"
        )
    return part

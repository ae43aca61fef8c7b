"""How much memory stylizing takes, and whether an image is computed whole or in tiles.

The figures were measured at half width, see benchmarks/README.md; they grow with the width of the network.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from system.machine import NotEnoughMemory, available_cores, available_memory

GIGABYTE = 1e9
WHOLE_LIMIT = 2e9  # bytes that a whole image may take before tiles are used; tiles are a quarter slower
# Per pixel of a whole image, at half width; measured from 1 to 12 megapixels
WHOLE_BYTES = 380  # in ONNX Runtime, and assumed for other graphs
OPENVINO_WHOLE_BYTES = 300
# OpenVINO sums up the statistics of instance norm in float32: at 4 megapixels pixels are wrong by up to 1 level of 255,
# at 12 megapixels by up to 9. Tiles have exact statistics.
OPENVINO_WHOLE_LIMIT = 1.6e9  # 2048x2048 pixels and a little more
BASE_BYTES = 250e6  # Python, NumPy and ONNX Runtime
PICTURE_BYTES = 10  # per pixel: the photo, the picture, and what the encoder takes
BLEND_BYTES = 12  # per pixel: the float32 picture of a style that waits for the other styles of a blend
TILE_BYTES = 600  # per pixel of a tile that is being computed, at half width
TILES = (384, 256, 128)  # sides in pixels, the fastest first
HALF_WIDTH = 0.5
MIN_TILE = 16  # pixels; smaller tiles are nearly all overlap
MIN_SIDE_ADVISED = 16  # pixels; below it no smaller image is advised

HeldBytes = Callable[
    [int, int], float
]  # height, width -> bytes of feature maps held while tiles are computed


@dataclass(frozen=True)
class MemoryPlan:
    """Decides how images are computed by one style, or by all styles of a blend together.

    widths: the width multiplier of each style's network. The memory of all styles adds up, because each runtime
    keeps what it has allocated. held_bytes: of all styles together; None if a style cannot be computed in tiles.
    pixel_bytes: of each style per pixel of a whole image, at half width; WHOLE_BYTES by default.
    tile: "auto", "off", or the side of tiles in pixels. max_memory: limit of "auto" in bytes; None means whole
    images up to `whole_limit`, by default WHOLE_LIMIT, and tiles within the free memory.
    """

    widths: Sequence[float]
    held_bytes: HeldBytes | None = None
    tile: str | int = "auto"
    max_memory: float | None = None
    pixel_bytes: Sequence[float] | None = None
    whole_limit: float | None = None

    def tile_for(self, height: int, width: int) -> int | None:
        """Returns the side of the tiles in pixels; None if the image is computed whole.

        Raises MemoryError if even tiles need more memory than allowed.
        """
        if self.tile == "off" or (self.tile == "auto" and self.held_bytes is None):
            return None
        if self.tile != "auto":
            return int(self.tile)
        fits = self.whole_bytes(height, width) <= (self.max_memory or self.whole_limit or WHOLE_LIMIT)
        return None if fits else self._largest_tile(height, width)

    def check_whole(self, height: int, width: int) -> None:
        """Raises MemoryError if a whole image needs more memory than is free."""
        needed, available = self.whole_bytes(height, width), available_memory()
        if needed > available:
            remedy = _remedy(height, width, lambda *size: self.whole_bytes(*size) <= available)
            raise NotEnoughMemory(
                f"{height}x{width} pixels (height x width) need about {needed / GIGABYTE:.1f} GB of memory at once,"
                f" {available / GIGABYTE:.1f} GB are free; {remedy}, or use --tile auto with a style that has an"
                " .onnx file"
            )

    def bytes_for(self, height: int, width: int) -> float:
        """Returns the bytes that one image takes while it is computed; infinity in tiles, which use all cores."""
        if self.tile_for(height, width):
            return float("inf")
        return self.whole_bytes(height, width) - BASE_BYTES

    def memory_for_all(self) -> float:
        """Returns the bytes that images computed at the same time may take together."""
        return (self.max_memory or max(WHOLE_LIMIT, available_memory() / 4)) - BASE_BYTES

    def whole_bytes(self, height: int, width: int) -> float:
        """Returns the bytes that the process takes to compute one whole image."""
        each = self.pixel_bytes or [WHOLE_BYTES] * len(self.widths)
        networks = sum(size * width / HALF_WIDTH for size, width in zip(each, self.widths, strict=True))
        return BASE_BYTES + height * width * (self._picture_bytes + networks)

    @property
    def tiling_memory(self) -> float:
        """The bytes that tiles may take."""
        return self.max_memory or available_memory()

    @property
    def _picture_bytes(self) -> int:
        return PICTURE_BYTES + BLEND_BYTES * (len(self.widths) - 1)

    def _largest_tile(self, height: int, width: int) -> int:
        limit = self.tiling_memory
        for tile in TILES:
            if self._tiled_bytes(height, width, tile) <= limit:
                return tile
        needed = self._tiled_bytes(height, width, TILES[-1])
        remedy = _remedy(height, width, lambda *size: self._tiled_bytes(*size, TILES[-1]) <= limit)
        raise NotEnoughMemory(
            f"{height}x{width} pixels (height x width) need about {needed / GIGABYTE:.1f} GB of memory even in tiles,"
            f" {limit / GIGABYTE:.1f} GB are allowed; {remedy}"
        )

    def _tiled_bytes(self, height: int, width: int, tile: int) -> float:
        in_work = tile**2 * TILE_BYTES * sum(self.widths) / HALF_WIDTH * available_cores()
        return BASE_BYTES + in_work + height * width * self._picture_bytes + self.held_bytes(height, width)


def _remedy(height: int, width: int, fits: Callable[[int, int], bool]) -> str:
    """What to do about an image that is too large: the largest size of its proportions that fits."""
    longest = max(height, width)
    side = longest
    while (side := int(0.97 * side) // 10 * 10) >= MIN_SIDE_ADVISED:
        if fits(*(max(1, round(own * side / longest)) for own in (height, width))):
            return f"resize the image to at most {side} pixels a side (--max-side {side})"
    return f"free some memory or allow more: the program alone needs {BASE_BYTES / GIGABYTE:.2g} GB"

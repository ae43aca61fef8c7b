"""Turning images into stylized images: ONNX Runtime, which starts in a fraction of a second, or TensorFlow.

Both runtimes are imported on use: fast inference never pays for the other one.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from system.faults import first_line
from system.machine import available_cores, available_memory
from system.tensorflow_start import start_tensorflow
from transformer.export.style_folder import META_FILES, ONNX_FILE, StyleError

RUNTIMES = ("auto", "onnx", "tensorflow")
WHOLE_LIMIT = 2e9  # bytes that a whole image may take before tiles do; they are slower, by a quarter here
WHOLE_BYTES = 380  # per pixel by a whole image at half width, measured from 1 to 12 megapixels
BASE_BYTES = 250e6  # Python, NumPy and ONNX Runtime
PICTURE_BYTES = 10  # per pixel: photo, picture, and what its encoder takes
TILE_BYTES = 600  # per pixel of a tile that is being computed, at half width
TILES = (384, 256, 128)  # sides in pixels, the fastest first
HALF_WIDTH = 0.5

StylizeBatch = Callable[[np.ndarray], np.ndarray]
Progress = Callable[[float], None]  # told the share of the work that is done, 0..1


class Part(NamedTuple):
    """A finished part of a picture: its place, and RGB float32 0..255 [rows, columns, 3]."""

    rows: slice
    columns: slice
    pixels: np.ndarray


class Stylizer:
    """A loaded style; threads may share it.

    stylize(images) takes an image [H, W, 3] or images [B, H, W, 3] of any size, RGB 0..255 of any number type, and
    returns the stylized same as float32. An image that would take too much memory whole is computed in tiles, with
    the same result. Raises ValueError for another shape, MemoryError where even tiles need more than there is.
    """

    def __init__(
        self,
        stylize_batch: StylizeBatch,
        *,
        onnx_path: Path | None = None,
        width: float = HALF_WIDTH,
        tile: str | int = "auto",
        max_memory: float | None = None,
    ):
        self._stylize_batch, self._onnx_path, self._width = stylize_batch, onnx_path, width
        self._tile, self._max_memory = tile, max_memory
        self._tiled = None

    def __call__(self, images: np.ndarray) -> np.ndarray:
        images = np.asarray(images)
        if images.ndim not in (3, 4) or images.shape[-1] != 3:
            raise ValueError(f"expected an image [H, W, 3] or images [B, H, W, 3], got shape {images.shape}")
        if images.ndim == 4:
            return self._stylize_batch(images.astype(np.float32, copy=False))
        stylized = np.empty(images.shape, np.float32)
        for part in self.parts(images):
            stylized[part.rows, part.columns] = part.pixels
        return stylized

    def parts(
        self, image: np.ndarray, on_progress: Progress = lambda share: None, tile: int | None = None
    ) -> Iterator[Part]:
        """The stylized image part by part, each pixel once: in tiles of `tile` pixels, or as `tile_for` says.

        All it needs of `image` is `shape` and slicing to arrays [rows, columns, 3].
        Raises StyleError where the network gives no numbers.
        """
        height, width = image.shape[:2]
        tile = tile or self.tile_for(height, width)
        parts = self._load_tiled().parts(image, tile, on_progress) if tile else [self._whole(image)]
        for part in parts:
            if not np.isfinite(part.pixels).all():
                raise StyleError(
                    "the network gives NaN or infinite values; train it again or take another style"
                )
            yield part
        on_progress(1.0)

    def _whole(self, image: np.ndarray) -> Part:
        height, width = image.shape[:2]
        needed, available = self._whole_bytes(height, width), available_memory()
        if needed > available:
            raise MemoryError(
                f"{height}x{width} pixels (height x width) need some {needed / 1e9:.1f} GB of memory at once, "
                f"{available / 1e9:.1f} GB are free; {_smaller(height, width, available / needed)}, or --tile auto "
                "with a style that has an .onnx"
            )
        rows, columns = slice(0, height), slice(0, width)
        pixels = np.asarray(image[rows, columns], np.float32)
        return Part(rows, columns, self._stylize_batch(pixels[np.newaxis])[0])

    def tile_for(self, height: int, width: int) -> int | None:
        """The side of the tiles in which an image is computed, in pixels; None for the whole at once."""
        if self._tile == "off" or (self._tile == "auto" and self._onnx_path is None):
            return None
        if self._tile != "auto":
            return int(self._tile)
        limit = self._max_memory or WHOLE_LIMIT
        if self._whole_bytes(height, width) <= limit:
            return None
        return self._largest_tile(height, width)

    def bytes_for(self, height: int, width: int) -> float:
        """Bytes that computing an image takes for a while; infinite in tiles, which use all cores by themselves."""
        if self.tile_for(height, width):
            return float("inf")
        return self._whole_bytes(height, width) - BASE_BYTES

    def memory_for_all(self) -> float:
        """Bytes that images computed at the same time may take together."""
        return (self._max_memory or max(WHOLE_LIMIT, available_memory() / 4)) - BASE_BYTES

    def _whole_bytes(self, height: int, width: int) -> float:
        return BASE_BYTES + height * width * (PICTURE_BYTES + WHOLE_BYTES * self._width / HALF_WIDTH)

    def _largest_tile(self, height: int, width: int) -> int:
        held = BASE_BYTES + height * width * PICTURE_BYTES + self._load_tiled().held_bytes(height, width)
        limit = self._max_memory or available_memory()
        at_once = TILE_BYTES * self._width / HALF_WIDTH * available_cores()
        for tile in TILES:
            needed = held + tile**2 * at_once
            if needed <= limit:
                return tile
        raise MemoryError(
            f"{height}x{width} pixels (height x width) need some {needed / 1e9:.1f} GB of memory even in tiles, "
            f"{limit / 1e9:.1f} GB are allowed; {_smaller(height, width, limit / needed)}"
        )

    def _load_tiled(self):
        if self._tiled is None:
            if self._onnx_path is None:
                raise StyleError(
                    "tiles are computed by ONNX Runtime alone; use --tile off or a style with an .onnx"
                )
            from transformer.inference.tiling import PRECISE_LIMIT, TiledStylizer

            precise_limit = min(PRECISE_LIMIT, (self._max_memory or available_memory()) / 2)
            self._tiled = TiledStylizer(self._onnx_path, available_cores(), precise_limit)
        return self._tiled


def _smaller(height: int, width: int, share: float) -> str:
    """What to do where there is only that share of the memory that an image needs."""
    return f"give --max-side {int(max(height, width) * share**0.5) // 10 * 10} or less"


class Blend:
    """Several styles in one: the weighted mean of their pictures. Used like a Stylizer, one image at a time."""

    def __init__(self, stylizers: Sequence[Stylizer], weights: Sequence[float]):
        if not stylizers or len(stylizers) != len(weights) or min(weights) < 0 or sum(weights) <= 0:
            raise ValueError(
                f"{len(stylizers)} styles need as many weights, at least one above 0, got {weights}"
            )
        self._stylizers = stylizers
        self._shares = [np.float32(weight / sum(weights)) for weight in weights]

    def __call__(self, image: np.ndarray) -> np.ndarray:
        stylized = np.empty(image.shape, np.float32)
        for part in self.parts(image):
            stylized[part.rows, part.columns] = part.pixels
        return stylized

    def tile_for(self, height: int, width: int) -> int | None:
        """The smallest that any of the styles needs."""
        tiles = [stylizer.tile_for(height, width) for stylizer in self._stylizers]
        return min((tile for tile in tiles if tile), default=None)

    def bytes_for(self, height: int, width: int) -> float:
        """Of the style that takes most: one is computed after the other."""
        return max(stylizer.bytes_for(height, width) for stylizer in self._stylizers)

    def memory_for_all(self) -> float:
        """As Stylizer's."""
        return min(stylizer.memory_for_all() for stylizer in self._stylizers)

    def parts(self, image: np.ndarray, on_progress: Progress = lambda share: None) -> Iterator[Part]:
        """As Stylizer's; the styles take turns, part by part."""
        tile = self.tile_for(*image.shape[:2])
        shares_done = [0.0] * len(self._stylizers)

        def progress_of(index: int) -> Progress:
            def report(share: float) -> None:
                shares_done[index] = share
                on_progress(sum(shares_done) / len(shares_done))

            return report

        runs = [
            stylizer.parts(image, progress_of(index), tile) for index, stylizer in enumerate(self._stylizers)
        ]
        for parts in zip(*runs, strict=True):
            pixels = sum(share * part.pixels for share, part in zip(self._shares, parts, strict=True))
            yield Part(parts[0].rows, parts[0].columns, pixels)


def load_stylizer(
    checkpoint_dir: Path,
    runtime: str = "auto",
    *,
    tile: str | int = "auto",
    max_memory: float | None = None,
    trust: bool = False,
    threads: int | None = None,
) -> Stylizer:
    """Loads a style once, see Stylizer.

    runtime: "auto" is "onnx" where the .onnx file is there, else "tensorflow".
    tile: "auto", "off", or the side of tiles in pixels. max_memory: bytes that "auto" keeps within.
    trust: runs a TensorFlow graph whatever operations it holds. threads: of ONNX Runtime for one image, by default a
    thread a core; who stylizes several images at once does better with 1.
    Raises StyleError for a folder that lacks what the runtime needs, holds it damaged, or whose graph is refused.
    """
    if runtime not in RUNTIMES:
        raise ValueError(f"runtime must be one of {', '.join(RUNTIMES)}, got {runtime!r}")
    checkpoint_dir = Path(checkpoint_dir)
    if runtime == "auto":
        runtime = "onnx" if (checkpoint_dir / ONNX_FILE).is_file() else "tensorflow"
    if runtime == "tensorflow":
        return Stylizer(_load_tensorflow(checkpoint_dir, trust), width=1.0, tile=tile, max_memory=max_memory)
    path = checkpoint_dir / ONNX_FILE
    session = _load_onnx(path, threads or available_cores())
    width = float(session.get_modelmeta().custom_metadata_map.get("width", 1.0))
    return Stylizer(
        lambda images: session.run(None, {"X": images})[0],
        onnx_path=path,
        width=width,
        tile=tile,
        max_memory=max_memory,
    )


def _load_onnx(path: Path, threads: int):
    if not path.is_file():
        raise StyleError(f"{path}: no such file; use --runtime tensorflow or export the style again")
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(
            str(path), session_options(threads), providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # ONNX Runtime raises a class per status code, without a common base
        raise StyleError(
            f"{path}: damaged or not an ONNX model ({first_line(error)}); export the style again"
        ) from error


def session_options(threads: int):
    """ONNX Runtime's options for a session on so many cores."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.enable_mem_pattern = False  # or the second image of a size takes twice as long as the others
    return options


def _load_tensorflow(checkpoint_dir: Path, trust: bool) -> StylizeBatch:
    missing = [file for file in META_FILES if not (checkpoint_dir / file).is_file()]
    if missing:
        raise StyleError(
            f"{checkpoint_dir}: lacks {', '.join(missing)}; copy the whole folder or export it again"
        )
    try:
        start_tensorflow()
        from transformer.inference.foreign_graph import MetaGraphStylizer
    except ImportError as error:
        raise StyleError(
            "TensorFlow is not installed, which --runtime tensorflow needs; pip install -r requirements.txt"
        ) from error
    try:
        return MetaGraphStylizer(checkpoint_dir, trust=trust)
    except StyleError:
        raise
    except Exception as error:  # TensorFlow raises unrelated classes for graphs that are not whole
        raise StyleError(
            f"{checkpoint_dir}: damaged meta graph ({first_line(error)}); export the style again"
        ) from error

"""Checks the arguments of `load_stylizer`, `load_blend` and `Stylizer`: one ValueError or TypeError each."""

import math
from collections.abc import Sequence
from numbers import Integral, Real
from pathlib import Path

import numpy as np

from transformer.inference.memory_plan import MIN_TILE

RUNTIMES = ("auto", "onnx", "tensorflow")
MAX_THREADS = 1024
MAX_VALUE = 1e6  # of a pixel; far larger values overflow float32 inside the network
_EXPECTED_IMAGES = "expected an image [H, W, 3] or images [B, H, W, 3], RGB 0..255"


def check_options(
    runtime: str, tile: str | int, max_memory: float | None, trust: bool, threads: int | None
) -> None:
    """Raises ValueError or TypeError for options of `load_blend` that are impossible."""
    if not isinstance(runtime, str) or runtime not in RUNTIMES:
        raise ValueError(f"runtime must be one of {', '.join(RUNTIMES)}, got {_shown(runtime)}")
    if not (isinstance(tile, str) and tile in ("auto", "off")) and not _is_integer(tile, MIN_TILE, math.inf):
        raise ValueError(f"tile must be 'auto', 'off' or at least {MIN_TILE} pixels, got {_shown(tile)}")
    if max_memory is not None and not (_is_number(max_memory) and 0 < _as_float(max_memory) < math.inf):
        raise ValueError(f"max_memory must be above 0, in GB, got {_shown(max_memory)}")
    if threads is not None and not _is_integer(threads, 1, math.inf):
        raise ValueError(f"threads must be at least 1, got {_shown(threads)}")
    if threads is not None and threads > MAX_THREADS:
        raise ValueError(f"threads must be at most {MAX_THREADS}, got {_shown(threads)}")
    if not isinstance(trust, bool | np.bool_):
        raise TypeError(f"trust must be True or False, got {_shown(trust)}")


def check_styles(styles: Sequence[tuple[str | Path, float]]) -> list[tuple[str, float]]:
    """Returns styles as text and weights as numbers.

    Raises TypeError for other types, ValueError for weights that have no usable sum.
    """
    expected = "styles must be pairs of a style's name or folder and its weight"
    if isinstance(styles, str | bytes | Path):
        raise TypeError(f"{expected}, got {_shown(styles)}; use load_stylizer for one style")
    try:
        pairs = [(style, weight) for style, weight in styles]
    except (TypeError, ValueError) as error:
        raise TypeError(f"{expected}, got {_shown(styles)}") from error
    for style, weight in pairs:
        if not isinstance(style, str | Path):
            raise TypeError(f"a style must be a name or a path, got {_shown(style)}")
        if not _is_number(weight):
            raise TypeError(f"the weight of a style must be a number, got {_shown(weight)}")
    shares([weight for _, weight in pairs])
    return [(str(style), _as_float(weight)) for style, weight in pairs]


def shares(weights: Sequence[float]) -> list[float]:
    """Returns the weights divided by their sum, in float64. Raises ValueError unless the sum is finite and above 0."""
    values = [_as_float(weight) for weight in weights]
    total = sum(values)  # NaN if any weight is NaN
    if not values or min(values) < 0 or not 0 < total < math.inf:
        raise ValueError(
            f"styles need finite weights of at least 0 with a finite sum above 0; got {_shown(list(weights))}"
        )
    return [value / total for value in values]


def check_shape(shape: Sequence[int], *, ranks: tuple[int, ...] = (3, 4)) -> None:
    """Raises ValueError unless this is the shape of an image, or of images if `ranks` contains 4."""
    if len(shape) not in ranks or shape[-1] != 3:
        raise ValueError(f"{_EXPECTED_IMAGES}, got shape {tuple(shape)}")
    if 0 in shape:
        raise ValueError(f"{_EXPECTED_IMAGES}, got an empty array of shape {tuple(shape)}")


def checked_images(images: object) -> np.ndarray:
    """Returns images as an array. Raises ValueError for another shape, type or range of values."""
    try:
        images = np.asarray(images)
    except (ValueError, TypeError) as error:  # lists of unequal lengths
        raise ValueError(f"{_EXPECTED_IMAGES}, got {type(images).__name__} that is no array") from error
    check_shape(images.shape)
    if images.dtype.kind not in "fiu":
        raise ValueError(f"{_EXPECTED_IMAGES}, got values of type {images.dtype}")
    lowest, highest = float(images.min()), float(images.max())  # NaN if any value is NaN
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        raise ValueError(f"{_EXPECTED_IMAGES}, got NaN or infinite values")
    if not -MAX_VALUE <= lowest <= highest <= MAX_VALUE:
        raise ValueError(f"{_EXPECTED_IMAGES}, got values from {lowest:g} to {highest:g}")
    return images


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)


def _is_integer(value: object, least: float, most: float) -> bool:
    is_integer = isinstance(value, Integral) and not isinstance(value, bool | np.bool_)
    return is_integer and least <= value <= most


def _as_float(value: Real) -> float:
    """Returns a number as float; integers that are too large become infinite."""
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _shown(value: object) -> str:
    """Returns a value on one line of at most 60 characters."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # integers of more than 4300 digits, and whatever the class of the value raises
        text = type(value).__name__
    return text if len(text) <= 60 else f"{text[:57]}..."

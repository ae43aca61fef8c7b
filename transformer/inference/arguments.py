"""Checks the arguments of `load_stylizer`, `load_blend` and `Stylizer`: one ValueError or TypeError each."""

import math
from collections.abc import Sequence
from numbers import Real
from pathlib import Path

import numpy as np

from system.arguments import check_count, check_images, is_count, shown
from transformer.inference.devices import DEVICES, Device, parsed_device
from transformer.inference.limits import AUTO, FLOAT32, MAX_GRAIN, OPENVINO, PRECISIONS, RUNTIMES
from transformer.inference.memory_plan import MIN_TILE

MAX_THREADS = 1024
MAX_VALUE = 1e6  # of a pixel; far larger values overflow float32 inside the network


def check_options(
    tile: str | int,
    max_memory: float | None,
    trust: bool,
    threads: int | None,
    grain: float,
    expected_pixels: float | None,
) -> None:
    """Raises ValueError or TypeError for options of `load_blend` that are impossible."""
    if not (isinstance(tile, str) and tile in ("auto", "off")) and not is_count(tile, least=MIN_TILE):
        raise ValueError(f"tile must be 'auto', 'off' or at least {MIN_TILE} pixels, got {shown(tile)}")
    if max_memory is not None and not (_is_number(max_memory) and 0 < _as_float(max_memory) < math.inf):
        raise ValueError(f"max_memory must be above 0, in GB, got {shown(max_memory)}")
    if not (_is_number(grain) and 0 <= _as_float(grain) <= MAX_GRAIN):
        raise ValueError(f"grain must be 0 to {MAX_GRAIN} levels of 255, got {shown(grain)}")
    if expected_pixels is not None and not (_is_number(expected_pixels) and expected_pixels >= 0):
        raise ValueError(f"expected_pixels must be at least 0, got {shown(expected_pixels)}")
    if threads is not None:
        check_count("threads", threads, most=MAX_THREADS)
    if not isinstance(trust, bool | np.bool_):
        raise TypeError(f"trust must be True or False, got {shown(trust)}")


def check_engine(runtime: str, precision: str, device: str) -> Device:
    """Returns the device. Raises ValueError for names that are unknown, or that contradict each other."""
    if not isinstance(runtime, str) or runtime not in RUNTIMES:
        raise ValueError(f"runtime must be one of {', '.join(RUNTIMES)}, got {shown(runtime)}")
    if not isinstance(precision, str) or precision not in PRECISIONS:
        raise ValueError(f"precision must be one of {', '.join(PRECISIONS)}, got {shown(precision)}")
    try:
        named = parsed_device(device)
    except (TypeError, ValueError) as error:
        raise ValueError(f"device must be {DEVICES}, got {shown(device)}") from error
    if precision == FLOAT32:
        return named
    if runtime not in (AUTO, OPENVINO):
        raise ValueError(f"precision {precision} needs runtime {OPENVINO} or {AUTO}, got {runtime}")
    if named.is_gpu:
        raise ValueError(f"precision {precision} is for CPUs, got device {named}; leave one of them out")
    return named


def check_styles(styles: Sequence[tuple[str | Path, float]]) -> list[tuple[str, float]]:
    """Returns styles as text and weights as numbers.

    Raises TypeError for other types, ValueError for weights that have no usable sum.
    """
    expected = "styles must be pairs of a style's name or folder and its weight"
    if isinstance(styles, str | bytes | Path):
        raise TypeError(f"{expected}, got {shown(styles)}; use load_stylizer for one style")
    try:
        pairs = [(style, weight) for style, weight in styles]
    except (TypeError, ValueError) as error:
        raise TypeError(f"{expected}, got {shown(styles)}") from error
    for style, weight in pairs:
        if not isinstance(style, str | Path):
            raise TypeError(f"a style must be a name or a path, got {shown(style)}")
        if not _is_number(weight):
            raise TypeError(f"the weight of a style must be a number, got {shown(weight)}")
    shares([weight for _, weight in pairs])
    return [(str(style), _as_float(weight)) for style, weight in pairs]


def shares(weights: Sequence[float]) -> list[float]:
    """Returns the weights divided by their sum, in float64. Raises ValueError unless the sum is finite and above 0."""
    values = [_as_float(weight) for weight in weights]
    total = sum(values)  # NaN if any weight is NaN
    if not values or min(values) < 0 or not 0 < total < math.inf:
        raise ValueError(
            f"styles need finite weights of at least 0 with a finite sum above 0; got {shown(list(weights))}"
        )
    return [value / total for value in values]


def checked_images(images: object) -> np.ndarray:
    """Returns images as an array. Raises ValueError for another shape, type or range of values."""
    return check_images("images (RGB 0..255)", images, ranks=(3, 4), most=MAX_VALUE)


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool | np.bool_)


def _as_float(value: Real) -> float:
    """Returns a number as float; integers that are too large become infinite."""
    try:
        return float(value)
    except OverflowError:
        return math.inf

"""What photos and videos share in infer.py --mode fast: the styles and controls that the flags ask for."""

import functools
import math
from collections.abc import Callable
from typing import Any

from cli.flags import UsageError, report
from cli.infer_config import FastConfig
from system.program import prog

PROG = prog("infer")


def check_config(config: FastConfig) -> None:
    """Raises UsageError for flags that contradict each other."""
    if not config.photos:
        raise UsageError("give at least one photo or folder of photos; photos come before --blend")
    check_styles(config)
    if config.benchmark and config.stroke_scale is not None:
        raise UsageError(
            "--benchmark measures the network at the full size of a photo; leave out --stroke-scale"
        )
    check_network(config)
    if config.restore_size and config.max_side is None:
        raise UsageError("--restore-size undoes --max-side; give --max-side too")


def check_styles(config: FastConfig) -> None:
    """Raises UsageError unless the flags name one style or a blend."""
    if config.style is not None and config.blend:
        raise UsageError("--style and --blend cannot be used together; give one of them")
    if config.style is None and not config.blend:
        raise UsageError("give --style, --blend or --sheet; --list-styles prints the styles")
    weights = [weight for _, weight in config.blend]
    if not all(0 <= weight < float("inf") for weight in weights):
        raise UsageError("--blend needs finite weights of at least 0, such as great_wave:2 starry_night:1")
    if weights and not 0 < sum(weights) < float("inf"):
        raise UsageError("--blend weights must have a finite sum above 0; they are divided by it")


def check_network(config: FastConfig) -> None:
    """Raises UsageError for a runtime, precision and device that contradict each other."""
    from transformer.inference.arguments import check_engine

    try:
        check_engine(config.runtime, config.precision, config.device)
    except ValueError as error:
        raise UsageError(f"{error}") from error


def expected_errors() -> tuple[type[Exception], ...]:
    """Errors that users can cause."""
    from data.images import ImageError
    from transformer.export.style_folder import StyleError

    return (ImageError, StyleError)


def picture_name(config: FastConfig) -> str:
    """What the names of pictures add to the names of photos. Raises StyleError for an unknown style."""
    from transformer.export.style_folder import find_style

    return "_".join(find_style(style).resolve().name for style, _ in _shares(config))


def load_styles(
    config: FastConfig, threads: int | None = None, expected_pixels: float = math.inf, **options
) -> Any:
    """The Stylizer that the flags ask for. Raises StyleError.

    expected_pixels: of all images that it will stylize together. options: of `load_blend`, in place of the flags.
    """
    from transformer.inference.loading import load_blend

    return load_blend(
        _shares(config),
        config.runtime,
        threads=threads,
        expected_pixels=expected_pixels,
        **loading_options(config) | options,
    )


def loading_options(config: FastConfig) -> dict[str, Any]:
    """The options of `load_blend` and `load_stylizer` that the flags ask for."""
    names = ("precision", "device", "tile", "max_memory", "trust", "grain")
    return {name: getattr(config, name) for name in names} | {"report": once_reported()}


def once_reported() -> Callable[[str], None]:
    """A function that reports lines, each of them once: several styles may meet the same fault."""
    return functools.cache(functools.partial(report, PROG))


def _shares(config: FastConfig) -> tuple[tuple[str, float], ...]:
    return config.blend or ((config.style, 1.0),)


def load_controls(config: FastConfig) -> Any:
    """What the flags change in a picture after the network."""
    from data.controls import Controls
    from data.images import load_mask

    mask = None if config.mask is None else load_mask(config.mask)
    return Controls(keep_colors=config.keep_colors, strength=config.strength, mask=mask)

"""Loads a finished style: ONNX Runtime, which starts in a fraction of a second, or TensorFlow.

Both runtimes are imported on first use, so fast inference never waits for TensorFlow.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

from system.faults import first_line
from system.machine import available_cores
from transformer.export.style_folder import META_FILES, ONNX_FILE, StyleError, find_style
from transformer.inference.memory_plan import GIGABYTE, MIN_TILE, MemoryPlan
from transformer.inference.onnx_session import open_session
from transformer.inference.stylizer import Network, StylizeBatch, Stylizer

RUNTIMES = ("auto", "onnx", "tensorflow")
WIDTH_UNKNOWN = 1.0  # assumed for networks that do not tell their width


def load_stylizer(style: str | Path, runtime: str = "auto", **options) -> Stylizer:
    """Loads one style, by name under checkpoints/ or by folder; see `load_blend` for the options."""
    return load_blend([(style, 1.0)], runtime, **options)


def load_blend(
    styles: Sequence[tuple[str | Path, float]],
    runtime: str = "auto",
    *,
    tile: str | int = "auto",
    max_memory: float | None = None,
    trust: bool = False,
    threads: int | None = None,
) -> Stylizer:
    """Loads several styles, each with its weight in the mixed picture; see `Stylizer`.

    runtime: "onnx", "tensorflow", or "auto": ONNX Runtime if the style has an .onnx file, otherwise TensorFlow.
    tile: "auto", "off", or the side of tiles in pixels. max_memory: limit of tile "auto" in GB, for all styles
    together; by default whole images may take 2 GB, and tiles the free memory. trust: run a TensorFlow graph whatever
    operations it contains. threads: CPU threads of ONNX Runtime for one image, by default one per core; use 1 to
    stylize several images at the same time.
    Raises StyleError if a style is missing, lacks what the runtime needs, is damaged, or its graph is refused.
    """
    if runtime not in RUNTIMES:
        raise ValueError(f"runtime must be one of {', '.join(RUNTIMES)}, got {runtime!r}")
    if max_memory is not None and not 0 < max_memory < float("inf"):
        raise ValueError(f"max_memory must be above 0, in GB, got {max_memory}")
    if tile not in ("auto", "off") and not (isinstance(tile, int) and tile >= MIN_TILE):
        raise ValueError(f"tile must be 'auto', 'off' or at least {MIN_TILE} pixels, got {tile!r}")
    if threads is not None and not (isinstance(threads, int) and threads >= 1):
        raise ValueError(f"threads must be at least 1, got {threads!r}")
    memory_limit = max_memory and max_memory * GIGABYTE
    share = 1 / len(styles) if styles else 1.0
    networks = [
        _load_network(find_style(str(style)), runtime, trust, threads, _tiled_memory(memory_limit, share))
        for style, _ in styles
    ]
    plan = MemoryPlan(
        widths=[network.width for network in networks],
        held_bytes=_held_bytes([network.load_tiled for network in networks]),
        tile=tile,
        max_memory=memory_limit,
    )
    return Stylizer(networks, [weight for _, weight in styles], plan)


def _tiled_memory(memory_limit: float | None, share: float) -> Callable[[], float]:
    """One style's share of the memory for tiles, in bytes, asked for when the first image needs tiles."""
    return lambda: share * MemoryPlan([], max_memory=memory_limit).tiling_memory


def _load_network(
    style_dir: Path, runtime: str, trust: bool, threads: int | None, tiled_memory: Callable[[], float]
) -> Network:
    onnx_path = style_dir / ONNX_FILE
    if runtime == "tensorflow" or (runtime == "auto" and not onnx_path.is_file()):
        return Network(_load_tensorflow(style_dir, trust), WIDTH_UNKNOWN)
    session = _load_onnx(onnx_path, threads or available_cores())
    width = float(session.get_modelmeta().custom_metadata_map.get("width", WIDTH_UNKNOWN))

    @functools.cache
    def load_tiled():
        from transformer.inference.tiling import PRECISE_LIMIT, TiledStylizer

        return TiledStylizer(onnx_path, available_cores(), min(PRECISE_LIMIT, tiled_memory() / 2))

    return Network(lambda images: session.run(None, {"X": images})[0], width, load_tiled)


def _held_bytes(loaders: Sequence[Callable | None]) -> Callable[[int, int], float] | None:
    if None in loaders:
        return None
    return lambda height, width: sum(load().held_bytes(height, width) for load in loaders)


def _load_onnx(path: Path, threads: int):
    if not path.is_file():
        raise StyleError(f"{path}: no such file; use --runtime tensorflow or export the style again")
    try:
        return open_session(path, threads=threads)
    except ImportError:
        raise
    except Exception as error:  # ONNX Runtime raises a class per status code, without a common base
        raise StyleError(
            f"{path}: damaged or not an ONNX model ({first_line(error)}); export the style again"
        ) from error


def _load_tensorflow(style_dir: Path, trust: bool) -> StylizeBatch:
    missing = [file for file in META_FILES if not (style_dir / file).is_file()]
    if missing:
        raise StyleError(f"{style_dir}: lacks {', '.join(missing)}; copy the whole folder or export it again")
    from system.tensorflow_start import start_tensorflow

    try:
        start_tensorflow()
        from transformer.inference.foreign_graph import MetaGraphStylizer
    except ImportError as error:
        raise StyleError(
            "TensorFlow is not installed, and --runtime tensorflow needs it; run pip install -r requirements.txt"
        ) from error
    try:
        return MetaGraphStylizer(style_dir, trust=trust)
    except StyleError:
        raise
    except Exception as error:  # TensorFlow raises unrelated classes for incomplete graphs
        raise StyleError(
            f"{style_dir}: damaged meta graph ({first_line(error)}); export the style again"
        ) from error

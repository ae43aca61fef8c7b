"""Loads a finished style: ONNX Runtime, which starts in a fraction of a second, or TensorFlow.

Both runtimes are imported on first use, so fast inference never waits for TensorFlow.
"""

import functools
import importlib.util
from collections.abc import Callable, Sequence
from pathlib import Path

from system.faults import first_line
from system.machine import available_cores
from transformer.architecture import Architecture
from transformer.export.checksums import read_files
from transformer.export.style_folder import META_FILES, ONNX_FILE, StyleError, find_style
from transformer.inference.arguments import check_options, check_styles
from transformer.inference.memory_plan import GIGABYTE, MemoryPlan
from transformer.inference.onnx_session import OnnxSession
from transformer.inference.own_graph import own_claim
from transformer.inference.stylizer import Network, Stylizer

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
    grain: float = 0.0,
) -> Stylizer:
    """Loads several styles, each with its weight in the mixed picture; see `Stylizer`.

    runtime: "onnx", "tensorflow", or "auto": ONNX Runtime if the style has an .onnx file, otherwise TensorFlow.
    tile: "auto", "off", or the side of tiles in pixels. max_memory: limit of tile "auto" in GB, for all styles
    together; by default whole images may take 2 GB, and tiles the free memory. trust: run a
    graph of another project whatever operations it contains. threads: CPU threads of ONNX Runtime for one image, by
    default one per core, at most 1024; use 1 to stylize several images at the same time. grain: noise that is added to
    the images before the network, standard deviation in levels of 255, 0 to 50, see grain.py; infer.py adds 1.
    Graphs of other projects run in a child process, one image at a time, each on all cores.
    Raises StyleError if a style is missing, lacks what the runtime needs, is damaged, or its graph is refused;
    ValueError or TypeError for an impossible argument.
    """
    styles = check_styles(styles)
    check_options(runtime, tile, max_memory, trust, threads, grain)
    memory_limit = max_memory and max_memory * GIGABYTE
    share = 1 / len(styles)
    networks = [
        _load_network(find_style(style), runtime, trust, threads, _tiled_memory(memory_limit, share))
        for style, _ in styles
    ]
    plan = MemoryPlan(
        widths=[network.width for network in networks],
        held_bytes=_held_bytes([network.load_tiled for network in networks]),
        tile=tile,
        max_memory=memory_limit,
    )
    return Stylizer(networks, [weight for _, weight in styles], plan, grain)


def _tiled_memory(memory_limit: float | None, share: float) -> Callable[[], float]:
    """One style's share of the memory for tiles, in bytes, asked for when the first image needs tiles."""
    return lambda: share * MemoryPlan([], max_memory=memory_limit).tiling_memory


def _load_network(
    style_dir: Path, runtime: str, trust: bool, threads: int | None, tiled_memory: Callable[[], float]
) -> Network:
    onnx_path = style_dir / ONNX_FILE
    if runtime == "tensorflow" or (runtime == "auto" and not onnx_path.is_file()):
        return _load_meta_graph(style_dir, trust)
    if not onnx_path.is_file():
        raise StyleError(f"{onnx_path}: no such file; use --runtime tensorflow or export the style again")
    content = read_files(style_dir, [ONNX_FILE])[ONNX_FILE]
    architecture = _own_architecture(onnx_path, content)
    if architecture is None:
        return _load_foreign(style_dir, "onnx", trust, content)
    session = _open_session(onnx_path, content, threads or available_cores())

    @functools.cache
    def load_tiled():
        from transformer.inference.tiling import PRECISE_LIMIT, TiledStylizer

        return TiledStylizer(onnx_path, available_cores(), min(PRECISE_LIMIT, tiled_memory() / 2), content)

    return Network(
        lambda images: session.run({"X": images})[0], architecture.width, load_tiled, stop=session.stop
    )


def _own_architecture(path: Path, content: bytes) -> Architecture | None:
    """Returns the architecture of a graph that this project has written; None for other graphs."""
    claim = own_claim(content)
    if claim is None or claim.is_known:
        return claim and claim.architecture
    from transformer.export.onnx_graph import read_onnx_parameters

    try:
        return read_onnx_parameters(path, content)[1]
    except StyleError:
        return None


def _held_bytes(loaders: Sequence[Callable | None]) -> Callable[[int, int], float] | None:
    if None in loaders:
        return None
    return lambda height, width: sum(load().held_bytes(height, width) for load in loaders)


def _open_session(path: Path, content: bytes, threads: int) -> OnnxSession:
    try:
        return OnnxSession(content, threads=threads)
    except (ImportError, MemoryError):
        raise
    except Exception as error:  # ONNX Runtime raises a class per status code, without a common base
        raise StyleError(
            f"{path}: damaged or not an ONNX model ({first_line(error)}); export the style again"
        ) from error


def _load_meta_graph(style_dir: Path, trust: bool) -> Network:
    missing = [file for file in META_FILES if not (style_dir / file).is_file()]
    if missing:
        raise StyleError(f"{style_dir}: lacks {', '.join(missing)}; copy the whole folder or export it again")
    if importlib.util.find_spec("tensorflow") is None:
        raise StyleError(
            "TensorFlow is not installed, and --runtime tensorflow needs it; run pip install -r requirements.txt"
        )
    return _load_foreign(style_dir, "tensorflow", trust)


def _load_foreign(style_dir: Path, runtime: str, trust: bool, content: bytes = b"") -> Network:
    from transformer.inference.graph_process import ForeignGraph, ForeignNetwork

    graph = ForeignGraph(style_dir, runtime, trust, content)
    return Network(ForeignNetwork(graph), WIDTH_UNKNOWN, one_at_a_time=True)

"""Loads a finished style for ONNX Runtime, which starts in a fraction of a second, OpenVINO or TensorFlow.

The runtimes are imported on first use, so fast inference never waits for TensorFlow.
"""

import functools
import importlib.util
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from system.faults import first_line
from system.machine import available_cores
from system.program import install_line, prog
from transformer.architecture import Architecture
from transformer.export.checksums import read_files
from transformer.export.style_folder import META_FILES, ONNX_FILE, StyleError, find_style
from transformer.inference import openvino_session
from transformer.inference.arguments import check_engine, check_options, check_styles
from transformer.inference.devices import Device
from transformer.inference.limits import AUTO, FLOAT32, ONNX, OPENVINO, TENSORFLOW
from transformer.inference.memory_plan import (
    GIGABYTE,
    OPENVINO_WHOLE_BYTES,
    OPENVINO_WHOLE_LIMIT,
    WHOLE_BYTES,
    MemoryPlan,
)
from transformer.inference.own_graph import own_claim
from transformer.inference.runtimes import Engine, chosen_runtime
from transformer.inference.session import GpuUse, Report, Session
from transformer.inference.stylizer import Network, Stylizer

WIDTH_UNKNOWN = 1.0  # assumed for networks that do not tell their width


def load_stylizer(style: str | Path, runtime: str = AUTO, **options) -> Stylizer:
    """Loads one style, by name under checkpoints/ or by folder; see `load_blend` for the options."""
    return load_blend([(style, 1.0)], runtime, **options)


def load_blend(
    styles: Sequence[tuple[str | Path, float]],
    runtime: str = AUTO,
    *,
    precision: str = FLOAT32,
    device: str = AUTO,
    tile: str | int = AUTO,
    max_memory: float | None = None,
    trust: bool = False,
    threads: int | None = None,
    grain: float = 0.0,
    expected_pixels: float | None = None,
    report: Report = warnings.warn,
) -> Stylizer:
    """Loads several styles, each with its weight in the mixed picture; see `Stylizer`.

    Graphs of other projects run in a child process, one image at a time, each on all cores.

    Args:
        styles: pairs of a style, by name under checkpoints/ or by folder, and its weight.
        runtime: "onnx" (ONNX Runtime), "openvino" (OpenVINO, an optional package), "tensorflow", or "auto":
            TensorFlow if the style has no .onnx file, otherwise one of the two others, see expected_pixels.
        precision: "float32", or "bfloat16", which OpenVINO computes on CPUs that have it.
        device: "auto", "cpu", "gpu" or "gpu:N"; "auto" is a GPU if the installed ONNX Runtime has a provider for one.
            A GPU that fails is replaced by the CPU.
        tile: "auto", "off", or the side of tiles in pixels.
        max_memory: limit of tile "auto" in GB, for all styles together; by default whole images may take 2 GB (1.5 in
            OpenVINO), and tiles the free memory.
        trust: run a graph of another project whatever operations it contains.
        threads: CPU threads for one image, by default one per core, at most 1024; use 1 to stylize several images at
            the same time.
        grain: noise that is added to the images before the network, standard deviation in levels of 255, 0 to 50, see
            grain.py; infer.py adds 1.
        expected_pixels: how many pixels all images will have together. From 2 million on, runtime "auto" means
            OpenVINO if it is installed: it starts more slowly and computes faster. None means ONNX Runtime.
        report: is told in one line why a GPU, or OpenVINO with runtime "auto", is not used; by default a warning.

    Raises:
        StyleError: a style is missing, lacks what the runtime needs, is damaged, or its graph is refused; or the
            runtime is not installed, or the CPU lacks the precision.
        ValueError, TypeError: an impossible argument.
    """
    styles = check_styles(styles)
    check_options(tile, max_memory, trust, threads, grain, expected_pixels)
    named_device = check_engine(runtime, precision, device)
    if expected_pixels is not None:
        expected_pixels *= len(styles)
    choice = _Choice(runtime, precision, named_device, expected_pixels, report, GpuUse(report))
    memory_limit = max_memory and max_memory * GIGABYTE
    share = 1 / len(styles)
    networks = [
        _load_network(find_style(style), choice, trust, threads, _tiled_memory(memory_limit, share))
        for style, _ in styles
    ]
    plan = MemoryPlan(
        widths=[network.width for network in networks],
        held_bytes=_held_bytes([network.load_tiled for network in networks]),
        tile=tile,
        max_memory=memory_limit,
        pixel_bytes=[network.pixel_bytes for network in networks],
        whole_limit=_whole_limit(networks),
    )
    return Stylizer(networks, [weight for _, weight in styles], plan, grain)


def _whole_limit(networks: Sequence[Network]) -> float | None:
    is_openvino = any(network.runtime == OPENVINO for network in networks)
    return OPENVINO_WHOLE_LIMIT if is_openvino else None


@dataclass(frozen=True)
class _Choice:
    """What the user asked for, for every style of a blend."""

    runtime: str
    precision: str
    device: Device
    expected_pixels: float | None
    report: Report
    gpu: GpuUse

    @functools.cached_property
    def engine(self) -> Engine:
        """The engine of styles that this project wrote as ONNX."""
        return Engine(self._chosen(), self.precision, self.device, self.gpu)

    def _chosen(self) -> str:
        if self.runtime != AUTO:
            return self.runtime
        chosen = chosen_runtime(self.precision, self.device, self.expected_pixels)
        if chosen == OPENVINO and self.precision == FLOAT32:
            try:
                openvino_session.check_installation()
            except StyleError as error:
                self.report(f"{error}; ONNX Runtime is used instead")
                return ONNX
        return chosen


def _tiled_memory(memory_limit: float | None, share: float) -> Callable[[], float]:
    """One style's share of the memory for tiles, in bytes, asked for when the first image needs tiles."""
    return lambda: share * MemoryPlan([], max_memory=memory_limit).tiling_memory


def _load_network(
    style_dir: Path, choice: _Choice, trust: bool, threads: int | None, tiled_memory: Callable[[], float]
) -> Network:
    onnx_path = style_dir / ONNX_FILE
    if choice.runtime == TENSORFLOW or (choice.runtime == AUTO and not onnx_path.is_file()):
        _check_float32(style_dir, choice)
        return _load_meta_graph(style_dir, choice, trust)
    if not onnx_path.is_file():
        raise StyleError(f"{onnx_path}: no such file; use --runtime tensorflow or export the style again")
    content = read_files(style_dir, [ONNX_FILE])[ONNX_FILE]
    architecture = _own_architecture(onnx_path, content)
    if architecture is None:
        _check_float32(style_dir, choice)
        return _load_foreign(style_dir, ONNX, choice, trust, content)
    engine = choice.engine
    session = _open_session(engine, onnx_path, content, threads or available_cores())

    @functools.cache
    def load_tiled():
        from transformer.inference.tiling import PRECISE_LIMIT, TiledStylizer

        limit = min(PRECISE_LIMIT, tiled_memory() / 2)
        return TiledStylizer(onnx_path, available_cores(), limit, content, engine.for_tiles())

    return Network(
        lambda images: session.run({"X": images})[0],
        architecture.width,
        load_tiled,
        stop=session.stop,
        runtime=engine.runtime,
        pixel_bytes=OPENVINO_WHOLE_BYTES if engine.runtime == OPENVINO else WHOLE_BYTES,
    )


def _check_float32(style_dir: Path, choice: _Choice) -> None:
    """Raises StyleError if the user asked for what only the networks of train.py can do."""
    if choice.runtime == OPENVINO or choice.precision != FLOAT32:
        asked = f"--precision {choice.precision}" if choice.precision != FLOAT32 else "--runtime openvino"
        raise StyleError(
            f"{style_dir}: only styles with an .onnx file of {prog('train')} run with {asked}; leave it out"
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


def _open_session(engine: Engine, path: Path, content: bytes, threads: int) -> Session:
    if engine.prefers_transposed:
        from transformer.export.onnx_graph import build_whole_model, read_onnx_parameters

        parameters, architecture = read_onnx_parameters(path, content)
        content = build_whole_model(parameters, architecture, transposed=True).SerializeToString()
    try:
        return engine.open(content, threads)
    except (ImportError, MemoryError, StyleError):
        raise
    except Exception as error:  # ONNX Runtime raises a class per status code, without a common base
        raise StyleError(
            f"{path}: damaged or not an ONNX model ({first_line(error)}); export the style again"
        ) from error


def _load_meta_graph(style_dir: Path, choice: _Choice, trust: bool) -> Network:
    missing = [file for file in META_FILES if not (style_dir / file).is_file()]
    if missing:
        raise StyleError(f"{style_dir}: lacks {', '.join(missing)}; copy the whole folder or export it again")
    if importlib.util.find_spec("tensorflow") is None:
        raise StyleError(
            f"TensorFlow is not installed, and --runtime tensorflow needs it; run {install_line('train')}"
        )
    return _load_foreign(style_dir, TENSORFLOW, choice, trust)


def _load_foreign(
    style_dir: Path, runtime: str, choice: _Choice, trust: bool, content: bytes = b""
) -> Network:
    from transformer.inference.graph_process import ForeignGraph, ForeignNetwork

    graph = ForeignGraph(style_dir, runtime, trust, content, choice.device, choice.gpu)
    network = ForeignNetwork(graph)
    return Network(network, WIDTH_UNKNOWN, one_at_a_time=True, stop=network.stop, runtime=runtime)

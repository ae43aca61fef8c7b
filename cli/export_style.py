"""Writes a style in the formats that export.py offers."""

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.export_config import DEFAULT_SIZE, LITERT, ONNX, ONNX_HALF, SAVED_MODEL, ExportConfig
from cli.flags import report
from system.console import printable
from system.faults import disk_fault
from system.files import WRITE_REMEDY, check_folder_writable, write_text, write_whole
from system.program import prog
from transformer.export.style_folder import StyleError, find_style, is_style

if TYPE_CHECKING:  # imported on first use, because --help needs no NumPy
    from transformer.export.portable_style import PortableStyle

PROG = prog("export")
ANY_SIZE = ("B", "H", "W", 3)
MEGAPIXEL = 1e6


class TargetError(OSError):
    """A file or folder that cannot be written as asked: one line that says why and what to do."""


def expected_errors() -> tuple[type[Exception], ...]:
    """Errors that users can cause."""
    return (StyleError,)


def export_style(config: ExportConfig) -> int:
    """Writes all formats and prints a line for each; returns the exit status.

    Everything that can be checked is checked before anything is written. A format that fails does not keep the others.
    """
    style_dir = find_style(config.style)
    formats = tuple(dict.fromkeys(config.format))  # each once
    targets = {name: target_path(config, style_dir.resolve().name, name) for name in formats}
    _check_packages(formats)
    _check_targets(config, targets)
    from transformer.export.portable_style import load_portable_style

    style = load_portable_style(style_dir)
    faults = 0
    for name, target in targets.items():
        try:
            print(WRITERS[name](config, style, target), flush=True)
        except (OSError, MemoryError, StyleError) as error:
            report(PROG, str(error) or f"{target}: not enough memory; give a smaller --size")
            faults += 1
    return int(faults > 0)


def target_path(config: ExportConfig, name: str, export_format: str) -> Path:
    """The file of an export, or for a SavedModel the folder of all its versions."""
    if export_format == SAVED_MODEL:
        return config.output / name
    size = size_of(config, export_format)
    parts = [name] + ([f"{size[0]}x{size[1]}"] if size else [])
    if export_format == ONNX_HALF or (export_format == LITERT and config.half_weights):
        parts.append("fp16")
    return config.output / f"{'_'.join(parts)}{'.tflite' if export_format == LITERT else '.onnx'}"


def size_of(config: ExportConfig, export_format: str) -> tuple[int, int] | None:
    """Height and width of the images of a file; None if it takes images of any size."""
    return config.size or (DEFAULT_SIZE if export_format == LITERT else None)


def about_path(target: Path) -> Path:
    """The JSON file that lies beside an exported file."""
    return target.with_name(f"{target.name}.json")


def _check_packages(formats: tuple[str, ...]) -> None:
    """Raises ModuleNotFoundError, which the door explains, before anything is written."""
    if {SAVED_MODEL, LITERT} & set(formats) and find_spec("tensorflow") is None:
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")


def _check_targets(config: ExportConfig, targets: Mapping[str, Path]) -> None:
    for folder in {config.output, *targets.values()}:
        if folder.is_dir() and is_style(folder):
            raise TargetError(f"{folder}: is the folder of a style; give another folder with -o")
    for name, target in targets.items():
        if name == SAVED_MODEL:
            if target.exists() and not target.is_dir():
                raise TargetError(f"{target}: is a file, and a folder of this name is needed; rename it")
        else:
            _check_file(config, target)
            _check_file(config, about_path(target))
    check_folder_writable(config.output)


def _check_file(config: ExportConfig, target: Path) -> None:
    if target.is_dir():
        raise TargetError(f"{target}: is a folder, and a file of this name is to be written; rename it")
    if target.exists() and not config.overwrite:
        raise TargetError(f"{target}: exists; give --overwrite to replace it, or another folder with -o")


def _write_saved_model(config: ExportConfig, style: "PortableStyle", target: Path) -> str:
    _start_tensorflow()
    from transformer.export.portable_style import about
    from transformer.export.saved_model import ServedStyle, write_saved_model

    max_pixels = round(config.max_megapixels * MEGAPIXEL)
    tensors = {"input": ("images", ANY_SIZE), "output": ("stylized", ANY_SIZE)}
    values = about(style, SAVED_MODEL, tensors, image_bytes={"most_pixels": max_pixels})
    with _faults_of(target):
        served = ServedStyle(style.parameters, style.architecture, max_pixels)
        folder = write_saved_model(target, served, values)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return _line(folder, size, "serving_default [B, H, W, 3]; image_bytes: JPEG and PNG to PNG")


def _write_litert(config: ExportConfig, style: "PortableStyle", target: Path) -> str:
    _start_tensorflow()
    from transformer.export.litert import INPUT_NAME, OUTPUT_NAME, build_litert_model
    from transformer.export.portable_style import about

    size = size_of(config, LITERT)
    shape = (1, *size, 3)
    content = build_litert_model(
        style.parameters, style.architecture, size, has_half_weights=config.half_weights
    )
    values = about(style, LITERT, {"input": (INPUT_NAME, shape), "output": (OUTPUT_NAME, shape)})
    return _write_file(target, content, values, shape)


def _write_onnx(config: ExportConfig, style: "PortableStyle", target: Path) -> str:
    """The file of the style itself, unchanged, so that infer.py knows it; a file of a fixed size is built."""
    if size_of(config, ONNX) is None:
        return _write_file(target, style.onnx_content, _onnx_about(config, style, ONNX), ANY_SIZE)
    return _write_built_onnx(config, style, target, ONNX)


def _write_half_onnx(config: ExportConfig, style: "PortableStyle", target: Path) -> str:
    return _write_built_onnx(config, style, target, ONNX_HALF)


def _write_built_onnx(config: ExportConfig, style: "PortableStyle", target: Path, export_format: str) -> str:
    from transformer.export.portable_onnx import build_portable_model
    from transformer.export.portable_style import metadata

    values, size = _onnx_about(config, style, export_format), size_of(config, export_format)
    model = build_portable_model(
        style.parameters,
        style.architecture,
        size=size,
        is_half=export_format == ONNX_HALF,
        metadata=metadata(values),
    )
    return _write_file(target, model.SerializeToString(), values, values["input"]["shape"])


def _onnx_about(config: ExportConfig, style: "PortableStyle", export_format: str) -> dict[str, Any]:
    from transformer.export.onnx_graph import INPUT_NAME, OUTPUT_NAME
    from transformer.export.portable_style import about

    size = size_of(config, export_format)
    shape = (1, *size, 3) if size else ANY_SIZE
    return about(style, export_format, {"input": (INPUT_NAME, shape), "output": (OUTPUT_NAME, shape)})


WRITERS: Mapping[str, Callable[[ExportConfig, Any, Path], str]] = {
    SAVED_MODEL: _write_saved_model,
    LITERT: _write_litert,
    ONNX: _write_onnx,
    ONNX_HALF: _write_half_onnx,
}


def _write_file(target: Path, content: bytes, values: Mapping[str, Any], shape) -> str:
    """Writes a file and what is said about it, which never describes another file: it goes first and comes last."""
    from transformer.export.portable_style import about_text, digest

    with _faults_of(target):
        about_path(target).unlink(missing_ok=True)
        write_whole(target, lambda stream: stream.write(content))
        write_text(about_path(target), about_text({**values, "sha256": digest(content)}))
    return _line(target, len(content), f"float32 [{', '.join(map(str, shape))}]")


def _line(path: Path, size: int, what: str) -> str:
    return f"{printable(path)}  {size / MEGAPIXEL:.1f} MB  {what}"


@contextmanager
def _faults_of(target: Path):
    try:
        yield
    except OSError as error:
        raise TargetError(f"{target}: cannot be written: {disk_fault(error)}; {WRITE_REMEDY}") from error


def _start_tensorflow() -> None:
    """Starts TensorFlow on the CPU: nothing is computed that a GPU would speed up."""
    from system.tensorflow_start import start_tensorflow

    if "tensorflow" not in sys.modules:
        os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    start_tensorflow()

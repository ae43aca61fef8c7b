"""A finished style as other programs get it: its parameters, and what is written about them beside each export.

This module imports neither TensorFlow nor, before a style is read, onnx.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from system.console import printable
from system.program import prog
from transformer.architecture import Architecture
from transformer.export.checksums import read_files
from transformer.export.style_folder import ONNX_FILE, StyleError, style_info, style_source
from transformer.json_text import json_text

ABOUT_FILE = "about.json"
CONTRACT = {
    "type": "float32",
    "layout": "batch, height, width, channel",
    "channels": "red, green, blue",
    "range": [0, 255],
}
_NOTE = (
    "The result is clipped to 0..255 and has the size of the input. The graph adds no noise; this project"
    " adds grain of one level before the network."
)
_PACKAGES = ("tensorflow", "onnx", "numpy")


@dataclass(frozen=True)
class PortableStyle:
    """A style that train.py has written.

    onnx_content: its ONNX file. parameters: as `onnx_graph.read_onnx_parameters` returns them. info: style.json.
    """

    name: str
    onnx_content: bytes
    parameters: Mapping[str, np.ndarray]
    architecture: Architecture
    info: Mapping[str, Any]


def load_portable_style(style_dir: Path) -> PortableStyle:
    """Reads a style. Raises StyleError if it is damaged, or if its network is that of another program."""
    path = style_dir / ONNX_FILE
    if not path.is_file():
        raise StyleError(
            f"{style_dir}: has no {ONNX_FILE}, so its network is that of another program; only styles of"
            f" {prog('train')} can be exported"
        )
    from transformer.export.onnx_graph import read_onnx_parameters

    content = read_files(style_dir, [ONNX_FILE])[ONNX_FILE]
    try:
        parameters, architecture = read_onnx_parameters(path, content)
    except StyleError as error:
        raise StyleError(f"{error}; only styles of {prog('train')} can be exported") from error
    return PortableStyle(style_dir.resolve().name, content, parameters, architecture, style_info(style_dir))


def about(
    style: PortableStyle, export_format: str, tensors: Mapping[str, tuple[str, Sequence]], **more: Any
) -> dict[str, Any]:
    """Returns what to write about an export, as JSON values.

    tensors: "input" and "output", each with its name in the graph and its shape; texts in it are sizes that may vary.
    """
    contract = {
        role: {"name": name, "shape": list(shape), **CONTRACT} for role, (name, shape) in tensors.items()
    }
    return {
        "style": printable(style.name),
        "format": export_format,
        "style_picture": _picture(style.info),
        **contract,
        "note": _NOTE,
        "versions": _versions(),
        **more,
    }


def about_text(values: Mapping[str, Any]) -> str:
    """Returns the text of the JSON file that lies beside an export."""
    return json_text(values, indent=2) + "\n"


def metadata(values: Mapping[str, Any]) -> dict[str, str]:
    """Returns the values of `about` as texts, for files that hold metadata themselves."""
    return {key: value if isinstance(value, str) else json_text(value) for key, value in values.items()}


def digest(content: bytes) -> str:
    """Returns the SHA-256 of a file."""
    return hashlib.sha256(content).hexdigest()


def _picture(info: Mapping[str, Any]) -> dict[str, str]:
    """Source and license of the style picture, where style.json tells them; the file may come from anywhere."""
    license_text = (info.get("style_picture") or {}).get("license")
    texts = {"source": style_source(info), "license": license_text if isinstance(license_text, str) else ""}
    return {key: printable(text) for key, text in texts.items() if text}


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found

"""The base: the folder with a network of many styles from which a new style starts.

It is no style. It holds many_styles.npz, the parameters by name, and base.json, which names the styles and says how
they were trained. `training/many_styles.py` is the network. This module imports no TensorFlow.
"""

import hashlib
import io
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from system.files import NotAFile, open_regular, write_folder
from system.json_reader import JsonError, read_json_file
from transformer.architecture import Architecture
from transformer.export.style_folder import CHECKPOINTS_DIR, StyleError
from transformer.json_text import json_text

BASE_DIR = CHECKPOINTS_DIR / "base"
WEIGHTS_FILE, INFO_FILE = "many_styles.npz", "base.json"
MAX_FILE_BYTES = 100_000_000  # ours has 2 MB
_ARCHITECTURE = ("width", "residual_blocks", "outer_kernel")


@dataclass(frozen=True)
class Base:
    """The trained network of many styles.

    styles: the names of the S styles. parameters: float32 by name; kernels as in `Architecture.parameter_shapes`,
    the others with one row for each style, [S, ...].
    """

    architecture: Architecture
    styles: tuple[str, ...]
    parameters: Mapping[str, np.ndarray]

    def parameters_of(self, style: int) -> dict[str, np.ndarray]:
        """Returns the parameters of style number `style`: those of an ordinary network."""
        return {name: value[style] if is_of_style(name) else value for name, value in self.parameters.items()}


def is_of_style(name: str) -> bool:
    """Returns whether each style has its own values of a parameter; kernels are shared."""
    return not name.endswith("/kernel")


def save_base(base_dir: Path, base: Base, info: Mapping[str, Any]) -> None:
    """Writes the folder, complete or not at all; an older base is replaced. `info`: more JSON values for base.json."""
    stream = io.BytesIO()
    np.savez_compressed(stream, **{name: _smallest(value) for name, value in base.parameters.items()})
    content = stream.getvalue()
    about = {
        **{name: getattr(base.architecture, name) for name in _ARCHITECTURE},
        "styles": list(base.styles),
        **info,
        "sha256": {WEIGHTS_FILE: hashlib.sha256(content).hexdigest()},
    }

    def write(folder: Path) -> None:
        (folder / WEIGHTS_FILE).write_bytes(content)
        (folder / INFO_FILE).write_text(json_text(about, indent=2) + "\n", encoding="utf-8")

    write_folder(base_dir, write)


def _smallest(value: np.ndarray) -> np.ndarray:
    """Returns the array in float16 if that loses nothing (see onnx_graph.with_half_precision), else as it is."""
    with np.errstate(over="ignore"):
        half = value.astype(np.float16)
    return half if np.array_equal(half, value) else value


def base_architecture(base_dir: Path = BASE_DIR) -> Architecture:
    """Returns the architecture of a base without reading its weights. Raises StyleError like `load_base`."""
    with _damage_explained(base_dir):
        return _architecture_of(read_json_file(base_dir / INFO_FILE))


def load_base(base_dir: Path = BASE_DIR) -> Base:
    """Reads a folder that `save_base` wrote. Raises StyleError if it is missing or damaged."""
    with _damage_explained(base_dir):
        info = read_json_file(base_dir / INFO_FILE)
        architecture, styles = _architecture_of(info), tuple(map(str, info["styles"]))
        content = _read(base_dir / WEIGHTS_FILE)
        if hashlib.sha256(content).hexdigest() != info["sha256"][WEIGHTS_FILE]:
            raise ValueError(f"{WEIGHTS_FILE} does not have the SHA-256 digest in {INFO_FILE}")
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            parameters = {name: _as_float32(value) for name, value in archive.items()}
        _check_shapes(parameters, architecture, len(styles))
        return Base(architecture, styles, parameters)


@contextmanager
def _damage_explained(base_dir: Path) -> Iterator[None]:
    try:
        yield
    except (JsonError, OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        reason = str(error)
        if isinstance(error, KeyError):
            reason = f"{INFO_FILE} lacks {error}"
        elif isinstance(error, TypeError):
            reason = f"{INFO_FILE} has a value of a wrong type"
        raise StyleError(
            f"{base_dir}: the base cannot be used ({reason}); restore the folder, or give --start-from none"
        ) from error


def _architecture_of(info: Mapping[str, Any]) -> Architecture:
    return Architecture(**{name: info[name] for name in _ARCHITECTURE})


def _read(path: Path) -> bytes:
    try:
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            return file.read(min(size, MAX_FILE_BYTES))  # a limit that is far larger would be allocated
    except NotAFile as error:
        raise ValueError(f"{path.name} is not a file") from error


def _as_float32(value: np.ndarray) -> np.ndarray:
    return value.astype(np.float32) if value.dtype == np.float16 else value


def _check_shapes(parameters: Mapping[str, np.ndarray], architecture: Architecture, styles: int) -> None:
    shapes = {
        name: (styles, *shape) if is_of_style(name) else shape
        for name, shape in architecture.parameter_shapes().items()
    }
    found = {name: value.shape for name, value in parameters.items()}
    if not styles or found != shapes:
        raise ValueError(f"its arrays are not those of {styles} styles")
    if any(value.dtype != np.float32 or not np.isfinite(value).all() for value in parameters.values()):
        raise ValueError("its arrays are not finite float32 numbers")

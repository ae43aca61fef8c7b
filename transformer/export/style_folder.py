"""The layout of a style folder, and where the styles are. Imports no TensorFlow."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from system.console import printable
from system.json_reader import JsonError, read_json_file

META_PREFIX = "fast_style_transfer"
META_FILES = tuple(f"{META_PREFIX}.{part}" for part in ("meta", "index", "data-00000-of-00001"))
ONNX_FILE = f"{META_PREFIX}.onnx"
STYLE_FILE = "style.json"
MAX_INFO_BYTES = 1_000_000  # of style.json, which has 2 KB
# The keys of style.json that the project reads, and their types; null is allowed.
_INFO_TYPES = {"name": str, "style_picture": dict, "config": dict}
_JSON_NAMES = {str: "a text", dict: "an object"}
CHECKPOINTS_DIR = Path(__file__).resolve().parents[2] / "checkpoints"


class StyleError(ValueError):
    """A style cannot be used: one line that says what is wrong and what to do; control characters are escaped."""

    def __init__(self, message: object = ""):
        super().__init__(printable(message))


def find_style(name_or_dir: str, checkpoints_dir: Path | None = None) -> Path:
    """Returns the folder of a style that is given by its name in `checkpoints_dir` or by its path.

    Raises StyleError, which lists the available styles, if there is no such style.
    """
    checkpoints_dir = checkpoints_dir or CHECKPOINTS_DIR
    candidates = (checkpoints_dir / name_or_dir, Path(name_or_dir))
    for style_dir in candidates:
        if is_style(style_dir):
            return style_dir
    from system.files import restore_retired  # takes 5 ms that styles in their place do not need

    for (
        style_dir
    ) in candidates:  # a training that was killed while it replaced a style may have renamed the old one
        with contextlib.suppress(OSError):
            restore_retired(style_dir)
        if is_style(style_dir):
            return style_dir
    if Path(name_or_dir).is_file():
        raise StyleError(
            f"{name_or_dir}: is a file, not a trained style; train a style with train.py --style {name_or_dir}, or use"
            f" the picture at once with --mode optimize --style-images {name_or_dir}"
        )
    if Path(name_or_dir).is_dir():
        raise StyleError(
            f"{name_or_dir}: contains no style; a style is a folder with {ONNX_FILE} or {META_PREFIX}.meta,"
            " as train.py writes it"
        )
    names = (
        ", ".join(path.name for path in list_styles(checkpoints_dir)) or "none yet: train one with train.py"
    )
    raise StyleError(f"{name_or_dir}: no such style or folder; styles in {checkpoints_dir}: {names}")


def is_style(style_dir: Path) -> bool:
    """Returns whether the folder contains a network that one of the runtimes can load."""
    return any(os.path.isfile(style_dir / file) for file in (ONNX_FILE, f"{META_PREFIX}.meta"))


def list_styles(checkpoints_dir: Path | None = None) -> list[Path]:
    """Returns the folders of all styles, sorted by name."""
    checkpoints_dir = checkpoints_dir or CHECKPOINTS_DIR
    if not checkpoints_dir.is_dir():
        return []
    return sorted(
        path for path in checkpoints_dir.iterdir() if not path.name.startswith(".") and is_style(path)
    )


def style_info(style_dir: Path) -> dict:
    """Returns the contents of style.json; empty if there is none, as in checkpoints of other projects.

    The file may come from anywhere. Of the keys that the project reads, the types are checked; the texts may still
    contain control characters, see system.console.printable.
    Raises StyleError if the file cannot be read, is larger than MAX_INFO_BYTES or has a value of another type.
    """
    path = style_dir / STYLE_FILE
    remedy = "export the style again, or delete this file"
    try:
        info = read_json_file(path, most_bytes=MAX_INFO_BYTES)
        _check_types(info)
    except JsonError as error:
        if isinstance(error.file_error, FileNotFoundError):
            return {}
        raise StyleError(f"{path}: cannot be read ({error.reason}); {remedy}") from error
    except ValueError as error:
        raise StyleError(f"{path}: cannot be read ({error}); {remedy}") from error
    return info


def style_source(info: Mapping) -> str:
    """Returns where the style picture comes from, or its file name, of what `style_info` returned; "" if unknown."""
    picture = info.get("style_picture") or {}
    return picture.get("source") or picture.get("file") or ""


def _check_types(info: Any) -> None:
    if not isinstance(info, dict):
        raise ValueError(f"it must contain a JSON object, got {type(info).__name__}")
    for name, expected in _INFO_TYPES.items():
        if not isinstance(info.get(name), expected | None):
            raise ValueError(f"{name} must be {_JSON_NAMES[expected]}, got {type(info[name]).__name__}")
    picture = info.get("style_picture") or {}
    for name in ("source", "file"):
        text = picture.get(name)
        if not isinstance(text, str | None):
            raise ValueError(f"{name} of style_picture must be a text, got {type(text).__name__}")
        (text or "").encode("utf-8")  # JSON can write halves of characters, which nothing can print

"""The layout of a style folder, and where the styles are. Imports no TensorFlow."""

import json
from pathlib import Path

META_PREFIX = "fast_style_transfer"
META_FILES = tuple(f"{META_PREFIX}.{part}" for part in ("meta", "index", "data-00000-of-00001"))
ONNX_FILE = f"{META_PREFIX}.onnx"
STYLE_FILE = "style.json"
CHECKPOINTS_DIR = Path(__file__).resolve().parents[2] / "checkpoints"


class StyleError(ValueError):
    """A style cannot be used: one line that says what is wrong and what to do."""


def find_style(name_or_dir: str, checkpoints_dir: Path | None = None) -> Path:
    """Returns the folder of a style that is given by its name in `checkpoints_dir` or by its path.

    Raises StyleError, which lists the available styles, if there is no such style.
    """
    checkpoints_dir = checkpoints_dir or CHECKPOINTS_DIR
    for style_dir in (checkpoints_dir / name_or_dir, Path(name_or_dir)):
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
    return any((style_dir / file).is_file() for file in (ONNX_FILE, f"{META_PREFIX}.meta"))


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

    Raises StyleError if the file cannot be read.
    """
    path = style_dir / STYLE_FILE
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StyleError(f"{path}: cannot be read ({error}); export the style again") from error

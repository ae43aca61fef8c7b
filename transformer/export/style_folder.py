"""The layout of a finished style's folder: which files it holds, which styles there are. Imports no TensorFlow."""

import json
from pathlib import Path

META_PREFIX = "fast_style_transfer"
META_FILES = tuple(f"{META_PREFIX}.{part}" for part in ("meta", "index", "data-00000-of-00001"))
ONNX_FILE = f"{META_PREFIX}.onnx"
STYLE_FILE = "style.json"
CHECKPOINTS_DIR = Path(__file__).resolve().parents[2] / "checkpoints"


class StyleError(ValueError):
    """A style cannot be used; the message is one line that says what is wrong and what to do."""


def find_style(name_or_dir: str, checkpoints_dir: Path | None = None) -> Path:
    """The folder of a style given by its name under `checkpoints_dir` or by its path.

    Raises StyleError, naming the styles there are, if there is none.
    """
    checkpoints_dir = checkpoints_dir or CHECKPOINTS_DIR
    for style_dir in (checkpoints_dir / name_or_dir, Path(name_or_dir)):
        if is_style(style_dir):
            return style_dir
    if Path(name_or_dir).is_dir():
        raise StyleError(
            f"{name_or_dir}: holds no style; a style is a folder with {ONNX_FILE} or {META_PREFIX}.meta,"
            " as train.py writes it"
        )
    names = (
        ", ".join(path.name for path in list_styles(checkpoints_dir)) or "none yet: train one with train.py"
    )
    raise StyleError(f"{name_or_dir}: no such style or folder; styles in {checkpoints_dir}: {names}")


def is_style(style_dir: Path) -> bool:
    """Whether the folder holds a network that some runtime can load."""
    return any((style_dir / file).is_file() for file in (ONNX_FILE, f"{META_PREFIX}.meta"))


def list_styles(checkpoints_dir: Path | None = None) -> list[Path]:
    """The folders of all finished styles, by name."""
    checkpoints_dir = checkpoints_dir or CHECKPOINTS_DIR
    if not checkpoints_dir.is_dir():
        return []
    return sorted(
        path for path in checkpoints_dir.iterdir() if not path.name.startswith(".") and is_style(path)
    )


def style_info(style_dir: Path) -> dict:
    """The contents of style.json; empty where there is none, as in foreign checkpoints."""
    path = style_dir / STYLE_FILE
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise StyleError(f"{path}: cannot be read ({error}); export the style again") from error

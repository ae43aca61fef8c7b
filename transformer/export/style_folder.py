"""The layout of a style folder, and where the styles are. Imports no TensorFlow."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from system.console import printable
from system.json_reader import JsonError, read_json_file
from system.program import IS_INSTALLED, prog

META_PREFIX = "fast_style_transfer"
META_FILES = tuple(f"{META_PREFIX}.{part}" for part in ("meta", "index", "data-00000-of-00001"))
ONNX_FILE = f"{META_PREFIX}.onnx"
STYLE_FILE = "style.json"
MAX_INFO_BYTES = 1_000_000  # of style.json, which has 2 KB
# The keys of style.json that the project reads, and their types; null is allowed.
_INFO_TYPES = {"name": str, "style_picture": dict, "config": dict}
_JSON_NAMES = {str: "a text", dict: "an object"}
# The shipped styles; in the repository also those that train.py writes.
CHECKPOINTS_DIR = Path(__file__).resolve().parents[2] / "checkpoints"
OWN_STYLES_DIR = Path("checkpoints")  # where trainings write: in the repository it is CHECKPOINTS_DIR
STYLES_VARIABLE = "FAST_STYLE_TRANSFER_STYLES"  # of the environment: a folder in place of OWN_STYLES_DIR


class StyleError(ValueError):
    """A style cannot be used: one line that says what is wrong and what to do; control characters are escaped."""

    def __init__(self, message: object = ""):
        super().__init__(printable(message))


def own_styles_dir() -> Path:
    """Returns the folder into which a training writes its style if no other is given."""
    return Path(os.path.expanduser(os.environ.get(STYLES_VARIABLE) or OWN_STYLES_DIR))


def new_styles_dir() -> Path:
    """Returns the folder for new styles of a program that is started anywhere: in a repository, its checkpoints/."""
    return own_styles_dir() if IS_INSTALLED or os.environ.get(STYLES_VARIABLE) else CHECKPOINTS_DIR


def style_places() -> tuple[Path, ...]:
    """Returns the folders in which styles are looked up by name, the first one first.

    Where this project is installed, styles in ./checkpoints come after the shipped ones: the current folder may be
    anyone's, and must not put another network in the place of a shipped style. A folder that the environment names
    comes before them, because the user has chosen it. A folder that is reached by two names is given once.
    Raises NotADirectoryError if the environment names something else.
    """
    places = (CHECKPOINTS_DIR, OWN_STYLES_DIR) if IS_INSTALLED else (CHECKPOINTS_DIR,)
    if os.environ.get(STYLES_VARIABLE):
        places = (_checked(own_styles_dir()), CHECKPOINTS_DIR)
    return tuple({os.path.realpath(place): place for place in reversed(places)}.values())[::-1]


def _checked(folder: Path) -> Path:
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise NotADirectoryError(
            f"{STYLES_VARIABLE}={printable(folder)}: is no folder; let it name a folder of styles, or unset it"
        )
    return folder


def find_style(name_or_dir: str, checkpoints_dir: Path | None = None) -> Path:
    """Returns the folder of a style that is given by its name or by its path.

    checkpoints_dir: where names are looked up; None means `style_places`.
    Raises StyleError, which lists the available styles, if there is no such style.
    """
    places = _places(checkpoints_dir)
    candidates = (*(place / name_or_dir for place in places), Path(name_or_dir))
    for style_dir in candidates:
        if is_style(style_dir):
            return style_dir
    from system.files import restore_retired  # takes 5 ms that styles in their place do not need

    # A training that was killed while it replaced a style may have renamed the old one.
    for style_dir in candidates:
        if not (IS_INSTALLED and style_dir.parent == CHECKPOINTS_DIR):  # where nothing is ever written
            with contextlib.suppress(OSError):
                restore_retired(style_dir)
        if is_style(style_dir):
            return style_dir
    if Path(name_or_dir).is_file():
        raise StyleError(
            f"{name_or_dir}: is a file, not a trained style; train a style with"
            f" {prog('train')} --style {name_or_dir}, or use the picture at once with"
            f" --mode optimize --style-images {name_or_dir}"
        )
    if Path(name_or_dir).is_dir():
        raise StyleError(
            f"{name_or_dir}: contains no style; a style is a folder with {ONNX_FILE} or {META_PREFIX}.meta,"
            f" as {prog('train')} writes it"
        )
    names = ", ".join(named_styles(checkpoints_dir)) or f"none yet: train one with {prog('train')}"
    where = " and ".join(map(str, places))
    raise StyleError(f"{name_or_dir}: no such style or folder; styles in {where}: {names}")


def is_style(style_dir: Path) -> bool:
    """Returns whether the folder contains a network that one of the runtimes can load."""
    return any(os.path.isfile(style_dir / file) for file in (ONNX_FILE, f"{META_PREFIX}.meta"))


def list_styles(checkpoints_dir: Path | None = None) -> list[Path]:
    """Returns the folders of all styles that are found by their names, sorted by name; see `find_style`."""
    return [path for name, path in named_styles(checkpoints_dir).items() if name == path.name]


def named_styles(checkpoints_dir: Path | None = None) -> dict[str, Path]:
    """Returns what to give for each style, and its folder: its name, or its path if another place has this name.

    A copy of the style that has its name, such as those of a clone from which the package was installed, is left out.
    """
    found: dict[str, Path] = {}
    for place in _places(checkpoints_dir):
        for path in _styles_in(place):
            if path.name not in found:
                found[path.name] = path
            elif not _is_copy(path, found[path.name]):
                found[str(path)] = path
    return dict(sorted(found.items()))


def _is_copy(style_dir: Path, other: Path) -> bool:
    from filecmp import cmp

    try:
        return cmp(style_dir / ONNX_FILE, other / ONNX_FILE, shallow=False)
    except OSError:  # one of them has none
        return False


def hiding_style(style_dir: Path) -> Path | None:
    """Returns the style that is found by the name of a style which is to be written into `style_dir`, if it is another.

    None too if `style_dir` is in none of `style_places`: it is then given by its path.
    """
    earlier = []
    for place in style_places():
        if place.resolve() == style_dir.parent.resolve():
            return next(filter(is_style, earlier), None)
        earlier.append(place / style_dir.name)
    return None


def _places(checkpoints_dir: Path | None) -> tuple[Path, ...]:
    return style_places() if checkpoints_dir is None else (checkpoints_dir,)


def _styles_in(place: Path) -> list[Path]:
    try:
        paths = sorted(place.iterdir()) if place.is_dir() else []
    except PermissionError:
        if place == OWN_STYLES_DIR:  # of another user
            return []
        raise
    return [path for path in paths if not path.name.startswith(".") and is_style(path)]


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

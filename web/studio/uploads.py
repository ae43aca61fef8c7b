"""A file of a visitor, and what it may be called."""

import os
from pathlib import Path
from typing import Any, NamedTuple

# UTF-8 bytes of each part of a name: file systems allow 255 in all, and names of styles and numbers are added.
MOST_NAME_BYTES = 60
_MOST_SUFFIX_BYTES = 10


class Upload(NamedTuple):
    """A file of a visitor: where it is, and what the visitor calls it."""

    path: Path
    name: str


def upload_of(payload: Any) -> Upload | None:
    """The file of a payload (gradio.FileData) that `StudioBlocks` has checked; None if there is none."""
    if payload is None or not payload.path:
        return None
    path = Path(payload.path)
    return Upload(path, shown_name(payload.orig_name or path.name))


def shown_name(name: str) -> str:
    """A name of a visitor's file as it may be shown: no path, no control characters, not long."""
    plain = "".join(letter for letter in name.replace("\\", "/").rpartition("/")[2] if letter.isprintable())
    stem, suffix = os.path.splitext(plain)
    return f"{_cut(stem, MOST_NAME_BYTES)}{_cut(suffix, _MOST_SUFFIX_BYTES)}" or "file"


def file_stem(upload: Upload) -> str:
    """The start of the name of a result: letters, digits, - and _ of the visitor's name."""
    stem = Path(upload.name).stem
    plain = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in stem)
    return _cut(plain.strip("_"), MOST_NAME_BYTES) or "picture"


def _cut(text: str, most_bytes: int) -> str:
    """The start of a text; no character is cut in two."""
    return text.encode("utf-8", "ignore")[:most_bytes].decode("utf-8", "ignore")

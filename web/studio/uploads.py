"""A file of a visitor, and what it may be called."""

import os
from pathlib import Path
from typing import Any, NamedTuple

MOST_NAME_CHARACTERS = 60


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
    return f"{stem[:MOST_NAME_CHARACTERS]}{suffix[:10]}" or "file"


def file_stem(upload: Upload) -> str:
    """The start of the name of a result: letters, digits, - and _ of the visitor's name."""
    stem = Path(upload.name).stem
    plain = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in stem)
    return plain.strip("_")[:MOST_NAME_CHARACTERS] or "picture"

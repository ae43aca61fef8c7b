"""Faults of requests as a status and one line. The line names the visitor's file and no path of this machine."""

import math
from pathlib import Path
from typing import NamedTuple

from cli.flags import UsageError
from data.picture import ImageError
from system.console import printable
from transformer.export.style_folder import StyleError
from web.pictures import without_flags
from web.shelf import UnknownStyle
from web.turns import Busy, GaveUp

EXPECTED = (UsageError, ImageError, StyleError, MemoryError, Busy, GaveUp, OSError)


class Answer(NamedTuple):
    """An HTTP status, one line, and after how many seconds the visitor may try again."""

    status: int
    line: str
    retry_after: int | None = None


def answer_to(error: Exception, names: dict[Path, str] | None = None) -> Answer:
    """Returns the answer to one of EXPECTED. names: what the visitor calls the files of the request."""
    line = _line(error, names or {})
    if isinstance(error, Busy):
        return Answer(503, line, math.ceil(error.retry_after))
    if isinstance(error, MemoryError):
        return Answer(503, line, 10)
    if isinstance(error, GaveUp):
        return Answer(504, line)
    if isinstance(error, UnknownStyle):
        return Answer(404, line)
    if isinstance(error, UsageError | ImageError):
        return Answer(422, line)
    return Answer(500, line)


def _line(error: Exception, names: dict[Path, str]) -> str:
    if isinstance(error, OSError) and not isinstance(error, ImageError):
        return "the server cannot store files; tell its operator"  # the reason would name its folders
    line = printable(error) or "not enough memory; try a smaller photo"
    for path, name in names.items():
        line = line.replace(str(path), name)
    return without_flags(line)

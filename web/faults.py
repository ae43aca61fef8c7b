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
from web.turns import Busy, ClientGone, GaveUp, Stopping


class Refused(Exception):
    """A request that is refused for its form: one line, and its HTTP status."""

    def __init__(self, status: int, line: str):
        super().__init__(line)
        self.status = status


EXPECTED = (Refused, UsageError, ImageError, StyleError, MemoryError, Busy, GaveUp, OSError)
NEUTRAL_LINE = "the server has failed; its log says why"
RETRY_SECONDS = 10  # where nothing tells how long it will take
CLIENT_GONE = 499  # nobody reads this answer; the status is for the log, as in nginx


class Answer(NamedTuple):
    """An HTTP status, one line, and after how many seconds the visitor may try again."""

    status: int
    line: str
    retry_after: int | None = None


def answer_to(error: Exception, names: dict[Path, str] | None = None) -> Answer:
    """Returns the answer to one of EXPECTED. names: what the visitor calls the files of the request."""
    line = _line(error, names or {})
    if isinstance(error, Refused):
        return Answer(error.status, line)
    if isinstance(error, Busy):
        return Answer(503, line, math.ceil(error.retry_after))
    if isinstance(error, MemoryError | Stopping):
        return Answer(503, line, RETRY_SECONDS)
    if isinstance(error, GaveUp):
        return Answer(CLIENT_GONE if isinstance(error, ClientGone) else 504, line)
    if isinstance(error, UnknownStyle):
        return Answer(404, line)
    if isinstance(error, UsageError | ImageError):
        return Answer(422, line)
    return Answer(500, line)


def _line(error: Exception, names: dict[Path, str]) -> str:
    if isinstance(error, OSError) and not isinstance(error, ImageError):
        return "the server cannot store files; tell its operator"  # the reason would name its folders
    if isinstance(error, StyleError) and not isinstance(error, UnknownStyle):
        return "this style cannot be used; take another one, and tell the operator"  # likewise
    line = printable(error) or "not enough memory; try a smaller photo"
    for path, name in names.items():
        line = line.replace(str(path), name)
    return without_flags(line)

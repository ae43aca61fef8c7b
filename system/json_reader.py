"""Reads JSON that users and other programs give, within limits. Everything wrong with it is one short line.

Python's parser accepts more than JSON (NaN, keys that occur twice), and it fails with RecursionError for deep
values. A file can also be a device or a pipe that never ends. All JSON from outside is read here.
"""

import json
import math
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from system.arguments import MOST_DIGITS

MOST_BYTES = 4_000_000  # of a file; a configuration has 2000
MOST_DEPTH = 32  # of lists and objects in each other; a configuration has 2


class JsonError(ValueError):
    """Text that is not JSON, or is beyond the limits: one line."""


def read_json_file(path: Path, *, most_bytes: int = MOST_BYTES) -> Any:
    """Returns the value of a JSON file.

    Raises JsonError if the file cannot be read, is not a regular file, has more than `most_bytes` bytes, or is
    refused by `parse_json`.
    """
    try:
        content = _content(path, most_bytes)
    except FileNotFoundError:
        raise JsonError("cannot be read: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL character
        raise JsonError(f"cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(content) > most_bytes:
        raise JsonError(f"cannot be read as JSON: it has more than {most_bytes / 1e6:g} MB")
    return parse_json(content)


def parse_json(text: str | bytes) -> Any:
    """Returns the value of JSON text, UTF-8 with or without a byte order mark.

    Raises JsonError for text that is not JSON, NaN and infinite numbers, numbers with more than MOST_DIGITS digits,
    keys that occur twice in an object, and values deeper than MOST_DEPTH.
    """
    try:
        text = text.decode("utf-8-sig") if isinstance(text, bytes) else text
        value = json.loads(
            text,
            parse_int=_whole_number,
            parse_float=_number,
            parse_constant=_refuse_constant,
            object_pairs_hook=_unique_keys,
        )
    except RecursionError:
        raise JsonError(_too_deep()) from None
    except UnicodeDecodeError as error:
        raise JsonError(f"cannot be read as JSON: byte {error.start} is not UTF-8") from None
    except JsonError as error:
        raise JsonError(f"cannot be read as JSON: {error}") from None
    except ValueError as error:
        raise JsonError(f"cannot be read as JSON ({error})") from None
    _check_depth(value)
    return value


def _content(path: Path, most_bytes: int) -> bytes:
    # O_NONBLOCK: opening a pipe that nobody writes to would wait forever
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(descriptor, "rb") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError("it is a device or a pipe, not a file")
        return stream.read(most_bytes + 1)


def _whole_number(text: str) -> int:
    if len(text) > MOST_DIGITS:
        raise JsonError(f"it contains a number of {len(text)} digits, at most {MOST_DIGITS} are allowed")
    return int(text)


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise JsonError(f"it contains the number {text[:MOST_DIGITS]}, which is too large")
    return value


def _refuse_constant(text: str) -> None:
    raise JsonError(f"it contains {text}, which is not JSON")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for position, key in enumerate(keys) if key in keys[:position])
        raise JsonError(f"the key {twice[:40]!r} occurs twice")
    return values


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MOST_DEPTH + 1):
        level = [item for parent in level for item in _children(parent)]
        if not level:
            return
    raise JsonError(_too_deep())


def _children(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _too_deep() -> str:
    return f"cannot be read as JSON: lists and objects are nested more than {MOST_DEPTH} deep"

"""Reads JSON that users and other programs give, within limits. Everything wrong with it is one short line.

Python's parser accepts more than JSON (NaN, keys that occur twice), and it fails with RecursionError for deep
values. A file can also be a device or a pipe that never ends. All JSON from outside is read here.
"""

import errno
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from system.arguments import MOST_DIGITS
from system.files import open_regular

MOST_BYTES = 4_000_000  # of a file; a configuration has 2000
MOST_DEPTH = 32  # of lists and objects in each other; a configuration has 2


_FILE_FAULTS = {errno.ENOENT: "no such file", errno.EISDIR: "it is a folder, not a file"}


class JsonError(ValueError):
    """Text that is not JSON, or is beyond the limits: one line.

    reason: the line without "cannot be read". file_error: why the file cannot be opened or read; None if its content
    is the fault.
    """

    def __init__(self, reason: str, *, file_error: OSError | None = None):
        super().__init__(f"cannot be read{'' if file_error else ' as JSON'}: {reason}")
        self.reason, self.file_error = reason, file_error


def read_json_file(path: Path, *, most_bytes: int = MOST_BYTES) -> Any:
    """Returns the value of a JSON file.

    Raises JsonError if the file cannot be read, is not a regular file, has more than `most_bytes` bytes, or is
    refused by `parse_json`.
    """
    try:
        with open_regular(path) as stream:
            content = stream.read(most_bytes + 1)
    except OSError as error:
        reason = _FILE_FAULTS.get(error.errno) or error.strerror or str(error)
        raise JsonError(reason, file_error=error) from error
    if len(content) > most_bytes:
        raise JsonError(f"it has more than {most_bytes / 1e6:g} MB")
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
        raise JsonError(f"byte {error.start} is not UTF-8") from None
    except JsonError:
        raise
    except ValueError as error:
        raise JsonError(str(error)) from None
    _check_depth(value)
    return value


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
    values = {}
    for key, value in pairs:
        if key in values:
            raise JsonError(f"the key {key[:40]!r} occurs twice")
        values[key] = value
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
    return f"lists and objects are nested more than {MOST_DEPTH} deep"

"""JSON text that every parser accepts. JSON has no NaN and no infinity, so both are written as null."""

import json
import math
from collections.abc import Mapping
from typing import Any


def json_text(value: Any, *, indent: int | None = None) -> str:
    """Returns `value` as JSON text; numbers that are not finite become null."""
    return json.dumps(_without_non_finite(value), indent=indent, allow_nan=False)


def read_numbers(values: Mapping[str, float | None]) -> dict[str, float]:
    """Returns numbers that `json_text` wrote, by name; null becomes NaN."""
    return {name: math.nan if value is None else value for name, value in values.items()}


def _without_non_finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _without_non_finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_non_finite(item) for item in value]
    return value

"""Parameters of a request: texts from the query and the form become a PictureRequest, and their OpenAPI description.

A parameter has the name and the meaning of a flag of infer.py; ranges and defaults have their home there.
"""

import argparse
import re
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from cli.flags import UsageError, knob_of, number, whole_number
from cli.infer_config import FastConfig
from system.arguments import shown
from web.pictures import MOST_STYLES, PictureRequest, without_flags

TRUTHS = {
    "true": True,
    "1": True,
    "yes": True,
    "on": True,
    "false": False,
    "0": False,
    "no": False,
    "off": False,
}
STYLE = "style"
STYLE_HELP = (
    f"name of a style; up to {MOST_STYLES}, each NAME or NAME:WEIGHT, and their pictures are mixed in proportion to the"
    " weights"
)
LONGEST_STYLE = 300  # characters


def truth(text: str) -> bool:
    """true or false, in the words of TRUTHS."""
    if text.strip().lower() not in TRUTHS:
        raise argparse.ArgumentTypeError(f"{shown(text)} is not true or false")
    return TRUTHS[text.strip().lower()]


_PARSERS: dict[str, Callable[[str], Any]] = {
    "strength": number,
    "keep_colors": truth,
    "stroke_scale": number,
    "grain": number,
    "max_side": whole_number,
    "format": str,
}
_TYPES = {number: "number", truth: "boolean", whole_number: "integer", str: "string"}


def picture_request(texts: Iterable[tuple[str, str]], mask: Path | None = None) -> PictureRequest:
    """Returns what the parameters ask for. Raises UsageError for one that is unknown, repeated, or cannot be read."""
    styles, values = [], {}
    for name, text in texts:
        if name == STYLE:
            styles.append(_style(text))
        elif name not in _PARSERS:
            known = ", ".join((STYLE, *_PARSERS))
            raise UsageError(f"unknown parameter {shown(name)}; parameters are {known}")
        elif name in values:
            raise UsageError(f"{name} is given twice; give it once")
        else:
            values[name] = _parsed(name, text)
    if not styles:
        raise UsageError("give the parameter style; /api/v1/styles lists the styles")
    return PictureRequest(tuple(styles), mask=mask, **values)


def _parsed(name: str, text: str) -> Any:
    try:
        return _PARSERS[name](text)
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"{name}: {error}") from error


def _style(text: str) -> tuple[str, float]:
    if len(text) > LONGEST_STYLE:
        raise UsageError(f"a style has at most {LONGEST_STYLE} characters, got {len(text)}")
    name, separator, weight = text.rpartition(":")
    if not separator:
        return text, 1.0
    return name, _weight(weight)


def _weight(text: str) -> float:
    try:
        return number(text)
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"style: {error}; give NAME or NAME:WEIGHT") from error


def schemas() -> dict[str, dict[str, Any]]:
    """Returns the JSON schema of each parameter, for OpenAPI."""
    knobs = {
        option.name: (knob_of(option), option.default) for option in fields(FastConfig) if option.metadata
    }
    found = {STYLE: {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": MOST_STYLES}}
    found[STYLE]["description"] = STYLE_HELP
    for name, parse in _PARSERS.items():
        about, default = knobs[name]
        limits = {
            "minimum": about.at_least,
            "maximum": about.at_most,
            "enum": about.choices and list(about.choices),
        }
        found[name] = {"type": _TYPES[parse], "description": _without_modes(about.help)}
        found[name] |= {key: value for key, value in limits.items() if value is not None}
        if default is not None:
            found[name]["default"] = default
    return found


def _without_modes(text: str) -> str:
    """A help text of infer.py without what only concerns the command line."""
    return re.sub(
        r"that of the file of -o, or else that of each photo", "that of the photo", without_flags(text)
    )

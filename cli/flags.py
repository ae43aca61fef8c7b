"""Flags from dataclasses: a field is a flag and a JSON key of the same name, and its default has no other home.

    @dataclass(frozen=True)
    class Config:
        steps: int = knob("updates of the network", 1500, at_least=1)

Types come from the annotations: bool, int, float, str, Path, X | None, tuple[X, ...].
"""

import argparse
import functools
import json
import os
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, dataclass, field, fields, replace
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from system.arguments import MOST, MOST_DIGITS, SHOWN_CHARACTERS, shown
from system.console import printable
from system.program import COMMAND, started
from system.version import VERSION

FLOAT_LIMIT = 1e30  # of other numbers without a bound of their own; their products must fit into float32
MOST_PATH_BYTES, MOST_NAME_BYTES = 4095, 255  # Linux: PATH_MAX without its NUL, NAME_MAX
_LINE_CHARACTERS = 300  # of a message of the parser


class UsageError(ValueError):
    """Flags that are wrong or contradict each other or the inputs: one line, exit status 2."""


@dataclass(frozen=True)
class Knob:
    """What a field tells the command line, beside its type and default."""

    help: str
    group: str = ""  # title under which --help lists the flag
    short: str = ""  # a second name, such as -o
    metavar: str = ""
    choices: tuple[str, ...] | tuple[int, ...] | None = None
    has_negation: bool = False  # adds --no-FLAG, for a setting that JSON or a resumed run can switch on
    parse: Callable[[str], Any] | None = None  # text -> value, where the type alone does not tell how
    bare: Any = None  # the value of a flag that is given without one; None: the flag needs a value
    is_path: bool = False  # a text that can be a path: checked like a Path
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    limit: float | None = (
        None  # like at_most, for absurd values; only the message for such a value mentions it
    )


def knob(help: str, default: Any = None, **options) -> Any:
    """A dataclass field with a Knob."""
    return field(default=default, metadata={"knob": Knob(help, **options)})


def knob_of(option: Field) -> Knob:
    return option.metadata["knob"]


def flag(name: str) -> str:
    """The flag of a field."""
    return f"--{name.replace('_', '-')}"


class Parser(argparse.ArgumentParser):
    """Reports a mistake in one line instead of the whole usage, and knows flags that got another name."""

    def __init__(self, **options):
        super().__init__(**options)
        self.add_argument("--version", action="version", version=f"{COMMAND} {VERSION}")

    def error(self, message: str) -> NoReturn:
        line = printable(message)
        line = line if len(line) <= _LINE_CHARACTERS else f"{line[:_LINE_CHARACTERS]}..."
        self.exit(2, f"{self.prog}: {line}{self._suggestion(message)}; see {started(self.prog)} --help\n")

    def _suggestion(self, message: str) -> str:
        from difflib import get_close_matches

        unknown = message.partition("unrecognized arguments: ")[2].partition(" ")[0].partition("=")[0]
        similar = get_close_matches(unknown, self._option_string_actions, 1)
        return f"; did you mean {similar[0]}?" if similar else ""

    def add_retired(self, replacements: Mapping[str, str]) -> None:
        """Adds flags of earlier versions. Using one is an error that names its replacement: {"--old": "--new"}."""
        for old, new in replacements.items():
            self.add_argument(
                old, nargs="*", action=_Retired, const=new, default=argparse.SUPPRESS, help=argparse.SUPPRESS
            )


class _Retired(argparse.Action):
    def __call__(self, parser, namespace, values, option_string=None) -> NoReturn:
        parser.error(f"{option_string} is now {self.const}")


def whole_number(text: str) -> int:
    """The number that decimal ASCII digits name; Python's int also takes 1_000 and digits of other scripts."""
    digits = text.strip()
    if not re.fullmatch(r"[+-]?[0-9]+", digits):
        raise argparse.ArgumentTypeError(f"invalid int value: {shown(text)}")
    if len(digits) > MOST_DIGITS:
        raise argparse.ArgumentTypeError(
            f"a number of {len(digits)} digits, at most {MOST_DIGITS} are allowed"
        )
    return int(digits)


def number(text: str) -> float:
    """The number that ASCII text names, such as 0.5 or 2e-3; NaN and infinity are left to `check_ranges`."""
    try:
        if "_" in text or not text.isascii():
            raise ValueError
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"invalid float value: {shown(text)}") from None


def path_of(text: str) -> Path:
    """The path that text names. An empty text would name the current folder, which nobody means."""
    if fault := _path_fault(text):
        raise argparse.ArgumentTypeError(fault)
    return Path(text)


def _path_fault(text: str) -> str:
    """Why a text cannot be a path, or ""."""
    if not text:
        return "a path must not be empty"
    if "\0" in text:
        return f"a path must not contain a NUL character, got {shown(text)}"
    try:
        encoded = os.fsencode(text)
    except UnicodeEncodeError:
        return f"a path must not contain lone surrogates, got {shown(text)}"
    longest = max(len(name) for name in encoded.split(b"/"))
    if len(encoded) > MOST_PATH_BYTES:
        return f"a path may have at most {MOST_PATH_BYTES} bytes, got {len(encoded)}"
    if longest > MOST_NAME_BYTES:
        return f"a name in a path may have at most {MOST_NAME_BYTES} bytes, got {longest}"
    return ""


_PARSERS = {int: whole_number, float: number, Path: path_of}


def help_formatter(prog: str) -> argparse.HelpFormatter:
    """Keeps the line breaks of the examples, and leaves room for long flags."""
    return argparse.RawDescriptionHelpFormatter(prog, max_help_position=30, width=110)


def add_flags(
    parser: argparse.ArgumentParser, config_classes: Iterable[type], group_titles: Iterable[str]
) -> None:
    """Adds a flag for every field that has a Knob, below its group's title; a field of two classes once.

    A flag that is not given is left out of the namespace.
    """
    groups = {title: parser.add_argument_group(title) for title in group_titles}
    known = set()
    for config_class in config_classes:
        for option in _knobs(config_class).values():
            if option.name not in known:
                known.add(option.name)
                _add_flag(groups[knob_of(option).group], option, _type_of(config_class, option.name))


def _add_flag(group, option: Field, value_type: "_ValueType") -> None:
    about = knob_of(option)
    names = [name for name in (about.short, flag(option.name)) if name]
    text = about.help.replace("%", "%%")
    if value_type.item is bool:
        action = argparse.BooleanOptionalAction if about.has_negation else "store_true"
        group.add_argument(*names, action=action, default=argparse.SUPPRESS, help=text)
        return
    suffix = f" (default: {option.default})" if option.default not in (None, (), "") else ""
    group.add_argument(
        *names,
        type=about.parse or _PARSERS.get(value_type.item, value_type.item),
        default=argparse.SUPPRESS,
        choices=about.choices,
        nargs="+" if value_type.is_tuple else None if about.bare is None else "?",
        const=about.bare,
        metavar=about.metavar
        or (None if about.choices else _METAVARS.get(value_type.item, option.name.upper())),
        help=text + suffix,
    )


_METAVARS = {int: "N", float: "X", Path: "PATH"}


class _ValueType(NamedTuple):
    item: type  # of the value, or of each item of a tuple
    is_tuple: bool  # of any length
    is_optional: bool


_annotations = functools.cache(typing.get_type_hints)


def _type_of(config_class: type, name: str) -> _ValueType:
    annotation = _annotations(config_class)[name]
    is_optional = isinstance(annotation, types.UnionType) and type(None) in typing.get_args(annotation)
    if is_optional:
        annotation = next(part for part in typing.get_args(annotation) if part is not type(None))
    arguments = typing.get_args(annotation)
    is_tuple = typing.get_origin(annotation) is tuple and arguments[-1] is Ellipsis  # tuple[X, ...]
    return _ValueType(arguments[0] if is_tuple else annotation, is_tuple, is_optional)


def _knobs(config_class: type) -> dict[str, Field]:
    return {option.name: option for option in fields(config_class) if "knob" in option.metadata}


def given_flags(options: argparse.Namespace, config_class: type) -> dict[str, Any]:
    """The flags of `config_class` that were given, as values of its fields."""
    values = vars(options)
    given = {name: values[name] for name in _knobs(config_class) if name in values}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}


def as_flags(config: Any) -> list[str]:
    """The flags that give a parser the values of all fields; `given_flags` gives them back.

    Values that no flag can give, None and empty tuples, are left to the defaults.
    """
    flags = []
    for option in _knobs(type(config)).values():
        value = getattr(config, option.name)
        if isinstance(value, bool):
            no = [f"--no-{flag(option.name)[2:]}"] if knob_of(option).has_negation else []
            flags += [flag(option.name)] if value else no
        elif isinstance(value, tuple):
            flags += [flag(option.name), *map(str, value)] if value else []
        elif value is not None:
            flags.append(f"{flag(option.name)}={value}")
    return flags


def check_ranges(config: Any) -> None:
    """Raises UsageError for the first field whose value is out of its range, not finite or not among its choices."""
    for option in _knobs(type(config)).values():
        value, about = getattr(config, option.name), knob_of(option)
        for item in value if isinstance(value, tuple) else (value,):
            _check_item(option.name, item, about)


def _check_item(name: str, item: Any, about: Knob) -> None:
    if about.choices and item is not None and item not in about.choices:
        raise UsageError(
            f"{flag(name)} must be one of {', '.join(map(str, about.choices))}, got {shown(item)}"
        )
    if about.is_path and isinstance(item, str) and (fault := _path_fault(item)):
        raise UsageError(f"{flag(name)}: {fault}")
    if isinstance(item, str) and "\0" in item:
        raise UsageError(f"{flag(name)} must not contain a NUL character, got {shown(item)}")
    if isinstance(item, int | float) and not isinstance(item, bool):
        _check_number(flag(name), item, about)


def _check_number(label: str, item: float, about: Knob) -> None:
    is_finite = isinstance(item, int) or isfinite(item)  # isfinite fails for whole numbers beyond 1e308
    if is_finite and about.at_most is None and about.below is None:
        limit = about.limit or (MOST if isinstance(item, int) else FLOAT_LIMIT)
        if abs(item) > limit:
            raise UsageError(
                f"{label} must be {_range_text(replace(about, at_most=limit))}, got {_number_text(item)}"
            )
    is_within = (
        is_finite
        and (about.at_least is None or item >= about.at_least)
        and (about.above is None or item > about.above)
        and (about.at_most is None or item <= about.at_most)
        and (about.below is None or item < about.below)
    )
    if not is_within:
        finite = "" if is_finite else "a finite number, "
        raise UsageError(f"{label} must be {finite}{_range_text(about)}, got {_number_text(item)}")


def _range_text(about: Knob) -> str:
    words = {"at least": about.at_least, "above": about.above, "at most": about.at_most, "below": about.below}
    return (
        " and ".join(f"{word} {_number_text(bound)}" for word, bound in words.items() if bound is not None)
        or "any value"
    )


def _number_text(value: float) -> str:
    return shown(value) if isinstance(value, int) else f"{value:g}"


def to_json(config: Any) -> dict[str, Any]:
    """The fields that have a Knob as JSON values; `from_json` reads them back."""
    values = {name: getattr(config, name) for name in _knobs(type(config))}
    return json.loads(json.dumps(values, default=str))


def from_json(
    config_class: type, values: Any, source: str, retired: Mapping[str, str] = types.MappingProxyType({})
) -> dict[str, Any]:
    """JSON values as values of the fields. UsageError names `source` and the first key or value that is wrong.

    retired: keys of earlier versions, and their replacements.
    """
    if not isinstance(values, dict):
        raise UsageError(f"{source}: must contain a JSON object, got {type(values).__name__}")
    knobs = _knobs(config_class)
    for name in sorted(set(values) - set(knobs)):
        if name in retired:
            raise UsageError(f"{source}: the key {name} is now {retired[name]}")
        unknown = name if name.isidentifier() and len(name) <= SHOWN_CHARACTERS else shown(name)
        raise UsageError(f"{source}: unknown key {unknown}; known keys are {', '.join(knobs)}")
    return {
        name: _from_json(f"{source}: {name}", _type_of(config_class, name), value)
        for name, value in values.items()
    }


def _from_json(source: str, value_type: _ValueType, value: Any) -> Any:
    if value is None and value_type.is_optional:
        return None
    item_type = value_type.item
    expected = {Path: str, float: (int, float)}.get(item_type, item_type)
    items = value if value_type.is_tuple and isinstance(value, list) else [value]
    fits = isinstance(value, list) == value_type.is_tuple and all(
        isinstance(item, expected) and isinstance(item, bool) == (item_type is bool) for item in items
    )
    if not fits:
        wanted = f"{'a list of ' if value_type.is_tuple else ''}{item_type.__name__}"
        raise UsageError(f"{source} must be {wanted}, got {_json_shown(value)}")
    if item_type is Path and (fault := next(filter(None, map(_path_fault, items)), "")):
        raise UsageError(f"{source}: {fault}")
    return tuple(item_type(item) for item in items) if value_type.is_tuple else item_type(value)


def _json_shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def read_json(path: Path, source: str) -> Any:
    """The content of a JSON file. Raises UsageError."""
    from system.json_reader import JsonError, read_json_file

    try:
        return read_json_file(path)
    except JsonError as error:
        raise UsageError(f"{source}: {error}") from error


def report(prog: str, message: object) -> None:
    """Writes one line of a command to stderr, above any bar."""
    line = f"{prog}: {printable(message)}"
    if "tqdm" in sys.modules:
        sys.modules["tqdm"].tqdm.write(line, file=sys.stderr)
    else:
        print(line, file=sys.stderr, flush=True)

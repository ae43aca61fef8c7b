"""Flags from dataclasses: a field is a flag and a JSON key of the same name, and its default has no other home.

    @dataclass(frozen=True)
    class Config:
        steps: int = knob("updates of the network", 12000, at_least=1)

Types come from the annotations: bool, int, float, str, Path, X | None, tuple[X, ...].
"""

import argparse
import functools
import json
import sys
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from system.console import printable


class UsageError(ValueError):
    """Flags that are wrong or contradict each other or the inputs: one line, exit status 2."""


@dataclass(frozen=True)
class Knob:
    """What a field tells the command line, beside its type and default."""

    help: str
    group: str = ""  # title under which --help lists the flag
    short: str = ""  # a second name, such as -o
    metavar: str = ""
    choices: tuple[str, ...] | None = None
    has_negation: bool = False  # adds --no-FLAG, for a setting that JSON or a resumed run can switch on
    parse: Callable[[str], Any] | None = None  # text -> value, where the type alone does not tell how
    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None


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

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}{self._suggestion(message)}; see python {self.prog} --help\n")

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
        type=about.parse or value_type.item,
        default=argparse.SUPPRESS,
        choices=about.choices,
        nargs="+" if value_type.is_tuple else None,
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


def check_ranges(config: Any) -> None:
    """Raises UsageError for the first field whose value is out of its range, not finite or not among its choices."""
    for option in _knobs(type(config)).values():
        value, about = getattr(config, option.name), knob_of(option)
        for item in value if isinstance(value, tuple) else (value,):
            _check_item(option.name, item, about)


def _check_item(name: str, item: Any, about: Knob) -> None:
    if about.choices and item is not None and item not in about.choices:
        raise UsageError(f"{flag(name)} must be one of {', '.join(about.choices)}, got {item!r}")
    if isinstance(item, bool) or not isinstance(item, int | float):
        return
    is_within = (
        isfinite(item)
        and (about.at_least is None or item >= about.at_least)
        and (about.above is None or item > about.above)
        and (about.at_most is None or item <= about.at_most)
        and (about.below is None or item < about.below)
    )
    if not is_within:
        finite = "" if isfinite(item) else "a finite number, "
        raise UsageError(f"{flag(name)} must be {finite}{_range_text(about)}, got {item:g}")


def _range_text(about: Knob) -> str:
    words = {"at least": about.at_least, "above": about.above, "at most": about.at_most, "below": about.below}
    return (
        " and ".join(f"{word} {bound:g}" for word, bound in words.items() if bound is not None) or "any value"
    )


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
        raise UsageError(f"{source}: unknown key {name}; known keys are {', '.join(knobs)}")
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
        raise UsageError(f"{source} must be {wanted}, got {json.dumps(value)}")
    return tuple(item_type(item) for item in items) if value_type.is_tuple else item_type(value)


def read_json(path: Path, source: str) -> Any:
    """The content of a JSON file. Raises UsageError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{source}: cannot be read as JSON ({error})") from error


def report(prog: str, message: object) -> None:
    """Writes one line of a command to stderr."""
    print(f"{prog}: {printable(message)}", file=sys.stderr, flush=True)

"""cli/flags.py: a field is a flag and a JSON key of one name, with its range and its default."""

import argparse
import json
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

from cli.flags import (
    Parser,
    UsageError,
    add_flags,
    check_ranges,
    flag,
    from_json,
    given_flags,
    help_formatter,
    knob,
    read_json,
    to_json,
)
from cli.infer_config import GROUPS as INFER_GROUPS
from cli.infer_config import FastConfig, SlowConfig
from cli.train_config import GROUPS as TRAIN_GROUPS
from cli.train_config import TrainConfig


@dataclass(frozen=True)
class Config:
    """One field of every kind."""

    steps: int = knob("updates", 7, at_least=1)
    rate: float = knob("rate, in %", 0.5, above=0, below=1)
    share: float = knob("share", 0.0, at_least=0, at_most=1)
    limit: float | None = knob("limit")
    place: Path | None = knob("place", short="-p")
    photos: tuple[Path, ...] = knob("photos", ())
    size: tuple[int, int] | None = knob("size", parse=lambda text: tuple(map(int, text.split("x"))))
    kind: str = knob("kind", "a", choices=("a", "b"))
    fast: bool = knob("fast", False)
    safe: bool = knob("safe", True, has_negation=True)
    count: int = 3  # no knob, no flag


def parsed(*arguments: str) -> Config:
    parser = Parser(prog="door.py")
    add_flags(parser, [Config], [""])
    return Config(**given_flags(parser.parse_args(arguments), Config))


def test_types_come_from_the_annotations():
    config = parsed(
        *("--steps", "3", "--rate", "0.25", "--limit", "2", "-p", "a/b", "--photos", "a", "b"),
        *("--size", "3x4", "--kind", "b", "--fast", "--no-safe"),
    )
    assert config == Config(3, 0.25, 0.0, 2.0, Path("a/b"), (Path("a"), Path("b")), (3, 4), "b", True, False)
    assert type(config.limit) is float and type(config.steps) is int


def test_without_flags_every_field_has_its_default():
    assert parsed() == Config()


def test_only_flags_that_were_given_count_as_given():
    parser = Parser(prog="door.py")
    add_flags(parser, [Config], [""])
    options = parser.parse_args(["--steps", "7"])  # equal to the default, and given all the same
    assert given_flags(options, Config) == {"steps": 7}


def test_a_mistake_is_one_line_with_status_2(capsys):
    with pytest.raises(SystemExit) as ended:
        parsed("--steps", "many")
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == ("door.py: argument --steps: invalid int value: 'many'; see python door.py --help")


def test_a_retired_flag_is_refused_by_the_new_one_and_not_listed(capsys):
    parser = Parser(prog="door.py")
    parser.add_retired({"--old": "--new, which is better"})
    for arguments in (["--old"], ["--old", "3"], ["--old=3"]):
        with pytest.raises(SystemExit) as ended:
            parser.parse_args(arguments)
        assert ended.value.code == 2
        assert "--old is now --new, which is better" in capsys.readouterr().err
    assert "--old" not in parser.format_help()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("steps", 0, "--steps must be at least 1, got 0"),
        ("rate", 0.0, "--rate must be above 0 and below 1, got 0"),
        ("rate", 1.0, "--rate must be above 0 and below 1, got 1"),
        ("rate", float("nan"), "--rate must be a finite number, above 0 and below 1, got nan"),
        ("share", 1.5, "--share must be at least 0 and at most 1, got 1.5"),
        ("limit", float("inf"), "--limit must be a finite number, any value, got inf"),
        ("kind", "c", "--kind must be one of a, b, got 'c'"),
    ],
)
def test_a_value_out_of_its_range_is_refused(name, value, words):
    with pytest.raises(UsageError) as error:
        check_ranges(Config(**{name: value}))
    assert str(error.value) == words


def test_values_in_their_range_pass():
    check_ranges(Config(steps=1, rate=0.999, share=1.0, limit=-5.0))


def test_json_comes_back_as_it_was():
    config = Config(limit=1.5, place=Path("x"), photos=(Path("a"),))
    values = to_json(config)
    assert "count" not in values and json.loads(json.dumps(values)) == values
    assert Config(**from_json(Config, values, "file")) == config


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (None, "file: must contain a JSON object, got NoneType"),
        ([1], "file: must contain a JSON object, got list"),
        ({"stpes": 1}, "file: unknown key stpes; known keys are steps, rate"),
        ({"count": 1}, "file: unknown key count"),
        ({"steps": 1.5}, "file: steps must be int, got 1.5"),
        ({"steps": True}, "file: steps must be int, got true"),
        ({"steps": None}, "file: steps must be int, got null"),
        ({"fast": 1}, "file: fast must be bool, got 1"),
        ({"photos": "a"}, 'file: photos must be a list of Path, got "a"'),
        ({"photos": [1]}, "file: photos must be a list of Path, got [1]"),
        ({"rate": "0.5"}, 'file: rate must be float, got "0.5"'),
        ({"old": 1}, "file: the key old is now steps"),
    ],
)
def test_json_that_does_not_fit_is_refused_by_its_first_fault(values, words):
    with pytest.raises(UsageError) as error:
        from_json(Config, values, "file", {"old": "steps"})
    assert str(error.value).startswith(words)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"{'a': 1}"])
def test_a_file_that_is_no_json_is_refused(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UsageError, match="--config: cannot be read as JSON"):
        read_json(tmp_path / "a.json", "--config")


@pytest.mark.parametrize(
    ("classes", "groups"), [([TrainConfig], TRAIN_GROUPS), ([FastConfig, SlowConfig], INFER_GROUPS)]
)
def test_every_field_of_the_doors_is_a_flag_of_its_name_with_help(classes, groups):
    parser = Parser(prog="door.py", formatter_class=help_formatter)
    add_flags(parser, classes, groups)
    text = parser.format_help()
    options = {option: action for action in parser._actions for option in action.option_strings}
    for config_class in classes:
        for option in fields(config_class):
            if option.name != "photos":
                assert options[flag(option.name)].help and f" {flag(option.name)}" in text
                assert options[flag(option.name)].default == argparse.SUPPRESS


def test_a_field_of_two_classes_is_one_flag():
    parser = Parser(prog="door.py")
    add_flags(parser, [FastConfig, SlowConfig], INFER_GROUPS)
    assert sum("--max-side" in action.option_strings for action in parser._actions) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--steps", "1_000"], "invalid int value: '1_000'"),
        (["--steps", "٣"], "invalid int value: '٣'"),
        (["--steps", "9" * 5000], "a number of 5000 digits, at most 30 are allowed"),
        (["--rate", "0x1"], "invalid float value: '0x1'"),
        (["--rate", "0_1.5"], "invalid float value: '0_1.5'"),
        (["--place", ""], "a path must not be empty"),
        (["--place", "a\0b"], "must not contain a NUL character"),
        (["--place", "a" * 5000], "a path may have at most 4095 bytes, got 5000"),
        (["--place", "a/" + "b" * 256], "a name in a path may have at most 255 bytes, got 256"),
        (["--photos", "a", ""], "a path must not be empty"),
        (["--\x1b[2Jx"], r"unrecognized arguments: --\x1b[2Jx"),
        (["x" * 5000], "unrecognized arguments: xxx"),
    ],
)
def test_hostile_text_is_one_short_line_with_status_2(capsys, arguments, words):
    with pytest.raises(SystemExit) as ended:
        parsed(*arguments)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line and line.isprintable() and len(line) < 400


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        (
            "steps",
            10**19,
            "--steps must be at least 1 and at most 1000000000000000000, got 10000000000000000000",
        ),
        (
            "steps",
            -(10**400),
            "--steps must be at least 1 and at most 1000000000000000000, got a number of more than",
        ),
        ("limit", 1e39, "--limit must be at most 1e+30, got 1e+39"),
    ],
)
def test_absurd_numbers_are_refused_with_the_limit(name, value, words):
    with pytest.raises(UsageError) as error:
        check_ranges(Config(**{name: value}))
    assert str(error.value).startswith(words)


def test_paths_in_json_are_checked_like_those_of_flags():
    for values in ({"place": ""}, {"photos": ["a", "b\0"]}, {"place": "\ud800"}, {"place": "a" * 5000}):
        with pytest.raises(UsageError, match=f"^file: {next(iter(values))}: a path "):
            from_json(Config, values, "file")

"""Any text for any flag, and any JSON value as a configuration: valid, or one line with exit status 2."""

import json
import string
from dataclasses import fields

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import infer
import train
from cli.flags import UsageError, check_ranges, flag, from_json, knob_of, read_json, to_json
from cli.infer_config import FastConfig, SlowConfig
from cli.train_config import TrainConfig, settings_from_json, settled

LONGEST_LINE = 520  # characters; a list of all keys is the longest
QUIET = settings(derandomize=True, deadline=None, max_examples=60, database=None)

NUMBERS = st.one_of(
    st.integers().map(str),
    st.integers(10**19, 10**40).map(str),
    st.floats().map(str),
    st.sampled_from(
        [
            "-0.0",
            "nan",
            "-inf",
            "1e308",
            "5e-324",
            "1e-400",
            "0x10",
            "1_000",
            "٣٤",
            "²",
            "1e",
            "+7",
            " 7 ",
            "9" * 5000,
        ]
    ),
)
TEXTS = st.one_of(
    st.text(max_size=30),
    st.text(string.printable, max_size=30),
    NUMBERS,
    st.sampled_from(
        ["", "\0", "a" * 5000, "a/" * 3000, "\x1b[2J", "..", ".", "/", "/dev/null", "%s", "auto", "1x1", ":"]
    ),
)
ALL_FLAGS = {
    train: sorted(flag(option.name) for option in fields(TrainConfig)),
    infer: sorted(
        {
            flag(option.name)
            for kind in (FastConfig, SlowConfig)
            for option in fields(kind)
            if "knob" in option.metadata
        }
    ),
}
REQUIRED = {
    train: ["--style=a.png", "--content-dir=photos"],
    infer: ["a.png"],
}


def outcome(door, arguments: list[str], capsys) -> None:
    """Parses; a refusal must be status 2 and one line that a terminal can show."""
    try:
        call = door.parse_args(arguments)
        if door is train:
            train.configured(call, {})
    except UsageError as error:
        check_line(f"train.py: {error}")
    except SystemExit as ended:
        printed = capsys.readouterr()
        if ended.code == 0:
            assert printed.out  # --help
            return
        assert ended.code == 2
        check_line(printed.err.removesuffix("\n"))


def check_line(line: str) -> None:
    assert line.isprintable() and 10 < len(line) < LONGEST_LINE


@pytest.mark.parametrize("door", [train, infer], ids=["train", "infer"])
def test_any_text_for_any_flag_is_valid_or_refused_in_one_line(door, capsys):
    @QUIET
    @given(name=st.sampled_from(ALL_FLAGS[door]), text=TEXTS, more=st.lists(TEXTS, max_size=2))
    def check(name: str, text: str, more: list[str]) -> None:
        outcome(door, [*REQUIRED[door], f"{name}={text}", *more], capsys)

    check()


@pytest.mark.parametrize("mode", ["fast", "optimize"])
def test_any_number_for_any_flag_of_infer_is_valid_or_refused_in_one_line(mode, capsys):
    required = {"fast": ["--style=s"], "optimize": ["--mode=optimize", "--style-images=b.png"]}[mode]

    @QUIET
    @given(name=st.sampled_from(ALL_FLAGS[infer]), text=NUMBERS)
    def check(name: str, text: str) -> None:
        outcome(infer, ["a.png", *required, f"{name}={text}"], capsys)

    check()


def values_of(option) -> st.SearchStrategy:
    """Values of a field that are in its range."""
    about, kind = knob_of(option), TrainConfig.__annotations__[option.name]
    kind = kind if isinstance(kind, str) else getattr(kind, "__name__", str(kind))
    if about.choices:
        return st.sampled_from(about.choices)
    if "tuple" in str(TrainConfig.__annotations__[option.name]):
        return st.lists(PATHS, max_size=3)
    if option.name == "name":
        return st.text(string.ascii_letters + "äß9_", min_size=1, max_size=20)
    if option.name in (
        "width",
        "learning_rate",
        "half_size_share",
        "large_size_share",
        "clip_factor",
        "content_weight",
        "style_weight",
        "tv_weight",
        "stability",
    ):
        return st.floats(about.at_least or 0, about.at_most or 1e30, allow_nan=False)
    if type(option.default) is bool:
        return st.booleans()
    if type(option.default) is int or option.name in ("style_size", "batch_size"):
        return st.integers(int(about.at_least or 0), int(about.limit or 10**18))
    return PATHS


PATHS = st.text("abc/ äß.-", min_size=1, max_size=20)


@QUIET
@given(
    values=st.fixed_dictionaries(
        {}, optional={option.name: values_of(option) for option in fields(TrainConfig)}
    )
)
def test_any_valid_configuration_comes_back_from_json(values):
    config = settled(
        settings_from_json({"name": "a", **values, "style": "a.png", "content_dir": "p"}, "file")
    )
    check_ranges(config)
    text = json.dumps(to_json(config), allow_nan=False)
    assert TrainConfig(**from_json(TrainConfig, json.loads(text), "file")) == config


JSON_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=20), NUMBERS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
KEYS = st.one_of(st.sampled_from([option.name for option in fields(TrainConfig)]), st.text(max_size=10))


@QUIET
@given(value=st.one_of(JSON_VALUES, st.dictionaries(KEYS, JSON_VALUES, max_size=4)))
def test_any_json_value_as_a_configuration_is_valid_or_refused_in_one_line(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_text(json.dumps(value))
    try:
        values = settings_from_json(read_json(path, "--config any.json"), "--config any.json")
        check_ranges(
            settled({**values, "style": values.get("style"), "content_dir": values.get("content_dir")})
        )
    except UsageError as error:
        assert "\n" not in str(error) and len(str(error)) < LONGEST_LINE + 100


@QUIET
@given(
    content=st.one_of(
        st.binary(max_size=60), st.text('{}[]",:0123456789.eE-+ntf \\u', max_size=60).map(str.encode)
    )
)
def test_any_bytes_as_a_configuration_are_read_or_refused_in_one_line(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "bytes.json"
    path.write_bytes(content)
    try:
        read_json(path, "--config")
    except UsageError as error:
        assert "\n" not in str(error) and len(str(error)) < 300

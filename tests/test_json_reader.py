"""system/json_reader.py: JSON of users is read within limits; all else is one short line."""

import json
import os
import time

import pytest

from system.json_reader import MOST_BYTES, MOST_DEPTH, JsonError, parse_json, read_json_file

REFUSED = {
    "nothing": ("", "Expecting value"),
    "deep lists": ("[" * 100_000, "nested more than 32 deep"),
    "deep objects": ('{"a":' * 100_000, "nested more than 32 deep"),
    "deep and closed": ("[" * 500 + "]" * 500, "nested more than 32 deep"),
    "a key twice": ('{"steps": 1, "steps": 2}', "the key 'steps' occurs twice"),
    "a key twice inside": ('[{"a": {"b": 1, "b": 1}}]', "the key 'b' occurs twice"),
    "NaN": ('{"a": NaN}', "contains NaN, which is not JSON"),
    "infinity": ("[-Infinity]", "contains -Infinity, which is not JSON"),
    "a float too large": ("[1e999]", "contains the number 1e999, which is too large"),
    "31 digits": ("1" * 31, "a number of 31 digits, at most 30 are allowed"),
    "5000 digits": ("[-" + "9" * 5000 + "]", "a number of 5001 digits"),
    "a long key twice": ('{"' + "k" * 9000 + '": 1, "' + "k" * 9000 + '": 1}', "occurs twice"),
    "a NUL": ("\0", "Expecting value"),
    "no UTF-8": (b"\xff\xfe", "byte 0 is not UTF-8"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_json_or_beyond_the_limits_is_refused_in_one_short_line(name):
    text, words = REFUSED[name]
    with pytest.raises(JsonError) as caught:
        parse_json(text)
    line = str(caught.value)
    assert words in line and line.isprintable() and len(line) < 200


def test_json_within_the_limits_is_read():
    value = {"a": [1, -2.5, None, True, "ä"], "b": {"c": 10**29}}
    assert parse_json(json.dumps(value)) == value
    assert parse_json(b"\xef\xbb\xbf" + json.dumps(value).encode()) == value
    deep = "[" * MOST_DEPTH + "]" * MOST_DEPTH
    assert json.dumps(parse_json(deep)) == deep


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", "no such file"),
        ("folder", "cannot be read"),
        ("pipe", "a device or a pipe"),
        ("device", "a device or a pipe"),
        ("large", "more than 4 MB"),
        ("NUL", "null"),
    ],
)
def test_a_file_that_is_none_or_too_large_is_refused_at_once(tmp_path, kind, words):
    path = tmp_path / "a.json"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "large":
        with path.open("wb") as stream:
            stream.truncate(10**9)
    path = {"device": "/dev/zero", "NUL": tmp_path / "a\0b"}.get(kind, path)
    start = time.perf_counter()
    with pytest.raises(JsonError, match=words):
        read_json_file(path)
    assert time.perf_counter() - start < 5


def test_a_key_twice_among_hundreds_of_thousands_is_found_at_once():
    text = '{"' + '":0,"'.join(map(str, range(370_000))) + '":0,"369999":0}'
    assert 0.9 * MOST_BYTES < len(text) < MOST_BYTES
    start = time.perf_counter()
    with pytest.raises(JsonError, match="the key '369999' occurs twice"):
        parse_json(text)
    assert time.perf_counter() - start < 20


def test_an_error_tells_a_missing_file_from_a_wrong_one(tmp_path):
    with pytest.raises(JsonError) as missing:
        read_json_file(tmp_path / "missing.json")
    (tmp_path / "wrong.json").write_text("{")
    with pytest.raises(JsonError) as wrong:
        read_json_file(tmp_path / "wrong.json")
    assert isinstance(missing.value.file_error, FileNotFoundError) and wrong.value.file_error is None
    assert str(missing.value) == f"cannot be read: {missing.value.reason}"
    assert str(wrong.value) == f"cannot be read as JSON: {wrong.value.reason}"

"""Digests in style.json: a file that is damaged or of another style is refused; styles without digests load."""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from transformer.export.checksums import file_digests, read_files
from transformer.export.style_folder import META_FILES, ONNX_FILE, STYLE_FILE, StyleError, list_styles
from transformer.inference.loading import load_stylizer

IMAGE = np.random.default_rng(0).uniform(0, 255, (9, 10, 3)).astype(np.float32)
USED_FILES = (ONNX_FILE, *META_FILES)
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def style_dir(style_dirs, tmp_path) -> Path:
    """A copy of a style that a test may damage."""
    return Path(shutil.copytree(style_dirs["waves"], tmp_path / "waves"))


def refusal(style_dir: Path, file: str) -> str:
    """The message of the StyleError, of one line that names the folder."""
    with pytest.raises(StyleError) as error:
        read_files(style_dir, [file])
    message = str(error.value)
    assert message.isprintable() and str(style_dir) in message and "export the style again" in message
    return message


def edit_style_json(style_dir: Path, **values) -> None:
    path = style_dir / STYLE_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_an_exported_style_has_the_digest_of_every_other_file(style_dirs):
    digests = json.loads((style_dirs["waves"] / STYLE_FILE).read_text())["sha256"]
    names = {path.name for path in style_dirs["waves"].iterdir()} - {STYLE_FILE}
    assert digests.keys() == names >= set(USED_FILES)
    content = (style_dirs["waves"] / ONNX_FILE).read_bytes()
    assert digests[ONNX_FILE] == hashlib.sha256(content).hexdigest()


def test_the_shipped_styles_have_the_digests_of_their_files():
    style_dirs = list_styles()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [style_dir.name for style_dir in style_dirs] == re.findall(r"^\| `(\w+)` \|", readme, re.MULTILINE)
    for style_dir in style_dirs:
        digests = json.loads((style_dir / STYLE_FILE).read_text())["sha256"]
        assert digests == file_digests(style_dir)
        assert read_files(style_dir, USED_FILES).keys() == set(USED_FILES)


@pytest.mark.parametrize("file", USED_FILES)
def test_a_flipped_bit_is_refused(style_dir, file):
    content = bytearray((style_dir / file).read_bytes())
    content[-100] ^= 1
    (style_dir / file).write_bytes(content)
    assert f"{file}: damaged or of another style" in refusal(style_dir, file)


@pytest.mark.parametrize("file", USED_FILES)
def test_the_file_of_another_style_is_refused(style_dir, style_dirs, file, varied_network):
    (style_dir / file).write_bytes((style_dirs["stars"] / file).read_bytes() + b"")
    if (style_dir / file).read_bytes() == (style_dirs["waves"] / file).read_bytes():
        assert read_files(style_dir, [file])  # the meta graphs of two styles may be the same
    else:
        assert "of another style" in refusal(style_dir, file)


@pytest.mark.parametrize(
    "options", [{}, pytest.param({"runtime": "tensorflow"}, marks=pytest.mark.tensorflow)]
)
def test_loading_compares_the_digests_before_anything_runs(style_dir, style_dirs, options):
    for file in (ONNX_FILE, META_FILES[-1]):
        shutil.copy(style_dirs["stars"] / file, style_dir)
    with pytest.raises(StyleError, match="damaged or of another style: its SHA-256 digest is not the one in"):
        load_stylizer(style_dir, **options)


@pytest.mark.parametrize("style_json", [None, "{}", '{"name": "of an older version"}'])
def test_a_style_without_digests_loads(style_dir, style_json):
    expected = load_stylizer(style_dir)(IMAGE)
    (style_dir / STYLE_FILE).unlink()
    if style_json is not None:
        (style_dir / STYLE_FILE).write_text(style_json)
    np.testing.assert_array_equal(load_stylizer(style_dir)(IMAGE), expected)


@pytest.mark.parametrize(
    "digests", [None, 5, [], "text", {ONNX_FILE: 5}, {ONNX_FILE: "ab"}, {ONNX_FILE: None}]
)
def test_digests_that_are_none_are_refused(style_dir, digests):
    edit_style_json(style_dir, sha256=digests)
    assert "'sha256' must be an object of file names and digests" in refusal(style_dir, ONNX_FILE)


def test_a_file_without_a_digest_beside_files_with_digests_is_refused(style_dir):
    digests = file_digests(style_dir)
    del digests[ONNX_FILE]
    edit_style_json(style_dir, sha256=digests)
    assert f"it has no digest of {ONNX_FILE}" in refusal(style_dir, ONNX_FILE)


def test_a_file_of_absurd_size_is_refused_before_it_is_read(style_dir):
    with (style_dir / ONNX_FILE).open("wb") as file:
        file.truncate(10**12)  # a sparse file
    with pytest.raises(StyleError, match="has 1000000 MB; a file of a style may have at most 1074 MB"):
        read_files(style_dir, [ONNX_FILE])


@pytest.mark.parametrize("kind", ["pipe", "pipe that replaces the file", "folder", "device"])
def test_what_is_no_file_is_refused_and_never_waited_for(style_dir, monkeypatch, kind):
    path = style_dir / ONNX_FILE
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        os.mkfifo(path)
    if kind == "pipe that replaces the file":
        real_stat, a_file = os.stat, os.stat(__file__)
        monkeypatch.setattr(
            os, "stat", lambda name, **options: a_file if name == path else real_stat(name, **options)
        )
    assert f"{path}: is not a file" in refusal(style_dir, ONNX_FILE)


DAMAGES = st.one_of(
    st.just(("missing",)),
    st.tuples(st.just("cut"), st.floats(0, 1, exclude_max=True)),
    st.tuples(st.just("flipped"), st.floats(0, 1, exclude_max=True), st.integers(1, 255)),
    st.tuples(st.just("overwritten"), st.floats(0, 1, exclude_max=True), st.binary(min_size=1, max_size=50)),
)


def damage(path: Path, kind: str, place: float = 0.0, change=None) -> None:
    content = bytearray(path.read_bytes())
    position = int(place * len(content))
    if kind == "missing":
        path.unlink()
        return
    if kind == "cut":
        del content[position:]
    elif kind == "flipped":
        content[position] ^= change
    else:
        content[position : position + len(change)] = change
    path.write_bytes(content)


@settings(
    derandomize=True,
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.sampled_from([ONNX_FILE, STYLE_FILE]), DAMAGES)
@example(STYLE_FILE, ("missing",))
def test_a_damaged_style_gives_the_right_picture_or_one_line(style_dirs, tmp_path_factory, file, change):
    style_dir = Path(shutil.copytree(style_dirs["waves"], tmp_path_factory.mktemp("damaged") / "waves"))
    expected = load_stylizer(style_dirs["waves"])(IMAGE)
    damage(style_dir / file, *change)
    try:
        np.testing.assert_array_equal(load_stylizer(style_dir, "onnx")(IMAGE), expected)
    except StyleError as error:
        assert str(error).isprintable() and len(str(error)) < 600


@settings(
    derandomize=True,
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.sampled_from(META_FILES), DAMAGES)
def test_a_damaged_meta_graph_is_not_read_or_has_its_bytes(style_dirs, tmp_path_factory, file, change):
    style_dir = Path(shutil.copytree(style_dirs["waves"], tmp_path_factory.mktemp("damaged") / "waves"))
    expected = read_files(style_dir, META_FILES)
    damage(style_dir / file, *change)
    try:
        assert read_files(style_dir, META_FILES) == expected
    except StyleError as error:
        assert str(error).isprintable() and len(str(error)) < 600

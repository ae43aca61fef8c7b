"""transformer/export/style_folder.py: which styles there are, and what their folders contain."""

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from system.files import write_folder
from system.locks import mark_of
from transformer.export import style_folder
from transformer.export.style_folder import (
    META_FILES,
    ONNX_FILE,
    STYLES_VARIABLE,
    StyleError,
    find_style,
    hiding_style,
    list_styles,
    named_styles,
    new_styles_dir,
    own_styles_dir,
    style_info,
    style_places,
    style_source,
)


@pytest.fixture
def style_dir(style_dirs, tmp_path) -> Path:
    """A copy of a style that a test may damage."""
    return Path(shutil.copytree(style_dirs["waves"], tmp_path / "waves"))


def test_a_style_is_found_by_name_and_by_folder(style_dirs, tmp_path):
    checkpoints_dir = style_dirs["waves"].parent
    assert find_style("waves", checkpoints_dir) == style_dirs["waves"]
    assert find_style(str(style_dirs["waves"]), tmp_path) == style_dirs["waves"]


def test_an_unknown_style_is_refused_by_the_known_ones(style_dirs):
    with pytest.raises(StyleError, match="mud: no such style or folder.* stars, waves$"):
        find_style("mud", style_dirs["waves"].parent)


def test_an_unknown_style_among_none_is_refused_with_how_to_get_one(tmp_path):
    with pytest.raises(StyleError, match="none yet: train one with train.py"):
        find_style("mud", tmp_path / "nowhere")


def test_a_folder_without_a_style_is_refused_by_what_a_style_is(tmp_path):
    with pytest.raises(StyleError, match="contains no style; a style is a folder with"):
        find_style(str(tmp_path), tmp_path)


def test_the_styles_are_listed_by_name_and_nothing_else_is(style_dirs, tmp_path):
    for name in ("b", "a", ".a.1.unfinished"):
        shutil.copytree(style_dirs["waves"], tmp_path / name)
    (tmp_path / "empty").mkdir()
    (tmp_path / "README.md").write_text("no style")
    assert list_styles(tmp_path) == [tmp_path / "a", tmp_path / "b"]
    assert list_styles(tmp_path / "nowhere") == []


def test_a_style_of_either_form_is_listed(style_dirs, tmp_path):
    for name, file in {"by_onnx": ONNX_FILE, "by_meta": META_FILES[0]}.items():
        (tmp_path / name).mkdir()
        shutil.copy(style_dirs["waves"] / file, tmp_path / name)
    assert [path.name for path in list_styles(tmp_path)] == ["by_meta", "by_onnx"]


def test_style_info_is_the_content_of_style_json(style_dirs):
    assert style_info(style_dirs["waves"])["style_picture"]["source"] == "museum of waves"


def test_style_info_of_a_foreign_checkpoint_is_empty(tmp_path):
    assert style_info(tmp_path) == {}


def test_a_damaged_style_json_is_named(style_dir):
    (style_dir / "style.json").write_text("{")
    with pytest.raises(StyleError, match=r"style\.json: cannot be read") as error:
        style_info(style_dir)
    assert "\n" not in str(error.value)


BAD_INFOS = {
    "empty": b"",
    "cut off": b"{",
    "a list": b"[]",
    "a number": b"7",
    "null": b"null",
    "a text": b'"x"',
    "not UTF-8": b'{"name": "\xff"}',
    "deep": b"[" * 100_000,
    "deep object": b'{"a":' * 100_000,
    "huge number": b'{"a": ' + b"9" * 5000 + b"}",
    "too large": b'{"name": "' + b"x" * 1_000_001 + b'"}',
    "name twice": b'{"name": "a", "name": "b"}',
    "name a list": b'{"name": []}',
    "style_picture a text": b'{"style_picture": "x"}',
    "style_picture a list": b'{"style_picture": [1]}',
    "source a number": b'{"style_picture": {"source": 1}}',
    "source a list": b'{"style_picture": {"source": ["a"]}}',
    "file an object": b'{"style_picture": {"file": {}}}',
    "source half a character": b'{"style_picture": {"source": "\\ud800"}}',
    "config a number": b'{"config": 3}',
    "NaN": b'{"loss": NaN}',
    "infinity by its digits": b'{"loss": 1e999}',
    "31 digits": b'{"steps": ' + b"9" * 31 + b"}",
    "33 lists": b'{"a": ' + b"[" * 33 + b"]" * 33 + b"}",
}


@pytest.mark.parametrize("content", BAD_INFOS.values(), ids=BAD_INFOS)
def test_a_malformed_style_json_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "style.json").write_bytes(content)
    with pytest.raises(
        StyleError, match=r"style\.json: cannot be read \(.+\); export the style again"
    ) as error:
        style_info(tmp_path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


def test_what_is_no_file_is_refused_as_style_json_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "style.json")
    with pytest.raises(StyleError, match="not a file"):
        style_info(tmp_path)
    (tmp_path / "style.json").unlink()
    (tmp_path / "style.json").symlink_to("/dev/zero")
    with pytest.raises(StyleError, match="not a file"):
        style_info(tmp_path)
    (tmp_path / "style.json").unlink()
    (tmp_path / "style.json").mkdir()
    with pytest.raises(StyleError, match="not a file"):
        style_info(tmp_path)


def test_a_key_twice_at_the_end_of_a_large_style_json_is_found_at_once(tmp_path):
    keys = '":0,"'.join(map(str, range(90_000)))
    (tmp_path / "style.json").write_text('{"' + keys + '":0,"89999":0}')
    start = time.perf_counter()
    with pytest.raises(StyleError, match="the key '89999' occurs twice"):
        style_info(tmp_path)
    assert time.perf_counter() - start < 20


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=6,
)
INFOS = st.dictionaries(
    st.sampled_from(["name", "style_picture", "config", "losses"]),
    JSON_VALUES | st.dictionaries(st.sampled_from(["source", "file", "sha256"]), JSON_VALUES, max_size=3),
    max_size=4,
)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(info=INFOS | JSON_VALUES)
def test_any_json_is_read_as_it_is_or_refused(tmp_path_factory, info):
    folder = tmp_path_factory.mktemp("style")
    (folder / "style.json").write_text(json.dumps(info), encoding="utf-8")
    try:
        read = style_info(folder)
    except StyleError as error:
        assert str(error).startswith(f"{folder / 'style.json'}: cannot be read (")
    else:
        assert read == info and isinstance(style_source(read), str)


def test_the_source_of_a_style_is_that_of_its_picture_or_its_file():
    assert style_source({"style_picture": {"source": "a museum", "file": "a.png"}}) == "a museum"
    assert style_source({"style_picture": {"source": None, "file": "a.png"}}) == "a.png"
    assert style_source({"style_picture": None}) == style_source({}) == ""


def test_a_style_that_a_killed_training_left_renamed_is_found_again(tmp_path, monkeypatch):
    style = tmp_path / "waves"
    write_folder(style, lambda folder: (folder / ONNX_FILE).write_bytes(b"network"))
    retired = style.with_name(f"{mark_of(style)}.999999999.00000000.old")
    style.rename(retired)
    assert find_style("waves", tmp_path) == style
    assert not retired.exists()


@pytest.fixture
def installed(style_dirs, tmp_path, monkeypatch):
    """The package with the shipped style "waves", used in another folder whose checkpoints/ has "stars" and "waves"."""
    (tmp_path / "package").mkdir()
    (tmp_path / "here").mkdir()
    shipped_dir = tmp_path / "package" / "checkpoints"
    shutil.copytree(style_dirs["waves"], shipped_dir / "waves")
    for name, source in {"waves": "stars", "stars": "stars"}.items():
        shutil.copytree(style_dirs[source], tmp_path / "here" / "checkpoints" / name)
    monkeypatch.setattr(style_folder, "IS_INSTALLED", True)
    monkeypatch.setattr(style_folder, "CHECKPOINTS_DIR", shipped_dir)
    monkeypatch.delenv(STYLES_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path / "here")
    return shipped_dir


def test_an_installed_package_finds_shipped_styles_before_those_of_the_current_folder(installed):
    own = Path("checkpoints")
    assert find_style("waves") == installed / "waves"
    assert find_style("stars") == own / "stars"
    assert find_style("checkpoints/waves") == own / "waves"
    assert named_styles() == {
        "waves": installed / "waves",
        "stars": own / "stars",
        str(own / "waves"): own / "waves",
    }
    assert list_styles() == [own / "stars", installed / "waves"]
    with pytest.raises(
        StyleError, match=f"styles in {installed} and checkpoints: checkpoints/waves, stars, waves$"
    ):
        find_style("mud")


def test_a_folder_in_the_environment_comes_first(installed, style_dirs, monkeypatch):
    folder = style_dirs["waves"].parent
    monkeypatch.setenv(STYLES_VARIABLE, str(folder))
    assert own_styles_dir() == new_styles_dir() == folder
    assert find_style("waves") == folder / "waves"
    shutil.copyfile(folder / "stars" / ONNX_FILE, installed / "waves" / ONNX_FILE)  # else it is a copy
    assert list(named_styles()) == [str(installed / "waves"), "stars", "waves"]


def test_a_copy_of_a_shipped_style_is_not_listed_again(installed, monkeypatch):
    copy = Path(shutil.copytree(installed / "waves", "copies/waves"))
    shutil.rmtree("checkpoints")
    Path("copies").rename("checkpoints")
    assert named_styles() == {"waves": installed / "waves"}
    monkeypatch.setenv(STYLES_VARIABLE, "checkpoints")
    assert named_styles() == {"waves": Path("checkpoints/waves")}
    assert find_style("checkpoints/waves") == Path("checkpoints", copy.name)
    (installed / "waves" / ONNX_FILE).unlink()  # has its checkpoint only
    assert named_styles().keys() == {"waves", str(installed / "waves")}


def test_a_folder_by_two_names_is_looked_up_once(installed, monkeypatch):
    monkeypatch.setenv(STYLES_VARIABLE, os.path.relpath(installed))
    (installed / "stars").symlink_to(installed / "waves")
    assert style_places() == (Path(os.path.relpath(installed)),)
    assert list(named_styles()) == ["stars", "waves"]
    monkeypatch.delenv(STYLES_VARIABLE)
    monkeypatch.chdir(installed.parent)
    assert style_places() == (installed,)


def test_a_tilde_in_the_variable_is_the_home_folder(installed, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(STYLES_VARIABLE, "~/styles")
    assert own_styles_dir() == new_styles_dir() == style_places()[0] == tmp_path / "styles"


def test_a_variable_that_names_a_file_is_refused_in_one_line(installed, monkeypatch, capsys):
    import infer

    monkeypatch.setenv(STYLES_VARIABLE, __file__)
    assert infer.main(["--list-styles"]) == 1
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and f"{STYLES_VARIABLE}={__file__}: is no folder; let it name" in line


def test_an_empty_variable_names_no_folder(installed, monkeypatch):
    monkeypatch.setenv(STYLES_VARIABLE, "")
    assert own_styles_dir() == new_styles_dir() == Path("checkpoints")
    assert find_style("waves") == installed / "waves"


def test_a_name_that_leads_to_another_style_is_seen_before_a_training(installed):
    assert hiding_style(Path("checkpoints/waves")) == installed / "waves"
    assert hiding_style(Path("checkpoints/stars")) is None
    assert hiding_style(Path("elsewhere/waves")) is None  # is given by its path


def test_in_the_repository_no_style_hides_another(style_dirs, monkeypatch):
    monkeypatch.setattr(style_folder, "CHECKPOINTS_DIR", style_dirs["waves"].parent)
    assert hiding_style(style_dirs["waves"]) is None


def test_new_styles_of_the_repository_lie_beside_the_shipped_ones(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(STYLES_VARIABLE, raising=False)
    assert new_styles_dir() == style_folder.CHECKPOINTS_DIR


def test_nothing_is_renamed_among_the_shipped_styles(installed):
    retired = installed / f"{mark_of(installed / 'waves')}.1.0123abcd.old"
    (installed / "waves").rename(retired)
    shutil.rmtree("checkpoints")
    with pytest.raises(StyleError):
        find_style("waves")
    assert retired.is_dir()


def test_a_folder_of_another_user_hides_no_shipped_style(installed, monkeypatch):
    def refuse(path):
        raise PermissionError

    styles_in = Path.iterdir
    monkeypatch.setattr(
        Path, "iterdir", lambda path: refuse(path) if path == Path("checkpoints") else styles_in(path)
    )
    assert list_styles() == [installed / "waves"]

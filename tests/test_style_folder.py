"""transformer/export/style_folder.py: which styles there are, and what their folders contain."""

import shutil
from pathlib import Path

import pytest

from transformer.export.style_folder import (
    META_FILES,
    ONNX_FILE,
    StyleError,
    find_style,
    list_styles,
    style_info,
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

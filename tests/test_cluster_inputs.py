"""cluster/inputs.py: which photos a call has, and the names of their pictures. These tests need pyarrow."""

import os
from pathlib import Path

import pytest

from cli.infer_config import FastConfig
from cli.targets import suffix_rule, target_paths
from cluster.inputs import find_sources, targets_of
from data.picture_format import suffix_by_name

pytestmark = pytest.mark.cluster
pytest.importorskip("pyarrow")


@pytest.fixture
def folder(photo, tmp_path) -> Path:
    for name in ("a.jpg", "b.png", "deep/c.jpeg", "deep/c.jpg", "deep/c.png", "deep/d.gif", ".hidden/e.jpg"):
        photo(tmp_path / "in" / name)
    (tmp_path / "in" / "read.me").write_text("no image")
    return tmp_path / "in"


def places(*inputs) -> list[str]:
    return [photo.place for photo in find_sources(map(str, inputs)).photos]


def test_a_folder_gives_the_names_of_the_command_for_one_machine(folder):
    sources = find_sources([str(folder)])
    listed = [Path(photo.path) for photo in sources.photos]
    expected, faults = target_paths(
        [folder], listed, Path("out"), "waves", suffix_rule(FastConfig(style="waves"))
    )
    assert len(listed) == 6 and not faults
    targets = targets_of(sources.photos, "waves", lambda place: suffix_by_name(Path(place)))
    assert [f"out/{target.place}" for target in targets] == [str(expected[path]) for path in listed]


def test_patterns_files_and_folders_are_listed_once(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    assert places("in/*.jpg") == ["a.jpg"]
    assert places("in/**/*.jpg") == ["a.jpg", "deep/c.jpg"]
    assert places("in/deep/c.*") == ["c.jpeg", "c.jpg", "c.png"]
    assert places("in/a.jpg", "in", "in/deep") == [
        "a.jpg", "b.png", "deep/c.jpeg", "deep/c.jpg", "deep/c.png", "deep/d.gif"
    ]  # fmt: skip


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(photo, tmp_path):
    photo(tmp_path / "cat[1].jpg")
    assert places(tmp_path / "cat[1].jpg") == ["cat[1].jpg"]


def test_text_and_parquet_manifests_name_photos(folder, tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    names = ["in/a.jpg", "in/deep/c.png", str(folder / "b.png"), str(folder / "deep" / "d.gif"), "../x.jpg"]
    (tmp_path / "list.txt").write_text("\n".join(["", *names, ""]), encoding="utf-8-sig")
    parquet.write_table(pa.table({"path": names, "label": [1] * 5}), tmp_path / "list.parquet")
    expected = ["in/a.jpg", "in/deep/c.png", "x.jpg", "b.png", "deep/d.gif"]
    assert places(tmp_path / "list.txt") == places(tmp_path / "list.parquet") == expected
    photos = find_sources([str(tmp_path / "list.txt")]).photos
    assert [os.path.exists(photo.path) for photo in photos] == [True, True, False, True, True]


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("empty.txt", b"\n \n", "the manifest names no photos"),
        ("binary.lst", b"\xff\xfe\x00", "the manifest must be UTF-8 text"),
        ("bad.parquet", b"PAR1", "cannot be read as a Parquet manifest"),
        ("missing.txt", None, "there is no such file"),
        ("none/*.jpg", None, "holds no images"),
        ("none", None, "no such file or folder"),
        ("s3://", None, "names no bucket"),
        ("nope://a/b", None, "cannot be opened"),
    ],
)
def test_inputs_that_cannot_be_used_are_one_line_each(tmp_path, name, content, fault, monkeypatch):
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    path = name if "://" in name else str(tmp_path / name)
    if content is not None:
        Path(path).write_bytes(content)
    sources = find_sources([path])
    assert len(sources.faults) == 1 and fault in sources.faults[0] and "\n" not in sources.faults[0]
    assert sources.photos == []


def test_a_parquet_manifest_without_the_column_is_an_error(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({"file": ["a.jpg"]}), tmp_path / "list.parquet")
    (fault,) = find_sources([str(tmp_path / "list.parquet")]).faults
    assert "a text column 'path'" in fault


def test_pictures_of_one_name_are_kept_apart(photo, tmp_path):
    for name in ("one/a.jpg", "two/a.jpg"):
        photo(tmp_path / name)
    sources = find_sources([str(tmp_path / "one"), str(tmp_path / "two")])
    first, second = targets_of(sources.photos, "waves", lambda place: ".jpg")
    assert first.place == "a_waves.jpg" and second is None


def test_a_spare_name_never_is_that_of_another_photo(folder):
    sources = find_sources([str(folder / "deep")])
    targets = targets_of(sources.photos, "waves", lambda place: suffix_by_name(Path(place)))
    names = {photo.place: target for photo, target in zip(sources.photos, targets, strict=True)}
    assert names["c.jpg"].spare == "c_jpg_waves.png" and names["c.png"].place == "c_waves.png"
    assert names["d.gif"] == ("d_waves.png", "d_waves.png")

"""cluster/inputs.py: which photos a call has, and the names of their pictures. These tests need pyarrow."""

import os
import pickle
from pathlib import Path

import pytest

from cli.infer_config import FastConfig
from cli.targets import suffix_rule, target_paths
from cluster.inputs import Source, find_sources, targets_of
from cluster.stores import opened_store
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
    shared = f"{tmp_path.name}/in"  # below the folder that the last three share
    expected = ["in/a.jpg", "in/deep/c.png", f"{shared}/b.png", f"{shared}/deep/d.gif", "x.jpg"]
    assert places(tmp_path / "list.txt") == places(tmp_path / "list.parquet") == expected
    photos = find_sources([str(tmp_path / "list.txt")]).photos
    assert [os.path.exists(photo.path) for photo in photos] == [True, True, True, True, False]


@pytest.mark.parametrize(
    ("name", "content", "fault"),
    [
        ("empty.txt", b"\n \n", "the manifest names no photos"),
        ("binary.lst", b"\xff\xfe\x00", "the manifest must be text"),
        ("bad.parquet", b"PAR1", "cannot be read as a Parquet manifest"),
        ("missing.txt", None, "there is no such file"),
        ("none/*.jpg", None, "holds no images"),
        ("none", None, "no such file or folder"),
        ("s3://", None, "names no bucket"),
        ("nope://a/b", None, "cannot be opened"),
        ("[z-a].jpg", None, "is no pattern that can be understood"),
        ("file://host/a", None, "names another machine"),
        ("s3://key:secret@b/in", None, "must not hold a name or password"),
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
    assert first.place == "a_waves.jpg" and "would become a_waves.jpg, like another photo" in second.fault


def test_a_spare_name_never_is_that_of_another_photo(folder):
    sources = find_sources([str(folder / "deep")])
    targets = targets_of(sources.photos, "waves", lambda place: suffix_by_name(Path(place)))
    names = {photo.place: target for photo, target in zip(sources.photos, targets, strict=True)}
    assert names["c.jpg"].spare == "c_jpg_waves.png" and names["c.png"].place == "c_waves.png"
    assert names["d.gif"] == ("d_waves.png", "d_waves.png", "")
    photos = [Source(0, name, name, 1) for name in ("a.jpg", "a.bmp", "a_bmp.png")]
    first, second, third = targets_of(photos, "waves", lambda place: suffix_by_name(Path(place)))
    assert (first.spare, second.spare, third.place) == ("a_waves.png", "", "a_bmp_waves.png")


def test_no_picture_leaves_the_target(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    names = [
        "/data/in/../other/x.jpg",
        "/data/in/y.jpg",
        "in/../../z.jpg",
        "s3://b/../../up.jpg",
        "s3://b/in/ok.jpg",
    ]
    (tmp_path / "list.txt").write_text("\n".join(names))
    sources = find_sources([str(tmp_path / "list.txt")])
    (fault,) = sources.faults
    assert "s3://b/../../up.jpg: leads out of its bucket" in fault
    places = [photo.place for photo in sources.photos]
    assert len(places) == 4 and not any(".." in place or place.startswith("/") for place in places)
    outside = [Source(0, "x", "../x.jpg", 1), Source(0, "y", "/y.jpg", 1)]
    assert all(
        target.fault and not target.place for target in targets_of(outside, "waves", lambda place: ".jpg")
    )


def test_names_of_cameras_and_odd_names_are_read(photo, tmp_path):
    odd = os.fsdecode(b"caf\xe9 #1%20?.jpg")
    for name in ("_DSC1.jpg", "_report/old.jpg", odd, "a\u2028b.jpg"):
        photo(tmp_path / "in" / name)
    assert sorted(places(tmp_path / "in" / "*")) == sorted(["_DSC1.jpg", odd, "a\u2028b.jpg"])
    (tmp_path / "list.txt").write_bytes(os.fsencode(f"in/{odd}\r\nin/a\u2028b.jpg\n"))
    assert places(tmp_path / "list.txt") == [f"in/{odd}", "in/a\u2028b.jpg"]


def test_links_to_folders_are_not_followed_and_other_folders_do_not_matter(photo, tmp_path):
    photo(tmp_path / "in" / "a.jpg")
    photo(tmp_path / "in" / "deep" / "deeper" / "b.jpg")
    (tmp_path / "in" / "deep" / "loop").symlink_to(tmp_path / "in")
    assert places(tmp_path / "in" / "**" / "*.jpg") == ["a.jpg", "deep/deeper/b.jpg"]
    store, path = opened_store(f"file://{tmp_path}/in/")
    assert sorted(store.sizes_below(path, most_levels=1)) == [
        (f"{path}/a.jpg", os.path.getsize(f"{path}/a.jpg"))
    ]


def test_what_cannot_be_read_below_a_folder_is_a_fault(photo, tmp_path):
    photo(tmp_path / "in" / "a.jpg")
    (tmp_path / "in" / "broken.jpg").symlink_to(tmp_path / "none.jpg")
    sources = find_sources([str(tmp_path / "in")])
    (fault,) = sources.faults
    assert "broken.jpg: a broken link" in fault and not sources.notes and len(sources.photos) == 1


def test_a_store_travels_without_credentials(monkeypatch):
    for name, value in {
        "AZURE_STORAGE_ACCOUNT": "devstoreaccount1", "AZURE_STORAGE_KEY": "c2VjcmV0c2VjcmV0",
        "AZURE_STORAGE_BLOB_ENDPOINT": "http://127.0.0.1:1",
        "AWS_SECRET_ACCESS_KEY": "secret", "AWS_ACCESS_KEY_ID": "id", "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    for address in ("az://container/in", "s3://bucket/in"):
        store = opened_store(address)[0]
        assert b"secret" not in pickle.dumps(store) and b"c2VjcmV0" not in pickle.dumps(store)
        assert pickle.loads(pickle.dumps(store)) == store

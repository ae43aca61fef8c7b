"""data/listing.py: which files of a folder are images, and what is said about the others."""

import re
from pathlib import Path

import pytest

from data import listing
from data.listing import find_images, image_suffixes, list_images


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_list_images_searches_folders_recursively_in_order_of_name(tmp_path):
    names = ["b.png", "a.jpg", "sub/d.TIFF", "sub/c.webp", "sub/deeper/e.Gif", "z.bmp"]
    touch(*(tmp_path / name for name in names), tmp_path / "notes.txt", tmp_path / "no_suffix")
    listed = list_images([tmp_path])
    expected = ["a.jpg", "b.png", "sub/c.webp", "sub/d.TIFF", "sub/deeper/e.Gif", "z.bmp"]
    assert [path.relative_to(tmp_path).as_posix() for path in listed] == expected


def test_list_images_skips_hidden_files_and_folders_below_a_folder(tmp_path):
    folder = tmp_path / ".cache"  # hidden, yet named by the caller
    touch(folder / "seen.png", folder / ".hidden.png", folder / ".thumbnails" / "small.png")
    assert list_images([folder]) == [folder / "seen.png"]


def test_list_images_skips_a_folder_that_is_named_like_an_image(tmp_path):
    touch(tmp_path / "album.png" / "inside.jpg")
    assert list_images([tmp_path]) == [tmp_path / "album.png" / "inside.jpg"]


def test_list_images_keeps_files_as_given_whatever_their_suffix(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    touch(Path("photo.heic"), Path(".hidden"))
    assert list_images([Path("photo.heic"), Path(".hidden")]) == [Path("photo.heic"), Path(".hidden")]


def test_list_images_names_each_file_once_in_the_order_first_met(tmp_path):
    first, second, third = (tmp_path / name for name in ("a.png", "b.png", "c.png"))
    touch(first, second, third, tmp_path / "sub" / "d.png")
    roundabout = tmp_path / "sub" / ".." / "b.png"
    assert list_images([third, second, tmp_path, roundabout, third]) == [
        third,
        second,
        first,
        tmp_path / "sub" / "d.png",
    ]


def test_list_images_of_nothing_is_empty():
    assert list_images([]) == []


def test_list_images_names_a_missing_input(tmp_path, error_of):
    message = error_of(list_images, [tmp_path / "missing.png"])
    assert "no such file or folder" in message
    assert "check the spelling" in message


def test_list_images_names_a_folder_without_images(tmp_path, error_of):
    touch(tmp_path / "notes.txt", tmp_path / ".hidden.png")
    message = error_of(list_images, [tmp_path])
    assert "holds no images" in message
    assert ".bmp .gif .jpeg .jpg .png .tif .tiff .webp" in message


def test_image_suffixes_are_lower_case_and_start_with_a_dot():
    assert isinstance(image_suffixes(), frozenset)
    assert all(re.fullmatch(r"\.[a-z]+", suffix) for suffix in image_suffixes())


def test_the_suffixes_of_videos_and_of_unsupported_images_are_lower_case_too():
    for suffix in listing.UNSUPPORTED_SUFFIXES | listing.VIDEO_SUFFIXES:
        assert suffix == suffix.lower() and suffix.startswith(".")
    assert not (listing.UNSUPPORTED_SUFFIXES - {".avif"}) & (image_suffixes() | listing.VIDEO_SUFFIXES)


def test_files_that_cannot_be_used_are_reported_by_folder_and_kind(tmp_path):
    names = [
        "a.jpg",
        "b.HEIC",
        "c.heic",
        "sub/d.mp4",
        "sub/e.cr2",
        "f.heic",
        "notes.txt",
        "list.json",
        ".g.heic",
    ]
    touch(*(tmp_path / "photos" / name for name in names), tmp_path / "others" / "h.png")
    found = find_images([tmp_path / "photos", tmp_path / "others"])
    assert found.images == [tmp_path / "photos" / "a.jpg", tmp_path / "others" / "h.png"]
    skipped = ["b.HEIC", "c.heic", "f.heic", "sub/d.mp4", "sub/e.cr2"]
    assert found.skipped == {tmp_path / "photos": [tmp_path / "photos" / name for name in skipped]}
    assert found.errors == []
    assert found.skipped_lines() == [
        f"{tmp_path / 'photos'}: 5 files skipped: 3 .heic, 1 .cr2, 1 .mp4;"
        " convert images to JPEG or PNG first; stylize videos one at a time"
    ]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("b.nef", "1 file skipped: 1 .nef; convert images to JPEG or PNG first"),
        ("b.mov", "1 file skipped: 1 .mov; stylize videos one at a time"),
    ],
)
def test_the_remedy_fits_the_kind_of_the_skipped_files(tmp_path, name, line):
    touch(tmp_path / "a.jpg", tmp_path / name)
    assert find_images([tmp_path]).skipped_lines() == [f"{tmp_path}: {line}"]


def test_text_and_hidden_files_are_skipped_without_a_word(tmp_path):
    touch(tmp_path / "a.jpg", tmp_path / "notes.txt", tmp_path / ".b.heic", tmp_path / ".cache" / "c.mp4")
    assert find_images([tmp_path]).skipped_lines() == []


def test_a_folder_of_unsupported_images_alone_says_how_to_use_them(tmp_path, error_of):
    touch(tmp_path / "a.heic", tmp_path / "b.heic", tmp_path / "c.dng")
    assert error_of(list_images, [tmp_path]) == (
        f"{tmp_path}: the folder holds no images that can be read, but 2 .heic, 1 .dng;"
        " convert images to JPEG or PNG first"
    )
    assert find_images([tmp_path]).skipped == {}  # the error has said it


def test_avif_is_an_image_where_pillow_reads_it_and_else_is_reported(tmp_path, monkeypatch):
    touch(tmp_path / "a.avif", tmp_path / "b.png")
    monkeypatch.setattr(listing, "can_read_avif", lambda: True)
    assert find_images([tmp_path]) == listing.Listing([tmp_path / "a.avif", tmp_path / "b.png"])
    monkeypatch.setattr(listing, "can_read_avif", lambda: False)
    assert find_images([tmp_path]).images == [tmp_path / "b.png"]
    assert find_images([tmp_path]).skipped == {tmp_path: [tmp_path / "a.avif"]}


def test_one_bad_input_does_not_hide_the_others(tmp_path):
    touch(tmp_path / "a.png", tmp_path / "folder" / "b.png", tmp_path / "empty" / "notes.txt")
    inputs = [tmp_path / name for name in ("a.png", "misspelt.png", "empty", "folder")]
    found = find_images(inputs)
    assert found.images == [tmp_path / "a.png", tmp_path / "folder" / "b.png"]
    messages = [str(error) for error in found.errors]
    assert len(messages) == 2
    assert messages[0].startswith(f"{tmp_path / 'misspelt.png'}: no such file or folder")
    assert messages[1].startswith(f"{tmp_path / 'empty'}: the folder holds no images")


def test_list_images_raises_for_a_bad_input_among_good_ones(tmp_path):
    touch(tmp_path / "a.png")
    with pytest.raises(listing.ImageError, match=r"misspelt\.png: no such file or folder"):
        list_images([tmp_path / "a.png", tmp_path / "misspelt.png"])

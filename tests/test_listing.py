"""data/listing.py: which files of a folder are images, and what is said about the others."""

import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from data import listing
from data.listing import find_images, find_videos, holds_only_videos, image_suffixes, list_images

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _without_heif(monkeypatch):
    """HEIC is read where an optional package is installed, and skipped elsewhere."""
    monkeypatch.setattr(listing, "can_read_heif", lambda: False)


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
    assert ".bmp .gif .insp .jfif .jpe .jpeg .jpg .mpo .png .tif .tiff .webp" in message


def test_image_suffixes_are_lower_case_and_start_with_a_dot():
    assert isinstance(image_suffixes(), frozenset)
    assert all(re.fullmatch(r"\.[a-z]+", suffix) for suffix in image_suffixes())


def test_the_suffixes_of_videos_and_of_unsupported_images_are_lower_case_too():
    videos = listing.VIDEO_SUFFIXES | listing.UNSUPPORTED_VIDEO_SUFFIXES
    for suffix in listing.UNSUPPORTED_SUFFIXES | videos:
        assert suffix == suffix.lower() and suffix.startswith(".")
    assert not listing.UNSUPPORTED_VIDEO_SUFFIXES & (listing.UNSUPPORTED_SUFFIXES | listing.VIDEO_SUFFIXES)
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
        f"{tmp_path / 'photos'}: 5 files skipped: 3 .heic, 1 .cr2, 1 .mp4; pip install pillow-heif to read HEIC;"
        " convert other images to JPEG or PNG first; to stylize videos, give them, or a folder of videos only"
    ]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("b.nef", "1 file skipped: 1 .nef; convert images to JPEG or PNG first"),
        ("b.mov", "1 file skipped: 1 .mov; to stylize videos, give them, or a folder of videos only"),
        ("b.MTS", "1 file skipped: 1 .mts; convert videos to MP4 first"),
        ("b.heic", "1 file skipped: 1 .heic; pip install pillow-heif to read them"),
        ("b.ico", "1 file skipped: 1 .ico; convert images to JPEG or PNG first"),
    ],
)
def test_the_remedy_fits_the_kind_of_the_skipped_files(tmp_path, name, line):
    touch(tmp_path / "a.jpg", tmp_path / name)
    assert find_images([tmp_path]).skipped_lines() == [f"{tmp_path}: {line}"]


def test_heic_is_an_image_where_the_optional_package_is_installed(tmp_path, monkeypatch):
    names = ["a.heic", "b.HEIF", "c.hif"]
    touch(*(tmp_path / name for name in names))
    monkeypatch.setattr(listing, "can_read_heif", lambda: True)
    assert find_images([tmp_path]) == listing.Listing([tmp_path / name for name in names])


def test_other_names_of_jpeg_and_png_are_images(tmp_path):
    names = ["a.apng", "b.JFIF", "c.jpe", "d.mpo", "e.insp"]
    touch(*(tmp_path / name for name in names))
    assert find_images([tmp_path]).images == [tmp_path / name for name in names]


def test_images_without_a_suffix_are_counted_and_other_files_without_one_are_not(tmp_path):
    touch(tmp_path / "a.jpg", tmp_path / "empty")
    (tmp_path / "LICENSE").write_text("no image")
    (tmp_path / "download").write_bytes(b"\xff\xd8\xff\xe0 a photo")
    os.mkfifo(tmp_path / "pipe")
    line = "1 file skipped: 1 image without a suffix; give images a suffix, such as .jpg"
    assert find_images([tmp_path]).skipped_lines() == [f"{tmp_path}: {line}"]
    (tmp_path / "another").write_bytes(b"GIF89a")
    assert "2 files skipped: 2 images without a suffix; " in find_images([tmp_path]).skipped_lines()[0]


def test_what_two_inputs_have_in_common_is_told_once(tmp_path, monkeypatch):
    touch(tmp_path / "photos" / "sub" / "a.jpg", tmp_path / "photos" / "sub" / "b.psd")
    (tmp_path / "photos" / "sub" / "c.jpg").symlink_to("missing.jpg")
    monkeypatch.chdir(tmp_path)
    inputs = ["photos", tmp_path / "photos", "photos/sub", "misspelt", "misspelt"]
    found = find_images(map(Path, inputs))
    assert found.images == [Path("photos/sub/a.jpg")]
    assert found.skipped == {Path("photos"): [Path("photos/sub/b.psd")]}
    assert len(found.errors) == 1
    assert [str(error).split(": ")[0] for error in found.unread] == ["photos/sub/c.jpg"]


def test_a_folder_of_videos_holds_no_image_at_any_depth(tmp_path):
    touch(tmp_path / "a" / "b" / "c.mp4", tmp_path / "a" / "notes.txt", tmp_path / "a" / ".d" / "e.jpg")
    touch(tmp_path / "a" / ".f.jpg", tmp_path / "empty.txt")
    assert holds_only_videos(tmp_path / "a")
    assert find_videos([tmp_path / "a", tmp_path / "g.avi"]).images == [tmp_path / "a" / "b" / "c.mp4"]
    touch(tmp_path / "a" / "b" / "h.JPG")
    assert not holds_only_videos(tmp_path / "a")
    (tmp_path / "none").mkdir()
    assert not holds_only_videos(tmp_path / "none")


def test_text_and_hidden_files_are_skipped_without_a_word(tmp_path):
    touch(tmp_path / "a.jpg", tmp_path / "notes.txt", tmp_path / ".b.heic", tmp_path / ".cache" / "c.mp4")
    assert find_images([tmp_path]).skipped_lines() == []


def test_a_folder_of_unsupported_images_alone_says_how_to_use_them(tmp_path, error_of):
    touch(tmp_path / "a.heic", tmp_path / "b.heic", tmp_path / "c.dng")
    assert error_of(list_images, [tmp_path]) == (
        f"{tmp_path}: the folder holds no images that can be read, but 2 .heic, 1 .dng;"
        " pip install pillow-heif to read HEIC; convert other images to JPEG or PNG first"
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


# Places that cannot be read

SEARCH = """
import os, sys
from pathlib import Path
from data.listing import find_images
find_images([Path(sys.argv[1])])  # imports what it needs
if os.getuid() == 0:
    os.setuid(65534)  # nobody: permissions do not stop root
listing = find_images([Path(sys.argv[1])])
print(len(listing.images))
for error in (*listing.unread, *listing.errors):
    print(error)
"""


def lines_of_search_by_nobody(folder: Path) -> list[str]:
    finished = subprocess.run(
        [sys.executable, "-c", SEARCH, str(folder)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return finished.stdout.splitlines()


@pytest.fixture
def open_folder():
    """A folder that every user can reach, unlike tmp_path."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


@pytest.mark.parametrize("mode", [0o000, 0o300])
def test_a_folder_without_permission_is_reported_and_the_others_are_searched(open_folder, mode):
    touch(open_folder / "a.jpg", open_folder / "locked" / "b.jpg", open_folder / "sub" / "c.jpg")
    (open_folder / "locked").chmod(mode)
    try:
        count, *lines = lines_of_search_by_nobody(open_folder)
    finally:
        (open_folder / "locked").chmod(0o755)
    assert count == "2"
    assert lines == [
        f"{open_folder / 'locked'}: cannot be read: Permission denied; check the path and its permissions"
    ]


def test_a_folder_whose_files_cannot_be_reached_is_reported(open_folder):
    touch(open_folder / "a.jpg", open_folder / "listed" / "b.jpg")
    (open_folder / "listed" / "c.jpg").symlink_to("b.jpg")
    (open_folder / "listed").chmod(0o444)  # names can be listed, files not opened
    try:
        count, *lines = lines_of_search_by_nobody(open_folder)
    finally:
        (open_folder / "listed").chmod(0o755)
    assert count == "1"
    assert [line.split(": ")[0] for line in lines] == [
        str(open_folder / "listed" / name) for name in ("b.jpg", "c.jpg")
    ]
    assert all("Permission denied" in line for line in lines)


def test_a_folder_that_cannot_be_read_at_all_is_an_error_and_not_empty(open_folder):
    touch(open_folder / "locked" / "b.jpg")
    (open_folder / "locked").chmod(0)
    try:
        count, line = lines_of_search_by_nobody(open_folder)
        below, line_below = lines_of_search_by_nobody(open_folder / "locked" / "b.jpg")
    finally:
        (open_folder / "locked").chmod(0o755)
    assert count == below == "0"
    assert "locked: cannot be read: Permission denied" in line
    assert "b.jpg: cannot be read: Permission denied" in line_below


def test_a_folder_that_vanishes_is_reported(tmp_path, monkeypatch):
    touch(tmp_path / "a.jpg", tmp_path / "gone" / "b.jpg")
    scandir = os.scandir

    def vanishing_scandir(path):
        if path == tmp_path / "gone":
            shutil.rmtree(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", vanishing_scandir)
    found = find_images([tmp_path])
    assert found.images == [tmp_path / "a.jpg"]
    (error,) = found.unread
    assert str(error).startswith(f"{tmp_path / 'gone'}: cannot be read: No such file or directory")


@pytest.mark.parametrize("target", ["missing.jpg", "a.jpg/below.jpg", "loop.jpg"])
def test_a_broken_link_named_like_an_image_is_reported(tmp_path, target):
    touch(tmp_path / "a.jpg")
    (tmp_path / "loop.jpg").symlink_to(target)
    found = find_images([tmp_path])
    assert found.images == [tmp_path / "a.jpg"]
    assert [str(error) for error in found.unread] == [
        f"{tmp_path / 'loop.jpg'}: a broken link; remove it or mend it"
    ]
    assert found.skipped_lines() == [str(found.unread[0])]


def test_pipes_and_sockets_named_like_images_are_reported(tmp_path, monkeypatch):
    touch(tmp_path / "a.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "null.png").symlink_to("/dev/null")
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.webp")
        found = find_images([tmp_path])
    assert found.images == [tmp_path / "a.jpg"]
    assert [str(error).split(": ")[0] for error in found.unread] == [
        str(tmp_path / name) for name in ("null.png", "pipe.jpg", "socket.webp")
    ]
    assert all("is not a file but a pipe, socket or device" in str(error) for error in found.unread)


def test_a_pipe_given_as_an_input_is_named(tmp_path, error_of):
    os.mkfifo(tmp_path / "pipe.jpg")
    assert "is not a file but a pipe" in error_of(list_images, [tmp_path / "pipe.jpg"])


def test_a_broken_link_given_as_an_input_is_called_that(tmp_path, error_of):
    (tmp_path / "link.jpg").symlink_to("missing.jpg")
    assert "a broken link" in error_of(list_images, [tmp_path / "link.jpg"])


def test_links_that_lead_back_into_the_folder_end_and_lose_nothing(tmp_path):
    touch(tmp_path / "photos" / "sub" / "a.jpg")
    (tmp_path / "photos" / "sub" / "up").symlink_to("..")
    (tmp_path / "photos" / "self").symlink_to(".")
    (tmp_path / "photos" / "same.jpg").symlink_to("sub/a.jpg")
    found = find_images([tmp_path / "photos"])
    assert found.images == [tmp_path / "photos" / "same.jpg", tmp_path / "photos" / "sub" / "a.jpg"]
    assert found.unread == []


def test_a_link_to_a_folder_elsewhere_is_reported(tmp_path):
    touch(tmp_path / "photos" / "a.jpg", tmp_path / "elsewhere" / "b.jpg")
    (tmp_path / "photos" / "more").symlink_to(tmp_path / "elsewhere")
    found = find_images([tmp_path / "photos"])
    assert found.images == [tmp_path / "photos" / "a.jpg"]
    assert [str(error) for error in found.unread] == [
        f"{tmp_path / 'photos' / 'more'}: a link to another folder is not followed; give that folder as an input too"
    ]


def test_what_has_nothing_to_do_with_images_is_not_reported(tmp_path):
    touch(tmp_path / "a.jpg")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "notes.txt").symlink_to("missing.txt")
    (tmp_path / ".hidden.jpg").symlink_to("missing.jpg")
    assert find_images([tmp_path]) == listing.Listing([tmp_path / "a.jpg"])


def test_list_images_goes_on_without_what_cannot_be_read(tmp_path, error_of):
    """A training does not stop for a broken link; its log has the line of `skipped_lines`."""
    touch(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").symlink_to("missing.jpg")
    assert list_images([tmp_path]) == [tmp_path / "a.jpg"]
    (tmp_path / "a.jpg").unlink()
    assert error_of(list_images, [tmp_path / "b.jpg"]).endswith("a broken link; check the spelling")
    with pytest.raises(listing.ImageError, match=r"b\.jpg: a broken link; remove it"):
        list_images([tmp_path])

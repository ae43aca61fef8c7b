"""system/files.py and locks.py: what killed runs leave behind goes, what others are writing stays."""

import io
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from system import files
from system.files import (
    NotAFile,
    _exchange,
    check_folder_writable,
    check_writable,
    open_regular,
    remove_leftovers,
    restore_retired,
    temporary_folder,
    write_folder,
    write_whole,
)
from system.locks import locked


def write(path, content: bytes) -> None:
    write_whole(path, lambda stream: stream.write(content))


def test_a_file_appears_whole(tmp_path):
    write(tmp_path / "a.bin", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]
    assert (tmp_path / "a.bin").read_bytes() == b"new"


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"old")

    def fail(stream):
        stream.write(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_whole(tmp_path / "a.bin", fail)
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]
    assert (tmp_path / "a.bin").read_bytes() == b"old"


KILLED = """
import os, signal, sys
from pathlib import Path
from system.files import write_whole
write_whole(Path(sys.argv[1]), lambda stream: (stream.write(b"half"), os.kill(os.getpid(), signal.SIGKILL)))
"""
STOPPED = KILLED.replace("SIGKILL", "SIGSTOP")


def start(code: str, path) -> subprocess.Popen:
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    return subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=root)


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
@pytest.mark.parametrize("next_name", ["a.bin", "b.bin"], ids=["of the same file", "of another file"])
def test_what_a_killed_run_left_is_removed_by_the_next_write_in_that_folder(tmp_path, next_name):
    start(KILLED, tmp_path / "a.bin").wait()
    (left_behind,) = tmp_path.iterdir()
    assert left_behind.name.endswith(".tmp")
    own_number = left_behind.with_name(
        left_behind.name.replace(left_behind.name.split(".")[2], str(os.getpid()))
    )
    own_number.write_bytes(b"half")  # process numbers come back, in containers at every start
    write(tmp_path / next_name, b"whole")
    assert [path.name for path in tmp_path.iterdir()] == [next_name]


@pytest.mark.skipif(os.name != "posix", reason="needs SIGSTOP")
def test_what_a_running_process_is_writing_stays(tmp_path):
    process = start(STOPPED, tmp_path / "a.bin")
    os.waitpid(process.pid, os.WUNTRACED)
    (being_written,) = tmp_path.iterdir()
    write(tmp_path / "b.bin", b"whole")
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {being_written.name, "b.bin"}
    process.kill()
    process.wait()
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["b.bin"]


def test_a_stream_offers_no_descriptor_to_write_around_it(tmp_path):
    with pytest.raises(io.UnsupportedOperation):
        write_whole(tmp_path / "a.bin", lambda stream: stream.fileno())


def test_hidden_files_of_others_stay(tmp_path):
    names = {".mine.tmp", ".a.b.c.tmp", ".git", ".photos.2023.raw.tmp", ".0123456789abcdef.12.notes.tmp"}
    for name in names:
        (tmp_path / name).write_bytes(b"of somebody else")
    (tmp_path / ".photos.2023.raw2.tmp").mkdir()
    names.add(".photos.2023.raw2.tmp")
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == names


def fill_with(text: str):
    return lambda folder: (folder / "a.txt").write_text(text)


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    write_folder(tmp_path / "style", lambda folder: (folder / "stale.txt").write_text("old"))
    write_folder(tmp_path / "style", fill_with("new"))
    assert [path.name for path in tmp_path.rglob("*")] == ["style", "a.txt"]


def test_linux_replaces_a_folder_in_one_step(tmp_path):
    if not sys.platform.startswith("linux"):
        pytest.skip("renameat2 is a call of Linux")
    write_folder(tmp_path / "style", fill_with("old"))
    (tmp_path / "other").mkdir()
    assert _exchange(tmp_path / "style", tmp_path / "other")
    assert (tmp_path / "other" / "a.txt").read_text() == "old"
    assert not any((tmp_path / "style").iterdir())


@pytest.fixture
def no_exchange(monkeypatch):
    """A system that cannot exchange two folders in one step."""
    monkeypatch.setattr(files, "_exchange", lambda first, second: False)


@pytest.mark.usefixtures("no_exchange")
@pytest.mark.parametrize("renames_done", [0, 1])
@pytest.mark.parametrize("error", [OSError("no"), KeyboardInterrupt()], ids=["error", "signal"])
def test_a_replacement_that_is_stopped_between_its_renames_keeps_the_old_folder(
    tmp_path, monkeypatch, error, renames_done
):
    write_folder(tmp_path / "style", fill_with("old"))
    rename, calls = type(tmp_path).rename, []

    def stopped_rename(path, target):
        calls.append(path)
        if len(calls) == renames_done + 1:
            raise error
        return rename(path, target)

    monkeypatch.setattr(type(tmp_path), "rename", stopped_rename)
    with pytest.raises(type(error)):
        write_folder(tmp_path / "style", fill_with("new"))
    assert [path.name for path in tmp_path.iterdir()] == ["style"]
    assert (tmp_path / "style" / "a.txt").read_text() == "old"


KILLED_BETWEEN_RENAMES = """
import os, signal, sys
from pathlib import Path
from system import files
from system.files import write_folder
files._exchange = lambda first, second: False
rename = Path.rename
def killed_rename(path, target):
    rename(path, target)
    os.kill(os.getpid(), signal.SIGKILL)
Path.rename = type(Path(".")).rename = killed_rename
write_folder(Path(sys.argv[1]), lambda folder: (folder / "a.txt").write_text("new"))
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_an_old_folder_that_a_kill_has_left_renamed_comes_back(tmp_path):
    style = tmp_path / "style"
    write_folder(style, fill_with("old"))
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    subprocess.run([sys.executable, "-c", KILLED_BETWEEN_RENAMES, str(style)], cwd=root, check=False)
    assert not style.exists()
    restore_retired(style)
    assert (style / "a.txt").read_text() == "old"
    subprocess.run([sys.executable, "-c", KILLED_BETWEEN_RENAMES, str(style)], cwd=root, check=False)
    assert not style.exists()
    files._swept.clear()  # as in a new process

    def fail(folder):
        assert (style / "a.txt").read_text() == "old"  # before the new one is written
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_folder(style, fail)
    assert [path.name for path in tmp_path.iterdir()] == ["style"]
    write_folder(style, fill_with("newer"))
    assert (style / "a.txt").read_text() == "newer"


def test_a_lock_is_held_against_other_processes_and_leaves_nothing(tmp_path):
    with locked(tmp_path / "new" / "style"):
        with pytest.raises(BlockingIOError, match="in use"), locked(tmp_path / "new" / "style"):
            pass
        with locked(tmp_path / "new" / "other"):
            pass
    with locked(tmp_path / "new" / "style"):
        pass
    assert not any((tmp_path / "new").iterdir())


HOLDER = """
import os, signal, sys
from pathlib import Path
from system.locks import locked
with locked(Path(sys.argv[1])):
    os.kill(os.getpid(), signal.SIGSTOP)
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGSTOP")
def test_the_lock_of_a_killed_process_is_free(tmp_path):
    process = start(HOLDER, tmp_path / "style")
    os.waitpid(process.pid, os.WUNTRACED)
    with pytest.raises(BlockingIOError), locked(tmp_path / "style"):
        pass
    process.kill()
    process.wait()
    with locked(tmp_path / "style"):
        pass
    assert not any(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_named_with_its_reason(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match=r"a\.png: cannot be written: .*; check the folder"):
        check_writable(tmp_path / "file" / "a.png")
    with pytest.raises(OSError, match="cannot be written: Is a directory"):
        check_writable(tmp_path)
    with pytest.raises(OSError, match=r"file: cannot be written: "):
        check_folder_writable(tmp_path / "file")
    check_writable(tmp_path / "new" / "a.png")
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="needs named pipes")
@pytest.mark.parametrize("is_replaced", [False, True], ids=["there at once", "in the place of a file"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_only_a_regular_file_is_opened_and_nothing_is_waited_for(tmp_path, monkeypatch, kind, is_replaced):
    path = tmp_path / "place"
    {"pipe": os.mkfifo, "folder": os.mkdir, "device": lambda path: path.symlink_to("/dev/zero")}[kind](path)
    a_file, open_before = os.stat(__file__), len(os.listdir("/dev/fd"))
    with monkeypatch.context() as patch, pytest.raises(NotAFile) as caught:
        if is_replaced:
            patch.setattr(os, "stat", lambda path: a_file)
        open_regular(path)
    assert caught.value.is_folder == (kind == "folder")
    assert len(os.listdir("/dev/fd")) == open_before


def test_a_regular_file_is_opened_to_read_bytes(tmp_path):
    (tmp_path / "file").write_bytes(b"content")
    with open_regular(tmp_path / "file") as stream:
        assert stream.read() == b"content"
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "missing")
    with pytest.raises(OSError, match="null"):
        open_regular(tmp_path / "a\0b")


@pytest.mark.usefixtures("no_exchange")
def test_files_and_folders_are_replaced_where_folders_cannot_be_opened(tmp_path, monkeypatch):
    opened = os.open

    def open_file(path, flags, *mode):
        if os.path.isdir(path):
            raise PermissionError("Windows opens no folders")
        return opened(path, flags, *mode)

    with monkeypatch.context() as patch:
        patch.setattr(files, "os", SimpleNamespace(**{**vars(os), "name": "nt", "open": open_file}))
        for text in ("old", "new"):
            write(tmp_path / "a.bin", text.encode())
            write_folder(tmp_path / "style", fill_with(text))
    assert (tmp_path / "a.bin").read_bytes() == b"new"
    assert (tmp_path / "style" / "a.txt").read_text() == "new"
    assert {path.name for path in tmp_path.iterdir()} == {"a.bin", "style"}


def test_a_file_system_that_ignores_the_case_of_names_is_told_by_trying(tmp_path, monkeypatch):
    assert not files.ignores_case(tmp_path / "missing" / "folder") and list(tmp_path.iterdir()) == []
    monkeypatch.setattr(Path, "exists", lambda path: True)
    assert files.ignores_case(tmp_path)


def test_a_temporary_folder_is_for_this_user_only_and_is_removed_with_its_content(tmp_path):
    with pytest.raises(KeyError), temporary_folder(tmp_path / "uploads") as folder:
        assert folder.parent == tmp_path and folder.stat().st_mode & 0o777 == 0o700
        (folder / "request").mkdir()
        (folder / "request" / "photo.png").write_bytes(b"x")
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_the_temporary_folder_of_a_killed_process_is_removed_and_that_of_a_running_one_stays(tmp_path):
    code = "import os, signal, sys\nfrom pathlib import Path\nfrom system.files import temporary_folder\n"
    code += "with temporary_folder(Path(sys.argv[1])) as folder:\n    (folder / 'photo').touch()\n"
    code += "    os.kill(os.getpid(), signal.SIGKILL)\n"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "uploads")], cwd=Path(__file__).parents[1])
    (left,) = tmp_path.iterdir()
    with temporary_folder(tmp_path / "uploads") as first, temporary_folder(tmp_path / "uploads") as second:
        assert not left.exists() and first != second
        assert sorted(tmp_path.iterdir()) == sorted([first, second])

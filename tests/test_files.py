"""system/files.py: what killed runs leave behind goes, what others are writing stays."""

import os
import subprocess
import sys

import pytest

from system.files import check_folder_writable, check_writable, remove_leftovers, write_folder, write_whole


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
from system.files import check_folder_writable, check_writable, remove_leftovers, write_folder, write_whole
write_whole(Path(sys.argv[1]), lambda stream: (stream.write(b"half"), os.kill(os.getpid(), signal.SIGKILL)))
"""


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path):
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "a.bin")], cwd=root, check=False)
    (left_behind,) = tmp_path.iterdir()
    assert left_behind.name.endswith(".tmp")
    others = tmp_path / ".0123456789abcdef.1.00000000.tmp"  # of another target
    running = tmp_path / left_behind.name.replace(left_behind.name.split(".")[2], str(os.getppid()))
    for path in (others, running):
        path.write_bytes(b"half")
    write(tmp_path / "a.bin", b"whole")
    assert {path.name for path in tmp_path.iterdir()} == {"a.bin", others.name, running.name}
    assert (tmp_path / "a.bin").read_bytes() == b"whole"


def fill_with(text: str):
    return lambda folder: (folder / "a.txt").write_text(text)


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    write_folder(tmp_path / "style", lambda folder: (folder / "stale.txt").write_text("old"))
    write_folder(tmp_path / "style", fill_with("new"))
    assert [path.name for path in tmp_path.rglob("*")] == ["style", "a.txt"]


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
from system.files import write_folder
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

    def fail(folder):
        assert (style / "a.txt").read_text() == "old"  # before the new one is written
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_folder(style, fail)
    assert [path.name for path in tmp_path.iterdir()] == ["style"]
    write_folder(style, fill_with("newer"))
    assert (style / "a.txt").read_text() == "newer"


def test_leftovers_of_running_processes_stay(tmp_path):
    for process in (os.getpid(), 4194303):
        (tmp_path / f".0123456789abcdef.{process}.00000000.tmp").write_bytes(b"half")
    (tmp_path / ".mine.tmp").write_bytes(b"of somebody else")
    remove_leftovers(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        ".mine.tmp",
        f".0123456789abcdef.{os.getpid()}.00000000.tmp",
    }


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

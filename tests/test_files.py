"""system/files.py: what killed runs leave behind goes, what others are writing stays."""

import os
import subprocess
import sys

import pytest

from system.files import write_whole


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

"""cluster/death_marks.py: a photo that ends its process is found, others are not blamed."""

import subprocess
import sys

import pytest

from cluster.call_folder import call_folder, own_folder
from cluster.death_marks import DeathMarks

KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from cluster.death_marks import DeathMarks
marks = DeathMarks(Path(sys.argv[2]))
with marks.working_on(1):
    pass
with marks.working_on(2):
    os._exit(9)
"""


def test_a_process_that_ends_with_a_photo_leaves_a_mark(tmp_path, request):
    marks = DeathMarks(tmp_path)
    for deaths in (1, 2):
        arguments = [sys.executable, "-c", KILLED, str(request.config.rootpath), str(tmp_path)]
        assert subprocess.run(arguments).returncode == 9
        assert (marks.deaths(1), marks.deaths(2), marks.deaths(22)) == (0, deaths, 0)


def test_work_and_errors_leave_no_mark(tmp_path):
    marks = DeathMarks(tmp_path)
    with pytest.raises(KeyError), marks.working_on(3):
        assert marks.deaths(3) == 0  # this process lives
        raise KeyError
    assert list((tmp_path / "marks").iterdir()) == []


def test_a_place_that_cannot_be_written_does_not_stop_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    with DeathMarks(tmp_path / "file").working_on(1):
        pass


def test_folders_of_processes_that_are_gone_are_removed(tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    old = call_folder("old", tmp_path) / f"process_{gone.pid}"
    (old / "style").mkdir(parents=True)
    own = own_folder("new", tmp_path)
    assert own.is_dir() and not old.parent.exists()
    assert own_folder("other", tmp_path).is_dir() and own.is_dir()  # this process lives

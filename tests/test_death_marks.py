"""cluster/death_marks.py: a photo that ends its process is found, others are not blamed."""

import subprocess
import sys

import pytest

from cluster.death_marks import DeathMarks

KILLED = """
import os, sys
sys.path.insert(0, sys.argv[1])
from cluster.death_marks import DeathMarks
marks = DeathMarks(sys.argv[2])
with marks.working_on(1):
    pass
with marks.working_on(2):
    os._exit(9)
"""


@pytest.fixture
def marks(tmp_path, monkeypatch) -> DeathMarks:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return DeathMarks("call")


def test_a_process_that_ends_with_a_photo_leaves_a_mark(marks, tmp_path, request):
    for deaths in (1, 2):
        arguments = [sys.executable, "-c", KILLED, str(request.config.rootpath), "call"]
        assert subprocess.run(arguments, env={"TMPDIR": str(tmp_path)}).returncode == 9
        assert (marks.deaths(1), marks.deaths(2), marks.deaths(22)) == (0, deaths, 0)
    marks.remove()
    assert marks.deaths(2) == 0 and list(tmp_path.iterdir()) == []


def test_work_and_errors_leave_nothing(marks, tmp_path):
    with pytest.raises(KeyError), marks.working_on(3):
        assert marks.deaths(3) == 0  # this process lives
        raise KeyError
    assert list(tmp_path.iterdir()) == []

"""system/child_python.py: a program that this process does not wait for without end, and that takes limited memory."""

import math
import subprocess
import sys

import pytest

from system.child_python import door_start, run_python


def test_a_program_gets_its_arguments_and_its_output_is_returned():
    finished = run_python(
        "print(sys.argv[1:]); sys.exit(4)", "a", "-b", seconds=60, more_memory=math.inf, environment={}
    )
    assert (finished.stdout.strip(), finished.returncode) == ("['a', '-b']", 4)


def test_variables_are_added_to_those_of_this_process(monkeypatch):
    monkeypatch.setenv("OWN", "1")
    program = "import os; print(os.environ['OWN'], os.environ['ADDED'])"
    finished = run_python(program, seconds=60, more_memory=math.inf, environment={"ADDED": "2"})
    assert finished.stdout.strip() == "1 2"


@pytest.mark.parametrize("name", [pytest.param("scipy", marks=pytest.mark.tensorflow), "json", "system"])
def test_modules_in_the_working_directory_are_not_imported(tmp_path, monkeypatch, name):
    (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    finished = run_python(f"import {name}; print('ok')", seconds=60, more_memory=math.inf)
    assert finished.stdout.strip() == "ok" and not (tmp_path / "ran").exists()


def test_a_program_that_hangs_is_ended():
    with pytest.raises(subprocess.TimeoutExpired):
        run_python("import time; time.sleep(60)", seconds=0.5, more_memory=math.inf)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such limit")
def test_more_memory_than_is_allowed_cannot_be_taken():
    finished = run_python("bytearray(500_000_000)", seconds=60, more_memory=100e6)
    assert finished.returncode == 1 and "MemoryError" in finished.stderr


def test_a_door_of_the_repository_is_started_by_its_file():
    done = subprocess.run([*door_start("infer"), "--version"], capture_output=True, text=True)
    assert done.stdout.startswith("fast-style-transfer ")

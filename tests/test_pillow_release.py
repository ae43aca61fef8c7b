"""system/pillow_release.py: an old Pillow is named to the operator of a service."""

import re
from pathlib import Path

import PIL

from system import pillow_release
from system.pillow_release import LEAST, OLDEST_PYTHON, old_pillow_line

ROOT = Path(__file__).resolve().parents[1]


def test_a_new_pillow_is_not_mentioned(monkeypatch):
    for version in (f"{LEAST}.0.0", f"{LEAST}.1.0.dev0", "101.2"):
        monkeypatch.setattr(PIL, "__version__", version)
        assert old_pillow_line() == ""


def test_an_old_pillow_is_named_with_how_to_get_a_new_one(monkeypatch):
    monkeypatch.setattr(PIL, "__version__", "12.3.0")
    monkeypatch.setattr(pillow_release.sys, "version_info", (3, 12))
    line = old_pillow_line()
    assert line.startswith("Pillow 12.3.0 lacks") and "\n" not in line
    assert line.endswith('run python -m pip install --no-deps "pillow>=13"')


def test_a_python_without_a_new_pillow_is_told_which_python_has_one(monkeypatch):
    monkeypatch.setattr(PIL, "__version__", "12.3.0")
    monkeypatch.setattr(pillow_release.sys, "version_info", (3, 10, 13))
    assert old_pillow_line().endswith("use Python 3.11 or later, which has Pillow 13")


def test_the_least_pillow_is_that_of_the_requirements():
    line = re.search(r"^pillow>=(\d+)\.\S+; python_version >= \"3\.(\d+)\"$", requirements(), re.MULTILINE)
    assert (int(line[1]), (3, int(line[2]))) == (LEAST, OLDEST_PYTHON)


def requirements() -> str:
    return (ROOT / "requirements-infer.txt").read_text()

"""install/dependencies_hook.py: the package depends on what the requirements files list, and on nothing else."""

from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="needs hatchling, which builds the package")
pytest.importorskip("packaging", reason="needs packaging, which comes with hatchling")

from packaging.requirements import Requirement

from install.dependencies_hook import (
    BASE_FILE,
    EXTRA_FILES,
    LOOSENED,
    DependenciesHook,
    base_requirements,
    extra_requirements,
    name_of,
    requirements,
)
from system import program

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def files(tmp_path):
    """A function that writes requirements files into a folder; returns the folder."""

    def write(**texts: str) -> Path:
        for name, text in texts.items():
            (tmp_path / f"{name.replace('_', '-')}.txt").write_text(text)
        return tmp_path

    return write


def test_the_base_is_that_of_inference_but_for_the_loosened_ones():
    listed = {line for line in requirements(ROOT / BASE_FILE) if name_of(line) not in LOOSENED}
    assert set(base_requirements(ROOT)) == listed | set(LOOSENED.values())
    assert len(base_requirements(ROOT)) == len(set(base_requirements(ROOT)))


def test_a_loosened_requirement_is_no_looser_than_that_of_the_oldest_python():
    for name, loosened in LOOSENED.items():
        listed = [Requirement(line) for line in requirements(ROOT / BASE_FILE) if name_of(line) == name]
        assert Requirement(loosened).specifier in [requirement.specifier for requirement in listed]


def test_an_extra_has_the_lines_of_its_file_without_comments_and_without_the_base(files):
    root = files(
        requirements_infer="numpy>=1\npillow>=13 ; python_version >= '3.11'\n",
        requirements="# all\n-r requirements-infer.txt\ntensorflow>=2 # large\n",
        requirements_openvino="openvino>=2 # 60 MB\n",
        requirements_studio="-r requirements-openvino.txt\n--no-deps\ngradio>=6\nPillow>=12\n",
    )
    extras = extra_requirements(root)
    assert extras["train"] == ["tensorflow>=2"]
    assert extras["studio"] == ["openvino>=2", "gradio>=6"]
    assert "serve" not in extras  # it has no file
    assert set(extras["all"]) == {"tensorflow>=2", "openvino>=2", "gradio>=6", *extras["heic"]}


def test_every_requirements_file_of_a_part_is_an_extra():
    others = {"requirements-infer.txt", "requirements-lowest.txt", "requirements-dev.txt"}
    parts = {path.name for path in ROOT.glob("requirements*.txt")} - others
    assert parts <= set(EXTRA_FILES.values())
    assert EXTRA_FILES == program.REQUIREMENTS  # what messages say


def test_the_hook_fills_what_pyproject_leaves_open():
    metadata = {}
    DependenciesHook(str(ROOT), {}).update(metadata)
    assert set(metadata) == {"dependencies", "optional-dependencies"}
    assert {"train", "openvino", "heic", "all"} <= set(metadata["optional-dependencies"])
    for line in [*metadata["dependencies"], *metadata["optional-dependencies"]["all"]]:
        assert Requirement(line).specifier, line  # a lowest version

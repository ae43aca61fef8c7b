"""system/program.py: messages name the files of the repository, or the command where the project is installed."""

import argparse
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from cli.flags import Parser
from system import program

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setattr(program, "IS_INSTALLED", True)


def test_the_repository_is_known_by_the_name_of_the_module():
    assert not program.IS_INSTALLED
    assert (program.ROOT, program.ROOT_INDEX) == (ROOT, 0)


def test_the_repository_has_files_and_requirements():
    assert program.prog("infer") == "infer.py"
    assert program.command("train") == "python train.py"
    assert program.install_line("openvino") == "pip install -r requirements-openvino.txt"
    assert program.setup_line("train") == "make install"


def test_an_installed_program_has_subcommands_and_extras(installed):
    assert program.prog("infer") == "fast-style-transfer stylize"
    assert program.command("train") == "fast-style-transfer train"
    assert program.setup_line("train") == program.install_line("train")


LINES = [
    "numpy>=1.26.4",
    "av>=17; python_version < '3'",
    "tensorflow<3,>=2.18; extra == 'train'",
    "h5py>=3.10; (python_version >= '3') and extra == 'train'",
    "scipy>=1.11; (python_version < '3') and extra == 'train'",
    "gradio>=6; extra == 'studio'",
]


@pytest.mark.parametrize("has_pip", [True, False])
def test_packages_are_installed_into_the_environment_of_the_program(installed, monkeypatch, has_pip):
    """And by their own names: an index may have a package of our name from someone else."""
    pytest.importorskip("packaging")
    monkeypatch.setattr("importlib.metadata.requires", lambda name: LINES)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name == "pip" and has_pip)
    monkeypatch.setattr(program.sys, "executable", "/my tools/python")
    start = "'/my tools/python' -m pip install" if has_pip else "uv pip install --python '/my tools/python'"
    assert program.install_line("train") == f"{start} 'tensorflow<3,>=2.18' 'h5py>=3.10'"


def test_without_metadata_packages_are_installed_from_a_clone(installed, monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.requires", missing)
    assert program.install_line("train").endswith(' install ".[train]" in a clone of the repository')


EXAMPLES = "examples:\n  $ a --b c   writes $d\n              the same\n  curl $x\n"


def test_examples_begin_with_the_command():
    assert program.examples("train", EXAMPLES).splitlines()[1] == "  python train.py a --b c   writes $d"


def test_columns_of_examples_stay_below_each_other(installed):
    title, first, second, other = program.examples("train", EXAMPLES).splitlines()
    assert (title, other) == ("examples:", "  curl $x")
    assert first.index("writes") == second.index("the same") == len("  fast-style-transfer train a --b c   ")


def test_every_command_prints_the_version(capsys):
    with pytest.raises(SystemExit) as leaving:
        Parser(prog="infer.py").parse_args(["--version"])
    assert leaving.value.code == 0
    assert capsys.readouterr().out == f"fast-style-transfer {program_version()}\n"


def program_version() -> str:
    from system.version import VERSION

    return VERSION


def test_a_mistake_names_the_command_to_ask(installed, capsys):
    parser = Parser(prog=program.prog("infer"))
    assert isinstance(parser, argparse.ArgumentParser)
    with pytest.raises(SystemExit):
        parser.parse_args(["--stlye"])
    assert capsys.readouterr().err.endswith("; see fast-style-transfer stylize --help\n")


def test_every_make_target_of_a_message_exists():
    targets = (ROOT / "Makefile").read_text()
    assert all(f"\n{target}: " in targets for target in program.MAKE_TARGETS.values())

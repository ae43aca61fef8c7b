"""The rules of the house: who may import whom, who may speak to the user, and that flags and fields agree."""

import argparse
import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

import infer
import train

ROOT = Path(__file__).resolve().parents[1]
DOORS = ("train.py", "infer.py")
ROOMS = ("transformer", "loss_net", "data")
SLOW_LIBRARIES = {"tensorflow", "keras"}
NAMELESS = {"utils", "util", "helpers", "helper", "common", "misc", "base"}
FAST_INFERENCE = ("infer.py", "data/images.py", "transformer/runtime.py", "transformer/style_folder.py")


@dataclass(frozen=True)
class Import:
    """One imported module, "transformer.inference.stylizer", and where it is written."""

    module: str
    path: Path
    line: int
    at_module_level: bool

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]

    def __str__(self) -> str:
        return located(self.path, self.line)


def located(path: Path, line: int) -> str:
    """file:line: source, as a violation is named."""
    return (
        f"{path.relative_to(ROOT)}:{line}: {path.read_text(encoding='utf-8').splitlines()[line - 1].strip()}"
    )


def python_files(*places: str) -> list[Path]:
    found = [ROOT / place for place in places if place.endswith(".py")]
    return found + [path for place in places for path in sorted((ROOT / place).rglob("*.py"))]


def statements(tree: ast.AST, at_module_level: bool = True) -> Iterator[tuple[ast.AST, bool]]:
    """Every node, and whether importing the module runs it: function bodies wait for a call."""
    for node in ast.iter_child_nodes(tree):
        yield node, at_module_level
        is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from statements(node, at_module_level and not is_function)


def imports_of(path: Path) -> list[Import]:
    """All imports of a file; `from a import b` counts as both a and a.b, which may be a module."""
    package = path.parent.relative_to(ROOT).parts
    found = []
    for node, at_module_level in statements(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            origin = ".".join(part for part in (*above, node.module) if part)
            modules = [origin, *(f"{origin}.{alias.name}".lstrip(".") for alias in node.names)]
        else:
            continue
        found += [Import(module, path, node.lineno, at_module_level) for module in modules]
    return found


def reached(path: Path, *, at_module_level: bool) -> dict[str, Import]:
    """Every module that importing `path` leads to, by name; with False also those that its functions import."""
    modules: dict[str, Import] = {}
    waiting = [path]
    while waiting:
        for found in imports_of(waiting.pop()):
            if found.module in modules or (at_module_level and not found.at_module_level):
                continue
            modules[found.module] = found
            own = ROOT / f"{found.module.replace('.', '/')}.py"
            waiting += [own] if own.is_file() else []
    return modules


def once(lines: Iterator[str]) -> list[str]:
    return list(dict.fromkeys(lines))


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_never_import_each_other(room):
    others = set(ROOMS) - {room}
    violations = once(
        str(found) for path in python_files(room) for found in imports_of(path) if found.top in others
    )
    assert violations == []


def test_nothing_imports_a_door():
    doors = {Path(door).stem for door in DOORS}
    paths = python_files(*DOORS, *ROOMS, "benchmarks")
    assert once(str(found) for path in paths for found in imports_of(path) if found.top in doors) == []


@pytest.mark.parametrize("path", ["transformer/runtime.py", "transformer/style_folder.py", "data/images.py"])
def test_fast_inference_never_reaches_the_loss_net(path):
    modules = reached(ROOT / path, at_module_level=False)
    assert [str(found) for name, found in modules.items() if name.startswith("loss_net")] == []


@pytest.mark.parametrize("path", [*DOORS, *FAST_INFERENCE[1:]])
def test_doors_and_fast_inference_import_nothing_slow_at_module_level(path):
    modules = reached(ROOT / path, at_module_level=True)
    assert [str(found) for found in modules.values() if found.top in SLOW_LIBRARIES] == []


def speech_of(path: Path) -> list[str]:
    """Lines that read flags, print or end the process."""
    lines = []
    for node, _ in statements(ast.parse(path.read_text(encoding="utf-8"))):
        is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        is_exit = isinstance(node, ast.Attribute) and ast.unparse(node) in ("sys.exit", "os._exit")
        is_raised = isinstance(node, ast.Name) and node.id == "SystemExit"
        if is_exit or is_raised or (is_call and node.func.id in ("print", "exit", "quit", "input")):
            lines.append(located(path, node.lineno))
    flags = [str(found) for found in imports_of(path) if found.module in ("argparse", "sys.exit")]
    return once([*lines, *flags])


def test_only_doors_read_flags_print_and_exit():
    paths = [path for path in python_files(*ROOMS) if path.name != "summaries.py"]  # it owns the console line
    assert [line for path in paths for line in speech_of(path)] == []


def test_every_module_has_a_name_that_says_what_is_in_it():
    paths = [path.relative_to(ROOT) for path in python_files(*ROOMS, "benchmarks", "tests")]
    assert [
        str(path) for path in paths if {path.stem.removeprefix("test_"), path.parent.name} & NAMELESS
    ] == []


OFFENDING = """import argparse, os.path
from data import images
from . import layers
def later():
    import tensorflow as tf
    from transformer.inference.stylizer import load_stylizer
    print("done")
    sys.exit(1)
"""


@pytest.fixture
def offending_path(tmp_path, monkeypatch) -> Path:
    """A file that breaks the rules, in a repository of its own."""
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    (tmp_path / "transformer").mkdir()
    (tmp_path / "transformer" / "odd.py").write_text(OFFENDING)
    (tmp_path / "transformer" / "layers.py").write_text("import keras\n")
    return tmp_path / "transformer" / "odd.py"


def test_the_checks_see_every_form_of_an_import_and_name_its_line(offending_path):
    found = {(item.module, item.line, item.at_module_level) for item in imports_of(offending_path)}
    assert found == {
        ("argparse", 1, True),
        ("os.path", 1, True),
        ("data", 2, True),
        ("data.images", 2, True),
        ("transformer", 3, True),
        ("transformer.layers", 3, True),
        ("tensorflow", 5, False),
        ("transformer.inference.stylizer", 6, False),
        ("transformer.inference.stylizer.load_stylizer", 6, False),
    }
    assert str(imports_of(offending_path)[2]) == "transformer/odd.py:2: from data import images"
    assert "keras" in reached(offending_path, at_module_level=True)
    assert "tensorflow" not in reached(offending_path, at_module_level=True)
    assert "tensorflow" in reached(offending_path, at_module_level=False)


def test_the_checks_see_flags_prints_and_exits(offending_path):
    assert sorted(line.split(":")[1] for line in speech_of(offending_path)) == ["1", "7", "8"]


RUN_DOOR = """
import json, os, runpy, sys
os._exit = sys.exit  # infer.py leaves by it, past what follows here
sys.argv = json.loads(sys.argv[1])
sys.path.insert(0, ".")
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as exit:
    status = exit.code
loaded = sorted({name.partition(".")[0] for name in sys.modules} | {n for n in sys.modules if n.count(".") == 1})
print(json.dumps([status, loaded]))
"""


def modules_after(*command: str) -> tuple[int, set[str]]:
    """Exit status of a door's command line run by a fresh Python, and the modules it imported."""
    completed = subprocess.run(
        [sys.executable, "-c", RUN_DOOR, json.dumps(command)], cwd=ROOT, capture_output=True, text=True
    )
    assert completed.returncode == 0, completed.stderr
    status, loaded = json.loads(completed.stdout.splitlines()[-1])
    return status, set(loaded)


@pytest.mark.parametrize(
    ("command", "expected_status"),
    [
        (("train.py", "--help"), 0),
        (("train.py", "--stlye", "wave.jpg"), 2),
        (("train.py", "--style", "wave.jpg", "--steps", "many"), 2),
        (("infer.py", "--help"), 0),
        (("infer.py", "cat.jpg"), 2),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_help_and_mistakes_wait_for_no_library(command, expected_status):
    status, loaded = modules_after(*command)
    assert status == expected_status
    assert loaded & {*SLOW_LIBRARIES, "numpy", "PIL", "onnxruntime"} == set()


def test_fast_inference_imports_neither_tensorflow_nor_the_loss_net(style_dirs, photo, tmp_path):
    target = tmp_path / "art.png"
    status, loaded = modules_after(
        "infer.py", str(photo(tmp_path / "cat.png")), "--style", str(style_dirs["waves"]), "-o", str(target)
    )
    assert status == 0 and target.is_file()
    assert "onnxruntime" in loaded  # the list is of the process that did the work
    unwanted = {*SLOW_LIBRARIES, "loss_net", "onnx", "data.pipeline", "transformer.network", "train"}
    assert loaded & unwanted == set()


class ParserSeen(Exception):
    """Carries the parser out of parse_args."""


@pytest.fixture
def flags_of(monkeypatch):
    """A function of a door: its flags, and the fields they fill."""

    def parser_of(door) -> dict[str, str]:
        def stop(parser, *_):
            raise ParserSeen(parser)

        monkeypatch.setattr(argparse.ArgumentParser, "parse_args", stop)
        with pytest.raises(ParserSeen) as seen:
            door.parse_args([])
        actions = seen.value.args[0]._actions
        return {
            option: action.dest
            for action in actions
            for option in action.option_strings
            if option.startswith("--") and option != "--help"
        }

    return parser_of


def flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def test_every_field_of_a_training_is_a_flag_and_a_json_key_of_the_same_name(flags_of):
    names = {option.name for option in fields(train.TrainConfig)}
    of_this_call_only = {"config", "resume", "overwrite", "preview_grid", "grid_weights"}
    negations = {"--no-xla": "xla"}
    assert flags_of(train) == {flag(name): name for name in names | of_this_call_only} | negations
    assert set(train.config_json(train.TrainConfig())) == names


def test_every_field_of_an_inference_is_a_flag_of_the_same_name(flags_of):
    names = {option.name for option in fields(infer.InferConfig)} - {"photos"}
    assert flags_of(infer) == {flag(name): name for name in names}


def test_every_flag_has_a_line_of_help():
    for config in (train.TrainConfig, infer.InferConfig):
        for option in fields(config):
            assert option.name == "photos" or option.metadata["help"], option.name

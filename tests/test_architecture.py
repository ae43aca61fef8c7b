"""The rules of the layout. Every rule is a function that returns the violations, each as file:line: source."""

import ast
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import pytest

import infer
import train
from cli.flags import flag, to_json
from cli.infer_config import FastConfig, SlowConfig
from cli.train_config import TrainConfig

ROOT = Path(__file__).resolve().parents[1]
DOORS = {
    "train.py": 299,
    "infer.py": 249,
    "export.py": 149,
    "serve.py": 109,
    "studio.py": 149,
}  # and how many lines they may have
ROOMS = ("transformer", "loss_net", "data")
HALLS = ("cli", "web", "cluster")
PRODUCT = (*DOORS, *ROOMS, *HALLS, "system")
WEB_LIBRARIES = {"gradio", "fastapi", "starlette", "uvicorn", "prometheus_client"}
SLOW_LIBRARIES = {"tensorflow", "keras"}
NAMELESS = {"utils", "util", "helpers", "helper", "common", "misc", "base"}
# Fast inference with ONNX Runtime: what `infer.py PHOTO --style NAME` runs.
FAST_INFERENCE = (
    "infer.py",
    "cli/stylize.py",
    "cli/stylize_video.py",
    "data/photo.py",
    "data/images.py",
    "data/listing.py",
    "data/controls.py",
    "transformer/inference/stylizer.py",
    "transformer/inference/loading.py",
    "transformer/inference/tiling.py",
    "transformer/export/style_folder.py",
)
# Modules that fast inference imports on a path of its own, for TensorFlow's meta graphs and the slow mode.
NOT_FAST = {"transformer.inference.foreign_graph", "cli.optimize", "system.tensorflow_start"}


@dataclass(frozen=True)
class Import:
    """One imported module, "transformer.network", and where it is written."""

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
    source = path.read_text(encoding="utf-8").splitlines()[line - 1].strip()
    return f"{path.relative_to(ROOT)}:{line}: {source}"


def python_files(*places: str) -> list[Path]:
    found = [ROOT / place for place in places if place.endswith(".py") and (ROOT / place).is_file()]
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


def file_of(module: str) -> Path | None:
    """The file of one of our modules; None for libraries, names inside modules, and plain packages."""
    path = ROOT / f"{module.replace('.', '/')}.py"
    return path if path.is_file() else None


def reached(path: Path, *, at_module_level: bool, without: frozenset[str] = frozenset()) -> dict[str, Import]:
    """Every module that importing `path` leads to; with False also those that its functions import."""
    modules: dict[str, Import] = {}
    waiting = [path]
    while waiting:
        for found in imports_of(waiting.pop()):
            if found.module in {*modules, *without} or (at_module_level and not found.at_module_level):
                continue
            modules[found.module] = found
            own = file_of(found.module)
            waiting += [own] if own else []
    return modules


def once(lines: Iterator[str]) -> list[str]:
    return list(dict.fromkeys(lines))


def rooms_import_no_other_room() -> list[str]:
    """1a. transformer, loss_net and data never import each other; nor do they look into a hall."""
    return once(
        str(found)
        for room in ROOMS
        for path in python_files(room)
        for found in imports_of(path)
        if found.top in {*ROOMS, *HALLS} - {room}
    )


def system_imports_nothing_of_ours() -> list[str]:
    """1b. system/ is the floor that everything stands on."""
    ours = {*ROOMS, *HALLS, *(Path(door).stem for door in DOORS)}
    return once(
        str(found) for path in python_files("system") for found in imports_of(path) if found.top in ours
    )


def only_web_knows_the_web() -> list[str]:
    """1c. What runs on the command line needs no web framework; cli/ does not look into web/."""
    unwanted = {*WEB_LIBRARIES, "web"}
    doors = [door for door in DOORS if door not in ("serve.py", "studio.py")]
    paths = python_files(*doors, *ROOMS, "cli", "system")
    return once(str(found) for path in paths for found in imports_of(path) if found.top in unwanted)


def onnxruntime_has_one_door() -> list[str]:
    """1d. It sends telemetry unless its one importer forbids it."""
    allowed = ROOT / "transformer" / "inference" / "quiet_onnxruntime.py"
    paths = [path for path in python_files(*PRODUCT) if path != allowed]
    return once(str(found) for path in paths for found in imports_of(path) if found.top == "onnxruntime")


def nothing_imports_a_door() -> list[str]:
    """2a."""
    doors = {Path(door).stem for door in DOORS}
    return once(
        str(found)
        for path in python_files(*PRODUCT, "benchmarks")
        for found in imports_of(path)
        if found.top in doors and path.parent.name != "benchmarks"
    )


def no_import_cycle() -> list[str]:
    """2b. Not inside a folder either, and not by imports inside functions."""
    graph = {
        path: [(found, own) for found in imports_of(path) if (own := file_of(found.module)) and own != path]
        for path in python_files(*PRODUCT)
    }
    violations: list[str] = []
    done: set[Path] = set()

    def visit(path: Path, above: list[Path]) -> None:
        if path in done:
            return
        for found, target in graph.get(path, []):
            if target in (*above, path):
                violations.append(f"{found} closes a circle")
            else:
                visit(target, [*above, path])
        done.add(path)

    for path in graph:
        visit(path, [])
    return once(violations)


def fast_inference_never_reaches_the_loss_net() -> list[str]:
    """3a."""
    return once(
        str(found)
        for place in FAST_INFERENCE
        if (ROOT / place).is_file()
        for found in reached(ROOT / place, at_module_level=False, without=frozenset(NOT_FAST)).values()
        if found.top == "loss_net" and "list" not in found.path.name  # --list-presets prints their sources
    )


def fast_inference_never_imports_tensorflow() -> list[str]:
    """3b. With ONNX Runtime, not even inside a function."""
    return once(
        str(found)
        for place in FAST_INFERENCE
        if (ROOT / place).is_file()
        for found in reached(ROOT / place, at_module_level=False, without=frozenset(NOT_FAST)).values()
        if found.top in SLOW_LIBRARIES
    )


def nothing_slow_at_module_level() -> list[str]:
    """4. Doors, halls and data/ (pipeline.py aside): --help and a mistyped flag answer at once."""
    paths = [path for path in python_files(*DOORS, *HALLS, "data") if path.name != "pipeline.py"]
    return once(
        str(found)
        for path in paths
        for found in reached(path, at_module_level=True).values()
        if found.top in SLOW_LIBRARIES
    )


def only_doors_and_cli_speak() -> list[str]:
    """5. argparse, sys.exit and print stay out of rooms and system/."""
    return [line for path in python_files(*ROOMS, "system") for line in speech_of(path)]


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


def every_module_has_a_telling_name() -> list[str]:
    """6."""
    paths = [path.relative_to(ROOT) for path in python_files(*PRODUCT, "benchmarks", "tests")]
    return [
        f"{path}:1: a name that says nothing"
        for path in paths
        if {path.stem.removeprefix("test_"), path.parent.name} & NAMELESS
    ]


def doors_are_thin() -> list[str]:
    """7."""
    lengths = {door: len((ROOT / door).read_text().splitlines()) for door in DOORS if (ROOT / door).is_file()}
    return [
        f"{door}:{lines}: at most {DOORS[door]} lines"
        for door, lines in lengths.items()
        if lines > DOORS[door]
    ]


# Rule -> files that violate it, and the line that must be named.
PLANTED: dict[Callable[[], list[str]], tuple[dict[str, str], str]] = {
    rooms_import_no_other_room: (
        {"transformer/odd.py": "def later():\n    from data import images\n"},
        "transformer/odd.py:2: from data import images",
    ),
    system_imports_nothing_of_ours: (
        {"system/odd.py": "import cli.flags\n"},
        "system/odd.py:1: import cli.flags",
    ),
    only_web_knows_the_web: (
        {"cli/odd.py": "def later():\n    import fastapi\n"},
        "cli/odd.py:2: import fastapi",
    ),
    onnxruntime_has_one_door: (
        {"web/odd.py": "def later():\n    import onnxruntime\n"},
        "web/odd.py:2: import onnxruntime",
    ),
    nothing_imports_a_door: ({"cli/odd.py": "import os\nimport train\n"}, "cli/odd.py:2: import train"),
    no_import_cycle: (
        {"data/a.py": "from data.b import x\n", "data/b.py": "def later():\n    from data import a\n"},
        "data/b.py:2: from data import a closes a circle",
    ),
    fast_inference_never_reaches_the_loss_net: (
        {
            "infer.py": "def later():\n    import cli.odd\n",
            "cli/odd.py": "from loss_net.vgg import x\n",
            "loss_net/vgg.py": "",
        },
        "cli/odd.py:1: from loss_net.vgg import x",
    ),
    fast_inference_never_imports_tensorflow: (
        {"data/photo.py": "def later():\n    import tensorflow as tf\n"},
        "data/photo.py:2: import tensorflow as tf",
    ),
    nothing_slow_at_module_level: (
        {"train.py": "from transformer import odd\n", "transformer/odd.py": "import keras\n"},
        "transformer/odd.py:1: import keras",
    ),
    only_doors_and_cli_speak: ({"system/odd.py": "x = 1\nprint(x)\n"}, "system/odd.py:2: print(x)"),
    every_module_has_a_telling_name: ({"data/utils.py": ""}, "data/utils.py:1: a name that says nothing"),
    doors_are_thin: ({"infer.py": "x = 1\n" * 250}, "infer.py:250: at most 249 lines"),
}
rules = pytest.mark.parametrize("rule", PLANTED, ids=lambda rule: rule.__name__)


@rules
def test_the_project_follows_the_rule(rule):
    assert rule() == []


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """A function that writes files into a repository of its own, which the rules then look at."""
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)

    def write(files: dict[str, str]) -> None:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)

    return write


@rules
def test_the_rule_names_a_planted_violation_by_its_line(planted, rule):
    files, line = PLANTED[rule]
    planted(files)
    assert rule() == [line]


@pytest.mark.parametrize(
    "text",
    ["import sys\nsys.exit(1)\n", "import os\nos._exit(1)\n", "raise SystemExit\n", "import argparse\n"],
)
def test_every_way_to_speak_is_seen(planted, text):
    planted({"data/odd.py": text})
    assert len(only_doors_and_cli_speak()) == 1


def test_every_form_of_an_import_is_seen_and_its_level(planted):
    planted(
        {
            "transformer/odd.py": "import argparse, os.path\nfrom data import images\nfrom . import layers\n"
            "def later():\n    from transformer.network import stylize\n",
            "transformer/layers.py": "import keras\n",
        }
    )
    path = ROOT / "transformer" / "odd.py"
    assert {(item.module, item.line, item.at_module_level) for item in imports_of(path)} == {
        ("argparse", 1, True),
        ("os.path", 1, True),
        ("data", 2, True),
        ("data.images", 2, True),
        ("transformer", 3, True),
        ("transformer.layers", 3, True),
        ("transformer.network", 5, False),
        ("transformer.network.stylize", 5, False),
    }
    assert "keras" in reached(path, at_module_level=True)
    assert "transformer.network" not in reached(path, at_module_level=True)
    assert "transformer.network" in reached(path, at_module_level=False)


RUN_DOOR = """
import json, os, runpy, sys
os._exit = sys.exit  # infer.py leaves by it, past what follows here
sys.argv = json.loads(sys.argv[1])
sys.path.insert(0, ".")
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as exit:
    status = exit.code
loaded = sorted({name.partition(".")[0] for name in sys.modules} | {n for n in sys.modules if "." in n})
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
    assert loaded & {*SLOW_LIBRARIES, "numpy", "PIL", "onnxruntime", "tqdm"} == set()


def test_fast_inference_imports_neither_tensorflow_nor_the_loss_net(style_dirs, photo, tmp_path):
    target = tmp_path / "art.png"
    status, loaded = modules_after(
        "infer.py", str(photo(tmp_path / "cat.png")), "--style", str(style_dirs["waves"]), "-o", str(target)
    )
    assert status == 0 and target.is_file()
    assert "onnxruntime" in loaded  # the list is of the process that did the work
    unwanted = {
        *SLOW_LIBRARIES,
        "loss_net",
        "onnx",
        "data.pipeline",
        "transformer.network",
        "train",
        "cli.optimize",
    }
    assert loaded & unwanted == set()


def flags_of(door) -> dict[str, str]:
    """The flags of a door, without those that got another name, and the fields they fill."""
    import argparse

    return {
        option: action.dest
        for action in door._build_parser()._actions
        for option in action.option_strings
        if option.startswith("--")
        and option not in ("--help", "--version")
        and action.help != argparse.SUPPRESS
    }


def test_every_field_of_a_training_is_a_flag_and_a_json_key_of_the_same_name():
    names = {option.name for option in fields(TrainConfig)}
    of_this_call_only = {"config", "resume", "overwrite", "preview_grid", "grid_weights"}
    of_this_call_only |= {"cluster", "workers", "styles_from", "cpus_each"}
    negations = {"--no-xla": "xla"}
    assert flags_of(train) == {flag(name): name for name in names | of_this_call_only} | negations
    assert set(to_json(TrainConfig())) == names


def test_every_field_of_an_inference_is_a_flag_of_the_same_name():
    names = {option.name for kind in (FastConfig, SlowConfig) for option in fields(kind)} - {"photos"}
    assert flags_of(infer) == {flag(name): name for name in names}

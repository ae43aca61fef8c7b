"""What this program is called in messages: by the files in the repository, by its command where it is installed.

`pip install .` puts the modules into one package, fast_style_transfer, and gives them new names; see install/.
"""

import sys
from pathlib import Path
from typing import Any

COMMAND = "fast-style-transfer"
IS_INSTALLED = __name__.count(".") > 1  # fast_style_transfer.system.program
ROOT = Path(__file__).resolve().parents[__name__.count(".")]  # the folder from which our modules are imported
# Where ROOT stands in sys.path: the repository before all other places; site-packages behind the standard library.
ROOT_INDEX = sys.maxsize if IS_INSTALLED else 0
SUBCOMMANDS = {"infer": "stylize"}  # of doors whose subcommand has another name
# The extras of the installed package, and the files of the same packages in the repository.
REQUIREMENTS = {
    "train": "requirements.txt",
    "openvino": "requirements-openvino.txt",
    "serve": "requirements-serve.txt",
    "studio": "requirements-studio.txt",
    "cluster": "requirements-cluster.txt",
}
# Targets of make that install the same packages.
MAKE_TARGETS = {"train": "install", "studio": "studio", "serve": "serve", "cluster": "cluster"}


def prog(door: str) -> str:
    """Returns the name of a door: "infer.py", or "fast-style-transfer stylize" where it is installed."""
    return f"{COMMAND} {subcommand(door)}" if IS_INSTALLED else f"{door}.py"


def subcommand(door: str) -> str:
    """Returns the subcommand that starts a door where this project is installed."""
    return SUBCOMMANDS.get(door, door)


def started(prog: str) -> str:
    """Returns how a program is started: "python infer.py", or "fast-style-transfer stylize"."""
    return prog if IS_INSTALLED else f"python {prog}"


def command(door: str) -> str:
    """Returns how a door is started; see `started`."""
    return started(prog(door))


def install_line(extra: str) -> str:
    """Returns the command that installs the packages of one of REQUIREMENTS.

    Where this project is installed, it names the packages and this Python: with pipx and uv, the pip that a shell finds
    installs into another environment, and an index may have a foreign package of this project's name.
    """
    if not IS_INSTALLED:
        return f"pip install -r {REQUIREMENTS[extra]}"
    from importlib.util import find_spec
    from shlex import quote

    python = quote(sys.executable or "python")
    # uv makes environments without pip
    start = f"{python} -m pip install" if find_spec("pip") else f"uv pip install --python {python}"
    packages = _packages_of(extra)
    if not packages:  # the metadata are missing
        return f'{start} ".[{extra}]" in a clone of the repository'
    return " ".join([start, *map(quote, packages)])


def _packages_of(extra: str) -> list[str]:
    """Returns what an extra adds on this Python, for example ["tensorflow<3,>=2.18"]; empty if it is not known."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        from packaging.requirements import Requirement  # comes with ONNX Runtime

        lines = [Requirement(line) for line in requires(COMMAND) or ()]
    except (ImportError, PackageNotFoundError):
        return []
    return [
        f"{line.name}{_extras_of(line)}{line.specifier}"
        for line in lines
        if line.marker and line.marker.evaluate({"extra": extra}) and not line.marker.evaluate({"extra": ""})
    ]


def _extras_of(requirement: Any) -> str:
    """Returns for example "[data,train]", or ""."""
    return f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""


def inference_lines() -> list[str]:
    """Returns the commands that install what stylizing needs; the installed package comes with it."""
    if IS_INSTALLED:
        return ["the installation of this program again, which is incomplete"]
    return ["make demo", "pip install -r requirements-infer.txt"]


def setup_line(extra: str) -> str:
    """Returns the short form of `install_line`: "make install", or the command of pip where it is installed."""
    return install_line(extra) if IS_INSTALLED else f"make {MAKE_TARGETS[extra]}"


def examples(door: str, text: str) -> str:
    """Returns examples for --help: "$" at the start of a line becomes the command.

    Lines that begin with eight spaces continue the one above, and are moved with it.
    """
    start = command(door)
    return "".join(_example(line, start) for line in text.splitlines(keepends=True))


def _example(line: str, start: str) -> str:
    if line.startswith("  $ "):
        return line.replace("$", start, 1)
    is_continued = line.startswith(" " * 8)
    return " " * (len(start) - 1) + line if is_continued else line

"""Programs in processes of their own: short ones that may crash, hang or take all memory, and doors."""

import os
import subprocess
import sys
from collections.abc import Mapping

from system import limits
from system.program import IS_INSTALLED, ROOT, ROOT_INDEX, subcommand

_START = """
import sys
sys.path[:] = filter(None, sys.path)
sys.path.insert(int(sys.argv.pop(1)), sys.argv.pop(1))
from importlib import import_module
import_module(sys.argv.pop(1)).limit_memory(float(sys.argv.pop(1)))
exec(sys.argv.pop(1))
"""
_START_COMMAND = """
import sys
sys.path[:] = [*filter(None, sys.path), sys.argv.pop(1)]
from importlib import import_module
import_module(sys.argv.pop(1)).main()
"""


def door_start(door: str) -> list[str]:
    """Returns the arguments that start a door, such as "train", as a process; its flags follow them.

    Where this project is installed, the door finds no modules in the working directory, which may be anyone's.
    """
    if not IS_INSTALLED:
        return [sys.executable, str(ROOT / f"{door}.py")]
    package = __name__.partition(".")[0]
    return [sys.executable, "-c", _START_COMMAND, str(ROOT), f"{package}.command", subcommand(door)]


def run_python(
    program: str,
    *arguments: str,
    seconds: float,
    more_memory: float,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs `program` with `arguments` in sys.argv[1:], and returns its exit status and output.

    The program finds the modules that this process finds, but none in the working directory, which may be anyone's.
    more_memory: bytes of address space that it may take after its start; infinity for no limit.
    environment: variables that are added to those of this process.
    Raises OSError if no process can be started, and subprocess.TimeoutExpired after `seconds`.
    """
    start = [sys.executable, "-c", _START, str(ROOT_INDEX), str(ROOT), limits.__name__, str(more_memory)]
    return subprocess.run(
        [*start, program, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        env={**os.environ, **(environment or {})},
        timeout=seconds,
    )

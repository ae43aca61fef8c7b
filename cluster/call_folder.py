"""The folder of one call on one machine: the style of each worker, photos in work, and the marks of death_marks.py.

Ray ends workers without a word, so what they leave is removed by others: by the driver on its machine, and on other
machines by the next worker that starts there.
"""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from cluster.death_marks import is_running

_PREFIX = "fast_style_transfer_call_"
MEMORY_FOLDER = Path("/dev/shm")


def call_folder(call: str, parent: Path | None = None) -> Path:
    """Returns the folder of a call. call: its name, different for each. parent: default that of temporary files."""
    return (parent or Path(tempfile.gettempdir())) / f"{_PREFIX}{call}"


def own_folder(call: str, parent: Path | None = None) -> Path:
    """Returns a new folder of this process in the folder of a call; removes those of processes that are gone."""
    for other in (parent or Path(tempfile.gettempdir())).glob(f"{_PREFIX}*/process_*"):
        with contextlib.suppress(OSError, ValueError):
            if not is_running(int(other.name.rpartition("_")[2])):
                shutil.rmtree(other, ignore_errors=True)
                _remove_finished(other.parent)
    folder = call_folder(call, parent) / f"process_{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def remove_call(call: str) -> None:
    """Removes what a finished call left on this machine."""
    for parent in (None, MEMORY_FOLDER):
        shutil.rmtree(call_folder(call, parent), ignore_errors=True)


def _remove_finished(folder: Path) -> None:
    """Removes the folder of a call in which no process is left. Marks are kept: they count while the call lasts."""
    with contextlib.suppress(OSError):  # not empty
        folder.rmdir()

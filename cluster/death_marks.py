"""Finds photos that end the process of their worker: by a crash, or because they take all memory.

Ray starts a lost worker again and repeats its work, without end where one photo is the cause. So a mark lies in a
folder of the machine while a photo is in work. A mark whose process is gone tells that it ended with the photo.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

MOST_DEATHS = 2  # on one machine; then the photo is given up


class DeathMarks:
    """The marks of one call on this machine. folder: see call_folder.py."""

    def __init__(self, folder: Path):
        self._folder = folder / "marks"

    def deaths(self, index: int) -> int:
        """Returns how many processes have ended while they worked on photo `index`."""
        return sum(not is_running(int(mark.suffix[1:])) for mark in self._folder.glob(f"{index}.*"))

    @contextlib.contextmanager
    def working_on(self, index: int) -> Iterator[None]:
        """Within this context, this process works on photo `index`."""
        mark = self._folder / f"{index}.{os.getpid()}"
        with contextlib.suppress(OSError):  # a full disk: the photo may be computed, unwatched
            self._folder.mkdir(parents=True, exist_ok=True)
            mark.touch()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                mark.unlink(missing_ok=True)


def is_running(process: int) -> bool:
    """Returns whether a process of this machine runs."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True

"""Outputs that the main one does not depend on: they are tried, a failure is reported once, and the work goes on."""

import contextlib
from collections.abc import Hashable, Iterator

from cli.flags import report
from system.faults import one_line


class SideOutputs:
    """Tries the side outputs of one command, and remembers which of them are missing in the end."""

    def __init__(self, prog: str):
        self._prog = prog
        self._reported: set[str] = set()
        self._missing: set[Hashable] = set()

    @property
    def status(self) -> int:
        """The exit status: 1 if an output is missing."""
        return 1 if self._missing else 0

    @contextlib.contextmanager
    def attempt(self, name: str, target: Hashable, consequence: str) -> Iterator[None]:
        """Within this context a failure is reported, once for each `name`. A later success for `target` undoes it.

        consequence: what happens nevertheless, at the end of the line.
        """
        try:
            yield
        except (OSError, ValueError) as error:  # ValueError: ImageError
            self._missing.add((name, target))
            if name not in self._reported:
                self._reported.add(name)
                report(self._prog, f"{name}: {_fault(error, target)}; {consequence}")
        else:
            self._missing.discard((name, target))

    def forget(self, name: str) -> None:
        """A failure of `name` does not count in the end, because the output is written again later."""
        self._missing = {missing for missing in self._missing if missing[0] != name}


def _fault(error: OSError | ValueError, target: Hashable) -> str:
    """What went wrong; the text of an OSError of the system alone would name a temporary file."""
    reason = getattr(error, "strerror", None)
    return f"{target}: cannot be written: {reason}" if reason else one_line(error)

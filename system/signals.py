"""Ctrl-C and SIGTERM: obeyed at once by an exception, or noted until the work can stop without loss."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_STATUS = {"SIGINT": 130, "SIGTERM": 143}  # shells report 128 + number of the signal


class Interrupted(BaseException):
    """A signal that ends the work: `name` is the signal, `status` the exit status of the process.

    `done` may tell the user what is finished and how to continue.
    """

    def __init__(self, name: str):
        super().__init__(name)
        self.name = name
        self.status = EXIT_STATUS[name]
        self.done = ""


@contextmanager
def raised_interrupts() -> Iterator[None]:
    """Within this context SIGINT and SIGTERM raise Interrupted."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise Interrupted(signal.Signals(number).name)

    with _handled_by(interrupt):
        yield


class NotedInterrupts:
    """Within this context the name of the first SIGINT or SIGTERM is noted in `received`, "" before.

    The work checks `received` and stops by itself. A second signal raises Interrupted, for users who do not wait.
    """

    def __init__(self) -> None:
        self.received = ""
        self._handlers = _handled_by(self._note)

    def __enter__(self) -> "NotedInterrupts":
        self._handlers.__enter__()
        return self

    def __exit__(self, *error) -> None:
        self._handlers.__exit__(*error)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        name = signal.Signals(number).name
        if self.received:
            raise Interrupted(name)
        self.received = name


@contextmanager
def _handled_by(handler) -> Iterator[None]:
    previous = {name: signal.signal(getattr(signal, name), handler) for name in EXIT_STATUS}
    try:
        yield
    finally:
        for name, previous_handler in previous.items():
            signal.signal(getattr(signal, name), previous_handler)

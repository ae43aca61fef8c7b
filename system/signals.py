"""Signals that end the work (Ctrl-C, SIGTERM, a lost terminal): obeyed at once by an exception, or noted until the work
can stop without loss."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

EXIT_STATUS = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}  # shells report 128 + number of the signal


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
def raised_interrupts() -> Iterator[list[str]]:
    """Within this context the signals of EXIT_STATUS raise Interrupted. Gives the list of those received so far.

    Libraries may turn Interrupted into another exception, for example while they are imported. Whoever catches an
    exception within this context finds the real reason in the list.
    """
    received: list[str] = []

    def interrupt(number: int, _frame: FrameType | None) -> None:
        received.append(signal.Signals(number).name)
        raise Interrupted(received[-1])

    with _handled_by(interrupt):
        yield received


class NotedInterrupts:
    """Within this context the name of the first signal of EXIT_STATUS is noted in `received`, "" before.

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
    previous = {name: signal.signal(getattr(signal, name), handler) for name in handled_signals()}
    try:
        yield
    finally:
        for name, previous_handler in previous.items():
            signal.signal(getattr(signal, name), previous_handler)


def handled_signals() -> list[str]:
    """Returns the names in EXIT_STATUS, without SIGHUP if it is ignored: under nohup, work outlives its terminal."""
    ignores_hangup = not hasattr(signal, "SIGHUP") or signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    return [name for name in EXIT_STATUS if not (name == "SIGHUP" and ignores_hangup)]

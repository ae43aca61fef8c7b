"""Signals that end a training, noted instead of obeyed, so that no file is left half-written."""

import signal

INTERRUPTED = {"SIGINT": 130, "SIGTERM": 143}  # exit status of a shell command ended by that signal


class Interrupts:
    """Within it SIGINT and SIGTERM are noted in `received` instead of ending the process between two files."""

    def __init__(self):
        self.received = ""

    def __enter__(self):
        self._former = {name: signal.signal(getattr(signal, name), self._note) for name in INTERRUPTED}
        return self

    def __exit__(self, *_):
        for name, handler in self._former.items():
            signal.signal(getattr(signal, name), handler)

    def _note(self, number, _frame):
        if self.received:  # the second Ctrl-C is meant
            raise KeyboardInterrupt
        self.received = signal.Signals(number).name

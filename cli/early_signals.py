"""Signals before and after the work: while Python imports modules, and while it shuts down."""

import os
import signal
import sys

from system.signals import EXIT_STATUS, handled_signals


def end_on_signals() -> None:
    """Makes the signals end the process at once, with one line on stderr. Called before all other imports."""

    def end(number: int, _frame: object) -> None:
        name = signal.Signals(number).name
        try:
            os.write(2, f"{os.path.basename(sys.argv[0])}: interrupted by {name}\n".encode())
        finally:
            os._exit(EXIT_STATUS[name])

    for name in handled_signals():
        signal.signal(getattr(signal, name), end)

"""Signals before and after the work: while Python imports modules, and while it shuts down."""

# The built-in module behind `signal`. The import of `signal` itself takes milliseconds in which Ctrl-C is a traceback.
import _signal
import os
import sys


def end_on_signals() -> None:
    """Makes the signals end the process at once, with one line on stderr. Called before all other imports."""
    names = {
        getattr(_signal, name): name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(_signal, name)
    }

    def end(number: int, _frame: object) -> None:
        try:
            os.write(2, f"{os.path.basename(sys.argv[0])}: interrupted by {names[number]}\n".encode())
        finally:
            os._exit(128 + number)

    for number, name in names.items():
        if name != "SIGHUP" or _signal.getsignal(number) != _signal.SIG_IGN:  # ignored under nohup
            _signal.signal(number, end)

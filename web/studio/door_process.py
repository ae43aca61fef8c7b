"""train.py or infer.py as a child process: TensorFlow stays out of the page's process, and a signal ends the work."""

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from system.child_python import door_start
from system.program import prog

END_SECONDS = 60.0  # that a child may take to save its state
KILL_SECONDS = 10.0
_SHOWN_BYTES = 20_000  # of the end of what it has written


class DoorProcess:
    """One call of a door, such as "train". What it writes goes to `log_path`.

    It has a session of its own, so that Ctrl-C in the studio's terminal reaches the studio alone, which then ends it.
    """

    def __init__(self, door: str, arguments: Sequence[str], log_path: Path):
        self._log_path = log_path
        self._lock, self._is_asked = threading.Lock(), False
        with open(log_path, "wb") as log:
            self._process = subprocess.Popen(
                [*door_start(door), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.prefix = f"{prog(door)}: "

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def status(self) -> int | None:
        """The exit status; negative for a signal that killed it, None while it runs."""
        return self._process.poll()

    def lines(self) -> list[str]:
        """The last lines that the door has written for its user, without its name; not those of libraries."""
        lines = [line.rpartition("\r")[2] for line in self._tail().split("\n")]
        return [line.removeprefix(self.prefix) for line in lines if line.startswith(self.prefix)]

    def progress(self) -> str:
        """The last line of the progress bar, "" before the first."""
        lines = [line.strip() for line in self._tail().replace("\r", "\n").split("\n")]
        return next((line for line in reversed(lines) if "% " in line and "passed" in line), "")

    def _tail(self) -> str:
        """The end of what it has written; a training of hours writes megabytes, and every page looks often."""
        with contextlib.suppress(OSError), open(self._log_path, "rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - _SHOWN_BYTES))
            return log.read(_SHOWN_BYTES).decode("utf-8", "replace")
        return ""

    def stop(self) -> None:
        """Asks it to save its state and end; returns at once.

        It is asked once only, however many pages ask: a second signal tells a door to end without saving.
        """
        with self._lock:
            if self._is_asked or not self.is_running:
                return
            self._is_asked = True
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGINT if os.name == "posix" else signal.SIGTERM)

    def end(self, seconds: float = END_SECONDS) -> None:
        """Stops it, if nobody has yet, and waits for its end; kills it if it does not end within `seconds`."""
        self.stop()
        try:
            self._process.wait(seconds)
        except BaseException as error:  # TimeoutExpired, or a second signal of an operator who does not wait
            self._process.kill()
            self._process.wait(KILL_SECONDS)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise


def flags_of(values: Mapping[str, object]) -> list[str]:
    """Fields of a configuration as flags; each is one argument, so that no value can become a flag of its own.

    A value that is None is left out; a tuple becomes a flag and several arguments, which must be paths.
    """
    flags: list[str] = []
    for name, value in values.items():
        flag = f"--{name.replace('_', '-')}"
        if isinstance(value, tuple):
            flags += [flag, *(os.path.abspath(str(item)) for item in value)]
        elif value is not None:
            flags.append(f"{flag}={value}")
    return flags

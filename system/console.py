"""Standard streams that cannot end a run, and text that cannot command a terminal.

A terminal may be gone, a pipe may be closed, a disk may be full: work of hours must not end because a line of its
progress cannot be shown.
"""

import io
import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager, suppress


def printable(text: object) -> str:
    """Returns text on one line that a terminal shows and does not obey.

    Control and format characters, line ends included, and bytes that are not UTF-8 become escapes such as `\\x1b`.
    They come from names of files and from the files themselves.
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(character if _is_shown(character) else _escape(character) for character in text)


def _is_shown(character: str) -> bool:
    return (
        character.isprintable() or unicodedata.category(character) == "Zs"
    )  # other spaces than the usual one


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # Python's form of a byte that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")


@contextmanager
def unfailing_streams() -> Iterator["Streams"]:
    """Within this context, writing to sys.stdout and sys.stderr raises nothing; what failed is noted."""
    _open_closed_descriptors()
    before = sys.stdout, sys.stderr
    streams = Streams(*(_Unfailing(stream or _opened(number)) for number, stream in enumerate(before, 1)))
    sys.stdout, sys.stderr = streams.out, streams.error
    try:
        yield streams
    finally:
        streams.out.flush()
        streams.error.flush()
        sys.stdout, sys.stderr = before


class Streams:
    """stdout and stderr of a run."""

    def __init__(self, out: "_Unfailing", error: "_Unfailing"):
        self.out, self.error = out, error

    def output_fault(self) -> str:
        """Returns why stdout could not be written, or "". A reader that went away, as `head` does, is no fault."""
        self.out.flush()
        fault = self.out.fault
        if fault is None or isinstance(fault, BrokenPipeError):
            return ""
        return getattr(fault, "strerror", None) or str(fault)


class _Unfailing(io.TextIOBase):
    """A text stream that drops everything after its first fault, which is in `fault`."""

    def __init__(self, stream: io.TextIOBase):
        self._stream = stream
        self.fault: Exception | None = None
        with suppress(AttributeError, OSError, ValueError):  # only a TextIOWrapper has it
            stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        self._attempt(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._attempt(self._stream.flush)

    def _attempt(self, action) -> None:
        if self.fault is not None:
            return
        try:
            action()
        except (OSError, ValueError) as error:  # ValueError: the stream is closed
            self.fault = error
            self._discard_buffer()

    def _discard_buffer(self) -> None:
        """Sends what is buffered to the null device; Python would fail again when it flushes at the end."""
        with suppress(OSError, ValueError), open(os.devnull, "wb") as null:
            os.dup2(null.fileno(), self._stream.fileno())

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        try:
            return self._stream.isatty()
        except (OSError, ValueError):
            return False

    def fileno(self) -> int:
        return self._stream.fileno()

    @property
    def encoding(self) -> str:
        return getattr(self._stream, "encoding", None) or "utf-8"


def _open_closed_descriptors() -> None:
    """Opens the null device for descriptors 0 to 2 if they are closed.

    Otherwise the next file that is opened, such as a picture, would get the number 2, and messages of libraries would
    be written into it. The device is opened for reading, so that writing to a closed stdout is still a fault.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDONLY)
            if null != number:
                os.dup2(null, number)
                os.close(null)
            os.set_inheritable(number, True)


def _opened(number: int) -> io.TextIOBase:
    return open(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False)

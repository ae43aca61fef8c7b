"""A binary stream that can be handed to PyAV.

PyAV calls a stream from FFmpeg's C code. There it prints and drops exceptions: a second one in a row, and always those
that are no Exception, such as Interrupted of a signal. So no exception may leave a method of the stream, and signals
wait until PyAV has returned: Python obeys those that came during C code as soon as a method of the stream begins.
"""

import contextlib
import errno
import signal
import threading
from collections.abc import Callable, Iterator
from typing import BinaryIO

from system.signals import NotedInterrupts


class GuardedStream:
    """Reads, writes and seeks in another stream. Its first exception ends it and is raised by `raised`.

    name: what FFmpeg sees as the name of the file. fault: the first exception, or None.
    """

    def __init__(self, stream: BinaryIO, name: str = "clip"):
        self.name = name
        self._stream = stream
        self.fault: BaseException | None = None

    def read(self, size: int) -> bytes:
        """Returns up to `size` bytes; none after an exception, as at the end of a file."""
        return self._guarded(lambda: self._stream.read(size), b"")

    def write(self, content) -> int:
        """Returns the number of bytes; a negative error number, FFmpeg's mark of failure, after an exception."""
        return self._guarded(lambda: self._stream.write(content), -errno.EIO)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Returns the new position; a negative error number where there is none, as damaged files ask for."""

        def seek() -> int:
            try:
                return self._stream.seek(offset, whence)
            except (ValueError, OverflowError):
                return -errno.EINVAL
            except OSError as error:
                if error.errno == errno.EINVAL:
                    return -errno.EINVAL
                raise

        return self._guarded(seek, -errno.EIO)

    def tell(self) -> int:
        return self._stream.tell()

    def seekable(self) -> bool:
        return True

    @contextlib.contextmanager
    def raised(self) -> Iterator[None]:
        """Raises at the end of the context the exception that ended the stream, instead of what came of it."""
        try:
            yield
        except Exception:
            if self.fault is not None:
                raise self.fault from None
            raise
        if self.fault is not None:
            raise self.fault

    def _guarded(self, action: Callable, failure):
        if self.fault is not None:
            return failure
        try:
            return action()
        except BaseException as error:
            self.fault = error
            return failure


@contextlib.contextmanager
def signals_wait() -> Iterator[None]:
    """Signals that end the work and come within this context are obeyed at its end. For calls of PyAV."""
    if threading.current_thread() is not threading.main_thread():  # others receive no signals
        yield
        return
    noted = NotedInterrupts()
    try:
        with noted:
            yield
    finally:
        if noted.received:
            signal.raise_signal(signal.Signals[noted.received])

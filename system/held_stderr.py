"""Holds back what C++ libraries write to stderr, so that a caller can show it, use it or drop it."""

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator

_ONE_AT_A_TIME = threading.RLock()  # two threads would each restore what the other one has put in place


@contextlib.contextmanager
def stderr_held() -> Iterator[Callable[[], str]]:
    """Within this context, what is written to file descriptor 2 is held; C++ code does not use sys.stderr.

    Gives a function that returns what was written so far; it also works after the context. Where nothing can be held,
    for example because the temporary folder is full, the messages are shown at once and the function returns "".
    What other threads write meanwhile is held, too. Threads that enter at the same time wait for each other.
    """
    sys.stderr.flush()
    with contextlib.ExitStack() as stack:
        stack.enter_context(_ONE_AT_A_TIME)
        try:
            held = stack.enter_context(tempfile.TemporaryFile())
            stderr_copy = os.dup(2)
        except OSError:
            yield lambda: ""
            return
        text = [b""]

        def written() -> str:
            if not held.closed:
                held.seek(0)  # reading to the end leaves the place where further messages go
                text[0] = held.read()
            return text[0].decode(errors="replace")

        os.dup2(held.fileno(), 2)
        try:
            yield written
        finally:
            os.dup2(stderr_copy, 2)
            os.close(stderr_copy)
            written()  # before the file is closed

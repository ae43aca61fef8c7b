"""Turns at the network: one photo at a time, the others wait in order, and not too many of them."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

CHECK_SECONDS = 0.5  # between two looks at whether the one who waits has given up


class Busy(Exception):
    """Too many photos wait already. retry_after: seconds after which a place may be free."""

    def __init__(self, waiting: int, retry_after: float):
        super().__init__(f"{waiting} photos wait already; try again in {retry_after:.0f} seconds")
        self.retry_after = retry_after


class GaveUp(Exception):
    """The time limit has passed, or nobody waits for the picture any more."""


class Deadline:
    """The end of the time that a request may take. `check` raises GaveUp once it has passed, or after `cancel`."""

    def __init__(self, seconds: float):
        self.seconds = seconds
        self._end, self._is_cancelled = time.monotonic() + seconds, False

    def cancel(self) -> None:
        """Nobody waits for the result any more; may be called by any thread."""
        self._is_cancelled = True

    def check(self, _share: float = 0.0) -> None:
        """Raises GaveUp if the work is to end. It can be called as the progress of a photo."""
        if self._is_cancelled:
            raise GaveUp("cancelled")
        if time.monotonic() > self._end:
            raise GaveUp(
                f"the time limit of {self.seconds:g} seconds has passed; use a smaller photo or try later"
            )


class Turns:
    """First come, first served; threads may share it.

    most_waiting: how many may wait while one has its turn. typical_seconds: of a turn, before any was measured.
    """

    def __init__(self, most_waiting: int, typical_seconds: float = 1.0):
        self._most_waiting, self._seconds = most_waiting, typical_seconds
        self._queue: deque[object] = deque()  # its head has the turn
        self._changed = threading.Condition()

    @property
    def waiting(self) -> int:
        """How many wait now, without the one who has the turn."""
        return max(0, len(self._queue) - 1)

    @contextmanager
    def turn(
        self, deadline: Deadline, on_place: Callable[[int], None] = lambda place: None
    ) -> Iterator[None]:
        """Waits for the turn and holds it within this context.

        on_place: is told how many are before this one, whenever that changes.
        Raises Busy at once if too many wait, and GaveUp if the deadline passes meanwhile.
        """
        ticket = object()
        with self._changed:
            if len(self._queue) > self._most_waiting:
                raise Busy(self.waiting, max(1.0, self._seconds * len(self._queue)))
            self._queue.append(ticket)
        try:
            self._wait(ticket, deadline, on_place)
            start = time.monotonic()
            yield
            self._seconds += 0.2 * (time.monotonic() - start - self._seconds)
        finally:
            with self._changed:
                self._queue.remove(ticket)
                self._changed.notify_all()

    def _wait(self, ticket: object, deadline: Deadline, on_place: Callable[[int], None]) -> None:
        last = -1
        while True:
            with self._changed:
                place = self._queue.index(ticket)
                if place == last:
                    self._changed.wait(CHECK_SECONDS)
                    place = self._queue.index(ticket)
            deadline.check()
            if place != last:
                last = place
                on_place(place)
            if place == 0:
                return

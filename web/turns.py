"""Turns: a few may work at once, the others wait in order, and not too many of them."""

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FIRST_SECONDS = 1.0  # that a turn takes, before any was measured
CHECK_SECONDS = 0.5  # between two looks at whether the one who waits has given up


class Busy(Exception):
    """There is too much to do already. retry_after: seconds after which a place may be free."""

    def __init__(self, reason: str, retry_after: float):
        super().__init__(f"{reason}; try again in {retry_after:.0f} seconds")
        self.retry_after = retry_after


class GaveUp(Exception):
    """The time limit has passed, or nobody waits for the picture any more."""


class ClientGone(GaveUp):
    """The client has closed the connection."""

    def __init__(self) -> None:
        super().__init__("the client has gone")


class Stopping(GaveUp):
    """The server is about to stop."""

    def __init__(self) -> None:
        super().__init__("the server is stopping; try again later")


class Deadline:
    """The end of the time that a request may take. `check` raises GaveUp once it has passed, or after `cancel`."""

    def __init__(self, seconds: float):
        self.seconds = seconds
        self._end, self._reason = time.monotonic() + seconds, None

    def cancel(self, reason: GaveUp | None = None) -> None:
        """Nobody waits for the result any more; may be called by any thread."""
        self._reason = reason or GaveUp("cancelled")

    def check(self, _share: float = 0.0) -> None:
        """Raises GaveUp if the work is to end. It can be called as the progress of a photo."""
        if self._reason is not None:
            raise self._reason
        if time.monotonic() > self._end:
            raise GaveUp(
                f"the time limit of {self.seconds:g} seconds has passed; use a smaller photo or try later"
            )


class Turns:
    """First come, first served; threads may share it.

    most_waiting: how many may wait. room: how much those who have their turn may take together, such as bytes; by
    default each takes 1 and only one has its turn. busy: makes the Busy of how many are here; by default from the
    seconds that turns take.
    """

    def __init__(
        self,
        most_waiting: float = math.inf,
        room: float = 1.0,
        busy: Callable[[int], Busy] | None = None,
    ):
        self._most_waiting, self._room, self._busy = most_waiting, room, busy or self.busy
        self._seconds = FIRST_SECONDS
        self._queue: dict[object, float] = {}  # ticket -> what it takes; the first ones have their turn
        self._changed = threading.Condition()

    @property
    def waiting(self) -> int:
        """How many wait now, without those who have their turn."""
        with self._changed:
            return len(self._queue) - self._at_work()

    def check_free(self, takes: float = 1.0) -> None:
        """Raises Busy if `turn` would raise it now."""
        with self._changed:
            self._check_free(takes)

    @contextmanager
    def turn(
        self,
        deadline: Deadline,
        on_place: Callable[[int], None] = lambda place: None,
        *,
        takes: float = 1.0,
        is_refused: bool = True,
        is_measured: bool = False,
    ) -> Iterator[None]:
        """Waits for the turn and holds it within this context. One who takes more than all room has it alone.

        on_place: is told how many are before this one, whenever that changes. is_refused: whether Busy is raised.
        is_measured: whether its seconds count for the time that Busy tells: those of photos do; frames are far shorter.
        Raises Busy at once if too many wait, and GaveUp if the deadline passes meanwhile.
        """
        ticket = object()
        with self._changed:
            if is_refused:
                self._check_free(takes)
            self._queue[ticket] = takes
        try:
            self._wait(ticket, deadline, on_place)
            start = time.monotonic()
            yield
            if is_measured:
                with self._changed:
                    self._seconds += 0.2 * (time.monotonic() - start - self._seconds)
        finally:
            with self._changed:
                del self._queue[ticket]
                self._changed.notify_all()

    def _check_free(self, takes: float) -> None:
        has_turn = self._fits(len(self._queue), sum(self._queue.values()) + takes)
        waiting = len(self._queue) - self._at_work()
        if not has_turn and waiting >= self._most_waiting:
            raise self._busy(len(self._queue))

    def _wait(self, ticket: object, deadline: Deadline, on_place: Callable[[int], None]) -> None:
        last = -1
        while True:
            with self._changed:
                place, has_turn = self._place_of(ticket)
                if place == last and not has_turn:
                    self._changed.wait(CHECK_SECONDS)
                    place, has_turn = self._place_of(ticket)
            deadline.check()
            if place != last:
                last = place
                on_place(place)
            if has_turn:
                return

    def _place_of(self, ticket: object) -> tuple[int, bool]:
        """How many are before this one, and whether it has its turn."""
        taken = 0.0
        for place, (other, takes) in enumerate(self._queue.items()):
            taken += takes
            if other is ticket:
                return place, self._fits(place, taken)
        raise AssertionError("the ticket is not in the queue")

    def _at_work(self) -> int:
        """How many have their turn."""
        taken, count = 0.0, 0
        for takes in self._queue.values():
            taken += takes
            if not self._fits(count, taken):
                break
            count += 1
        return count

    def _fits(self, place: int, taken: float) -> bool:
        return place == 0 or taken <= self._room

    def busy(self, count: int) -> Busy:
        """What to raise if `count` are here, one of them at work: says when all may be done."""
        return Busy(f"{max(0, count - 1)} photos wait already", max(1.0, self._seconds * count))

"""Where the processes of a job meet: what they say goes up to the driver, orders come down. One Ray actor."""

import time
from dataclasses import dataclass
from typing import Any

from cluster.child import KILL, was_lost

BEGUN, LINE, ENDED, GIVEN_UP = "begun", "line", "ended", "given up"
MOST_STARTS = 4  # of a member from one step: the first, and three more after losses that left no progress


@dataclass(frozen=True)
class News:
    """What a member of the job, a worker or a style, has said or done.

    kind, and value: BEGUN and the host's name; LINE and the text; ENDED and the exit status; GIVEN_UP and None.
    """

    member: int
    kind: str
    value: Any
    step: int = 0  # of the newest saved state, with BEGUN and GIVEN_UP
    starts: int = 1  # of this member, with BEGUN


class Desk:
    """Keeps the news until the driver takes them, and the order that holds for all members, "" at first.

    is_group: the members work together, so that none can go on without one that is faulty.
    """

    def __init__(self, *, is_group: bool) -> None:
        self._order = ""
        self._is_group = is_group
        self._news: list[News] = []
        self._heard = time.monotonic()  # from any member
        self._starts: dict[int, int] = {}  # by member
        self._starts_from: dict[tuple[int, int], int] = {}  # by member and step

    def begin(self, member: int, step: int, host: str) -> str:
        """Notes that a member starts from a saved step. Returns the order: if there is one, it must not start."""
        self._heard = time.monotonic()
        if self._order:
            return self._order
        key = member, step
        self._starts_from[key] = self._starts_from.get(key, 0) + 1
        if self._starts_from[key] > MOST_STARTS:
            self._news.append(News(member, GIVEN_UP, None, step))
            self._stop_group()  # whose other members are given up by it, without a word
            return KILL
        self._starts[member] = self._starts.get(member, 0) + 1
        self._news.append(News(member, BEGUN, host, step, self._starts[member]))
        return ""

    def exchange(self, member: int, lines: list[str]) -> str:
        """Takes the lines of a member; returns the order. A member that works calls this twice a second."""
        self._heard = time.monotonic()
        self._news += [News(member, LINE, line) for line in lines]
        return self._order

    def end(self, member: int, status: int) -> None:
        """Notes that a member's process has ended."""
        self._news.append(News(member, ENDED, status))
        if status and not was_lost(status):
            self._stop_group()

    def _stop_group(self) -> None:
        if self._is_group:
            self._order = KILL

    def command(self, order: str) -> None:
        """Sets the order."""
        self._order = order

    def silence(self) -> float:
        """Returns for how many seconds no member has said anything: then none of them works."""
        return time.monotonic() - self._heard

    def take_news(self) -> list[News]:
        """Returns the news since the last call."""
        news, self._news = self._news, []
        return news


def open_desk(*, is_group: bool) -> Any:
    """Returns the handle of a new Desk, on the driver's node."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    return ray.remote(Desk).options(num_cpus=0, scheduling_strategy=here).remote(is_group=is_group)

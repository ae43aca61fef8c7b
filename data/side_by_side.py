"""Many files at once: as many as there are workers, as far as memory allows."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")


def side_by_side(
    items: Iterable[Item], work: Callable[[Item], None], workers: int
) -> Iterator[tuple[Item, Exception | None]]:
    """work(item) for each, `workers` at a time; yields each item in order, with what went wrong, once it is done.

    A single worker is the caller's own thread, which Ctrl-C reaches at once.
    """
    coming = iter(items)
    if workers == 1:
        yield from ((item, _failure(work, item)) for item in coming)
        return
    with ThreadPoolExecutor(workers) as pool:
        try:
            waiting = deque((item, pool.submit(work, item)) for item in islice(coming, 2 * workers))
            while waiting:
                item, future = waiting.popleft()
                error = future.exception()
                waiting.extend((item, pool.submit(work, item)) for item in islice(coming, 1))
                yield item, error
        finally:
            pool.shutdown(cancel_futures=True)


def _failure(work: Callable[[Item], None], item: Item) -> Exception | None:
    try:
        work(item)
    except Exception as error:
        return error
    return None


class MemoryBudget:
    """Bytes shared by threads: who wants some waits until they are free."""

    def __init__(self, total: float):
        self._total = self._free = total
        self._changed = threading.Condition()

    @contextmanager
    def taking(self, wanted: float) -> Iterator[None]:
        """Holds `wanted` bytes, or all of them if more are wanted."""
        taken = min(wanted, self._total)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= taken)
            self._free -= taken
        try:
            yield
        finally:
            with self._changed:
                self._free += taken
                self._changed.notify_all()

"""Work on many items in threads, with a bound on the items in flight and on the memory they take together."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    items: Iterable[Item],
    work: Callable[[Item], Result],
    workers: int,
    stop: Callable[[], object] | None = None,
) -> Iterator[tuple[Item, Future[Result]]]:
    """Calls work(item) for every item in `workers` threads; yields each item with its finished future, in order.

    At most 2 * `workers` results wait to be taken, so memory stays bounded. Items that have not started are dropped
    when the generator is closed. `stop` is called then, to end the work that has started. One worker without `stop`
    means the caller's own thread.
    """
    if workers == 1 and stop is None:
        yield from ((item, _finished(work, item)) for item in items)
        return
    remaining = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        try:
            waiting = deque((item, pool.submit(work, item)) for item in islice(remaining, 2 * workers))
            while waiting:
                item, future = waiting.popleft()
                future.exception()  # waits
                waiting.extend((item, pool.submit(work, item)) for item in islice(remaining, 1))
                yield item, future
        except BaseException:  # a signal, or the generator is closed
            if stop is not None:
                stop()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _finished(work: Callable[[Item], Result], item: Item) -> Future[Result]:
    future: Future[Result] = Future()
    try:
        future.set_result(work(item))
    except Exception as error:
        future.set_exception(error)
    return future


class MemoryBudget:
    """Bytes that threads share: a thread that asks for more than is free waits."""

    def __init__(self, total: float):
        self._total = self._free = total
        self._changed = threading.Condition()

    @contextmanager
    def reserved(self, wanted: float) -> Iterator[None]:
        """Reserves `wanted` bytes, or the whole budget if more is wanted."""
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

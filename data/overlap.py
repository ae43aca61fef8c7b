"""Reading and writing beside computing: neither disk nor encoder makes the network wait."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

LOOK_AHEAD = 2  # items that are read ahead, and that wait to be written; memory holds so many of each

Item = TypeVar("Item")
Read = TypeVar("Read")
Made = TypeVar("Made")


def overlapped(
    items: Iterable[Item],
    read: Callable[[Item], Read],
    compute: Callable[[Item, Read], Made],
    write: Callable[[Item, Made], None],
) -> Iterator[tuple[Item, Callable[[], None]]]:
    """write(item, compute(item, read(item))) for each, in order; `compute` here, the others in a thread each.

    Yields each item once it is written or has failed, with a function that raises what went wrong, if anything.
    """
    coming, reading, writing = iter(items), deque(), deque()
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as writer:
        try:
            while True:
                while len(reading) < LOOK_AHEAD and (item := next(coming, None)) is not None:
                    reading.append((item, reader.submit(read, item)))
                if not reading:
                    break
                item, future = reading.popleft()
                try:
                    made = compute(item, future.result())
                except Exception as error:  # handed on with its item, as the writer's are
                    yield item, _raiser(error)
                    continue
                writing.append((item, writer.submit(write, item, made)))
                del made, future  # or the next photo would be computed beside this one's pixels
                while writing and (len(writing) > LOOK_AHEAD or writing[0][1].done()):
                    item, written = writing.popleft()
                    yield item, written.result
            for item, written in writing:
                yield item, written.result
        finally:
            for pool in (reader, writer):
                pool.shutdown(cancel_futures=True)


def _raiser(error: Exception) -> Callable[[], None]:
    def raise_error() -> None:
        raise error

    return raise_error

"""HTTP connections with limits that uvicorn lacks: on their number, on slow headers, and on clients that do not read.

A connection that waits for a request is closed after HEADER_SECONDS, whether it sends nothing or one byte a second. If
there are too many connections, one of them makes room for the new one: the oldest that waits for a request, or else the
oldest whose body makes no progress, or else an event stream, if these have more than half of all connections. So none
of them can keep others out. The limit on the time of a request's body is in web/uploads.py.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from web.gate import EVENT_STREAM

HEADER_SECONDS = 10.0  # from the first byte, or from the connection, to the end of the headers
# A body makes no progress if fewer bytes than these have arrived for so long.
BODY_SECONDS, BODY_BYTES = 5.0, 16_384
WRITE_SECONDS = 30.0  # in which a client must read something
HEADER_BYTES = 16_384  # of one request
BUSY_LINE = "too many connections; try again later"
INVALID_LINE = f"this is not a valid HTTP request, or its headers are longer than {HEADER_BYTES} bytes"


class Connections:
    """All connections of one server. most: how many there may be. body_seconds: in which a body makes some progress."""

    def __init__(
        self, most: int, *, header_seconds: float = HEADER_SECONDS, body_seconds: float = BODY_SECONDS
    ):
        self.most, self.header_seconds, self.body_seconds = most, header_seconds, body_seconds
        self._all: dict[GuardedConnection, None] = {}  # the oldest first

    def __len__(self) -> int:
        return len(self._all)

    def protocol(self, *arguments, **options) -> "GuardedConnection":
        """A new connection: what uvicorn.Config takes as `http`."""
        return GuardedConnection(self, *arguments, **options)

    def add(self, connection: "GuardedConnection") -> bool:
        """Returns whether there is room, after another connection was closed if there was none."""
        if len(self._all) >= self.most:
            other = self._dispensable()
            if other is None:
                return False
            other.abort()
        self._all[connection] = None
        return True

    def _dispensable(self) -> "GuardedConnection | None":
        """The connection that makes room for a new one."""
        waiting = (other for other in self._all if other.is_idle)
        stalled = (other for other in self._all if other.is_stalled)
        return next(waiting, None) or next(stalled, None) or self._dispensable_stream()

    def _dispensable_stream(self) -> "GuardedConnection | None":
        """The oldest event stream of the address that has most of them; None if all have no more than their share."""
        streams = [other for other in self._all if other.is_event_stream]
        if len(streams) <= self.most // 2:
            return None
        counts = Counter(other.address for other in streams)
        return max(streams, key=lambda other: counts[other.address])  # the first of equals

    def remove(self, connection: "GuardedConnection") -> None:
        self._all.pop(connection, None)


class GuardedConnection(H11Protocol):
    """uvicorn's connection with deadlines; see Connections."""

    def __init__(self, group: Connections, *arguments, **options):
        super().__init__(*arguments, **options)
        self._group = group
        self._header_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None
        self._pace = BodyPace()

    @property
    def is_idle(self) -> bool:
        """Whether no request is in work: the client has sent nothing, or not all headers."""
        return self.cycle is None or (
            self.cycle.response_complete and self.conn.their_state is not h11.SEND_BODY
        )

    @property
    def is_stalled(self) -> bool:
        """Whether the client is to send a body and sends next to nothing."""
        is_awaited = self.conn.their_state is h11.SEND_BODY and not self.flow.read_paused
        return is_awaited and self.loop.time() - self._pace.last > self._group.body_seconds

    @property
    def is_event_stream(self) -> bool:
        """Whether the answer that is sent is one that does not end by itself."""
        cycle = self.cycle
        return cycle is not None and not cycle.response_complete and cycle.scope.get(EVENT_STREAM, False)

    @property
    def address(self) -> str | None:
        """That of the client, which a proxy may have told."""
        client = self.cycle.scope["client"] if self.cycle else self.client
        return client[0] if client else None

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        if self._group.add(self):
            self._header_timer = self._after(self._group.header_seconds, self.abort)
        else:
            self._write_error(503, "Service Unavailable", BUSY_LINE)

    def connection_lost(self, exc: Exception | None) -> None:
        self._group.remove(self)
        self._header_timer = _cancelled(self._header_timer)
        self._write_timer = _cancelled(self._write_timer)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        was_body = self.conn.their_state is h11.SEND_BODY
        super().data_received(data)
        self._pace.received(len(data) if was_body else BODY_BYTES, self.loop.time())
        if self.conn.their_state is not h11.IDLE:
            self._header_timer = _cancelled(self._header_timer)
        elif self._header_timer is None:
            self._header_timer = self._after(self._group.header_seconds, self.abort)

    def send_400_response(self, msg: str) -> None:
        """Answers what h11 cannot read, in place of uvicorn's own text."""
        if self.cycle is not None and self.cycle.response_started and not self.cycle.response_complete:
            self.abort()  # the answer to an earlier request is on its way
        else:
            self._write_error(400, "Bad Request", INVALID_LINE)

    def pause_writing(self) -> None:
        self._write_timer = self._write_timer or self._after(WRITE_SECONDS, self.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        self._write_timer = _cancelled(self._write_timer)
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Closes a connection after its last answer. What the client has not read by then may take a while longer."""
        if self.transport.get_write_buffer_size():
            self._write_timer = self._write_timer or self._after(WRITE_SECONDS, self.abort)
        super().timeout_keep_alive_handler()

    def abort(self) -> None:
        """Closes the connection at once; what was not sent is dropped."""
        self._group.remove(self)
        self.transport.abort()

    def _after(self, seconds: float, action: Callable[[], None]) -> asyncio.TimerHandle:
        return self.loop.call_later(seconds, action)

    def _write_error(self, status: int, reason: str, line: str) -> None:
        body = json.dumps({"error": line}).encode()
        head = (
            f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            + ("Retry-After: 10\r\n" if status == 503 else "")
            + "Connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()


class BodyPace:
    """When a body has last made progress: `last`, in seconds of the event loop."""

    def __init__(self) -> None:
        self.last, self._bytes = 0.0, 0

    def received(self, count: int, now: float) -> None:
        """Notes bytes that have arrived; what precedes a body counts as BODY_BYTES."""
        self._bytes += count
        if self._bytes >= BODY_BYTES:
            self.last, self._bytes = now, 0


def _cancelled(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()

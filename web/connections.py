"""HTTP connections with limits that uvicorn lacks: on their number, on slow headers, and on clients that do not read.

A connection that waits for a request is closed after HEADER_SECONDS, whether it sends nothing or one byte a second. If
there are too many connections, the one that has waited longest for a request makes room for the new one, so idle
connections cannot keep others out. The limit on the time of a request's body is in web/uploads.py.
"""

import asyncio
import json
from collections.abc import Callable

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 10.0  # from the first byte, or from the connection, to the end of the headers
WRITE_SECONDS = 30.0  # in which a client must read something
HEADER_BYTES = 16_384  # of one request
BUSY_LINE = "too many connections; try again later"
INVALID_LINE = f"this is not a valid HTTP request, or its headers are longer than {HEADER_BYTES} bytes"


class Connections:
    """All connections of one server. most: how many there may be."""

    def __init__(self, most: int, *, header_seconds: float = HEADER_SECONDS):
        self.most, self.header_seconds = most, header_seconds
        self._all: dict[GuardedConnection, None] = {}  # the oldest first

    def __len__(self) -> int:
        return len(self._all)

    def protocol(self, *arguments, **options) -> "GuardedConnection":
        """A new connection: what uvicorn.Config takes as `http`."""
        return GuardedConnection(self, *arguments, **options)

    def add(self, connection: "GuardedConnection") -> bool:
        """Returns whether there is room, after an idle connection was closed if there was none."""
        if len(self._all) >= self.most:
            idle = next((other for other in self._all if other.is_idle), None)
            if idle is None:
                return False
            idle.abort()
        self._all[connection] = None
        return True

    def remove(self, connection: "GuardedConnection") -> None:
        self._all.pop(connection, None)


class GuardedConnection(H11Protocol):
    """uvicorn's connection with deadlines; see Connections."""

    def __init__(self, group: Connections, *arguments, **options):
        super().__init__(*arguments, **options)
        self._group = group
        self._header_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    @property
    def is_idle(self) -> bool:
        """Whether no request is in work: the client has sent nothing, or not all headers."""
        return self.cycle is None or (
            self.cycle.response_complete and self.conn.their_state is not h11.SEND_BODY
        )

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
        super().data_received(data)
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


def _cancelled(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()

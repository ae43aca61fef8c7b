"""Too many connections: which one makes room, and that slow bodies and event streams keep nobody out."""

import asyncio
import contextlib
from types import SimpleNamespace

import pytest

pytest.importorskip("fastapi", reason="needs requirements-serve.txt")
pytest.importorskip("uvicorn", reason="needs requirements-serve.txt")
pytest.importorskip("prometheus_client", reason="needs requirements-serve.txt")
pytest.importorskip("python_multipart", reason="needs requirements-serve.txt")

from serving import running_service
from starlette.responses import StreamingResponse
from waiting import wait_until

from web.connections import BODY_BYTES, BodyPace, Connections

MOST = 6
HEAD = b"Host: localhost\r\nContent-Type: image/png\r\nContent-Length: 500000\r\n\r\n"
BODY = b"POST /api/v1/stylize?style=waves HTTP/1.1\r\n" + HEAD


class Fake(SimpleNamespace):
    """A connection in one state."""

    def __init__(self, state: str, address: str = "a"):
        super().__init__(address=address, is_open=True)
        for name in ("is_idle", "is_stalled", "is_event_stream"):
            setattr(self, name, name == f"is_{state}")

    __hash__ = object.__hash__

    def abort(self):
        self.is_open = False


def closed_of(*states: str) -> list[int]:
    """Which of these connections make room for one more: their numbers. A state may have an address, "idle@b"."""
    group, fakes = Connections(len(states)), [Fake(*state.split("@")) for state in states]
    assert all(group.add(fake) for fake in fakes)
    assert group.add(Fake("busy")) == any(not fake.is_open for fake in fakes)
    return [index for index, fake in enumerate(fakes) if not fake.is_open]


def test_the_oldest_idle_connection_makes_room_first():
    assert closed_of("event_stream", "stalled", "idle", "idle") == [2]


def test_a_body_without_progress_makes_room_before_event_streams():
    assert closed_of("event_stream", "event_stream", "event_stream", "stalled") == [3]


def test_event_streams_keep_half_of_all_connections():
    assert closed_of("event_stream", "busy", "event_stream", "busy") == []
    assert closed_of("event_stream", "busy", "event_stream", "event_stream") == [0]


def test_the_address_with_most_event_streams_loses_one():
    assert closed_of("event_stream@a", "event_stream@b", "event_stream@b", "busy") == [1]


def test_nobody_who_is_at_work_makes_room():
    assert closed_of("busy", "busy") == []


def test_a_trickle_is_no_progress_and_a_block_is():
    pace = BodyPace()
    pace.received(BODY_BYTES, 1.0)
    for second in range(2, 9):
        pace.received(1, second)
    assert pace.last == 1.0
    pace.received(BODY_BYTES, 9.0)
    assert pace.last == 9.0


@pytest.fixture
def opened(style_dirs, tmp_path):
    """A function that starts a service of MOST connections; it has an endless event stream at /events."""
    with contextlib.ExitStack() as stack:

        def start(**options):
            checkpoints_dir = style_dirs["waves"].parent
            options |= {"max_connections": MOST, "stop_limit": 1.0}
            return stack.enter_context(running_service(checkpoints_dir, tmp_path, **options))

        yield start


def connected(service, stack: contextlib.ExitStack, content: bytes) -> list:
    """MOST connections that have sent this."""
    found = [stack.enter_context(service.connect()) for _ in range(MOST)]
    for connection in found:
        connection.sendall(content)
    return found


def add_events(app) -> None:
    async def lines():
        while True:
            yield b"data: 1\n\n"
            await asyncio.sleep(0.05)

    async def events(request):
        return StreamingResponse(lines(), media_type="text/event-stream")

    app.add_route("/events", events)


@pytest.mark.tensorflow
def test_event_streams_do_not_keep_others_out(opened):
    service = opened()
    add_events(service.app)
    with contextlib.ExitStack() as stack:
        streams = connected(service, stack, b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for stream in streams:
            assert stream.recv(12) == b"HTTP/1.1 200"
        assert service.get("/api/v1/health").status == 200
        with contextlib.suppress(ConnectionError):
            while streams[0].recv(65536):
                pass  # until it is closed


@pytest.mark.tensorflow
def test_bodies_that_trickle_do_not_keep_others_out(opened):
    service = opened(body_seconds=2.0, upload_limit=600.0)
    with contextlib.ExitStack() as stack:
        bodies = connected(service, stack, BODY)
        wait_until(lambda: len(list(service.folder.iterdir())) == MOST)

        def is_answered() -> bool:
            with contextlib.suppress(ConnectionError):
                for body in bodies:
                    body.sendall(b"x")
            with contextlib.suppress(ConnectionError):
                return service.get("/api/v1/health").status == 200
            return False

        wait_until(is_answered)


@pytest.mark.tensorflow
def test_bodies_that_have_just_begun_are_kept(opened):
    service = opened(body_seconds=600.0)
    with contextlib.ExitStack() as stack:
        connected(service, stack, BODY)
        wait_until(lambda: len(list(service.folder.iterdir())) == MOST)
        reply = service.get("/api/v1/health")
        assert reply.status == 503 and "too many connections" in reply.error
        assert reply.headers["retry-after"] == "10"

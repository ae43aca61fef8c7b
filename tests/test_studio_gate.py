"""The gate: addresses that are open, bodies that are too long or too slow, other hosts and origins."""

import asyncio
import threading
from collections.abc import Callable

import pytest

pytest.importorskip("anyio", reason="the studio needs anyio, which fastapi brings")

from web.studio.gate import LOOK_BYTES, MOST_EVENT_BYTES, Gate

UPLOAD = "/gradio_api/upload"


def answer_of(
    path: str = "/",
    *,
    headers: dict | None = None,
    body: tuple[bytes, ...] = (b"",),
    host_names: frozenset | None = frozenset(),
    pause: float = 0.0,
    most_seconds: float = 5.0,
    is_full: bool | Callable[[], bool] = False,
    most_upload_bytes: int = 1000,
) -> tuple[int, bytes]:
    """(status, what the application has read) of a request; status 200 is the application's."""
    parts, sent, seen = list(body), [], []

    async def app(scope, receive, send):
        while True:
            message = await receive()
            seen.append(message.get("body", b""))
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def receive():
        await asyncio.sleep(pause)
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message):
        sent.append(message)

    gate = Gate(
        app,
        most_upload_bytes=most_upload_bytes,
        most_seconds=most_seconds,
        host_names=host_names,
        is_full=is_full if callable(is_full) else lambda: is_full,
    )
    fields = {"host": "127.0.0.1:7860", **(headers or {})}
    scope = {
        "type": "http",
        "path": path,
        "root_path": "",
        "headers": [(name.encode(), value.encode()) for name, value in fields.items()],
    }
    asyncio.run(gate(scope, receive, send))
    return sent[0]["status"], b"".join(seen)


@pytest.mark.parametrize(
    "path",
    ["/", "/config", "/theme.css", "/assets/index.js", UPLOAD, "/gradio_api/queue/join", "/gradio_api/file=/x/y.png",
     "/gradio_api/heartbeat/abc", "/login", "/gradio_api/stream/abc", "/gradio_api/stream/abc/close"],
)  # fmt: skip
def test_what_the_page_needs_is_open(path):
    assert answer_of(path)[0] == 200


@pytest.mark.parametrize(
    "path",
    ["/gradio_api/file=http://10.0.0.1/", "/gradio_api/file=x", "/gradio_api/proxy=http://x", "/gradio_api/info",
     "/gradio_api/run/make", "/gradio_api/call/make", "/monitoring", "/x", "//", "/gradio_api/heartbeat/a/b",
     "/gradio_api/upload/../info", "/assets/", "/config\n"],
)  # fmt: skip
def test_everything_else_is_closed(path):
    assert answer_of(path)[0] == 404


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:7860", "[::1]:7860"])
def test_names_of_this_machine_are_taken(host):
    assert answer_of(headers={"host": host})[0] == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "192.168.0.1:7860", "[::1"])
def test_another_name_is_refused_on_a_local_address_only(host):
    assert answer_of(headers={"host": host})[0] == 421
    assert answer_of(headers={"host": host}, host_names=None)[0] == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "http://[", ""])
def test_a_page_of_another_origin_is_refused(origin):
    assert answer_of(headers={"origin": origin})[0] == 403
    assert answer_of(headers={"origin": "http://127.0.0.1:7860"})[0] == 200


@pytest.mark.parametrize("host", ["photos.example", "photos.example:8443", "127.0.0.1:7860"])
def test_a_proxy_may_name_the_public_host_and_its_pages(host):
    headers = {"host": host, "origin": "https://photos.example"}
    if host.endswith(":8443"):
        headers["origin"] += ":8443"
    assert answer_of(headers=headers, host_names=frozenset({"photos.example"}))[0] == 200
    assert answer_of(headers=headers)[0] in (403, 421)
    headers["origin"] = "https://evil.example"
    assert answer_of(headers=headers, host_names=frozenset({"photos.example"}))[0] == 403


def test_a_body_that_says_it_is_too_long_is_not_read():
    status, read = answer_of(UPLOAD, headers={"content-length": "200000"}, body=(b"x" * 10,))
    assert (status, read) == (413, b"")


def test_a_body_that_turns_out_too_long_is_refused():
    parts = (b"x" * 90_000, b"x" * 90_000)
    assert answer_of(UPLOAD, body=parts)[0] == 413
    assert answer_of("/gradio_api/queue/join", body=(bytes(MOST_EVENT_BYTES), b"x"))[0] == 413
    assert answer_of(UPLOAD, body=parts[:1])[0] == 200


def test_a_body_that_takes_too_long_is_refused():
    assert answer_of(UPLOAD, body=(b"a", b"b", b"c"), pause=0.2, most_seconds=0.3)[0] == 408


def test_no_upload_is_taken_where_nothing_more_can_be_stored():
    assert answer_of(UPLOAD, is_full=True)[0] == 503
    assert answer_of("/gradio_api/queue/join", is_full=True)[0] == 200


def test_an_upload_ends_when_others_have_filled_the_room_meanwhile():
    part = bytes(LOOK_BYTES + 1)
    for looks, status in (([False, False, True], 503), ([False, False, False], 200)):
        answers = iter(looks)
        given = answer_of(
            UPLOAD,
            body=(part, part),
            most_upload_bytes=3 * len(part),
            is_full=lambda: next(answers),  # noqa: B023
        )
        assert given[0] == status
        assert next(answers, None) is None


def test_what_is_stored_is_counted_beside_the_event_loop():
    threads = []
    answer_of(UPLOAD, is_full=lambda: threads.append(threading.current_thread()))
    assert threads and threads[0] is not threading.main_thread()


def test_websockets_are_refused():
    sent = []

    async def send(message):
        sent.append(message)

    gate = Gate(None, most_upload_bytes=1, most_seconds=1, host_names=frozenset())
    asyncio.run(gate({"type": "websocket", "path": "/", "headers": []}, None, send))
    assert sent

"""What of Gradio's address space a browser reaches: the page, its parts, uploads and events. The rest is closed.

Closed are fetching of other addresses (file=http..., proxy=), the functions by their names, the recorder of the screen,
the history of runs, deep links, monitoring and the assistant that edits the page. A list of what is open stays right
when Gradio gets another route.
"""

import re
from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from web.gate import host_fault

Scope, Message = dict[str, Any], dict[str, Any]
Receive, Send = Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]

_OPEN = re.compile(
    r"""/ | /config/? | /theme\.css | /favicon\.ico | /manifest\.json | /robots\.txt | /login/? | /logout/?
    | /(assets|static|svelte)/.+
    | /gradio_api/(theme\.css|login_check/?|token/?|user/?|app_id/?|startup-events|reset/?|cancel)
    | /gradio_api/(queue/join|queue/data|run/predict|upload|upload_progress|component_server/?)
    | /gradio_api/heartbeat/\w+
    | /gradio_api/stream/\w+(/close)?
    | /gradio_api/file=/.+""",
    re.VERBOSE,
)
_UPLOAD = "/gradio_api/upload"
MOST_EVENT_BYTES = 8_000_000  # of an event: numbers and names; a frame of the webcam; a layer of the mask
UPLOAD_SLACK_BYTES = 100_000  # around the files of an upload
# No page of another site shows this one in a frame, where it could trick visitors into clicks.
NO_FRAMES = (b"content-security-policy", b"frame-ancestors 'self'")
LOOK_BYTES = 4_000_000  # of one upload that come between two looks at what is stored


class Gate:
    """ASGI middleware. Refuses closed paths (404), pages of other origins (403) and bodies that are too large (413).

    most_upload_bytes: of all files of one upload together. most_seconds: that a body may take (408). host_names: what
    requests may call the studio beside the names of this machine (421 for others); None: anything. is_full: whether no
    more uploads can be stored (503). It is asked in another thread, before an upload and while uploads come.
    may_be_framed: whether pages of other sites may show the studio.
    """

    def __init__(
        self,
        app: Any,
        *,
        most_upload_bytes: int,
        most_seconds: float,
        host_names: frozenset[str] | None,
        is_full: Callable[[], bool] = lambda: False,
        may_be_framed: bool = True,
    ):
        self._may_be_framed = may_be_framed
        self._app, self._host_names, self._most_seconds, self._is_full = (
            app,
            host_names,
            most_seconds,
            is_full,
        )
        self._most_upload_bytes = most_upload_bytes + UPLOAD_SLACK_BYTES

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", "").rstrip("/")) or "/"
        status = 404 if scope["type"] != "http" else self._fault(scope, path)
        if not status and path == _UPLOAD and await self._has_no_room():
            status = 503
        if status:
            await _refuse(send, status)
            return
        await self._limited(scope, receive, send, self._most_bytes(path), is_upload=path == _UPLOAD)

    def _fault(self, scope: Scope, path: str) -> int:
        """The status of a request that is refused, 0 for one that passes."""
        if status := host_fault(scope["headers"], self._host_names):
            return status
        length = dict(scope["headers"]).get(b"content-length", b"0").decode("latin-1")
        if length.isdecimal() and int(length) > self._most_bytes(path):
            return 413
        return 0 if _OPEN.fullmatch(path) else 404

    def _most_bytes(self, path: str) -> int:
        return self._most_upload_bytes if path == _UPLOAD else MOST_EVENT_BYTES

    async def _has_no_room(self) -> bool:
        return await anyio.to_thread.run_sync(self._is_full)

    async def _limited(
        self, scope: Scope, receive: Receive, send: Send, most_bytes: int, *, is_upload: bool
    ) -> None:
        """Hands the request on, and stops to read a body that is longer than its headers said."""
        received = looked_at = 0
        started = is_complete = False
        end = anyio.current_time() + self._most_seconds

        async def counted() -> Message:
            nonlocal received, looked_at, is_complete
            if is_complete:  # what follows tells that the browser has gone, which may take long
                return await receive()
            with anyio.fail_after(max(0.0, end - anyio.current_time())):
                message = await receive()
            is_complete = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > most_bytes:
                raise _TooLarge
            if is_upload and received - looked_at > LOOK_BYTES:
                looked_at = received
                if await self._has_no_room():
                    raise _Full
            return message

        async def noted(message: Message) -> None:
            nonlocal started
            started = True
            if not self._may_be_framed and message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", ()), NO_FRAMES]}
            await send(message)

        try:
            await self._app(scope, counted, noted)
        except _TooLarge:
            status = 413
        except TimeoutError:
            status = 408
        except _Full:
            status = 503
        else:
            return
        if not started:
            await _refuse(send, status)


class _TooLarge(Exception):
    pass


class _Full(Exception):
    pass


_REASONS = {
    403: "this request comes from a page of another site",
    408: "this took longer than the studio waits for an upload",
    404: "there is nothing at this address",
    413: "this is more than the studio accepts",
    503: "the studio cannot store more files now; try again later",
    421: "the studio is reached by the name localhost, its address, and the names of --public-host only",
}


async def _refuse(send: Send, status: int) -> None:
    body = f"{_REASONS[status]}\n".encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send(
        {"type": "http.response.start", "status": status, "headers": [*headers, (b"connection", b"close")]}
    )
    await send({"type": "http.response.body", "body": body})

"""What every request passes on its way in and out: checks of its headers, the key, the log, and the end of its body."""

import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import SplitResult, urlsplit

import anyio
from starlette.responses import JSONResponse

from web.config import is_loopback
from web.faults import NEUTRAL_LINE
from web.metrics import Metrics
from web.request_log import RECORD, RequestRecord

API = "/api/v1"
METRICS_PATH = "/metrics"
OPEN_PATHS = frozenset({f"{API}/health", f"{API}/ready"})  # that need no key
# What is read of a body after it was refused, so that its sender reads the answer and does not see a closed connection.
DRAIN_BYTES, DRAIN_SECONDS = 100_000_000, 10.0
EVENT_STREAM = (
    "fast_style_transfer.is_event_stream"  # in the scope of a request whose answer does not end by itself
)
WRONG_HOST, WRONG_ORIGIN = 421, 403
_REASONS = {
    WRONG_HOST: "this address answers to localhost, its number, and the names of --public-host only",
    WRONG_ORIGIN: "this request comes from a page of another site",
}
NO_SNIFFING = (b"x-content-type-options", b"nosniff")
API_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Gate:
    """ASGI middleware around all of a service. log: is told one line of JSON for each request; None: no log.

    host_names: see `host_fault`; None: pages of other sites are not looked for.
    """

    def __init__(
        self,
        app: Any,
        metrics: Metrics,
        api_key: str | None,
        log: Callable[[str], object] | None,
        host_names: frozenset[str] | None = None,
    ):
        self._app, self._metrics, self._api_key, self._log = app, metrics, api_key, log
        self._host_names = host_names

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        passage = _Passage(scope, receive, send)
        scope[RECORD] = record = passage.record
        try:
            refusal = self._refusal(scope)
            await (refusal or self._app)(scope, passage.receive, passage.send)
        except Exception:
            logging.getLogger(__name__).exception("a request failed")
            record.error = NEUTRAL_LINE
            if record.has_answer:
                raise
            await error_response(500, NEUTRAL_LINE)(scope, passage.receive, passage.send)
        finally:
            self._metrics.count_request(record)
            if self._log is not None:
                self._log(record.line())

    def _refusal(self, scope: dict[str, Any]) -> JSONResponse | None:
        names = [name for name, _ in scope["headers"]]
        if b"transfer-encoding" in names and b"content-length" in names:
            # A proxy might believe the one and this server the other, and see two requests where the other sees one.
            return error_response(
                400, "a request has Content-Length or Transfer-Encoding, not both", close=True
            )
        if not is_of_api(scope["path"]):
            return None
        if self._host_names is not None and (status := host_fault(scope["headers"], self._host_names)):
            return error_response(status, _REASONS[status])
        if scope["path"] not in OPEN_PATHS and not self._has_key(scope):
            response = error_response(401, "a key is needed; send it as Authorization: Bearer KEY")
            response.headers["www-authenticate"] = "Bearer"
            return response
        return None

    def _has_key(self, scope: dict[str, Any]) -> bool:
        if self._api_key is None:
            return True
        headers = dict(scope["headers"])
        given = headers.get(b"x-api-key") or headers.get(b"authorization", b"")[len(b"Bearer ") :]
        return hmac.compare_digest(given.strip(), self._api_key.encode())


def host_fault(headers: Iterable[tuple[bytes, bytes]], names: frozenset[str] | None) -> int:
    """Returns 0, or the status of a request that a page of another site may have sent.

    421: it calls this server by a name that is neither of this machine nor in `names`, as a page does that has rebound
    its own name to 127.0.0.1. None: all names are right. 403: it comes from a page of another origin.
    """
    given = {name.lower(): value.decode("latin-1") for name, value in headers}
    host, origin = given.get(b"host", ""), given.get(b"origin")
    if names is not None and not _is_known_host(host, names):
        return WRONG_HOST
    if origin is None:
        return 0
    page = _parsed(origin)
    # A proxy may name this server by its address, and not by the name that the page has.
    is_own = (
        page is not None and page.netloc and (page.netloc == host or page.netloc.lower() in (names or ()))
    )
    return 0 if is_own else WRONG_ORIGIN


def _is_known_host(host: str, names: frozenset[str]) -> bool:
    parsed = _parsed(f"//{host}")
    name = (parsed.hostname if parsed else None) or ""
    return is_loopback(name) or name in names


def _parsed(url: str) -> SplitResult | None:
    try:
        return urlsplit(url)
    except ValueError:  # such as a bracket that is not closed
        return None


def is_of_api(path: str) -> bool:
    """Whether a path belongs to the service and not to a page that is mounted beside it."""
    return path in (METRICS_PATH, API) or path.startswith(f"{API}/")


def error_response(
    status: int, line: str, *, retry_after: int | None = None, close: bool = False
) -> JSONResponse:
    """The answer to a request that failed: {"error": line}."""
    headers = {} if retry_after is None else {"retry-after": str(retry_after)}
    if close:
        headers["connection"] = "close"
    return JSONResponse({"error": line}, status, headers)


class _Passage:
    """One request: counts its bytes, adds headers to its answer, and reads what is left of its body before."""

    def __init__(self, scope: dict[str, Any], receive: Receive, send: Send):
        self.record = RequestRecord.of(scope)
        self._scope, self._receive, self._send = scope, receive, send
        self._is_api = is_of_api(scope["path"])
        headers = dict(scope["headers"])
        has_body = b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"
        # A client that waits for "100 Continue" sends nothing if it gets an answer first.
        self._waits = headers.get(b"expect", b"").lower() == b"100-continue"
        self._is_complete = not has_body

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self.record.bytes_in += len(message.get("body", b""))
            self._is_complete = not message.get("more_body", False)
            self._waits = False
        elif not self.record.has_answer:
            self._is_complete = True  # there will be no more
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.record.status, self.record.has_answer = message["status"], True
            kind = dict(message.get("headers", ())).get(b"content-type", b"")
            self._scope[EVENT_STREAM] = kind.startswith(b"text/event-stream")  # for web/connections.py
            message = {**message, "headers": [*message.get("headers", []), *await self._more_headers()]}
        elif message["type"] == "http.response.body":
            self.record.bytes_out += len(message.get("body", b""))
        await self._send(message)

    async def _more_headers(self) -> list[tuple[bytes, bytes]]:
        headers = [NO_SNIFFING, *(API_HEADERS if self._is_api else ())]
        if not self._is_complete and not self._waits:
            await self._drain()
        return headers if self._is_complete else [*headers, (b"connection", b"close")]

    async def _drain(self) -> None:
        end, most = time.monotonic() + DRAIN_SECONDS, self.record.bytes_in + DRAIN_BYTES
        with anyio.move_on_after(DRAIN_SECONDS):
            while not self._is_complete and self.record.bytes_in < most and time.monotonic() < end:
                await self.receive()

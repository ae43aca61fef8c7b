"""Runs an application: uvicorn with the limits of web/connections.py, until a signal ends it."""

import asyncio
import contextlib
import errno
import os
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn

from system.signals import Interrupted, NotedInterrupts
from web.config import ServiceConfig
from web.connections import HEADER_BYTES, Connections

KEEP_ALIVE_SECONDS = 5
BACKLOG = 1024  # connections that the system holds until they are accepted
ANSWER_SECONDS = 2.0  # before the end of stop_limit, in which photos that are given up are answered
FILES_BESIDE_CONNECTIONS = 300  # open at the same time: uploads, pictures, libraries


class Server(uvicorn.Server):
    """Stops gracefully: refuses new photos, finishes those in work within stop_limit, and gives up the others.

    service: a web.service.Service. `received` is the name of the signal that ended it, "" before.
    """

    def __init__(self, config: uvicorn.Config, service: Any, stop_limit: float):
        super().__init__(config)
        self._service, self._stop_limit = service, stop_limit
        self._interrupts: NotedInterrupts | None = None

    @property
    def received(self) -> str:
        return self._interrupts.received if self._interrupts else ""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Notes the first signal in place of uvicorn's own handlers; a second one raises Interrupted."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._interrupts = NotedInterrupts()
        with self._interrupts:
            yield

    async def on_tick(self, counter: int) -> bool:
        """Is called ten times a second; returns whether to stop."""
        return bool(self.received) or await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Does what uvicorn does at the end, and tells the service before."""
        self._service.stop()
        remaining = max(0.0, self._stop_limit - ANSWER_SECONDS)
        timer = asyncio.get_running_loop().call_later(remaining, self._service.cancel_all)
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()


def listening_socket(host: str, port: int) -> socket.socket:
    """Returns a socket that is bound to an address. Raises OSError with one line that says what to do."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise OSError(
            f"{host}: is no address of this machine ({_reason(error)}); give another --host"
        ) from error
    family, kind, protocol, _, address = sorted(found, key=lambda entry: entry[0] != socket.AF_INET)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        flag = "--port" if error.errno in (errno.EADDRINUSE, errno.EACCES) else "--host"
        raise OSError(f"{host} port {port}: {_reason(error)}; give another {flag}") from error
    return listener


def url_of(listener: socket.socket) -> str:
    """The address at which a socket listens, as a URL."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def connections_for(config: ServiceConfig) -> Connections:
    """The connections of a server, as many as the limits of the process allow."""
    files = _raised_file_limit(config.max_connections + FILES_BESIDE_CONNECTIONS)
    return Connections(max(1, min(config.max_connections, files - FILES_BESIDE_CONNECTIONS)))


def run_server(
    app: Any,
    config: ServiceConfig,
    listener: socket.socket,
    connections: Connections,
    ready: Callable[[], object],
) -> None:
    """Serves until a signal ends it, then raises Interrupted. app: of web.service.build_service; a page may be mounted.

    Raises OSError if the application does not start.
    ready: is called once, when requests are accepted.
    """
    server = built_server(app, config, connections)
    with contextlib.closing(listener):
        ready()
        with contextlib.suppress(SystemExit):  # of uvicorn, whose status is no status of these programs
            server.run([listener])
    if server.received:
        raise Interrupted(server.received)
    if not server.started:
        raise OSError("the application could not start; the lines before say why")


def built_server(app: Any, config: ServiceConfig, connections: Connections) -> Server:
    """Returns a server that does not run yet; see `run_server`."""
    settings = uvicorn.Config(
        app,
        loop="asyncio",
        http=connections.protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="error",
        access_log=False,  # web/request_log.py writes it
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, round(config.stop_limit)),
        h11_max_incomplete_event_size=HEADER_BYTES,
    )
    return Server(settings, app.state.service, config.stop_limit)


def _raised_file_limit(wanted: int) -> int:
    """Raises the limit of open files as far as it may be, and returns it."""
    try:
        import resource
    except ImportError:  # Windows, where sockets are no files
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _reason(error: Exception) -> str:
    code = getattr(error, "errno", None)
    return os.strerror(code) if code and code > 0 else getattr(error, "strerror", None) or str(error)

"""A service on a free port of this machine, in a thread, for tests that speak HTTP with it."""

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from waiting import wait_until

BOUNDARY = "boundary0123456789"


class Reply(NamedTuple):
    """An answer, read completely."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def error(self) -> str:
        """The line of a refusal; checks that it is one."""
        assert self.headers["content-type"] == "application/json"
        (line,) = json.loads(self.body).values()
        assert list(json.loads(self.body)) == ["error"] and "\n" not in line
        return line


class Running:
    """A service that runs. folder: its uploads. lines: of its log."""

    def __init__(self, port: int, maker, folder: Path, lines: list[str], app):
        self.port, self.maker, self.folder, self.lines, self.app = port, maker, folder, lines, app

    def request(self, method: str, path: str, body=None, headers=None, timeout: float = 60) -> Reply:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        with contextlib.closing(connection):
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    def get(self, path: str, **options) -> Reply:
        return self.request("GET", path, **options)

    def post(self, path: str, parts: list[tuple], **options) -> Reply:
        """A form. parts: (name, text) or (name, file name, content)."""
        headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", **options.pop("headers", {})}
        return self.request("POST", path, form_body(parts), headers, **options)

    def stylize(
        self, photo: Path | bytes, *texts: tuple[str, str], name: str = "cat.png", **options
    ) -> Reply:
        """The answer to a photo in the style waves, or in that of `texts`."""
        content = photo if isinstance(photo, bytes) else photo.read_bytes()
        if "style" not in dict(texts):
            texts = (("style", "waves"), *texts)
        return self.post("/api/v1/stylize", [("photo", name, content), *texts], **options)

    def connect(self) -> socket.socket:
        """A plain connection, for what is no proper HTTP."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def raw(self, content: bytes) -> bytes:
        """What the server answers to these bytes until it closes the connection."""
        with self.connect() as connection:
            connection.sendall(content)
            return read_all(connection)

    def records(self) -> list[dict]:
        """The lines of the log."""
        return [json.loads(line) for line in self.lines]


def form_body(parts: list[tuple]) -> bytes:
    """The body of a form."""
    found = b""
    for name, *rest in parts:
        file_name = f'; filename="{rest[0]}"' if len(rest) == 2 else ""
        content = rest[-1].encode() if isinstance(rest[-1], str) else rest[-1]
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file_name}\r\n\r\n'
        found += head.encode() + content + b"\r\n"
    return found + f"--{BOUNDARY}--\r\n".encode()


def read_all(connection: socket.socket) -> bytes:
    """All bytes until the other side closes the connection, by a reset too."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while chunk := connection.recv(65536):
            found += chunk
    return found


@contextlib.contextmanager
def running_service(checkpoints_dir: Path, folder: Path, **options) -> Iterator[Running]:
    """A service of the styles in a folder. options: of ServiceConfig, and maker_class, header_seconds, body_seconds."""
    from web.config import ServiceConfig
    from web.connections import Connections
    from web.pictures import PictureMaker
    from web.server import built_server, listening_socket
    from web.service import build_service
    from web.shelf import StyleShelf

    maker_class = options.pop("maker_class", PictureMaker)
    seconds = {name: options.pop(name, 30.0) for name in ("header_seconds", "body_seconds")}
    config = ServiceConfig(port=0, **options)
    maker = maker_class(config, StyleShelf(checkpoints_dir, runtime="onnx", threads=1))
    lines: list[str] = []
    connections = Connections(config.max_connections, **seconds)
    app = build_service(
        maker, folder, api_key=config.api_key, log=lines.append, connections=lambda: len(connections)
    )
    server = built_server(app, config, connections)
    listener = listening_socket("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started)
        running = Running(listener.getsockname()[1], maker, folder, lines, app)
        running.server, running.thread = server, thread
        yield running
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()

"""Serves the page until a signal arrives, and leaves nothing behind: no training that runs, no file of a visitor."""

import socket
from collections.abc import Callable
from contextlib import closing
from typing import Any

from web.studio import offline
from web.studio.config import StudioConfig, accounts
from web.studio.workspace import Workspace

GRACE_SECONDS = 3  # for requests that are under way when the studio ends


def serve(config: StudioConfig, tell: Callable[[str], object]) -> int:
    """Returns the exit status. tell: is given lines for the operator. Raises OSError if it cannot listen."""
    with closing(listening_socket(config.host, config.port)) as listener, Workspace() as workspace:
        offline.prepare(workspace.cache_dir)
        import uvicorn

        from web.studio.studio import build_studio

        studio = build_studio(config, workspace)
        server = uvicorn.Server(
            uvicorn.Config(
                build_app(studio), log_config=None, access_log=False, timeout_graceful_shutdown=GRACE_SECONDS
            )
        )
        tell(f"open {address_of(config)} in a browser; Ctrl-C ends the studio")
        if not config.is_local and not accounts(config):
            tell("everyone who reaches this machine may use the studio; --auth asks for a password")
        studio.cards.start()
        try:
            server.run(sockets=[listener])
        finally:
            studio.close()
    return 0


def build_app(studio: Any) -> Any:
    """The application of a studio: the page alone."""
    import fastapi

    from web.studio.page import build_page, mount_page

    app = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    return mount_page(app, build_page(studio), studio)


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens. Raises OSError, which names the address and the flag."""
    try:
        family = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host.strip("[]"), port), family=family, backlog=128)
    except OSError as error:
        raise OSError(
            f"--host {host} --port {port}: cannot listen there: {error.strerror or error}; choose others"
        ) from error


def address_of(config: StudioConfig) -> str:
    """What a user types into the browser of this machine."""
    host = "127.0.0.1" if config.host in ("0.0.0.0", "::", "[::]") else config.host.strip("[]")
    return f"http://{f'[{host}]' if ':' in host else host}:{config.port}"

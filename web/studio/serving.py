"""Serves the page, and the HTTP service beside it, until a signal arrives. Leaves nothing behind.

No training runs on when the studio has ended, and no file of a visitor stays.
"""

import secrets
from collections.abc import Callable
from typing import Any

from system.pillow_release import old_pillow_line
from web.studio import offline
from web.studio.config import StudioConfig, accounts
from web.studio.workspace import Workspace


def serve(config: StudioConfig, tell: Callable[[str], object]) -> int:
    """Serves until a signal ends it, then raises Interrupted. tell: is given lines for the operator.

    Raises OSError if it cannot listen.
    """
    from web.server import connections_for, listening_socket, run_server, url_of

    listener = listening_socket(config.host, config.port)
    connections = connections_for(config)
    with Workspace() as workspace:
        offline.prepare(workspace.cache_dir)
        from web.studio.studio import build_studio

        studio = build_studio(config, workspace)
        app = build_app(studio, lambda: len(connections))

        def ready() -> None:
            tell(f"open {url_of(listener)} in a browser; Ctrl-C ends the studio")
            if not config.is_local and not accounts(config):
                tell("everyone who reaches this machine may use the studio; --auth asks for a password")
            if line := old_pillow_line():
                tell(line)
            studio.cards.start()

        try:
            run_server(app, config, listener, connections, ready)
        finally:
            studio.close()
    return 0


def build_app(studio: Any, connections: Callable[[], int] = lambda: 0) -> Any:
    """The HTTP service with the page mounted at "/". Both share the turns at the network and the loaded styles."""
    from web.service import build_service
    from web.studio.page import build_page, mount_page

    uploads_dir = studio.workspace.private_dir / "service"
    uploads_dir.mkdir(exist_ok=True)
    app = build_service(
        studio.maker, uploads_dir, api_key=key_of(studio.config), log=None, connections=connections
    )
    gradio_app = mount_page(app, build_page(studio), studio)
    app.state.service = StoppingStudio(app.state.service, studio, gradio_app)
    return app


def key_of(config: StudioConfig) -> str | None:
    """What requests to the service must send; None: nothing.

    Where the page asks for a password and no key is set, the service is closed, or it would be a way around the page.
    """
    return config.api_key or (secrets.token_urlsafe() if accounts(config) else None)


class StoppingStudio:
    """What web.server.Server tells about the end, for the service and the page."""

    def __init__(self, service: Any, studio: Any, gradio_app: Any):
        self._service, self._studio, self._gradio_app = service, studio, gradio_app

    def stop(self) -> None:
        """Refuses new photos, and ends the connections that pages keep open."""
        self._service.stop()
        self._gradio_app.stop_event.set()

    def cancel_all(self) -> None:
        """Ends the photos that wait or are in work."""
        self._service.cancel_all()
        self._studio.visits.end_all()

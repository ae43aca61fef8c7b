"""Starting an application: what happens if it cannot start."""

import contextlib
from types import SimpleNamespace

import pytest

pytest.importorskip("fastapi", reason="needs requirements-serve.txt")
pytest.importorskip("uvicorn", reason="needs requirements-serve.txt")

from fastapi import FastAPI

from web.config import ServiceConfig
from web.connections import Connections
from web.server import listening_socket, run_server


def test_an_application_that_cannot_start_is_an_error(caplog):
    @contextlib.asynccontextmanager
    async def broken(app):
        raise KeyError("the reason")
        yield

    app = FastAPI(lifespan=broken)
    app.state.service = SimpleNamespace(stop=lambda: None, cancel_all=lambda: None)
    listener = listening_socket("127.0.0.1", 0)
    with pytest.raises(OSError, match="could not start"):
        run_server(app, ServiceConfig(), listener, Connections(9), lambda: None)
    assert "the reason" in caplog.text and listener.fileno() == -1

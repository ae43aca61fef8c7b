"""The addresses of the service, and how failures of the framework itself are answered."""

from typing import Any

from anyio.to_thread import run_sync
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from transformer.export.style_folder import StyleError, style_info
from web import description
from web.answers import style_entry
from web.gate import API, METRICS_PATH, error_response
from web.metrics import CONTENT_TYPE
from web.request_log import RECORD

NOT_FOUND_LINE = f"no such address; {API}/docs lists what there is"
JPEG = ("image/jpeg",)


def add_operations(app: FastAPI, service: Any) -> None:
    """Adds all addresses of the service to an application. service: a web.service.Service."""
    _add_photo_operations(app, service)
    _add_style_operations(app, service)
    _add_state_operations(app, service)
    _add_documents(app)
    app.add_exception_handler(HTTPException, _http_fault)
    app.add_exception_handler(RequestValidationError, _validation_fault)


def _add_photo_operations(app: FastAPI, service: Any) -> None:
    statuses = (408, 413, 415, 422, 503, 504)

    @app.post(
        f"{API}/stylize",
        responses=description.answers(description.picture_answer(), *statuses),
        openapi_extra=description.photo_body(has_fields=True),
        response_class=Response,
    )
    async def stylize(request: Request) -> Response:
        """The picture of a photo in a style, or in a mixture of styles."""
        return await service.stylize(_routed(request))

    @app.post(
        f"{API}/sheet",
        responses=description.answers(description.picture_answer(JPEG), *statuses),
        openapi_extra=description.photo_body(has_fields=False),
        response_class=Response,
    )
    async def sheet(request: Request) -> Response:
        """One picture that shows a photo in all styles, with their names."""
        return await service.sheet(_routed(request))


def _add_style_operations(app: FastAPI, service: Any) -> None:
    shelf = service.maker.shelf

    def entries() -> list[dict[str, str]]:
        found = []
        for name in shelf.names():
            try:
                found.append(style_entry(name, style_info(shelf.folder(name))))
            except StyleError:  # its style.json cannot be read; the network may be sound
                found.append(style_entry(name, {}))
        return found

    @app.get(f"{API}/styles", responses=description.answers(description.STYLES))
    async def styles(request: Request) -> JSONResponse:
        """All styles: name, origin of the painting, training, and the address of a small picture."""
        _routed(request)
        return JSONResponse({"styles": await run_sync(entries)})

    @app.get(
        f"{API}/styles/{{name}}/preview",
        responses=description.answers(description.picture_answer(JPEG), 503, 504),
        response_class=Response,
    )
    async def preview(request: Request, name: str) -> Response:
        """A small picture of an example photo in this style."""
        return await service.preview(_routed(request), name)


def _add_state_operations(app: FastAPI, service: Any) -> None:
    @app.get(f"{API}/health", responses=description.answers(description.HEALTH))
    async def health(request: Request) -> JSONResponse:
        """Whether the process answers; needs no key."""
        _routed(request)
        return JSONResponse({"status": "ok"})

    @app.get(f"{API}/ready", responses=description.answers(description.HEALTH, 503))
    async def ready(request: Request) -> JSONResponse:
        """Whether photos are accepted now; needs no key."""
        _routed(request)
        if service.is_stopping:
            return error_response(503, "the server is stopping", retry_after=10)
        if not await run_sync(service.maker.shelf.names):
            return error_response(503, "there are no styles", retry_after=60)
        return JSONResponse({"status": "ok"})

    @app.get(METRICS_PATH, include_in_schema=False)
    async def metrics(request: Request) -> Response:
        """Numbers for Prometheus."""
        _routed(request)
        return Response(await run_sync(service.metrics.text), media_type=CONTENT_TYPE)


def _add_documents(app: FastAPI) -> None:
    @app.get(f"{API}/openapi.json", include_in_schema=False)
    async def openapi(request: Request) -> JSONResponse:
        return JSONResponse(_routed(request).app.openapi())

    @app.get(f"{API}/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        return HTMLResponse(description.page(_routed(request).app.openapi()))


def _routed(request: Request) -> Request:
    """Notes the address for metrics: that of the operation, of which there are few."""
    request.scope[RECORD].route = request.scope["route"].path
    return request


async def _http_fault(request: Request, error: Any) -> Response:
    """404 and 405 of the framework as one line of JSON."""
    lines = {
        404: NOT_FOUND_LINE,
        405: f"this address has no {request.scope[RECORD].method}; {API}/docs lists what there is",
    }
    line = lines.get(error.status_code, str(error.detail))
    request.scope[RECORD].error = line
    response = error_response(error.status_code, line)
    response.headers.update(error.headers or {})
    return response


async def _validation_fault(request: Request, error: Any) -> Response:
    return error_response(422, "a parameter is wrong; see the documentation")

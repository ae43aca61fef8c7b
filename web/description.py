"""The description of the service: OpenAPI for programs, and a plain page that loads nothing from elsewhere."""

import html
from typing import Any

from web.parameters import schemas
from web.pictures import MOST_STYLES

PICTURE_TYPES = {
    "jpg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "tiff": "image/tiff",
    "bmp": "image/bmp",
}
ERROR = {
    "type": "object",
    "properties": {"error": {"type": "string", "description": "what is wrong, and what to do"}},
    "required": ["error"],
}
_TEXT = {"type": "string"}
_STYLE_KEYS = ("name", "source", "training", "preview")
_STYLE = {"type": "object", "properties": dict.fromkeys(_STYLE_KEYS, _TEXT), "required": list(_STYLE_KEYS)}


def _json_answer(text: str, name: str, schema: dict[str, Any]) -> dict[str, Any]:
    whole = {"type": "object", "properties": {name: schema}, "required": [name]}
    return {"description": text, "content": {"application/json": {"schema": whole}}}


STYLES = _json_answer("the styles", "styles", {"type": "array", "items": _STYLE})
HEALTH = _json_answer("it is", "status", _TEXT)
BINARY = {"type": "string", "format": "binary", "minLength": 1}
REFUSALS = {
    400: "the request or its form cannot be read",
    401: "a key is needed",
    403: "a page of another site has sent this",
    404: "no such style or address",
    405: "this address has other methods",
    408: "the upload took too long",
    413: "the upload has too many bytes",
    415: "a body of this type is not accepted",
    421: "this server has another name",
    422: "a parameter or a file is wrong: out of its range, not an image, damaged, too many pixels",
    500: "the server has failed; its log says why",
    503: "too many photos wait, or memory is short; try again after the seconds of Retry-After",
    504: "the time limit has passed",
}


def answers(success: dict[str, Any], *statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an operation: what it gives on success, and its refusals."""
    found: dict[int | str, dict[str, Any]] = {200: success}
    for status in sorted({400, 401, 403, 404, 405, 421, 500, *statuses}):
        found[status] = {"description": REFUSALS[status], "content": {"application/json": {"schema": ERROR}}}
        if status == 503:
            seconds = {"description": "seconds", "schema": {"type": "integer"}}
            found[status]["headers"] = {"Retry-After": seconds}
    return found


def picture_answer(types: tuple[str, ...] = tuple(PICTURE_TYPES.values())) -> dict[str, Any]:
    """The description of a picture as an answer."""
    return {"description": "the picture", "content": {kind: {"schema": BINARY} for kind in types}}


def photo_body(*, has_fields: bool) -> dict[str, Any]:
    """`openapi_extra` of an operation that takes a photo, as a form or as the whole body."""
    form: dict[str, Any] = {"photo": BINARY}
    parameters = []
    if has_fields:
        found = schemas()
        form |= {
            "mask": BINARY | {"description": "white where the style applies, black where the photo stays"}
        } | found
        parameters = [
            {
                "name": name,
                "in": "query",
                "required": False,
                "schema": schema,
                "description": schema["description"],
            }
            for name, schema in found.items()
        ]
    content = {
        "multipart/form-data": {"schema": {"type": "object", "properties": form, "required": ["photo"]}}
    }
    content |= {kind: {"schema": BINARY} for kind in ("application/octet-stream", "image/*")}
    return {"parameters": parameters, "requestBody": {"required": True, "content": content}}


def page(openapi: dict[str, Any]) -> str:
    """The description as HTML."""
    info = openapi["info"]
    parts = [f"<h1>{html.escape(info['title'])}</h1><p>{html.escape(info['description'])}</p>"]
    for path, operations in openapi["paths"].items():
        for method, operation in operations.items():
            parts.append(f"<h2>{method.upper()} {html.escape(path)}</h2>")
            parts.append(
                f"<p>{html.escape(operation.get('description') or operation.get('summary', ''))}</p>"
            )
            parts.append(_table(("parameter", "meaning"), _parameters(operation)))
            parts.append(_table(("status", "meaning"), _statuses(operation)))
    return _PAGE.format(title=html.escape(info["title"]), body="\n".join(filter(None, parts)))


def _parameters(operation: dict[str, Any]) -> list[tuple[str, str]]:
    return [(item["name"], item.get("description", "")) for item in operation.get("parameters", ())]


def _statuses(operation: dict[str, Any]) -> list[tuple[str, str]]:
    return [(str(status), answer["description"]) for status, answer in operation["responses"].items()]


def _table(titles: tuple[str, str], rows: list[tuple[str, str]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{title}</th>" for title in titles)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>\n" for row in rows
    )
    return f"<table><tr>{head}</tr>\n{body}</table>"


TITLE = "Fast style transfer"
ABOUT = (
    "Photos in, pictures in the style of a painting out. A photo is sent as multipart/form-data with a file called"
    " photo, or as the body of the request with Content-Type image/jpeg and parameters in the query. Parameters may be"
    f' in the query or in the form. One to {MOST_STYLES} styles. Every failure is one line: {{"error": ...}}.'
)
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title><style>
body {{ font-family: system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; line-height: 1.4 }}
table {{ border-collapse: collapse }} td, th {{ text-align: left; vertical-align: top; padding: .2em 1em .2em 0 }}
</style></head><body>
{body}
<p>For programs: <a href="openapi.json">openapi.json</a></p>
</body></html>
"""

"""Answers of the service: a picture with its headers, a sheet, the entry of a style, and refusals."""

import io
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import anyio
from anyio.to_thread import run_sync
from fastapi import Request
from fastapi.responses import Response

from cli.listings import LONGEST_SOURCE, training_of
from system.console import printable
from web.description import PICTURE_TYPES
from web.faults import CLIENT_GONE, answer_to
from web.gate import API, error_response
from web.pictures import Finished, PictureRequest
from web.request_log import record_of

CHUNK = 2**18  # bytes of a picture that are in memory while it is sent
SEND_SECONDS = 120.0  # in which a client must have read its picture
LONGEST_NAME, LONGEST_NOTES = 80, 500  # characters
SHEET_QUALITY = 92  # of JPEG


class PictureResponse(Response):
    """Sends a picture from its file, which may be removed meanwhile. photo_name: what the client called the photo."""

    def __init__(self, finished: Finished, photo_name: str, asked: PictureRequest):
        suffix = finished.path.suffix
        name = download_name(photo_name, [style for style, _ in asked.styles], suffix)
        headers = {
            "content-length": str(finished.path.stat().st_size),
            "content-disposition": f'inline; filename="{name}"',
            "x-picture-width": str(finished.width),
            "x-picture-height": str(finished.height),
            "x-stroke-scale": f"{finished.stroke_scale:.3g}",
            "server-timing": _server_timing(finished),
        }
        if finished.notes:
            headers["x-notes"] = _latin(" | ".join(finished.notes))[:LONGEST_NOTES]
        super().__init__(None, headers=headers, media_type=PICTURE_TYPES[suffix[1:]])
        self._file = finished.path.open(
            "rb"
        )  # the folder of the request is removed before the picture is sent

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        with self._file, anyio.move_on_after(SEND_SECONDS):  # then uvicorn closes the connection
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            while chunk := await run_sync(self._file.read, CHUNK):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})


def download_name(photo_name: str, styles: Sequence[str], suffix: str) -> str:
    """Returns a name for the picture of a photo: letters, digits, dashes and underscores, whatever the client sent."""
    stem = Path(photo_name.replace("\\", "/")).stem
    words = "_".join([stem or "picture", *styles])
    return (re.sub(r"[^A-Za-z0-9-]+", "_", words)[:LONGEST_NAME].strip("_") or "picture") + suffix


def refusal(request: Request, error: Exception, names: dict[Path, str] | None = None) -> Response:
    """The answer to one of web.faults.EXPECTED. names: what the client calls the files of the request."""
    answer, record = answer_to(error, names), record_of(request.scope)
    record.error = answer.line
    if answer.status == CLIENT_GONE:
        record.is_gone = True
    if answer.status >= 500 and answer.retry_after is None and answer.status != 504:
        logging.getLogger(__name__).error("%s: %s", type(error).__name__, printable(error))
    return error_response(answer.status, answer.line, retry_after=answer.retry_after)


def style_entry(name: str, info: dict[str, Any]) -> dict[str, str]:
    """What the list of styles tells of one. info: what transformer.export.style_folder.style_info returned."""
    from transformer.export.style_folder import style_source

    source = printable(style_source(info))[:LONGEST_SOURCE]
    is_path = not (info.get("style_picture") or {}).get("source")
    return {
        "name": name,
        "source": Path(source).name if is_path else source,
        "training": printable(training_of(info)),
        "preview": f"{API}/styles/{quote(name, safe='')}/preview",
    }


def sheet_picture(pictures: Sequence[tuple[str, Any]]) -> bytes:
    """Returns a JPEG file with all pictures and their names: [(name, image [H, W, 3]), ...]."""
    import numpy as np
    from PIL import Image

    from data.contact_sheet import picture_grid
    from data.images import quantized

    stream = io.BytesIO()
    sheet = Image.fromarray(quantized(picture_grid(pictures), np.uint8))
    sheet.save(stream, "JPEG", quality=SHEET_QUALITY)
    return stream.getvalue()


def _server_timing(finished: Finished) -> str:
    return ", ".join(f"{stage};dur={1000 * seconds:.0f}" for stage, seconds in finished.seconds.items())


def _latin(text: str) -> str:
    return printable(text).encode("ascii", "backslashreplace").decode()

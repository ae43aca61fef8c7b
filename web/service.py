"""The HTTP service: photos in, pictures out. A page can be mounted on the same application, see `build_service`."""

import asyncio
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import FastAPI, Request
from fastapi.responses import Response

from system.console import printable
from web import description
from web.answers import PictureResponse, refusal, sheet_picture
from web.faults import EXPECTED, Refused
from web.gate import Gate
from web.metrics import Metrics
from web.operations import add_operations
from web.parameters import picture_request
from web.pictures import WAITING, Finished, PictureMaker
from web.previews import StylePreviews
from web.request_log import print_line, record_of
from web.turns import ClientGone, Deadline, Stopping
from web.uploads import MEGABYTE, Upload, Uploads

UPLOADS_AT_ONCE = 32  # of the largest size, on the disk beside those that wait
SPARE_THREADS = 8  # for previews, and to refuse what is too much


def build_service(
    maker: PictureMaker,
    folder: Path,
    *,
    api_key: str | None = None,
    log: Callable[[str], object] | None = print_line,
    connections: Callable[[], int] = lambda: 0,
) -> FastAPI:
    """Returns an application with the endpoints below /api/v1, and /metrics. Its `state.service` is the Service.

    All other addresses are free: a page can be mounted at "/" after this call, and share `maker`.
    folder: for uploads, private; see system.files.temporary_folder. api_key: what requests must send; None: nothing.
    log: takes one line of JSON for each request; None: no log. connections: returns how many are open, for /metrics.
    """
    metrics = Metrics(lambda: maker.waiting, connections)
    app = FastAPI(
        title=description.TITLE,
        description=description.ABOUT,
        version="1",
        openapi_url=None,  # served by web/operations.py
        docs_url=None,  # FastAPI's page loads its scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.service = service = Service(maker, folder, metrics)
    app.add_middleware(Gate, metrics=metrics, api_key=api_key, log=log, host_names=maker.config.host_names)
    add_operations(app, service)
    return app


class Service:
    """What the operations that take a photo do; see web/operations.py for their addresses."""

    def __init__(self, maker: PictureMaker, folder: Path, metrics: Metrics):
        config, stages = maker.config, maker.stages
        self.maker, self.metrics, self._previews = maker, metrics, StylePreviews(maker)
        self.is_stopping = False
        most_bytes = round(config.max_upload * MEGABYTE)
        self._uploads = Uploads(
            folder,
            most_bytes=most_bytes,
            most_bytes_of_all=most_bytes * (config.max_waiting + UPLOADS_AT_ONCE),
            seconds=config.upload_limit,
        )
        self._most_threads = stages.most_at_once + SPARE_THREADS
        self._limiter: CapacityLimiter | None = None
        self._deadlines: weakref.WeakSet[Deadline] = weakref.WeakSet()

    def stop(self) -> None:
        """Refuses new photos from now on; those that are here are finished."""
        self.is_stopping = True

    def cancel_all(self) -> None:
        """Ends the photos that wait or are in work; they are answered with status 503."""
        for deadline in list(self._deadlines):
            deadline.cancel(Stopping())

    async def stylize(self, request: Request) -> Response:
        """The answer to a photo: its picture."""

        def work(upload: Upload, deadline: Deadline) -> Response:
            asked = picture_request([*request.query_params.multi_items(), *upload.texts], upload.mask)
            self.maker.check(asked)
            record_of(request.scope).styles = tuple(name for name, _ in asked.styles)
            finished = self.maker.make(upload.named_photo(), asked, upload.folder, deadline=deadline)
            self._note(request, finished)
            return PictureResponse(finished, upload.photo_name, asked)

        return await self._answer(request, work)

    async def sheet(self, request: Request) -> Response:
        """The answer to a photo: one picture that shows it in all styles."""

        def work(upload: Upload, deadline: Deadline) -> Response:
            if given := [*request.query_params, *(name for name, _ in upload.texts)]:
                raise Refused(
                    422, f"a sheet has no parameters; leave out {printable(', '.join(given))[:100]}"
                )
            pictures = self.maker.sheet(upload.named_photo(), deadline=deadline)
            return Response(sheet_picture(pictures), media_type="image/jpeg")

        return await self._answer(request, work)

    async def preview(self, request: Request, name: str) -> Response:
        """A small picture of a style."""
        deadline = self._deadline()
        try:
            content = await self._in_thread(request, deadline, lambda: self._previews.jpeg(name, deadline))
        except EXPECTED as error:
            return refusal(request, error)
        return Response(content, media_type="image/jpeg")

    async def _answer(self, request: Request, work: Callable[[Upload, Deadline], Response]) -> Response:
        deadline = self._deadline()
        names: dict[Path, str] = {}
        try:
            if self.is_stopping:
                raise Stopping
            self.maker.stages.line.check_free()  # before the upload, which would be in vain
            with self._uploads.folder() as upload:
                names = upload.names
                await self._uploads.receive(request, upload)
                return await self._in_thread(request, deadline, lambda: work(upload, deadline))
        except EXPECTED as error:
            return refusal(request, error, names)

    def _deadline(self) -> Deadline:
        deadline = self.maker.deadline()
        self._deadlines.add(deadline)
        return deadline

    async def _in_thread(self, request: Request, deadline: Deadline, work: Callable[[], Any]) -> Any:
        """The result of `work` in a thread. Its deadline is cancelled when the client closes the connection."""

        async def watch() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            deadline.cancel(ClientGone())

        if self._limiter is None:
            self._limiter = CapacityLimiter(self._most_threads)  # belongs to the event loop
        watcher = asyncio.create_task(watch())
        try:
            return await run_sync(work, limiter=self._limiter)
        finally:
            watcher.cancel()

    def _note(self, request: Request, finished: Finished) -> None:
        record, megapixels = record_of(request.scope), finished.height * finished.width / 1e6
        record.waited, record.megapixels = finished.seconds[WAITING], megapixels
        self.metrics.count_picture(finished.seconds, megapixels)

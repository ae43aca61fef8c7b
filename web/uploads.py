"""What clients send becomes files in a private folder, with limits on bytes, parts and seconds while it arrives.

No name that a client sends becomes a path: the files of a request are called photo, mask and picture. Parts of forms
go through starlette's parser, whose temporary files have no name at all.
"""

import contextlib
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from anyio.to_thread import run_sync
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from system.console import printable
from web.faults import Refused
from web.turns import Busy, ClientGone

MEGABYTE = 1e6
MOST_TEXTS = 20  # fields of a form without a file
MOST_TEXT_BYTES = 1000  # of one of them
FORM_BYTES = 64_000  # of a form beside its files
PART_BYTES_IN_MEMORY = 65_536
CHUNK = 2**20  # bytes that are written at once
BUSY_SECONDS = 5
_SUFFIXES = {"JPEG": "jpg"}  # where it is not the name of the format
PHOTO, MASK = "photo", "mask"
FORM_TYPE = "multipart/form-data"
RAW_TYPES = ("application/octet-stream", "")
RAW_FAMILY = "image/"
HOW_TO_SEND = (
    "send multipart/form-data with a file called photo, or the photo itself as Content-Type image/jpeg"
)


class UploadRoom:
    """Bytes of all uploads that are on the disk at the same time; threads may share it."""

    def __init__(self, most_bytes: float):
        self._free, self._lock = most_bytes, threading.Lock()

    def take(self, count: int) -> None:
        """Raises Busy if there is no room."""
        with self._lock:
            if count > self._free:
                raise Busy("too many uploads arrive", BUSY_SECONDS)
            self._free -= count

    def give(self, count: int) -> None:
        with self._lock:
            self._free += count


@dataclass
class Upload:
    """A request's files in a folder of its own, and its other fields. photo_name: what the client calls its photo."""

    folder: Path
    photo: Path | None = None
    mask: Path | None = None
    photo_name: str = ""
    texts: list[tuple[str, str]] = field(default_factory=list)
    received: int = 0  # bytes

    def named_photo(self) -> Path:
        """Gives the photo the suffix of what it contains, which decides the format of its picture; returns its path.

        Raises ImageError for a file that is no image.
        """
        from data.decoding import image_claim

        kind = image_claim(self.photo).format
        self.photo = self.photo.rename(self.photo.with_suffix(f".{_SUFFIXES.get(kind, kind.lower())}"))
        return self.photo

    @property
    def names(self) -> dict[Path, str]:
        """What messages call the files."""
        return {self.folder / "picture": "picture", self.folder / MASK: MASK, self.folder / PHOTO: PHOTO}


class Uploads:
    """Receives uploads into sub-folders of `folder`. most_bytes: of one request. seconds: that one may take."""

    def __init__(self, folder: Path, *, most_bytes: int, most_bytes_of_all: float, seconds: float):
        self._folder, self._most, self._seconds = folder, most_bytes, seconds
        self._room = UploadRoom(most_bytes_of_all)

    @contextlib.contextmanager
    def folder(self) -> Iterator[Upload]:
        """A folder for one request, which is removed at the end."""
        upload = Upload(Path(tempfile.mkdtemp(dir=self._folder)))
        try:
            yield upload
        finally:
            self._room.give(upload.received)
            shutil.rmtree(upload.folder, ignore_errors=True)

    async def receive(self, request: Request, upload: Upload) -> None:
        """Stores the body of a request. Raises Refused, Busy and ClientGone."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        is_form = kind == FORM_TYPE
        if not (is_form or kind in RAW_TYPES or kind.startswith(RAW_FAMILY)):
            raise Refused(415, f"a body of type {printable(kind)[:60]} is not accepted; {HOW_TO_SEND}")
        self._check_claim(request)
        try:
            with anyio.fail_after(self._seconds):
                await (self._receive_form if is_form else self._receive_raw)(request, upload)
        except TimeoutError:
            raise Refused(408, f"the upload took more than {self._seconds:g} seconds") from None
        except ClientDisconnect:
            raise ClientGone from None

    def _check_claim(self, request: Request) -> None:
        """Refuses what says itself that it is too large, before it arrives."""
        claim = request.headers.get("content-length", "")
        if claim.isdecimal() and int(claim[:20]) > self._most + FORM_BYTES:
            raise self._too_large()

    def _too_large(self) -> Refused:
        return Refused(413, f"more than {self._most / MEGABYTE:g} MB; send a smaller file")

    async def _chunks(self, request: Request, upload: Upload, most: int) -> AsyncIterator[bytes]:
        async for chunk in request.stream():
            if upload.received + len(chunk) > most:
                raise self._too_large()
            self._room.take(len(chunk))
            upload.received += len(chunk)
            yield chunk

    async def _receive_raw(self, request: Request, upload: Upload) -> None:
        upload.photo = upload.folder / PHOTO
        waiting = bytearray()
        with upload.photo.open("wb") as file:
            async for chunk in self._chunks(request, upload, self._most):
                waiting += chunk
                if len(waiting) >= CHUNK:
                    await run_sync(file.write, bytes(waiting))
                    waiting.clear()
            await run_sync(file.write, bytes(waiting))
        if not upload.received:
            raise Refused(400, f"the body is empty; {HOW_TO_SEND}")

    async def _receive_form(self, request: Request, upload: Upload) -> None:
        chunks = self._chunks(request, upload, self._most + FORM_BYTES)
        parser = MultiPartParser(
            request.headers, chunks, max_files=2, max_fields=MOST_TEXTS, max_part_size=MOST_TEXT_BYTES
        )
        parser.spool_max_size = PART_BYTES_IN_MEMORY
        try:
            form = await parser.parse()
        except MultiPartException as error:
            raise Refused(400, f"the form cannot be read: {printable(error.message)[:200]}") from error
        except UnicodeError as error:  # of a charset that has no text, such as "undefined"
            raise Refused(
                400, "the form cannot be read: its charset is not supported; leave it out"
            ) from error
        try:
            for name, part in form.multi_items():
                await self._store(name, part, upload)
        finally:
            await form.close()
        if upload.photo is None:
            raise Refused(422, f"the form has no file called photo; {HOW_TO_SEND}")

    async def _store(self, name: str, part: UploadFile | str, upload: Upload) -> None:
        if isinstance(part, str):
            upload.texts.append((name, part))
            return
        if name not in (PHOTO, MASK) or getattr(upload, name) is not None:
            raise Refused(422, f"files are called photo and mask, and each is sent once; {HOW_TO_SEND}")
        path = upload.folder / name
        setattr(upload, name, path)
        if name == PHOTO:
            upload.photo_name = part.filename or ""
        await run_sync(_copy, part, path)


def _copy(part: UploadFile, path: Path) -> None:
    with path.open("wb") as file:
        shutil.copyfileobj(part.file, file, CHUNK)

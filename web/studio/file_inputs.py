"""Parts of the page that take files. What a visitor sends is a file below the cache folder, or it is refused."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import gradio as gr
from gradio import component_meta
from gradio.components.base import server

from web.studio.mask_store import LOST_MASK, MaskStore
from web.studio.uploads import Upload, upload_of

MOST_FRAME_BYTES = 8_000_000  # of a frame of the webcam
_LAYER_BYTES = 4_000_000  # of one picture of the mask editor, which has 800x800 pixels

# Gradio writes a stub file beside the module of every class below, which only its own developers need.
component_meta.create_or_modify_pyi = lambda component_class, class_name, events: None


class StudioBlocks(gr.Blocks):
    """A page whose events take files from its own cache folder only.

    Gradio checks this for pages that it launches itself, and not for those that are mounted on another application. It
    would also fetch files from other addresses.
    """

    async def preprocess_data(self, block_fn, inputs, state, explicit_call=False):
        cache_dir = Path(self.GRADIO_CACHE)
        for place in _file_places(inputs):
            if not _is_below(place, cache_dir):
                raise gr.Error("this file was not uploaded here; upload it again", print_exception=False)
        return await super().preprocess_data(block_fn, inputs, state, explicit_call)


def check_photos(uploads: Iterable[Upload], max_pixels: int) -> None:
    """Raises ImageError for a file that is no photo or has more pixels. Reads headers only.

    A process that works on uploads knows nothing of the studio's limits, so this comes before it is started.
    """
    from data.decoding import image_claim

    for upload in uploads:
        image_claim(upload.path, max_pixels=max_pixels)


def _content(path: str, most_bytes: int) -> bytes:
    """The content of an uploaded file. Raises gr.Error if it is larger."""
    if os.path.getsize(path) > most_bytes:
        raise gr.Error(f"this file is larger than {most_bytes / 1e6:g} MB", print_exception=False)
    return Path(path).read_bytes()


def _file_places(value: Any) -> Iterator[Any]:
    """Everything in the inputs of an event that Gradio could take for the place of a file."""
    if isinstance(value, dict):
        if value.get("path") is not None:
            yield value["path"]
        for item in value.values():
            yield from _file_places(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _file_places(item)


def _is_below(place: Any, folder: Path) -> bool:
    if not isinstance(place, str) or "\0" in place:
        return False
    real = os.path.realpath(place)
    return os.path.isfile(real) and Path(real).is_relative_to(os.path.realpath(folder)) and place == real


class PhotoInput(gr.Image):
    """Gives functions an Upload. The file is not opened here, so that a bad one gets the message of infer.py."""

    is_template = True  # the browser's part is that of the class above

    def preprocess(self, payload):
        return upload_of(payload)


class FilesInput(gr.File):
    """Gives functions a list of Uploads."""

    is_template = True  # the browser's part is that of the class above

    def preprocess(self, payload):
        files = payload.root if hasattr(payload, "root") else [payload]
        return [upload for upload in map(upload_of, files) if upload is not None]


class LiveInput(gr.Image):
    """Gives functions the bytes of a frame of the webcam, as the browser has encoded it."""

    is_template = True  # the browser's part is that of the class above

    def preprocess(self, payload):
        from base64 import b64decode

        if payload is None:
            return None
        if payload.url and payload.url.startswith("data:image/"):
            return b64decode(payload.url.partition(",")[2])
        return _content(payload.path, MOST_FRAME_BYTES) if payload.path else None


class MaskInput(gr.ImageEditor):
    """Gives functions the PNG or WebP bytes of what was painted over the photo, None if nothing was.

    LOST_MASK if the browser gives the key of a mask that is not there.
    """

    is_template = True  # the browser's part is that of the class above
    masks = MaskStore()  # of this process; gr.ImageEditor has one without limits

    def preprocess(self, payload):
        if payload is None:
            return None
        if payload.id is None:
            return _first(
                [_content(layer.path, _LAYER_BYTES) for layer in payload.layers if layer and layer.path]
            )
        painted = self.masks.take(str(payload.id))
        return LOST_MASK if painted is None else painted or None

    @server
    def accept_blobs(self, data):
        """Takes a picture of the editor before its event."""
        blob = data.files[0][1]
        if len(blob) > _LAYER_BYTES:
            raise ValueError("a picture of the mask editor is too large")
        is_layer = data.data["type"] == "layer"  # the others show the photo, which is known
        self.masks.add(str(data.data["id"]), blob if is_layer else b"")


def _first(layers: list) -> bytes | None:
    return next((layer for layer in layers if layer), None)

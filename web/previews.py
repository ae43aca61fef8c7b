"""Small pictures that show what a style looks like: an example photo in that style."""

import io
import threading
from pathlib import Path

from web.pictures import PictureMaker
from web.shelf import version_of
from web.turns import Deadline

SIDE = 256  # pixels, longest side
QUALITY = 85  # of JPEG
EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "chelsea.jpg"


class StylePreviews:
    """Makes a preview when it is first asked for, and keeps it until the style is trained again."""

    def __init__(self, maker: PictureMaker, photo_path: Path = EXAMPLE):
        self._maker, self._photo_path = maker, photo_path
        self._pictures: dict[str, tuple[int, bytes]] = {}  # name -> version of the style, JPEG file
        self._lock = threading.Lock()

    def jpeg(self, name: str, deadline: Deadline) -> bytes:
        """Returns a JPEG file. Raises StyleError, Busy, GaveUp, and RuntimeError without an example photo."""
        version = version_of(self._maker.shelf.folder(name))
        with self._lock:
            known = self._pictures.get(name)
        if known and known[0] == version:
            return known[1]
        content = self._made(name, deadline)
        with self._lock:
            self._pictures[name] = version, content
        return content

    def _made(self, name: str, deadline: Deadline) -> bytes:
        import numpy as np
        from PIL import Image

        from data.images import load_image, quantized
        from data.picture import ImageError

        try:
            photo = load_image(self._photo_path, max_side=SIDE)
        except ImageError as error:  # a fault of this server, not of the visitor's file
            raise RuntimeError(f"the example photo of previews cannot be read: {error}") from error
        with self._maker.turns.turn(deadline):
            stylized = self._maker.shelf.stylizer([(name, 1.0)])(photo)
        stream = io.BytesIO()
        Image.fromarray(quantized(stylized, np.uint8)).save(stream, "JPEG", quality=QUALITY)
        return stream.getvalue()

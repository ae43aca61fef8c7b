"""Frames of a webcam in a style: small, one turn at the network for each, and none that wait for an earlier one.

The browser keeps the newest frame only, so a slow server gets fewer frames and no line of old ones. A frame waits its
turn like a photo, so that a stream takes no more than every second turn when others wait.
"""

import base64
import io
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any

from cli.flags import UsageError
from web.pictures import PictureMaker
from web.turns import Deadline

SIDES = (256, 384, 512)  # pixels, longest side of a frame
USUAL_SIDE = 384
MOST_PIXELS = 4_000_000  # of a frame as it comes; webcams have 2 million
FRAME_SECONDS = 5.0  # that a frame may take; one that is older is dropped
_MEASURED = 10  # frames over which the rate is measured
_QUALITY = 85  # of JPEG


class FrameRate:
    """Frames a second, over the last ones."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=_MEASURED)

    def count(self) -> float:
        """Counts a frame; returns the rate, 0 for the first one, and starts again after a pause."""
        now = time.monotonic()
        if self._times and now - self._times[-1] > FRAME_SECONDS:
            self._times.clear()
        self._times.append(now)
        passed = now - self._times[0]
        return (len(self._times) - 1) / passed if passed else 0.0


def stylized_frame(maker: PictureMaker, frame: bytes, style: str, side: int, folder: Path) -> Any:
    """Returns the frame in the style [H, W, 3]. folder: where the frame is stored while it is decoded.

    Raises UsageError, ImageError, StyleError, MemoryError, Busy and GaveUp.
    """
    from data.images import load_image

    if side not in SIDES:
        raise UsageError(f"the size must be one of {', '.join(map(str, SIDES))}")
    maker.shelf.folder(style)
    path = folder / f"frame{threading.get_ident()}"
    path.write_bytes(frame)
    try:
        image = load_image(path, max_side=side, max_pixels=min(MOST_PIXELS, maker.max_pixels))
    finally:
        path.unlink(missing_ok=True)
    with maker.turns.turn(Deadline(FRAME_SECONDS)):
        return maker.shelf.stylizer([(style, 1.0)])(image)


def as_html(image: Any, description: str) -> str:
    """An image as an element of the page that needs no file on the server."""
    import html

    import numpy as np
    from PIL import Image

    from data.images import quantized

    stream = io.BytesIO()
    Image.fromarray(quantized(image, np.uint8)).save(stream, "JPEG", quality=_QUALITY)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return f'<img src="data:image/jpeg;base64,{data}" alt="{html.escape(description)}">'

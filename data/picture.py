"""What an image file holds, and the error for files that cannot be read or written."""

from dataclasses import dataclass

import numpy as np

from system.console import printable


class ImageError(ValueError):
    """A file cannot be read or written as an image. The message is one line: the file, the fault and the remedy.

    Control characters, line breaks and undecodable bytes of file names are shown as escapes such as \\n.
    """

    def __init__(self, message: str = ""):
        super().__init__(printable(message))


@dataclass(frozen=True)
class Picture:
    """The pixels of an image file, upright, and its metadata.

    pixels: gray [H, W], RGB [H, W, 3] or RGBA [H, W, 4]. uint8 and uint16 use their full range, float32 is 0..255.
    icc_profile, exif: the metadata as bytes, without the orientation. None if the file has none, or if it does not
    apply to these pixels.
    notes: one line for each part of the file that was left out because it cannot be read.
    """

    pixels: np.ndarray
    icc_profile: bytes | None = None
    exif: bytes | None = None
    notes: tuple[str, ...] = ()


class UnsupportedLayout(ValueError):
    """No decoder shows such a file rightly; the message names the layout."""


class MissingPixels(ValueError):
    """The file is shorter than its pixels."""

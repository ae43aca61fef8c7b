"""A photo with all that its file says of it, and the picture made of it written back with the same.

For one photo of any size: pixels stay in the file's depth, and become an `image` only where they are looked at.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data.decoding import Decoded, decode_file
from data.encoding import ALPHA_SUFFIXES, DEEP_SUFFIXES, encode_file
from data.images import quantized, resize_pixels, rgb_over, shrunk_size


@dataclass(frozen=True)
class Photo:
    """Pixels upright as stored, and what describes them.

    photo[rows, columns] is that part as an image, RGB float32 0..255 over white, [rows, columns, 3].
    """

    source: Decoded  # at the size at which it is stylized
    full_size: tuple[int, int]  # height and width in the file

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the whole image."""
        return (*self.source.pixels.shape[:2], 3)

    def __getitem__(self, place: tuple[slice, slice]) -> np.ndarray:
        return rgb_over(self.source.pixels[place])

    @property
    def alpha(self) -> np.ndarray | None:
        """Opacity [H, W] as stored; None where there is none."""
        pixels = self.source.pixels
        return pixels[..., 3] if pixels.ndim == 3 and pixels.shape[-1] == 4 else None

    def canvas(self, path: Path) -> np.ndarray:
        """Where the picture for `path` is put together: [H, W, 3], uint16 if photo and format are that deep."""
        is_deep = self.source.pixels.dtype != np.uint8 and path.suffix.lower() in DEEP_SUFFIXES
        return np.empty(self.shape, np.uint16 if is_deep else np.uint8)


def load_photo(path: Path, *, max_side: int | None = None) -> Photo:
    """Reads a photo; with `max_side` (pixels) its longest side is shrunk to it. Raises ImageError."""
    source = decode_file(Path(path))
    full_size = source.pixels.shape[:2]
    if max_side is not None:
        pixels = resize_pixels(source.pixels, *shrunk_size(full_size, max_side))
        source = Decoded(pixels, source.icc_profile, source.exif)
    return Photo(source, full_size)


def save_photo(path: Path, canvas: np.ndarray, photo: Photo, *, restore_size: bool = False) -> None:
    """Writes a picture made of `photo`, with its alpha, ICC profile and EXIF where the format has them.

    `restore_size` enlarges it to the size that the photo had in its file. Raises ImageError.
    """
    path = Path(path)
    alpha = photo.alpha if path.suffix.lower() in ALPHA_SUFFIXES else None
    if alpha is not None:
        alpha = alpha if alpha.dtype == canvas.dtype else quantized(rgb_over(alpha)[..., 0], canvas.dtype)
        canvas = np.concatenate([canvas, alpha[..., np.newaxis]], axis=-1)
    if restore_size:
        canvas = resize_pixels(canvas, *photo.full_size)
    encode_file(path, Decoded(canvas, photo.source.icc_profile, photo.source.exif))

"""Photos with their bit depth, alpha and metadata, which are written back with the stylized image.

Meant for one photo of any size. Pixels stay in the depth of the file; only the parts in use are converted to images.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data.decoding import decode_file
from data.encoding import ALPHA_SUFFIXES, DEEP_SUFFIXES, check_image_size, encode_file
from data.images import quantized, resize_pixels, rgb_over, shrunk_size
from data.picture import Picture


@dataclass(frozen=True)
class Photo:
    """A photo; photo[rows, columns] is a part of it as an image [rows, columns, 3], RGB, float32, 0..255, over white.

    picture: pixels and metadata, at the size of the picture that will be written, or at which the network sees it.
    full_size: height and width in the file.
    """

    picture: Picture
    full_size: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of the whole image."""
        return (*self.picture.pixels.shape[:2], 3)

    def __getitem__(self, part: tuple[slice, slice]) -> np.ndarray:
        return rgb_over(self.picture.pixels[part])

    @property
    def alpha(self) -> np.ndarray | None:
        """The opacity [H, W], in the depth of the file; None if the photo has none."""
        pixels = self.picture.pixels
        return pixels[..., 3] if pixels.ndim == 3 and pixels.shape[-1] == 4 else None

    def shrunk(self, size: tuple[int, int]) -> "Photo":
        """Returns the photo at another height and width; itself if it has this size."""
        pixels = resize_pixels(self.picture.pixels, *size)
        if pixels is self.picture.pixels:
            return self
        return replace(self, picture=replace(self.picture, pixels=pixels))

    def canvas(self, path: Path) -> np.ndarray:
        """Returns an array for the image that will be saved at `path`: [H, W, 3], uninitialized.

        It is uint16 if the photo has more than 8 bits and the format can store them, else uint8.
        Raises ImageError if the format cannot store this size.
        """
        check_image_size(path, *self.shape[:2])
        is_deep = self.picture.pixels.dtype != np.uint8 and path.suffix.lower() in DEEP_SUFFIXES
        return np.empty(self.shape, np.uint16 if is_deep else np.uint8)


def load_photo(path: Path, *, max_side: int | None = None, max_pixels: int | None = None) -> Photo:
    """Loads a photo; `max_side` shrinks its longest side to this number of pixels. Raises ImageError.

    max_pixels: larger photos are refused before they are decoded.
    """
    picture = decode_file(Path(path), max_pixels=max_pixels)
    photo = Photo(picture, picture.pixels.shape[:2])
    return photo if max_side is None else photo.shrunk(shrunk_size(photo.full_size, max_side))


def save_photo(
    path: Path, canvas: np.ndarray, photo: Photo, *, restore_size: bool = False
) -> tuple[str, ...]:
    """Saves a canvas with the alpha, ICC profile and EXIF of `photo`, as far as the format can store them.

    restore_size: enlarges the canvas to the size of the photo in its file.
    Returns one line for each piece of metadata that is missing in the new file although the photo has it.
    Raises ImageError.
    """
    path = Path(path)
    alpha = photo.alpha if path.suffix.lower() in ALPHA_SUFFIXES else None
    if alpha is not None:
        alpha = alpha if alpha.dtype == canvas.dtype else quantized(rgb_over(alpha)[..., 0], canvas.dtype)
        canvas = np.concatenate([canvas, alpha[..., np.newaxis]], axis=-1)
    if restore_size:
        canvas = resize_pixels(canvas, *photo.full_size)
    return (*photo.picture.notes, *encode_file(path, replace(photo.picture, pixels=canvas)))

"""What users ask of a picture after the network made it: the photo's colours, less of the style, only a part of it."""

import numpy as np

from data.images import keep_colors, mix_images, quantized, resize_pixels

WHOLE = slice(None)


class Controls:
    """Keeps colours first, then mixes: `strength` 0..1, times `mask` where there is one.

    mask: [H, W] uint8, 255 where the style shall be; it is resized to each photo.
    """

    def __init__(self, *, keep_colors: bool = False, strength: float = 1.0, mask: np.ndarray | None = None):
        self._keep_colors, self._strength, self._mask = keep_colors, strength, mask
        self._changes_something = keep_colors or strength != 1 or mask is not None
        # The mask at the size of the last photo; replaced as a whole, so that threads may share it.
        self._fitted = mask

    def paint(self, canvas: np.ndarray, rows: slice, columns: slice, photo, stylized: np.ndarray) -> None:
        """Writes a stylized part of a photo to its place on a canvas [H, W, 3] of uint8 or uint16.

        `photo` needs `shape` and slicing to images, as data.photo.Photo has them.
        """
        if self._changes_something:  # else the photo need not be looked at again
            stylized = self._applied(photo[rows, columns], stylized, photo.shape[:2], (rows, columns))
        canvas[rows, columns] = quantized(stylized, canvas.dtype)

    def applied(self, content: np.ndarray, stylized: np.ndarray) -> np.ndarray:
        """The picture of a whole image; all [H, W, 3] RGB 0..255."""
        return self._applied(content, stylized, content.shape[:2], (WHOLE, WHOLE))

    def _applied(self, content, stylized, size: tuple[int, int], place: tuple[slice, slice]) -> np.ndarray:
        if self._keep_colors:
            stylized = keep_colors(stylized, content)
        if self._mask is None:
            return stylized if self._strength == 1 else mix_images(content, stylized, self._strength)
        fitted = self._fitted
        if fitted.shape != size:
            fitted = self._fitted = resize_pixels(self._mask, *size)
        return mix_images(content, stylized, self._strength * fitted[place].astype(np.float32) / 255)

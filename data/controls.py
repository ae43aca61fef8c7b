"""Changes to a stylized image after the network: the colors of the photo, a weaker style, a style in one area only."""

import numpy as np

from data.images import keep_colors, mix_images, quantized, resize_pixels

_ALL = slice(None)


class Controls:
    """Restores the colors of the photo first, then mixes the photo and the stylized image.

    Args:
        keep_colors: keeps the colors of the photo; only its luminance is stylized.
        strength: 0 (the photo) to 1 (the stylized image).
        mask: [H, W], uint8. White areas are stylized, black areas stay the photo. It is resized to each photo and
            multiplied by `strength`.
    """

    def __init__(self, *, keep_colors: bool = False, strength: float = 1.0, mask: np.ndarray | None = None):
        self._keep_colors, self._strength, self._mask = keep_colors, strength, mask
        self._changes_something = keep_colors or strength != 1 or mask is not None
        # The mask at the size of the last photo. Threads may share it, because it is replaced, never changed.
        self._fitted_mask = mask

    def paint(self, canvas: np.ndarray, rows: slice, columns: slice, photo, stylized: np.ndarray) -> None:
        """Writes a stylized part of a photo into its place on a canvas [H, W, 3], uint8 or uint16.

        photo: has a `shape` and returns parts as images when it is sliced, like data.photo.Photo.
        """
        if self._changes_something:  # otherwise the part of the photo is not needed
            stylized = self._applied(photo[rows, columns], stylized, photo.shape[:2], (rows, columns))
        canvas[rows, columns] = quantized(stylized, canvas.dtype)

    def applied(self, content: np.ndarray, stylized: np.ndarray) -> np.ndarray:
        """Returns the final image for a whole photo; all [H, W, 3], RGB, 0..255."""
        return self._applied(content, stylized, content.shape[:2], (_ALL, _ALL))

    def _applied(
        self, content, stylized, photo_size: tuple[int, int], part: tuple[slice, slice]
    ) -> np.ndarray:
        if self._keep_colors:
            stylized = keep_colors(stylized, content)
        if self._mask is None:
            return stylized if self._strength == 1 else mix_images(content, stylized, self._strength)
        fitted = self._fitted_mask
        if fitted.shape != photo_size:
            fitted = self._fitted_mask = resize_pixels(self._mask, *photo_size)
        return mix_images(content, stylized, self._strength * fitted[part].astype(np.float32) / 255)

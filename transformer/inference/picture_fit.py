"""What foreign graphs get and return: number types, shapes and sizes that differ from those of our own graphs."""

from pathlib import Path

import numpy as np

from transformer.export.style_folder import StyleError

MIN_MARGIN = 16  # pixels by which a picture may be larger than its photo, however small the photo


def fed_images(images: np.ndarray, number_type: np.dtype) -> np.ndarray:
    """Returns images as `number_type`; integers are rounded and limited to the range of the type."""
    if number_type.kind not in "iu":
        return images.astype(number_type)
    limits = np.iinfo(number_type)
    return np.clip(np.rint(images), limits.min, limits.max).astype(number_type)


def checked_pictures(output: object, images: np.ndarray, style: Path) -> np.ndarray:
    """Returns the output of a graph for `images` [N, H, W, 3] as float32 of the same shape, cropped or padded.

    Raises StyleError if the output is not made of N pictures of about this size.
    """
    pictures = np.asarray(output)
    is_number = pictures.dtype.kind in "fiu" or pictures.dtype.name == "bfloat16"
    if not is_number or pictures.ndim != 4 or pictures.shape[3] != 3 or len(pictures) != len(images):
        raise StyleError(
            f"{style}: the graph returns shape {pictures.shape} of type {pictures.dtype} for images of shape"
            f" {images.shape}; it must return numbers of the same shape"
        )
    height, width = images.shape[1:3]
    for side, expected in zip(pictures.shape[1:3], (height, width), strict=True):
        if not expected < 2 * side <= 2 * (expected + max(MIN_MARGIN, expected // 2)):
            raise StyleError(
                f"{style}: the graph returns shape {pictures.shape} for images of shape {images.shape}; it must return"
                " pictures of the photo's size, margins aside"
            )
    with np.errstate(over="ignore"):  # values past float32 become infinite and are refused later
        return fitted(pictures.astype(np.float32), height, width)


def fitted(images: np.ndarray, height: int, width: int) -> np.ndarray:
    """Crops images [N, h, w, 3], or pads them by repeating the edge, to [N, height, width, 3].

    A difference below 4 pixels comes from strides and is taken at the bottom and right; a larger one is a margin and
    is taken equally on all sides.
    """
    for axis, side in ((1, height), (2, width)):
        excess = images.shape[axis] - side
        before = abs(excess) // 2 if abs(excess) >= 4 else 0
        if excess > 0:
            images = np.take(images, range(before, before + side), axis=axis)
        elif excess < 0:
            margins = [(0, 0)] * 4
            margins[axis] = (before, -excess - before)
            images = np.pad(images, margins, mode="edge")
    return images

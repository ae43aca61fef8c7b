"""Loads and saves images, and resizes and mixes them.

Outside of `data/`, an `image` is an array [H, W, 3], RGB, float32, 0..255. uint8, EXIF, alpha and color modes stay
in here. Embedded ICC profiles are not applied: colors are taken as sRGB, as in the training of the networks.
Pillow, imageio and libvips are imported on first use, so importing this module costs little more than numpy.
"""

from pathlib import Path

import numpy as np

from data.decoding import decode_file
from data.encoding import check_image_suffix, encode_file
from data.picture import ImageError, Picture

__all__ = [
    "ImageError",
    "check_image_suffix",
    "keep_colors",
    "load_image",
    "load_mask",
    "load_pixels",
    "mix_images",
    "quantized",
    "resize_image",
    "resize_pixels",
    "save_image",
    "shrunk_size",
]

MIN_CONTENT_SIDE = 2  # pixels of a training photo; one row or column teaches nothing
LUMINANCE_WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32)  # of R, G, B: ITU-R BT.601
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def load_image(
    path: Path,
    *,
    max_side: int | None = None,
    background: tuple[int, int, int] = WHITE,
    max_pixels: int | None = None,
) -> np.ndarray:
    """Loads an image file, upright; of an animation the first frame.

    The format is detected from the content; the suffix is ignored.

    Args:
        path: the file.
        max_side: shrinks the longest side to this number of pixels. Smaller images are not enlarged.
        background: RGB, 0..255, shown through transparent pixels.
        max_pixels: larger files are refused before they are decoded.

    Returns:
        An image [H, W, 3], RGB, float32, 0..255.

    Raises:
        ImageError: the file is missing, unreadable, damaged, not an image or too large.
    """
    pixels = decode_file(Path(path), max_pixels=max_pixels).pixels
    if max_side is not None:
        pixels = resize_pixels(pixels, *shrunk_size(pixels.shape[:2], max_side))
    return np.ascontiguousarray(rgb_over(pixels, background))


def load_pixels(path: Path, *, min_side: int = 1) -> np.ndarray:
    """Loads an image file like `load_image`, rounded to 8 bits: [H, W, 3], RGB, uint8.

    Raises ImageError, also if a side has less than `min_side` pixels.
    """
    pixels = decode_file(Path(path)).pixels
    height, width = pixels.shape[:2]
    if min(height, width) < min_side:
        raise ImageError(
            f"{path}: {height}x{width} pixels (height x width) are too small, at least {min_side}x{min_side} are"
            " needed; give a larger image"
        )
    if pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[-1] == 3:
        return np.ascontiguousarray(pixels)
    return quantized(rgb_over(pixels), np.uint8)


def load_mask(path: Path, *, max_pixels: int | None = None) -> np.ndarray:
    """Loads the luminance of an image file: [H, W], uint8. Transparent pixels are black.

    Raises ImageError, for more than `max_pixels` before anything is decoded.
    """
    pixels = decode_file(Path(path), max_pixels=max_pixels).pixels
    return quantized(rgb_over(pixels, BLACK) @ LUMINANCE_WEIGHTS, np.uint8)


def save_image(path: Path, image: np.ndarray) -> None:
    """Saves an image [H, W, 3], RGB, 0..255, with 8 bits per channel, in the format that the suffix names.

    Values are clipped to 0..255 and rounded. Parent folders are created. An older file is replaced, or kept
    unchanged if anything fails.
    Raises ImageError for an unknown suffix, for an array that is not an image, and if the file cannot be written.
    """
    path = Path(path)
    check_image_suffix(path)
    _check_image(path, np.asarray(image))
    encode_file(path, Picture(quantized(image, np.uint8)))


def shrunk_size(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    """Returns the height and width at which the longest side of `size` has at most `max_side` pixels."""
    if max_side < 1:
        raise ValueError(f"max_side is {max_side} pixels; it must be at least 1")
    return _scaled_size(size, min(1.0, max_side / max(size)))


def shrunk_to_short_side(size: tuple[int, int], short_side: int) -> tuple[int, int]:
    """Returns the height and width at which the shortest side of `size` has at most `short_side` pixels."""
    return _scaled_size(size, min(1.0, short_side / min(size)))


def resize_image(image: np.ndarray, *, height: int, width: int) -> np.ndarray:
    """Resizes an image [H, W, 3] to [height, width, 3], float32, 0..255, with an antialiased Lanczos filter."""
    return resize_pixels(np.asarray(image, np.float32), height, width)


def resize_pixels(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resizes uint8, uint16 or float32 pixels [H, W] or [H, W, C] with an antialiased Lanczos filter.

    Returns an array of the same type; `pixels` itself if it has that size already.
    """
    if pixels.shape[:2] == (height, width):
        return pixels
    if pixels.dtype == np.uint8:
        return _lanczos(pixels, height, width)  # in a quarter of the memory; weights colors by alpha
    planes = [pixels] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
    resized = [_lanczos(np.asarray(plane, np.float32), height, width) for plane in planes]
    resized = resized[0] if pixels.ndim == 2 else np.stack(resized, axis=-1)
    return _in_range(resized, pixels.dtype)  # the filter overshoots at sharp edges


def rgb_over(pixels: np.ndarray, background: tuple[int, int, int] = WHITE) -> np.ndarray:
    """Converts pixels of a file to an image; `background` (RGB 0..255) shows through transparent pixels.

    pixels: gray [H, W], RGB [H, W, 3] or RGBA [H, W, 4] of uint8, uint16 or float32. Returns [H, W, 3], float32.
    """
    scale = np.float32(255 / full_scale(pixels.dtype))
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None].astype(np.float32) * scale, 3, axis=-1)
    image = pixels[..., :3].astype(np.float32) * scale
    if pixels.shape[-1] == 4:
        opacity = pixels[..., 3:].astype(np.float32) / full_scale(pixels.dtype)  # 0..1
        image = image * opacity + np.asarray(background, np.float32) * (1 - opacity)
    return image


def quantized(image: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Converts values of 0..255 to the full range of uint8 or uint16: clips, and rounds to nearest."""
    image = np.asarray(image, np.float32)
    if dtype != np.uint8:
        image = image * np.float32(full_scale(dtype) / 255)
    return _in_range(image, dtype)


def full_scale(dtype: np.dtype) -> int:
    """Returns the value of white: 65535 for uint16, 255 for uint8 and float32."""
    return 65535 if dtype == np.uint16 else 255


def keep_colors(stylized: np.ndarray, content: np.ndarray) -> np.ndarray:
    """Combines the luminance of `stylized` with the colors (chroma) of `content`; all [H, W, 3], float32, 0..255.

    All three channels of a pixel change by the difference of the luminances. This keeps the differences between the
    channels, which are the chroma. Results outside of 0..255 are clipped.
    """
    luminance_change = (stylized - content) @ LUMINANCE_WEIGHTS  # [H, W]
    return (content + luminance_change[..., np.newaxis]).clip(0, 255).astype(np.float32)


def mix_images(content: np.ndarray, stylized: np.ndarray, amount: np.ndarray | float) -> np.ndarray:
    """Returns (1 - amount) * content + amount * stylized, for images [H, W, 3].

    amount: 0..1, one number or one per pixel [H, W].
    """
    amount = np.asarray(amount, np.float32)
    return content + amount.reshape(*amount.shape, *(1,) * (3 - amount.ndim)) * (stylized - content)


def _check_image(path: Path, image: np.ndarray) -> None:
    if image.ndim != 3 or image.shape[-1] != 3 or image.size == 0:
        raise ImageError(f"{path}: cannot save an array of shape {image.shape}; give an image [H, W, 3]")
    if not np.isfinite(image).all():
        raise ImageError(f"{path}: the image contains NaN or infinite values; nothing was written")


def _scaled_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    height, width = (max(1, round(side * scale)) for side in size)
    return height, width


def _lanczos(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    from PIL import Image

    resampling = Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize((width, height), resampling))


def _in_range(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Clips to 0..`full_scale(dtype)`; for integer types also rounds and converts."""
    values = values.clip(0, full_scale(dtype))
    return values if np.dtype(dtype).kind == "f" else np.rint(values, out=values).astype(dtype)

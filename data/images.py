"""Pictures as arrays: the only owner of uint8, EXIF, alpha and colour modes, with decoding.py and encoding.py.

Everything outside sees one thing: an `image`, RGB float32 0..255, [H, W, 3]. Embedded ICC profiles are not
applied: colours are taken as sRGB, as the networks were trained.
Pillow, imageio and libvips are imported on first use, so that importing this module costs little more than numpy.
"""

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from data.decoding import Decoded, ImageError, decode_file
from data.encoding import SAVE_SUFFIXES, check_image_suffix, encode_file

__all__ = [
    "ImageError",
    "check_image_suffix",
    "keep_colors",
    "list_images",
    "load_image",
    "load_mask",
    "load_pixels",
    "mix_images",
    "resize_image",
    "resize_pixels",
    "save_image",
]

IMAGE_SUFFIXES = SAVE_SUFFIXES | {".gif"}  # what a folder is searched for
MIN_CONTENT_SIDE = 2  # pixels of a photo to train on; one row or column teaches nothing
LUMINANCE_WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32)  # of R, G, B: ITU-R BT.601
WHITE = (255, 255, 255)


def load_image(
    path: Path, *, max_side: int | None = None, background: tuple[int, int, int] = WHITE
) -> np.ndarray:
    """Reads a picture upright: [H, W, 3] RGB float32 0..255.

    The format is told from the content, not the suffix; of an animation the first frame is read. Transparent
    pixels are laid over `background` (RGB 0..255). With `max_side` (pixels) the longest side is shrunk to it,
    never enlarged, and proportions are kept.
    Raises ImageError for a file that is missing, unreadable, damaged, not an image or too large.
    """
    pixels = decode_file(Path(path)).pixels
    if max_side is not None:
        pixels = resize_pixels(pixels, *shrunk_size(pixels.shape[:2], max_side))
    return np.ascontiguousarray(rgb_over(pixels, background))


def load_pixels(path: Path, *, min_side: int = 1) -> np.ndarray:
    """Reads a picture as `load_image` does, rounded to 8 bits: [H, W, 3] RGB uint8.

    Raises ImageError, also where a side is less than `min_side` pixels.
    """
    pixels = decode_file(Path(path)).pixels
    height, width = pixels.shape[:2]
    if min(height, width) < min_side:
        size = f"{height}x{width} pixels (height x width)"
        raise ImageError(
            f"{path}: is {size}, too small, needs at least {min_side}x{min_side}; give a larger image"
        )
    if pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[-1] == 3:
        return np.ascontiguousarray(pixels)
    return np.rint(rgb_over(pixels)).clip(0, 255).astype(np.uint8)


def load_mask(path: Path) -> np.ndarray:
    """How white a picture is: [H, W] uint8; transparent is black. Raises ImageError."""
    pixels = rgb_over(decode_file(Path(path)).pixels, (0, 0, 0))
    return np.rint(pixels @ LUMINANCE_WEIGHTS).clip(0, 255).astype(np.uint8)


def shrunk_size(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    """Height and width of a picture of `size` whose longest side is at most `max_side` pixels."""
    if max_side < 1:
        raise ValueError(f"max_side is {max_side} pixels, needs at least 1")
    scale = min(1.0, max_side / max(size))
    height, width = (max(1, round(side * scale)) for side in size)
    return height, width


def resize_pixels(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pixels uint8, uint16 or float32, [H, W] or [H, W, C], resampled by antialiased Lanczos; of the same type."""
    from PIL import Image

    if pixels.shape[:2] == (height, width):
        return pixels
    if pixels.dtype == np.uint8:  # whole: a quarter of the memory of float32, and colours weighted by alpha
        resized = Image.fromarray(np.ascontiguousarray(pixels)).resize(
            (width, height), Image.Resampling.LANCZOS
        )
        return np.asarray(resized)
    planes = pixels[..., np.newaxis] if pixels.ndim == 2 else pixels
    resized = np.stack(
        [
            Image.fromarray(np.ascontiguousarray(planes[..., channel], dtype=np.float32)).resize(
                (width, height), Image.Resampling.LANCZOS
            )
            for channel in range(planes.shape[-1])
        ],
        axis=-1,
    )
    resized = resized.clip(0, full_scale(pixels.dtype))  # Lanczos overshoots at hard edges
    resized = resized if pixels.dtype.kind == "f" else np.rint(resized).astype(pixels.dtype)
    return resized[..., 0] if pixels.ndim == 2 else resized


def full_scale(dtype: np.dtype) -> int:
    """The value of white: 65535 in uint16, else 255."""
    return 65535 if dtype == np.uint16 else 255


def resize_image(image: np.ndarray, *, height: int, width: int) -> np.ndarray:
    """Resamples an image [H, W, 3] to [height, width, 3], float32 0..255, by antialiased Lanczos."""
    return resize_pixels(np.asarray(image, np.float32), height, width)


def rgb_over(pixels: np.ndarray, background: tuple[int, int, int] = WHITE) -> np.ndarray:
    """Grey [H, W], RGB [H, W, 3] or RGBA [H, W, 4] to RGB float32 0..255 [H, W, 3] over `background`."""
    scale = np.float32(255 / full_scale(pixels.dtype))
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None].astype(np.float32) * scale, 3, axis=-1)
    image = pixels[..., :3].astype(np.float32) * scale
    if pixels.shape[-1] == 4:
        opacity = pixels[..., 3:].astype(np.float32) / full_scale(pixels.dtype)  # 0..1
        image = image * opacity + np.asarray(background, np.float32) * (1 - opacity)
    return image


def keep_colors(stylized: np.ndarray, content: np.ndarray) -> np.ndarray:
    """The luminance of `stylized` with the colours (chroma) of `content`, both [H, W, 3]: float32 0..255.

    Moving all three channels by the difference of luminance leaves the differences between them, the chroma, as
    they are. Where a colour would leave 0..255 it is clipped.
    """
    luminance_change = (stylized - content) @ LUMINANCE_WEIGHTS  # [H, W]
    return (content + luminance_change[..., np.newaxis]).clip(0, 255).astype(np.float32)


def mix_images(content: np.ndarray, stylized: np.ndarray, amount: np.ndarray | float) -> np.ndarray:
    """`amount` of `stylized` and the rest of `content`, both [H, W, 3]; a number 0..1 or one a pixel, [H, W]."""
    amount = np.asarray(amount, np.float32)
    return content + amount.reshape(*amount.shape, *(1,) * (3 - amount.ndim)) * (stylized - content)


def save_image(path: Path, image: np.ndarray) -> None:
    """Writes an image [H, W, 3], RGB 0..255, clipped and rounded to 8 bits, in the format its suffix names.

    Parent folders are made. The file appears whole or not at all: any failure leaves an older one untouched.
    Raises ImageError for an unknown suffix, an array that is no image, and a place that cannot be written.
    """
    path = Path(path)
    check_image_suffix(path)
    encode_file(path, Decoded(_rounded(path, image)))


def quantized(image: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """An image, 0..255, clipped and rounded to the full range of uint8 or uint16."""
    values = np.asarray(image, np.float32).clip(0, 255)
    if dtype != np.uint8:
        values *= np.float32(full_scale(np.dtype(dtype)) / 255)
    return np.rint(values, out=values).astype(dtype)


def list_images(inputs: Iterable[Path]) -> list[Path]:
    """Files as given, folders searched recursively in order of name; each file once, in the order first met.

    In a folder only IMAGE_SUFFIXES count, and hidden files and folders do not.
    Raises ImageError for an input that does not exist and for a folder without images.
    """
    paths = [path for given in inputs for path in _images_at(Path(given))]
    first_met: dict[str, Path] = {}
    for path in paths:
        first_met.setdefault(os.path.abspath(path), path)
    return list(first_met.values())


def _images_at(path: Path) -> list[Path]:
    # os.path, not Path: it answers False where Path.is_file raises (a locked folder, an overlong name).
    if os.path.isfile(path):
        return [path]
    if not os.path.isdir(path):
        raise ImageError(f"{path}: no such file or folder; check the spelling")
    image_paths = sorted(
        found for found in path.rglob("*") if _is_listed(found.relative_to(path)) and found.is_file()
    )
    if not image_paths:
        raise ImageError(f"{path}: the folder holds no images; looked for {' '.join(sorted(IMAGE_SUFFIXES))}")
    return image_paths


def _is_listed(relative_path: Path) -> bool:
    is_hidden = any(part.startswith(".") for part in relative_path.parts)
    return not is_hidden and relative_path.suffix.lower() in IMAGE_SUFFIXES


def _rounded(path: Path, image: np.ndarray) -> np.ndarray:
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[-1] != 3 or image.size == 0:
        raise ImageError(f"{path}: cannot save an array of shape {image.shape}; needs an image [H, W, 3]")
    if not np.isfinite(image).all():
        raise ImageError(f"{path}: the image holds NaN or infinite values; nothing was written")
    return quantized(image, np.uint8)

"""Pixels on disk <-> arrays: the only owner of uint8, EXIF, alpha and colour modes.

Everything outside sees one thing: an `image`, RGB float32 0..255, [H, W, 3]. Embedded ICC profiles are not
applied: colours are taken as sRGB, as the networks were trained.
Pillow and imageio are imported on first use, so that importing this module costs little more than numpy.
"""

import contextlib
import os
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

SAVE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"})
IMAGE_SUFFIXES = SAVE_SUFFIXES | {".gif"}  # what a folder is searched for
MIN_SIDE = 2  # pixels; the stylizer halves and mirrors an image, which one row cannot bear
MAX_PIXELS = 200_000_000  # the largest phone sensors; beyond it a file is likelier an attack than a photo
LUMINANCE_WEIGHTS = np.array([0.299, 0.587, 0.114], np.float32)  # of R, G, B: ITU-R BT.601
JPEG_QUALITY = 95  # of 100; above it files grow and the eye sees nothing
JPEG_SUBSAMPLING = "4:4:4"  # full colour resolution: brush strokes carry hard colour edges
WEBP_QUALITY = 95  # of 100, lossy
PNG_COMPRESS_LEVEL = 2  # of 9, lossless; at 512x512, 6 took 2.4 times as long to save 1 percent
_ENCODER_OPTIONS = {
    ".jpg": {"quality": JPEG_QUALITY, "subsampling": JPEG_SUBSAMPLING},
    ".jpeg": {"quality": JPEG_QUALITY, "subsampling": JPEG_SUBSAMPLING},
    ".webp": {"quality": WEBP_QUALITY},
    ".png": {"compress_level": PNG_COMPRESS_LEVEL},
}
# Pillow's mode names; together all that its decoders of these formats give, but for premultiplied grey, "La".
_GREY_MODES = frozenset({"1", "L"})
_COLOUR_MODES = frozenset({"P", "RGB", "CMYK", "YCbCr", "LAB"})
_ALPHA_MODES = frozenset({"LA", "PA", "RGBA"})
_DEEP_GREY_MODES = frozenset({"I;16", "I;16B", "I", "F"})
_READABLE = "a JPEG, PNG, WebP, TIFF, BMP or GIF file"


class ImageError(ValueError):
    """A file cannot be read or written as an image: one line naming the file, the fault and the remedy."""


def load_image(
    path: Path, *, max_side: int | None = None, background: tuple[int, int, int] = (255, 255, 255)
) -> np.ndarray:
    """Reads a picture upright: [H, W, 3] RGB float32 0..255.

    The format is told from the content, not the suffix; of an animation the first frame is read. Transparent
    pixels are laid over `background` (RGB 0..255). With `max_side` (pixels) the longest side is shrunk to it,
    never enlarged, and proportions are kept.
    Raises ImageError for a file that is missing, unreadable, damaged, not an image, too small or too large.
    """
    if max_side is not None and max_side < MIN_SIDE:
        raise ValueError(f"max_side is {max_side} pixels, needs at least {MIN_SIDE}")
    pixels, orientation = _decode(Path(path))
    if max_side is not None:
        pixels = _shrink(pixels, max_side)
    return np.ascontiguousarray(_upright(_rgb(pixels, background), orientation))


def resize_image(image: np.ndarray, *, height: int, width: int) -> np.ndarray:
    """Resamples an image [H, W, 3] to [height, width, 3], float32 0..255, by antialiased Lanczos."""
    from PIL import Image

    channels = [
        Image.fromarray(np.ascontiguousarray(image[..., channel], dtype=np.float32)).resize(
            (width, height), Image.Resampling.LANCZOS
        )
        for channel in range(3)
    ]
    return np.stack(channels, axis=-1).clip(0, 255)  # Lanczos overshoots at hard edges


def keep_colors(stylized: np.ndarray, content: np.ndarray) -> np.ndarray:
    """The luminance of `stylized` with the colours (chroma) of `content`, both [H, W, 3]: float32 0..255.

    Moving all three channels by the difference of luminance leaves the differences between them, the chroma, as
    they are. Where a colour would leave 0..255 it is clipped.
    """
    luminance_change = (stylized - content) @ LUMINANCE_WEIGHTS  # [H, W]
    return (content + luminance_change[..., np.newaxis]).clip(0, 255).astype(np.float32)


def save_image(path: Path, image: np.ndarray) -> None:
    """Writes an image [H, W, 3], RGB 0..255, clipped and rounded to 8 bits, in the format its suffix names.

    Parent folders are made. The file appears whole or not at all: any failure leaves an older one untouched.
    Raises ImageError for an unknown suffix, an array that is no image, and a place that cannot be written.
    """
    path = Path(path)
    check_image_suffix(path)
    pixels_u8 = _rounded(path, image)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _encode_atomically(path, pixels_u8)
    except (OSError, ValueError) as error:  # ValueError: a format's own limits, such as 16383 pixels in WebP
        reason = getattr(error, "strerror", None) or error
        remedy = "check the folder's permissions and free space, or choose another path"
        raise ImageError(f"{path}: cannot be written: {reason}; {remedy}") from error


def check_image_suffix(path: Path) -> None:
    """Raises ImageError unless `save_image` knows the format that the suffix names."""
    suffix = Path(path).suffix
    if suffix.lower() not in SAVE_SUFFIXES:
        received = f"unknown suffix '{suffix}'" if suffix else "no suffix"
        raise ImageError(f"{path}: {received}; end the name in one of {' '.join(sorted(SAVE_SUFFIXES))}")


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


def _decode(path: Path) -> tuple[np.ndarray, int]:
    """Pixels as stored, and the EXIF orientation still to be applied (1..8).

    Pixels are uint8 [H, W] grey, [H, W, 3] RGB or [H, W, 4] RGBA, or float32 0..255 [H, W] from deeper grey.
    """
    import imageio.v3 as iio

    _quiet_pillow()
    with (
        _opened(path) as stream,
        _decoder_errors(path),
        iio.imopen(stream, "r", plugin="pillow") as file,
    ):
        mode = _decoding_mode(path, file.metadata(index=0))
        pixels = file.read(index=0, mode=mode, writeable_output=False)
        # Asked after reading: Pillow turns a TIFF upright while decoding it and then forgets the tag.
        orientation = file.metadata(index=0, exclude_applied=False).get("Orientation", 1)
    return (_eight_bit_range(path, pixels) if mode is None else pixels), orientation


@contextlib.contextmanager
def _opened(path: Path) -> Iterator:
    try:
        stream = path.open("rb")
    except OSError as error:
        remedy = "check the path and its permissions"
        raise ImageError(f"{path}: cannot be read: {error.strerror}; {remedy}") from error
    with stream:
        if os.fstat(stream.fileno()).st_size == 0:
            raise ImageError(f"{path}: is empty (0 bytes); replace it with an image")
        yield stream


def _quiet_pillow() -> None:
    """Our pixel limit instead of Pillow's, and its chatter on odd metadata kept off stderr.

    Both are settings of the process and stay: undoing them after each file would let only one thread decode.
    """
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2  # from there Pillow warns, from twice that it refuses
    warnings.filterwarnings("ignore", module=r"PIL\b")


@contextlib.contextmanager
def _decoder_errors(path: Path) -> Iterator[None]:
    """Any exception to ImageError: damage shows as OSError, SyntaxError, struct.error or IndexError."""
    try:
        yield
    except ImageError:
        raise
    except Exception as error:
        fault = _decoder_fault(error.__cause__ or error)  # imageio wraps what Pillow raises on opening
        raise ImageError(f"{path}: {fault}") from error


def _decoder_fault(error: BaseException) -> str:
    from imageio.core.request import InitializationError
    from PIL import Image

    if isinstance(error, Image.DecompressionBombError):
        return f"more than {MAX_PIXELS // 10**6} megapixels ({error}); scale it down first"
    if isinstance(error, InitializationError):
        return f"not an image that can be read here; give {_READABLE}"
    reason = f" ({error})" if isinstance(error, OSError) else ""  # other types speak of Python's internals
    return f"damaged or cut short{reason}; replace it with {_READABLE} that is whole"


def _decoding_mode(path: Path, metadata: dict) -> str | None:
    """The Pillow mode to decode into; None keeps grey deeper than 8 bits as stored."""
    mode, (width, height) = metadata["mode"], metadata["shape"]
    if min(height, width) < MIN_SIDE:
        size, least_size = f"{height}x{width} pixels (height x width)", f"{MIN_SIDE}x{MIN_SIDE}"
        raise ImageError(f"{path}: is {size}, too small, needs at least {least_size}; give a larger image")
    if mode in _DEEP_GREY_MODES:
        return None
    if mode in _ALPHA_MODES or "transparency" in metadata:
        return "RGBA"
    if mode in _GREY_MODES:
        return "L"
    if mode in _COLOUR_MODES:
        return "RGB"
    raise ImageError(f"{path}: colour mode {mode} is not supported; convert it to 8-bit RGB first")


def _eight_bit_range(path: Path, pixels: np.ndarray) -> np.ndarray:
    """Grey [H, W] to float32 0..255: integers span 0..65535; floats 0..1 or 0..255, told by their maximum."""
    least, most = pixels.min(), pixels.max()
    is_float = pixels.dtype.kind == "f"
    full_scale = 65535 if not is_float else 1 if most <= 1 else 255
    if not (least >= 0 and most <= full_scale):  # so that NaN fails too
        allowed = "0..1 or 0..255" if is_float else "0..65535"
        received = f"grey values from {least} to {most}"
        raise ImageError(f"{path}: {received}, allowed are {allowed}; rescale them first")
    return pixels.astype(np.float32) * np.float32(255 / full_scale)


def _shrink(pixels: np.ndarray, max_side: int) -> np.ndarray:
    """Pixels as `_decode` gives them, resampled while still 8 bits: a quarter of the memory of float32."""
    from PIL import Image

    height, width = pixels.shape[:2]
    scale = max_side / max(height, width)
    if scale >= 1:
        return pixels
    shrunk_height, shrunk_width = (max(MIN_SIDE, round(side * scale)) for side in (height, width))
    shrunk = Image.fromarray(pixels).resize((shrunk_width, shrunk_height), Image.Resampling.LANCZOS)
    return np.asarray(shrunk).clip(0, 255)  # Lanczos overshoots in float grey


def _rgb(pixels: np.ndarray, background: tuple[int, int, int]) -> np.ndarray:
    """Grey [H, W], RGB [H, W, 3] or RGBA [H, W, 4] to RGB float32 [H, W, 3] over `background`; all 0..255."""
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None].astype(np.float32), 3, axis=-1)
    image = pixels[..., :3].astype(np.float32)
    if pixels.shape[-1] == 4:
        opacity = pixels[..., 3:].astype(np.float32) / 255  # 0..1
        image = image * opacity + np.asarray(background, np.float32) * (1 - opacity)
    return image


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Undoes the EXIF orientation 1..8: 5 to 8 are stored transposed, then each is a choice of mirrors."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return image


def _rounded(path: Path, image: np.ndarray) -> np.ndarray:
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[-1] != 3 or image.size == 0:
        raise ImageError(f"{path}: cannot save an array of shape {image.shape}; needs an image [H, W, 3]")
    if not np.isfinite(image).all():
        raise ImageError(f"{path}: the image holds NaN or infinite values; nothing was written")
    return np.rint(image.clip(0, 255)).astype(np.uint8)


def _encode_atomically(path: Path, pixels_u8: np.ndarray) -> None:
    import imageio.v3 as iio

    suffix = path.suffix.lower()
    # In the same folder, or os.replace is no rename; opened plainly: tempfile gives 0600 whatever the umask.
    unfinished_path = path.with_name(f".{os.urandom(8).hex()}.tmp")
    stream = unfinished_path.open("xb")
    try:
        with stream:
            options = _ENCODER_OPTIONS.get(suffix, {})
            iio.imwrite(stream, pixels_u8, plugin="pillow", extension=suffix, is_batch=False, **options)
        os.replace(unfinished_path, path)
    finally:
        unfinished_path.unlink(missing_ok=True)

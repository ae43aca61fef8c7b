"""Image files -> pixels, for every format, color mode, bit depth and orientation.

Pillow decodes, through imageio. It reduces colors of 16 bits per channel to 8, so libvips decodes those. No lighter
package can replace libvips: FFmpeg (PyAV) decodes tiled TIFF files to wrong pixels without an error and cannot read
BigTIFF, tifffile needs imagecodecs for LZW compression, and neither can write ICC profiles and EXIF to PNG files.
"""

import contextlib
import functools
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from system.faults import one_line

MAX_PIXELS = 200_000_000  # the largest phone sensors; a larger file is more likely an attack than a photo
# Names of Pillow's modes. Together these are all modes that its decoders produce, except premultiplied gray, "La".
_GRAY_MODES = frozenset({"1", "L"})
_COLOR_MODES = frozenset({"P", "RGB", "CMYK", "YCbCr", "LAB"})
_ALPHA_MODES = frozenset({"LA", "PA", "RGBA"})
_DEEP_GRAY_MODES = frozenset({"I;16", "I;16B", "I", "F"})
_DEEP_COLOR_MODES = frozenset({"RGB", "RGBA"})  # of files with 16 bits per channel that libvips decodes
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_DEPTH_AT, _PNG_COLOR_TYPE_AT = 24, 25  # byte offsets in the file
_PNG_COLOR_TYPES = (2, 6)  # RGB and RGBA
# The tags of a TIFF file that describe the picture; the others describe the layout of that file.
_TEXT_TAGS = (
    "ImageDescription", "Make", "Model", "Software", "DateTime", "Artist", "Copyright"
)  # fmt: skip


class ImageError(ValueError):
    """A file cannot be read or written as an image. The message is one line: the file, the fault and the remedy."""


@dataclass(frozen=True)
class Picture:
    """The pixels of an image file, upright, and its metadata.

    pixels: gray [H, W], RGB [H, W, 3] or RGBA [H, W, 4]. uint8 and uint16 use their full range, float32 is 0..255.
    icc_profile, exif: the metadata as bytes, without the orientation. None if the file has none, or if it does not
    apply to these pixels.
    """

    pixels: np.ndarray
    icc_profile: bytes | None = None
    exif: bytes | None = None


def decode_file(path: Path) -> Picture:
    """Reads an image file, or the first frame of an animation.

    The format is detected from the content; the suffix is ignored.
    Raises ImageError if the file is missing, unreadable, damaged, not an image or too large.
    """
    import imageio.v3 as iio

    _configure_pillow()
    with _opened(path) as stream, _decoder_errors(path):
        header = stream.read(_PNG_COLOR_TYPE_AT + 1)
        stream.seek(0)
        with iio.imopen(stream, "r", plugin="pillow") as file:
            metadata = file.metadata(index=0)
            mode = _decoding_mode(path, metadata)
            if not _is_deep_color(header, metadata):
                return _decode_by_pillow(path, file, metadata, mode)
        return _decode_by_vips(path, channels=len(mode))


@functools.cache
def can_read_avif() -> bool:
    """Returns whether the installed Pillow decodes AVIF files, as Pillow 11.3 and later usually do."""
    from PIL import features

    return "avif" in features.modules and features.check("avif")


def _decode_by_pillow(path: Path, file, metadata: dict, mode: str | None) -> Picture:
    pixels = file.read(index=0, mode=mode, writeable_output=False)
    # The tags are read after the pixels: Pillow turns a TIFF upright while it decodes, then drops the tag.
    tags = file.metadata(index=0, exclude_applied=False)
    return Picture(
        _upright(_full_range_gray(path, pixels) if mode is None else pixels, tags.get("Orientation", 1)),
        _rgb_profile(metadata.get("icc_profile")),
        _exif_without_orientation(metadata.get("exif"), tags),
    )


def _decode_by_vips(path: Path, *, channels: int) -> Picture:
    """Reads a file that Pillow has opened and found small enough."""
    import pyvips

    try:
        source = pyvips.Source.new_from_file(str(path))
        image = pyvips.Image.new_from_source(source, "", access="sequential", fail_on="truncated")
        fields = {name: bytes(image.get(name)) for name in image.get_fields() if name.endswith("-data")}
        orientation = image.get("orientation") if "orientation" in image.get_fields() else 1
        pixels = image.numpy()
    except pyvips.Error as error:
        raise OSError(one_line(error)) from error
    if pixels.dtype != np.uint16:
        raise ImageError(f"{path}: {image.format} colors are not supported; convert it to 16-bit RGB first")
    return Picture(
        _upright(pixels[..., :channels], orientation),
        _rgb_profile(fields.get("icc-profile-data")),
        _exif_without_orientation(fields.get("exif-data"), {}),
    )


def _is_deep_color(header: bytes, metadata: dict) -> bool:
    """Returns whether a file has RGB colors of more than 8 bits per channel, which Pillow would reduce to 8."""
    if metadata["mode"] not in _DEEP_COLOR_MODES:
        return False
    bits = metadata.get("BitsPerSample", ())  # of a TIFF: one number, or one per channel
    if isinstance(bits, tuple) and len(bits) >= 3:
        return max(bits) > 8
    is_png = header.startswith(_PNG_SIGNATURE)
    return is_png and header[_PNG_DEPTH_AT] == 16 and header[_PNG_COLOR_TYPE_AT] in _PNG_COLOR_TYPES


def _rgb_profile(icc_profile: bytes | None) -> bytes | None:
    """Drops profiles of gray and CMYK files: their pixels become RGB, for which those profiles are wrong."""
    return icc_profile if icc_profile is not None and icc_profile[16:20] == b"RGB " else None


def _exif_without_orientation(exif_bytes: bytes | None, tags: dict) -> bytes | None:
    """Returns EXIF for the upright pixels. For a TIFF it is built from the tags that describe the picture."""
    texts = {name: tags[name] for name in _TEXT_TAGS if isinstance(tags.get(name), str)}
    if not exif_bytes and not texts:
        return None
    from PIL import ExifTags, Image

    exif = Image.Exif()
    if exif_bytes:
        with contextlib.suppress(Exception):  # broken metadata must not make the picture unreadable
            exif.load(exif_bytes)
            exif.pop(ExifTags.Base.Orientation, None)
            return exif.tobytes()
    for name, text in texts.items():
        exif[ExifTags.Base[name]] = text
    return exif.tobytes()


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


def _configure_pillow() -> None:
    """Sets our pixel limit and silences Pillow's warnings about unusual metadata.

    Both settings are global to the process and stay. Restoring them after each file would not be thread-safe.
    """
    from PIL import Image

    # Pillow warns above this number and fails above twice this number.
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2
    warnings.filterwarnings("ignore", module=r"PIL\b")


@contextlib.contextmanager
def _decoder_errors(path: Path) -> Iterator[None]:
    """Converts every exception to ImageError: damage raises OSError, SyntaxError, struct.error or IndexError."""
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
        return f"not an image in a supported format; give {_readable_formats()}"
    # The messages of other exceptions describe the decoder's internals.
    reason = f" ({error})" if isinstance(error, OSError) else ""
    return f"damaged or cut short{reason}; replace it with {_readable_formats()} that is complete"


def _readable_formats() -> str:
    return f"a JPEG, PNG, WebP, TIFF, BMP{', GIF or AVIF' if can_read_avif() else ' or GIF'} file"


def _decoding_mode(path: Path, metadata: dict) -> str | None:
    """Returns the Pillow mode to decode into; None keeps gray deeper than 8 bits as stored."""
    mode = metadata["mode"]
    if mode in _DEEP_GRAY_MODES:
        return None
    if mode in _ALPHA_MODES or "transparency" in metadata:
        return "RGBA"
    if mode in _GRAY_MODES:
        return "L"
    if mode in _COLOR_MODES:
        return "RGB"
    raise ImageError(f"{path}: color mode {mode} is not supported; convert it to 8-bit RGB first")


def _full_range_gray(path: Path, pixels: np.ndarray) -> np.ndarray:
    """Converts deep gray [H, W]: integers to uint16, floats of 0..1 or 0..255 to float32 0..255.

    The maximum tells which of the two ranges floats have.
    """
    least, most = pixels.min(), pixels.max()
    is_float = pixels.dtype.kind == "f"
    full_scale = 65535 if not is_float else 1 if most <= 1 else 255
    if not (least >= 0 and most <= full_scale):  # written so that NaN fails too
        allowed = "0..1 or 0..255" if is_float else "0..65535"
        received = f"gray values from {least} to {most}"
        raise ImageError(f"{path}: {received} are not supported, only {allowed}; rescale them first")
    return pixels.astype(np.float32) * np.float32(255 / full_scale) if is_float else pixels.astype(np.uint16)


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undoes the EXIF orientations 2 to 8. Pixels of 5 to 8 are stored transposed; all differ in their mirrors."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels

"""Image files -> pixels, for every format, color mode, bit depth and orientation.

Pillow decodes. It is given the one format that the content of the file has, so that none of its other decoders runs:
the one for PostScript starts Ghostscript, for example. Pillow reduces colors of 16 bits per channel to 8, so libvips
decodes those. No lighter package can replace libvips: FFmpeg (PyAV) decodes tiled TIFF files to wrong pixels without
an error and cannot read BigTIFF, tifffile needs imagecodecs for LZW compression, and neither can write ICC profiles
and EXIF to PNG files. HEIC files are read by the plugin of pillow-heif, an optional package: with 8 bits, and upright.
"""

import contextlib
import functools
import io
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeVar

import numpy as np

from data.containers import (
    HEADER_BYTES,
    MAX_METADATA,
    can_read_avif,
    format_of,
    is_deep_png,
    least_bytes,
    png_depth,
    readable_formats,
    webp_size,
    why_not_read,
)
from data.metadata import (
    exif_without_orientation,
    orientation_of,
    rgb_profile,
    use_tiff_tags_only,
    without_metadata,
)
from data.picture import ImageError, MissingPixels, Picture, UnsupportedLayout
from system.faults import is_memory_fault, one_line
from system.files import NotAFile, open_regular

if TYPE_CHECKING:
    from data.tiff import TiffLayout

__all__ = [
    "MAX_PIXELS",
    "Claim",
    "ImageError",
    "Picture",
    "can_read_avif",
    "decode_file",
    "frame_pixels",
    "image_claim",
    "opened_animation",
]

Result = TypeVar("Result")

MAX_PIXELS = 200_000_000  # the largest phone sensors; a larger file is more likely an attack than a photo
# Formats of which Pillow reads the whole file into memory first.
_READ_WHOLE = frozenset({"WEBP", "AVIF", "HEIF"})
MAX_BYTES_IN_MEMORY = 2**30  # of such a file
# Names of Pillow's modes. Together these are all modes that its decoders produce, except premultiplied gray, "La".
_GRAY_MODES = frozenset({"1", "L"})
_COLOR_MODES = frozenset({"P", "RGB", "RGBX", "CMYK", "YCbCr", "LAB"})
_ALPHA_MODES = frozenset({"LA", "PA", "RGBA"})
_DEEP_GRAY_MODES = frozenset({"I;16", "I;16B", "I", "F"})
_VIPS_TYPES = {
    "uchar": np.uint8,
    "ushort": np.uint16,
    "uint": np.uint32,
    "int": np.int32,
    "float": np.float32,
}
_WHITE_OF_12_BITS, _WHITE_OF_16_BITS = 4095, 65535
_UNCLEAR = 2  # largest float value up to which the range of a picture cannot be told
_NOTE = "its metadata is damaged and was left out"


class _DecoderError(Exception):
    """Pillow or libvips cannot decode a file; `__cause__` is what they raised."""


class Claim(NamedTuple):
    """What the header of an image file says. Height and width are those before the orientation is applied."""

    format: str  # Pillow's name, such as "JPEG"
    height: int
    width: int
    is_deep: bool  # more than 8 bits per channel


def decode_file(path: Path, *, max_pixels: int | None = None) -> Picture:
    """Reads an image file, or the first frame of an animation.

    The format is detected from the content; the suffix is ignored. Damaged metadata is left out.
    max_pixels: compared with what the header claims, before anything is decoded; MAX_PIXELS at most, and by default.
    Raises ImageError if the file is missing, unreadable, damaged, not an image, too large, or claims more pixels than
    its bytes can hold; also if memory does not suffice.
    """
    _configure_pillow()
    with _opened(path) as stream, _described_errors(path):
        size = os.fstat(stream.fileno()).st_size
        name = _format_name(path, stream, size)
        decode = partial(_decode, path, name, max_pixels)
        picture, is_cut = _read_leniently(stream, name, size, decode)
        return replace(picture, notes=(*picture.notes, _NOTE)) if is_cut else picture


def image_claim(path: Path, *, max_pixels: int | None = None) -> Claim:
    """Reads the header of an image file and decodes no pixels. Raises ImageError like `decode_file`, sooner."""
    _configure_pillow()
    with _opened(path) as stream, _described_errors(path):
        size = os.fstat(stream.fileno()).st_size
        name = _format_name(path, stream, size)
        return _read_leniently(stream, name, size, partial(_claim, path, name, max_pixels))[0]


def _claim(path: Path, name: str, max_pixels: int | None, stream: BinaryIO, file_size: int) -> Claim:
    header, layout = _checked_header(path, stream, name, file_size, max_pixels)
    if layout is not None:
        return Claim(name, layout.height, layout.width, layout.bits > 8)
    with _decoder_errors():
        image = _open_by_pillow(stream, name)
    with image:
        _check_claim(path, name, header, image.size, file_size, max_pixels)
        is_deep = image.mode in _DEEP_GRAY_MODES or is_deep_png(header)
        return Claim(name, image.height, image.width, is_deep)


def _format_name(path: Path, stream: BinaryIO, size: int) -> str:
    """Returns Pillow's name of the format. Raises ImageError for one that is not read."""
    header = stream.read(HEADER_BYTES)
    name = format_of(header)
    if name is None:
        raise ImageError(f"{path}: {why_not_read(header)}")
    if name in _READ_WHOLE and size > MAX_BYTES_IN_MEMORY:
        raise ImageError(
            f"{path}: {size} bytes are too many for a {name} file; save it in a smaller file first"
        )
    return name


@contextlib.contextmanager
def opened_animation(path: Path) -> Iterator[Any]:
    """An animated GIF or WebP file as Pillow's image, with the limits and errors of `decode_file`.

    Raises ImageError for other files, still pictures included.
    """
    _configure_pillow()
    with _opened(path) as stream, _described_errors(path):
        size, header = os.fstat(stream.fileno()).st_size, stream.read(HEADER_BYTES)
        name = format_of(header)
        if name not in ("GIF", "WEBP") or (name in _READ_WHOLE and size > MAX_BYTES_IN_MEMORY):
            raise ImageError(f"{path}: is no animated GIF or WebP file, or too large; give another one")
        if name == "WEBP":
            _check_claim(path, name, header, webp_size(header), size)
        stream.seek(0)
        with _decoder_errors():
            image = _open_by_pillow(stream, name)
        with image:
            _check_claim(path, name, header, image.size, size)
            with _decoder_errors():
                is_animated = getattr(image, "n_frames", 1) > 1  # reads the whole file
            if not is_animated:
                raise ImageError(f"{path}: is a still picture; give an animation")
            yield image


def frame_pixels(image: Any, index: int) -> np.ndarray:
    """Returns a frame of `opened_animation`: [H, W, 4], RGBA, uint8. Raises ImageError inside of its context."""
    with _decoder_errors():
        image.seek(index)
        return np.asarray(image.convert("RGBA"))


def _read_leniently(
    stream: BinaryIO, name: str, size: int, read: Callable[[BinaryIO, int], Result]
) -> tuple[Result, bool]:
    """Returns what `read` makes of a file and its size; where it fails, what it makes of the file without metadata.

    The second value is whether the metadata was cut out. Raises the first error if that does not help.
    """
    try:
        return read(stream, size), False
    except _DecoderError as error:
        first_error = error
    if size > MAX_BYTES_IN_MEMORY:
        raise first_error
    stream.seek(0)
    content = stream.read()
    pixels_only = without_metadata(name, content)
    if len(pixels_only) == len(content):
        raise first_error
    try:
        return read(io.BytesIO(pixels_only), len(pixels_only)), True
    except (_DecoderError, ImageError, MissingPixels):
        raise first_error from first_error.__cause__


def _decode(path: Path, name: str, max_pixels: int | None, stream: BinaryIO, file_size: int) -> Picture:
    header, layout = _checked_header(path, stream, name, file_size, max_pixels)
    by_vips = partial(_decode_by_vips, path, stream, name, header, layout, file_size, max_pixels)
    if is_deep_png(header) or (layout is not None and layout.is_for_vips):
        return by_vips()
    with _decoder_errors(layout):
        image = _open_by_pillow(stream, name)
    with image:
        _check_claim(path, name, header, image.size, file_size, max_pixels)
        _check_raw(image, file_size)
        if name == "PNG" and image.mode == "I;16" and "transparency" in image.info:
            return by_vips()
        return _decode_by_pillow(path, image, header, layout)


def _checked_header(
    path: Path, stream: BinaryIO, name: str, file_size: int, max_pixels: int | None
) -> "tuple[bytes, TiffLayout | None]":
    """Returns the header of a file, and the layout of a TIFF file, after the checks that need no decoder."""
    stream.seek(0)
    header = stream.read(HEADER_BYTES)
    stream.seek(0)
    layout = None
    if name == "TIFF":
        _silence_libtiff()
        with _decoder_errors():  # Pillow parses the tags
            from data.tiff import (  # takes 3 ms that other formats do not need
                check_pixels_are_there,
                read_layout,
            )

            layout = read_layout(stream)
            _check_claim(path, name, header, (layout.width, layout.height), file_size, max_pixels)
            check_pixels_are_there(layout, file_size)
    elif name == "WEBP":
        _check_claim(path, name, header, webp_size(header), file_size, max_pixels)
    elif name == "HEIF":
        _register_heif(path)
    stream.seek(0)
    return header, layout


def _open_by_pillow(stream: BinaryIO, name: str) -> Any:
    """Returns Pillow's image, whose pixels are not decoded yet."""
    from PIL import Image

    return Image.open(stream, formats=(name,))


@contextlib.contextmanager
def _decoder_errors(layout: "TiffLayout | None" = None) -> Iterator[None]:
    """Converts what Pillow and libvips raise for damage: OSError, SyntaxError, struct.error, IndexError and others.

    Only their calls belong into this context, so that a fault of our own code is not reported as damage.
    layout: of a TIFF file; it is named if Pillow does not know it, or if its libtiff cannot decompress it.
    """
    from PIL import UnidentifiedImageError

    try:
        yield
    except (ImageError, MemoryError, MissingPixels, UnsupportedLayout):
        raise
    except Exception as error:
        is_unknown = isinstance(error, UnidentifiedImageError)
        is_optional = layout is not None and layout.has_optional_codec and isinstance(error, OSError)
        if layout is not None and (is_unknown or is_optional):
            raise UnsupportedLayout(str(layout)) from error
        raise _DecoderError from error


def _check_claim(
    path: Path,
    name: str,
    header: bytes,
    size: tuple[int, int],
    file_size: int,
    max_pixels: int | None = None,
) -> None:
    """Raises ImageError for more pixels than are allowed, MissingPixels for more than the file can hold."""
    width, height = size
    most = min(MAX_PIXELS, max_pixels or MAX_PIXELS)
    if width * height > most:
        raise ImageError(
            f"{path}: more than {most / 10**6:g} megapixels ({width}x{height}, {width * height} pixels);"
            " scale it down first"
        )
    if least_bytes(name, header, width, height) > file_size:
        raise MissingPixels(f"{file_size} bytes cannot hold {width}x{height} pixels")


def _check_raw(image, file_size: int) -> None:
    """Raises MissingPixels if the uncompressed rows of a BMP file are not all there."""
    if image.format != "BMP" or not image.tile or image.tile[0][0] != "raw":
        return
    _, extents, offset, (_, row_bytes, _) = image.tile[0]
    padding = 3  # of the last row, which some programs leave out
    if offset + row_bytes * extents[3] - padding > file_size:
        raise MissingPixels(f"{file_size} bytes cannot hold {image.width}x{image.height} pixels")


def _decode_by_pillow(path: Path, image, header: bytes, layout: "TiffLayout | None") -> Picture:
    mode = _decoding_mode(path, image)
    if image.mode == "L" and (png_depth(header) or 8) < 8 and isinstance(image.info.get("transparency"), int):
        # Pillow scales gray of 2 and 4 bits to 8, but not the transparent gray.
        image.info["transparency"] *= 255 // (2 ** png_depth(header) - 1)
    with _decoder_errors(layout):
        if layout is not None:
            use_tiff_tags_only(image)
        if image.format == "PNG" and image.mode == "P":
            _check_palette(path, image)
        pixels = np.asarray(image if mode is None else image.convert(mode))
    if mode is None:
        white = _WHITE_OF_12_BITS if layout is not None and layout.bits == 12 else _WHITE_OF_16_BITS
        pixels = _full_range_gray(path, pixels, white)
    # The orientation is read after the pixels: Pillow turns a TIFF upright while it decodes, then drops the tag.
    return Picture(
        _upright(pixels, orientation_of(image)),
        rgb_profile(image.info.get("icc_profile")),
        exif_without_orientation(image.info.get("exif"), layout and layout.tags),
    )


def _decode_by_vips(
    path: Path,
    stream: BinaryIO,
    name: str,
    header: bytes,
    layout: "TiffLayout | None",
    file_size: int,
    max_pixels: int | None,
) -> Picture:
    import pyvips

    pyvips.block_untrusted_set(True)
    load = pyvips.Image.pngload_source if name == "PNG" else pyvips.Image.tiffload_source
    with _decoder_errors():
        try:
            image = load(_vips_source(stream), access="sequential", fail_on="error")
            _check_claim(path, name, header, (image.width, image.height), file_size, max_pixels)
            fields = {
                field: bytes(image.get(field)) for field in image.get_fields() if field.endswith("-data")
            }
            orientation = image.get("orientation") if "orientation" in image.get_fields() else 1
            pixels = _pixels_of_vips(image)
        except pyvips.Error as error:
            kind = MemoryError if is_memory_fault(error) else OSError
            raise kind(one_line(error)) from error
    return Picture(
        _upright(_rgb_or_gray(path, pixels, layout), orientation),
        rgb_profile(fields.get("icc-profile-data")),
        exif_without_orientation(fields.get("exif-data"), layout and layout.tags),
    )


def _pixels_of_vips(image) -> np.ndarray:
    """Returns [H, W, C]; image.numpy() drops axes of length 1."""
    pixels = np.frombuffer(image.write_to_memory(), _VIPS_TYPES[image.format])
    return pixels.reshape(image.height, image.width, image.bands)


def _vips_source(stream: BinaryIO):
    import pyvips

    if isinstance(stream, io.BytesIO):
        return pyvips.Source.new_from_memory(stream.getvalue())
    return pyvips.Source.new_from_descriptor(stream.fileno())


def _rgb_or_gray(path: Path, pixels: np.ndarray, layout: "TiffLayout | None") -> np.ndarray:
    """Drops the channels of libvips that are neither color nor alpha, and converts CMYK to RGB."""
    channels = pixels.shape[-1]
    if layout is not None and layout.color == "CMYK":
        from data.tiff import rgb_from_cmyk

        return rgb_from_cmyk(pixels[..., :4])
    if channels == 1:
        return _full_range_gray(path, pixels[..., 0], _WHITE_OF_16_BITS)
    is_gray = channels == 2 if layout is None else layout.color == "gray"
    has_alpha = channels in (2, 4) if layout is None else layout.has_alpha
    if is_gray:
        return pixels[..., [0, 0, 0, 1]] if has_alpha else np.ascontiguousarray(pixels[..., 0])
    return pixels[..., : 4 if has_alpha else 3]


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Opens a regular file. Pipes and devices are refused, and never waited for."""
    try:
        stream = open_regular(path)
    except OSError as error:
        if isinstance(error, NotAFile) and not error.is_folder:
            raise ImageError(
                f"{path}: is not a file but a pipe, socket or device; give an image file"
            ) from error
        raise ImageError(
            f"{path}: cannot be read: {error.strerror}; check the path and its permissions"
        ) from error
    with stream:
        if os.fstat(stream.fileno()).st_size == 0:
            raise ImageError(f"{path}: is empty (0 bytes); replace it with an image")
        yield stream


def _configure_pillow() -> None:
    """Sets our limits and silences Pillow's warnings about unusual metadata.

    The settings are global to the process and stay. Restoring them after each file would not be thread-safe.
    """
    from PIL import Image, PngImagePlugin

    # Pillow warns above this number and fails above twice this number.
    Image.MAX_IMAGE_PIXELS = MAX_PIXELS // 2
    for library in ("PIL", "pyvips"):  # their log repeats what they raise
        logging.getLogger(library).setLevel(logging.CRITICAL)
    PngImagePlugin.MAX_TEXT_CHUNK = MAX_METADATA
    warnings.filterwarnings("ignore", module=r"PIL\b")


def _register_heif(path: Path) -> None:
    """Adds the decoder of pillow-heif to Pillow, without those of what else such a file contains."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise ImageError(
            f"{path}: pillow-heif cannot be loaded: {one_line(error)}; install it again"
        ) from error
    register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)


@functools.cache
def _silence_libtiff() -> None:
    """Stops libtiff from writing its own lines about damaged files to stderr; Pillow has no setting for this."""
    import ctypes

    from PIL import Image

    with contextlib.suppress(AttributeError, OSError):  # a build with another libtiff keeps its lines
        ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler(None)


@contextlib.contextmanager
def _described_errors(path: Path) -> Iterator[None]:
    """Converts the exceptions of damage and of missing memory to ImageError. OSError: the disk cannot be read."""
    try:
        yield
    except MemoryError as error:
        error.__traceback__ = None  # its frames hold what was decoded so far, and others need the memory
        raise ImageError(f"{path}: {_decoder_fault(error)}") from error
    except _DecoderError as error:
        raise ImageError(f"{path}: {_decoder_fault(error.__cause__)}") from error.__cause__
    except (OSError, MissingPixels, UnsupportedLayout) as error:
        raise ImageError(f"{path}: {_decoder_fault(error)}") from error


def _decoder_fault(error: Exception) -> str:
    from PIL import Image, UnidentifiedImageError

    if isinstance(error, Image.DecompressionBombError):
        return f"more than {MAX_PIXELS // 10**6} megapixels ({error}); scale it down first"
    if isinstance(error, MemoryError):
        return "too little memory to decode it; free some, or scale the picture down first"
    if isinstance(error, UnsupportedLayout):
        return f"TIFF files of this kind are not supported: {one_line(error)}; save it as 8-bit or 16-bit RGB first"
    if isinstance(error, UnidentifiedImageError):
        return f"damaged, or not an image in a supported format; give {readable_formats()}"
    # The messages of other exceptions describe the decoder's internals.
    reason = f" ({one_line(error)})" if isinstance(error, OSError | MissingPixels) else ""
    return f"damaged or cut short{reason}; replace it with {readable_formats()} that is complete"


def _decoding_mode(path: Path, image) -> str | None:
    """Returns the Pillow mode to decode into; None keeps gray deeper than 8 bits as stored."""
    mode = image.mode
    if mode in _DEEP_GRAY_MODES:
        return None
    if mode in _ALPHA_MODES or "transparency" in image.info:
        return "RGBA"
    if mode in _GRAY_MODES:
        return "L"
    if mode in _COLOR_MODES:
        return "RGB"
    raise ImageError(f"{path}: color mode {mode} is not supported; convert it to 8-bit RGB first")


def _check_palette(path: Path, image) -> None:
    """Raises ImageError if pixels of a palette image have colors that its palette lacks; Pillow shows them black."""
    image.load()
    colors = len(image.palette.palette) // len(image.palette.mode) if image.palette else 0
    if (largest := image.getextrema()[1]) >= colors:
        raise ImageError(
            f"{path}: damaged (its palette has {colors} colors, its pixels use color {largest}); replace it with a file"
            " that is complete"
        )


def _full_range_gray(path: Path, pixels: np.ndarray, white: int) -> np.ndarray:
    """Converts deep gray [H, W]: integers to uint16, floats of 0..1 or 0..255 to float32 0..255.

    The maximum tells which of the two ranges floats have. white: the largest integer.
    """
    least, most = pixels.min(), pixels.max()
    is_float = pixels.dtype.kind == "f"
    full_scale = white if not is_float else 1 if most <= 1 else 255
    is_unclear = is_float and 1 < most <= _UNCLEAR  # 0..1 with values beyond, or 0..255 that is all but black
    if is_unclear or not (least >= 0 and most <= full_scale):  # written so that NaN fails too
        allowed = "0..1 or 0..255" if is_float else f"0..{white}"
        received = f"gray values from {least} to {most}"
        raise ImageError(f"{path}: {received} are not supported, only {allowed}; rescale them first")
    if is_float:
        return pixels.astype(np.float32) * np.float32(255 / full_scale)
    if white == _WHITE_OF_16_BITS:
        return pixels.astype(np.uint16)
    return ((pixels.astype(np.uint32) * 65535 + white // 2) // white).astype(np.uint16)


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Undoes the EXIF orientations 2 to 8. Pixels of 5 to 8 are stored transposed; all differ in their mirrors."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels

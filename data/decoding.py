"""Picture files -> pixels: every format, colour mode, depth and orientation comes in here.

Pillow reads through imageio; colour deeper than 8 bits, which it would cut to 8, is read by libvips.
"""

import contextlib
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

MAX_PIXELS = 200_000_000  # the largest phone sensors; beyond it a file is likelier an attack than a photo
# Pillow's mode names; together all that its decoders of these formats give, but for premultiplied grey, "La".
_GREY_MODES = frozenset({"1", "L"})
_COLOUR_MODES = frozenset({"P", "RGB", "CMYK", "YCbCr", "LAB"})
_ALPHA_MODES = frozenset({"LA", "PA", "RGBA"})
_DEEP_GREY_MODES = frozenset({"I;16", "I;16B", "I", "F"})
_READABLE = "a JPEG, PNG, WebP, TIFF, BMP or GIF file"


_PNG_SIGNATURE, _PNG_DEPTH_AT, _PNG_COLOUR_AT, _PNG_COLOURED = b"\x89PNG\r\n\x1a\n", 24, 25, (2, 6)
_TEXT_TAGS = (  # what of a TIFF's own tags is EXIF, and not the layout of that very file
    "ImageDescription", "Make", "Model", "Software", "DateTime", "Artist", "Copyright"
)  # fmt: skip


class ImageError(ValueError):
    """A file cannot be read or written as an image: one line naming the file, the fault and the remedy."""


@dataclass(frozen=True)
class Decoded:
    """A picture as its file holds it, but upright.

    pixels: uint8 or uint16 of full range, or float32 0..255; [H, W] grey, [H, W, 3] RGB or [H, W, 4] RGBA.
    icc_profile, exif: bytes as stored, orientation removed; None where there is none that fits these pixels.
    """

    pixels: np.ndarray
    icc_profile: bytes | None = None
    exif: bytes | None = None


def decode_file(path: Path) -> Decoded:
    """Reads a picture; of an animation the first frame. The format is told from the content, not the suffix.

    Raises ImageError for a file that is missing, unreadable, damaged, not an image or too large.
    """
    import imageio.v3 as iio

    _quiet_pillow()
    with _opened(path) as stream, _decoder_errors(path):
        header = stream.read(_PNG_COLOUR_AT + 1)
        stream.seek(0)
        with iio.imopen(stream, "r", plugin="pillow") as file:
            metadata = file.metadata(index=0)
            if not _is_deep_colour(header, metadata):
                return _decode_by_pillow(path, file, metadata)
        return _decode_by_vips(path)


def _decode_by_pillow(path: Path, file, metadata: dict) -> Decoded:
    mode = _decoding_mode(path, metadata)
    pixels = file.read(index=0, mode=mode, writeable_output=False)
    # Asked after reading: Pillow turns a TIFF upright while decoding it and then forgets the tag.
    tags = file.metadata(index=0, exclude_applied=False)
    pixels = _known_range(path, pixels) if mode is None else pixels
    icc_profile = metadata.get("icc_profile")
    return Decoded(
        _upright(pixels, tags.get("Orientation", 1)),
        icc_profile if _is_rgb_profile(icc_profile) else None,
        _exif_without_orientation(metadata.get("exif"), tags),
    )


def _decode_by_vips(path: Path) -> Decoded:
    import pyvips

    try:
        source = pyvips.Source.new_from_file(str(path))
        image = pyvips.Image.new_from_source(source, "", access="sequential", fail_on="truncated")
        _check_pixel_count(image.width, image.height)
        fields = {name: bytes(image.get(name)) for name in image.get_fields() if name.endswith("-data")}
        orientation = image.get("orientation") if "orientation" in image.get_fields() else 1
        pixels = image.numpy()
    except pyvips.Error as error:
        raise OSError(" ".join(str(error).split())) from error
    if pixels.dtype != np.uint16:
        raise ImageError(f"{path}: {image.format} colours are not supported; convert it to 16-bit RGB first")
    icc_profile = fields.get("icc-profile-data")
    return Decoded(
        _upright(pixels[..., :4], orientation),
        icc_profile if _is_rgb_profile(icc_profile) else None,
        _exif_without_orientation(fields.get("exif-data"), {}),
    )


def _is_deep_colour(header: bytes, metadata: dict) -> bool:
    """Whether a file that Pillow opened has colours of more than 8 bits, of which it would drop the rest."""
    bits = metadata.get("BitsPerSample", ())  # of TIFF: one number, or one a channel
    if isinstance(bits, tuple) and len(bits) >= 3:
        return max(bits) > 8
    is_png = header.startswith(_PNG_SIGNATURE)
    return is_png and header[_PNG_DEPTH_AT] == 16 and header[_PNG_COLOUR_AT] in _PNG_COLOURED


def _is_rgb_profile(icc_profile: bytes | None) -> bool:
    """Grey and CMYK are read as RGB, which their profiles would misinterpret."""
    return icc_profile is not None and icc_profile[16:20] == b"RGB "


def _exif_without_orientation(exif_bytes: bytes | None, tags: dict) -> bytes | None:
    """EXIF for the upright pixels; from a TIFF, whose tags are its own, those that describe the picture."""
    texts = {name: tags[name] for name in _TEXT_TAGS if isinstance(tags.get(name), str)}
    if not exif_bytes and not texts:
        return None
    from PIL import ExifTags, Image

    exif = Image.Exif()
    if exif_bytes:
        with contextlib.suppress(Exception):  # broken metadata is no reason to lose a picture
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


def _check_pixel_count(width: int, height: int) -> None:
    """As Pillow does for the files that it reads."""
    from PIL import Image

    if width * height > MAX_PIXELS:
        raise Image.DecompressionBombError(f"{width * height} pixels")


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
    mode = metadata["mode"]
    if mode in _DEEP_GREY_MODES:
        return None
    if mode in _ALPHA_MODES or "transparency" in metadata:
        return "RGBA"
    if mode in _GREY_MODES:
        return "L"
    if mode in _COLOUR_MODES:
        return "RGB"
    raise ImageError(f"{path}: colour mode {mode} is not supported; convert it to 8-bit RGB first")


def _known_range(path: Path, pixels: np.ndarray) -> np.ndarray:
    """Deep grey [H, W]: integers to uint16; floats of 0..1 or 0..255, told by their maximum, to float32 0..255."""
    least, most = pixels.min(), pixels.max()
    is_float = pixels.dtype.kind == "f"
    full_scale = 65535 if not is_float else 1 if most <= 1 else 255
    if not (least >= 0 and most <= full_scale):  # so that NaN fails too
        allowed = "0..1 or 0..255" if is_float else "0..65535"
        received = f"grey values from {least} to {most}"
        raise ImageError(f"{path}: {received}, allowed are {allowed}; rescale them first")
    return pixels.astype(np.float32) * np.float32(255 / full_scale) if is_float else pixels.astype(np.uint16)


def _upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Undoes the EXIF orientation 1..8: 5 to 8 are stored transposed, then each is a choice of mirrors."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return image

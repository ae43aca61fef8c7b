"""The fields of the photo tab, and the request that they make."""

from pathlib import Path

from cli.flags import UsageError
from cli.infer_config import FastConfig
from web.pictures import PictureRequest
from web.studio.mask_store import LOST_MASK
from web.studio.style_cards import StyleCard

NONE = ""  # no second style
AUTOMATIC, AS_PHOTO, FULL_SIZE = "auto", "as the photo", "full size"
STROKES = ((AUTOMATIC, "automatic"), ("1", "as trained"), ("1.5", "1.5 times"), ("2", "2 times"), ("3", "3 times"),
           ("4", "4 times"), ("6", "6 times"))  # fmt: skip
SIDES = (FULL_SIZE, "512", "1024", "2048", "4096")  # pixels
FORMATS = (
    (AS_PHOTO, AS_PHOTO),
    ("jpg", "JPEG"),
    ("png", "PNG"),
    ("webp", "WebP"),
    ("tiff", "TIFF"),
    ("bmp", "BMP"),
)
PAINT, PAINT_OPACITY = "#ffffff", 0.6  # of the mask in the editor, where the photo shows through
MASK_SIDE = 800  # pixels, of the photo that the mask is painted on
# Of the mask as it comes: a screen of double density may send twice the side.
MOST_MASK_PIXELS = (2 * MASK_SIDE) ** 2
_FULL_PAINT = 0.95 * PAINT_OPACITY  # browsers round
MOST_GRAIN = 10.0  # levels of 255; infer.py allows more


def request_of(
    style: str,
    second: str,
    share: float,
    strength: float,
    keep_colors: bool,
    strokes: str,
    grain: float,
    side: str,
    format: str,
    mask: Path | None = None,
) -> PictureRequest:
    """The request of the fields, in the order of the tab. share: of the second style, in percent; strength too.

    Raises UsageError for a value that no field can have.
    """
    if not style:
        raise UsageError("choose a style first")
    return PictureRequest(
        styles=_styles(style, second, share),
        strength=strength / 100,
        keep_colors=bool(keep_colors),
        stroke_scale=None if strokes == AUTOMATIC else _number(strokes, "the size of the strokes"),
        grain=grain,
        max_side=None if side == FULL_SIZE else int(_number(side, "the longest side")),
        format=None if format == AS_PHOTO else format,
        mask=mask,
    )


def _styles(style: str, second: str, share: float) -> tuple[tuple[str, float], ...]:
    if not second or second == style:
        return ((style, 1.0),)
    return tuple((name, weight) for name, weight in ((style, 100 - share), (second, share)) if weight)


def _number(text: str, what: str) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        raise UsageError(f"{what} must be a number") from None


def saved_mask(painted: bytes | None, folder: Path) -> Path | None:
    """Stores what was painted over the photo in `folder`, white where the paint is. None if nothing was painted."""
    import numpy as np
    from PIL import Image

    from data.decoding import ImageError, decode_file

    if painted == LOST_MASK:
        raise UsageError("the mask has got lost on its way; press the button again")
    if not painted:
        return None
    path = folder / "mask.png"
    path.write_bytes(painted)
    try:
        pixels = decode_file(path, max_pixels=MOST_MASK_PIXELS).pixels
    except ImageError as error:
        raise UsageError("the mask cannot be read; clear it and paint it again") from error
    if pixels.ndim != 3 or pixels.shape[-1] != 4 or not pixels[..., 3].any():
        return None
    covered = (pixels[..., 3] / (255 * _FULL_PAINT)).clip(0, 1)  # strokes that cross are no stronger than one
    Image.fromarray((255 * covered).round().astype(np.uint8)).save(path)
    return path


def style_line(card: StyleCard) -> str:
    """The chosen style in words."""
    return f"{card.title}: {card.source}" if card.source else card.title


def default_grain() -> float:
    return FastConfig.grain

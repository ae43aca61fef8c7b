"""One check of each kind of argument that library functions take. Rooms use it, so that their errors read alike."""

import math
from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # NumPy is imported on first use; the command line needs only the limits of this module
    import numpy as np

MOST = 10**18  # of whole numbers without a bound of their own; TensorFlow and NumPy count in 64 bits
MOST_DIGITS = 30  # of a whole number in a text or a message
SHOWN_CHARACTERS = 60  # of a wrong value in a message
_FLOAT32_MOST = 3.4e38  # larger values are infinite in float32
_LAYOUTS = {3: "[H, W, 3]", 4: "[B, H, W, 3]"}


def shown(value: Any) -> str:
    """Returns a value as one short piece of a message: control characters escaped, long values cut."""
    if isinstance(value, int) and abs(value) >= 10**MOST_DIGITS:
        return f"a number of more than {MOST_DIGITS} digits"
    try:
        text = " ".join(map(str.strip, repr(value).splitlines()))
    except Exception:  # whatever the class of the value raises
        text = type(value).__name__
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def is_count(value: Any, *, least: int = 1, most: int = MOST) -> bool:
    """Returns whether `value` is a whole number from `least` to `most`."""
    return isinstance(value, Integral) and not isinstance(value, bool) and least <= value <= most


def check_count(name: str, value: Any, *, least: int = 1, most: int = MOST) -> None:
    """Raises ValueError unless `value` is a whole number from `least` to `most`."""
    if not is_count(value, least=least, most=most):
        limit = f" and at most {most}" if most != MOST else ""
        raise ValueError(f"{name} must be a whole number of at least {least}{limit}, got {shown(value)}")


def check_images(
    name: str, images: Any, *, ranks: Sequence[int] = (3,), most: float = _FLOAT32_MOST
) -> "np.ndarray":
    """Returns images as an array. Raises ValueError for another shape, a side of zero, and values that are no numbers
    or not finite.

    ranks: 3 for [H, W, 3], 4 for [B, H, W, 3]. most: largest absolute value.
    """
    import numpy as np

    try:
        array = np.asarray(images)
    except (ValueError, TypeError) as error:  # lists of unequal lengths
        raise ValueError(f"{name} must be an array, got {type(images).__name__} that is no array") from error
    check_shape(name, array.shape, ranks=ranks)
    if array.dtype.kind not in "fiu":
        raise ValueError(f"{name} must contain numbers, got values of type {array.dtype}")
    lowest, highest = float(array.min()), float(array.max())  # NaN if any value is NaN
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        raise ValueError(f"{name} must not contain NaN or infinite values")
    if not -most <= lowest <= highest <= most:
        raise ValueError(
            f"{name} must have values from {-most:g} to {most:g}, got values from {lowest:g} to {highest:g}"
        )
    return array


def check_shape(name: str, shape: Sequence[int], *, ranks: Sequence[int] = (3,)) -> None:
    """Raises ValueError unless this is the shape of an image, or of images if `ranks` contains 4."""
    if len(shape) not in ranks or shape[-1] != 3 or 0 in shape:
        wanted = " or ".join(_LAYOUTS[rank] for rank in ranks)
        raise ValueError(f"{name} must be an array {wanted} without a zero side, got the shape {list(shape)}")


def check_size(name: str, size: Sequence[int]) -> None:
    """Raises ValueError unless `size` is (height, width) with sides of at least 1."""
    if len(size) != 2:
        raise ValueError(f"{name} must be (height, width), got {shown(size)}")
    for side in size:
        check_count(f"each side of {name}", side)

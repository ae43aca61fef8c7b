"""OpenCV, an optional package: it finds motion in videos and reads cameras."""

from typing import Any

from data.picture import ImageError


def load_opencv(error_type: type[ImageError], need: str) -> Any:
    """Returns the module cv2. Raises `error_type` if it is not installed or cannot be loaded.

    need: what follows the fault in the message: what OpenCV is for, and how to install it.
    """
    try:
        import cv2
    except ImportError as error:
        absent = isinstance(error, ModuleNotFoundError) and error.name == "cv2"
        fault = "is not installed" if absent else f"cannot be loaded ({error})"
        raise error_type(f"OpenCV {fault}{need}") from error
    return cv2

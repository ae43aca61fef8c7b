"""The newest picture of a camera, read by OpenCV, an optional package.

Frames that nobody asks for are dropped: a slow network shows what is in front of the camera now.
"""

import threading
from typing import Any

import numpy as np

from data import opencv
from data.picture import ImageError
from system.held_stderr import stderr_held

WAIT_SECONDS = 5.0  # for a frame; cameras that start slowly take two
_GUI = "opencv-python"


class CameraError(ImageError):
    """A camera cannot be opened, or gives no frames any more: one line that says what to do."""


def load_opencv() -> Any:
    """Returns the module cv2. Raises CameraError if it is not installed or cannot be loaded."""
    return opencv.load_opencv(CameraError, f", and --webcam needs it; run pip install {_GUI}")


class Camera:
    """A camera as a context. number: 0 is the first camera. Raises CameraError where it cannot be opened."""

    def __init__(self, number: int):
        self._number = number
        with stderr_held():  # OpenCV prints a line for every interface that it tries
            self._device = load_opencv().VideoCapture(number)
        if not self._device.isOpened():
            self._device.release()
            raise CameraError(
                f"camera {number} cannot be opened; check that it is connected, that no other program uses it and that"
                f" this program may use it, or give another number, such as --webcam {int(number == 0)}"
            )
        self._changed = threading.Condition()
        self._frame: np.ndarray | None = None
        self._is_closed = False
        self._reader = threading.Thread(target=self._read, name="camera", daemon=True)

    def __enter__(self) -> "Camera":
        self._reader.start()
        return self

    def __exit__(self, *_) -> None:
        with self._changed:
            self._is_closed = True
        self._reader.join(WAIT_SECONDS)
        self._device.release()

    def newest(self) -> np.ndarray:
        """Waits for a frame that was not returned yet: [H, W, 3], RGB, uint8. Raises CameraError if none comes."""
        with self._changed:
            self._changed.wait_for(lambda: self._frame is not None or self._is_closed, WAIT_SECONDS)
            frame, self._frame = self._frame, None
        if frame is None:
            raise CameraError(
                f"camera {self._number} gives no pictures; check its cable, its cover and its permissions"
            )
        return np.ascontiguousarray(frame[..., ::-1])  # OpenCV has BGR

    def _read(self) -> None:
        while not self._is_closed:
            is_read, frame = self._device.read()
            with self._changed:
                self._frame = frame if is_read else None
                self._is_closed |= not is_read
                self._changed.notify_all()

"""data/camera.py, with a fake OpenCV."""

import sys
import threading
import types

import numpy as np
import pytest

from data import camera as camera_module
from data.camera import Camera, CameraError, load_opencv


class FakeDevice:
    """Gives frames of one value, as many as `frames`; `read` waits for a permit of `pace` if there is one."""

    frames, pace, is_open = 3, None, True

    def __init__(self, number):
        self.number, self.count, self.reads, self.is_released = number, 0, 0, False
        type(self).last = self

    def isOpened(self):  # noqa: N802 (a name of OpenCV)
        return self.is_open

    def read(self):
        self.reads += 1
        if self.pace is not None:
            self.pace.acquire(timeout=10)
        if self.count >= self.frames:
            return False, None
        self.count += 1
        frame = np.zeros((4, 6, 3), np.uint8)
        frame[..., 0] = self.count  # blue
        return True, frame

    def release(self):
        self.is_released = True


@pytest.fixture
def device(monkeypatch):
    """A class of devices of its own, which tests change."""
    kind = type("Device", (FakeDevice,), {})
    monkeypatch.setitem(sys.modules, "cv2", types.SimpleNamespace(VideoCapture=kind))
    monkeypatch.setattr(camera_module, "WAIT_SECONDS", 10.0)
    return kind


def test_a_frame_is_rgb_and_given_once(device):
    device.pace = threading.Semaphore(1)
    with Camera(2) as camera:
        first = camera.newest()
        device.pace.release()
        second = camera.newest()
        device.pace.release(9)
    assert first.shape == (4, 6, 3) and first.dtype == np.uint8
    assert first[0, 0].tolist() == [0, 0, 1] and second[0, 0].tolist() == [0, 0, 2]
    assert device.last.number == 2 and device.last.is_released


def test_frames_that_nobody_asked_for_are_dropped(device):
    device.frames, device.pace = 5, threading.Semaphore(4)
    with Camera(0) as camera:
        while device.last.count < 4 or camera._frame is None or camera._frame[0, 0, 0] < 4:
            threading.Event().wait(0.001)
        assert camera.newest()[0, 0, 2] == 4
        device.pace.release(9)


def test_a_camera_that_is_not_there_is_named_with_what_to_do(device):
    device.is_open = False
    with pytest.raises(CameraError, match="camera 7 cannot be opened; check that it is connected"):
        Camera(7)
    assert device.last.is_released


def test_a_camera_that_stops_is_reported_instead_of_waited_for(device):
    device.frames = 0
    with Camera(0) as camera, pytest.raises(CameraError, match="camera 0 gives no pictures"):
        camera.newest()
    assert device.last.is_released and device.last.reads == 1


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ModuleNotFoundError("No module named 'cv2'", name="cv2"), "OpenCV is not installed"),
        (ImportError("libGL.so.1: cannot open"), r"OpenCV cannot be loaded \(libGL.so.1: cannot open\)"),
    ],
)
def test_a_missing_opencv_is_one_line(monkeypatch, error, words):
    class Finder:
        def find_spec(self, name, *_):
            if name == "cv2":
                raise error

    monkeypatch.delitem(sys.modules, "cv2", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    with pytest.raises(CameraError, match=f"{words}, and --webcam needs it; run pip install opencv-python"):
        load_opencv()

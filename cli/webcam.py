"""infer.py --webcam: the pictures of a camera in a style, live in a window."""

import math
import os
import subprocess
import sys
import time
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cli.flags import UsageError, report
from cli.infer_config import FastConfig
from cli.styles import check_network, check_styles, load_controls, load_styles, picture_name
from system.faults import first_line
from system.program import command, prog

PROG = prog("infer")
SIDE = 384  # pixels, longest side of a picture unless --max-side is given: some frames a second on two cores
WINDOW_WIDTH = 960  # pixels, at the start
HELP = "q: end, s: save the picture, m: mirror"
WINDOW_SECONDS = 30.0  # for a trial window
_OPEN_WINDOW = "import cv2; cv2.namedWindow('trial'); cv2.destroyAllWindows()"
_RATE_FRAMES = 20  # that the shown rate is a mean of
_ESCAPE, _KEY_MASK = 27, 0xFF
_TEXT_PLACE, _TEXT_SCALE, _INK, _EDGE = (8, 20), 0.5, (255, 255, 255), (0, 0, 0)


def check_config(config: FastConfig) -> None:
    """Raises UsageError for flags that a camera cannot follow."""
    flags = {
        "photos": config.photos,
        "--sheet": config.sheet,
        "--restore-size": config.restore_size,
        "--skip-existing": config.skip_existing,
        "--benchmark": config.benchmark,
        "--format": config.format is not None,
        "-o": config.output is not None,
    }
    if given := [name for name, is_given in flags.items() if is_given]:
        raise UsageError(f"--webcam shows what a camera sees, in a window; leave out {' and '.join(given)}")
    if config.style is None and not config.blend:
        raise UsageError("--webcam needs --style or --blend; --list-styles prints the styles")
    check_styles(config)
    check_network(config)


def show_webcam(config: FastConfig) -> int:
    """Shows the stylized pictures until the window is closed; returns the exit status."""
    from cli.frames import FrameStylizer
    from data.camera import Camera, load_opencv

    cv2 = load_opencv()
    _check_screen(cv2)
    name = picture_name(config)
    config = replace(config, max_side=config.max_side or SIDE)
    frames = FrameStylizer(config, load_styles(config), load_controls(config), workers=1)
    with Camera(config.webcam) as camera:
        window = Window(cv2, f"{name} ({HELP})")
        report(PROG, f"camera {config.webcam} in style {name}; in the window: {HELP}")
        try:
            shown = _show_until_closed(camera, frames, window, name)
        finally:
            window.close()
    report(PROG, f"showed {shown} pictures")
    return 0


def _show_until_closed(camera: Any, frames: Any, window: "Window", name: str) -> int:
    """Returns how many pictures were shown."""
    shown, is_mirrored, rate = 0, True, FrameRate()
    while True:
        frame = camera.newest()
        if is_mirrored:  # as people know themselves
            frame = np.ascontiguousarray(frame[:, ::-1])
        picture = frames.stylize(frame.astype(np.float32))
        if frames.finish is not None:
            picture = frames.finish(picture)
        pixels_u8 = np.rint(picture.clip(0, 255)).astype(np.uint8)
        key = window.show(pixels_u8, f"{rate.tick():.1f} frames/s")
        shown += 1
        if key in ("q", chr(_ESCAPE)) or window.is_closed():
            return shown
        if key == "m":
            is_mirrored = not is_mirrored
        elif key == "s":
            _save(pixels_u8, name)


class FrameRate:
    """Frames a second, as a mean of the last ones."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=_RATE_FRAMES)

    def tick(self) -> float:
        """Counts a frame; returns the rate, 0 at the first one."""
        self._times.append(time.perf_counter())
        seconds = self._times[-1] - self._times[0]
        return (len(self._times) - 1) / seconds if seconds else 0.0


class Window:
    """A window of OpenCV."""

    def __init__(self, cv2: Any, title: str):
        self._cv2, self._title, self._is_empty = cv2, title, True
        cv2.namedWindow(title, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)

    def show(self, pixels_u8: np.ndarray, text: str) -> str:
        """Shows a picture [H, W, 3], RGB, uint8, with a text in its corner; returns the key that was pressed, or ""."""
        canvas = np.ascontiguousarray(pixels_u8[..., ::-1])  # OpenCV has BGR
        for color, width in ((_EDGE, 3), (_INK, 1)):
            font = self._cv2.FONT_HERSHEY_SIMPLEX
            self._cv2.putText(canvas, text, _TEXT_PLACE, font, _TEXT_SCALE, color, width, self._cv2.LINE_AA)
        if self._is_empty:
            self._is_empty, (height, width) = False, canvas.shape[:2]
            self._cv2.resizeWindow(self._title, WINDOW_WIDTH, max(1, WINDOW_WIDTH * height // width))
        self._cv2.imshow(self._title, canvas)
        key = self._cv2.waitKey(1)
        return "" if key < 0 else chr(key & _KEY_MASK)

    def is_closed(self) -> bool:
        """Whether the user has closed the window."""
        return self._cv2.getWindowProperty(self._title, self._cv2.WND_PROP_VISIBLE) < 1

    def close(self) -> None:
        self._cv2.destroyAllWindows()


def _check_screen(cv2: Any) -> None:
    """Raises CameraError where no window can be shown; OpenCV would end the process there."""
    from data.camera import CameraError

    if sys.platform.startswith("linux") and not any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY"))):
        raise CameraError(
            f"--webcam needs a screen, and DISPLAY is not set; run it on a desktop, or use {command('studio')}"
        )
    if not hasattr(cv2, "imshow") or "GUI:                           NONE" in cv2.getBuildInformation():
        raise CameraError(
            "this OpenCV has no windows (opencv-python-headless); run pip uninstall opencv-python-headless and"
            " pip install opencv-python"
        )
    _check_window()


def _check_window() -> None:
    """Opens a window in a process of its own. Raises CameraError if that fails: a dead screen ends the process."""
    from data.camera import CameraError
    from system.child_python import run_python

    try:
        child = run_python(_OPEN_WINDOW, seconds=WINDOW_SECONDS, more_memory=math.inf)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CameraError(f"no window can be opened ({first_line(error)}); run it on a desktop") from error
    if child.returncode:
        lines = child.stderr.strip().splitlines() or ["no reason is known"]
        reason = next((line for line in lines if "display" in line), lines[-1])
        raise CameraError(f"no window can be opened ({reason}); check DISPLAY, or run it on a desktop")


def _save(pixels_u8: np.ndarray, name: str) -> None:
    from data.images import ImageError, save_image

    path = _free_path(name)
    try:
        save_image(path, pixels_u8)
    except ImageError as error:  # a full disk does not end the show
        report(PROG, error)
    else:
        report(PROG, f"wrote {path}")


def _free_path(name: str) -> Path:
    """The first name in the current folder that no file has: webcam_STYLE_1.png, webcam_STYLE_2.png, ..."""
    number = 1
    while (path := Path(f"webcam_{name}_{number}.png")).exists():
        number += 1
    return path

"""infer.py --webcam, with a fake OpenCV: a camera of moving gradients, and a window that presses keys."""

import sys
import types

import numpy as np
import pytest

import infer
from cli import webcam

CHECK_WINDOW = webcam._check_window  # which a fixture replaces


class FakeWindows:
    """What the program showed, and the keys that are pressed: one for each picture, "" for none."""

    WINDOW_NORMAL = WINDOW_KEEPRATIO = WINDOW_GUI_NORMAL = WND_PROP_VISIBLE = 0
    FONT_HERSHEY_SIMPLEX = LINE_AA = 0

    def __init__(self, keys=("", "", "q"), closed_after=None):
        self.keys, self.closed_after = list(keys), closed_after
        self.shown, self.texts, self.are_closed = [], [], False
        self.last_rows = 0

    def VideoCapture(self, number):  # noqa: N802 (a name of OpenCV)
        def read():
            self.last_rows += 1
            ramp = np.linspace(0, 200, 120, dtype=np.uint8)
            return True, np.stack([np.tile(ramp, (80, 1))] * 3, axis=-1) + np.uint8(self.last_rows % 9)

        return types.SimpleNamespace(isOpened=lambda: number != 5, read=read, release=lambda: None)

    def getBuildInformation(self):  # noqa: N802
        return "GUI: QT5"

    def namedWindow(self, title, flags):  # noqa: N802
        self.title = title

    def resizeWindow(self, title, width, height):  # noqa: N802
        self.size = (width, height)

    def putText(self, canvas, text, *_):  # noqa: N802
        self.texts.append(text)

    def imshow(self, title, canvas):
        self.shown.append(canvas.copy())

    def waitKey(self, _milliseconds):  # noqa: N802
        key = self.keys.pop(0) if self.keys else ""
        return ord(key) if key else -1

    def getWindowProperty(self, *_):  # noqa: N802
        return 0.0 if self.closed_after is not None and len(self.shown) >= self.closed_after else 1.0

    def destroyAllWindows(self):  # noqa: N802
        self.are_closed = True


@pytest.fixture
def windows(monkeypatch, tmp_path):
    """A function that replaces OpenCV; the current folder is empty."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(webcam, "_check_window", lambda: None)

    def installed(**options):
        fake = FakeWindows(**options)
        monkeypatch.setitem(sys.modules, "cv2", fake)
        return fake

    return installed


@pytest.fixture
def waves(style_dirs):
    return str(style_dirs["waves"])


def test_pictures_are_shown_until_q_is_pressed(windows, waves, capsys):
    fake = windows()
    assert infer.main(["--webcam", "--style", waves]) == 0
    assert len(fake.shown) == 3 and fake.are_closed
    assert {picture.shape for picture in fake.shown} == {(80, 120, 3)}
    assert all(text.endswith("frames/s") for text in fake.texts)
    assert fake.size == (960, 640) and "q: end" in fake.title
    assert "showed 3 pictures" in capsys.readouterr().err


def test_closing_the_window_ends_the_show(windows, waves):
    fake = windows(keys=(), closed_after=2)
    assert infer.main(["--webcam", "--style", waves]) == 0
    assert len(fake.shown) == 2


def test_pictures_are_stylized_and_shrunk(windows, waves):
    fake = windows(keys=("q",))
    flags = ["--webcam", "0", "--style", waves, "--max-side", "60", "--strength", "0", "--grain", "0"]
    assert infer.main(flags) == 0
    plain = fake.shown[0]
    assert plain.shape == (40, 60, 3)
    fake = windows(keys=("q",))
    assert infer.main([*flags[:-4], "--grain", "0"]) == 0
    assert np.abs(fake.shown[0].astype(int) - plain).mean() > 3


def test_m_mirrors(windows, waves):
    fake = windows(keys=("m", "q"))
    assert infer.main(["--webcam", "--style", waves, "--strength", "0"]) == 0
    mirrored, straight = (picture[40, :, 0].astype(int) for picture in fake.shown)
    assert mirrored[0] > mirrored[-1] and straight[0] < straight[-1]  # the ramp grows to the right


def test_s_saves_pictures_under_names_that_are_free(windows, waves, tmp_path, capsys):
    windows(keys=("s", "s", "q"))
    (tmp_path / "webcam_waves_1.png").write_bytes(b"mine")
    assert infer.main(["--webcam", "--style", waves]) == 0
    assert (tmp_path / "webcam_waves_1.png").read_bytes() == b"mine"
    assert (tmp_path / "webcam_waves_2.png").is_file() and (tmp_path / "webcam_waves_3.png").is_file()
    assert "wrote webcam_waves_3.png" in capsys.readouterr().err


def test_smoothing_works_on_live_frames(windows, waves):
    fake = windows(keys=("", "", "", "q"))
    assert infer.main(["--webcam", "--style", waves, "--temporal", "0.8"]) == 0
    assert len(fake.shown) == 4


def test_a_camera_that_is_missing_is_one_line(windows, waves, capsys):
    windows()
    assert infer.main(["--webcam", "5", "--style", waves]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("infer.py: camera 5 cannot be opened")


def test_a_missing_screen_is_one_line(windows, waves, capsys, monkeypatch):
    windows()
    monkeypatch.setattr(webcam.sys, "platform", "linux")
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert infer.main(["--webcam", "--style", waves]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "--webcam needs a screen" in line


def test_opencv_without_windows_is_one_line(windows, waves, capsys):
    fake = windows()
    fake.getBuildInformation = lambda: "  GUI:                           NONE\n"
    assert infer.main(["--webcam", "--style", waves]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "this OpenCV has no windows" in line and line.endswith("pip install opencv-python")


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (["-o", "a.png"], "-o"),
        (["--sheet"], "--sheet"),
        (["--format", "png"], "--format"),
        (["--benchmark"], "--benchmark"),
        (["--skip-existing"], "--skip-existing"),
    ],
)
def test_flags_that_need_photos_are_refused(waves, capsys, flags, named):
    style = [] if named == "--sheet" else ["--style", waves]
    with pytest.raises(SystemExit) as leaving:
        infer.parse_args(["--webcam", *style, *flags])
    assert leaving.value.code == 2
    assert named in capsys.readouterr().err


def test_photos_are_refused(waves, capsys):
    with pytest.raises(SystemExit):
        infer.parse_args(["cat.jpg", "--webcam", "--style", waves])
    assert "--webcam shows what a camera sees" in capsys.readouterr().err


def test_a_webcam_needs_a_style(capsys):
    with pytest.raises(SystemExit):
        infer.parse_args(["--webcam"])
    assert "--webcam needs --style or --blend" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        (
            "import os, sys; print('qt.qpa.xcb: could not connect to display :9', file=sys.stderr); os.abort()",
            "display :9",
        ),
        ("raise SystemExit('no GUI')", "no GUI"),
        ("import time; time.sleep(60)", "timed out"),
    ],
)
def test_a_screen_that_is_dead_is_one_line_and_ends_only_a_trial(
    windows, waves, capsys, monkeypatch, program, reason
):
    windows()
    monkeypatch.setattr(webcam, "_check_window", CHECK_WINDOW)
    monkeypatch.setattr(webcam, "_OPEN_WINDOW", program)
    monkeypatch.setattr(webcam, "WINDOW_SECONDS", 5.0 if reason == "timed out" else 60.0)
    assert infer.main(["--webcam", "--style", waves]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("infer.py: no window can be opened (") and reason in line

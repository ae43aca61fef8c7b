"""data/temporal.py: flicker falls on what was seen before, and what is new is shown as it is."""

import sys
import weakref

import numpy as np
import pytest

from data.motion import MotionError
from data.temporal import (
    BLOCK,
    REACH,
    USUAL_STRENGTH,
    TemporalSmoother,
    box_mean,
    odd,
    spread,
    usual_strength,
)

generator = np.random.default_rng(0)


@pytest.fixture(params=[False, True], ids=["still", "along motion"])
def follows(request) -> bool:
    """Whether motion is followed."""
    if request.param:
        pytest.importorskip("cv2", reason="needs opencv-python-headless")
    return request.param


@pytest.fixture
def cv2():
    return pytest.importorskip("cv2", reason="needs opencv-python-headless")


def texture(cv2, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Blots of some pixels in full contrast, as photos have them: [H, W, 3]."""
    noise = np.random.default_rng(seed).normal(size=(height, width, 3)).astype(np.float32)
    return (127 + 380 * cv2.GaussianBlur(noise, (0, 0), 2.5)).clip(0, 255)


def panned(cv2, image: np.ndarray, x: float, y: float, height: int, width: int) -> np.ndarray:
    """What a camera sees of an image, whose upper left corner is at (x, y) in it."""
    moves = np.float32([[1, 0, x], [0, 1, y]])
    return cv2.warpAffine(image, moves, (width, height), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP).clip(
        0, 255
    )


def flickering(image: np.ndarray, seed: int) -> np.ndarray:
    """A stand-in for a stylized frame: the picture and strokes of 4 pixels that differ in each frame."""
    height, width, _ = image.shape
    strokes = np.random.default_rng(1000 + seed).uniform(-60, 60, (-(-height // 4), -(-width // 4), 3))
    strokes = strokes.repeat(4, 0).repeat(4, 1)[:height, :width]
    return (255 - image + strokes).clip(0, 255).astype(np.float32)


def frame_of(noise: float = 0.0) -> np.ndarray:
    gradient = np.linspace(60, 180, 80)[np.newaxis, :, np.newaxis] * np.ones((60, 1, 3))
    return (gradient + generator.normal(0, noise, gradient.shape)).astype(np.float32)


def restless() -> np.ndarray:
    return generator.uniform(0, 255, (60, 80, 3)).astype(np.float32)


def test_the_first_frame_is_shown_as_it_is(follows):
    stylized = restless()
    np.testing.assert_array_equal(
        TemporalSmoother(0.8, follows_motion=follows)(frame_of(), stylized), stylized
    )


def test_no_strength_returns_every_frame_itself():
    smoother = TemporalSmoother(0.0)
    for _ in range(3):
        stylized = restless()
        assert smoother(frame_of(), stylized) is stylized


def test_no_strength_keeps_no_frame():
    smoother = TemporalSmoother(0.0)
    for _ in range(2):
        content, stylized = frame_of(), restless()
        frames = [weakref.ref(content), weakref.ref(stylized)]
        smoother(content, stylized)
        del content, stylized
        assert [frame() for frame in frames] == [None, None]


@pytest.mark.parametrize("noise", [0.0, 2.5])
def test_flicker_of_a_still_clip_falls_by_more_than_half(noise, follows):
    smoother = TemporalSmoother(0.8, follows_motion=follows)
    plain, shown = [], []
    for _ in range(12):
        plain.append(restless())
        shown.append(smoother(frame_of(noise), plain[-1]))
    flicker = [np.abs(np.diff(np.stack(frames[4:]), axis=0)).mean() for frames in (plain, shown)]
    assert flicker[1] < 0.5 * flicker[0]


def test_what_moves_is_shown_without_a_ghost():
    smoother = TemporalSmoother(0.9, follows_motion=False)
    for step in range(6):
        content, stylized = frame_of(), restless()
        content[20:40, 10 * step : 10 * step + 20] = 255  # a white square on its way
        shown = smoother(content, stylized)
        if step:
            place = (slice(20, 40), slice(10 * step, 10 * step + 20))
            left = (slice(20, 40), slice(10 * step - 10, 10 * step))  # where it was: the ground appears again
            for part in (place, left):
                np.testing.assert_allclose(shown[part], stylized[part], atol=1e-3)
    assert np.abs(shown[:4] - stylized[:4]).mean() > 10  # far from it the smoothing goes on


def test_a_slow_change_is_followed(follows):
    smoother = TemporalSmoother(0.9, follows_motion=follows)
    for level in range(0, 250, 6):  # each step is below what counts as a change
        content = np.full((16, 16, 3), level, np.float32)
        shown = smoother(content, content)
    assert np.abs(shown - content).max() < 24


def test_frames_of_another_size_start_anew(follows):
    smoother = TemporalSmoother(0.9, follows_motion=follows)
    smoother(frame_of(), restless())
    small = np.zeros((5, 7, 3), np.float32)
    np.testing.assert_array_equal(smoother(small, small + 9), small + 9)


def test_the_border_between_still_and_moving_parts_is_gradual():
    smoother = TemporalSmoother(0.8, follows_motion=False)
    content, black = np.zeros((60, 80, 3), np.float32), np.zeros((60, 80, 3), np.float32)
    smoother(content, black)
    moved = content.copy()
    moved[28:33, 38:43] = 24  # just enough to count as changed
    shown = smoother(moved, black + 100)[..., 0]
    assert shown.min() == pytest.approx(20) and shown.max() > 90
    assert (
        max(np.abs(np.diff(shown, axis=axis)).max() for axis in (0, 1)) < 20
    )  # without it 80, at the blocks


def test_noise_of_single_pixels_is_no_motion(follows):
    smoother = TemporalSmoother(0.8, follows_motion=follows)
    content, black = np.zeros((60, 80, 3), np.float32), np.zeros((60, 80, 3), np.float32)
    smoother(content, black)
    noisy = content.copy()
    noisy[5::10, 5::10] = 100  # 4 levels in the mean of 5 x 5 pixels
    np.testing.assert_allclose(smoother(noisy, black + 100), np.full_like(black, 20), atol=4e-3)


@pytest.mark.parametrize(("height", "width"), [(60, 80), (37, 50)])
def test_spread_fills_the_blocks_around_a_value(height, width):
    values = np.zeros((height, width))
    values[17, 23], values[height - 1, width - 1] = 2, 1
    expected = np.zeros_like(values)
    for y, x in ((height - 1, width - 1), (17, 23)):
        top, left = (y // BLOCK - REACH) * BLOCK, (x // BLOCK - REACH) * BLOCK
        side = (2 * REACH + 1) * BLOCK
        expected[max(0, top) : top + side, max(0, left) : left + side] = values[y, x]
    np.testing.assert_array_equal(spread(values), expected)


def test_box_mean_is_the_mean_of_neighbours():
    values = generator.normal(size=(6, 7))
    padded = np.pad(values, 1, mode="edge")
    assert box_mean(values, 3)[2, 3] == pytest.approx(padded[2:5, 3:6].mean())
    assert box_mean(values, 3)[0, 0] == pytest.approx(padded[:3, :3].mean())


@pytest.mark.parametrize("strength", [-0.1, 1.0])
def test_a_strength_out_of_range_is_refused(strength):
    with pytest.raises(ValueError, match="at least 0 and below 1"):
        TemporalSmoother(strength)


def error_of_a_pan(cv2, *, strength: float, follows_motion: bool, step=(1.7, 0.6)) -> float:
    """The mean difference of successive frames, in levels, after the known motion of the camera was undone."""
    image, height, width = texture(cv2, 160, 220), 120, 160
    smoother = TemporalSmoother(strength, follows_motion=follows_motion)
    errors, before = [], None
    for index in range(16):
        content = panned(cv2, image, 2 + step[0] * index, 2 + step[1] * index, height, width)
        shown = smoother(content, flickering(content, index))
        if before is not None:
            errors.append(np.abs(shown - panned(cv2, before, *step, height, width))[8:-8, 8:-8].mean())
        before = shown
    return float(np.mean(errors[6:]))


def test_a_camera_that_moves_is_followed(cv2):
    plain = error_of_a_pan(cv2, strength=0, follows_motion=True)
    still = error_of_a_pan(cv2, strength=0.8, follows_motion=False)
    assert still > 0.8 * plain
    assert error_of_a_pan(cv2, strength=0.8, follows_motion=True) < 0.4 * plain


def test_what_is_moved_over_and_over_stays_sharp(cv2):
    image = texture(cv2, 160, 220)
    smoother = TemporalSmoother(0.95, follows_motion=True)
    for index in range(31):
        content = panned(cv2, image, 2 + 1.3 * index, 2 + 0.4 * index, 120, 160)
        shown = smoother(content, content)
    detail = [np.abs(np.diff(picture[8:-8, 8:-24], axis=1)).mean() for picture in (shown, content)]
    assert detail[0] > 0.9 * detail[1]


def test_a_thing_that_crosses_leaves_no_ghost(cv2):
    ground, thing = texture(cv2, 96, 160, seed=1), texture(cv2, 32, 32, seed=2)
    smoother = TemporalSmoother(0.9, follows_motion=True)
    for index in range(8):
        content, stylized = ground.copy(), ground.copy()
        left = 8 + 9 * index
        content[32:64, left : left + 32] = thing
        stylized[32:64, left : left + 32] = (255, 0, 0)  # pure red, of which the ground has none
        shown = smoother(content, stylized)
        if index:
            appeared = shown[32:64, left - 9 : left]
            np.testing.assert_allclose(appeared, ground[32:64, left - 9 : left], atol=2)
            redness = (shown - ground)[:, : left - 9]
            assert np.abs(redness).mean() < 0.5  # no trail either


def test_what_comes_into_the_frame_is_shown_as_it_is(cv2):
    image = texture(cv2, 140, 300)
    smoother = TemporalSmoother(0.9, follows_motion=True)
    for index in range(4):
        content = panned(cv2, image, 2 + 6 * index, 2, 120, 160)
        stylized = flickering(content, index)
        shown = smoother(content, stylized)
    np.testing.assert_allclose(shown[8:-8, -6:], stylized[8:-8, -6:], atol=0.01)
    assert np.abs(shown - stylized)[:, 16:-40].mean() > 8  # elsewhere the smoothing goes on


def test_a_cut_starts_anew(cv2):
    smoother = TemporalSmoother(0.9, follows_motion=True)
    for seed in (1, 1, 2):
        content = texture(cv2, 120, 160, seed=seed)
        stylized = flickering(content, seed)
        shown = smoother(content, stylized)
    np.testing.assert_array_equal(shown, stylized)


def test_a_little_light_more_is_no_change(cv2):
    smoother = TemporalSmoother(0.8, follows_motion=True)
    content = texture(cv2, 120, 160).clip(0, 240)
    smoother(content, np.zeros_like(content))
    shown = smoother(content + 6, np.full_like(content, 100))
    np.testing.assert_allclose(shown, np.full_like(content, 20), atol=0.1)


def test_large_frames_are_compared_as_small_ones_and_shown_in_full(cv2):
    image = texture(cv2, 380, 760)
    image = cv2.resize(image, None, fx=4, fy=4, interpolation=cv2.INTER_CUBIC)
    smoother = TemporalSmoother(0.9, follows_motion=True)
    for index in range(4):
        content = np.ascontiguousarray(image[9 * index :][:1441, 21 * index :][:, :2563])
        shown = smoother(content, content if index == 0 else content + np.float32(10))
    assert shown.shape == (1441, 2563, 3) and shown.dtype == np.float32
    inside = (shown - content)[100:-100, 100:-100]
    assert np.abs(inside.mean()) < 5  # 2.7 of 10: most of it is the first frame
    assert np.abs(inside - inside.mean()).mean() < 3  # in its place: half a pixel beside it makes 5


@pytest.mark.parametrize(
    "size", [(1, 1), (1, 9), (7, 1), (8, 8), (15, 33), (31, 700), (32, 32), (33, 5), (37, 51), (900, 3)]
)
def test_frames_of_any_size_are_smoothed(size, follows):
    smoother = TemporalSmoother(0.8, follows_motion=follows)
    content = generator.uniform(60, 64, (*size, 3)).astype(np.float32)
    smoother(content, np.zeros_like(content))
    shown = smoother(content, np.full_like(content, 100))
    assert shown.shape == content.shape and shown.dtype == np.float32
    np.testing.assert_allclose(shown, np.full_like(content, 20), atol=0.1)


def test_without_opencv_only_what_stands_still_is_smoothed(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    smoother = TemporalSmoother(0.8)
    assert "OpenCV" in str(smoother.fault) and "pip install opencv-python-headless" in str(smoother.fault)
    smoother(frame_of(), np.zeros((60, 80, 3), np.float32))
    shown = smoother(frame_of(), np.full((60, 80, 3), 100, np.float32))
    np.testing.assert_allclose(shown, 20, atol=1e-3)
    with pytest.raises(MotionError, match="pip install opencv-python-headless"):
        TemporalSmoother(0.8, follows_motion=True)


def test_with_opencv_there_is_no_fault(cv2):
    assert TemporalSmoother(0.8).fault is None


def test_opencv_is_not_loaded_for_nothing(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert TemporalSmoother(0.0).fault is None
    assert TemporalSmoother(0.8, follows_motion=False).fault is None


@pytest.mark.parametrize(
    ("size", "expected"), [(0.4, 1), (1, 1), (1.6, 1), (2.2, 3), (3, 3), (5, 5), (36, 37)]
)
def test_odd_is_an_odd_number_near_by(size, expected):
    assert odd(size) == expected


def smoother_along(flow, gap=0.0) -> TemporalSmoother:
    """A smoother of strength 0.8 that finds this flow in all frames; both are broadcast."""
    smoother = TemporalSmoother(0.8, follows_motion=True)

    def found(before, after):
        size = after.shape[:2]
        return (
            np.ascontiguousarray(np.broadcast_to(np.float32(flow), (*size, 2))),
            np.array(np.broadcast_to(np.float32(gap), size)),
        )

    smoother._motion.flow = found
    return smoother


def test_where_the_flow_does_not_lead_back_nothing_is_mixed(cv2):
    gap = np.zeros((60, 80))
    gap[25:35, 35:45] = 3
    smoother, content = smoother_along((0, 0), gap), np.full((60, 80, 3), 90, np.float32)
    smoother(content, np.zeros_like(content))
    shown = smoother(content, np.full_like(content, 100))
    np.testing.assert_allclose(shown[25:35, 35:45], 100, atol=0.01)
    np.testing.assert_allclose(shown[:, 70:], 20, atol=0.01)


def test_what_comes_from_beyond_the_frame_is_not_mixed(cv2):
    smoother, content = (
        smoother_along((9, 0)),
        np.full((60, 80, 3), 90, np.float32),
    )  # plain: no difference tells
    smoother(content, np.zeros_like(content))
    shown = smoother(content, np.full_like(content, 100))
    np.testing.assert_allclose(shown[:, 71:], 100, atol=0.01)
    np.testing.assert_allclose(shown[:, :40], 20, atol=0.01)


def test_a_flow_that_is_off_by_a_fraction_of_a_pixel_is_good_enough(cv2):
    content = np.zeros((60, 80, 3), np.float32)
    content[:, 40:] = 250
    smoother = smoother_along((0.2, 0))
    smoother(content, np.zeros_like(content))
    shown = smoother(content, np.full_like(content, 100))
    np.testing.assert_allclose(shown[:, :75], 20, atol=0.1)


def test_the_levels_stay_within_their_range(cv2):
    content, stylized = np.zeros((60, 80, 3), np.float32), np.zeros((60, 80, 3), np.float32)
    stylized[:, 40:] = 255
    smoother = smoother_along((0.5, 0))
    for _ in range(3):
        shown = smoother(content, stylized)
    assert shown.min() == 0 and shown.max() == pytest.approx(255, abs=0.01) and shown.max() <= 255


@pytest.mark.parametrize("kind", [np.float64, np.uint8])
def test_other_kinds_of_numbers_become_float32(kind, cv2):
    smoother, content = TemporalSmoother(0.8, follows_motion=True), texture(cv2, 60, 80).astype(kind)
    smoother(content, np.zeros_like(content))
    shown = smoother(content, np.full_like(content, 100))
    assert shown.dtype == np.float32
    np.testing.assert_allclose(shown, 20, atol=0.1)


def test_videos_are_smoothed_by_default_where_motion_can_be_followed(monkeypatch):
    pytest.importorskip("cv2")
    assert usual_strength() == (USUAL_STRENGTH, None)
    monkeypatch.setitem(sys.modules, "cv2", None)
    strength, fault = usual_strength()
    assert strength == 0 and "OpenCV is not installed" in str(fault)

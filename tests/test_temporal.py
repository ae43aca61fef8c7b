"""data/temporal.py: flicker falls where nothing moves, and what moves is shown as it is."""

import weakref

import numpy as np
import pytest

from data.temporal import BLOCK, REACH, TemporalSmoother, box_mean, spread

generator = np.random.default_rng(0)


def frame_of(noise: float = 0.0) -> np.ndarray:
    gradient = np.linspace(60, 180, 80)[np.newaxis, :, np.newaxis] * np.ones((60, 1, 3))
    return (gradient + generator.normal(0, noise, gradient.shape)).astype(np.float32)


def restless() -> np.ndarray:
    return generator.uniform(0, 255, (60, 80, 3)).astype(np.float32)


def test_the_first_frame_is_shown_as_it_is():
    stylized = restless()
    np.testing.assert_array_equal(TemporalSmoother(0.8)(frame_of(), stylized), stylized)


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
def test_flicker_of_a_still_clip_falls_by_more_than_half(noise):
    smoother = TemporalSmoother(0.8)
    plain, shown = [], []
    for _ in range(12):
        plain.append(restless())
        shown.append(smoother(frame_of(noise), plain[-1]))
    flicker = [np.abs(np.diff(np.stack(frames[4:]), axis=0)).mean() for frames in (plain, shown)]
    assert flicker[1] < 0.5 * flicker[0]


def test_what_moves_is_shown_without_a_ghost():
    smoother = TemporalSmoother(0.9)
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


def test_a_slow_change_is_followed():
    smoother = TemporalSmoother(0.9)
    for level in range(0, 250, 6):  # each step is below what counts as a change
        content = np.full((16, 16, 3), level, np.float32)
        shown = smoother(content, content)
    assert np.abs(shown - content).max() < 24


def test_frames_of_another_size_start_anew():
    smoother = TemporalSmoother(0.9)
    smoother(frame_of(), restless())
    small = np.zeros((5, 7, 3), np.float32)
    np.testing.assert_array_equal(smoother(small, small + 9), small + 9)


def test_the_border_between_still_and_moving_parts_is_gradual():
    smoother = TemporalSmoother(0.8)
    content, black = np.zeros((60, 80, 3), np.float32), np.zeros((60, 80, 3), np.float32)
    smoother(content, black)
    moved = content.copy()
    moved[28:33, 38:43] = 24  # just enough to count as changed
    shown = smoother(moved, black + 100)[..., 0]
    assert shown.min() == pytest.approx(20) and shown.max() > 90
    assert (
        max(np.abs(np.diff(shown, axis=axis)).max() for axis in (0, 1)) < 20
    )  # without it 80, at the blocks


def test_noise_of_single_pixels_is_no_motion():
    smoother = TemporalSmoother(0.8)
    content, black = np.zeros((60, 80, 3), np.float32), np.zeros((60, 80, 3), np.float32)
    smoother(content, black)
    noisy = content.copy()
    noisy[5::10, 5::10] = 100  # 4 levels in the mean of 5 x 5 pixels
    np.testing.assert_allclose(smoother(noisy, black + 100), np.full_like(black, 20), atol=1e-3)


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

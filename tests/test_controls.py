"""data/controls.py: colors, strength and mask, alone and together."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from data.controls import Controls
from data.images import LUMINANCE_WEIGHTS, resize_pixels

generator = np.random.default_rng(0)
CONTENT = generator.uniform(60, 190, (10, 12, 3)).astype(np.float32)
STYLIZED = generator.uniform(60, 190, (10, 12, 3)).astype(np.float32)


def test_without_controls_the_picture_is_the_networks():
    assert Controls().applied(CONTENT, STYLIZED) is STYLIZED


@pytest.mark.parametrize("strength", [0.0, 0.25, 1.0])
def test_strength_mixes_photo_and_picture(strength):
    expected = (1 - strength) * CONTENT + strength * STYLIZED
    np.testing.assert_allclose(Controls(strength=strength).applied(CONTENT, STYLIZED), expected, rtol=1e-5)


def test_white_of_the_mask_is_stylized_and_gray_in_part():
    mask = np.zeros((10, 12), np.uint8)
    mask[:, 6:], mask[0] = 255, 51
    picture = Controls(mask=mask).applied(CONTENT, STYLIZED)
    np.testing.assert_array_equal(picture[1:, :6], CONTENT[1:, :6])
    np.testing.assert_allclose(picture[1:, 6:], STYLIZED[1:, 6:], rtol=1e-5)
    np.testing.assert_allclose(picture[0], 0.8 * CONTENT[0] + 0.2 * STYLIZED[0], rtol=1e-5)


def test_controls_combine_colors_first():
    mask = np.full((10, 12), 128, np.uint8)
    picture = Controls(keep_colors=True, strength=0.5, mask=mask).applied(CONTENT, STYLIZED)
    amount = 0.5 * 128 / 255
    luminance = (1 - amount) * (CONTENT @ LUMINANCE_WEIGHTS) + amount * (STYLIZED @ LUMINANCE_WEIGHTS)
    np.testing.assert_allclose(picture @ LUMINANCE_WEIGHTS, luminance, rtol=1e-4)
    np.testing.assert_allclose(
        picture[..., 0] - picture[..., 1], CONTENT[..., 0] - CONTENT[..., 1], atol=1e-3
    )


def test_a_mask_of_another_size_is_resized_to_each_photo_from_the_original():
    mask = generator.integers(0, 256, (5, 6), dtype=np.uint8)
    controls = Controls(mask=mask)
    white, black = np.full((2, 2, 3), 255, np.float32), np.zeros((2, 2, 3), np.float32)
    controls.applied(black, white)  # would leave 2x2 pixels of it
    picture = controls.applied(np.zeros_like(CONTENT), np.full_like(CONTENT, 255))
    np.testing.assert_allclose(picture[..., 0], resize_pixels(mask, 10, 12), atol=1e-3)


MASK = generator.integers(0, 256, (20, 24), dtype=np.uint8)


@pytest.mark.parametrize("settings", [{"strength": 0.3, "mask": MASK}, {"keep_colors": True}])
@pytest.mark.parametrize(("dtype", "full"), [(np.uint8, 255), (np.uint16, 65535)])
def test_parts_are_painted_as_the_whole_would_be(dtype, full, settings):
    controls = Controls(**settings)
    canvas = np.zeros(CONTENT.shape, dtype)
    for rows in (slice(0, 4), slice(4, 10)):
        for columns in (slice(0, 7), slice(7, 12)):
            controls.paint(canvas, rows, columns, CONTENT, STYLIZED[rows, columns])
    expected = controls.applied(CONTENT, STYLIZED) * (full / 255)
    np.testing.assert_allclose(canvas, expected, atol=0.51)


def test_painting_clips():
    canvas = np.zeros((1, 2, 3), np.uint8)
    stylized = np.array([[[-5.0, 300.0, 127.6]] * 2], np.float32)
    photo = None  # is not needed, and is not converted in vain
    Controls().paint(canvas, slice(0, 1), slice(0, 2), photo, stylized)
    np.testing.assert_array_equal(canvas, [[[0, 255, 128]] * 2])


def test_threads_may_share_the_mask():
    mask = generator.integers(0, 256, (30, 30), dtype=np.uint8)
    controls, sizes = Controls(mask=mask), [(9, 7), (8, 8)] * 50

    def masked(size):
        return controls.applied(np.zeros((*size, 3), np.float32), np.full((*size, 3), 255, np.float32))[
            ..., 0
        ]

    with ThreadPoolExecutor(4) as pool:
        for size, picture in zip(sizes, pool.map(masked, sizes), strict=True):
            np.testing.assert_allclose(picture, resize_pixels(mask, *size), atol=1e-3)

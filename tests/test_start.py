"""Sizes of the slow method's pictures, and what it starts from."""

from dataclasses import replace

import numpy as np
import pytest

from loss_net.presets import PRESETS
from loss_net.start import content_size, initial_image, style_size

PLAIN = PRESETS["athalye"]
MEAN_RGB = np.array([120.0, 110.0, 100.0], np.float32)
BASE = np.random.default_rng(0).uniform(0, 255, (60, 80, 3)).astype(np.float32)


@pytest.mark.parametrize(
    ("asked", "photo_size", "expected"),
    [
        ({}, (301, 400), (301, 400)),
        ({"size": (30, 50)}, (301, 400), (30, 50)),
        ({"width": 200}, (301, 400), (150, 200)),
        ({"width": 800}, (301, 400), (602, 800)),
        ({"max_side": 200}, (301, 400), (150, 200)),
        ({"max_side": 200}, (400, 301), (200, 150)),
        ({"max_side": 512}, (301, 400), (301, 400)),
        ({"width": 300, "max_side": 150}, (100, 200), (75, 150)),
        ({"width": 2}, (1, 400), (1, 2)),
    ],
)
def test_the_size_of_the_content_is_what_was_asked_for(asked, photo_size, expected):
    assert content_size(replace(PLAIN, **asked), photo_size) == expected


@pytest.mark.parametrize(
    ("preset", "scale", "expected"),
    [
        (replace(PLAIN, style_sizing="width"), 1.0, (150, 200)),  # as wide as the content
        (replace(PLAIN, style_sizing="width"), 0.5, (75, 100)),
        (replace(PLAIN, style_sizing="size"), 1.0, (90, 200)),
        (replace(PLAIN, style_sizing="size"), 2.0, (180, 400)),
        (replace(PLAIN, style_sizing="max_side", max_side=500), 1.0, (375, 500)),
        (replace(PLAIN, style_sizing="max_side", max_side=2000), 1.0, (600, 800)),  # never enlarged
        (replace(PLAIN, style_sizing="max_side"), 1.0, (150, 200)),  # the content's longest side
        (replace(PLAIN, style_sizing="max_side"), 0.5, (75, 100)),
    ],
)
def test_the_size_of_a_style_follows_the_preset(preset, scale, expected):
    assert style_size(preset, (600, 800), (90, 200), scale) == expected


def test_a_start_without_noise_is_the_base():
    np.testing.assert_allclose(
        initial_image(replace(PLAIN, noise_ratio=0.0), BASE, MEAN_RGB, 0), BASE, atol=1e-4
    )


def test_a_start_of_noise_alone_has_nothing_of_the_base():
    starts = [initial_image(PLAIN, base, MEAN_RGB, 0) for base in (BASE, 255 - BASE)]
    np.testing.assert_allclose(starts[0], starts[1], atol=1e-4)


def test_noise_and_base_are_mixed_around_the_mean():
    half = initial_image(replace(PLAIN, noise_ratio=0.5), BASE, MEAN_RGB, 0)
    noise = initial_image(PLAIN, BASE, MEAN_RGB, 0)
    np.testing.assert_allclose(half, (noise + BASE) / 2, atol=1e-3)


def test_the_seed_decides_the_noise():
    first, again, other = (initial_image(PLAIN, BASE, MEAN_RGB, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0
    assert first.dtype == np.float32


@pytest.mark.parametrize(
    ("name", "deviation", "least", "most"),
    [
        ("athalye", 0.256, -2, 2),
        ("souljoy", 1.0, -6, 6),
        ("keras-lbfgs", 255 / 12**0.5, -128, 127),
        ("ist", 40 / 12**0.5, -20, 20),
    ],
)
def test_the_noise_is_distributed_as_the_source_says(name, deviation, least, most):
    noise = initial_image(replace(PRESETS[name], noise_ratio=1.0), BASE, MEAN_RGB, 0) - MEAN_RGB
    assert np.std(noise) == pytest.approx(deviation, rel=0.03)
    assert least - 1e-4 <= noise.min() and noise.max() <= most + 1e-4

"""Larger brush strokes: a small stylized picture at the size of its photo."""

import numpy as np
import pytest

from data import enlarging
from data.enlarging import Enlargement, bands, enlarging_bytes, natural_scale, size_at_scale
from data.images import resize_pixels


@pytest.fixture
def photo() -> np.ndarray:
    """A picture with edges and fine detail."""
    rows, columns = np.indices((331, 211))
    gray = 100 + 60 * np.sin(rows / 9) * np.cos(columns / 7) + 40 * ((rows // 31 + columns // 23) % 2)
    fine = 25 * np.sin(rows * 1.3) * np.sin(columns * 1.1)
    return np.stack([gray + fine, gray, gray - fine], axis=-1).clip(0, 255).astype(np.float32)


def whole(photo: np.ndarray, small: np.ndarray, stylized: np.ndarray) -> np.ndarray:
    return Enlargement(photo, small, stylized).rows(slice(0, photo.shape[0]))


def shrunk(photo: np.ndarray, scale: float) -> np.ndarray:
    return resize_pixels(photo, *size_at_scale(*photo.shape[:2], scale))


@pytest.mark.parametrize("scale", [1.01, 2.0, 3.7, 50.0])
def test_bands_fit_together_without_seams(photo, scale, monkeypatch):
    monkeypatch.setattr(enlarging, "BAND_PIXELS", 256 * 211)
    small = shrunk(photo, scale)
    stylized = 255 - 0.7 * small
    enlargement = Enlargement(photo, small, stylized)
    parts = [enlargement.rows(rows) for rows in bands(*photo.shape[:2])]
    assert len(parts) == 2
    np.testing.assert_allclose(np.concatenate(parts), whole(photo, small, stylized), atol=1e-2)


@pytest.mark.parametrize("slope", [1.0, -0.8])
def test_details_of_the_photo_come_back_where_the_style_follows_it(photo, slope):
    """A style that changes the luminance evenly is known at full size, so the error can be measured."""
    small = shrunk(photo, 3.0)
    change = 20.0 if slope > 0 else 220.0
    enlarged, plain = (
        whole(photo, small, change + slope * small),
        resize_pixels(change + slope * small, *photo.shape[:2]),
    )
    luminance = [values.mean(axis=-1) for values in (change + slope * photo, enlarged, plain)]
    error, plain_error = (np.abs(values - luminance[0]).mean() for values in luminance[1:])
    assert error < 0.5 * plain_error


def test_a_style_that_ignores_the_photo_gets_none_of_its_details(photo):
    small = shrunk(photo, 3.0)
    noise = np.random.default_rng(0).normal(128, 20, small.shape[:2])
    stylized = np.repeat(noise[..., np.newaxis], 3, axis=-1).astype(np.float32)
    difference = whole(photo, small, stylized) - whole(np.full_like(photo, 128), small * 0 + 128, stylized)
    details = photo - resize_pixels(small, *photo.shape[:2])
    assert np.abs(difference).mean() < 0.25 * np.abs(details).mean()


def test_an_even_photo_is_enlarged_evenly():
    photo = np.full((70, 90, 3), 200, np.float32)
    small = shrunk(photo, 4.0)
    assert np.ptp(whole(photo, small, small * 0 + [10.0, 20.0, 30.0]), axis=(0, 1)).max() < 1e-3


def test_values_stay_in_range(photo):
    small = shrunk(photo, 2.0)
    stylized = 255 * (small > 128).astype(np.float32)
    enlarged = whole(photo, small, stylized)
    assert enlarged.min() == 0 and enlarged.max() == 255 and enlarged.dtype == np.float32


@pytest.mark.parametrize(
    ("size", "stylized"),
    [
        ((1, 1), (1, 1)),
        ((1500, 1125), (1500, 1125)),
        ((3000, 4000), (900, 1200)),
        ((8000, 6000), (1200, 900)),
        ((1000, 12000), (300, 3600)),  # a panorama
        ((400, 50000), (256, 32000)),
        ((100, 20000), (100, 20000)),
    ],
)
def test_large_photos_are_stylized_at_the_same_number_of_pixels(size, stylized):
    np.testing.assert_allclose(size_at_scale(*size, natural_scale(*size)), stylized, atol=1)


@pytest.mark.parametrize("size", [(1, 1), (3000, 4000), (100, 2_000_000), (2_000_000, 100)])
def test_bands_cover_every_row_once_and_have_a_bounded_size(size):
    found = list(bands(*size))
    assert [row for rows in found for row in range(rows.start, rows.stop)] == list(range(size[0]))
    assert all((rows.stop - rows.start) * size[1] <= max(enlarging.BAND_PIXELS, size[1]) for rows in found)


def test_the_estimate_covers_the_memory_that_is_used(monkeypatch):
    import tracemalloc

    monkeypatch.setattr(enlarging, "BAND_PIXELS", 2**16)
    size, small_size = (900, 800), (600, 533)
    photo, small = np.zeros((*size, 3), np.float32), np.zeros((*small_size, 3), np.float32)
    tracemalloc.start()
    enlargement = Enlargement(photo, small, small.copy())
    for rows in bands(*size):
        enlargement.rows(rows)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0.2 * enlarging_bytes(size, small_size, 1) < peak < enlarging_bytes(size, small_size, 1)


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (7, 3)])
def test_the_smallest_sizes_have_at_least_one_pixel(size):
    assert min(size_at_scale(*size, 1000.0)) == 1
    image = np.full((*size, 3), 90, np.float32)
    assert whole(image, shrunk(image, 1000.0), shrunk(image, 1000.0)).shape == image.shape


def test_scale_1_is_the_photo_itself(photo):
    assert size_at_scale(*photo.shape[:2], 1.0) == photo.shape[:2]

"""The noise that is added before the network: invisible, the same in tiles, and a cure for stripes."""

import numpy as np
import pytest

import infer
from data.images import load_image, save_image
from transformer.inference.grain import Grained, noise_at
from transformer.inference.loading import load_stylizer


def photo(height: int = 60, width: int = 70) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3)).astype(np.uint8)


def test_the_noise_has_no_mean_and_unit_variance_and_no_correlation():
    noise = noise_at(np.arange(600), np.arange(700))
    assert noise.dtype == np.float32
    assert abs(noise.mean()) < 0.01 and noise.std() == pytest.approx(1, abs=0.01)
    for shifted in (noise[1:] * noise[:-1], noise[:, 1:] * noise[:, :-1]):
        assert abs(shifted.mean()) < 0.01


def test_the_noise_does_not_repeat_with_either_table():
    rows, columns = np.arange(2000), np.arange(40)
    noise = noise_at(rows, columns)
    for period in (383, 509):
        assert abs(np.mean(noise[period:] * noise[:-period])) < 0.6


def test_a_part_of_a_picture_gets_the_noise_of_its_place():
    grained = Grained(photo(), 3.0)
    whole = grained[0:60, 0:70]
    np.testing.assert_array_equal(grained[13:41, 5:69], whole[13:41, 5:69])
    assert grained.shape == (60, 70, 3) and whole.dtype == np.float32


def test_the_noise_is_gray_and_stays_in_the_range_of_pixels():
    flat = np.full((50, 50, 3), 100, np.uint8)
    difference = Grained(flat, 2.0)[0:50, 0:50] - 100
    assert np.ptp(difference, axis=2).max() == 0 and difference.std() == pytest.approx(2, rel=0.1)
    for value in (0, 255):
        pixels = Grained(np.full((50, 50, 3), value, np.uint8), 2.0)[0:50, 0:50]
        assert pixels.min() >= 0 and pixels.max() <= 255 and pixels.std() > 0.5


def test_tiles_get_the_same_picture(style_dirs):
    image = photo(90, 100).astype(np.float32)
    whole, tiled = (load_stylizer(style_dirs["waves"], tile=tile, grain=5.0)(image) for tile in ("off", 32))
    np.testing.assert_allclose(tiled, whole, atol=0.5)
    assert np.abs(load_stylizer(style_dirs["waves"])(image) - whole).max() > 1


def test_no_grain_is_the_network_itself(style_dirs):
    image = photo().astype(np.float32)
    plain = load_stylizer(style_dirs["waves"])(image)
    np.testing.assert_array_equal(load_stylizer(style_dirs["waves"], grain=0)(image), plain)


def test_infer_adds_the_grain_that_is_asked_for(style_dirs, tmp_path):
    path, image = tmp_path / "photo.png", photo()
    save_image(path, image)
    for flags, grain in (((), 1.0), (("--grain", "0"), 0.0), (("--grain", "9"), 9.0)):
        target = tmp_path / f"{grain}.png"
        assert infer.main([str(path), "--style", str(style_dirs["waves"]), "-o", str(target), *flags]) == 0
        expected = load_stylizer(style_dirs["waves"], grain=grain)(image.astype(np.float32))
        np.testing.assert_allclose(load_image(target), expected, atol=0.51)


@pytest.mark.parametrize("grain", [-1, 50.1, 1e39, float("nan"), float("inf"), "much", None, True])
def test_an_impossible_grain_is_refused(style_dirs, grain):
    with pytest.raises(ValueError, match="grain must be 0 to 50 levels of 255, got"):
        load_stylizer(style_dirs["waves"], grain=grain)


def test_plain_gradients_get_strokes_and_no_stripes():
    """Stripes along a gradient are the same in each row; strokes are not. For a style that is shipped."""
    ramp = np.linspace(90, 200, 128, dtype=np.float32)
    image = np.broadcast_to(ramp[None, :, None], (128, 128, 3)).copy()
    spread = {}
    for grain in (0.0, 1.0):
        picture = load_stylizer("great_wave", grain=grain)(image)[16:-16, 16:-16]
        spread[grain] = picture.std(axis=0).mean()
    assert spread[0.0] < 1 and spread[1.0] > 10

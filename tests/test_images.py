"""data/images.py: loading and saving as float32 RGB, resizing, mixing."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from data import images
from data.images import (
    keep_colors,
    load_image,
    load_mask,
    load_pixels,
    quantized,
    resize_image,
    resize_pixels,
    save_image,
    shrunk_to_short_side,
)

HEIGHT, WIDTH = 20, 30  # of the fixture pixels_u8


def test_load_image_accepts_a_path_as_text(tmp_path, pixels_u8):
    path = tmp_path / "photo.png"
    Image.fromarray(pixels_u8).save(path)
    np.testing.assert_array_equal(load_image(str(path)), pixels_u8)


def test_load_image_lays_alpha_over_the_background(tmp_path):
    path = tmp_path / "alpha.png"
    pixels = np.full((4, 4, 4), (200, 100, 0, 255), np.uint8)
    pixels[0, :, 3] = (0, 51, 102, 255)
    Image.fromarray(pixels).save(path)
    image = load_image(path, background=(10, 20, 30))
    opacity = np.array([0, 0.2, 0.4, 1])[:, None]
    expected = np.array([200, 100, 0]) * opacity + np.array([10, 20, 30]) * (1 - opacity)
    np.testing.assert_allclose(image[0], expected, atol=1e-3)
    np.testing.assert_array_equal(image[1], np.full((4, 3), (200, 100, 0)))


def test_load_image_lays_transparent_pixels_over_white_unless_told_otherwise(tmp_path):
    path = tmp_path / "alpha.webp"
    Image.new("RGBA", (WIDTH, HEIGHT), (0, 0, 0, 0)).save(path, lossless=True)
    np.testing.assert_array_equal(load_image(path), np.full((HEIGHT, WIDTH, 3), 255))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_load_image_lays_gray_alpha_over_the_background(tmp_path, suffix):
    path = tmp_path / f"alpha{suffix}"
    Image.new("LA", (WIDTH, HEIGHT), (100, 51)).save(path)
    expected = np.full((HEIGHT, WIDTH, 3), np.array([100, 100, 100]) * 0.2 + np.array([255, 0, 0]) * 0.8)
    np.testing.assert_allclose(load_image(path, background=(255, 0, 0)), expected, atol=1e-3)


def test_load_image_shrinks_without_a_fringe_around_transparency(tmp_path):
    path = tmp_path / "cutout.png"
    pixels = np.zeros((64, 64, 4), np.uint8)  # transparent black around an opaque red square
    pixels[20:45, 20:45] = (255, 0, 0, 255)
    Image.fromarray(pixels).save(path)
    image = load_image(path, max_side=16, background=(255, 0, 0))
    np.testing.assert_allclose(image, np.full((16, 16, 3), (255, 0, 0)), atol=1)


@pytest.mark.parametrize(
    ("size", "max_side", "expected"),
    [((40, 60), 30, (20, 30)), ((60, 40), 30, (30, 20)), ((33, 100), 50, (16, 50)), ((3, 400), 40, (1, 40))],
)
def test_load_image_shrinks_the_longest_side_and_keeps_proportions(tmp_path, size, max_side, expected):
    path = tmp_path / "large.png"
    Image.new("RGB", (size[1], size[0]), (10, 20, 30)).save(path)
    image = load_image(path, max_side=max_side)
    np.testing.assert_array_equal(image, np.full((*expected, 3), (10, 20, 30)))
    assert image.dtype == np.float32


@pytest.mark.parametrize("max_side", [WIDTH, WIDTH + 1, 4000])
def test_load_image_never_enlarges(tmp_path, pixels_u8, max_side):
    path = tmp_path / "small.png"
    Image.fromarray(pixels_u8).save(path)
    np.testing.assert_array_equal(load_image(path, max_side=max_side), pixels_u8)


def test_load_image_measures_max_side_on_a_turned_picture(tmp_path, pixels_u8):
    path = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels_u8).save(path, exif=exif)
    assert load_image(path, max_side=15).shape == (15, 10, 3)


def test_load_image_antialiases_while_shrinking(tmp_path):
    path = tmp_path / "checkerboard.png"
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    Image.fromarray(board).save(path)
    inner = load_image(path, max_side=16)[2:-2, 2:-2]
    np.testing.assert_allclose(inner, np.full_like(inner, 127.5), atol=2)  # nearest would give 0 or 255


def test_load_image_keeps_shrunk_deep_gray_within_range(tmp_path):
    path = tmp_path / "edge.png"
    pixels = np.zeros((64, 64), np.uint16)
    pixels[:, 30:] = 65535
    Image.fromarray(pixels).save(path)
    image = load_image(path, max_side=20)
    assert image.shape == (20, 20, 3)
    assert image.min() >= 0 and image.max() <= 255


def test_load_image_refuses_a_max_side_of_nothing(tmp_path, pixels_u8):
    save_image(tmp_path / "any.png", pixels_u8)
    with pytest.raises(ValueError, match="max_side is 0 pixels; it must be at least 1"):
        load_image(tmp_path / "any.png", max_side=0)


@pytest.mark.parametrize(("height", "width"), [(10, 15), (40, 45), (7, 90), (HEIGHT, WIDTH)])
def test_resize_image_gives_the_size_asked_for(pixels_u8, height, width):
    resized = resize_image(pixels_u8.astype(np.float32), height=height, width=width)
    assert resized.shape == (height, width, 3)
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized.mean(axis=(0, 1)), pixels_u8.mean(axis=(0, 1)), atol=2)


def test_resize_image_keeps_fractions_and_channels_apart():
    image = np.full((8, 8, 3), (0.25, 100.5, 254.75), np.float32)
    resized = resize_image(image, height=5, width=3)
    np.testing.assert_allclose(resized, np.full((5, 3, 3), (0.25, 100.5, 254.75)), atol=1e-3)


def test_resize_image_antialiases():
    board = np.repeat((np.indices((64, 64)).sum(axis=0) % 2 * 255.0)[..., None], 3, axis=-1)
    inner = resize_image(board.astype(np.float32), height=16, width=16)[2:-2, 2:-2]
    np.testing.assert_allclose(inner, np.full_like(inner, 127.5), atol=2)


def test_resize_image_stays_within_range_at_hard_edges():
    image = np.zeros((16, 16, 3), np.float32)
    image[:, 8:] = 255
    resized = resize_image(image, height=37, width=37)
    assert resized.min() == 0 and resized.max() == 255


def test_resize_image_leaves_its_input_alone():
    image = np.random.default_rng(0).uniform(0, 255, (9, 9, 3)).astype(np.float32)
    former = image.copy()
    resize_image(image, height=4, width=4)
    np.testing.assert_array_equal(image, former)


def test_save_image_rounds_to_nearest_and_clips(tmp_path):
    path = tmp_path / "stylized.png"
    image = np.zeros((2, 4, 3), np.float32)
    image[0, :, 0] = (-40.0, 99.4, 99.6, 300.0)
    image[1, :, 1] = (254.9, 0.6, 0.4, 255.4)
    save_image(path, image)
    saved = load_image(path)
    np.testing.assert_array_equal(saved[0, :, 0], (0, 99, 100, 255))
    np.testing.assert_array_equal(saved[1, :, 1], (255, 1, 0, 255))


def test_save_image_leaves_its_input_alone(tmp_path):
    image = np.full((4, 4, 3), 300.25, np.float32)
    save_image(tmp_path / "stylized.png", image)
    assert (image == 300.25).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_save_image_refuses_values_that_are_not_finite(tmp_path, value, error_of):
    image = np.zeros((4, 4, 3), np.float32)
    image[1, 2, 0] = value
    assert "NaN or infinite" in error_of(save_image, tmp_path / "stylized.png", image)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [(4, 4), (1, 4, 4, 3), (4, 4, 1), (4, 4, 4), (0, 4, 3)])
def test_save_image_refuses_an_array_that_is_no_image(tmp_path, shape, error_of):
    message = error_of(save_image, tmp_path / "stylized.png", np.zeros(shape, np.float32))
    assert str(shape) in message
    assert "[H, W, 3]" in message


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_quantized_maps_0_to_255_to_the_full_range(dtype):
    full = np.iinfo(dtype).max
    values = np.arange(256, dtype=np.float32)
    np.testing.assert_array_equal(quantized(values, dtype), np.arange(256) * (full // 255))
    assert quantized(values, dtype).dtype == dtype


@pytest.mark.parametrize(("dtype", "step"), [(np.uint8, 1.0), (np.uint16, 1 / 257)])
def test_quantized_rounds_to_nearest_and_clips(dtype, step):
    values = np.array([-40, 99 - 0.4 * step, 99, 99 + 0.6 * step, 300], np.float32)
    scale = np.iinfo(dtype).max // 255
    np.testing.assert_array_equal(
        quantized(values, dtype), [0, 99 * scale, 99 * scale, 99 * scale + 1, 255 * scale]
    )


def test_quantized_leaves_its_input_alone():
    image = np.full((2, 2, 3), 300.25, np.float32)
    quantized(image, np.uint8), quantized(image, np.uint16)
    assert (image == 300.25).all()


@pytest.mark.parametrize(
    ("size", "short_side", "expected"),
    [((40, 60), 20, (20, 30)), ((60, 40), 20, (30, 20)), ((40, 60), 41, (40, 60)), ((900, 1), 1, (900, 1))],
)
def test_shrunk_to_short_side_keeps_proportions_and_never_enlarges(size, short_side, expected):
    assert shrunk_to_short_side(size, short_side) == expected


def test_load_pixels_rounds_deep_pixels_to_nearest(tmp_path):
    gray_u16 = np.array(
        [[0, 128, 129, 40_000, 65_406, 65_407, 65_535]], np.uint16
    )  # 257 is one level of uint8
    Image.fromarray(gray_u16).save(tmp_path / "deep.png")
    pixels = load_pixels(tmp_path / "deep.png")
    assert pixels.dtype == np.uint8
    np.testing.assert_array_equal(
        pixels, np.repeat([[[0], [0], [1], [156], [254], [255], [255]]], 3, axis=-1)
    )


def test_load_pixels_refuses_an_image_below_the_minimum(tmp_path, error_of):
    Image.new("RGB", (9, 4)).save(tmp_path / "small.png")
    assert load_pixels(tmp_path / "small.png", min_side=4).shape == (4, 9, 3)
    message = error_of(load_pixels, tmp_path / "small.png", min_side=5)
    assert (
        "4x9 pixels (height x width) are too small, at least 5x5 are needed; give a larger image" in message
    )


def test_load_mask_is_the_rounded_luminance_and_black_where_transparent(tmp_path):
    pixels = [[(255, 255, 255, 255), (0, 0, 0, 255), (255, 0, 0, 255), (0, 2, 0, 255), (255, 255, 255, 0)]]
    Image.fromarray(np.array(pixels, np.uint8)).save(tmp_path / "mask.png")
    mask = load_mask(tmp_path / "mask.png")
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, [[255, 0, 76, 1, 0]])


@pytest.mark.parametrize("shape", [(16, 16), (16, 16, 3), (16, 16, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_resize_pixels_keeps_type_and_range_in_every_depth(shape, dtype):
    pixels = np.zeros(shape, dtype)
    full = 65535 if dtype == np.uint16 else 255
    pixels[:, 8:] = full
    if shape[-1] == 4:
        pixels[..., 3] = full  # opaque
    resized = resize_pixels(pixels, 20, 37)
    assert resized.dtype == dtype and resized.shape == (20, 37, *shape[2:])
    assert resized.min() == 0 and resized.max() == full
    color = resized.reshape(20, 37, -1)[..., :3]
    np.testing.assert_allclose(color.astype(float).mean() / full, 0.5, atol=0.01)


def test_importing_modules_loads_no_heavy_package():
    modules = sorted(
        path.stem for path in Path(images.__file__).parent.glob("*.py") if path.stem != "pipeline"
    )
    assert {"images", "photo", "encoding", "video", "listing"} < set(modules)
    heavy = {"tensorflow", "keras", "imageio", "PIL", "pyvips", "av"}
    probe = "import sys, importlib\n" + "\n".join(
        f"importlib.import_module('data.{module}'); print('{module}', sorted({heavy} & set(sys.modules)))"
        for module in modules
    )
    root = Path(images.__file__).parent.parent
    finished = subprocess.run(
        [sys.executable, "-c", probe], cwd=root, capture_output=True, text=True, check=True
    )
    assert finished.stdout.splitlines() == [f"{module} []" for module in modules]


def luminance(image: np.ndarray) -> np.ndarray:
    return image @ np.array([0.299, 0.587, 0.114])


def test_keep_colors_takes_luminance_from_one_and_chroma_from_the_other():
    generator = np.random.default_rng(0)
    content, stylized = (generator.uniform(100, 150, (5, 6, 3)).astype(np.float32) for _ in range(2))
    kept = keep_colors(stylized, content)
    assert kept.dtype == np.float32
    np.testing.assert_allclose(luminance(kept), luminance(stylized), atol=1e-3)
    for first, second in ((0, 1), (1, 2)):
        np.testing.assert_allclose(
            kept[..., first] - kept[..., second], content[..., first] - content[..., second], atol=1e-3
        )


def test_keep_colors_stays_in_range():
    content, stylized = np.full((2, 2, 3), [250.0, 10.0, 0.0]), np.full((2, 2, 3), 255.0)
    kept = keep_colors(stylized.astype(np.float32), content.astype(np.float32))
    assert kept.max() <= 255 and kept.min() >= 0

"""system/arguments.py and its use in data/ and loss_net/: a wrong argument is one ValueError that names it."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from cli.flags import Knob, UsageError, _check_number
from data.photo_cache import PhotoCache
from data.pipeline import CropStream, DataShard, random_crop, readable_images
from loss_net.optimize import optimize_image
from loss_net.perceptual import build_perceptual_loss
from loss_net.presets import LOSS_PRESETS, PRESETS
from loss_net.start import content_size, initial_image, style_size
from system.arguments import check_count, check_images, check_size, shown

IMAGE = np.full((32, 32, 3), 100, np.float32)
PRESET = PRESETS["athalye"]


def with_nan() -> np.ndarray:
    image = IMAGE.copy()
    image[1, 2, 0] = np.nan
    return image


BAD_IMAGES = [
    np.zeros((0, 5, 3)),
    np.zeros((5, 0, 3)),
    np.zeros((5, 5)),
    np.zeros((5, 5, 4)),
    np.zeros(()),
    with_nan(),
    np.full((5, 5, 3), 1e300),  # infinite in float32
    np.full((5, 5, 3), "1"),
    [[1, 2], [3]],
]
BAD_COUNTS = [0, -1, -(10**30), 10**19, 10**5000, -(10**5000), 1.5, True, None, "5", float("nan")]


@pytest.mark.parametrize("count", BAD_COUNTS, ids=range(len(BAD_COUNTS)))
def test_a_count_that_is_none_is_refused(count):
    with pytest.raises(ValueError, match="^steps must be a whole number of at least 1, got "):
        check_count("steps", count)


def test_counts_and_images_that_are_right_pass():
    for count in (1, np.int64(5), 10**18):
        check_count("steps", count)
    check_images("image", IMAGE)
    check_images("images", IMAGE[None], ranks=(4,))
    check_size("size", (1, 5))


@pytest.mark.parametrize("image", BAD_IMAGES, ids=range(len(BAD_IMAGES)))
def test_an_array_that_is_no_image_is_refused(image):
    with pytest.raises(ValueError, match="^image must "):
        check_images("image", image)


@pytest.mark.parametrize("count", [10**30, -(10**30), 10**5000], ids=range(3))
def test_a_flag_and_an_argument_show_a_huge_number_alike(count):
    with pytest.raises(UsageError, match="got a number of more than 30 digits$"):
        _check_number("--steps", count, Knob("", at_least=1))
    with pytest.raises(ValueError, match="got a number of more than 30 digits$"):
        check_count("steps", count)


def test_a_wrong_value_is_shown_as_one_short_line():
    class Odd:
        def __repr__(self):
            raise RuntimeError

    assert shown("a  b\n") == r"'a  b\n'" and shown(Odd()) == "Odd" and shown(True) == "True"
    assert shown("x" * 99) == "'" + "x" * 59 + "..."
    assert "\n" not in shown(np.zeros((3, 3)))


def stream(**options) -> CropStream:
    photos = SimpleNamespace(paths=[Path("a")], unreadable={}, load=lambda index: IMAGE.astype(np.uint8))
    return CropStream(photos, **{"image_size": 8, "seed": 0, **options})


def loss_of(weights, *styles):
    return build_perceptual_loss(weights, list(styles), LOSS_PRESETS["lengstrom"])


CALLS = {
    "crop size": lambda weights: stream(image_size=-5),
    "seed": lambda weights: stream(seed=-1),
    "no photos": lambda weights: CropStream(SimpleNamespace(paths=[], unreadable={}), image_size=8, seed=0),
    "crop number": lambda weights: stream().crop(-1),
    "batch size": lambda weights: stream().batches(0),
    "batch of workers": lambda weights: stream().batches(3, shard=DataShard(0, 2)),
    "first image": lambda weights: stream().batches(2, first_image=-1),
    "photo without a side": lambda weights: random_crop(
        np.zeros((0, 5, 3), np.uint8), 4, np.random.default_rng(0)
    ),
    "number of validation photos": lambda weights: readable_images([], max_images=-1, max_side=5),
    "side of validation photos": lambda weights: readable_images([], max_images=1, max_side=0),
    "side of the cache": lambda weights: PhotoCache(Path("nowhere"), [], -1),
    "no style": lambda weights: loss_of(weights),
    "style with NaN": lambda weights: loss_of(weights, with_nan()),
    "style without a side": lambda weights: loss_of(weights, np.zeros((0, 30, 3))),
    "style too small": lambda weights: loss_of(weights, np.ones((1, 1, 3))),
    "content with NaN": lambda weights: loss_of(weights, IMAGE).for_content(with_nan()[None]),
    "content without a batch": lambda weights: loss_of(weights, IMAGE).for_content(np.zeros((0, 9, 9, 3))),
    "initial with NaN": lambda weights: next(optimize_image(None, with_nan(), PRESET)),
    "initial without a side": lambda weights: next(optimize_image(None, np.zeros((0, 4, 3)), PRESET)),
    "no iterations": lambda weights: next(optimize_image(None, IMAGE, replace(PRESET, iterations=0))),
    "negative size": lambda weights: content_size(replace(PRESET, size=(-3, 5)), (9, 9)),
    "negative width": lambda weights: content_size(replace(PRESET, width=-3), (9, 9)),
    "photo of no size": lambda weights: content_size(PRESET, (0, 9)),
    "style of no size": lambda weights: style_size(PRESET, (9, 0), (9, 9)),
    "style scale": lambda weights: style_size(PRESET, (9, 9), (9, 9), float("nan")),
    "start with NaN": lambda weights: initial_image(PRESET, with_nan(), np.zeros(3), 0),
    "start seed": lambda weights: initial_image(PRESET, IMAGE, np.zeros(3), -1),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_wrong_argument_is_one_value_error(tiny_vgg_weights, call):
    with pytest.raises(ValueError) as caught:
        CALLS[call](tiny_vgg_weights("vgg19"))
    assert "must" in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 200

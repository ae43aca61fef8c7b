"""The stages of a training: small crops first, and what a resumed training continues with."""

import itertools

import pytest

from transformer.training.stages import LEAST_SIDE, Stage, pixels_between, staged_batches, stages_of

STAGES = (Stage(3, 64), Stage(5, 128))
BATCH_SIZE = 2


def batches_from(images: int, image_size: int):
    return ((number, image_size) for number in itertools.count(images, BATCH_SIZE))


@pytest.mark.parametrize(
    ("share", "stages"),
    [
        (0.75, (Stage(75, 128), Stage(100, 256))),
        (0, (Stage(100, 256),)),
        (1, (Stage(100, 128),)),
    ],
)
def test_the_first_share_of_the_steps_has_crops_of_half_the_side(share, stages):
    assert stages_of(100, 256, share) == stages


@pytest.mark.parametrize(
    ("half", "large", "stages"),
    [
        (0.75, 0.2, (Stage(75, 128), Stage(95, 256), Stage(100, 384))),
        (0.9, 1, (Stage(90, 128), Stage(100, 384))),
        (0, 1, (Stage(100, 384),)),
        (1, 1, (Stage(100, 128),)),
        (0.5, 0.001, (Stage(50, 128), Stage(100, 256))),
    ],
)
def test_the_last_share_of_the_steps_has_larger_crops(half, large, stages):
    assert stages_of(100, 256, half, large) == stages


@pytest.mark.parametrize(("image_size", "small"), [(32, 32), (48, LEAST_SIDE), (100, 50)])
def test_crops_are_never_too_small_for_the_networks(image_size, small):
    assert stages_of(10, image_size, 0.5) == (Stage(5, small), Stage(10, image_size))


def test_every_image_is_used_once_whatever_its_size():
    batches = staged_batches(STAGES, batches_from, BATCH_SIZE, step=0, images=0)
    assert list(batches) == [(0, 64), (2, 64), (4, 64), (6, 128), (8, 128)]


@pytest.mark.parametrize("step", range(6))
def test_a_resumed_training_gets_the_same_batches_as_an_uninterrupted_one(step):
    whole = list(staged_batches(STAGES, batches_from, BATCH_SIZE, step=0, images=0))
    rest = staged_batches(STAGES, batches_from, BATCH_SIZE, step=step, images=step * BATCH_SIZE)
    assert list(rest) == whole[step:]


def test_the_work_of_steps_is_their_pixels():
    assert pixels_between(STAGES, 0, 5) == 3 * 64**2 + 2 * 128**2
    assert pixels_between(STAGES, 2, 4) == 64**2 + 128**2
    assert pixels_between(STAGES, 4, 5) == 128**2
    assert pixels_between(STAGES, 5, 5) == 0

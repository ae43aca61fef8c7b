"""The stages of a training: its first steps use smaller crops than its last ones.

A step on crops of half the side takes about a third of the time, and most of what a network learns first, colors
and strokes, shows in small crops too. The idea is that of progressive resizing (Karras et al. 2017,
https://arxiv.org/abs/1710.10196, grow the network as well).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

LEAST_SIDE = 32  # pixels; of the crops of a stage


@dataclass(frozen=True)
class Stage:
    """The steps up to `last_step`, on crops of `image_size` x `image_size` pixels."""

    last_step: int
    image_size: int


def stages_of(steps: int, image_size: int, half_size_share: float) -> tuple[Stage, ...]:
    """Returns the stages of a training: the first `half_size_share` of its steps on crops of half the side.

    half_size_share: 0 to 1. Crops are never smaller than LEAST_SIDE.
    """
    small_size = min(image_size, max(LEAST_SIDE, image_size // 2))
    small_steps = int(steps * half_size_share)  # rounded down, so that a single step has full size
    stages = (Stage(small_steps, small_size), Stage(steps, image_size))
    return tuple(
        stage for stage, first in zip(stages, (0, small_steps), strict=True) if stage.last_step > first
    )


def staged_batches(
    stages: Sequence[Stage],
    batches_from: Callable[[int, int], Iterable[Any]],
    batch_size: int,
    *,
    step: int,
    images: int,
) -> Iterator[Any]:
    """Yields the batches of all stages after `step`, when `images` images have been used.

    batches_from: (number of images used, image size) -> endless batches.
    """
    for stage in stages:
        steps = stage.last_step - step
        if steps > 0:
            yield from islice(batches_from(images, stage.image_size), steps)
            step, images = stage.last_step, images + steps * batch_size


def pixels_between(stages: Sequence[Stage], first_step: int, last_step: int) -> int:
    """Returns the pixels of one crop of each step after `first_step` up to `last_step`: a measure of their time."""
    pixels, step = 0, first_step
    for stage in stages:
        end = min(stage.last_step, last_step)
        if end > step:
            pixels, step = pixels + (end - step) * stage.image_size**2, end
    return pixels

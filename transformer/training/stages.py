"""The stages of a training: small crops first, large ones last.

A step on crops of half the side takes about a third of the time, and most of what a network learns first, colors
and strokes, shows in small crops too. The idea is that of progressive resizing (Karras et al. 2017,
https://arxiv.org/abs/1710.10196, grow the network as well). The last steps use crops about as large as photos: instance
norm and Gram matrices average over the whole image, so a network learns for the sizes that it sees.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

LEAST_SIDE = 32  # pixels; of the crops of a stage
LARGE_FACTOR = 1.5  # side of the large crops


@dataclass(frozen=True)
class Stage:
    """The steps up to `last_step`, on crops of `image_size` x `image_size` pixels."""

    last_step: int
    image_size: int


def stages_of(
    steps: int, image_size: int, half_size_share: float, large_size_share: float = 0.0
) -> tuple[Stage, ...]:
    """Returns the stages of a training on crops of `image_size`.

    half_size_share: the first part of the steps, 0 to 1, on crops of half the side, but at least LEAST_SIDE.
    large_size_share: the last part of the other steps, 0 to 1, on crops of LARGE_FACTOR times the side.
    """
    small_size = min(image_size, max(LEAST_SIDE, image_size // 2))
    small_steps = int(steps * half_size_share)  # rounded down, so that a single step has full size
    large_steps = int((steps - small_steps) * large_size_share)
    stages = (
        Stage(small_steps, small_size),
        Stage(steps - large_steps, image_size),
        Stage(steps, int(LARGE_FACTOR * image_size)),
    )
    firsts = (0, *(stage.last_step for stage in stages[:-1]))
    return tuple(stage for stage, first in zip(stages, firsts, strict=True) if stage.last_step > first)


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

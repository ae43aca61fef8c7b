"""Content images for training: a folder of photographs -> an endless tf.data stream of batches.

Every crop is a function of (seed, epoch, position), so two runs with one seed see the same images in the same
order, however many threads decode.
"""

import functools
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from data.images import ImageError, list_images, load_image, resize_image

PREFETCH_BATCHES = 4
PARALLEL_DECODES = 2  # a step takes far longer than decoding its batch; more threads only get in its way

MIN_SIDE = 2  # pixels of a content photo; one row or column teaches nothing

logger = logging.getLogger(__name__)


class SkippedFiles:
    """Files that could not be read, each counted and named once however often the epochs come back to it."""

    def __init__(self):
        self._reasons: dict[Path, str] = {}
        self._lock = threading.Lock()  # decoding runs on several threads

    def __len__(self) -> int:
        return len(self._reasons)

    @property
    def paths(self) -> list[Path]:
        return sorted(self._reasons)

    def add(self, path: Path, error: Exception) -> None:
        with self._lock:
            if path in self._reasons:
                return
            self._reasons[path] = str(error)
            logger.warning("skipped: %s", error)


def content_batches(
    content_dir: Path, *, image_size: int, batch_size: int, seed: int, first_step: int = 0
) -> tuple[tf.data.Dataset, SkippedFiles]:
    """Endless batches [batch_size, image_size, image_size, 3], RGB float32 0..255, and the files skipped so far.

    Photos are found recursively, reshuffled every epoch, cropped at random, scaled and mirrored; an unreadable
    one is skipped. The stream starts where step `first_step` of an unbroken run would. Raises ImageError for a
    folder that is missing, empty or without a readable photo.
    """
    paths = list_images([Path(content_dir)])
    skipped = SkippedFiles()

    def load(counter: np.ndarray) -> np.ndarray:
        """[image_size, image_size, 3]; the crop number `counter` of the endless stream."""
        generator = np.random.default_rng((seed, int(counter)))
        for path in _candidates(paths, seed, int(counter)):
            try:
                return random_crop(_load_content(path), image_size, generator)
            except ImageError as error:
                skipped.add(path, error)
        raise ImageError(f"{content_dir}: none of its {len(paths)} files can be read as an image")

    load(
        np.int64(first_step * batch_size)
    )  # a folder of which nothing can be read fails here, not in tf.data

    def load_tensor(counter: tf.Tensor) -> tf.Tensor:
        image = tf.numpy_function(load, [counter], tf.float32, stateful=False)
        return tf.ensure_shape(image, (image_size, image_size, 3))

    dataset = (
        tf.data.Dataset.counter(start=first_step * batch_size)
        .map(load_tensor, num_parallel_calls=PARALLEL_DECODES, deterministic=True)
        .batch(batch_size, drop_remainder=True)
        .prefetch(PREFETCH_BATCHES)
    )
    return dataset, skipped


def validation_images(val_dir: Path, *, max_images: int, max_side: int) -> list[np.ndarray]:
    """The first readable photos of a folder by name, each [H, W, 3] RGB float32, at most `max_side` long."""
    images = []
    for path in list_images([Path(val_dir)]):
        if len(images) == max_images:
            break
        try:
            images.append(load_image(path, max_side=max_side))
        except ImageError as error:
            logger.warning("skipped: %s", error)
    if not images:
        raise ImageError(f"{val_dir}: none of its images can be read; --val-dir needs at least one")
    return images


def random_crop(image: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
    """A random square of an image [H, W, 3], mirrored half the time: [size, size, 3] float32 0..255.

    The square's side lies between `size` and the short side of the photo, so that training sees whole scenes
    and native detail alike; only a photo smaller than `size` is enlarged.
    """
    height, width = image.shape[:2]
    short_side = min(height, width)
    side = int(generator.integers(min(size, short_side), short_side + 1))
    top = int(generator.integers(height - side + 1))
    left = int(generator.integers(width - side + 1))
    crop = image[top : top + side, left : left + side]
    if side != size:
        crop = resize_image(crop, height=size, width=size)
    return np.ascontiguousarray(crop[:, ::-1] if generator.integers(2) else crop)


def _load_content(path: Path) -> np.ndarray:
    image = load_image(path)
    height, width = image.shape[:2]
    if min(height, width) < MIN_SIDE:
        size = f"{height}x{width} pixels (height x width)"
        raise ImageError(
            f"{path}: is {size}, too small, needs at least {MIN_SIDE}x{MIN_SIDE}; give a larger image"
        )
    return image


@functools.lru_cache(maxsize=2)  # decoding threads work at most one epoch's end and the next one's start
def _epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, 1, epoch)).permutation(count)


def _candidates(paths: list[Path], seed: int, counter: int) -> Iterator[Path]:
    """The photo that is due at `counter`, then, should it be unreadable, others of the same epoch."""
    epoch, position = divmod(counter, len(paths))
    order = _epoch_order(len(paths), seed, epoch)
    for offset in range(len(paths)):
        yield paths[order[(position + offset) % len(paths)]]

"""Content images for training: a folder of photographs -> an endless tf.data stream of batches.

Every crop is a function of the seed and its number, so two runs with one seed see the same images in the same
order, however many threads decode, wherever they were interrupted and on however many workers they run.
"""

import functools
import hashlib
import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from data.images import MIN_CONTENT_SIDE, ImageError, list_images, load_image, load_pixels, resize_pixels

PREFETCH_BATCHES = 4
# more threads than that only get in the way of the step
PARALLEL_DECODES = max(2, (os.cpu_count() or 1) // 2)

logger = logging.getLogger(__name__)


class SkippedFiles:
    """Files that could not be read, each counted and named once however often the epochs come back to it."""

    def __init__(self, *, are_known: bool = False):
        """`are_known`: they have been named already, and are only counted."""
        self._level = logging.DEBUG if are_known else logging.WARNING
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
            logger.log(self._level, "skipped: %s", error)


class PhotoFolder:
    """The photographs of a folder, found recursively, decoded whenever they are asked for.

    Like data.photo_cache.PhotoCache it has `paths`, `unreadable` and `load(index)` -> [H, W, 3] uint8. Raises
    ImageError for a folder that is missing or empty.
    """

    unreadable: Mapping = {}  # not known beforehand

    def __init__(self, content_dir: Path):
        self.paths = list_images([Path(content_dir)])

    def load(self, index: int) -> np.ndarray:
        return load_pixels(self.paths[index], min_side=MIN_CONTENT_SIDE)


@dataclass(frozen=True)
class Share:
    """Which part of every global batch one process prepares: the `worker`-th of `workers` equal ones."""

    worker: int = 0
    workers: int = 1
    replicas: int = 1  # that the process feeds; each gets its own batch


WHOLE = Share()


class CropStream:
    """The endless crops of a training: crop number n is a function of (photos, seed, n) and of nothing else."""

    def __init__(self, photos, *, image_size: int, seed: int):
        self.photos = photos
        self.image_size = image_size
        self.seed = seed
        self.skipped = SkippedFiles(are_known=bool(photos.unreadable))  # a cache lists them

    @property
    def unreadable(self) -> int:
        """How many of the photos cannot be read, as far as that is known."""
        return len(self.photos.unreadable or self.skipped)

    def crop(self, number: int) -> np.ndarray:
        """[image_size, image_size, 3] uint8. Raises ImageError if no photo at all can be read."""
        generator = np.random.default_rng((self.seed, int(number)))
        paths = self.photos.paths
        for index in _candidates(len(paths), self.seed, int(number)):
            try:
                return random_crop(self.photos.load(index), self.image_size, generator)
            except ImageError as error:
                self.skipped.add(paths[index], error)
        folder = os.path.commonpath([path.parent for path in paths])
        raise ImageError(f"{folder}: none of its {len(paths)} files can be read as an image")

    def batches(self, batch_size: int, *, first_image: int = 0, share: Share = WHOLE) -> tf.data.Dataset:
        """Endless batches [B, image_size, image_size, 3], RGB float32 0..255, from crop `first_image` on.

        `batch_size` is that of all workers together; B is what is left for one replica.
        """
        self.crop(first_image)  # a folder of which nothing can be read fails here, not in tf.data
        own = batch_size // share.workers  # of every global batch
        offset = first_image + share.worker * own

        def load_tensor(counter: tf.Tensor) -> tf.Tensor:
            number = offset + counter // own * batch_size + counter % own
            pixels = tf.numpy_function(self.crop, [number], tf.uint8, stateful=False)
            return tf.ensure_shape(pixels, (self.image_size, self.image_size, 3))

        return (
            tf.data.Dataset.counter()
            .map(load_tensor, num_parallel_calls=PARALLEL_DECODES, deterministic=True)
            .batch(own // share.replicas, drop_remainder=True)
            .map(lambda pixels: tf.cast(pixels, tf.float32))
            .prefetch(PREFETCH_BATCHES)
        )


def photos_digest(paths: Sequence[Path]) -> str:
    """Of the files' names and sizes: two trainings with one digest see the same photos in the same order."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.name}|{path.stat().st_size}\n".encode())
    return digest.hexdigest()


def validation_images(val_dir: Path, *, max_images: int, max_side: int) -> list[np.ndarray]:
    """The first readable photos of a folder by name, each [H, W, 3] RGB float32, at most `max_side` long."""
    images = readable_images(list_images([Path(val_dir)]), max_images=max_images, max_side=max_side)
    if not images:
        raise ImageError(f"{val_dir}: none of its images can be read; --val-dir needs at least one")
    return list(images.values())


def readable_images(paths: Sequence[Path], *, max_images: int, max_side: int) -> dict[Path, np.ndarray]:
    """The first of `paths` that can be read, each [H, W, 3] RGB float32; the others are named."""
    images = {}
    for path in paths:
        if len(images) == max_images:
            break
        try:
            images[path] = load_image(path, max_side=max_side)
        except ImageError as error:
            logger.warning("skipped: %s", error)
    return images


def random_crop(pixels: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
    """A random square of a photo [H, W, 3], mirrored half the time: [size, size, 3], of the same type.

    The square's side lies between `size` and the short side of the photo, so that training sees whole scenes
    and native detail alike; only a photo smaller than `size` is enlarged.
    """
    height, width = pixels.shape[:2]
    short_side = min(height, width)
    side = int(generator.integers(min(size, short_side), short_side + 1))
    top = int(generator.integers(height - side + 1))
    left = int(generator.integers(width - side + 1))
    crop = resize_pixels(pixels[top : top + side, left : left + side], size, size)
    return np.ascontiguousarray(crop[:, ::-1] if generator.integers(2) else crop)


@functools.lru_cache(maxsize=2)  # decoding threads work at most one epoch's end and the next one's start
def _epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, 1, epoch)).permutation(count)


def _candidates(count: int, seed: int, number: int) -> Iterator[int]:
    """The photo that is due for crop `number`, then, should it be unreadable, others of the same epoch."""
    epoch, position = divmod(number, count)
    order = _epoch_order(count, seed, epoch)
    for offset in range(count):
        yield int(order[(position + offset) % count])

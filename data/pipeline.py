"""Training batches: a folder of photos -> an endless tf.data stream of crops.

Each crop is a function of the seed and its number. Two trainings with the same seed therefore see the same crops in
the same order, whatever the number of threads and workers, and wherever they were interrupted.
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

from data.images import MIN_CONTENT_SIDE, ImageError, load_image, load_pixels, resize_pixels
from data.listing import find_images
from system.arguments import check_count
from system.machine import available_cores

PREFETCH_BATCHES = 4
PARALLEL_DECODES = max(2, available_cores() // 2)  # more threads slow the training step down

logger = logging.getLogger(__name__)


class SkippedFiles:
    """Files that could not be read. Each is counted and logged once, although every epoch tries it again."""

    def __init__(self, *, are_known: bool = False):
        """are_known: the files have been listed elsewhere; they are counted but not logged as warnings."""
        self._level = logging.DEBUG if are_known else logging.WARNING
        self._reasons: dict[Path, str] = {}
        self._lock = threading.Lock()  # several threads decode

    def __len__(self) -> int:
        return len(self._reasons)

    @property
    def paths(self) -> list[Path]:
        """The files, sorted."""
        return sorted(self._reasons)

    def add(self, path: Path, error: Exception) -> None:
        """Counts a file and logs why it cannot be read, unless it has been added before."""
        with self._lock:
            if path in self._reasons:
                return
            self._reasons[path] = str(error)
            logger.log(self._level, "skipped: %s", error)


class PhotoFolder:
    """The photos of a folder and its subfolders, decoded each time they are loaded.

    It has the interface of data.photo_cache.PhotoCache: `paths`, `unreadable` and `load(index)`.
    Raises ImageError if the folder is missing or contains no images.
    """

    unreadable: Mapping = {}  # not known in advance

    def __init__(self, content_dir: Path):
        self.paths = _images_in(content_dir)

    def load(self, index: int) -> np.ndarray:
        """Returns photo `index` of `paths`, [H, W, 3], uint8. Raises ImageError if it is unreadable."""
        return load_pixels(self.paths[index], min_side=MIN_CONTENT_SIDE)


@dataclass(frozen=True)
class DataShard:
    """The part of each global batch that one process prepares: part `worker` of `workers` equal parts."""

    worker: int = 0
    workers: int = 1
    replicas: int = 1  # devices of this process; each gets its own batch


WHOLE_BATCH = DataShard()


class CropStream:
    """The endless crops of a training. Crop number n depends on the photos, the seed, its size and n only.

    Args:
        photos: a PhotoFolder or PhotoCache.
        image_size: side of the crops, in pixels, where no other is given.
        seed: determines the order of the photos and the place of each crop, 0 or more.

    Raises ValueError for a size or seed out of range, and if there are no photos.
    """

    def __init__(self, photos, *, image_size: int, seed: int):
        check_count("image_size", image_size)
        check_count("seed", seed, least=0)
        check_count("the number of photos", len(photos.paths))
        self.photos = photos
        self.image_size = image_size
        self.seed = seed
        self.skipped = SkippedFiles(are_known=bool(photos.unreadable))  # a cache has listed them

    @property
    def unreadable(self) -> int:
        """The number of photos that cannot be read, as far as is known yet."""
        return len(self.photos.unreadable or self.skipped)

    def crop(self, number: int, image_size: int | None = None) -> np.ndarray:
        """Returns a crop [image_size, image_size, 3], RGB, uint8. Raises ImageError if no photo can be read."""
        check_count("number", number, least=0)
        image_size = self.image_size if image_size is None else image_size
        generator = np.random.default_rng((self.seed, int(number)))
        paths = self.photos.paths
        for index in _candidates(len(paths), self.seed, int(number)):
            try:
                return random_crop(self.photos.load(index), image_size, generator)
            except ImageError as error:
                self.skipped.add(paths[index], error)
        folder = os.path.commonpath([path.parent for path in paths])
        raise ImageError(
            f"{folder}: none of its {len(paths)} files can be read as an image; give other photos"
        )

    def batches(
        self,
        batch_size: int,
        *,
        first_image: int = 0,
        image_size: int | None = None,
        shard: DataShard = WHOLE_BATCH,
    ) -> tf.data.Dataset:
        """Returns endless batches [B, image_size, image_size, 3], RGB, float32, 0..255.

        Args:
            batch_size: of all workers together. B = batch_size / workers / replicas.
            first_image: the number of the first crop.
            image_size: side of the crops, in pixels; by default that of the stream.
            shard: the part of each batch to return.

        Raises ValueError for a batch size that is not a multiple of the workers and replicas, or below 1.
        """
        check_count("batch_size", batch_size)
        check_count("first_image", first_image, least=0)
        if batch_size % (shard.workers * shard.replicas):
            raise ValueError(
                f"batch_size must be a multiple of {shard.workers * shard.replicas}, the number of replicas, got"
                f" {batch_size}"
            )
        self.crop(first_image)  # if no photo can be read, this fails here and not inside tf.data
        side = self.image_size if image_size is None else image_size
        own = batch_size // shard.workers  # crops of each global batch
        offset = first_image + shard.worker * own

        def load_tensor(counter: tf.Tensor) -> tf.Tensor:
            number = offset + counter // own * batch_size + counter % own
            crop = functools.partial(self.crop, image_size=side)
            pixels = tf.numpy_function(crop, [number], tf.uint8, stateful=False)
            return tf.ensure_shape(pixels, (side, side, 3))

        return (
            tf.data.Dataset.counter()
            .map(load_tensor, num_parallel_calls=PARALLEL_DECODES, deterministic=True)
            .batch(own // shard.replicas, drop_remainder=True)
            .map(lambda pixels: tf.cast(pixels, tf.float32))
            .prefetch(PREFETCH_BATCHES)
        )


def photos_digest(paths: Sequence[Path]) -> str:
    """Returns a digest of the names and sizes of files.

    Trainings with the same digest and the same seed see the same photos in the same order.
    """
    digest = hashlib.sha256()
    for path in paths:
        digest.update(f"{path.name}|{path.stat().st_size}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def validation_images(
    val_dir: Path, *, max_images: int, max_side: int, min_side: int = 1
) -> list[np.ndarray]:
    """Loads the first readable photos of a folder, sorted by path.

    Returns at most `max_images` images [H, W, 3], RGB, float32, 0..255, shrunk to a longest side of `max_side`
    pixels. Photos that then have a side below `min_side` are skipped. Raises ImageError if there is none.
    """
    images = readable_images(_images_in(val_dir), max_images=max_images, max_side=max_side, min_side=min_side)
    if not images:
        raise ImageError(f"{val_dir}: none of its images can be read; --val-dir needs at least one")
    return list(images.values())


def readable_images(
    paths: Sequence[Path], *, max_images: int, max_side: int, min_side: int = 1
) -> dict[Path, np.ndarray]:
    """Loads the first `max_images` images that can be read, like `validation_images`; logs the unreadable ones."""
    check_count("max_images", max_images)
    check_count("max_side", max_side)
    images = {}
    for path in paths:
        if len(images) == max_images:
            break
        try:
            image = load_image(path, max_side=max_side)
            if min(image.shape[:2]) < min_side:
                raise ImageError(f"{path}: a side has less than {min_side} pixels; give a larger photo")
            images[path] = image
        except ImageError as error:
            logger.warning("skipped: %s", error)
    return images


def random_crop(pixels: np.ndarray, size: int, generator: np.random.Generator) -> np.ndarray:
    """Cuts a random square from a photo [H, W, 3], mirrored in half of the cases: [size, size, 3], same type.

    The side of the square is random, between `size` and the short side of the photo, so the training sees whole
    scenes as well as details at full resolution. Only photos smaller than `size` are enlarged.
    """
    check_count("size", size)
    if pixels.ndim != 3 or 0 in pixels.shape:
        raise ValueError(f"a photo must be an array [H, W, 3] without a zero side, got {list(pixels.shape)}")
    height, width = pixels.shape[:2]
    short_side = min(height, width)
    side = int(generator.integers(min(size, short_side), short_side + 1))
    top = int(generator.integers(height - side + 1))
    left = int(generator.integers(width - side + 1))
    crop = resize_pixels(pixels[top : top + side, left : left + side], size, size)
    return np.ascontiguousarray(crop[:, ::-1] if generator.integers(2) else crop)


def _images_in(folder: Path) -> list[Path]:
    """Lists the images in a folder; logs how many other pictures are skipped. Raises ImageError."""
    listing = find_images([folder])
    if listing.errors:
        raise listing.errors[0]
    for line in listing.skipped_lines():
        logger.warning("%s", line)
    return listing.images


@functools.lru_cache(maxsize=2)  # some threads may decode the next epoch already
def _epoch_order(count: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, 1, epoch)).permutation(count)


def _candidates(count: int, seed: int, number: int) -> Iterator[int]:
    """Yields the index of the photo for crop `number`, then others of the same epoch, in case it is unreadable."""
    epoch, position = divmod(number, count)
    order = _epoch_order(count, seed, epoch)
    for offset in range(count):
        yield int(order[(position + offset) % count])

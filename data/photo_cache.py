"""Photos that are decoded and resized once, for trainings that read them many times.

A cache is a folder of shards. `shard_00000.npy` holds the pixels of some hundred photos one after the other, and
`shard_00000.json` is its index. The pixels are raw and memory-mapped, because a training asks for photos in an order
that depends on the seed and the step alone. A format that is read from the beginning, such as TFRecord, would need a
shuffle buffer and could not resume at an arbitrary step. A memory map also reads only the rows of a crop.

The index is written after the pixels, so a shard is complete or does not count, and packing resumes after an
interruption. A photo whose size or time has changed is packed again.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from data.images import MIN_CONTENT_SIDE, ImageError, load_pixels, resize_pixels, shrunk_to_short_side
from system.faults import disk_fault
from system.files import write_whole
from system.threads import in_order

FORMAT = 1
SHARD_BYTES = 128 * 2**20  # at most this much is packed again after the process was killed
SHARD_PHOTOS = 512
SKIPPED_FILE = "skipped.txt"


@dataclass(frozen=True)
class PackedPhoto:
    """Where the pixels of one photo are."""

    shard: int
    offset: int  # bytes
    shape: tuple[int, int, int]


class PhotoCache:
    """The photos at `paths`, read from the shards in `cache_dir`. `pack` adds the photos that are missing there.

    Args:
        cache_dir: the folder of the cache; `pack` creates it.
        paths: the photos; their order defines their index.
        short_side: photos whose short side is longer are shrunk to this number of pixels.

    Attributes:
        unreadable: the photos that cannot be read, as a dict from a key of the photo to the reason.

    Raises:
        ImageError: the cache was packed for another `short_side`.
    """

    def __init__(self, cache_dir: Path, paths: Sequence[Path], short_side: int):
        self.cache_dir = cache_dir
        self.paths = paths
        self.short_side = short_side
        self.unreadable: dict[str, str] = {}
        self._keys = [_key(path) for path in paths]
        self._wanted = set(self._keys)  # shards may hold other photos too: of another folder, or old versions
        self._packed: dict[str, PackedPhoto] = {}
        self._shards: dict[int, np.ndarray] = {}
        for index_path in sorted(cache_dir.glob("shard_*.json")):
            self._open_shard(index_path)

    @property
    def missing(self) -> list[int]:
        """The indices of the photos that are not packed yet."""
        known = self._packed.keys() | self.unreadable.keys()
        return [index for index, key in enumerate(self._keys) if key not in known]

    def load(self, index: int) -> np.ndarray:
        """Returns photo `index` of `paths`, [H, W, 3], uint8, memory-mapped. Raises ImageError if it is unreadable."""
        key = self._keys[index]
        if key in self.unreadable:
            raise ImageError(self.unreadable[key])
        packed = self._packed[key]
        count = int(np.prod(packed.shape))
        return self._shards[packed.shard][packed.offset : packed.offset + count].reshape(packed.shape)

    def pack(self, threads: int) -> Iterator[int]:
        """Packs the missing photos; yields the number of photos done after each of them.

        Unreadable photos are listed with the reason in skipped.txt. Raises OSError if the folder cannot be written.
        """
        try:
            self.cache_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(
                f"{self.cache_dir}: cannot be a cache ({error.strerror}); give a folder to --cache"
            ) from error
        _remove_unindexed(self.cache_dir)
        photos, size = [], 0
        for done, (index, future) in enumerate(in_order(self.missing, self._decode, threads), 1):
            photo = future.result()
            photos.append((index, photo))
            size += photo.nbytes if isinstance(photo, np.ndarray) else 0
            if size >= SHARD_BYTES or len(photos) >= SHARD_PHOTOS:
                self._write_shard(photos)
                photos, size = [], 0
            yield done
        if photos:
            self._write_shard(photos)
        self._write_skipped()

    def _decode(self, index: int) -> np.ndarray | str:
        """Returns the pixels of a photo, or why it cannot be read."""
        try:
            pixels = load_pixels(self.paths[index], min_side=MIN_CONTENT_SIDE)
        except ImageError as error:
            return str(error)
        return resize_pixels(pixels, *shrunk_to_short_side(pixels.shape[:2], self.short_side))

    def _write_shard(self, photos: list[tuple[int, np.ndarray | str]]) -> None:
        number = 1 + max([-1, *(_shard_number(path) for path in self.cache_dir.glob("shard_*.*"))])
        arrays = [photo for _, photo in photos if isinstance(photo, np.ndarray)]
        offsets = iter(np.cumsum([0, *(array.size for array in arrays)]).tolist())
        packed, unreadable = {}, {}
        for index, photo in photos:
            if isinstance(photo, str):
                unreadable[self._keys[index]] = photo
            else:
                packed[self._keys[index]] = [next(offsets), *photo.shape]
        pixels = np.concatenate([array.reshape(-1) for array in arrays]) if arrays else np.zeros(0, np.uint8)
        index_path = self.cache_dir / f"shard_{number:05d}.json"
        content = {
            "format": FORMAT,
            "short_side": self.short_side,
            "packed": packed,
            "unreadable": unreadable,
        }
        _write(index_path.with_suffix(".npy"), lambda stream: np.save(stream, pixels))
        _write(index_path, lambda stream: stream.write(json.dumps(content).encode()))
        self._open_shard(index_path)

    def _open_shard(self, index_path: Path) -> None:
        try:
            content = json.loads(index_path.read_bytes())
            pixels = np.load(index_path.with_suffix(".npy"), mmap_mode="r", allow_pickle=False)
            if content["format"] != FORMAT:
                return
        except (OSError, ValueError, KeyError):
            return  # damaged or cut short: its photos count as missing and are packed again
        if content["short_side"] != self.short_side:
            raise ImageError(
                f"{self.cache_dir}: contains photos with a short side of {content['short_side']} pixels, but this"
                f" training needs {self.short_side}; give another --cache folder, or empty this one"
            )
        number = _shard_number(index_path)
        self._shards[number] = pixels
        for key in self._wanted & content["unreadable"].keys():
            self.unreadable[key] = content["unreadable"][key]
        for key in self._wanted & content["packed"].keys():
            offset, *shape = content["packed"][key]
            self._packed[key] = PackedPhoto(number, offset, tuple(shape))

    def _write_skipped(self) -> None:
        reasons = [self.unreadable[key] for key in self._keys if key in self.unreadable]
        text = "".join(f"{reason}\n" for reason in reasons)
        _write(self.cache_dir / SKIPPED_FILE, lambda stream: stream.write(text.encode("utf-8")))


def _key(path: Path) -> str:
    """Identifies a version of a photo by its path, size and time."""
    status = path.stat()
    return f"{os.path.abspath(path)}|{status.st_size}|{status.st_mtime_ns}"


def _shard_number(path: Path) -> int:
    return int(path.stem.removeprefix("shard_"))


def _write(path: Path, write: Callable[[BinaryIO], object]) -> None:
    try:
        write_whole(path, write)
    except OSError as error:
        raise OSError(
            f"{path.parent}: cannot be written ({disk_fault(error)}); free some space there or give another --cache"
            " folder; photos packed so far are kept"
        ) from error


def _remove_unindexed(cache_dir: Path) -> None:
    """Removes pixels without an index: the process was killed between the two files."""
    for path in cache_dir.glob("shard_*.npy"):
        if not path.with_suffix(".json").is_file():
            path.unlink()

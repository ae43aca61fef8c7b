"""Photographs decoded and resized once, for trainings that read them again and again.

A cache is a folder of shards: `shard_00000.npy`, the pixels of some hundred photos in a row, and
`shard_00000.json`, which says what lies where. Raw pixels under a memory map, because training asks for photos in
an order that is a function of the seed and the step alone: a format that is read from its beginning, like
TFRecord, would have to shuffle in a buffer and could not go on from an arbitrary step; and a crop reads only its
own rows. The index is written after the pixels, so that a shard is whole or not there, and packing goes on where
it was interrupted. A photo that has changed since, by size or time, is packed again.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from data.images import MIN_CONTENT_SIDE, ImageError, load_pixels, resize_pixels
from system.faults import disk_fault
from system.files import write_whole
from system.threads import in_order

FORMAT = 1
SHARD_BYTES = 128 * 2**20  # what is packed anew after a kill, at most
SHARD_PHOTOS = 512
SKIPPED_FILE = "skipped.txt"


@dataclass(frozen=True)
class Packed:
    """Where one photo lies."""

    shard: int
    offset: int  # bytes
    shape: tuple[int, int, int]


class PhotoCache:
    """Photos of `paths` from the shards in `cache_dir`; the door's way to fill it is `pack`.

    `short_side`: larger photos are shrunk to it, in pixels. Raises ImageError for a cache of another short side.
    """

    def __init__(self, cache_dir: Path, paths: Sequence[Path], short_side: int):
        self.cache_dir = cache_dir
        self.paths = paths
        self.short_side = short_side
        self.unreadable: dict[str, str] = {}  # of `paths`: key, see _key -> reason
        self._keys = [_key(path) for path in paths]
        self._wanted = set(self._keys)  # a shard may hold photos of another folder, or former ones
        self._packed: dict[str, Packed] = {}
        self._shards: dict[int, np.ndarray] = {}
        for index_path in sorted(cache_dir.glob("shard_*.json")):
            self._open_shard(index_path)

    @property
    def missing(self) -> list[int]:
        """Indices of the photos that have not been packed yet."""
        known = self._packed.keys() | self.unreadable.keys()
        return [index for index, key in enumerate(self._keys) if key not in known]

    def load(self, index: int) -> np.ndarray:
        """Photo number `index` of `paths`: [H, W, 3] uint8, a view of the disk. ImageError if it is unreadable."""
        key = self._keys[index]
        if key in self.unreadable:
            raise ImageError(self.unreadable[key])
        place = self._packed[key]
        count = int(np.prod(place.shape))
        return self._shards[place.shard][place.offset : place.offset + count].reshape(place.shape)

    def pack(self, threads: int) -> Iterator[int]:
        """Packs what is missing; yields how many photos have been looked at, photo by photo.

        Unreadable ones are listed, once, in skipped.txt. Raises OSError where the folder cannot be written.
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
        try:
            pixels = load_pixels(self.paths[index], min_side=MIN_CONTENT_SIDE)
        except ImageError as error:
            return str(error)
        height, width = pixels.shape[:2]
        scale = min(1.0, self.short_side / min(height, width))
        return resize_pixels(pixels, max(1, round(scale * height)), max(1, round(scale * width)))

    def _write_shard(self, photos: list[tuple[int, np.ndarray | str]]) -> None:
        number = 1 + max([-1, *(int(path.stem[6:]) for path in self.cache_dir.glob("shard_*.*"))])
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
        text = {"format": FORMAT, "short_side": self.short_side, "packed": packed, "unreadable": unreadable}
        _write(index_path.with_suffix(".npy"), lambda stream: np.save(stream, pixels))
        _write(index_path, lambda stream: stream.write(json.dumps(text).encode()))
        self._open_shard(index_path)

    def _open_shard(self, index_path: Path) -> None:
        try:
            text = json.loads(index_path.read_bytes())
            pixels = np.load(index_path.with_suffix(".npy"), mmap_mode="r", allow_pickle=False)
            if text["format"] != FORMAT:
                return
        except (OSError, ValueError, KeyError):
            return  # damaged or cut short: its photos are missing, and are packed again
        if text["short_side"] != self.short_side:
            raise ImageError(
                f"{self.cache_dir}: holds photos packed to a short side of {text['short_side']} pixels,"
                f" this training needs {self.short_side}; give another --cache folder, or empty this one"
            )
        number = int(index_path.stem[6:])
        self._shards[number] = pixels
        for key in self._wanted & text["unreadable"].keys():
            self.unreadable[key] = text["unreadable"][key]
        for key in self._wanted & text["packed"].keys():
            offset, *shape = text["packed"][key]
            self._packed[key] = Packed(number, offset, tuple(shape))

    def _write_skipped(self) -> None:
        reasons = [self.unreadable[key] for key in self._keys if key in self.unreadable]
        text = "".join(f"{reason}\n" for reason in reasons)
        _write(self.cache_dir / SKIPPED_FILE, lambda stream: stream.write(text.encode("utf-8")))


def _key(path: Path) -> str:
    """A photo's identity: where it is, and when and how large it was written."""
    status = path.stat()
    return f"{os.path.abspath(path)}|{status.st_size}|{status.st_mtime_ns}"


def _write(path: Path, write: Callable[[BinaryIO], object]) -> None:
    try:
        write_whole(path, write)
    except OSError as error:
        raise OSError(
            f"{path.parent}: cannot be written ({disk_fault(error)}); free some space there or give another --cache"
            " folder; what is packed is kept"
        ) from error


def _remove_unindexed(cache_dir: Path) -> None:
    for path in cache_dir.glob("shard_*.npy"):  # killed between pixels and index
        if not path.with_suffix(".json").is_file():
            path.unlink()

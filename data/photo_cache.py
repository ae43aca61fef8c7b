"""Photos that are decoded and resized once, for trainings that read them many times.

A cache is a folder of shards. `shard_00000.npy` holds the pixels of some hundred photos one after the other, and
`shard_00000.json` is its index. The pixels are raw and memory-mapped, because a training asks for photos in an order
that depends on the seed and the step alone. A format that is read from the beginning, such as TFRecord, would need a
shuffle buffer and could not resume at an arbitrary step. A memory map also reads only the rows of a crop.

The index is written after the pixels, so a shard is complete or does not count, and packing resumes after an
interruption. A photo whose size or time has changed is packed again.

The index has a CRC-32 of each photo. It is compared when a training reads the photo for the first time, because reading
a whole large cache at the start would take minutes. A photo that differs is decoded from its own file, and is packed
again by the next training. An index that is not as it was written counts as missing, with all its photos.
"""

import contextlib
import json
import logging
import os
import re
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from data.images import MIN_CONTENT_SIDE, ImageError, load_pixels, resize_pixels, shrunk_to_short_side
from system.arguments import check_count
from system.faults import disk_fault, one_line
from system.files import NotAFile, open_regular, write_whole
from system.json_reader import JsonError, read_json_file
from system.locks import locked
from system.threads import in_order

FORMAT = 2  # 1 had no checksums
HEADER_BYTES = 128  # of an .npy file of pixels; Python's parser reports a long damaged one as MemoryError
INDEX_BYTES = 64 * 2**20  # far more than the index of SHARD_PHOTOS photos
WAIT_SECONDS = 1.0  # between two looks whether another training has ended packing
SHARD_BYTES = 128 * 2**20  # at most this much is packed again after the process was killed
SHARD_PHOTOS = 512
SKIPPED_FILE = "skipped.txt"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PackedPhoto:
    """Where the pixels of one photo are, and their CRC-32."""

    shard: int
    offset: int  # bytes
    shape: tuple[int, int, int]
    checksum: int


@dataclass(frozen=True)
class Shard:
    """What one shard contains."""

    short_side: int
    pixels: np.ndarray  # uint8, memory-mapped
    packed: dict[str, PackedPhoto]
    unreadable: dict[str, str]


class DamagedShard(ValueError):
    """A shard that is not as it was written: the reason, in a few words."""


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
        OSError: a shard cannot be read at present. It may be complete, so it is kept.
        ValueError: `short_side` is below 1.
    """

    def __init__(self, cache_dir: Path, paths: Sequence[Path], short_side: int):
        check_count("short_side", short_side)
        self.cache_dir = cache_dir
        self.paths = paths
        self.short_side = short_side
        self.unreadable: dict[str, str] = {}
        self._keys = [_key(path) for path in paths]
        self._wanted = set(self._keys)  # shards may hold other photos too: of another folder, or old versions
        self._packed: dict[str, PackedPhoto] = {}
        self._shards: dict[int, np.ndarray] = {}
        self._unusable: set[Path] = set()  # indexes
        self._verified: set[str] = set()
        self._lost: set[str] = set()  # photos whose pixels have changed
        self._lock = threading.Lock()  # several threads load photos
        self._open_shards()

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
        pixels = self._shards[packed.shard][packed.offset : packed.offset + count]
        if key not in self._verified:
            if key in self._lost or zlib.crc32(pixels) != packed.checksum:
                return self._decoded_again(index)
            self._verified.add(key)
        return pixels.reshape(packed.shape)

    def _decoded_again(self, index: int) -> np.ndarray:
        """Returns a photo from its own file, because its pixels in the cache have changed."""
        key = self._keys[index]
        with self._lock:
            if key not in self._lost:
                self._lost.add(key)
                self._forget(key)
        photo = self._decode(index)
        if isinstance(photo, str):
            raise ImageError(photo)
        return photo

    def _forget(self, key: str) -> None:
        """Removes a photo from the index of its shard, so that the next training packs it again."""
        number = self._packed[key].shard
        index_path = self.cache_dir / f"shard_{number:05d}.json"
        # One line for each shard.
        if not any(self._packed[lost].shard == number for lost in self._lost - {key}):
            logger.warning(
                "%s: photos in it are damaged; they are read from their own files now, and packed again by the next"
                " training",
                index_path.with_suffix(".npy"),
            )
        with contextlib.suppress(OSError, ValueError, KeyError):  # the next training finds the damage too
            content = read_json_file(index_path, most_bytes=INDEX_BYTES)
            del content["packed"][key]
            _write(index_path, lambda stream: stream.write(json.dumps(content).encode()))

    def pack(self, threads: int) -> Iterator[int]:
        """Packs the missing photos; yields the number of photos done after each of them.

        Unreadable photos are listed with the reason in skipped.txt. If another training packs photos there, waits for
        it and takes what it has packed. Raises OSError if the folder cannot be written, and ValueError for `threads`
        below 1.
        """
        check_count("threads", threads)
        try:
            self.cache_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OSError(
                f"{self.cache_dir}: cannot be a cache ({error.strerror}); give a folder to --cache"
            ) from error
        with self._alone():
            self._open_shards()  # another training may have packed photos, and may have replaced damaged shards
            _remove_unindexed(self.cache_dir)
            while self._unusable:
                _remove_shard(self._unusable.pop())
            yield from self._pack_missing(threads)
            self._write_skipped()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Holds the lock of the folder, for which it waits."""
        with contextlib.ExitStack() as stack:
            is_waiting = False
            while True:
                try:
                    stack.enter_context(locked(self.cache_dir / "shards"))
                    break
                except BlockingIOError:
                    if not is_waiting:
                        logger.warning(
                            "%s: another training packs photos there; waiting for it", self.cache_dir
                        )
                    is_waiting = True
                    time.sleep(WAIT_SECONDS)
                except OSError as error:
                    raise _unwritable(self.cache_dir, error) from error
            yield

    def _pack_missing(self, threads: int) -> Iterator[int]:
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

    def _decode(self, index: int) -> np.ndarray | str:
        """Returns the pixels of a photo, or why it cannot be read."""
        try:
            pixels = load_pixels(self.paths[index], min_side=MIN_CONTENT_SIDE)
        except ImageError as error:
            return str(error)
        return resize_pixels(pixels, *shrunk_to_short_side(pixels.shape[:2], self.short_side))

    def _write_shard(self, photos: list[tuple[int, np.ndarray | str]]) -> None:
        number = 1 + max([-1, *(_shard_number(path) for path in _shard_files(self.cache_dir))])
        arrays = [photo for _, photo in photos if isinstance(photo, np.ndarray)]
        offsets = iter(np.cumsum([0, *(array.size for array in arrays)]).tolist())
        packed, unreadable = {}, {}
        for index, photo in photos:
            if isinstance(photo, str):
                unreadable[self._keys[index]] = photo
            else:
                packed[self._keys[index]] = [
                    next(offsets),
                    *photo.shape,
                    zlib.crc32(np.ascontiguousarray(photo)),
                ]
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

    def _open_shards(self) -> None:
        """Opens the shards that are not open yet."""
        for index_path in _shard_files(self.cache_dir, suffix=".json"):
            if _shard_number(index_path) not in self._shards:
                self._open_shard(index_path)

    def _open_shard(self, index_path: Path) -> None:
        try:
            shard = _read_shard(index_path)
        except DamagedShard as error:
            if index_path not in self._unusable:
                logger.warning("%s: cannot be used (%s); its photos are packed again", index_path, error)
            self._unusable.add(index_path)
            return
        self._unusable.discard(index_path)
        if shard is None:
            return
        if shard.short_side != self.short_side:
            raise ImageError(
                f"{self.cache_dir}: contains photos with a short side of {shard.short_side} pixels, but this"
                f" training needs {self.short_side}; give another --cache folder, or empty this one"
            )
        self._shards[_shard_number(index_path)] = shard.pixels
        for key in self._wanted & shard.unreadable.keys():
            self.unreadable[key] = shard.unreadable[key]
        for key in self._wanted & shard.packed.keys():
            self._packed[key] = shard.packed[key]

    def _write_skipped(self) -> None:
        reasons = [self.unreadable[key] for key in self._keys if key in self.unreadable]
        text = "".join(f"{reason}\n" for reason in reasons)
        _write(
            self.cache_dir / SKIPPED_FILE,
            lambda stream: stream.write(text.encode("utf-8", "surrogateescape")),
        )


def _key(path: Path) -> str:
    """Identifies a version of a photo by its path, size and time."""
    status = path.stat()
    return f"{os.path.abspath(path)}|{status.st_size}|{status.st_mtime_ns}"


def _shard_files(cache_dir: Path, suffix: str = "") -> list[Path]:
    """The files that are named like parts of shards, sorted."""
    return sorted(
        path
        for path in cache_dir.glob(f"shard_*{suffix}")
        if re.fullmatch(r"shard_[0-9]{5,9}\.(json|npy)", path.name)
    )


def _shard_number(path: Path) -> int:
    return int(path.stem.removeprefix("shard_"))


def _read_shard(index_path: Path) -> Shard | None:
    """Returns a shard; None for one of a later version, or one that was removed meanwhile.

    Raises DamagedShard if it is not as it was written, and OSError if it cannot be read at present.
    """
    try:
        content = read_json_file(index_path, most_bytes=INDEX_BYTES)
    except JsonError as error:
        if isinstance(error.file_error, FileNotFoundError):
            return None
        if error.file_error is None or isinstance(error.file_error, NotAFile):
            raise DamagedShard(str(error)) from error
        raise _unreadable(index_path, error.file_error) from error
    if not isinstance(content, dict) or type(content.get("format")) is not int:
        raise DamagedShard("it is not the index of a shard")
    if content["format"] > FORMAT:
        return None
    if content["format"] < FORMAT:
        raise DamagedShard("an earlier version wrote it, without checksums")
    packed, unreadable = content.get("packed"), content.get("unreadable")
    if (
        not isinstance(packed, dict)
        or not isinstance(unreadable, dict)
        or not _is_count(content.get("short_side"), 1)
    ):
        raise DamagedShard("its index is incomplete")
    if not all(isinstance(reason, str) for reason in unreadable.values()):
        raise DamagedShard("its index has wrong values")
    pixels, number = _mapped_pixels(index_path.with_suffix(".npy")), _shard_number(index_path)
    photos = {key: _packed_photo(number, value, len(pixels)) for key, value in packed.items()}
    return Shard(content["short_side"], pixels, photos, unreadable)


def _mapped_pixels(path: Path) -> np.ndarray:
    try:
        open_regular(path).close()
        pixels = np.lib.format.open_memmap(path, mode="r", max_header_size=HEADER_BYTES)
    except (FileNotFoundError, NotAFile) as error:
        raise DamagedShard(f"{path.name}: {error.strerror}") from error
    except OSError as error:
        raise _unreadable(path, error) from error
    except MemoryError:
        raise
    except Exception as error:  # damaged headers raise many classes
        raise DamagedShard(f"{path.name}: {one_line(error, at_most=80)}") from error
    if pixels.dtype != np.uint8 or pixels.ndim != 1:
        raise DamagedShard(f"{path.name} contains {pixels.dtype} {list(pixels.shape)}, not rows of bytes")
    return pixels


def _packed_photo(number: int, value: Any, size: int) -> PackedPhoto:
    """An entry of the index, [offset, H, W, 3, CRC-32], checked against the `size` of the pixels in bytes."""
    is_valid = (
        isinstance(value, list)
        and len(value) == 5
        and all(_is_count(part, least) for part, least in zip(value, (0, 1, 1, 3, 0), strict=True))
        and value[3] == 3
        and value[0] + value[1] * value[2] * 3 <= size
    )
    if not is_valid:
        raise DamagedShard("its index has wrong values")
    offset, *shape, checksum = value
    return PackedPhoto(number, offset, tuple(shape), checksum)


def _is_count(value: Any, least: int) -> bool:
    return type(value) is int and value >= least


def _remove_shard(index_path: Path) -> None:
    for path in (index_path, index_path.with_suffix(".npy")):
        with contextlib.suppress(OSError):  # a folder of that name stays, and its number is not used again
            path.unlink()


def _write(path: Path, write: Callable[[BinaryIO], object]) -> None:
    try:
        write_whole(path, write)
    except OSError as error:
        raise _unwritable(path.parent, error) from error


def _unwritable(cache_dir: Path, error: OSError) -> OSError:
    return OSError(
        f"{cache_dir}: cannot be written ({disk_fault(error)}); free some space there or give another --cache"
        " folder; photos packed so far are kept"
    )


def _unreadable(path: Path, error: OSError) -> OSError:
    return OSError(
        f"{path}: cannot be read ({disk_fault(error)}); it is kept; mend this and start again, or give another --cache"
        " folder"
    )


def _remove_unindexed(cache_dir: Path) -> None:
    """Removes pixels without an index: the process was killed between the two files."""
    for path in _shard_files(cache_dir, suffix=".npy"):
        if not path.with_suffix(".json").exists():
            _remove_shard(path.with_suffix(".json"))

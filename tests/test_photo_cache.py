"""data/photo_cache.py: crops are those of the files, and each photo is packed once, even after interruptions."""

import errno
import hashlib
import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from waiting import wait_until

from data import photo_cache
from data.images import ImageError, load_pixels
from data.photo_cache import SKIPPED_FILE, PhotoCache
from data.pipeline import CropStream, PhotoFolder

SHORT_SIDE = 20


@pytest.fixture
def photos_dir(tmp_path, photo) -> Path:
    """Nine photos and one file that is not an image. Photo number 3 is larger than the cache keeps."""
    for number in range(9):
        size = (60, 90) if number == 3 else (18 + number % 2, 25)
        photo(tmp_path / "photos" / f"{number}.png", height=size[0], width=size[1], seed=number)
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no image")
    return tmp_path / "photos"


def cache_of(photos_dir: Path, *, short_side: int = SHORT_SIDE) -> PhotoCache:
    return PhotoCache(photos_dir.parent / "cache", PhotoFolder(photos_dir).paths, short_side)


def packed(photos_dir: Path) -> PhotoCache:
    cache = cache_of(photos_dir)
    list(cache.pack(threads=2))
    return cache


def test_photos_come_back_as_they_were_and_large_ones_shrunk(photos_dir):
    cache = packed(photos_dir)
    for index, path in enumerate(cache.paths):
        if path.name == "3.png":
            assert cache.load(index).shape == (SHORT_SIDE, 30, 3)
        elif path.name != "broken.jpg":
            np.testing.assert_array_equal(cache.load(index), load_pixels(path))
            assert cache.load(index).dtype == np.uint8


def test_a_training_sees_the_same_crops_with_the_cache_as_without(photos_dir):
    (photos_dir / "3.png").unlink()  # the one that is shrunk
    from_files = CropStream(PhotoFolder(photos_dir), image_size=10, seed=3)
    from_cache = CropStream(packed(photos_dir), image_size=10, seed=3)
    for number in range(40):
        np.testing.assert_array_equal(from_cache.crop(number), from_files.crop(number))
    assert from_cache.skipped.paths == from_files.skipped.paths == [photos_dir / "broken.jpg"]


def test_what_cannot_be_read_is_listed_once_with_its_reason(photos_dir):
    packed(photos_dir)
    packed(photos_dir)
    [line] = (photos_dir.parent / "cache" / SKIPPED_FILE).read_text().splitlines()
    assert line.startswith(f"{photos_dir / 'broken.jpg'}: not an image")


def test_an_unreadable_photo_is_refused_by_load(photos_dir):
    cache = packed(photos_dir)
    index = [path.name for path in cache.paths].index("broken.jpg")
    with pytest.raises(ImageError, match="broken.jpg: not an image"):
        cache.load(index)


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """The names of the files that are decoded, in order."""
    names = []

    def note(path: Path, **options) -> np.ndarray:
        names.append(path.name)
        return load_pixels(path, **options)

    monkeypatch.setattr(photo_cache, "load_pixels", note)
    return names


def test_nothing_is_decoded_twice(photos_dir, decoded):
    packed(photos_dir)
    assert len(decoded) == 10
    assert packed(photos_dir).missing == []
    assert len(decoded) == 10


def test_packing_goes_on_where_it_was_interrupted(photos_dir, decoded, monkeypatch):
    monkeypatch.setattr(photo_cache, "SHARD_PHOTOS", 1)  # so that every photo has a shard
    for _ in cache_of(photos_dir).pack(threads=1):
        break
    interrupted = len(decoded)
    assert 0 < interrupted < 10
    list(cache_of(photos_dir).pack(threads=1))
    assert len(decoded) == 10
    assert cache_of(photos_dir).missing == []


def test_a_photo_that_has_changed_is_packed_again(photos_dir, decoded):
    packed(photos_dir)
    decoded.clear()
    Image.new("RGB", (30, 30), (1, 2, 3)).save(photos_dir / "5.png")
    cache = packed(photos_dir)
    assert decoded == ["5.png"]
    index = [path.name for path in cache.paths].index("5.png")
    assert (cache.load(index) == (1, 2, 3)).all() and cache.load(index).shape == (20, 20, 3)


def test_a_new_photo_is_added_and_a_removed_one_forgotten(photos_dir, photo, decoded):
    packed(photos_dir)
    decoded.clear()
    (photos_dir / "0.png").unlink()
    photo(photos_dir / "new.png", height=19, width=22, seed=77)
    cache = packed(photos_dir)
    assert decoded == ["new.png"]
    assert len(cache.paths) == 10 and cache.missing == []


@pytest.mark.parametrize("damage", ["pixels cut short", "index cut short", "index gone"])
def test_a_damaged_shard_is_packed_again(photos_dir, damage):
    packed(photos_dir)
    [pixels_path] = (photos_dir.parent / "cache").glob("*.npy")
    path = pixels_path if damage.startswith("pixels") else pixels_path.with_suffix(".json")
    if damage == "index gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert len(cache_of(photos_dir).missing) == 10
    cache = packed(photos_dir)
    assert cache.missing == []
    np.testing.assert_array_equal(cache.load(0), load_pixels(cache.paths[0]))


def test_what_a_kill_left_behind_is_removed(photos_dir):
    cache_dir = photos_dir.parent / "cache"
    cache_dir.mkdir()
    mark = hashlib.sha256(b"shard_00000.npy").hexdigest()[:16]  # see system.files
    for name in (
        f".{mark}.999999999.01234567.tmp",
        "shard_00007.npy",
    ):  # amid the pixels; between them and the index
        (cache_dir / name).write_bytes(b"half")
    packed(photos_dir)
    assert sorted(path.name for path in cache_dir.iterdir()) == [
        "shard_00000.json",
        "shard_00000.npy",
        SKIPPED_FILE,
    ]


def test_a_cache_shared_by_two_folders_counts_only_its_own_unreadable_files(photos_dir, tmp_path, photo):
    packed(photos_dir)
    photo(tmp_path / "others" / "good.png", height=30, width=30, seed=1)
    others = PhotoCache(photos_dir.parent / "cache", PhotoFolder(tmp_path / "others").paths, SHORT_SIDE)
    list(others.pack(threads=1))
    assert len(others.unreadable) == 0 and others.missing == []


def test_a_file_in_the_place_of_the_cache_is_named_in_one_line(photos_dir):
    (photos_dir.parent / "cache").write_text("a file")
    with pytest.raises(OSError, match="cannot be a cache .*give a folder to --cache"):
        packed(photos_dir)


def test_a_cache_for_smaller_crops_is_refused(photos_dir):
    packed(photos_dir)
    with pytest.raises(ImageError, match="short side of 20 pixels, but this training needs 40"):
        cache_of(photos_dir, short_side=40)


def test_a_full_disk_is_named_in_one_line_and_what_is_packed_stays(photos_dir, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(photo_cache.os, "fsync", full)
    with pytest.raises(OSError) as caught:
        packed(photos_dir)
    message = str(caught.value)
    assert (
        "No space left on device" in message and "another --cache folder" in message and "\n" not in message
    )
    assert list((photos_dir.parent / "cache").iterdir()) == []
    monkeypatch.undo()
    assert packed(photos_dir).missing == []


def test_the_pixels_stay_on_the_disk(photos_dir):
    cache = packed(photos_dir)
    base = cache.load(0)
    while base.base is not None and not isinstance(base, np.memmap):
        base = base.base
    assert isinstance(base, np.memmap)
    assert os.path.dirname(base.filename) == str(photos_dir.parent / "cache")


def test_a_photo_too_small_to_teach_anything_is_listed_too(photos_dir):
    Image.new("RGB", (1, 300)).save(photos_dir / "line.png")
    packed(photos_dir)
    lines = (photos_dir.parent / "cache" / SKIPPED_FILE).read_text().splitlines()
    assert [line for line in lines if "line.png" in line] == [
        f"{photos_dir / 'line.png'}: 300x1 pixels (height x width) are too small, at least 2x2 are needed;"
        " give a larger image"
    ]


def test_files_that_the_cache_has_listed_are_counted_but_not_named_again(photos_dir, caplog):
    crops = CropStream(packed(photos_dir), image_size=10, seed=0)
    for number in range(20):
        crops.crop(number)
    assert len(crops.skipped) == 1 and caplog.records == []


def test_unreadable_photos_of_a_cache_are_counted_before_the_first_crop(photos_dir):
    (photos_dir / "too.jpg").write_bytes(b"no image either")
    assert CropStream(packed(photos_dir), image_size=10, seed=0).unreadable == 2


def test_a_shard_ends_after_so_many_bytes(photos_dir, monkeypatch):
    """Photos have at most 1800 bytes here, so that two or three fill a shard."""
    monkeypatch.setattr(photo_cache, "SHARD_BYTES", 2800)
    cache = packed(photos_dir)
    sizes = [len(np.load(path)) for path in sorted(cache.cache_dir.glob("*.npy"))]
    assert len(sizes) == 4 and all(2800 <= size < 2800 + 1800 for size in sizes[:-1])
    np.testing.assert_array_equal(cache.load(8), load_pixels(cache.paths[8]))


def test_a_photo_of_the_same_size_but_another_time_is_packed_again(photos_dir, decoded):
    packed(photos_dir)
    decoded.clear()
    os.utime(photos_dir / "5.png", ns=(1, 1))
    packed(photos_dir)
    assert decoded == ["5.png"]


def test_shards_of_another_format_are_packed_again(photos_dir, monkeypatch):
    monkeypatch.setattr(photo_cache, "FORMAT", photo_cache.FORMAT + 1)
    packed(photos_dir)
    monkeypatch.undo()
    assert len(cache_of(photos_dir).missing) == 10


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 16
    path.write_bytes(content)


def test_a_flipped_bit_is_never_trained_on_and_its_photo_is_packed_again(photos_dir, decoded, caplog):
    expected = [load_pixels(path) for path in packed(photos_dir).paths if path.name in ("0.png", "1.png")]
    [pixels_path] = (photos_dir.parent / "cache").glob("*.npy")
    flip(pixels_path, 128 + 5)  # after the header of the file, in photo 0
    cache = cache_of(photos_dir)
    decoded.clear()
    for _ in range(2):
        for index in (0, 1):
            np.testing.assert_array_equal(cache.load(index), expected[index])
    assert decoded == ["0.png", "0.png"]  # from its own file, each time
    [message] = caplog.messages
    assert message.startswith(str(pixels_path)) and "damaged" in message and "\n" not in message
    again = cache_of(photos_dir)
    assert [again.paths[index].name for index in again.missing] == ["0.png"]
    list(again.pack(threads=1))
    decoded.clear()
    np.testing.assert_array_equal(again.load(0), expected[0])
    assert decoded == []


def test_many_damaged_photos_are_one_line(photos_dir, caplog):
    packed(photos_dir)
    [pixels_path] = (photos_dir.parent / "cache").glob("*.npy")
    content = pixels_path.read_bytes()
    pixels_path.write_bytes(content[:128] + bytes(len(content) - 128))
    cache = cache_of(photos_dir)
    for index in range(4):
        np.testing.assert_array_equal(
            cache.load(index)[:5, :5], cache_of(photos_dir)._decode(index)[:5, :5], err_msg=str(index)
        )
    assert len(caplog.messages) == 1


def test_a_damaged_photo_whose_file_is_gone_is_refused(photos_dir):
    packed(photos_dir)
    [pixels_path] = (photos_dir.parent / "cache").glob("*.npy")
    flip(pixels_path, 128 + 5)
    cache = cache_of(photos_dir)
    (photos_dir / "0.png").unlink()
    with pytest.raises(ImageError, match="0.png"):
        cache.load(0)


WRONG_INDEXES = {
    "null": lambda content: None,
    "list": lambda content: [content],
    "empty": lambda content: {},
    "text format": lambda content: {**content, "format": "2"},
    "format true": lambda content: {**content, "format": True},
    "first format": lambda content: {**content, "format": 1},
    "no packed": lambda content: {key: content[key] for key in content if key != "packed"},
    "no side": lambda content: {key: content[key] for key in content if key != "short_side"},
    "side text": lambda content: {**content, "short_side": "20"},
    "side zero": lambda content: {**content, "short_side": 0},
    "packed list": lambda content: {**content, "packed": list(content["packed"])},
    "unreadable list": lambda content: {**content, "unreadable": ["a"]},
    "reason number": lambda content: {**content, "unreadable": dict.fromkeys(content["unreadable"], 5)},
    **{
        f"entry {value}": lambda content, value=value: {
            **content,
            "packed": dict.fromkeys(content["packed"], value),
        }
        for value in (
            None, 5, "a", [], [0, 18, 25, 3], [-1, 18, 25, 3, 0], [0, -18, 25, 3, 0], [0, 18, 25, 1, 0],
            [0, 18, 25, 3, "0"], [0, 18.5, 25, 3, 0], [0, 10**12, 25, 3, 0], [10**29, 18, 25, 3, 0],
            [0, True, 25, 3, 0], [0, 0, 25, 3, 0], [0, 18, 25, 3, 0, 0],
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG_INDEXES)
def test_an_index_that_is_not_as_it_was_written_is_packed_again(photos_dir, caplog, wrong):
    packed(photos_dir)
    [index_path] = (photos_dir.parent / "cache").glob("*.json")
    index_path.write_text(json.dumps(WRONG_INDEXES[wrong](json.loads(index_path.read_text()))))
    cache = cache_of(photos_dir)
    assert len(cache.missing) == 10
    [message] = caplog.messages
    assert message.startswith(f"{index_path}: cannot be used (") and "\n" not in message
    list(cache.pack(threads=1))
    assert cache.missing == [] == cache_of(photos_dir).missing
    np.testing.assert_array_equal(cache.load(1), load_pixels(cache.paths[1]))
    assert len(list(cache.cache_dir.glob("shard_*"))) == 2  # the damaged shard is gone


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"format": 2, "format": 2}',
        "{",
        "NaN",
        '{"format": ' + "9" * 5000 + "}",
        "\0",
        "\ufeff",
    ],
)
def test_an_index_that_is_no_json_is_packed_again(photos_dir, text):
    packed(photos_dir)
    [index_path] = (photos_dir.parent / "cache").glob("*.json")
    index_path.write_text(text, encoding="utf-8")
    assert len(cache_of(photos_dir).missing) == 10
    assert packed(photos_dir).missing == []


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 5), np.uint8), np.zeros(10**5, np.float32), np.array(5, np.uint8), np.zeros(0, np.uint8)],
)
def test_pixels_of_another_type_or_shape_are_packed_again(photos_dir, array):
    packed(photos_dir)
    [pixels_path] = (photos_dir.parent / "cache").glob("*.npy")
    np.save(pixels_path, array)
    assert len(cache_of(photos_dir).missing) == 10
    assert packed(photos_dir).missing == []


@pytest.mark.parametrize("kind", ["json", "npy"])
def test_what_is_no_file_in_the_place_of_a_shard_does_no_harm(photos_dir, kind):
    packed(photos_dir)
    [path] = (photos_dir.parent / "cache").glob(f"*.{kind}")
    path.unlink()
    os.mkfifo(path)
    assert packed(photos_dir).missing == []
    path = photos_dir.parent / "cache" / f"shard_00005.{kind}"
    path.mkdir()
    (photos_dir.parent / "cache" / "shard_of_mine.json").write_text("{}")
    os.utime(photos_dir / "5.png", ns=(1, 1))
    assert packed(photos_dir).missing == []


def test_two_trainings_that_pack_one_cache_pack_each_photo_once(photos_dir, decoded, monkeypatch, caplog):
    monkeypatch.setattr(photo_cache, "SHARD_PHOTOS", 2)
    monkeypatch.setattr(photo_cache, "WAIT_SECONDS", 0.01)
    first, second = cache_of(photos_dir), cache_of(photos_dir)
    packing = first.pack(threads=1)
    next(packing)
    threads = threading.Thread(target=lambda: list(second.pack(threads=1)))
    threads.start()
    wait_until(lambda: caplog.messages)
    list(packing)
    threads.join(60)
    assert not threads.is_alive()
    assert len(decoded) == 10 and first.missing == second.missing == []
    assert [message.partition(": ")[2] for message in caplog.messages] == [
        "another training packs photos there; waiting for it"
    ]
    for index in range(3):
        np.testing.assert_array_equal(second.load(index), first.load(index))


def test_threads_below_one_are_refused(photos_dir):
    with pytest.raises(ValueError, match="threads must be a whole number of at least 1, got -1"):
        list(cache_of(photos_dir).pack(threads=-1))


FAULTS = {
    name: OSError(number, os.strerror(number))
    for name, number in {
        "no memory to map": errno.ENOMEM,
        "many open files": errno.EMFILE,
        "no permission": errno.EACCES,
        "failing disk": errno.EIO,
    }.items()
} | {"no memory": MemoryError()}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("kind", ["json", "npy"])
@pytest.mark.parametrize("moment", ["opening", "packing"])
def test_a_shard_that_cannot_be_read_at_present_is_kept(photos_dir, monkeypatch, fault, kind, moment):
    packed(photos_dir)
    files = {path: path.read_bytes() for path in (photos_dir.parent / "cache").iterdir()}
    cache = PhotoCache(photos_dir.parent / "elsewhere", PhotoFolder(photos_dir).paths, SHORT_SIDE)
    cache.cache_dir = photos_dir.parent / "cache"  # a cache that has opened no shard yet

    def fail(*_, **__):
        raise fault

    if kind == "json":
        monkeypatch.setattr("system.json_reader.open_regular", fail)
    else:
        monkeypatch.setattr(np.lib.format, "open_memmap", fail)
    with pytest.raises(OSError if isinstance(fault, OSError) else MemoryError) as caught:
        cache_of(photos_dir) if moment == "opening" else list(cache.pack(threads=1))
    if isinstance(fault, OSError):
        assert f".{kind}: cannot be read ({fault.strerror}); it is kept" in str(caught.value)
    assert {path: path.read_bytes() for path in files} == files
    monkeypatch.undo()
    assert cache_of(photos_dir).missing == []


def test_a_long_damaged_header_of_pixels_is_damage(photos_dir):
    packed(photos_dir)
    [pixels_path] = (photos_dir.parent / "cache").glob("*.npy")
    pixels_path.write_bytes(b"\x93NUMPY\x01\x00" + (9000).to_bytes(2, "little") + b"-" * 9000)
    assert packed(photos_dir).missing == []


def test_a_shard_that_another_training_has_mended_meanwhile_is_kept(photos_dir, decoded):
    packed(photos_dir)
    [index_path] = (photos_dir.parent / "cache").glob("*.json")
    index_path.write_text("damaged")
    waiting = cache_of(photos_dir)
    packed(photos_dir)  # removes the damaged shard, and uses its number again
    decoded.clear()
    list(waiting.pack(threads=1))
    assert decoded == [] and waiting.missing == [] == cache_of(photos_dir).missing


def test_packing_twice_keeps_what_the_first_time_has_mended(photos_dir):
    packed(photos_dir)
    [index_path] = (photos_dir.parent / "cache").glob("*.json")
    index_path.write_text("damaged")
    cache = cache_of(photos_dir)
    for _ in range(2):
        list(cache.pack(threads=1))
    assert cache_of(photos_dir).missing == []

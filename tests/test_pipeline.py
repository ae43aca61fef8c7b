"""data/pipeline.py: the training batches are repeatable and complete, and one bad file does not stop them."""

import contextlib
import logging
import runpy
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from data import pipeline
from data.images import ImageError, load_image, load_pixels, resize_image
from data.pipeline import (
    CropStream,
    DataShard,
    PhotoFolder,
    SkippedFiles,
    photos_digest,
    random_crop,
    validation_images,
)

COLORS = [(36 * number, 255 - 36 * number, 128) for number in range(7)]  # one photo each
SIZE = 8  # pixels, of the crops
BATCH = 3  # so that batches straddle the epochs of 7 photos
EPOCHS = 3  # as many whole ones as BATCHES hold
BATCHES = 7


@pytest.fixture
def flat_dir(tmp_path) -> Path:
    """Photos of one color each, so that a crop tells its photo; one in a subfolder, one smaller than the crop."""
    flat_dir = tmp_path / "flat"
    (flat_dir / "subfolder").mkdir(parents=True)
    for number, color in enumerate(COLORS):
        folder = flat_dir / "subfolder" if number == 3 else flat_dir
        size = (5, 6) if number == 5 else (20, 14)
        Image.new("RGB", size, color).save(folder / f"{number}.png")
    return flat_dir


@pytest.fixture
def textured_dir(tmp_path) -> Path:
    """Photos of noise; no two of their crops are equal."""
    textured_dir = tmp_path / "textured"
    textured_dir.mkdir()
    generator = np.random.default_rng(0)
    for number in range(5):
        pixels_u8 = generator.integers(0, 256, (12 + number, 16 - number, 3)).astype(np.uint8)
        Image.fromarray(pixels_u8).save(textured_dir / f"{number}.png")
    return textured_dir


def crop_stream(content_dir: Path, seed: int = 0) -> CropStream:
    return CropStream(PhotoFolder(content_dir), image_size=SIZE, seed=seed)


def stream(
    content_dir: Path, *, count: int = BATCHES, seed: int = 0, batch_size=BATCH, **where
) -> np.ndarray:
    """The first `count` batches: [count, BATCH, SIZE, SIZE, 3]."""
    batches = crop_stream(content_dir, seed).batches(batch_size, **where)
    return np.stack(list(batches.take(count).as_numpy_iterator()))


def epochs_of_colors(batches: np.ndarray, colors=COLORS) -> list[list[tuple]]:
    """Returns the color of the photo that each crop is from, by epoch."""
    crops = np.rint(batches.reshape(-1, SIZE * SIZE, 3))
    assert (crops == crops[:, :1]).all()
    seen = [tuple(int(value) for value in crop[0]) for crop in crops]
    assert set(seen) <= set(colors)
    return [seen[start : start + len(colors)] for start in range(0, len(seen), len(colors))]


def coordinate_image(height: int, width: int) -> np.ndarray:
    """An image whose pixels are their own coordinates: [height, width, (y, x, 0)]."""
    rows, columns = np.mgrid[0:height, 0:width]
    return np.stack([rows, columns, 0 * rows], axis=-1).astype(np.float32)


def test_batches_are_float32_of_known_shape(textured_dir):
    batches = crop_stream(textured_dir).batches(BATCH)
    assert batches.element_spec == tf.TensorSpec([BATCH, SIZE, SIZE, 3], tf.float32)
    assert next(iter(batches)).shape == (BATCH, SIZE, SIZE, 3)


def test_values_span_0_to_255_and_never_leave_it(tmp_path):
    """The photo has sharp edges, where resampling overshoots."""
    stripes_u8 = np.zeros((30, 48, 3), np.uint8)
    stripes_u8[:, ::6] = stripes_u8[:, 1::6] = stripes_u8[:, 2::6] = 255
    Image.fromarray(stripes_u8).save(tmp_path / "stripes.png")
    batches = stream(tmp_path)
    assert batches.min() == 0
    assert batches.max() == 255


def test_crops_show_the_photos(textured_dir):
    """The photos are as large as the crops, so each crop is a photo, as it is or mirrored."""
    views = []
    for path in textured_dir.iterdir():
        photo = load_image(path)[:SIZE, :SIZE]
        Image.fromarray(photo.astype(np.uint8)).save(path)
        views += [photo, photo[:, ::-1]]
    for crop in stream(textured_dir).reshape(-1, SIZE, SIZE, 3):
        assert sum(np.array_equal(crop, view) for view in views) == 1


def test_one_seed_gives_one_stream(textured_dir):
    np.testing.assert_array_equal(stream(textured_dir), stream(textured_dir))


def test_iterating_twice_gives_the_same_stream(textured_dir):
    batches = crop_stream(textured_dir).batches(BATCH)
    first, second = (np.stack(list(batches.take(BATCHES).as_numpy_iterator())) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_the_stream_depends_neither_on_the_threads_nor_on_which_is_faster(textured_dir, monkeypatch):
    """The first photo takes so long that other threads finish later batches before it."""
    expected = stream(textured_dir)
    started = []

    def load_pixels_slowly(path: Path, **options) -> np.ndarray:
        started.append(path)
        time.sleep(0.3 if len(started) == 2 else 0)  # the first is read to see whether anything can be
        return load_pixels(path, **options)

    monkeypatch.setattr(pipeline, "PARALLEL_DECODES", 4)
    monkeypatch.setattr(pipeline, "load_pixels", load_pixels_slowly)
    np.testing.assert_array_equal(stream(textured_dir), expected)


def test_another_seed_gives_another_order_and_other_crops(textured_dir, flat_dir):
    assert epochs_of_colors(stream(flat_dir, seed=1)) != epochs_of_colors(stream(flat_dir, seed=0))
    crops, others = (stream(textured_dir, seed=seed).reshape(-1, SIZE, SIZE, 3) for seed in (0, 1))
    assert not any(np.array_equal(crop, other) for crop in crops for other in others)


def test_every_photo_is_seen_once_an_epoch(flat_dir):
    epochs = epochs_of_colors(stream(flat_dir))
    assert len(epochs) == EPOCHS
    for epoch in epochs:
        assert sorted(epoch) == sorted(COLORS)


def test_every_epoch_has_an_order_of_its_own(flat_dir):
    epochs = epochs_of_colors(stream(flat_dir))
    assert len({tuple(epoch) for epoch in epochs}) == EPOCHS
    assert COLORS not in epochs


def test_a_photo_is_cropped_anew_every_epoch(textured_dir):
    crops = stream(textured_dir, count=5).reshape(-1, SIZE * SIZE * 3)  # 3 epochs of 5 photos
    assert len(np.unique(crops, axis=0)) == len(crops)


@pytest.mark.parametrize("first_step", [1, 3, 5])
def test_a_later_start_joins_the_unbroken_run(textured_dir, first_step):
    resumed = stream(textured_dir, count=BATCHES - first_step, first_image=first_step * BATCH)
    np.testing.assert_array_equal(resumed, stream(textured_dir)[first_step:])


@pytest.mark.parametrize(("workers", "replicas"), [(1, 2), (2, 1), (2, 2), (4, 1)])
@pytest.mark.parametrize("first_image", [0, 8])
def test_workers_and_their_replicas_share_every_batch_in_order(textured_dir, workers, replicas, first_image):
    whole = stream(textured_dir, batch_size=8, count=3, first_image=first_image)
    shares = [
        stream(
            textured_dir,
            batch_size=8,
            count=3 * replicas,
            first_image=first_image,
            shard=DataShard(worker, workers, replicas),
        ).reshape(3, 8 // workers, SIZE, SIZE, 3)
        for worker in range(workers)
    ]
    np.testing.assert_array_equal(np.concatenate(shares, axis=1), whole)


def test_the_digest_of_photos_changes_with_a_name_a_size_and_the_order(textured_dir):
    paths = PhotoFolder(textured_dir).paths
    digest = photos_digest(paths)
    assert photos_digest(list(paths)) == digest
    assert photos_digest(paths[::-1]) != digest and photos_digest(paths[1:]) != digest
    with paths[0].open("ab") as file:
        file.write(b"more")
    assert photos_digest(paths) != digest


@pytest.mark.parametrize("fault", ["no image", "cut short", "too small"])
def test_an_unreadable_file_is_skipped_and_named_once(flat_dir, caplog, fault):
    bad_path = flat_dir / "2.png"
    if fault == "no image":
        bad_path.write_text("<!DOCTYPE html>")
    elif fault == "cut short":
        bad_path.write_bytes(bad_path.read_bytes()[:60])
    else:
        Image.new("RGB", (1, 1)).save(bad_path)
    caplog.set_level(logging.INFO)
    crops = crop_stream(flat_dir)
    batches, skipped = crops.batches(BATCH), crops.skipped
    epochs = epochs_of_colors(np.stack(list(batches.take(BATCHES).as_numpy_iterator())))
    for epoch in epochs:
        assert set(epoch) == {color for color in COLORS if color != COLORS[2]}
    assert len(skipped) == 1
    assert skipped.paths == [bad_path]
    named = [record.getMessage() for record in caplog.records if str(bad_path) in record.getMessage()]
    assert len(named) == 1
    assert named[0].startswith(f"skipped: {bad_path}: ")


def test_every_unreadable_file_is_counted(flat_dir):
    for number in (6, 0, 4):
        (flat_dir / f"{number}.png").write_bytes(b"")
    crops = crop_stream(flat_dir)
    batches, skipped = crops.batches(BATCH), crops.skipped
    assert len(list(batches.take(BATCHES))) == BATCHES
    assert skipped.paths == [flat_dir / f"{number}.png" for number in (0, 4, 6)]
    assert crops.unreadable == 3


def test_a_file_that_several_threads_find_unreadable_is_named_once(caplog):
    together = threading.Barrier(2)

    class SlowError(ImageError):
        def __str__(self) -> str:
            with contextlib.suppress(threading.BrokenBarrierError):
                together.wait(timeout=0.3)  # passes at once if the other thread gets here too
            return "a.png: damaged"

    skipped = SkippedFiles()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: skipped.add(Path("a.png"), SlowError()), range(2)))
    assert len(skipped) == 1
    assert [record.getMessage() for record in caplog.records] == ["skipped: a.png: damaged"]


def test_a_folder_of_nothing_readable_is_refused_with_its_name(tmp_path):
    for number in range(2):
        (tmp_path / f"{number}.jpg").write_text("no image")
    with pytest.raises(ImageError) as caught:
        crop_stream(tmp_path).batches(BATCH)
    assert str(caught.value) == f"{tmp_path}: none of its 2 files can be read as an image; give other photos"


@pytest.mark.parametrize("read", ["PhotoFolder", "validation_images"])
@pytest.mark.parametrize(
    ("folder", "fault"), [("empty", "the folder holds no images"), ("missing", "no such file or folder")]
)
def test_an_empty_or_missing_folder_is_refused_at_once(tmp_path, folder, fault, read):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError) as caught:
        if read == "PhotoFolder":
            PhotoFolder(tmp_path / folder)
        else:
            validation_images(tmp_path / folder, max_images=1, max_side=SIZE)
    assert str(caught.value).startswith(f"{tmp_path / folder}: {fault}; ")


@pytest.mark.parametrize("read", ["PhotoFolder", "validation_images"])
def test_photos_of_unsupported_formats_are_counted_in_one_warning(flat_dir, caplog, read, monkeypatch):
    monkeypatch.setattr("data.listing.can_read_heif", lambda: False)
    for name in ("a.heic", "b.heic", "subfolder/c.heic", "notes.txt"):
        (flat_dir / name).touch()
    if read == "PhotoFolder":
        assert len(PhotoFolder(flat_dir).paths) == len(COLORS)
    else:
        validation_images(flat_dir, max_images=1, max_side=SIZE)
    assert [record.getMessage() for record in caplog.records] == [
        f"{flat_dir}: 3 files skipped: 3 .heic; pip install pillow-heif to read them"
    ]


@pytest.mark.parametrize(("cores", "threads"), [(12, 6), (1, 2)])
def test_half_of_the_available_cores_decode_and_at_least_two_threads(monkeypatch, cores, threads):
    monkeypatch.setattr("system.machine.available_cores", lambda: cores)  # and not os.cpu_count()
    assert runpy.run_path(pipeline.__file__)["PARALLEL_DECODES"] == threads


def test_crops_range_from_native_detail_to_the_whole_photo(monkeypatch):
    """Squares of every allowed side occur at every place in the photo."""
    seen = {"sides": set(), "corners": set()}

    def note_and_cut(crop: np.ndarray, height: int, width: int) -> np.ndarray:
        assert crop.shape[0] == crop.shape[1]
        if crop.shape[0] == height:
            return crop
        seen["sides"].add(crop.shape[0])
        seen["corners"].add((crop.shape[0], *crop[0, 0, :2].astype(int)))
        return crop[:height, :width]

    monkeypatch.setattr(pipeline, "resize_pixels", note_and_cut)
    generator, image = np.random.default_rng(0), coordinate_image(7, 6)
    for _ in range(1000):
        random_crop(image, 4, generator)
    assert seen["sides"] == {5, 6}  # one of side 4 is not resampled
    assert seen["corners"] == {
        (side, y, x) for side in (5, 6) for y in range(8 - side) for x in range(7 - side)
    }


def test_a_crop_at_native_detail_is_a_window_of_the_photo_or_its_mirror_image():
    image, generator = coordinate_image(5, 4), np.random.default_rng(0)
    windows = [image[top : top + 3, left : left + 3] for top in range(3) for left in range(2)]
    views = [window[:, ::step] for window in windows for step in (1, -1)]
    crops = [random_crop(image, 3, generator) for _ in range(300)]
    met = {index for crop in crops for index, view in enumerate(views) if np.array_equal(crop, view)}
    assert met == set(range(len(views)))


def test_half_of_the_crops_are_mirrored():
    image, generator = coordinate_image(SIZE, SIZE), np.random.default_rng(0)
    mirrored = [random_crop(image, SIZE, generator)[0, 0, 1] > 0 for _ in range(400)]
    assert 160 < sum(mirrored) < 240  # 4 standard deviations


@pytest.mark.parametrize("size", [(4, 6), (6, 4), (2, 2)])
def test_a_photo_smaller_than_the_crop_is_enlarged(size):
    image, generator = 10 * coordinate_image(*size), np.random.default_rng(0)
    short_side, tall = min(size), size[0] > size[1]
    windows = []
    for offset in range(max(size) - short_side + 1):
        window = image[offset:][:short_side] if tall else image[:, offset:][:, :short_side]
        windows.append(resize_image(window, height=SIZE, width=SIZE))
    for _ in range(20):
        crop = random_crop(image, SIZE, generator)
        assert crop.shape == (SIZE, SIZE, 3)
        assert crop.dtype == np.float32
        assert any(np.allclose(crop[:, ::step], window) for window in windows for step in (1, -1))


def test_validation_images_are_the_first_by_name_shrunk_to_the_longest_side(textured_dir):
    images = validation_images(textured_dir, max_images=3, max_side=14)
    assert len(images) == 3
    for name, image in enumerate(images):
        np.testing.assert_array_equal(image, load_image(textured_dir / f"{name}.png", max_side=14))
    assert [image.shape for image in images] == [(10, 14, 3), (12, 14, 3), (14, 14, 3)]


def test_an_unreadable_validation_image_is_named_and_skipped(textured_dir, caplog):
    (textured_dir / "1.png").write_text("no image")
    images = validation_images(textured_dir, max_images=5, max_side=SIZE)
    assert len(images) == 4
    [message] = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"skipped: {textured_dir / '1.png'}: ")


def test_an_unreadable_validation_image_is_made_up_for_by_the_next(textured_dir):
    (textured_dir / "0.png").write_text("no image")
    images = validation_images(textured_dir, max_images=1, max_side=SIZE)
    np.testing.assert_array_equal(images, [load_image(textured_dir / "1.png", max_side=SIZE)])


def test_validation_images_of_which_none_can_be_read_are_refused(tmp_path):
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(ImageError) as caught:
        validation_images(tmp_path, max_images=3, max_side=SIZE)
    assert str(caught.value) == f"{tmp_path}: none of its images can be read; --val-dir needs at least one"


def test_batches_have_the_side_that_is_asked_for_and_the_same_crops_in_any_batch(textured_dir):
    stream = CropStream(PhotoFolder(textured_dir), image_size=32, seed=3)
    small = next(iter(stream.batches(2, first_image=4, image_size=16)))
    assert small.shape == (2, 16, 16, 3)
    np.testing.assert_array_equal(small, [stream.crop(number, 16) for number in (4, 5)])
    assert next(iter(stream.batches(2))).shape == (2, 32, 32, 3)

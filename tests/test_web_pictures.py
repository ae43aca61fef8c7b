"""Pictures of many requests: what overlaps, what waits, what is refused."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from waiting import wait_until

from cli.flags import UsageError
from data.picture import ImageError
from web.config import ServiceConfig
from web.pictures import STAGES, PictureMaker, PictureRequest
from web.shelf import StyleShelf, UnknownStyle
from web.turns import Busy, Deadline, GaveUp

pytestmark = pytest.mark.tensorflow
WAVES = PictureRequest((("waves", 1.0),))


class HeldMaker(PictureMaker):
    """Waits on the network until `go` is set, and counts what happens at the same time."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.go, self.lock = threading.Event(), threading.Lock()
        self.read, self.on_network, self.most_on_network = 0, 0, 0

    def _read(self, *arguments):
        found = super()._read(*arguments)
        with self.lock:
            self.read += 1
        return found

    def _painted(self, *arguments):
        with self.lock:
            self.on_network += 1
            self.most_on_network = max(self.most_on_network, self.on_network)
        self.go.wait(60)
        try:
            return super()._painted(*arguments)
        finally:
            with self.lock:
                self.on_network -= 1


@pytest.fixture
def shelf(style_dirs):
    return StyleShelf(style_dirs["waves"].parent, runtime="onnx", threads=1)


@pytest.fixture
def cat(tmp_path, photo):
    return photo(tmp_path / "cat.png")


def make_many(maker, count, cat, tmp_path, pool):
    folders = [tmp_path / f"out{index}" for index in range(count)]
    return [pool.submit(maker.make, cat, WAVES, folder) for folder in folders]


def test_one_is_on_the_network_and_a_few_are_read_meanwhile(shelf, cat, tmp_path):
    maker = HeldMaker(ServiceConfig(max_waiting=5), shelf)
    with ThreadPoolExecutor(6) as pool:
        futures = make_many(maker, 6, cat, tmp_path, pool)
        wait_until(lambda: maker.waiting == 5 and maker.read == 3)  # one on the network, two ahead
        with pytest.raises(Busy):
            maker.make(cat, WAVES, tmp_path)
        maker.go.set()
        finished = [future.result() for future in futures]
    assert maker.most_on_network == 1 and maker.waiting == 0
    assert all(result.path.is_file() and set(result.seconds) == set(STAGES) for result in finished)


def test_with_no_waiting_a_second_photo_is_refused(shelf, cat, tmp_path):
    maker = HeldMaker(ServiceConfig(max_waiting=0), shelf)
    with ThreadPoolExecutor(1) as pool:
        (future,) = make_many(maker, 1, cat, tmp_path, pool)
        wait_until(lambda: maker.on_network)
        with pytest.raises(Busy):
            maker.make(cat, WAVES, tmp_path)
        maker.go.set()
        future.result()
    maker.make(cat, WAVES, tmp_path)


def test_photos_wait_for_memory_and_all_are_made(shelf, cat, tmp_path, monkeypatch):
    monkeypatch.setattr("web.stages.available_memory", lambda: 100.0)  # less than one photo takes
    maker = PictureMaker(ServiceConfig(max_waiting=9), shelf)
    monkeypatch.setattr("web.stages.available_memory", lambda: 1e12)
    with ThreadPoolExecutor(8) as pool:
        assert all(future.result() for future in make_many(maker, 8, cat, tmp_path, pool))
    assert maker.stages.memory.waiting == 0


def test_a_photo_for_which_memory_is_short_is_refused_for_now(shelf, cat, tmp_path, monkeypatch):
    maker = PictureMaker(ServiceConfig(), shelf)
    monkeypatch.setattr("web.stages.available_memory", lambda: 100.0)
    with pytest.raises(MemoryError, match="try again later"):
        maker.make(cat, WAVES, tmp_path)
    assert maker.waiting == 0


def test_a_cancelled_photo_leaves_the_line(shelf, cat, tmp_path):
    maker = HeldMaker(ServiceConfig(), shelf)
    deadline = Deadline(60)
    with ThreadPoolExecutor(2) as pool:
        (first,) = make_many(maker, 1, cat, tmp_path, pool)
        wait_until(lambda: maker.on_network)
        second = pool.submit(maker.make, cat, WAVES, tmp_path, deadline=deadline)
        wait_until(lambda: maker.waiting == 1)
        deadline.cancel()
        with pytest.raises(GaveUp):
            second.result()
        assert maker.waiting == 0
        maker.go.set()
        first.result()


def test_only_photos_count_for_the_time_that_others_are_told(shelf, cat, tmp_path, monkeypatch):
    maker = PictureMaker(ServiceConfig(), shelf)
    before = maker.turns.busy(1000).retry_after
    maker.sheet(cat)
    assert maker.turns.busy(1000).retry_after == before
    maker.make(cat, PictureRequest((("waves", 1.0),)), tmp_path)
    assert maker.turns.busy(1000).retry_after != before


def test_too_many_pixels_are_refused_before_they_are_decoded(shelf, photo, tmp_path, monkeypatch):
    maker = PictureMaker(ServiceConfig(max_megapixels=0.01), shelf)
    large, small = photo(tmp_path / "l.png", height=200, width=100), photo(tmp_path / "s.png")
    monkeypatch.setattr(maker, "_read", lambda *_: pytest.fail("it was decoded"))
    for path, mask in ((large, None), (small, large)):
        with pytest.raises(ImageError, match=r"more than 0\.01 megapixels \(100x200"):
            maker.make(path, PictureRequest((("waves", 1.0),), mask=mask), tmp_path)


def test_a_request_is_checked_before_it_waits(shelf, cat, tmp_path):
    maker = PictureMaker(ServiceConfig(max_waiting=0), shelf)
    with pytest.raises(UnknownStyle):
        maker.make(cat, PictureRequest((("nobody", 1.0),)), tmp_path)
    with pytest.raises(UsageError, match="^strength must be"):
        maker.make(cat, PictureRequest((("waves", 1.0),), strength=2.0), tmp_path)


def test_a_sheet_has_every_style_and_limits_pixels(shelf, cat):
    maker = PictureMaker(ServiceConfig(), shelf)
    assert [name for name, _ in maker.sheet(cat)] == ["stars", "waves"]
    maker = PictureMaker(ServiceConfig(max_megapixels=0.001), shelf)
    with pytest.raises(ImageError, match="more than 0.001 megapixels"):
        maker.sheet(cat)

"""The service when there is much to do: who waits, who is sent away, who gives up, and what a stop does."""

import threading

import pytest

pytest.importorskip("fastapi", reason="needs requirements-serve.txt")
pytest.importorskip("uvicorn", reason="needs requirements-serve.txt")
pytest.importorskip("prometheus_client", reason="needs requirements-serve.txt")
pytest.importorskip("python_multipart", reason="needs requirements-serve.txt")

from serving import form_body, running_service
from waiting import wait_until

from web.pictures import PictureMaker
from web.turns import Busy
from web.uploads import UploadRoom

pytestmark = pytest.mark.tensorflow


class HeldMaker(PictureMaker):
    """Keeps photos on the network until `go` is set, or they are given up."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.go, self.on_network = threading.Event(), 0

    def _painted(self, photo, mask, target, request, on_part):
        self.on_network += 1
        while not self.go.wait(0.02):
            on_part(0.0)
        return super()._painted(photo, mask, target, request, on_part)


@pytest.fixture
def held(style_dirs, tmp_path):
    """A service whose network stands still; one photo may wait."""
    (tmp_path / "uploads").mkdir()
    options = {"maker_class": HeldMaker, "max_waiting": 1, "time_limit": 600.0, "stop_limit": 2.0}
    with running_service(style_dirs["waves"].parent, tmp_path / "uploads", **options) as service:
        yield service
        service.maker.go.set()


@pytest.fixture
def cat(tmp_path, photo):
    return photo(tmp_path / "cat.png")


class Asking(threading.Thread):
    """A client that waits for its picture; its answer is in `reply`."""

    def __init__(self, service, photo):
        super().__init__(daemon=True)
        self._ask = lambda: service.stylize(photo)
        self.reply = None
        self.start()

    def run(self):
        self.reply = self._ask()


def two_clients(service, photo) -> list[Asking]:
    """One whose photo is on the network, and one whose photo waits."""
    first = Asking(service, photo)
    wait_until(lambda: service.maker.on_network == 1)
    second = Asking(service, photo)
    wait_until(lambda: service.maker.waiting == 1)
    return [first, second]


def test_one_too_many_gets_503_with_the_time_to_try_again_and_others_their_pictures(held, cat):
    clients = two_clients(held, cat)
    reply = held.stylize(cat)
    assert reply.status == 503 and "1 photos wait already" in reply.error
    assert 1 <= int(reply.headers["retry-after"]) < 600
    assert held.get("/api/v1/health").status == 200
    assert b"fast_style_transfer_waiting_photos 1.0" in held.get("/metrics").body
    held.maker.go.set()
    for client in clients:
        client.join(60)
        assert client.reply.status == 200
    assert held.stylize(cat).status == 200


def test_a_client_that_goes_away_makes_room(held, cat):
    Asking(held, cat)
    wait_until(lambda: held.maker.on_network == 1)
    body = form_body([("photo", "a.png", cat.read_bytes()), ("style", "waves")])
    kind = "multipart/form-data; boundary=boundary0123456789"
    head = f"POST /api/v1/stylize HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}"
    with held.connect() as connection:
        connection.sendall(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        wait_until(lambda: held.maker.waiting == 1)
    wait_until(lambda: held.maker.waiting == 0)
    wait_until(lambda: held.lines)
    assert held.records()[0]["status"] == 499
    wait_until(lambda: len(list(held.folder.iterdir())) == 1)


def test_photos_that_are_not_done_in_time_are_answered_when_the_server_stops(held, cat):
    clients = two_clients(held, cat)
    held.server.should_exit = True
    wait_until(
        lambda: held.app.state.service.is_stopping
    )  # it takes no new photos while those here are finished
    for client in clients:
        client.join(60)
        assert client.reply.status == 503 and client.reply.error == "the server is stopping; try again later"
        assert client.reply.headers["retry-after"] == "10"
    held.thread.join(60)
    assert not held.thread.is_alive() and list(held.folder.iterdir()) == []


def test_a_service_that_stops_is_not_ready_and_takes_no_photos(held, cat):
    held.app.state.service.stop()
    assert held.get("/api/v1/ready").status == 503
    assert held.stylize(cat).error == "the server is stopping; try again later"


def test_a_photo_that_takes_too_long_gets_504(style_dirs, cat, tmp_path):
    options = {"maker_class": HeldMaker, "time_limit": 0.3}
    with running_service(style_dirs["waves"].parent, tmp_path / "u", **options) as service:
        (tmp_path / "u").mkdir()
        reply = service.stylize(cat)
    assert reply.status == 504 and "time limit of 0.3 seconds" in reply.error


def test_there_is_room_for_so_many_bytes_of_uploads():
    room = UploadRoom(100)
    room.take(60)
    with pytest.raises(Busy, match="too many uploads arrive"):
        room.take(41)
    room.give(60)
    room.take(100)

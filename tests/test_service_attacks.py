"""What hostile and careless clients send to the service: each gets a line, or a closed connection, and others go on."""

import contextlib
import io
import re
import socket
import struct
import threading
import zlib

import pytest

pytest.importorskip("fastapi", reason="needs requirements-serve.txt")
pytest.importorskip("uvicorn", reason="needs requirements-serve.txt")
pytest.importorskip("prometheus_client", reason="needs requirements-serve.txt")
pytest.importorskip("python_multipart", reason="needs requirements-serve.txt")

from PIL import Image
from serving import BOUNDARY, form_body, read_all, running_service
from waiting import wait_until

pytestmark = pytest.mark.tensorflow
HOST = b"Host: 127.0.0.1\r\n"
RAW = b"POST /api/v1/stylize?style=waves HTTP/1.1\r\n" + HOST + b"Content-Type: image/png\r\n"


@pytest.fixture(scope="module")
def service(style_dirs, tmp_path_factory):
    """A service with small limits: 1 MB, 1 megapixel, an upload of 2 seconds, headers of 2 seconds, 60 connections."""
    folder = tmp_path_factory.mktemp("uploads")
    limits = {"max_upload": 1.0, "max_megapixels": 1.0, "upload_limit": 2.0, "max_connections": 60}
    with running_service(style_dirs["waves"].parent, folder, header_seconds=2.0, **limits) as running:
        yield running


@pytest.fixture(scope="module")
def cat(tmp_path_factory, photo):
    return photo(tmp_path_factory.mktemp("photos") / "cat.png")


@pytest.fixture(autouse=True)
def _the_service_is_as_before(service, cat):
    yield
    assert service.stylize(cat).status == 200
    wait_until(lambda: not list(service.folder.iterdir()))
    wait_until(lambda: service.maker.waiting == 0)


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of(width: int, height: int, packed: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        png_chunk(kind, content) for kind, content in ((b"IHDR", header), (b"IDAT", packed), (b"IEND", b""))
    )


def encoded(kind: str, size: tuple[int, int] = (40, 30)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, (9, 99, 199)).save(stream, kind)
    return stream.getvalue()


HOSTILE_FILES = {
    "text": b"this is no photo\n" * 99,
    "nothing at all": b"\0" * 999,
    "zip": b"PK\x03\x04" + bytes(99),
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "html": b"<html><script>alert(1)</script></html>",
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
    "pdf": b"%PDF-1.7\n",
    "imagemagick script": b"push graphic-context\nviewbox 0 0 9 9\nfill 'url(https://x/a.jpg\"|ls \"-la)'\n",
    "cut JPEG": encoded("JPEG", (400, 300))[:700],
    "cut PNG": encoded("PNG", (400, 300))[:60],
    "claims 50,000 x 50,000": png_of(50_000, 50_000, zlib.compress(bytes(999))),
    "claims more than it holds": png_of(900, 900, zlib.compress(bytes(99))),
    "deflate bomb": png_of(40_000, 4_000, zlib.compress(bytes(50_000_000), 9)),
    "too many pixels": encoded("PNG", (1200, 1000)),
    "JPEG header with another format behind": encoded("JPEG")[:20] + encoded("PNG"),
    "claims 65,535 x 65,535 in GIF": b"GIF89a\xff\xff\xff\xff\x80\0\0" + b"\0" * 99,
}


@pytest.mark.parametrize("name", HOSTILE_FILES)
def test_a_hostile_file_is_refused_in_one_line(service, name):
    reply = service.stylize(HOSTILE_FILES[name], name="cat.png")
    assert reply.status == 422 and reply.error.startswith("photo")
    assert str(service.folder) not in reply.error


@pytest.mark.parametrize("name", HOSTILE_FILES)
def test_a_hostile_mask_is_refused_in_one_line(service, cat, name):
    parts = [("photo", "a.png", cat.read_bytes()), ("mask", "m.png", HOSTILE_FILES[name]), ("style", "waves")]
    reply = service.post("/api/v1/stylize", parts)
    assert reply.status == 422 and reply.error.startswith("mask")


def test_a_photo_with_a_program_behind_it_gives_a_picture_without_it(service, cat):
    reply = service.stylize(cat.read_bytes() + b"PK\x03\x04<script>alert(1)</script>")
    assert (
        reply.status == 200 and b"script" not in reply.body and reply.headers["content-type"] == "image/png"
    )


@pytest.mark.parametrize(
    "kind",
    ["application/json", "text/html", "application/x-www-form-urlencoded", "multipart/mixed; boundary=x"],
)
def test_other_types_of_bodies_are_refused(service, kind):
    reply = service.request(
        "POST", "/api/v1/stylize?style=waves", b'{"photo": "/etc/passwd"}', {"Content-Type": kind}
    )
    assert reply.status == 415 and "multipart/form-data" in reply.error


def test_an_empty_body_is_refused(service):
    reply = service.request("POST", "/api/v1/stylize?style=waves", b"", {"Content-Type": "image/png"})
    assert reply.status == 400 and "empty" in reply.error


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 99999999999\r\n",
        b"Content-Length: 2000000\r\n",
        b"Content-Length: 1" + b"0" * 300 + b"\r\n",
    ],
)
def test_a_length_that_is_too_large_is_refused_before_the_body(service, head):
    with service.connect() as connection:
        connection.sendall(RAW + head + b"Expect: 100-continue\r\n\r\n")
        answer = read_all(connection)
    assert answer.startswith((b"HTTP/1.1 413", b"HTTP/1.1 400")) and b'{"error"' in answer


def test_more_bytes_than_allowed_are_refused_while_they_arrive(service):
    reply = service.request(
        "POST", "/api/v1/stylize?style=waves", bytes(1_500_000), {"Content-Type": "image/png"}
    )
    assert reply.status == 413 and "more than 1 MB" in reply.error
    reply = service.stylize(bytes(1_500_000))
    assert reply.status == 413


def test_chunks_without_end_are_refused(service):
    with service.connect() as connection:
        connection.sendall(RAW + b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + bytes(65536) + b"\r\n"
        with contextlib.suppress(ConnectionError):
            for _ in range(1600):  # 100 MB
                connection.sendall(chunk)
        assert b"413" in read_all(connection)[:20]


def test_a_body_that_ends_early_is_no_photo(service):
    known = len(service.records())
    with service.connect() as connection:
        connection.sendall(RAW + b"Content-Length: 5000\r\n\r\n" + bytes(100))
        connection.shutdown(socket.SHUT_WR)
        read_all(connection)
    # Records of earlier requests may arrive later than this one.
    wait_until(lambda: any(record["status"] in (499, 400) for record in service.records()[known:]))


def test_two_ways_to_tell_the_length_are_refused(service):
    for head in (b"Content-Length: 4\r\n", b"content-length: 0\r\n"):
        head += b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        answer = service.raw(b"GET /api/v1/health HTTP/1.1\r\n" + HOST + head + b"0\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 400") and b"Content-Length or Transfer-Encoding" in answer


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 4\r\nContent-Length: 5\r\n",
        b"Content-Length: -4\r\n",
        b"Content-Length: 4, 5\r\n",
        b"Content-Length: 0x4\r\n",
        b"Transfer-Encoding: gzip, chunked\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding : chunked\r\n",
        b"Host: another\r\n",
        b"X: a\r\n folded: b\0\r\n",
    ],
)
def test_headers_that_two_servers_might_read_differently_are_refused(service, head):
    answer = service.raw(RAW + head + b"Connection: close\r\n\r\n0\r\n\r\n")
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 501")) and b'{"error"' in answer


@pytest.mark.parametrize(
    "content",
    [
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 70_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 20_000 + b"\r\n",
        b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(99),  # TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\0" * 999,
        b"GET / HTTP/9.9\r\n\r\n",
    ],
)
def test_what_is_no_http_or_too_long_gets_one_line(service, content):
    answer = service.raw(content)
    assert answer == b"" or (answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 404")) and b'{"error"' in answer)


def test_headers_that_arrive_byte_by_byte_end_with_the_connection(service):
    with service.connect() as connection, contextlib.suppress(ConnectionError):
        stop = threading.Event()
        while not stop.wait(0.05):
            connection.sendall(b"G")
            connection.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                if connection.recv(1) == b"":
                    stop.set()
            connection.setblocking(True)


def test_a_second_request_on_a_connection_has_the_same_limits(service):
    with service.connect() as connection:
        connection.sendall(b"GET /api/v1/health HTTP/1.1\r\n" + HOST + b"\r\n")
        answer = b""
        while not answer.endswith(b"}"):  # head and body may arrive one after the other
            answer += connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 200")
        connection.sendall(b"GET /api/v1/heal")  # and no more
        assert read_all(connection) == b""


def test_an_upload_that_takes_too_long_is_ended(service):
    with service.connect() as connection:
        connection.sendall(RAW + b"Content-Length: 5000\r\n\r\n" + bytes(100))
        answer = read_all(connection)
    assert b"408" in answer[:20] and b"connection: close" in answer.lower()


def test_idle_connections_do_not_keep_others_out(service, cat):
    with contextlib.ExitStack() as opened:
        for index in range(200):  # more than the 60 that are allowed
            connection = opened.enter_context(service.connect())
            if index % 2:
                connection.sendall(b"GET / HT")
        assert service.stylize(cat).status == 200
        count = re.search(rb"fast_style_transfer_connections (\d+)", service.get("/metrics").body)
        assert 1 <= int(count[1]) <= 60


def test_many_parts_are_refused(service, cat):
    parts = [(f"field{index}", "x") for index in range(500)]
    reply = service.post("/api/v1/stylize", [("photo", "cat.png", cat.read_bytes()), *parts])
    assert reply.status == 400 and "Too many fields" in reply.error
    reply = service.post("/api/v1/stylize", [("photo", f"{index}.png", b"x") for index in range(9)])
    assert reply.status == 400 and "Too many files" in reply.error


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--",
        f"--{BOUNDARY}".encode(),
        f"--{BOUNDARY}\r\n\r\nno headers\r\n--{BOUNDARY}--".encode(),
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; filename="x"\r\n\r\nx\r\n--{BOUNDARY}--'.encode(),
        f"--{BOUNDARY}\r\nX: {'y' * 100_000}\r\n\r\nx\r\n--{BOUNDARY}--".encode(),
        form_body([("photo", "cat.png", b"x")])[:-30],
        form_body([("style", "w" * 5000)]),
    ],
)
def test_a_damaged_form_is_refused(service, body):
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    reply = service.request("POST", "/api/v1/stylize", body, headers)
    assert reply.status in (400, 422) and reply.error


@pytest.mark.parametrize("charset", ["undefined", "idna", "punycode"])
def test_a_charset_without_text_is_refused(service, cat, charset):
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}; charset={charset}"}
    body = form_body([("photo", "\u00e4" * 99, cat.read_bytes()), ("style", "\u00e4" * 99)])
    reply = service.request("POST", "/api/v1/stylize", body, headers)
    assert reply.status in (400, 404, 422) and reply.error


@pytest.mark.parametrize(
    "kind",
    ["multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=" + "b" * 5000],
)
def test_a_form_without_a_proper_boundary_is_refused(service, kind):
    reply = service.request(
        "POST", "/api/v1/stylize", form_body([("style", "waves")]), {"Content-Type": kind}
    )
    assert reply.status in (400, 422) and reply.error


def test_names_of_fields_and_files_never_become_paths(service, cat, tmp_path):
    parts = [
        ("photo", str(tmp_path / "x.png"), cat.read_bytes()),
        ("style", "waves"),
        ("../../mask", "x", b"x"),
    ]
    reply = service.post("/api/v1/stylize", parts)
    assert reply.status == 422 and "photo and mask" in reply.error
    assert list(tmp_path.iterdir()) == []


def test_a_refused_body_is_read_so_that_the_line_arrives(service):
    reply = service.request("POST", "/api/v1/nothing", bytes(3_000_000))
    assert reply.status == 404 and reply.error

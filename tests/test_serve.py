"""The door serve.py: flags, where it listens, how it stops, and what it leaves behind."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from dataclasses import fields
from pathlib import Path

import pytest
from test_architecture import flags_of, modules_after
from waiting import wait_until

import serve
from cli.flags import flag
from web.config import KEY_VARIABLE, ServiceConfig

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("fastapi", "uvicorn", "prometheus_client", "python_multipart")


@pytest.fixture
def needs_packages():
    for name in PACKAGES:
        pytest.importorskip(name, reason="needs requirements-serve.txt")


class Process:
    """A serve.py process with temporary files of its own. lines: of stderr."""

    def __init__(self, folder: Path, *flags: str, **environment: str):
        self.folder = folder
        self.log = folder.parent / "log.jsonl"
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, str(ROOT / "serve.py"), "--port", "0", *flags],
                stdout=log,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "TMPDIR": str(folder), **environment},
            )
        self.lines = [self._process.stderr.readline()]
        while self.lines[-1] and "listening" not in self.lines[-1]:
            self.lines.append(self._process.stderr.readline())
        self.port = int(re.search(r"listening on http://[\d.]+:(\d+)", self.lines[-1])[1])

    def ask(self, method: str, path: str, body=None, headers=None) -> tuple[int, bytes]:
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        ) as connection:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.read()

    def stylize(self, photo: Path) -> tuple[int, bytes]:
        path = "/api/v1/stylize?style=udnie"
        return self.ask("POST", path, photo.read_bytes(), {"Content-Type": "image/png"})

    def uploads(self) -> list[Path]:
        return list(self.folder.glob(".*.tmp"))

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def ended(self) -> tuple[int, str]:
        """Waits for the end; returns the exit status and the rest of stderr."""
        rest = self._process.communicate(timeout=120)[1]
        return self._process.returncode, rest


@pytest.fixture
def started(tmp_path, needs_packages):
    """A function that starts serve.py."""
    processes = []
    (tmp_path / "tmp").mkdir()

    def start(*flags: str, **environment: str) -> Process:
        processes.append(Process(tmp_path / "tmp", *flags, **environment))
        return processes[-1]

    yield start
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            process.send(signal.SIGKILL)
        process.ended()


def line_of(capsys) -> str:
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_every_field_is_a_flag_of_the_same_name():
    assert flags_of(serve) == {flag(option.name): option.name for option in fields(ServiceConfig)}


def test_help_waits_for_no_library():
    status, loaded = modules_after("serve.py", "--help")
    assert status == 0
    assert loaded & {"fastapi", "uvicorn", "numpy", "onnxruntime", "gradio", "tensorflow"} == set()


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--port", "99999"], "--port must be"),
        (["--max-upload", "0"], "--max-upload must be"),
        (["--time-limit", "nan"], "--time-limit must be"),
        (["--max-waiting", "-1"], "--max-waiting must be"),
        (["--api-key", "short"], "--api-key must have 16"),
        (["--api-key", "with spaces in the middle"], "--api-key must have 16"),
        (["--public-host", "https://photos.example"], "--public-host https://photos.example: is not a name"),
        (["--public-host", "photos.example:443"], "leave out https://, ports and paths"),
        (["photo.jpg"], "unrecognized arguments"),
    ],
)
def test_a_mistake_in_the_flags_is_one_line_and_status_2(capsys, flags, expected):
    with pytest.raises(SystemExit) as caught:
        serve.main(flags)
    assert caught.value.code == 2 and expected in line_of(capsys)


def test_the_key_of_the_environment_is_used_and_a_flag_goes_first(monkeypatch):
    monkeypatch.setenv(KEY_VARIABLE, "0123456789abcdef")
    assert serve.parse_args([]).api_key == "0123456789abcdef"
    assert serve.parse_args(["--api-key", "f" * 20]).api_key == "f" * 20


def test_a_port_in_use_is_one_line_and_status_1(capsys, needs_packages):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert serve.main(["--port", str(port)]) == 1
    assert line_of(capsys) == f"serve.py: 127.0.0.1 port {port}: Address already in use; give another --port"


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid", "a" * 300, "::zz"])
def test_an_address_of_another_machine_is_one_line_and_status_1(capsys, needs_packages, host):
    assert serve.main(["--host", host, "--port", "0"]) == 1
    assert "give another --host" in line_of(capsys)


def test_a_missing_package_is_named(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "web.server", raising=False)
    assert serve.main([]) == 1
    assert "pip install -r requirements-serve.txt" in line_of(capsys)


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_it_with_one_line_and_nothing_left(started, number, status):
    if signal.getsignal(number) == signal.SIG_IGN:
        pytest.skip(f"{number.name} is ignored here, as under nohup")
    process = started()
    assert process.ask("GET", "/api/v1/health")[0] == 200
    assert len(process.uploads()) == 1 and process.uploads()[0].stat().st_mode & 0o777 == 0o700
    process.send(number)
    assert process.ended() == (status, f"serve.py: interrupted by {signal.Signals(number).name}\n")
    assert process.uploads() == []


def test_a_photo_in_work_is_finished_before_the_end(started, photo, tmp_path):
    process = started()
    path = photo(tmp_path / "large.png", height=900, width=1200)
    answers = []
    thread = threading.Thread(target=lambda: answers.append(process.stylize(path)))
    thread.start()
    wait_until(lambda: any(folder.iterdir() for folder in process.uploads()[0].iterdir()))
    process.send(signal.SIGTERM)
    thread.join(120)
    assert answers[0][0] == 200 and answers[0][1].startswith(b"\x89PNG")
    assert process.ended()[0] == 143 and process.uploads() == []
    with pytest.raises(ConnectionError):
        process.ask("GET", "/api/v1/health")


def test_a_killed_process_leaves_uploads_that_the_next_one_removes(started, photo, tmp_path):
    process = started()
    process.send(signal.SIGKILL)
    process.ended()
    (left,) = process.uploads()
    second = started()
    assert left not in second.uploads() and len(second.uploads()) == 1


def test_requests_are_logged_on_stdout_as_json(started, photo, tmp_path):
    process = started()
    assert process.stylize(photo(tmp_path / "cat.png"))[0] == 200
    wait_until(lambda: process.log.read_text().endswith("\n"))
    (line,) = process.log.read_text().splitlines()
    assert json.loads(line)["status"] == 200 and json.loads(line)["styles"] == ["udnie"]


def test_a_thousand_idle_connections_do_not_keep_a_good_client_out(started, photo, tmp_path):
    process = started()
    with contextlib.ExitStack() as opened:
        for index in range(1100):
            try:
                connection = socket.create_connection(("127.0.0.1", process.port), timeout=60)
            except OSError:  # the limit of open files of the tests
                break
            opened.enter_context(connection)
            if index % 2:
                connection.sendall(b"POST /api/v1/stylize HTTP/1.1\r\nX-Slow: ")
        assert index > 500
        if index < 1099:
            opened.close()
        assert process.stylize(photo(tmp_path / "cat.png"))[0] == 200


def test_a_line_warns_of_a_public_name_without_a_key(started):
    process = started("--public-host", "photos.example")
    assert "everyone who reaches photos.example can use this service" in process.lines[0]


@pytest.mark.parametrize("host", ["127.0.0.2", "LOCALHOST"])
def test_no_line_warns_of_an_address_of_this_machine(started, host):
    assert "listening" in started("--host", host).lines[0]


def test_a_line_warns_of_an_open_address_without_a_key(started):
    process = started("--host", "0.0.0.0")
    assert "everyone who reaches 0.0.0.0 can use this service" in process.lines[0]

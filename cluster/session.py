"""The Ray cluster of one call: a running one that is joined, or one on this machine that ends with the call."""

import contextlib
import logging
import math
import os
import re
import shutil
import socket
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from system.held_stderr import stderr_held
from system.program import IS_INSTALLED, ROOT, install_line

AUTO, LOCAL = "auto", "local"
ADDRESSES = "auto, local, HOST:PORT or ray://HOST:PORT"
# Ray reports usage to its makers unless this says no. It must be set before Ray is imported.
_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Otherwise lines for Ray's developers reach the terminal. Its log files tell what happens to processes.
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}
# Of the repository, what workers on other machines need. Styles travel with the work, see style_parcel.py.
_SENT_FOLDERS = ("cli", "cluster", "data", "loss_net", "system", "transformer")
_BASE_DIR = Path("checkpoints") / "base"  # what trainings start from
MESSAGE_SECONDS = 60.0  # between two lines about lost workers
CONNECT_SECONDS = 10.0  # until nobody seems to listen at an address; Ray itself would wait for minutes


class ClusterError(Exception):
    """A cluster cannot be used: one line that says what is wrong and what to do."""


def check_address(address: str) -> str:
    """Returns the address of a cluster. Raises ValueError if it cannot be one."""
    if address in (AUTO, LOCAL):
        return address
    host_and_port = re.fullmatch(r"(ray://)?([\w.-]+|\[[0-9a-fA-F:]+\]):(\d{1,5})", address)
    if host_and_port is None or not 0 < int(host_and_port[3]) < 2**16:
        raise ValueError(f"the address of a cluster is {ADDRESSES}, got {address!r}")
    return address


@contextlib.contextmanager
def joined_cluster(
    address: str, on_message: Callable[[str], object] = lambda message: None
) -> Iterator[None]:
    """Within this context this process is a driver of a cluster.

    address: "auto" is the cluster that the environment variable RAY_ADDRESS names or that runs on this machine, and
    otherwise a local one. "local" is a cluster of this machine alone, which ends with the context. Signals stay with
    the handlers that they had. on_message: is told in one line that a worker was lost, at most once a minute.

    Raises ClusterError, and ModuleNotFoundError where Ray is not installed.
    """
    ray = _import_ray()
    # Once it is connected, Ray prints to stderr what concerns its developers; the files of its session keep it.
    options = {"logging_level": logging.ERROR, "log_to_driver": False, "include_dashboard": True}
    with _kept_signal_handlers(), tempfile.TemporaryDirectory(prefix="fast_style_transfer_") as folder:
        try:
            _shorten_messages(ray, on_message)
            with stderr_held():  # C++ says there which environment variable it has read
                _connect(ray, address, options, Path(folder))
        except Exception as error:
            ray.shutdown()
            raise ClusterError(_explained(address, error)) from error
    try:
        yield
    finally:
        ray.shutdown()


def _shorten_messages(ray: Any, on_message: Callable[[str], object]) -> None:
    """Ray prints a paragraph for each lost process; one line is enough. Its dashboard and log files have the rest."""
    last = -math.inf

    def told(data: Mapping[str, Any], *_ignored: Any, **_also: Any) -> None:
        nonlocal last
        text = " ".join(map(str, data.get("lines", ())))
        if re.search(r"died|marked dead|unavailable", text) and time.monotonic() - last > MESSAGE_SECONDS:
            last = time.monotonic()
            on_message("a worker or machine of the cluster was lost; Ray repeats its work")

    if hasattr(ray._private.worker, "print_to_stdstream"):  # no public way is known
        ray._private.worker.print_to_stdstream = told


def _import_ray() -> Any:
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    # Its warnings are advice for who writes programs.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"ray\.data\..*")
    return ray


def _connect(ray: Any, address: str, options: Mapping[str, Any], folder: Path) -> None:
    if address == AUTO:
        address = os.environ.get("RAY_ADDRESS") or AUTO
    if address == AUTO:
        with contextlib.suppress(ConnectionError):
            ray.init(AUTO, **_joining(options, folder))
            return
    if address in (AUTO, LOCAL):
        # Its ports are open to other machines, but a local cluster asks for a token, see Ray's "token authentication".
        ray.init(LOCAL, **options)
    else:
        _check_answers(address)
        ray.init(address, **_joining(options, folder))


def _check_answers(address: str) -> None:
    """Raises OSError if nobody listens at HOST:PORT."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()


def _joining(options: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The options for a cluster that runs already. Its machines get this program, unless it is installed.

    They get a copy of its modules and of the base alone: whatever else lies in the repository would be sent too.
    """
    options = {name: value for name, value in options.items() if name != "include_dashboard"}
    if IS_INSTALLED:
        return options
    for path in (
        *ROOT.glob("*.py"),
        *(path for name in _SENT_FOLDERS for path in (ROOT / name).rglob("*.py")),
        *(ROOT / _BASE_DIR).glob("*.*"),
    ):
        copy = folder / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    return {**options, "runtime_env": {"working_dir": str(folder)}}


@contextlib.contextmanager
def _kept_signal_handlers() -> Iterator[None]:
    """Restores the handlers of signals at the end: Ray replaces that of SIGTERM by its own."""
    import signal
    import threading

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _explained(address: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    if address == LOCAL or (address == AUTO and not os.environ.get("RAY_ADDRESS")):
        remedy = f"check the free memory and /tmp, or install Ray again: {install_line('cluster')}"
        return f"a local Ray cluster cannot be started ({reason}); {remedy}"
    return (
        f"--cluster {address}: the cluster cannot be joined ({reason}); check the address, and that RAY_AUTH_TOKEN is"
        " that of the cluster if it asks for one"
    )

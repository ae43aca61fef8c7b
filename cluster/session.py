"""The Ray cluster of one call: a running one that is joined, or one on this machine that ends with the call."""

import contextlib
import logging
import os
import re
import socket
from collections.abc import Iterator, Mapping
from typing import Any

from system.program import IS_INSTALLED, ROOT, install_line

AUTO, LOCAL = "auto", "local"
ADDRESSES = "auto, local, HOST:PORT or ray://HOST:PORT"
# Ray reports usage to its makers unless this says no. It must be set before Ray is imported.
_NO_REPORTS = {"RAY_USAGE_STATS_ENABLED": "0"}
# Of the repository, what workers on other machines do not need. Styles travel with the work, see style_parcel.py; the
# base is what trainings start from.
_NOT_SENT = [
    "checkpoints/*", "!checkpoints/base", "tests", "docs", "benchmarks", "examples", "fuzz", "tools", "install", "out",
    "dist", "*.egg-info", "runs", "shared", "**/__pycache__", ".?*",
]  # fmt: skip


CONNECT_SECONDS = (
    10.0  # until an address counts as one where nobody answers; Ray itself would wait for minutes
)


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
def joined_cluster(address: str) -> Iterator[Mapping[str, float]]:
    """Within this context this process is a driver of a cluster. Gives the cluster's resources, such as {"CPU": 8.0}.

    address: "auto" is the cluster that the environment variable RAY_ADDRESS names or that runs on this machine, and
    otherwise a local one. "local" is a cluster of this machine alone, which ends with the context. Signals stay with
    the handlers that they had.

    Raises ClusterError, and ModuleNotFoundError where Ray is not installed.
    """
    ray = _import_ray()
    # Once it is connected, Ray prints to stderr what concerns its developers; the files of its session keep it.
    options = {"logging_level": logging.ERROR, "log_to_driver": False, "include_dashboard": True}
    with _kept_signal_handlers():
        try:
            _connect(ray, address, options)
        except Exception as error:
            ray.shutdown()
            raise ClusterError(_explained(address, error)) from error
    try:
        yield ray.cluster_resources()
    finally:
        ray.shutdown()


def _import_ray() -> Any:
    for name, value in _NO_REPORTS.items():
        os.environ.setdefault(name, value)
    import ray

    return ray


def _connect(ray: Any, address: str, options: Mapping[str, Any]) -> None:
    if address == AUTO and os.environ.get("RAY_ADDRESS", LOCAL) != LOCAL:
        address = os.environ["RAY_ADDRESS"]
    if address == AUTO:
        with contextlib.suppress(ConnectionError):
            ray.init(AUTO, **_joining(options))
            return
    if address in (AUTO, LOCAL):
        # Its ports are open to other machines, but a local cluster asks for a token, see Ray's "token authentication".
        ray.init(LOCAL, **options)
    else:
        _check_answers(address)
        ray.init(address, **_joining(options))


def _check_answers(address: str) -> None:
    """Raises OSError if nobody listens at HOST:PORT."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()


def _joining(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options for a cluster that runs already. Its nodes get this program, unless they have it installed."""
    options = {name: value for name, value in options.items() if name != "include_dashboard"}
    environment = {} if IS_INSTALLED else {"working_dir": str(ROOT), "excludes": _NOT_SENT}
    return {**options, "runtime_env": environment}


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

"""A door as the child of a Ray worker: it ends with its worker, says every line it writes, and obeys orders."""

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence

from system.signals import EXIT_STATUS
from transformer.training.cluster_config import LOST_STATUS, RESTARTS_VARIABLE

SAVE, KILL = "save", "kill"  # orders: save the state and end; end at once
POLL_SECONDS = 0.5  # between exchanges of lines and orders
# Linux kills the child with the thread that started it, however that ends; an exec keeps this. If the thread has ended
# before this is asked for, the child has another parent.
_START = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    os._exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""
# Ray Train sets it, and tf.keras becomes another library by it.
_NOT_INHERITED = ("TF_USE_LEGACY_KERAS",)


def was_lost(status: int) -> bool:
    """Returns whether a process that ended with this status, unasked, was stopped from outside, or lost a companion."""
    return status < 0 or status in (LOST_STATUS, *EXIT_STATUS.values())


def child_environment(
    environment: Mapping[str, str], *, threads: int | None, gpus: Sequence[str]
) -> dict[str, str]:
    """Returns the environment of a training below a Ray worker whose own is `environment`.

    threads: of one operation; None leaves TensorFlow's own number, all cores. gpus: what Ray gave to this worker; Ray
    Train shows a worker the GPUs of its neighbours too.
    """
    own = {name: value for name, value in environment.items() if name not in _NOT_INHERITED}
    own[RESTARTS_VARIABLE] = "ray"
    own["PYTHONUNBUFFERED"] = "1"
    if threads is not None:
        own["TF_NUM_INTRAOP_THREADS"] = str(threads)
    if gpus:
        own["CUDA_VISIBLE_DEVICES"] = ",".join(gpus)
    return own


def run_child(
    command: Sequence[str],
    environment: Mapping[str, str],
    directory: str | None,
    exchange: Callable[[list[str]], str],
) -> int:
    """Runs a command to its end; returns its exit status, negative for the number of a signal.

    exchange: is called twice a second with the lines that the command has written since, and returns an order or "".
    If it raises, the command is killed.
    """
    bound = [sys.executable, "-c", _START, str(os.getpid())] if sys.platform == "linux" else []
    child = subprocess.Popen(
        [*bound, *command],
        env=dict(environment),
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C in the terminal of a local cluster is the driver's
    )
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    reader = threading.Thread(target=_read, args=(child, lines), daemon=True)
    reader.start()
    try:
        _exchange_until_end(child, reader, lines, exchange)
    finally:
        if child.poll() is None:
            child.kill()
        child.wait()
    return child.returncode


def _read(child: subprocess.Popen, lines: queue.SimpleQueue) -> None:
    for line in child.stdout:
        lines.put(line.rstrip("\n"))


def _exchange_until_end(
    child: subprocess.Popen,
    reader: threading.Thread,
    lines: queue.SimpleQueue,
    exchange: Callable[[list[str]], str],
) -> None:
    obeyed = ""
    while child.poll() is None:
        reader.join(POLL_SECONDS)
        order = exchange(_taken(lines))
        if order == SAVE and not obeyed:
            child.terminate()
        elif order == KILL:
            child.kill()
        obeyed = order or obeyed
        if not reader.is_alive():
            child.wait()
    reader.join(POLL_SECONDS)  # longer only where a grandchild holds the pipe
    exchange(_taken(lines))


def _taken(lines: queue.SimpleQueue) -> list[str]:
    taken = []
    while not lines.empty():
        taken.append(lines.get())
    return taken

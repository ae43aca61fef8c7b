"""Locks between processes (flock), which the system takes from a process that is killed.

Windows has no flock: there nothing is locked, and temporary files of killed processes stay.
"""

import contextlib
import errno
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:
    fcntl = None


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Holds `path`, a file or folder that need not exist, against other processes that lock it too.

    Its parent folders are created. A lock that a killed process held is free.
    Raises BlockingIOError if another process holds it. The lock is a file beside `path`, which is removed at the end.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock_path = path.with_name(f"{mark_of(path)}.lock")
    while True:
        descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if try_lock(descriptor) is False:
                raise BlockingIOError(errno.EAGAIN, "is in use by another process", str(path))
            if not is_name_of(lock_path, descriptor):  # removed by its last owner in the meantime
                continue
            try:
                yield
            finally:
                lock_path.unlink(missing_ok=True)
            return
        finally:
            os.close(descriptor)


def mark_of(target: Path) -> str:
    """The start of the names of temporary files; the name of the target itself may be 255 bytes long."""
    return f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}"


def try_lock(descriptor: int) -> bool | None:
    """Locks an open file or folder: True on success, False if another process holds it, None if it cannot be locked."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network file systems have no locks
        return None
    return True


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Locks a temporary file or folder; gives whether its process is gone."""
    if fcntl is None:
        yield False
        return
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:  # removed in the meantime, or not ours
        yield False
        return
    try:
        is_free = try_lock(descriptor)
        process = path.name.split(".")[2]
        is_abandoned = not _is_running(int(process)) if is_free is None else is_free
        yield is_abandoned and is_name_of(path, descriptor)
    finally:
        os.close(descriptor)


def is_name_of(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except OSError:
        return False


def _is_running(process_id: int) -> bool:
    """Returns whether the process may still run; True where the system cannot tell."""
    if os.name != "posix":
        return True
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True

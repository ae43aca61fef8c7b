"""Files and folders that appear whole or not at all, and checks that a place can be written.

The new content goes into a temporary file or folder beside the target. It reaches the disk before it gets the
target's name, so a crash leaves the old content or the new content, never a part. A process that was killed leaves
its temporary file behind; the next one that writes the same target removes it. If it was killed while it replaced a
folder, the old folder has another name; the next one that writes the same target gives it its name back.
"""

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

WRITE_REMEDY = "check the folder's permissions and free space, or choose another path"


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Calls `write` with a binary stream and gives the complete file the name `path`.

    An older file at `path` is replaced, or kept unchanged if anything fails. The folder must exist.
    Raises OSError, and whatever `write` raises.
    """
    with _replacement_of(path) as temporary_path, temporary_path.open("xb") as stream:
        write(stream)
        stream.flush()
        os.fsync(stream.fileno())


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 text file like `write_whole`; parent folders are created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda stream: stream.write(text.encode("utf-8")))


def write_folder(folder: Path, fill: Callable[[Path], object]) -> None:
    """Calls `fill` with an empty temporary folder and gives the complete folder the name `folder`.

    An older folder is replaced, or kept unchanged if anything fails. Parent folders are created.
    Raises OSError, and whatever `fill` raises.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _replacement_of(folder) as temporary_folder:
        temporary_folder.mkdir()
        fill(temporary_folder)
        for path in temporary_folder.rglob("*"):
            _sync(path)
        _sync(temporary_folder)


def remove_leftovers(folder: Path) -> None:
    """Removes temporary files that killed processes left in `folder`; those of running processes stay."""
    for path in folder.glob(".*.tmp"):
        parts = path.name.split(".")  # "", mark of the target, process, random, "tmp"
        if len(parts) == 5 and parts[2].isdecimal() and not _is_running(int(parts[2])):
            _remove(path)


def check_writable(path: Path) -> None:
    """Raises OSError unless the file `path` can be created or replaced; its parent folders are created.

    Called before hours of work, not after.
    """
    if path.is_dir():
        raise OSError(f"{path}: cannot be written: {os.strerror(errno.EISDIR)}; {WRITE_REMEDY}")
    check_folder_writable(path.parent, mentioned=path)


def check_folder_writable(folder: Path, *, mentioned: Path | None = None) -> None:
    """Raises OSError unless files can be created in `folder`, which is created if it is missing.

    `mentioned` is the path that the message names, by default `folder`.
    """
    import tempfile  # costs 5 ms that writing a picture does not need

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(
            f"{mentioned or folder}: cannot be written: {error.strerror}; {WRITE_REMEDY}"
        ) from error


@contextlib.contextmanager
def _replacement_of(target: Path) -> Iterator[Path]:
    """Gives a temporary path beside `target`, and moves what is there to `target` on success."""
    mark = (
        f".{hashlib.sha256(target.name.encode()).hexdigest()[:16]}"  # the name itself may be 255 bytes long
    )
    _recover_retired(target, mark)
    for leftover in target.parent.glob(f"{mark}.*.tmp"):
        process = leftover.name.split(".")[2]
        if process.isdecimal() and not _is_running(int(process)):
            _remove(leftover)
    # Beside the target, because a rename works within one file system only. Created by a plain open() and mkdir(),
    # because those of `tempfile` ignore the umask.
    temporary_path = target.with_name(f"{mark}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    try:
        yield temporary_path
        _replace(target, temporary_path)
        _sync(target.parent)
    finally:
        _remove(temporary_path)


def _replace(target: Path, replacement: Path) -> None:
    if not replacement.is_dir() or not target.exists():
        os.replace(replacement, target)
        return
    # A folder with files in it cannot be replaced by a rename, so the old folder gets another name first.
    retired = replacement.with_suffix(".old")
    try:
        target.rename(retired)
        replacement.rename(target)
    except BaseException:  # a signal between the two renames must not cost the old folder either
        if retired.exists() and not target.exists():
            retired.rename(target)
        raise
    shutil.rmtree(retired, ignore_errors=True)


def _recover_retired(target: Path, mark: str) -> None:
    """Restores an old folder that a killed process has renamed, or removes it if the new one is in place."""
    for retired in target.parent.glob(f"{mark}.*.old"):
        process = retired.name.split(".")[2]
        if not process.isdecimal() or _is_running(int(process)):
            continue
        if target.exists():
            _remove(retired)
        else:
            retired.rename(target)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Waits until a file or folder is on the disk; only POSIX systems can open folders."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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

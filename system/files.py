"""Files and folders that appear whole or not at all, checks that a place can be written, and opening without waiting.

The new content goes into a temporary file or folder beside the target. It reaches the disk before it gets the
target's name, so a crash leaves the old content or the new content, never a part. The process that writes holds a lock
(flock) on the temporary file or folder. A killed process loses its locks, so the next process that writes in that
place knows which temporary files nobody needs, and removes them.

Linux can exchange two folders in one step. Elsewhere, replacing a folder takes two renames. If the process is killed
between them, the old folder has another name; `restore_retired` and the next writer give it its name back.
"""

import contextlib
import errno
import io
import os
import re
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from system.faults import disk_fault
from system.locks import claimed, is_name_of, mark_of, try_lock

WRITE_REMEDY = "check the folder's permissions and free space, or choose another path"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of linux/fcntl.h and linux/fs.h

# Mark of the target, process, random number; exactly what `_create_beside` and `_replace_by_two_renames` make.
_TEMPORARY_NAME = re.compile(r"\.[0-9a-f]{16}\.[0-9]{1,10}\.[0-9a-f]{8}\.(tmp|old)")

_swept: set[str] = set()  # folders in which this process has removed temporary files of killed processes


class NotAFile(OSError):
    """A folder, pipe, socket or device where a regular file is needed."""

    @property
    def is_folder(self) -> bool:
        return self.errno == errno.EISDIR


def open_regular(path: Path) -> BinaryIO:
    """Opens a regular file to read bytes. Never waits, as opening a pipe that nobody writes to would.

    Raises NotAFile, and OSError for everything else, a path with a NUL character included.
    """
    try:
        _check_regular(path, os.stat(path).st_mode)  # opening a device can have effects
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error), str(path)) from error
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        _check_regular(path, os.fstat(descriptor).st_mode)  # a pipe may have taken the place of the file
        return open(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _check_regular(path: Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise NotAFile(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise NotAFile(errno.EINVAL, "it is a device or a pipe, not a file", str(path))


def write_whole(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Calls `write` with a binary stream and gives the complete file the name `path`.

    An older file at `path` is replaced, or kept unchanged if anything fails. The folder must exist. The stream can
    write and seek. It has no fileno(): libraries that write to a file descriptor themselves may ignore a full disk,
    as Pillow does.
    Raises OSError, and whatever `write` raises.
    """
    with (
        _replacement_of(path, is_folder=False) as (_, descriptor),
        open(descriptor, "wb", closefd=False) as file,
    ):
        write(_Stream(file))
        file.flush()
        os.fsync(descriptor)


def write_text(path: Path, text: str) -> None:
    """Writes a UTF-8 text file like `write_whole`; parent folders are created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = text.encode("utf-8", "surrogateescape")  # names of files may have bytes that are not UTF-8
    write_whole(path, lambda stream: stream.write(content))


def write_folder(folder: Path, fill: Callable[[Path], object]) -> None:
    """Calls `fill` with an empty temporary folder and gives the complete folder the name `folder`.

    An older folder is replaced, or kept unchanged if anything fails. Parent folders are created.
    Raises OSError, and whatever `fill` raises.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    restore_retired(folder)
    with _replacement_of(folder, is_folder=True) as (temporary_folder, _):
        fill(temporary_folder)
        for path in temporary_folder.rglob("*"):
            _sync(path)
        _sync(temporary_folder)


@contextlib.contextmanager
def temporary_folder(target: Path) -> Iterator[Path]:
    """Gives an empty folder beside `target` that only this user can enter, and removes it at the end.

    What killed processes left there is removed first. `target` itself is not created; its name marks the folder.
    Raises OSError.
    """
    remove_leftovers(target.parent)
    folder, descriptor = _create_beside(target, is_folder=True, mode=0o700)
    try:
        yield folder
    finally:
        _remove(folder)
        _close(descriptor)


def restore_retired(folder: Path) -> None:
    """Restores a folder that a killed process has renamed, or removes it if the new one is in place."""
    for retired in folder.parent.glob(f"{mark_of(folder)}.*.old"):
        if not _TEMPORARY_NAME.fullmatch(retired.name):
            continue
        with claimed(retired) as is_abandoned:
            if is_abandoned and folder.exists():
                _remove(retired)
            elif is_abandoned:
                retired.rename(folder)


def remove_leftovers(folder: Path) -> None:
    """Removes temporary files that killed processes left in `folder`; those of running processes stay."""
    for path in folder.glob(".*.tmp"):
        if _TEMPORARY_NAME.fullmatch(path.name):
            with claimed(path) as is_abandoned:
                if is_abandoned:
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
            f"{mentioned or folder}: cannot be written: {disk_fault(error)}; {WRITE_REMEDY}"
        ) from error


def ignores_case(folder: Path) -> bool:
    """Returns whether names that differ in case only are one file in `folder`, which may be missing. Tries it out."""
    import tempfile

    existing = next(place for place in (folder, *folder.parents) if place.is_dir())
    try:
        with tempfile.NamedTemporaryFile(prefix=".case_", dir=existing) as probe:
            name = Path(probe.name)
            return name.with_name(name.name.swapcase()).exists()
    except OSError:  # whoever writes there reports the fault
        return False


class _Stream(io.BufferedIOBase):
    """Writes and seeks in an open file, and has no fileno()."""

    def __init__(self, file: BinaryIO):
        self._file = file

    def __del__(self) -> None:  # that of IOBase flushes, and a signal that arrives meanwhile would be lost
        pass

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def write(self, content) -> int:
        return self._file.write(content)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def flush(self) -> None:
        if not self._file.closed:
            self._file.flush()


@contextlib.contextmanager
def _replacement_of(target: Path, *, is_folder: bool) -> Iterator[tuple[Path, int | None]]:
    """Gives what `_create_beside` creates, and moves it to `target` on success."""
    if (parent := os.path.abspath(target.parent)) not in _swept:
        remove_leftovers(target.parent)
        _swept.add(parent)
    temporary_path, descriptor = _create_beside(target, is_folder)
    try:
        yield temporary_path, descriptor
        if os.name != "posix":  # Windows cannot rename an open file
            _close(descriptor)
            descriptor = None
        _replace(target, temporary_path)
        _sync(target.parent)
    finally:
        _remove(temporary_path)
        _close(descriptor)


def _create_beside(target: Path, is_folder: bool, mode: int = 0o777) -> tuple[Path, int | None]:
    """Creates an empty temporary file or folder beside `target` and locks it; returns its path and descriptor.

    mode: permissions of a folder, less the umask.

    Only POSIX systems can open folders, so elsewhere a folder has no descriptor, and no lock.
    """
    while True:
        # Beside the target, because a rename works within one file system only. Created by a plain open() and mkdir(),
        # because those of `tempfile` ignore the umask.
        path = target.with_name(f"{mark_of(target)}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
        if is_folder:
            path.mkdir(mode)
            descriptor = os.open(path, os.O_RDONLY) if os.name == "posix" else None
        else:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        # Another process may have taken it for a leftover between its creation and the lock.
        if descriptor is None or (try_lock(descriptor) is not False and is_name_of(path, descriptor)):
            return path, descriptor
        _close(descriptor)
        _remove(path)


def _replace(target: Path, replacement: Path) -> None:
    if not replacement.is_dir() or not target.exists():
        os.replace(replacement, target)
    elif not _exchange(target, replacement):
        _replace_by_two_renames(target, replacement)


def _exchange(first: Path, second: Path) -> bool:
    """Exchanges the names of two folders in one step; returns False where the system or file system cannot."""
    import ctypes  # takes 10 ms that only the replacement of a folder needs

    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):  # not Linux, or a C library before 2018
        return False
    first_name, second_name = (os.fsencode(os.path.abspath(path)) for path in (first, second))
    return renameat2(_AT_FDCWD, first_name, _AT_FDCWD, second_name, _RENAME_EXCHANGE) == 0


def _replace_by_two_renames(target: Path, replacement: Path) -> None:
    """A folder with files in it cannot be replaced by one rename, so the old folder gets another name first."""
    retired = replacement.with_suffix(".old")
    descriptor = os.open(target, os.O_RDONLY) if os.name == "posix" else None
    try:
        if descriptor is not None:
            try_lock(descriptor)  # tells other processes that this one is still at work
        target.rename(retired)
        replacement.rename(target)
    except BaseException:  # a signal between the two renames must not cost the old folder either
        if retired.exists() and not target.exists():
            retired.rename(target)
        raise
    finally:
        _close(descriptor)
    _remove(retired)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        import shutil  # takes 2 ms that single files do not need

        shutil.rmtree(path, ignore_errors=True)
        return
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _close(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)


def _sync(path: Path) -> None:
    """Waits until a file or folder is on the disk; only POSIX systems can open folders."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""The folder of one studio process: what Gradio stores, and what visitors must not reach. It ends with the process."""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path

from system.locks import is_name_of, try_lock

PREFIX = "fast_style_transfer_studio."


class Workspace:
    """A private folder (mode 0700) for a `with` statement; the process holds a lock on it while it runs.

    cache_dir: files that the page may serve to those who know their names, which cannot be guessed.
    private_dir: files that the page never serves.
    """

    def __init__(self, parent: Path | None = None):
        self._parent = Path(parent or tempfile.gettempdir())
        remove_leftovers(self._parent)
        self.root, self._descriptor = _locked_folder(self._parent)
        self.cache_dir, self.private_dir = self.root / "cache", self.root / "private"
        for folder in (self.cache_dir, self.private_dir):
            folder.mkdir()

    def __enter__(self) -> "Workspace":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def close(self) -> None:
        """Removes the folder and all that is in it."""
        shutil.rmtree(self.root, ignore_errors=True)
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def remove_leftovers(parent: Path) -> None:
    """Removes the folders of studios that were killed; those of running ones, and of other users, stay."""
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            _remove_unless_used(folder)


def _remove_unless_used(folder: Path) -> None:
    if os.name != "posix" or folder.is_symlink() or folder.stat().st_uid != os.geteuid():
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if try_lock(descriptor):
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(descriptor)


def _locked_folder(parent: Path) -> tuple[Path, int | None]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent)).resolve()
        if os.name != "posix":  # folders cannot be opened there, so nothing is locked
            return folder, None
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(folder, os.O_RDONLY)
            # Another studio may have taken it for a leftover between its creation and the lock.
            if try_lock(descriptor) is not False and is_name_of(folder, descriptor):
                return folder, descriptor
            os.close(descriptor)

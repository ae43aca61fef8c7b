"""The folder of one studio process: what Gradio stores, and what visitors must not reach. It ends with the process."""

import contextlib
import os
import tempfile
from pathlib import Path

from system.files import temporary_folder

NAME = "fast_style_transfer_studio"  # marks the folder


class Workspace:
    """A private folder (mode 0700) for a `with` statement. What killed studios have left is removed at its start.

    cache_dir: files that the page may serve to those who know their names, which cannot be guessed.
    private_dir: files that the page never serves.
    """

    def __init__(self, parent: Path | None = None):
        self._resources = contextlib.ExitStack()
        place = Path(parent or tempfile.gettempdir()) / NAME
        self.root = self._resources.enter_context(temporary_folder(place)).resolve()
        self.cache_dir, self.private_dir = self.root / "cache", self.root / "private"
        for folder in (self.cache_dir, self.private_dir):
            folder.mkdir()

    def __enter__(self) -> "Workspace":
        return self

    def __exit__(self, *error) -> None:
        self.close()

    def stored_bytes(self) -> int:
        """The size of all files that visitors have sent and got."""
        sizes = 0
        for folder, _, names in os.walk(self.cache_dir):
            for name in names:
                with contextlib.suppress(OSError):  # removed meanwhile
                    sizes += os.stat(os.path.join(folder, name)).st_size
        return sizes

    def close(self) -> None:
        """Removes the folder and all that is in it."""
        self._resources.close()

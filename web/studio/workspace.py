"""The folder of one studio process: what Gradio stores, and what visitors must not reach. It ends with the process."""

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from system.files import temporary_folder

UPLOAD_SLACK_SECONDS = 30.0  # after an upload has ended, until Gradio has given its files their names
NAME = "fast_style_transfer_studio"  # marks the folder


class Workspace:
    """A private folder (mode 0700) for a `with` statement. What killed studios have left is removed at its start.

    cache_dir: files that the page may serve to those who know their names, which cannot be guessed.
    private_dir: files that the page never serves.
    """

    def __init__(self, parent: Path | None = None):
        self._resources = contextlib.ExitStack()
        self._is_closed = threading.Event()
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
        return sum(status.st_size for _, status in self._files())

    def sweep(self, keep_seconds: float, upload_seconds: float) -> None:
        """Removes the files of visitors that are older than keep_seconds, and what is left of uploads.

        Gradio stores an upload as cache_dir/tmp... and moves it away when all of it has come. It leaves the file there
        if the browser goes, or if the gate ends the upload. upload_seconds: that an upload may take.
        """
        now = time.time()
        for path, status in self._files():
            is_upload = path.parent == self.cache_dir and path.name.startswith("tmp")
            most_seconds = upload_seconds + UPLOAD_SLACK_SECONDS if is_upload else keep_seconds
            if now - status.st_ctime > most_seconds:  # not of the content: a copy keeps its time
                with contextlib.suppress(OSError):
                    path.unlink()

    def keep_clean(self, every_seconds: float, keep_seconds: float, upload_seconds: float) -> None:
        """Calls `sweep` again and again, in a thread, until the workspace is closed."""

        def run() -> None:
            while not self._is_closed.wait(every_seconds):
                self.sweep(keep_seconds, upload_seconds)

        threading.Thread(target=run, name="sweep", daemon=True).start()

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for folder, _, names in os.walk(self.cache_dir):
            for name in names:
                path = Path(folder, name)
                with contextlib.suppress(OSError):  # removed meanwhile
                    yield path, path.lstat()

    def close(self) -> None:
        """Removes the folder and all that is in it."""
        self._is_closed.set()
        self._resources.close()

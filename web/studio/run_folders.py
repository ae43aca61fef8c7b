"""The folders of the trainings that visitors start: their states and logs, and the files that were sent for them."""

import contextlib
import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cli.flags import UsageError
from transformer.export.style_folder import is_style
from transformer.training.log_folder import CONFIG_FILE, STATE_DIR
from transformer.training.state import state_paths
from web.studio.uploads import Upload

# In the folder of a run: the painting and the photos, which a resumed training reads again.
UPLOADS = "uploads"
PAINTING, PHOTOS = "painting", "photos"  # in that folder; the painting has the suffix of the visitor's file
KEPT_UPLOADS = 100  # times the largest file: the files of all trainings that can be resumed
ABANDONED_SECONDS = 86_400.0  # a training saves its first state long before


class RunFolders:
    """The folders of runs in `runs_dir`, by the names of their styles.

    most_bytes: of all files of visitors in them.
    """

    def __init__(self, runs_dir: Path, styles_dir: Path, most_bytes: float):
        self._runs_dir, self._styles_dir, self._most_bytes = runs_dir, styles_dir, most_bytes

    def log_dir(self, name: str) -> Path:
        """The folder of a run. The name must be one that train.py accepts."""
        return self._runs_dir / name

    def has_state(self, name: str) -> bool:
        return bool(state_paths(self.log_dir(name) / STATE_DIR))

    def unfinished(self) -> list[str]:
        """The names of runs that can be resumed."""
        return [name for name in self._names() if self._is_unfinished(name)]

    def steps_of(self, name: str) -> int:
        """The number of steps of a run, 0 if its configuration cannot be read."""
        from system.json_reader import JsonError, read_json_file

        try:
            return int(read_json_file(self.log_dir(name) / CONFIG_FILE)["steps"])
        except (JsonError, KeyError, TypeError, ValueError):
            return 0

    def check_room(self, uploads: Sequence[Upload]) -> None:
        """Raises UsageError if no more files can be stored beside those of trainings that can be resumed."""
        sent = sum(os.stat(upload.path).st_size for upload in uploads)
        stored = sum(_bytes_in(self.log_dir(name) / UPLOADS) for name in self._names())
        if stored + sent > self._most_bytes:
            raise UsageError(
                f"stopped trainings keep {stored / 1e6:.0f} MB of photos, and these have {sent / 1e6:.0f} MB, but"
                f" {self._most_bytes / 1e6:.0f} MB is the limit; resume one until it is finished, or send fewer"
            )

    def clear(self, name: str) -> None:
        """Removes what a visitor has sent for a run that has ended, unless it can be resumed."""
        if not self._is_unfinished(name):
            remove_inputs(self.log_dir(name) / UPLOADS)

    def clear_abandoned(self) -> None:
        """Removes what a killed studio has left: files of runs that are finished, or were never saved a day after.

        A training of another studio may be under way in these folders; its style does not exist yet.
        """
        with contextlib.suppress(PermissionError):  # whoever starts a training is told
            for name in self._names():
                folder = self.log_dir(name) / UPLOADS
                if folder.is_dir() and (is_style(self._styles_dir / name) or self._is_abandoned(name)):
                    remove_inputs(folder)

    def _is_abandoned(self, name: str) -> bool:
        age = time.time() - (self.log_dir(name) / UPLOADS).stat().st_mtime
        return age > ABANDONED_SECONDS and not self.has_state(name)

    def _is_unfinished(self, name: str) -> bool:
        return self.has_state(name) and not is_style(self._styles_dir / name)

    def _names(self) -> list[str]:
        if not self._runs_dir.is_dir():
            return []
        return sorted(folder.name for folder in self._runs_dir.iterdir() if folder.is_dir())


def stored_inputs(
    painting: Upload, photos: Sequence[Upload], folder: Path, check: Callable[[], object]
) -> tuple[Path, Path]:
    """Copies the files of a visitor into a new folder; returns the path of the painting and that of the photos.

    check: is called before each file, and may raise.
    """
    remove_inputs(folder)
    photo_dir = folder / PHOTOS
    photo_dir.mkdir(parents=True)
    target = folder / f"{PAINTING}{_plain_suffix(painting)}"
    shutil.copyfile(painting.path, target)
    for number, photo in enumerate(photos):
        check()
        shutil.copyfile(photo.path, photo_dir / f"photo{number:04}{_plain_suffix(photo)}")
    return target, photo_dir


def remove_inputs(folder: Path) -> None:
    """Removes a folder that `stored_inputs` has made. One with other files in it is somebody's, and stays."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        if all(path.name == PHOTOS or path.stem == PAINTING for path in folder.iterdir()):
            shutil.rmtree(folder, ignore_errors=True)


def _plain_suffix(upload: Upload) -> str:
    suffix = Path(upload.name).suffix.lower()
    return suffix if re.fullmatch(r"\.[a-z0-9]{1,5}", suffix) else ""


def _bytes_in(folder: Path) -> int:
    sizes = 0
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):  # removed meanwhile
            sizes += path.stat().st_size
    return sizes

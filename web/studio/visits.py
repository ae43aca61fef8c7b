"""What the studio keeps for a visitor: a folder for results, and the work that is under way, until the visit ends."""

import contextlib
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from web.turns import Busy

MOST_VISITS = 1000
IDLE_SECONDS = 3600.0  # after which a visit ends that never said good-bye


class Visit:
    """One open page. folder: below the cache of Gradio, with a name that nobody can guess."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.seen = time.monotonic()
        self._is_over = False
        self._stops: list[Callable[[], object]] = []
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def work(self, stop: Callable[[], object]):
        """Within this context `stop_all` calls `stop`."""
        with self._lock:
            self._stops.append(stop)
        try:
            yield
        finally:
            with self._lock:
                self._stops.remove(stop)
            self.seen = time.monotonic()
            if self._is_over:  # what was under way may have written files since
                self._remove()

    @property
    def is_working(self) -> bool:
        return bool(self._stops)

    def stop_all(self) -> bool:
        """Ends the work of this visitor; returns whether there was any. It ends a moment later."""
        with self._lock:
            stops = list(self._stops)
        for stop in stops:
            stop()
        return bool(stops)

    def new_folder(self) -> Path:
        """An empty folder for the results of one request; those of earlier requests may still be shown."""
        return Path(tempfile.mkdtemp(dir=self.folder))

    def end(self) -> None:
        """Stops the work and removes the files."""
        self._is_over = True
        self.stop_all()
        self._remove()

    def _remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)


class Visits:
    """The open visits by Gradio's key for them. It comes from the browser, so it is never part of a path."""

    def __init__(self, cache_dir: Path):
        self._cache_dir = cache_dir
        self._visits: dict[str, Visit] = {}
        self._lock = threading.Lock()

    def visit(self, key: str) -> Visit:
        """The visit of a key, which begins now if it is new. Raises Busy if there are too many."""
        with self._lock:
            self._end_idle()
            if key not in self._visits:
                if len(self._visits) >= MOST_VISITS:
                    raise Busy(f"{MOST_VISITS} visitors are here already", 60.0)
                self._visits[key] = Visit(Path(tempfile.mkdtemp(prefix="visit_", dir=self._cache_dir)))
            visit = self._visits[key]
            visit.seen = time.monotonic()
            return visit

    def end(self, key: str) -> None:
        """Stops the work of a visit and removes its files."""
        with self._lock:
            visit = self._visits.pop(key, None)
        if visit is not None:
            visit.end()

    def end_all(self) -> None:
        for key in list(self._visits):
            self.end(key)

    def __len__(self) -> int:
        return len(self._visits)

    def _end_idle(self) -> None:
        now = time.monotonic()
        for key, visit in list(self._visits.items()):
            if not visit.is_working and now - visit.seen > IDLE_SECONDS:
                self._visits.pop(key).end()

"""What the studio keeps for a visitor: a folder for results, and the work that is under way, until the visit ends."""

import contextlib
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from web.turns import Busy, GaveUp

MOST_VISITS = 1000
IDLE_SECONDS = 3600.0  # after which a visit ends that never said good-bye


class Visit:
    """One open page. Its folder is below `cache_dir`, the cache of Gradio, and is made when it is first used."""

    def __init__(self, cache_dir: Path):
        self.seen = time.monotonic()
        self._cache_dir = cache_dir
        self._folder: Path | None = None
        self._is_over = False
        self._stops: list[Callable[[], object]] = []
        self._lock = threading.Lock()

    @property
    def folder(self) -> Path:
        """The folder for its files, with a name that nobody can guess. Raises GaveUp if the visit is over."""
        with self._lock:
            if self._is_over:
                raise GaveUp("cancelled")
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="visit_", dir=self._cache_dir))
            return self._folder

    @property
    def has_folder(self) -> bool:
        return self._folder is not None

    @contextlib.contextmanager
    def work(self, stop: Callable[[], object]):
        """Within this context `stop_all` calls `stop`."""
        with self._lock:
            self._stops.append(stop)
        if self._is_over:  # since the page has been looked up
            stop()
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
        with self._lock:
            self._is_over = True
        self.stop_all()
        self._remove()

    def _remove(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)


class Visits:
    """The open visits by Gradio's key for them. It comes from the browser, so it is never part of a path."""

    def __init__(self, cache_dir: Path):
        self._cache_dir = cache_dir
        self._visits: dict[str, Visit] = {}
        self._lock = threading.Lock()

    def visit(self, key: str) -> Visit:
        """The visit of a key, which begins now if it is new. Raises Busy if there are too many at work.

        Anyone can begin visits. Where there are too many, a new one takes the place of one without work: of one without
        files if there is such, and of those the one that was not heard of for the longest time.
        """
        with self._lock:
            ended = self._taken_idle()
            if key not in self._visits:
                ended += self._made_room()
                self._visits[key] = Visit(self._cache_dir)
            visit = self._visits[key]
            visit.seen = time.monotonic()
        for one in ended:
            one.end()
        return visit

    def find(self, key: str) -> Visit | None:
        """The visit of a key, None if there is none."""
        return self._visits.get(key)

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

    def _taken_idle(self) -> list[Visit]:
        """Takes out the visits that have been idle too long; they are to be ended."""
        oldest = time.monotonic() - IDLE_SECONDS
        leaving = [key for key, visit in self._visits.items() if not visit.is_working and visit.seen < oldest]
        return [self._visits.pop(key) for key in leaving]

    def _made_room(self) -> list[Visit]:
        """Takes out the visit that is missed least if there are too many; it is to be ended."""
        if len(self._visits) < MOST_VISITS:
            return []
        idle = [(key, visit) for key, visit in self._visits.items() if not visit.is_working]
        if not idle:
            raise Busy(f"{MOST_VISITS} visitors are here already", 60.0)
        key, _ = min(idle, key=lambda item: (item[1].has_folder, item[1].seen))
        return [self._visits.pop(key)]

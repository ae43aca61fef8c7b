"""Masks that wait for their event: the browser sends the mask after each stroke, and only its key with the event."""

import threading
import time

MOST_BYTES = 64_000_000  # of all masks; a mask of some strokes takes 10,000 to 50,000
MOST_SECONDS = 3600.0  # from the last stroke to the event
LOST_MASK = b"lost"  # in place of the content of a mask that is no longer there
_ENTRY_BYTES = 1000  # of a mask beside its content


class MaskStore:
    """Masks by their keys, which browsers choose at random. The oldest ones make room. Threads may share it."""

    def __init__(self, most_bytes: int = MOST_BYTES, most_seconds: float = MOST_SECONDS):
        self._most_bytes, self._most_seconds = most_bytes, most_seconds
        self._masks: dict[str, tuple[float, bytes]] = {}  # key -> when it came, content; the oldest first
        self._lock = threading.Lock()

    def add(self, key: str, mask: bytes) -> None:
        """Stores a mask; b"" if nothing was painted."""
        with self._lock:
            _, known = self._masks.pop(key, (0.0, b""))
            self._masks[key] = time.monotonic(), mask or known
            self._make_room()

    def take(self, key: str) -> bytes | None:
        """Returns a mask and forgets it; None if it is not there, or no longer."""
        with self._lock:
            self._make_room()
            return self._masks.pop(key, (0.0, None))[1]

    @property
    def stored_bytes(self) -> int:
        return sum(len(key) + len(mask) + _ENTRY_BYTES for key, (_, mask) in self._masks.items())

    def _make_room(self) -> None:
        end = time.monotonic() - self._most_seconds
        stored = self.stored_bytes
        for key, (came, mask) in list(self._masks.items()):
            if came >= end and stored <= self._most_bytes:
                break
            del self._masks[key]
            stored -= len(key) + len(mask) + _ENTRY_BYTES

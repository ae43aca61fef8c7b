"""One line of JSON for each request: what was asked, what came of it, how long it took and how large it was."""

import json
import sys
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from system.console import printable
from web.faults import CLIENT_GONE

RECORD = "fast_style_transfer.record"  # key of the record in the ASGI scope
LONGEST_PATH = 200  # characters
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass
class RequestRecord:
    """What is known of a request. Texts from outside are printable. waited: seconds. route: one of few, for metrics."""

    method: str
    path: str
    client: str
    status: int = CLIENT_GONE
    bytes_in: int = 0
    bytes_out: int = 0
    waited: float | None = None
    megapixels: float | None = None
    styles: tuple[str, ...] = ()
    error: str = ""
    route: str = "other"
    has_answer: bool = False  # its first part was sent
    is_gone: bool = False  # the client, before there was an answer
    start: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, scope: dict[str, Any]) -> "RequestRecord":
        """A record of an ASGI scope. The query is left out: nobody needs it, and it may hold secrets."""
        method = scope["method"] if scope["method"] in METHODS else "other"
        client = printable(scope["client"][0]) if scope.get("client") else ""
        return cls(method, printable(scope["path"][:LONGEST_PATH]), client)

    @property
    def seconds(self) -> float:
        """Since the request began."""
        return time.monotonic() - self.start

    def line(self) -> str:
        """The record as one line of JSON in ASCII."""
        values = {
            "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "client": self.client,
            "method": self.method,
            "path": self.path,
            "status": CLIENT_GONE if self.is_gone else self.status,
            "seconds": round(self.seconds, 3),
            "waited": None if self.waited is None else round(self.waited, 3),
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "megapixels": self.megapixels and round(self.megapixels, 3),
            "styles": list(self.styles),
            "error": self.error,
        }
        return json.dumps({name: value for name, value in values.items() if value not in (None, "", [])})


def record_of(scope: dict[str, Any]) -> RequestRecord:
    """The record of the request that an ASGI scope belongs to."""
    return scope[RECORD]


def print_line(line: str) -> None:
    """Writes a line of the log to stdout."""
    print(line, file=sys.stdout, flush=True)

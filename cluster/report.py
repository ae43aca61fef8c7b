"""The report of a call on a cluster: a folder of Parquet files with one row for each photo."""

import io
import time
from collections.abc import Sequence
from typing import Any

from cluster.stores import Store, joined

REPORT_FOLDER = "_report"  # in the folder of the pictures
PART_ROWS = 10_000
PART_SECONDS = 60.0


def report_schema() -> Any:
    """The columns of the report, a pyarrow.Schema."""
    import pyarrow as pa

    return pa.schema(
        [
            ("path", pa.string()),  # address of the photo
            ("target", pa.string()),  # address of the picture; null for none
            ("status", pa.string()),  # written, existed or failed
            ("reason", pa.string()),  # why it failed; "" otherwise
            ("notes", pa.string()),  # metadata that the picture lacks
            ("seconds", pa.float32()),  # to decode, stylize and encode
            ("bytes_in", pa.int64()),
            ("bytes_out", pa.int64()),
            ("height_in", pa.int32()),
            ("width_in", pa.int32()),
            ("height_out", pa.int32()),
            ("width_out", pa.int32()),
        ]
    )


class Report:
    """Writes rows in parts, each whole or not at all, so that a killed call leaves those that are complete.

    folder: in `store`. started: names the call, so that calls after each other do not replace each other's parts.
    """

    def __init__(self, store: Store, folder: str, started: str):
        self._parts = 0
        self._store, self._folder, self._started = store, folder, started
        self._rows: list[dict[str, Any]] = []
        self._last = time.monotonic()

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        """Adds rows, and writes a part if there are many or the last one is old. Raises OSError."""
        self._rows += rows
        if len(self._rows) >= PART_ROWS or time.monotonic() - self._last > PART_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes the rows that wait. Raises OSError."""
        import pyarrow as pa
        from pyarrow import parquet

        self._last = time.monotonic()
        if not self._rows:
            return
        stream = io.BytesIO()
        parquet.write_table(pa.Table.from_pylist(self._rows, schema=report_schema()), stream)
        self._parts += 1
        name = f"{self._started}-{self._parts:05d}.parquet"
        self._store.write(joined(self._folder, name), stream.getvalue())
        self._rows = []

"""infer.py --cluster: stylizes folders, patterns, manifests and object stores on a Ray cluster."""

import json
import math
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from cli.addresses import Address
from cli.bars import progress_bar
from cli.expected_work import pixels_of
from cli.flags import UsageError, flag, report
from cli.infer_config import FastConfig
from cli.outcomes import interrupted_text
from cli.styles import check_network, check_styles, picture_name
from system.program import prog
from system.signals import Interrupted

PROG = prog("infer")
# Flags that have no meaning here, with their reason.
_NOT_HERE = {
    "sheet": "makes a sheet of each photo",
    "webcam": "shows a camera of this machine",
    "benchmark": "measures this machine",
    "temporal": "is for videos",
}
MOST_SHOWN = 20  # photos that failed; the report names all
REPORT_FOLDER = "_report"


def check_config(config: FastConfig) -> None:
    """Raises UsageError for flags that contradict each other."""
    if not config.photos:
        raise UsageError("give at least one photo, folder, manifest or address; --cluster comes after it")
    for name, reason in _NOT_HERE.items():
        if getattr(config, name) != _default(name):
            raise UsageError(f"{flag(name)} {reason}; leave it out with --cluster")
    if config.output is None:
        raise UsageError("--cluster needs -o FOLDER, or an address such as -o s3://BUCKET/FOLDER")
    if isinstance(config.output, Path) and config.output.suffix and not config.output.is_dir():
        raise UsageError(f"-o {config.output}: is one file; --cluster writes into a folder")
    check_styles(config)
    check_network(config)
    if config.restore_size and config.max_side is None:
        raise UsageError("--restore-size undoes --max-side; give --max-side too")


def _default(name: str) -> Any:
    return next(field.default for field in fields(FastConfig) if field.name == name)


def expected_errors() -> tuple[type[Exception], ...]:
    """Errors that users can cause."""
    from cli.styles import expected_errors
    from cluster.session import ClusterError
    from cluster.stylizing import WorkerError

    return (*expected_errors(), ClusterError, WorkerError)


def stylize_on_cluster(config: FastConfig) -> int:
    """Stylizes every photo that has no picture yet; returns the exit status, 0 or 1 if any photo failed."""
    from cluster.inputs import find_sources
    from cluster.session import joined_cluster
    from cluster.style_parcel import packed_style

    parcel, name = packed_style(config), picture_name(config)
    sources = find_sources(map(str, config.photos))
    for line in (*sources.notes, *sources.faults):
        report(PROG, line)
    if not sources.photos:
        return 1
    work = _Work(config, sources, name)
    with joined_cluster(config.cluster, lambda line: report(PROG, line)) as resources:
        work.stylize(parcel, resources)
    return 1 if work.failures else 0


@dataclass(frozen=True)
class _Place:
    """A folder of a store."""

    store: Any
    folder: str

    @classmethod
    def of(cls, place: Path | Address) -> "_Place":
        from cluster.stores import opened_store

        return cls(*opened_store(str(place)))

    def __str__(self) -> str:
        return self.store.address(self.folder)


class _Work:
    """The photos of one call on their way to pictures, and the report."""

    def __init__(self, config: FastConfig, sources: Any, name: str):
        from cluster.inputs import targets_of
        from cluster.report import Report
        from cluster.stores import joined

        self._config, self._sources = config, sources
        self._target = _Place.of(config.output)
        self._check_separate()
        self._targets = targets_of(sources.photos, name, _suffix_rule(config))
        place = _Place(self._target.store, joined(self._target.folder, REPORT_FOLDER))
        self._report_place = place if config.report is None else _Place.of(config.report)
        self._started = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self._report = Report(self._report_place.store, self._report_place.folder, self._started)
        self._shown = self.failures = 0
        self._written = self._existed = 0
        for fault in sources.faults:
            self._fail(fault, fault, is_shown=True)

    def _check_separate(self) -> None:
        """Raises UsageError if pictures would go into a folder of photos: the next call would read them."""
        target = self._target
        for number, root in self._sources.roots:
            store = self._sources.stores[number]
            same = store.prefix == target.store.prefix and store.files.equals(target.store.files)
            if same and f"{target.folder}/".startswith(f"{root}/"):
                raise UsageError(
                    f"-o {target}: lies in the input folder {store.address(root)}, so the next call would read its"
                    " pictures as photos; write to another folder"
                )

    def stylize(self, parcel: Any, resources: Mapping[str, float]) -> None:
        """Stylizes what has no picture yet, and reports what was done. Raises ClusterError and WorkerError."""
        from cluster.death_marks import DeathMarks
        from cluster.stylizing import Job, stylized_rows

        pool = pool_of(self._config, resources)
        todo = self._without_pictures()
        photos = self._table(todo)
        self._note_start(len(todo), pool.workers)
        job = Job(
            tuple(self._sources.stores),
            self._target.store,
            self._target.folder,
            parcel,
            self._expected_pixels(),
            pool,
            f"{self._started}_{secrets.token_hex(8)}",
        )
        start, count = time.perf_counter(), len(self._sources.photos)
        with progress_bar(
            total=count, initial=count - len(todo), unit="photos", desc="stylizing", smoothing=0.1
        ) as bar:
            try:
                for rows in _explained(stylized_rows(job, photos)) if todo else ():
                    self._take([(todo[row["index"]], row) for row in rows])
                    bar.update(len(rows))
            except Interrupted as error:
                error.done = interrupted_text(self._written, len(todo), "picture", skips_existing=True)
                raise
            finally:
                self._report.flush()
                DeathMarks(job.name).remove()
        self._report_end(time.perf_counter() - start)

    def _without_pictures(self) -> list[int]:
        """The numbers of the photos whose pictures do not exist. The target is listed once."""
        existing = self._existing()
        planned = {target.place for target in self._targets if target is not None}
        todo, rows = [], []
        for number, target in enumerate(self._targets):
            address = self._sources.address(self._sources.photos[number])
            if target is None:
                self._fail(address, "its picture would replace that of another photo; stylize it separately")
                continue
            spare = target.spare if target.spare not in planned else target.place
            found = next((place for place in (target.place, spare) if place in existing), None)
            if found is None:
                todo.append(number)
            else:
                rows.append(self._row(address, found, {"status": "existed", "bytes_out": existing[found]}))
        self._existed = len(rows)
        self._report.add(rows)
        return todo

    def _existing(self) -> dict[str, int]:
        """Place below the target -> bytes of every file there."""
        store, folder = self._target.store, self._target.folder
        if store.is_local:
            from system.files import remove_leftovers

            for parent in {os.path.dirname(target.place) for target in self._targets if target is not None}:
                remove_leftovers(Path(folder) / parent)
        start = len(folder) + 1
        return {path[start:]: size for path, size in store.sizes_below(folder)}

    def _table(self, todo: Sequence[int]) -> Any:
        import pyarrow as pa

        photos = [self._sources.photos[number] for number in todo]
        targets = [self._targets[number] for number in todo]
        return pa.table(
            {
                "index": pa.array(range(len(todo)), pa.int64()),
                "store": pa.array([photo.store for photo in photos], pa.int32()),
                "path": pa.array([photo.path for photo in photos], pa.string()),
                "name": pa.array([self._sources.address(photo) for photo in photos], pa.string()),
                "place": pa.array([target.place for target in targets], pa.string()),
                "spare": pa.array([target.spare for target in targets], pa.string()),
            }
        )

    def _expected_pixels(self) -> float:
        sizes = [photo.bytes for photo in self._sources.photos]
        return math.inf if -1 in sizes else sum(pixels_of(self._config, size) for size in sizes)

    def _note_start(self, count: int, workers: int) -> None:
        """Writes what this call is about to do, beside the report. A target that cannot be written ends it here."""
        from cluster.stores import joined

        facts = {
            "photos": len(self._sources.photos),
            "to_stylize": count,
            "workers": workers,
            "inputs": list(map(str, self._config.photos)),
            "target": str(self._target),
            "style": [style for style, _ in self._config.blend] or [self._config.style],
        }
        path = joined(self._report_place.folder, f"{self._started}.json")
        self._report_place.store.write(path, json.dumps(facts, indent=1).encode("utf-8", "surrogateescape"))

    def _take(self, rows: Sequence[tuple[int, dict[str, Any]]]) -> None:
        taken = []
        for number, row in rows:
            address = self._sources.address(self._sources.photos[number])
            if row["reason"]:
                self._fail(address, row["reason"], row)
            else:
                self._written += 1
                taken.append(self._row(address, row["place"], {**row, "status": "written"}))
        self._report.add(taken)

    def _fail(
        self, address: str, reason: str, row: Mapping[str, Any] | None = None, *, is_shown: bool = False
    ) -> None:
        self.failures += 1
        if not is_shown:
            self._shown += 1
            if self._shown <= MOST_SHOWN:
                report(PROG, reason if address in reason else f"{address}: {reason}")
            elif self._shown == MOST_SHOWN + 1:
                report(PROG, f"more photos failed; the report names all: {self._report_place}")
        self._report.add([self._row(address, None, {**(row or {}), "status": "failed", "reason": reason})])

    def _row(self, address: str, place: str | None, values: Mapping[str, Any]) -> dict[str, Any]:
        """A row of the report."""
        from cluster.report import report_schema
        from cluster.stores import joined

        target = None if place is None else self._target.store.address(joined(self._target.folder, place))
        row = {name: values.get(name) for name in report_schema().names}
        return {**row, "path": address, "target": target, "reason": values.get("reason") or ""}

    def _report_end(self, seconds: float) -> None:
        text = f"wrote {self._written} picture{'' if self._written == 1 else 's'} to {self._target}"
        text += f" in {seconds:.1f} s, {self._written / seconds:.2f} pictures/s" if self._written else ""
        text += f", {self._existed} existed already" if self._existed else ""
        count = len(self._sources.photos) + len(self._sources.faults)
        text += f", {self.failures} of {count} photos failed" if self.failures else ""
        report(PROG, f"{text}; report: {self._report_place}")


def pool_of(config: FastConfig, resources: Mapping[str, float]) -> Any:
    """The workers that fit into the resources of a cluster, such as {"CPU": 8.0}. Raises ClusterError if none does."""
    from cluster.session import ClusterError
    from cluster.stylizing import Pool

    cpus, gpus = config.cpus_per_worker, config.gpus_per_worker
    present = {name: resources.get(name, 0) for name in ("CPU", "GPU")}
    fitting = int(min(present["CPU"] // cpus, present["GPU"] // gpus if gpus else math.inf))
    if fitting < 1:
        raise ClusterError(
            f"the cluster has {present['CPU']:g} CPUs and {present['GPU']:g} GPUs, too few for a worker with {cpus}"
            f" CPUs and {gpus:g} GPUs; lower --cpus-per-worker or --gpus-per-worker, or add machines"
        )
    return Pool(min(fitting, config.workers or fitting), cpus, gpus)


def _suffix_rule(config: FastConfig) -> Any:
    """The function that tells the suffix of a picture from the place of its photo."""
    from data.picture_format import suffix_by_name

    if config.format is not None:
        return lambda place: f".{config.format}"
    return lambda place: suffix_by_name(Path(place))


def _explained(rows: Iterator[Any]) -> Iterator[Any]:
    """The same rows; an error of Ray itself becomes a ClusterError."""
    from ray.exceptions import RayError

    from cluster.session import ClusterError

    try:
        yield from rows
    except RayError as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise ClusterError(
            f"the cluster failed ({reason[:300]}); give the same command again to make the other pictures"
        ) from error

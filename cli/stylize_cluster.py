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
from system.console import printable
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
LEAST_GPU_SHARE = 0.01
WRITTEN, EXISTED, FAILED = "written", "existed", "failed"  # status in the report
MOST_SHOWN = 20  # photos that failed; the report names all


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
    if 0 < config.gpus_per_worker < LEAST_GPU_SHARE:
        raise UsageError(
            f"--gpus-per-worker must be 0 or at least {LEAST_GPU_SHARE}, got {config.gpus_per_worker:g}"
        )
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
    from cluster.resources import nodes_of_cluster
    from cluster.session import joined_cluster
    from cluster.style_parcel import packed_style

    parcel, name = packed_style(config), picture_name(config)
    sources = find_sources(map(str, config.photos))
    for line in (*sources.notes, *sources.faults):
        report(PROG, line)
    if not sources.photos:
        return 1
    work = _Work(config, sources, name)
    try:
        if work.todo:
            with joined_cluster(config.cluster, lambda line: report(PROG, line)):
                work.stylize(parcel, pool_of(config, nodes_of_cluster()))
    finally:
        work.end_report()
    work.show_end()
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
    """The photos of one call on their way to pictures, and the report. todo: the numbers of those without a picture."""

    def __init__(self, config: FastConfig, sources: Any, name: str):
        from cluster.inputs import targets_of
        from cluster.report import REPORT_FOLDER, Report
        from cluster.stores import joined

        self._config, self._sources = config, sources
        self._target = _Place.of(config.output)
        self._targets = targets_of(sources.photos, name, _suffix_rule(config))
        self._check_separate()
        place = _Place(self._target.store, joined(self._target.folder, REPORT_FOLDER))
        self._report_place = place if config.report is None else _Place.of(config.report)
        self._call = f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}_{secrets.token_hex(4)}"
        self._report = Report(self._report_place.store, self._report_place.folder, self._call)
        self._notes_shown: set[str] = set()
        self._shown = self.failures = self._written = self._existed = 0
        self._seconds = 0.0
        for fault in sources.faults:
            self._fail(fault, fault, is_shown=True)
        self.todo = self._without_pictures()
        self._note_start()

    def _check_separate(self) -> None:
        """Raises UsageError if pictures would go into a folder of photos, or replace one."""
        target, sources = self._target, self._sources
        for number, root in sources.roots:
            if sources.stores[number] == target.store and f"{_real(target)}/".startswith(
                f"{_real(_Place(target.store, root))}/"
            ):
                raise UsageError(
                    f"-o {target}: lies in the input folder {target.store.address(root)}, so the next call would read"
                    " its pictures as photos; write to another folder"
                )
        places = {place for each in self._targets for place in (each.place, each.spare)}
        start = f"{target.folder}/"
        for photo in sources.photos:
            is_there = sources.stores[photo.store] == target.store and photo.path.startswith(start)
            if is_there and photo.path[len(start) :] in places:
                raise UsageError(
                    f"{sources.address(photo)}: is an input and would be replaced; write to another folder"
                )

    def stylize(self, parcel: Any, pool: Any) -> None:
        """Stylizes what has no picture yet. Raises ClusterError and WorkerError."""
        from cluster.call_folder import remove_call
        from cluster.stylizing import Job, stylized_rows

        job = Job(
            tuple(self._sources.stores),
            self._target.store,
            self._target.folder,
            parcel,
            self._expected_pixels(),
            pool,
            self._call,
        )
        start, count, todo = time.perf_counter(), len(self._sources.photos), self.todo
        with progress_bar(
            total=count, initial=count - len(todo), unit="photos", desc="stylizing", smoothing=0.1
        ) as bar:
            try:
                for rows in _explained(stylized_rows(job, self._table(todo))):
                    self._take([(todo[row["index"]], row) for row in rows])
                    bar.update(len(rows))
            except Interrupted as error:
                error.done = interrupted_text(self._written, len(todo), "picture", skips_existing=True)
                raise
            finally:
                remove_call(self._call)
        self._seconds = time.perf_counter() - start

    def end_report(self) -> None:
        """Writes the rows that wait."""
        self._report.flush()

    def _without_pictures(self) -> list[int]:
        """The numbers of the photos whose pictures do not exist. The target is listed once."""
        existing = self._existing()
        todo = []
        for number, target in enumerate(self._targets):
            address = self._sources.address(self._sources.photos[number])
            if target.fault:
                self._fail(address, target.fault)
                continue
            found = next((place for place in (target.place, target.spare) if place in existing), None)
            if found is None:
                todo.append(number)
            else:
                self._existed += 1
                self._report.add(
                    [self._row(address, found, {"status": EXISTED, "bytes_out": existing[found]})]
                )
        return todo

    def _existing(self) -> dict[str, int]:
        """Place below the target -> bytes of the pictures there. An empty file is what a killed upload leaves."""
        store, folder = self._target.store, self._target.folder
        wanted = {place for target in self._targets for place in (target.place, target.spare)} - {""}
        if store.is_local:
            from system.files import remove_leftovers

            for parent in {os.path.dirname(place) for place in wanted}:
                remove_leftovers(Path(folder) / parent)
        start = len(folder) + 1
        sizes = ((path[start:], size) for path, size in store.sizes_below(folder))
        return {place: size for place, size in sizes if size and place in wanted}

    def _table(self, todo: Sequence[int]) -> Any:
        import pyarrow as pa

        photos = [self._sources.photos[number] for number in todo]
        targets = [self._targets[number] for number in todo]
        return pa.table(
            {
                "index": pa.array(range(len(todo)), pa.int64()),
                "store": pa.array([photo.store for photo in photos], pa.int32()),
                "path": _names([photo.path for photo in photos]),
                "name": _names([self._sources.address(photo) for photo in photos]),
                "place": _names([target.place for target in targets]),
                "spare": _names([target.spare for target in targets]),
            }
        )

    def _expected_pixels(self) -> float:
        sizes = [photo.bytes for photo in self._sources.photos]
        return math.inf if -1 in sizes else sum(pixels_of(self._config, size) for size in sizes)

    def _note_start(self) -> None:
        """Writes what this call is about to do, beside the report. A target that cannot be written ends it here."""
        from cluster.stores import fault_text, joined
        from data.images import ImageError

        facts = {
            "photos": len(self._sources.photos),
            "to_stylize": len(self.todo),
            "inputs": [printable(place) for place in self._config.photos],
            "target": printable(self._target),
            "style": [style for style, _ in self._config.blend] or [self._config.style],
        }
        # Readers of Parquet folders leave out names that start with _.
        place = _Place(self._report_place.store, joined(self._report_place.folder, f"_{self._call}.json"))
        try:
            place.store.write(place.folder, json.dumps(facts, indent=1).encode())
        except Exception as error:  # of many libraries
            raise ImageError(
                f"{place}: cannot be written: {fault_text(error)}; check -o and your rights"
            ) from error

    def _take(self, rows: Sequence[tuple[int, dict[str, Any]]]) -> None:
        taken = []
        for number, row in rows:
            address = self._sources.address(self._sources.photos[number])
            self._show_note(row.get("worker_note", ""))
            if row["reason"]:
                self._fail(address, row["reason"], row)
            else:
                self._written += 1
                taken.append(self._row(address, os.fsdecode(row["place"]), {**row, "status": WRITTEN}))
        self._report.add(taken)

    def _show_note(self, note: str) -> None:
        """Shows what workers say about their runtime, once."""
        if note and note not in self._notes_shown:
            self._notes_shown.add(note)
            report(PROG, note)

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
        self._report.add([self._row(address, None, {**(row or {}), "status": FAILED, "reason": reason})])

    def _row(self, address: str, place: str | None, values: Mapping[str, Any]) -> dict[str, Any]:
        """A row of the report."""
        from cluster.report import report_schema
        from cluster.stores import joined

        target = None if place is None else self._target.store.address(joined(self._target.folder, place))
        row = {name: values.get(name) for name in report_schema().names}
        target = target and printable(target)
        return {
            **row,
            "path": printable(address),
            "target": target,
            "reason": printable(values.get("reason") or ""),
        }

    def show_end(self) -> None:
        """Reports what was done."""
        text = f"wrote {self._written} picture{'' if self._written == 1 else 's'} to {self._target}"
        text += (
            f" in {self._seconds:.1f} s, {self._written / self._seconds:.2f} pictures/s"
            if self._written
            else ""
        )
        text += f", {self._existed} existed already" if self._existed else ""
        count = len(self._sources.photos) + len(self._sources.faults)
        text += f", {self.failures} of {count} photos failed" if self.failures else ""
        report(PROG, f"{text}; report: {self._report_place}")


def pool_of(config: FastConfig, nodes: Sequence[Mapping[str, float]]) -> Any:
    """The workers that fit into the machines of a cluster, such as [{"CPU": 8.0}]. Raises ClusterError if none does."""
    from cluster.session import LOCAL, ClusterError
    from cluster.stylizing import Pool

    cpus, gpus = config.cpus_per_worker, config.gpus_per_worker
    fitting = sum(
        int(min(node.get("CPU", 0) // cpus, node.get("GPU", 0) // gpus if gpus else math.inf))
        for node in nodes
    )
    if not fitting and (config.workers is None or config.cluster == LOCAL):
        most = {name: max((node.get(name, 0) for node in nodes), default=0) for name in ("CPU", "GPU")}
        raise ClusterError(
            f"no machine of the cluster has room for a worker with {cpus} CPUs and {gpus:g} GPUs, the largest has"
            f" {most['CPU']:g} and {most['GPU']:g}; lower --cpus-per-worker or --gpus-per-worker, or add machines"
        )
    if not fitting:
        report(PROG, f"waits for a machine with room for a worker with {cpus} CPUs and {gpus:g} GPUs")
    return Pool(config.workers or fitting, cpus, gpus)


def _names(names: Sequence[str]) -> Any:
    import pyarrow as pa

    return pa.array(list(map(os.fsencode, names)), pa.binary())


def _real(place: _Place) -> str:
    return os.path.realpath(place.folder) if place.store.is_local else place.folder


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

"""Stylizes photos on Ray Data: read tasks -> workers with one loaded style each -> write tasks, with back-pressure.

Ray Data moves blocks of some photos from stage to stage, and starts no reading while others wait to be stylized. What
is wrong with a photo is a row of the result. Ray repeats the work of a process or machine that is lost; death_marks.py
ends that for a photo that is the cause. Should a block be lost for good, a later pass does its photos.
"""

import functools
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

from cluster.call_folder import call_folder
from cluster.death_marks import MOST_DEATHS, DeathMarks
from cluster.painter import Painter, Picture
from cluster.stores import Store, fault_text, joined
from cluster.style_parcel import StyleParcel
from data.images import ImageError

BATCH = 8  # photos that are read, or written, side by side by one task
BLOCK_BYTES = 2**23  # of the files of photos in one block; smaller blocks cost Ray more time for each photo
CHUNKS_PER_WORKER = 8  # at least, so that all workers end at about the same time
MOST_IN_CHUNK = 64
PASSES = 3  # over photos whose blocks were lost
LOST = "its block was lost in each pass; give the same command again to try it once more"
DEADLY = (
    "its worker ended while it computed this photo, {} times; perhaps it needs more memory than a worker has"
)


@dataclass(frozen=True)
class Pool:
    """The workers. cpus, gpus: of each; a share of a GPU is allowed."""

    workers: int
    cpus: int
    gpus: float


@dataclass(frozen=True)
class Job:
    """What every stage knows. Paths of pictures are below `target_folder` of `target`."""

    stores: Sequence[Store]
    target: Store
    target_folder: str
    parcel: StyleParcel
    expected_pixels: float
    pool: Pool
    name: str  # of the call, different for each


def stylized_rows(job: Job, photos: Any) -> Iterator[list[dict[str, Any]]]:
    """Stylizes photos and yields the rows of the report, some at a time, in any order.

    photos: a pyarrow.Table with the columns index (0, 1, ...), store, path, name, place and spare; the
    last four are bytes, because names of files need not be UTF-8.
    Each row has the index of its photo. Every photo is in one row.

    Raises WorkerError if a worker cannot load the style.
    """
    import pyarrow as pa

    missing = [True] * len(photos)
    most_lost_blocks = -1  # any number
    for _ in range(PASSES):
        indices = [index for index, is_missing in enumerate(missing) if is_missing]
        if not indices:
            return
        chosen = photos if len(indices) == len(photos) else photos.take(pa.array(indices))
        chunk = max(1, min(MOST_IN_CHUNK, len(chosen) // (CHUNKS_PER_WORKER * job.pool.workers)))
        for rows in _pass(job, chosen, chunk, most_lost_blocks):
            new = [row for row in rows if missing[row["index"]]]
            for row in new:
                missing[row["index"]] = False
            yield new
        if all(missing[index] for index in indices):
            most_lost_blocks = 0  # what makes a whole pass fail is no lost worker: let Ray raise it
    lost = [index for index, is_missing in enumerate(missing) if is_missing]
    yield [{"index": index, "reason": LOST} for index in lost]


class WorkerError(Exception):
    """A worker cannot work at all: one line."""


def _pass(job: Job, photos: Any, chunk: int, most_lost_blocks: int) -> Iterator[list[dict[str, Any]]]:
    """One pass over photos, in chunks of so many. Yields rows; those of lost blocks are missing."""
    import ray
    from ray.data import ActorPoolStrategy, TaskPoolStrategy

    _set_up_context(ray, most_lost_blocks)
    chunks = [photos.slice(start, chunk) for start in range(0, len(photos), chunk)]
    pool, reference = job.pool, ray.put(job)
    workers = min(pool.workers, len(chunks))
    batches = {"batch_size": BATCH, "batch_format": "pyarrow"}
    # Reading and writing wait for the store more than they compute. They take no share of the CPUs: with one, they and
    # the workers could wait for each other. Workers with GPUs are so fast that each needs a reader and a writer.
    waiting = {
        "compute": TaskPoolStrategy(size=workers if pool.gpus else max(1, workers // 2)),
        "num_cpus": 0,
        "fn_args": ([reference],),
    }
    working = {
        "compute": ActorPoolStrategy(size=workers),
        "num_cpus": pool.cpus,
        "num_gpus": pool.gpus,
        "fn_constructor_args": ([reference],),
    }
    result = (
        ray.data.from_arrow(chunks)
        .map_batches(read_batch, **batches, **waiting)
        .map_batches(Worker, **batches, **working)
        .map_batches(write_batch, **batches, **waiting)
    )
    for batch in result.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        rows = batch.to_pylist()
        for row in rows:
            if row["is_fatal"]:
                raise WorkerError(row["reason"])
        yield rows


def _set_up_context(ray: Any, most_lost_blocks: int) -> None:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False  # we have our own
    context.max_errored_blocks = most_lost_blocks  # the next pass has their photos
    context.target_max_block_size = BLOCK_BYTES
    # Its files in the session's folder keep everything.
    for handler in logging.getLogger("ray.data").handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.setLevel(logging.CRITICAL + 1)


def read_batch(batch: Any, job_reference: Sequence[Any]) -> Any:
    """Adds the column content, the bytes of each photo, and reason, "" or why there are none."""
    job = _job_of(*job_reference)

    def read(row: dict[str, Any]) -> dict[str, Any]:
        try:
            content, reason = job.stores[row["store"]].read(os.fsdecode(row["path"])), ""
        except Exception as error:  # one photo must not take its block with it
            content, reason = b"", _text_of(error)
        return {**row, "content": content, "reason": reason}

    return _table([*_side_by_side(read, batch.to_pylist())])


def _text_of(error: Exception) -> str:
    return str(error) if isinstance(error, ImageError) else f"unexpected {type(error).__name__}: {error}"


class Worker:
    """An actor with one loaded style: content of photos -> content of pictures, with what the report says."""

    def __init__(self, job_reference: Sequence[Any]):
        job = _job_of(*job_reference)
        self._fault, self._photos_at_once = "", job.pool.cpus
        self._notes: tuple[str, ...] = ()
        self._marks = DeathMarks(call_folder(job.name))
        try:
            self._painter = Painter(job.parcel, 1, job.expected_pixels, job.name)
            self._notes = self._painter.notes
        except Exception as error:  # would be repeated for ever
            self._fault = f"a worker cannot load the style: {type(error).__name__}: {error}"

    def __call__(self, batch: Any) -> Any:
        """Stylizes some photos, as many at once as the worker has CPUs."""
        rows = batch.to_pylist()
        # Beside another photo, one that ends the process would be suspected together with it.
        is_suspicious = any(self._marks.deaths(row["index"]) for row in rows)
        return _table([*_side_by_side(self._stylized, rows, 1 if is_suspicious else self._photos_at_once)])

    def _stylized(self, row: dict[str, Any]) -> dict[str, Any]:
        picture = self._picture(row)
        place = os.fsdecode(row["spare"] if picture.is_spare else row["place"])
        if not picture.reason and not place:
            picture = replace(
                picture, reason="its format cannot hold the picture; give --format png", content=b""
            )
        return {
            "index": row["index"],
            "place": os.fsencode("" if picture.reason else place),
            "worker_note": "; ".join(self._notes),
            "bytes_in": len(row["content"]),
            "is_fatal": bool(self._fault),
            **_columns(picture),
        }

    def _picture(self, row: dict[str, Any]) -> Picture:
        if reason := self._fault or row["reason"]:
            return Picture(reason=reason)
        if (deaths := self._marks.deaths(row["index"])) >= MOST_DEATHS:
            return Picture(reason=DEADLY.format(deaths))
        with self._marks.working_on(row["index"]):
            return self._painter.painted(os.fsdecode(row["name"]), row["content"], os.fsdecode(row["place"]))


def write_batch(batch: Any, job_reference: Sequence[Any]) -> Any:
    """Writes the pictures; the column content becomes bytes_out."""
    job = _job_of(*job_reference)

    def write(row: dict[str, Any]) -> dict[str, Any]:
        content = row.pop("content")
        row["bytes_out"] = len(content)
        if not row["reason"]:
            path = joined(job.target_folder, os.fsdecode(row["place"]))
            try:
                job.target.write(path, content)
            except Exception as error:  # of many libraries; one photo must not take its block with it
                row |= {
                    "reason": f"{job.target.address(path)}: cannot be written: {fault_text(error)}",
                    "place": b"",
                }
        return row

    return _table([*_side_by_side(write, batch.to_pylist())])


def _columns(picture: Picture) -> dict[str, Any]:
    columns = asdict(picture)
    for name in ("in", "out"):
        columns[f"height_{name}"], columns[f"width_{name}"] = columns.pop(f"size_{name}")
    del columns["is_spare"]
    return columns


@functools.lru_cache(maxsize=1)  # of one process
def _job_of(reference: Any) -> Job:
    import ray

    return ray.get(reference)


def _side_by_side(work: Callable[[Any], Any], rows: Sequence[Any], threads: int = BATCH) -> Iterator[Any]:
    if threads == 1 or len(rows) == 1:
        yield from map(work, rows)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(work, rows)


def _table(rows: list[dict[str, Any]]) -> Any:
    """A pyarrow.Table of rows; contents may have more than 2 GB together."""
    import pyarrow as pa

    names = list(rows[0])
    large = {"content": pa.large_binary()} | dict.fromkeys(("path", "name", "place", "spare"), pa.binary())
    return pa.table({name: pa.array([row[name] for row in rows], large.get(name)) for name in names})

"""Estimates photos per second and costs of infer.py --cluster from 1 to 10,000 workers, and checks the estimate here.

    python benchmarks/scale_model.py measure --photos FOLDER --style udnie --rates rates.json
    python benchmarks/scale_model.py check --photos FOLDER --style udnie --rates rates.json
    python benchmarks/scale_model.py predict --rates rates.json

measure: seconds of one photo on one core, the time of a driver for one block of photos, and what listing costs.
check: 2, 4 and 8 workers on this machine, with the real network, and with workers that sleep, so that more of them than
    cores can work side by side; the store with and without an artificial latency. Each beside its simulation.
predict: the simulation with the latency, the limits and the prices of the flags.

The simulation follows each block through its queues: the driver, which does one thing at a time; the readers; the
workers; the writers. A photo takes a random time. Everything else is as cluster/stylizing.py has it.
"""

import argparse
import heapq
import json
import math
import os
import secrets
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from system.machine import available_cores  # noqa: E402

WORKERS = (1, 2, 10, 30, 100, 300, 1000, 3000, 10_000)
STAGES = ("read", "work", "write")


@dataclass(frozen=True)
class Rates:
    """What `measure` finds. Seconds are those of one core of this machine while all cores work."""

    decode_seconds: float = 0.005
    network_seconds: float = 0.2
    encode_seconds: float = 0.005
    spread: float = 0.1  # standard deviation of a photo's time over its mean
    bytes_in: float = 60_000
    bytes_out: float = 90_000
    driver_seconds: float = 0.01  # CPU seconds of the driver for each task: one block in one stage
    ray_seconds: float = 0.02  # CPU seconds of Ray's other processes for each task
    gap_seconds: float = 0.12  # between two tasks of a reader or writer; fitted to `check`, not measured
    name_seconds: float = 10e-6  # to list one name of a manifest
    name_bytes: float = 500.0  # of the driver's memory for one name
    start_seconds: float = 15.0  # from the command to the first picture


@dataclass(frozen=True)
class World:
    """What is not measured here. Latencies in seconds for one request, prices in dollars."""

    get_latency: float = 0.03
    put_latency: float = 0.06
    list_latency: float = 0.1  # for 1,000 names
    bytes_per_second: float = 50e6  # of one connection
    puts_per_second: float = 3500.0  # that the store takes below one folder
    gets_per_second: float = 5500.0
    workers_per_second: float = 100.0  # that a cluster starts
    core_hour: float = 0.0504
    million_gets: float = 0.40
    million_puts: float = 5.00


@dataclass(frozen=True)
class Engine:
    """What cluster/stylizing.py does: photos of a block, and photos that one task reads or writes side by side."""

    block: int = 64
    side_by_side: int = 8
    readers: Callable[[int], int] = lambda workers: max(1, workers // 2)


# Simulation


class _Simulation:
    """Blocks of photos in a chain of queues; times in seconds."""

    def __init__(self, rates: Rates, world: World, workers: int, engine: Engine, cores: float, seed: int):
        self._rates, self._world, self._engine = rates, world, engine
        self._random = np.random.default_rng(seed)
        readers = min(engine.readers(workers), workers)
        self._free = {"read": readers, "work": workers, "write": readers}
        self._waiting: dict[str, deque[int]] = {stage: deque() for stage in STAGES}
        self._most_waiting = {"work": 2 * workers + readers, "write": math.inf}
        self._slowness = max(1.0, workers / cores)
        self._events: list[tuple[float, int, str, int]] = []
        self._driver_free = self._put_free = self._get_free = 0.0
        self._order = 0
        self._read = 0
        self.done: list[float] = []

    def run(self, blocks: int) -> float:
        self._left = blocks
        self._start_all(0.0)
        while self._events:
            now, _, stage, block = heapq.heappop(self._events)
            if stage.startswith("end of "):  # the pause of a reader or writer is over
                self._free[stage.removeprefix("end of ")] += 1
                self._start_all(now)
                continue
            if stage == "work":  # Ray Data gives a worker its next task before it has ended this one
                self._free[stage] += 1
            else:
                self._push(now + self._rates.gap_seconds, f"end of {stage}", block)
            follower = {"read": "work", "work": "write"}.get(stage)
            if follower is None:
                self.done.append(now)
            else:
                self._waiting[follower].append(block)
            self._start_all(now)
        return self.done[-1]

    def _start_all(self, now: float) -> None:
        for stage in ("write", "work"):
            while self._free[stage] and self._waiting[stage]:
                self._start(stage, self._waiting[stage].popleft(), now)
        while self._free["read"] and self._left and len(self._waiting["work"]) < self._most_waiting["work"]:
            self._left -= 1
            self._start("read", self._left, now)

    def _start(self, stage: str, block: int, now: float) -> None:
        """The driver gives the task away, which takes its time, and the task runs."""
        self._free[stage] -= 1
        self._driver_free = max(now, self._driver_free) + self._rates.driver_seconds
        self._push(getattr(self, f"_{stage}_end")(self._driver_free), stage, block)

    def _push(self, time_of_event: float, stage: str, block: int) -> None:
        self._order += 1
        heapq.heappush(self._events, (time_of_event, self._order, stage, block))

    def _read_end(self, start: float) -> float:
        world, photos = self._world, self._engine.block
        self._get_free = max(start, self._get_free) + photos / world.gets_per_second
        return max(self._get_free, start + self._requests(world.get_latency, self._rates.bytes_in))

    def _write_end(self, start: float) -> float:
        world, photos = self._world, self._engine.block
        self._put_free = max(start, self._put_free) + photos / world.puts_per_second
        return max(self._put_free, start + self._requests(world.put_latency, self._rates.bytes_out))

    def _requests(self, latency: float, size: float) -> float:
        rounds = math.ceil(self._engine.block / self._engine.side_by_side)
        return rounds * (latency + size / self._world.bytes_per_second)

    def _work_end(self, start: float) -> float:
        photos = self._engine.block
        mean = photos * photo_seconds(self._rates)
        spread = self._rates.spread / math.sqrt(photos)
        return start + self._slowness * mean * max(0.1, self._random.normal(1.0, spread))


def photo_seconds(rates: Rates) -> float:
    """Seconds of one core for one photo."""
    return rates.decode_seconds + rates.network_seconds + rates.encode_seconds


def steady_rate(
    rates: Rates, world: World, workers: int, engine: Engine, cores: float = math.inf, blocks_each: int = 12
) -> float:
    """Photos per second of many blocks, without the start and the end, where not all workers work."""
    blocks = max(400, blocks_each * workers)
    simulation = _Simulation(rates, world, workers, engine, cores, seed=0)
    simulation.run(blocks)
    count = len(simulation.done)
    middle = np.arange(int(0.3 * count), int(0.8 * count))
    return engine.block * np.polyfit(np.array(simulation.done)[middle], middle, 1)[0]


def limits(rates: Rates, world: World, engine: Engine) -> dict[str, float]:
    """Photos per second that each part allows, whatever the number of workers."""
    return {
        "driver": engine.block / (len(STAGES) * max(rates.driver_seconds, 1e-9)),
        "PUT requests": world.puts_per_second,
        "GET requests": world.gets_per_second,
    }


def predictions(rates: Rates, world: World, engine: Engine, photos: float) -> Iterator[dict[str, float]]:
    """For each number of workers: photos per second, share of the ideal, hours and dollars for so many photos."""
    for workers in WORKERS:
        rate = steady_rate(rates, world, workers, engine, blocks_each=12 if workers < 3000 else 6)
        start = rates.start_seconds + workers / world.workers_per_second
        start += photos / 1000 * world.list_latency + photos * rates.name_seconds
        seconds = start + photos / rate
        dollars = workers * seconds / 3600 * world.core_hour
        dollars += photos / 1e6 * (world.million_gets + world.million_puts)
        yield {
            "workers": workers,
            "rate": rate,
            "share": rate * photo_seconds(rates) / workers,
            "start": start,
            "hours": seconds / 3600,
            "per_million": dollars / photos * 1e6,
        }


# Measurement


def measured_rates(folder: Path, style: str, count: int) -> Rates:
    """CPU seconds of one photo, while every core computes photos. What else runs here changes them little."""
    from concurrent.futures import ThreadPoolExecutor

    from cli.infer_config import FastConfig
    from cli.painting import PhotoPainter
    from cli.styles import load_controls, load_styles
    from data.listing import list_images
    from data.photo import load_photo, save_photo

    paths = list_images([folder])[:count]
    config = FastConfig(style=style)
    painter = PhotoPainter(load_styles(config, threads=1), load_controls(config), threads=1)
    with tempfile.TemporaryDirectory() as place:

        def timed(path: Path) -> tuple[float, ...]:
            times = [time.thread_time()]
            photo = load_photo(path)
            times.append(time.thread_time())
            target = Path(place) / f"{path.stem}.jpg"
            canvas = painter.painted(photo, target, lambda is_tiled: nullcontext(lambda share: None)).canvas
            times.append(time.thread_time())
            save_photo(target, canvas, photo)
            times.append(time.thread_time())
            sizes = path.stat().st_size, target.stat().st_size
            return times[1] - times[0], times[3] - times[2], *sizes

        with ThreadPoolExecutor(available_cores()) as pool:
            list(pool.map(timed, paths[: 2 * available_cores()]))
            start = time.process_time()
            found = np.array(list(pool.map(timed, paths)))
            whole = (time.process_time() - start) / len(paths)
    decode, encode, bytes_in, bytes_out = found.mean(axis=0)
    network = whole - decode - encode  # its runtime has threads of its own
    return Rates(decode, network, encode, bytes_in=bytes_in, bytes_out=bytes_out)


def measured_names(names: int) -> tuple[float, float]:
    """Seconds and bytes of memory that one name of a manifest costs the driver."""
    from cluster.inputs import find_sources, targets_of

    process = psutil.Process()
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(folder) / "photos.txt"
        manifest.write_text(
            "".join(f"/photos/{index // 1000:06}/{index:010}.jpg\n" for index in range(names))
        )
        before, start = process.memory_info().rss, time.perf_counter()
        sources = find_sources([str(manifest)])
        targets = targets_of(sources.photos, "style", lambda place: ".jpg")
        seconds = time.perf_counter() - start
        return seconds / names, (process.memory_info().rss - before) / len(targets)


@contextmanager
def local_ray(workers: int) -> Iterator[None]:
    """A Ray cluster of this machine alone that believes to have so many CPUs."""
    os.environ.update({"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"})
    import ray

    options = {"num_cpus": workers, "include_dashboard": False, "log_to_driver": False}
    ray.init("local", object_store_memory=2**29, logging_level="ERROR", **options)
    try:
        yield
    finally:
        ray.shutdown()


@dataclass(frozen=True)
class Local:
    """What a run on this machine took. CPU seconds are those of the driver, and of Ray's processes but for workers."""

    rate: float
    driver_seconds: float
    ray_seconds: float
    first_seconds: float
    blocks: int


def local_run(
    workers: int, photos: int, *, paths: Sequence[str], style: str, sleep: float | None, latency: float
) -> Local:
    """Runs the stages of cluster/stylizing.py on this machine.

    paths: photos, repeated as often as needed. sleep: seconds that a worker sleeps in place of computing a photo; None
    computes. latency: seconds by which each request to the store takes longer.
    """
    import pyarrow as pa

    from cli.infer_config import FastConfig
    from cluster import stylizing
    from cluster.style_parcel import packed_style

    store = _slow_store(latency)
    with tempfile.TemporaryDirectory(prefix="scale_") as folder, local_ray(workers), _sleeping(sleep):
        job = stylizing.Job(
            (store,), store, folder, packed_style(FastConfig(style=style)), math.inf,
            stylizing.Pool(workers, 1, 0.0), secrets.token_hex(8),
        )  # fmt: skip
        numbers = range(photos)
        chosen = [paths[number % len(paths)] for number in numbers]
        places = [f"{number:08}.jpg" for number in numbers]
        table = pa.table(
            {
                "index": pa.array(numbers, pa.int64()),
                "store": pa.array([0] * photos, pa.int32()),
                "path": chosen,
                "name": chosen,
                "place": places,
                "spare": [f"{place}.png" for place in places],
            }
        )
        return _timed_run(stylizing.stylized_rows(job, table), photos)


def _timed_run(rows: Iterator[Sequence[Any]], photos: int) -> Local:
    import ray

    start, own = time.perf_counter(), time.process_time()
    times, counts = [], []
    for some in rows:
        bad = [row["reason"] for row in some if row["reason"]]
        if bad:
            raise RuntimeError(f"a photo of the measurement failed: {bad[0]}")
        times.append(time.perf_counter())
        counts.append(len(some))
    ray_seconds = _cpu_of_ray()
    del ray
    done = np.cumsum(counts)
    low, high = np.searchsorted(done, (0.2 * photos, 0.9 * photos))
    rate = (done[high] - done[low]) / (times[high] - times[low])
    return Local(rate, time.process_time() - own, ray_seconds, times[0] - start, len(times))


def _cpu_of_ray() -> float:
    """CPU seconds of all processes of the local cluster that compute no photos, since they started."""
    total = 0.0
    for each in psutil.Process().children(recursive=True):
        try:
            if "MapWorker" not in " ".join(each.cmdline()):
                total += sum(each.cpu_times()[:2])
        except psutil.Error:
            continue
    return total


def _slow_store(latency: float) -> Any:
    from pyarrow import fs

    from cluster.stores import Store

    class SlowStore(Store):
        """Files of this machine, each request a while later."""

        def read(self, path: str) -> bytes:
            time.sleep(latency)
            return super().read(path)

        def write(self, path: str, content: bytes) -> None:
            time.sleep(latency)
            super().write(path, content)

    # Of a class inside a function, cloudpickle sends the definition: workers need not import this file.
    return SlowStore("", fs.LocalFileSystem())


@contextmanager
def _sleeping(seconds: float | None) -> Iterator[None]:
    """Within this context workers sleep in place of computing; the picture is the photo."""
    from cluster import stylizing

    if seconds is None:
        yield
        return

    class Sleeper:
        def __init__(self, job_reference: Sequence[Any]):
            pass

        def __call__(self, batch: Any) -> Any:
            from cluster.painter import Picture
            from cluster.stylizing import _columns, _table

            rows = []
            for row in batch.to_pylist():
                time.sleep(seconds)
                columns = _columns(Picture(row["content"]))
                facts = {"index": row["index"], "place": row["place"], "bytes_in": len(row["content"])}
                rows.append({**facts, "is_fatal": False, **columns})
            return _table(rows)

    original, stylizing.Worker = stylizing.Worker, Sleeper
    try:
        yield
    finally:
        stylizing.Worker = original


def measured_driver(style: str, paths: Sequence[str], workers: int, blocks: int) -> tuple[float, float]:
    """CPU seconds for each task, of the driver and of Ray's other processes, with workers that do nothing.

    The difference between two runs of unequal length leaves out what a run costs once.
    """
    photos = [blocks * 64, 3 * blocks * 64]
    runs = [local_run(workers, count, paths=paths, style=style, sleep=0.0, latency=0.0) for count in photos]
    tasks = (photos[1] - photos[0]) / Engine().block * len(STAGES)
    driver = (runs[1].driver_seconds - runs[0].driver_seconds) / tasks
    return driver, (runs[1].ray_seconds - runs[0].ray_seconds) / tasks


def _measure(options: argparse.Namespace) -> None:
    from data.listing import list_images

    rates = measured_rates(options.photos, options.style, options.count)
    paths = [str(path.resolve()) for path in list_images([options.photos])[: options.count]]
    name_seconds, name_bytes = measured_names(options.names)
    driver, rest = measured_driver(options.style, paths, workers=2, blocks=options.blocks)
    start = local_run(2, 16, paths=paths, style=options.style, sleep=None, latency=0.0).first_seconds
    rates = replace(
        rates, driver_seconds=driver, ray_seconds=rest, name_seconds=name_seconds, name_bytes=name_bytes,
        start_seconds=start,
    )  # fmt: skip
    options.rates.write_text(json.dumps(asdict(rates), indent=1))
    for name, value in asdict(rates).items():
        print(f"{name:16} {value:.6g}")


def _check(options: argparse.Namespace) -> None:
    """Measured beside predicted, for workers of this machine."""
    from data.listing import list_images

    rates = _read_rates(options.rates)
    paths = [str(path.resolve()) for path in list_images([options.photos])[: options.count]]
    sleep = options.sleep
    nothing = World(0.0, 0.0, 0.0, math.inf, math.inf, math.inf)
    asleep = replace(rates, decode_seconds=0.0, network_seconds=sleep, encode_seconds=0.0, spread=0.0)
    cases = [
        ("network", None, 0.0, rates, nothing, available_cores()),
        (f"sleep {sleep:g} s", sleep, 0.0, asleep, nothing, math.inf),
        (
            f"sleep {sleep:g} s, latency {options.latency:g} s",
            sleep,
            options.latency,
            asleep,
            replace(nothing, get_latency=options.latency, put_latency=options.latency),
            math.inf,
        ),
    ]
    print(f"{'':28} workers  measured  predicted  photos/s")
    for name, seconds, latency, known, world, cores in cases:
        for workers in options.workers:
            photos = max(options.each * min(workers, cores if seconds is None else workers), 48)
            photos = int(photos)
            run = local_run(workers, photos, paths=paths, style=options.style, sleep=seconds, latency=latency)
            engine = Engine(block=max(1, min(64, photos // (8 * workers))))
            share = len(STAGES) * (known.driver_seconds + known.ray_seconds) / engine.block
            if seconds is None:  # on these cores, Ray itself computes too
                known = replace(rates, encode_seconds=rates.encode_seconds + share)
            rate = steady_rate(known, world, workers, engine, cores, blocks_each=8)
            print(
                f"{name:28} {workers:7} {run.rate:9.2f} {rate:10.2f}  {run.rate / rate - 1:+.0%}", flush=True
            )


def _predict(options: argparse.Namespace) -> None:
    rates, engine = _read_rates(options.rates), Engine()
    world = World(
        **{field.name: getattr(options, field.name) for field in fields(World)},
    )
    print(
        f"limits, photos/s: {', '.join(f'{name} {rate:.0f}' for name, rate in limits(rates, world, engine).items())}"
    )
    print(
        f"{options.names:.0f} names: {options.names / 1000 * world.list_latency:.0f} s to list,"
        f" {options.names * rates.name_seconds:.0f} s to plan, {options.names * rates.name_bytes / 1e9:.1f} GB"
    )
    print("workers  photos/s  of ideal  start min     hours  dollars per million photos")
    for row in predictions(rates, world, engine, options.names):
        print(
            f"{row['workers']:7} {row['rate']:9.1f} {row['share']:9.0%} {row['start'] / 60:10.1f}"
            f" {row['hours']:9.1f} {row['per_million']:12.2f}",
            flush=True,
        )


def _read_rates(path: Path) -> Rates:
    return Rates(**json.loads(path.read_text()))


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=("measure", "check", "predict"))
    parser.add_argument("--rates", type=Path, required=True, help="file of the rates")
    parser.add_argument("--photos", type=Path, help="folder of photos")
    parser.add_argument("--style", default="udnie", help="default: udnie")
    parser.add_argument("--count", type=int, default=60, help="photos of the folder to take (default: 60)")
    parser.add_argument("--names", type=float, default=1e7, help="photos of a job (default: 10 million)")
    parser.add_argument("--blocks", type=int, default=40, help="of the short driver run (default: 40)")
    parser.add_argument("--each", type=int, default=64, help="check: photos for each worker (default: 64)")
    parser.add_argument("--sleep", type=float, default=0.2, help="check: seconds for a photo (default: 0.2)")
    parser.add_argument(
        "--latency", type=float, default=0.2, help="check: of a request, seconds (default: 0.2)"
    )
    parser.add_argument(
        "--workers", type=int, nargs="+", default=(1, 2, 4, 8), help="check (default: 1 2 4 8)"
    )
    for field in fields(World):
        flag = f"--{field.name.replace('_', '-')}"
        parser.add_argument(
            flag, type=float, default=field.default, help=f"predict (default: {field.default:g})"
        )
    options = parser.parse_args(arguments)
    if options.what == "measure":
        options.names = int(min(options.names, 300_000))
    {"measure": _measure, "check": _check, "predict": _predict}[options.what](options)


if __name__ == "__main__":
    main()

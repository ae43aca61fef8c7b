"""Stylizes photos on a Ray cluster of this machine, from an S3-compatible server and to it, and checks every picture.

    python benchmarks/cluster_run.py udnie --photos ../shared/photos/train ../shared/photos/val --work /tmp/cluster_run
    python benchmarks/cluster_run.py udnie --photos FOLDER --work /tmp/cluster_run --count 60 --hostile 10 --kill worker

Photos are cut from those of the folders, about 512x384 pixels, all different and the same in every run; among them are
hostile files. The reference is what infer.py makes of them as a folder, without a cluster; it is kept in --work for the
next run. The cluster is a head without CPUs and nodes with one CPU each; the command is infer.py --cluster.

network: photos per second of the network alone, which computes photos in memory on both cores, before and after.
pictures: from the first to the last picture in the store. command: from its start to its end.
CPU time: of all processes, for each picture. What else runs on the machine changes it less than photos per second; with
--kill, it lacks the time of the processes that have ended.
memory: proportional set sizes of all processes of the cluster and of the command, by tenths of the run.
--kill: on the way, a worker is killed, a node is killed and another one added, or the command is killed and given
again; several of them in turn. Then too each good photo must have its picture, byte for byte that of the reference, and
there is nothing else.
"""

import argparse
import contextlib
import functools
import io
import json
import os
import secrets
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.object_store import BUCKET, START_SECONDS, free_port, running_store  # noqa: E402
from system.machine import available_cores  # noqa: E402

SIDES = (512, 384)
REPORT_FOLDER = "_report"
KILLS = ("worker", "node", "driver")
SAMPLE_SECONDS = 3.0
OBJECT_STORE_BYTES = 256 * 2**20  # of each node


def parse_args(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("style", nargs="?", default="udnie", help="default: udnie")
    parser.add_argument("--photos", type=Path, nargs="+", required=True, help="folders of photos to cut from")
    parser.add_argument("--work", type=Path, required=True, help="folder for photos and reference; kept")
    parser.add_argument(
        "--count", type=int, default=3000, help="photos, hostile ones included (default: 3000)"
    )
    parser.add_argument("--hostile", type=int, default=30, help="hostile ones (default: 30)")
    parser.add_argument("--nodes", type=int, default=2, help="nodes of one CPU each (default: 2)")
    parser.add_argument(
        "--kill", choices=KILLS, nargs="+", default=[], help="what is killed on the way (default: nothing)"
    )
    parser.add_argument("--network-photos", type=int, default=100, help="of the network alone (default: 100)")
    parser.add_argument("--server", choices=("rclone", "moto"), help="default: rclone if it is there")
    return parser.parse_args(arguments)


# Photos


def hostile_file(number: int) -> tuple[str, bytes]:
    """Returns the suffix and the bytes of a file that no program can stylize. Neighbouring numbers differ in kind."""
    kinds = (
        (".jpg", lambda: b""),
        (".jpg", lambda: bytes(np.random.default_rng(number).integers(0, 256, 5000, dtype=np.uint8))),
        (".png", lambda: _png(30_000, 30_000, b"\0" * 1000)),  # claims 900 megapixels
        (".png", _bomb),
        (".jpg", lambda: b"This is a text about pictures.\n" * 100),
        (".jpg", lambda: _claiming(_jpeg(number), 65_500)),
        (".png", lambda: _zip(number)),
        (".jpg", lambda: _jpeg(number)[:150]),
        (".jpg", lambda: b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + b"\0" * 4000),
        (".tif", lambda: b"II*\0\x08\0\0\0\xff\xff" + b"\xff" * 3000),
    )
    suffix, content = kinds[number % len(kinds)]
    return suffix, content()


@functools.cache
def _bomb() -> bytes:
    """A PNG file of 0.2 MB that has the 225 megapixels that it claims."""
    return _png(15_000, 15_000, b"\0" * 15_000 * 15_001)


def _png(width: int, height: int, rows: bytes) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def _jpeg(seed: int) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    colors = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(colors).resize((64, 48)).save(stream, "JPEG")
    return stream.getvalue()


def _claiming(jpeg: bytes, side: int) -> bytes:
    """The same JPEG file, whose header claims other sides."""
    place = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:place] + struct.pack(">HH", side, side) + jpeg[place + 4 :]


def _zip(number: int) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("photo.png", f"{number}")
    return stream.getvalue()


def write_photos(folders: Sequence[Path], photos_dir: Path, count: int, hostile: int) -> set[str]:
    """Writes `count` files, unless they are there; returns the names of the hostile ones, which are spread."""
    from data.listing import list_images

    places = {int((index + 0.5) * count / hostile) for index in range(hostile)} if hostile else set()
    sources = list_images(folders)
    stamp_path = photos_dir.with_suffix(".json")
    stamp = json.dumps([count, hostile, [str(path) for path in sources]])
    bad = {place: f"{place:06}{hostile_file(index)[0]}" for index, place in enumerate(sorted(places))}
    if stamp_path.exists() and stamp_path.read_text() == stamp:
        return set(bad.values())
    shutil.rmtree(photos_dir, ignore_errors=True)
    photos_dir.mkdir(parents=True)
    for index, name in enumerate(bad.values()):
        (photos_dir / name).write_bytes(hostile_file(index)[1])
    for index in sorted(set(range(count)) - places):
        _write_cut(sources[index % len(sources)], photos_dir / f"{index:06}.jpg", seed=index)
    stamp_path.write_text(stamp)
    return set(bad.values())


def _write_cut(source: Path, target: Path, seed: int) -> None:
    """A part of a photo, in about the size that many photos of the web have."""
    from PIL import Image

    with Image.open(source) as opened:
        photo = opened.convert("RGB")
    width, height = SIDES if photo.width >= photo.height else SIDES[::-1]
    chance = np.random.default_rng(seed)
    scale = min(photo.width / width, photo.height / height) * chance.uniform(0.75, 1.0)
    left = chance.uniform(0, photo.width - scale * width)
    top = chance.uniform(0, photo.height - scale * height)
    box = (left, top, left + scale * width, top + scale * height)
    photo.resize((width, height), Image.Resampling.BICUBIC, box=box).save(target, quality=90)


def contents(folder: Path) -> dict[str, bytes]:
    """Name below a folder -> bytes, of each file; of hidden ones too."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def write_reference(photos_dir: Path, pictures_dir: Path, style: str) -> None:
    """Stylizes the photos on this machine, without a cluster; what an earlier run made is kept."""
    command = [sys.executable, str(ROOT / "infer.py"), str(photos_dir), "-o", str(pictures_dir)]
    ended = subprocess.run([*command, "--style", style, "--skip-existing"], stderr=subprocess.PIPE, text=True)
    if ended.returncode not in (0, 1):
        raise RuntimeError(f"the reference could not be made: {ended.stderr[-2000:]}")


def network_speed(photos: Sequence[np.ndarray], style: str) -> tuple[float, float]:
    """The network alone, as infer.py loads it for a folder: as many photos side by side as cores, one thread each.

    Returns photos per second, and CPU seconds for each.
    """
    from cli.infer_config import FastConfig
    from cli.styles import load_styles
    from system.threads import in_order

    stylizer = load_styles(FastConfig(style=style), threads=1)
    workers = min(available_cores(), len(photos))

    def run(chosen: Sequence[np.ndarray]) -> None:
        for _, future in in_order(chosen, stylizer, workers, lambda: None):
            future.result()

    run(photos[: 2 * workers])
    start, cpu = time.perf_counter(), time.process_time()
    run(photos)
    passed = time.perf_counter() - start
    return len(photos) / passed, (time.process_time() - cpu) / len(photos)


# The cluster and what happens to it


class LocalCluster:
    """A Ray cluster of node processes on this machine: a head without CPUs, and nodes with one CPU each.

    environment: of all its processes, and of the commands that join it. Raises RuntimeError if a node does not start.
    """

    def __init__(self, nodes: int, environment: Mapping[str, str]):
        self._folder = tempfile.mkdtemp(
            prefix="ray_", dir="/tmp"
        )  # sockets below it have names of limited length
        secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
        self.environment = {
            **environment,
            **secret,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_TMPDIR": self._folder,
        }
        self.address = f"127.0.0.1:{free_port()}"
        self._nodes: list[subprocess.Popen] = []
        try:
            port = self.address.partition(":")[2]
            options = {"port": port, "num-cpus": 0, "include-dashboard": "false"}
            options |= {"dashboard-port": free_port(), "ray-client-server-port": free_port()}
            self._start("--head", **{**options, "temp-dir": self._folder})
            for _ in range(nodes):
                self.add_node()
        except BaseException:
            self.close()
            raise

    def add_node(self) -> None:
        self._start("--address", self.address, **{"num-cpus": 1})

    def _start(self, *flags: str, **options: Any) -> None:
        options |= {"object-store-memory": OBJECT_STORE_BYTES, "node-ip-address": "127.0.0.1"}
        # Several nodes on one machine must not use the same ports; 0 lets the system choose.
        options |= {"min-worker-port": 0, "max-worker-port": 0, "dashboard-agent-listen-port": free_port()}
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *flags, "--block"]
        log = Path(self._folder) / f"node_{len(self._nodes)}.log"
        with log.open("wb") as stream:
            command += [f"--{name}={value}" for name, value in options.items()]
            node = subprocess.Popen(
                command, stdout=stream, stderr=stream, env={**os.environ, **self.environment}
            )
        self._nodes.append(node)
        end = time.monotonic() + START_SECONDS
        while "Ray runtime started" not in log.read_text(errors="replace"):
            if node.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"a node does not start: {log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)

    def kill_node(self) -> None:
        """Kills a node that is not the head, with all its processes."""
        node = self._nodes.pop(1)
        _kill_all([psutil.Process(node.pid), *_below(node.pid)])
        node.wait()

    def processes(self) -> list[psutil.Process]:
        """All processes of the cluster."""
        return [process for node in self._nodes for process in _below(node.pid)]

    def kill_worker(self) -> None:
        """Kills the process of a worker that stylizes: the one that has computed most."""
        actors = [each for each in self.processes() if "MapWorker" in _title(each)]
        if not actors:
            raise RuntimeError("no stylizing worker was found among the processes of the cluster")
        max(actors, key=lambda each: sum(each.cpu_times()[:2])).kill()

    def close(self) -> None:
        processes = self.processes()
        for node in self._nodes:
            node.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            for node in self._nodes:
                node.wait(3)
        _kill_all([*processes, *(psutil.Process(node.pid) for node in self._nodes if node.poll() is None)])
        shutil.rmtree(self._folder, ignore_errors=True)


def _below(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:  # it has ended
        return ""


def _kill_all(processes: Iterable[psutil.Process]) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.kill()


class Samples:
    """What the cluster and the command have taken over time.

    cluster, command: proportional set sizes in bytes, which count shared pages once. cpu: seconds of processes by name.
    """

    def __init__(self, cluster: LocalCluster, command_pids: Iterable[int]):
        self.times: list[float] = []
        self.cluster: list[int] = []
        self.command: list[int] = []
        self.cpu: list[Counter[str]] = []
        self._cluster, self._pids = cluster, command_pids
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Samples":
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(SAMPLE_SECONDS):
            pids = set(self._pids)
            self.times.append(time.time())
            processes = [each for each in self._cluster.processes() if each.pid not in pids]
            self.cluster.append(sum(map(_pss, (each.pid for each in processes))))
            self.command.append(sum(map(_pss, pids)))
            self.cpu.append(Counter())
            for pid in {*pids, *(each.pid for each in processes)}:
                self.cpu[-1] += _cpu_seconds(pid, is_command=pid in pids)

    def cpu_for_each(self, written: Sequence[float]) -> dict[str, float]:
        """CPU seconds for each picture by the name of the process, between the first and the last sample of the run."""
        times = np.array(self.times)
        inside = np.flatnonzero((times >= min(written)) & (times <= max(written)))
        if len(inside) < 2:
            return {}
        low, high = inside[[0, -1]]
        between = sum(times[low] < moment <= times[high] for moment in written)
        spent = Counter(self.cpu[high])
        spent.subtract(self.cpu[low])  # the difference of two counters would leave out what is negative
        return {name: seconds / max(1, between) for name, seconds in spent.most_common()}

    def tenths(self, start: float, end: float) -> list[tuple[float, float]]:
        """Mean GB of the cluster and of the command in each tenth of the time between two moments."""
        times, sizes = np.array(self.times), np.array([self.cluster, self.command]).T / 1e9
        edges = np.linspace(start, end, 11)
        parts = [sizes[(times >= low) & (times < high)] for low, high in zip(edges, edges[1:], strict=False)]
        return [tuple(part.mean(axis=0)) for part in parts if len(part)]


def _cpu_seconds(pid: int, *, is_command: bool) -> Counter[str]:
    """Seconds by name. Names of Ray's processes for tasks change with the task, so these have one name together."""
    try:
        process = psutil.Process(pid)
        title = process.cmdline()
        name = process.name()
        if title[0].startswith("ray::"):
            name = "stylizing" if "MapWorker" in title[0] else "reading, writing, agents"
        elif name.startswith("python"):
            name = next((Path(word).stem for word in title[1:] if word.endswith(".py")), name)
        return Counter({"the command" if is_command else name: sum(process.cpu_times()[:2])})
    except (psutil.Error, IndexError):  # it has ended
        return Counter()


def _pss(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


@dataclass
class Run:
    """What happened: exit status of each command, seconds of all together, and the last lines of the last one."""

    statuses: list[int] = field(default_factory=list)
    seconds: float = 0.0
    lines: str = ""
    pids: list[int] = field(default_factory=list)


def stylize(
    run: Run, cluster: LocalCluster, files: Any, style: str, pictures: int, kills: Sequence[str]
) -> None:
    """Gives the command. kills: what is killed, one after the other, at equal distances on the way to `pictures`."""
    start = time.perf_counter()
    process, log = _command(cluster, style)
    run.pids.append(process.pid)
    try:
        for number, kill in enumerate(kills, 1):
            if not _has_pictures(process, files, pictures * number // (len(kills) + 1)):
                break
            print(f"killing a {kill} after {len(pictures_in(files))} pictures", flush=True)
            if kill == "worker":
                cluster.kill_worker()
            elif kill == "node":
                cluster.kill_node()
                cluster.add_node()
            else:
                process.send_signal(signal.SIGKILL)
                run.statuses.append(process.wait())
                process, log = _command(cluster, style)
                run.pids.append(process.pid)
        run.statuses.append(process.wait())
    finally:
        process.kill()
    run.seconds, run.lines = time.perf_counter() - start, log.read_text(errors="replace")


def _command(cluster: LocalCluster, style: str) -> tuple[subprocess.Popen, Path]:
    command = [sys.executable, str(ROOT / "infer.py"), f"s3://{BUCKET}/in", "-o", f"s3://{BUCKET}/out"]
    log = Path(tempfile.mkstemp(prefix="cluster_run_", suffix=".log")[1])
    with log.open("wb") as stream:
        flags = ["--cluster", cluster.address, "--style", style]
        environment = {**os.environ, **cluster.environment}
        return subprocess.Popen([*command, *flags], stderr=stream, stdout=stream, env=environment), log


def _has_pictures(process: subprocess.Popen, files: Any, count: int) -> bool:
    """Waits until there are so many pictures. Returns False if the command ends before."""
    while process.poll() is None:
        if len(pictures_in(files)) >= count:
            return True
        time.sleep(1.0)
    return False


def pictures_in(files: Any) -> dict[str, float]:
    """Name of each file of the target, without the report, -> when it was written, in seconds."""
    from pyarrow import fs

    found = files.get_file_info(fs.FileSelector(f"{BUCKET}/out", recursive=True, allow_not_found=True))
    names = {info.path.split("/", 2)[2]: info for info in found if info.type == fs.FileType.File}
    return {
        name: info.mtime.timestamp()
        for name, info in names.items()
        if not name.startswith(f"{REPORT_FOLDER}/")
    }


def report_rows(files: Any) -> list[dict[str, Any]]:
    """The rows of all reports of the target."""
    from pyarrow import fs, parquet

    found = files.get_file_info(fs.FileSelector(f"{BUCKET}/out/{REPORT_FOLDER}", recursive=True))
    parts = sorted(info.path for info in found if info.path.endswith(".parquet"))
    return [row for part in parts for row in parquet.read_table(part, filesystem=files).to_pylist()]


# Checks


def faults(
    expected: Mapping[str, bytes],
    good: Iterable[str],
    hostile: Iterable[str],
    pictures: Mapping[str, bytes],
    rows: Sequence[Mapping[str, Any]],
    *,
    was_cut: bool,
) -> dict[str, list[str]]:
    """What is wrong, by kind; each list is empty if all is well.

    expected: name of a picture -> bytes of the reference. good, hostile: names of photos. was_cut: the command was
    killed and given again, so that there are two reports, and the first may lack rows.
    """
    good, hostile = set(good), set(hostile)
    by_status = {
        status: Counter(_name(row) for row in rows if row["status"] == status) for status in STATUSES
    }
    done = set(by_status["written"] | by_status["existed"])
    return {
        "missing": sorted(set(expected) - set(pictures)),
        "different": sorted(
            name for name in set(expected) & set(pictures) if pictures[name] != expected[name]
        ),
        "unknown": sorted(set(pictures) - set(expected)),
        "hostile, not failed": sorted(hostile - set(by_status["failed"])),
        "good, failed": sorted(set(by_status["failed"]) - hostile),
        "written twice": sorted(name for name, count in by_status["written"].items() if count > 1),
        "not in the report": sorted(good - done),
        "in no or two rows": []
        if was_cut
        else sorted(name for name in good | hostile if sum(names[name] for names in by_status.values()) != 1),
    }


STATUSES = ("written", "existed", "failed")


def _name(row: Mapping[str, Any]) -> str:
    """The name of a photo, below the input."""
    return row["path"].rpartition("/")[2]


def _print_table(options: argparse.Namespace, run: Run, facts: Mapping[str, Any]) -> None:
    network, times = facts["network"], facts["times"]
    rate = facts["pictures"] / np.ptp(times)
    steady = 0.8 * facts["pictures"] / np.ptp(np.quantile(times, (0.1, 0.9)))
    (before, after), (bare, bare_cpu) = [speed for speed, _ in network], np.mean(network, axis=0)
    # The pictures whose times rclone spoils, see main, are not among the times.
    shares = {name: seconds * len(times) / facts["pictures"] for name, seconds in facts["cpu"].items()}
    cpu = sum(shares.values()) or float("nan")
    print(
        f"{options.count} photos, {options.hostile} of them hostile, {options.nodes} nodes of one CPU,"
        f" style {options.style}, {facts['server']}, killed: {', '.join(options.kill) or 'nothing'}"
    )
    print(f"network     {before:6.2f} photos/s before, {after:.2f} after, on {available_cores()} cores")
    print(f"pictures    {rate:6.2f} photos/s from the first to the last, {rate / bare:.1%} of the network")
    print(f"            {steady:6.2f} photos/s in the middle 80 %, {steady / bare:.1%} of the network")
    print(
        f"CPU time    {cpu:6.3f} s for a picture, {bare_cpu:.3f} s of the network alone: {bare_cpu / cpu:.1%}"
    )
    print(f"            {', '.join(f'{name} {seconds:.4f}' for name, seconds in list(shares.items())[:7])}")
    whole = options.count / run.seconds
    first = min(times) - facts["start"]
    print(
        f"command     {whole:6.2f} photos/s, {run.seconds:.1f} s, {first:.1f} s of them before the first picture"
    )
    memory = facts["memory"]
    for name, index in (("cluster", 0), ("command", 1)):
        print(f"memory      {' '.join(f'{part[index]:.2f}' for part in memory)} GB of the {name}")
    print(f"server      {facts['server_cpu']:.1f} s of CPU time")
    statuses = Counter(row["status"] for row in facts["rows"])
    print(f"exit status {run.statuses}, report {dict(statuses)}")
    for kind, names in facts["faults"].items():
        print(f"{kind:20} {len(names)} {' '.join(names[:5])}")


@contextlib.contextmanager
def _closing(cluster: LocalCluster) -> Iterator[LocalCluster]:
    try:
        yield cluster
    finally:
        cluster.close()


def _uploaded(files: Any, photos: Mapping[str, bytes]) -> None:
    for name, content in photos.items():
        with files.open_output_stream(f"{BUCKET}/in/{name}") as stream:
            stream.write(content)


def _downloaded(files: Any, names: Iterable[str]) -> dict[str, bytes]:
    return {name: files.open_input_stream(f"{BUCKET}/out/{name}").read() for name in names}


def main(arguments: list[str] | None = None) -> int:
    from data.images import load_image

    options = parse_args(arguments)
    photos_dir, pictures_dir = options.work / "photos", options.work / f"pictures_{options.style}"
    hostile = write_photos(options.photos, photos_dir, options.count, options.hostile)
    _forget_old(photos_dir, pictures_dir)
    write_reference(photos_dir, pictures_dir, options.style)
    expected = contents(pictures_dir)
    if len(expected) != options.count - options.hostile:
        raise RuntimeError(
            f"the reference has {len(expected)} pictures of {options.count - options.hostile} good photos"
        )
    good = sorted(path for path in photos_dir.iterdir() if path.name not in hostile)
    images = [load_image(path) for path in good[: options.network_photos]]
    facts: dict[str, Any] = {"network": [network_speed(images, options.style)]}
    run = Run()
    with (
        running_store(options.server) as store,
        _closing(LocalCluster(options.nodes, store.environment)) as cluster,
    ):
        files = store.files()
        _uploaded(files, contents(photos_dir))
        cpu, facts["start"] = store.cpu_seconds(), time.time()
        with Samples(cluster, run.pids) as memory:
            stylize(run, cluster, files, options.style, len(good), options.kill)
        facts |= {"server": store.name, "server_cpu": store.cpu_seconds() - cpu}
        times = pictures_in(files)
        if not times:
            print(run.lines[-3000:], file=sys.stderr)
            return 1
        # Of times that end in a zero, rclone leaves out the zero, which pyarrow does not understand and takes for 1970.
        facts["times"] = [written for written in times.values() if written > facts["start"]]
        facts["pictures"] = len(times)
        facts["cpu"] = memory.cpu_for_each(facts["times"])
        facts["memory"] = memory.tenths(min(facts["times"]), max(facts["times"]))
        facts["rows"] = report_rows(files)
        pictures = _downloaded(files, times)
    facts["network"].append(network_speed(images, options.style))
    was_cut = "driver" in options.kill
    facts["faults"] = faults(
        expected, [path.name for path in good], hostile, pictures, facts["rows"], was_cut=was_cut
    )
    _print_table(options, run, facts)
    print("\n".join(run.lines.replace("\r", "\n").splitlines()[-3:]))
    return 1 if any(facts["faults"].values()) or run.statuses[-1] != 1 else 0


def _forget_old(photos_dir: Path, pictures_dir: Path) -> None:
    """Removes a reference that was made of other photos."""
    stamp, made_of = photos_dir.with_suffix(".json").read_text(), pictures_dir.with_suffix(".json")
    if not made_of.exists() or made_of.read_text() != stamp:
        shutil.rmtree(pictures_dir, ignore_errors=True)
    made_of.write_text(stamp)


if __name__ == "__main__":
    sys.exit(main())

"""Load on a real serve.py process, over loopback: many clients, photos of mixed sizes, some of them hostile.

    python benchmarks/service_load.py --clients 50 --photos 20

Each client sends its photos one after the other. One that gets status 503 waits for the seconds of Retry-After and
sends the photo again. Afterwards, each picture is compared with that of infer.py, and the network alone computes the
same photos, so that requests a second can be compared with what the network allows. Needs requirements-serve.txt,
httpx and psutil. The clients run on the same machine, so they take a part of its cores.
"""

import argparse
import asyncio
import contextlib
import io
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import httpx
import numpy as np
import psutil
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli.infer_config import FastConfig
from cli.painting import PhotoPainter
from cli.stylize import stylize_photos
from data.controls import Controls
from data.photo import load_photo
from system.machine import available_cores
from web.shelf import StyleShelf

ROOT = Path(__file__).resolve().parents[1]
STYLES = ("udnie", "great_wave", "starry_night")
# Megapixels of the made photos, and how often each size is sent beside the five examples of 0.2 to 0.4 megapixels.
SIZES = {0.1: 82, 0.25: 12, 1.0: 3, 2.0: 1, 4.0: 1, 12.0: 1}
EXAMPLES_SHARE = 0.1
SUFFIXES = (".jpg", ".png", ".webp")
HOSTILE_SHARE = 0.05
SAMPLE_SECONDS = 0.5  # between two looks at the memory of the server
MOST_TRIES = 200


class Photo(NamedTuple):
    """A file to send, with its style."""

    path: Path
    style: str


@dataclass
class Outcome:
    """What the clients saw. seconds: of each good photo, from its first try to its picture."""

    statuses: Counter = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    served: Counter = field(default_factory=Counter)  # by photo
    pictures: dict[Photo, bytes] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    refused: int = 0  # hostile files, with a line of JSON
    passed: float = 0.0


def parse_args(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--photos", type=int, default=20, help="of each client (default: 20)")
    parser.add_argument(
        "--megapixels",
        type=float,
        nargs="+",
        help="sizes of the photos, in equal shares (default: mostly small)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, help="file for the results as JSON")
    return parser.parse_args(arguments)


def made_photos(folder: Path, sizes: Mapping[float, float]) -> dict[Photo, float]:
    """Writes photos; returns them with their frequencies."""
    generator = np.random.default_rng(0)
    found = {}
    examples = sorted((ROOT / "examples").glob("*.jpg"))
    for index, path in enumerate(examples):
        found[Photo(path, STYLES[index % len(STYLES)])] = EXAMPLES_SHARE * sum(sizes.values()) / len(examples)
    for number, (megapixels, share) in enumerate(sizes.items()):
        height = round((megapixels * 1e6 * 3 / 4) ** 0.5)
        for kind, suffix in enumerate(SUFFIXES):
            base = generator.integers(0, 256, (24, 32, 3), dtype=np.uint8)
            noise = generator.normal(0, 6, (height, height * 4 // 3, 3))
            pixels = np.asarray(Image.fromarray(base).resize((height * 4 // 3, height))) + noise
            path = folder / f"made_{megapixels:g}{suffix}"
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
            found[Photo(path, STYLES[(number + kind) % len(STYLES)])] = share / len(SUFFIXES)
    return found


def hostile_files(folder: Path) -> list[Photo]:
    """Writes files that must be refused, and requests that must be."""
    photo = (ROOT / "examples" / "coffee.jpg").read_bytes()
    header = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", b"\0\0\xc3\x50" * 2 + b"\x08\2\0\0\0")
    contents = {
        "cut.jpg": photo[: len(photo) // 3],
        "text.jpg": b"this is no photo\n" * 100,
        "claims_50000x50000.png": header + _chunk(b"IDAT", zlib.compress(bytes(1000))) + _chunk(b"IEND", b""),
        "bomb.png": header + _chunk(b"IDAT", zlib.compress(bytes(50_000_000), 9)) + _chunk(b"IEND", b""),
        "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>',
        "page.html": b"<html><script>alert(1)</script></html>",
        "archive.zip": b"PK\x03\x04" + bytes(500),
    }
    found = []
    for name, content in contents.items():
        (folder / name).write_bytes(content)
        found.append(Photo(folder / name, STYLES[0]))
    return [*found, Photo(ROOT / "examples" / "coffee.jpg", "../../etc/passwd")]


def _chunk(kind: bytes, content: bytes) -> bytes:
    checksum = zlib.crc32(kind + content)
    return len(content).to_bytes(4, "big") + kind + content + checksum.to_bytes(4, "big")


@contextlib.contextmanager
def server(folder: Path) -> Iterator[tuple[subprocess.Popen, str]]:
    """A serve.py process with its temporary files in `folder`, and its address."""
    command = [sys.executable, str(ROOT / "serve.py"), "--port", "0"]
    log = (folder.parent / "requests.jsonl").open("w")
    process = subprocess.Popen(
        command, stdout=log, stderr=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(folder)}
    )
    try:
        line = process.stderr.readline()
        yield process, line.rpartition(" ")[2].strip()
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        log.close()


async def load(url: str, plans: Sequence[Sequence[tuple[Photo, bool]]]) -> Outcome:
    """All clients at the same time. plans: for each client, photos and whether each is good."""
    outcome = Outcome()
    start = time.perf_counter()
    await asyncio.gather(*(_client(url, plan, outcome) for plan in plans))
    outcome.passed = time.perf_counter() - start
    return outcome


async def _client(url: str, plan: Sequence[tuple[Photo, bool]], outcome: Outcome) -> None:
    async with httpx.AsyncClient(timeout=300) as client:
        for photo, is_good in plan:
            start = time.perf_counter()
            response = await _answered(client, url, photo, outcome)
            if is_good and response.status_code == 200:
                outcome.seconds.append(time.perf_counter() - start)
                outcome.served[photo] += 1
                outcome.pictures.setdefault(photo, response.content)
                if outcome.pictures[photo] != response.content:
                    outcome.faults.append(f"{photo.path.name}: two pictures differ")
            elif not is_good and 400 <= response.status_code < 500 and "error" in response.json():
                outcome.refused += 1
            else:
                outcome.faults.append(f"{photo.path.name}: {response.status_code} {response.text[:200]}")


async def _answered(client: httpx.AsyncClient, url: str, photo: Photo, outcome: Outcome) -> httpx.Response:
    content = photo.path.read_bytes()
    for _ in range(MOST_TRIES):
        files = {"photo": (photo.path.name, content)}
        response = await client.post(f"{url}/api/v1/stylize", files=files, data={"style": photo.style})
        outcome.statuses[response.status_code] += 1
        if response.status_code != 503:
            return response
        await asyncio.sleep(float(response.headers["retry-after"]) * random.uniform(0.5, 1.0))
    return response


async def sampled_memory(process: psutil.Process, samples: list[float]) -> None:
    """Appends the memory of a process in MB, until it is cancelled."""
    while True:
        samples.append(process.memory_info().rss / 1e6)
        await asyncio.sleep(SAMPLE_SECONDS)


async def measured(url: str, process_id: int, plans: Sequence) -> tuple[Outcome, list[float]]:
    samples: list[float] = []
    sampler = asyncio.create_task(sampled_memory(psutil.Process(process_id), samples))
    outcome = await load(url, plans)
    sampler.cancel()
    return outcome, samples


def network_seconds(served: Counter) -> tuple[float, float, float]:
    """Returns seconds for all photos: of the network alone, with the way to full size, and CPU seconds of that.

    CPU seconds depend less on what else runs on the machine.
    """
    from data.enlarging import natural_scale, size_at_scale

    shelf, bare, painted, cpu = StyleShelf(), 0.0, 0.0, 0.0
    for photo, count in sorted(served.items(), key=lambda item: item[0].style):
        loaded = load_photo(photo.path)
        size = size_at_scale(*loaded.shape[:2], natural_scale(*loaded.shape[:2]))
        image = np.ascontiguousarray(loaded.shrunk(size)[:, :])
        stylizer = shelf.stylizer([(photo.style, 1.0)])
        painter = PhotoPainter(stylizer, Controls(), available_cores())
        stylizer(image)  # warm-up
        start = time.perf_counter()
        stylizer(image)
        middle, cpu_start = time.perf_counter(), time.process_time()
        painter.painted(loaded, photo.path, lambda is_tiled: contextlib.nullcontext(lambda share: None))
        bare += count * (middle - start)
        painted += count * (time.perf_counter() - middle)
        cpu += count * (time.process_time() - cpu_start)
    return bare, painted, cpu


def compared(pictures: dict[Photo, bytes], folder: Path) -> Counter:
    """How many pictures are those of infer.py: in all bytes, or in pixels by so many levels of 255 in the mean.

    One call for each photo, because infer.py takes fewer threads for each of several, which changes the rounding.
    """
    found: Counter = Counter()
    for photo, content in pictures.items():
        runtime = StyleShelf().stylizer([(photo.style, 1.0)]).runtime
        target = folder / f"{photo.style}_{photo.path.name}"
        with contextlib.redirect_stderr(io.StringIO()):
            stylize_photos(FastConfig((photo.path,), output=target, style=photo.style, runtime=runtime))
        found[_likeness(content, target.read_bytes())] += 1
    return found


def _likeness(content: bytes, expected: bytes) -> str:
    if content == expected:
        return "identical"
    first, second = (
        np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.int16) for data in (content, expected)
    )
    if first.shape != second.shape:
        return "different"
    difference = np.abs(first - second)
    return f"differs by {difference.mean():.2f} levels"


def quarters(samples: Sequence[float]) -> list[int]:
    """The largest sample of each quarter."""
    return [round(max(part)) for part in np.array_split(np.array(samples), 4) if len(part)]


def planned(options: argparse.Namespace, folder: Path) -> list[list[tuple[Photo, bool]]]:
    """What each client sends."""
    generator = random.Random(options.seed)
    sizes = dict.fromkeys(options.megapixels, 1) if options.megapixels else SIZES
    good, hostile = made_photos(folder, sizes), hostile_files(folder)
    names, shares = list(good), list(good.values())
    plans = []
    for _ in range(options.clients):
        plan = [(photo, True) for photo in generator.choices(names, shares, k=options.photos)]
        plans.append(
            [
                (generator.choice(hostile), False) if generator.random() < HOSTILE_SHARE else entry
                for entry in plan
            ]
        )
    return plans


def main(arguments: list[str] | None = None) -> None:
    options = parse_args(arguments)
    with tempfile.TemporaryDirectory() as work:
        folders = [Path(work) / name for name in ("photos", "server", "expected")]
        for folder in folders:
            folder.mkdir()
        plans = planned(options, folders[0])
        with server(folders[1]) as (process, url):
            idle = psutil.Process(process.pid).memory_info().rss / 1e6
            outcome, samples = asyncio.run(measured(url, process.pid, plans))
            cpu_seconds = sum(psutil.Process(process.pid).cpu_times()[:2])
            time.sleep(1)
            uploads = list(folders[1].glob(".*.tmp/*"))
            process.send_signal(signal.SIGTERM)
            status = process.wait(60)
        wanted = sum(is_good for plan in plans for _, is_good in plan)
        bare, painted, bare_cpu = network_seconds(outcome.served)
        results = {
            "good photos": wanted,
            "pictures": len(outcome.seconds),
            "hostile files": sum(len(plan) for plan in plans) - wanted,
            "refused": outcome.refused,
            "faults": outcome.faults[:5],
            "statuses": {str(code): count for code, count in sorted(outcome.statuses.items())},
            "seconds": round(outcome.passed, 1),
            "photos a second": round(len(outcome.seconds) / outcome.passed, 2),
            "photos a second, network alone": round(len(outcome.seconds) / bare, 2),
            "share of the network": round(bare / outcome.passed, 3),
            "share of the network with enlarging": round(painted / outcome.passed, 3),
            "CPU seconds: server, network with enlarging": [round(cpu_seconds), round(bare_cpu)],
            "p50, p95 seconds": [round(value, 2) for value in np.percentile(outcome.seconds, (50, 95))],
            "mean seconds": round(statistics.mean(outcome.seconds), 2),
            "memory MB: idle, largest of each quarter, end": [
                round(idle),
                quarters(samples),
                round(samples[-1]),
            ],
            "uploads left": len(uploads),
            "temporary files left after SIGTERM": [path.name for path in folders[1].iterdir()],
            "exit status": status,
            "like infer.py": dict(compared(outcome.pictures, folders[2])),
        }
    text = json.dumps(results, indent=2)
    print(text)
    if options.output:
        options.output.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()

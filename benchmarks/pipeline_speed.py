"""Measures the input pipeline alone, in images per second, without and with the photo cache.

    python benchmarks/pipeline_speed.py photos/

Run it while nothing else runs.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from benchmarks.timing import median_and_spread, run_seconds
from data.photo_cache import PhotoCache
from data.pipeline import PARALLEL_DECODES, CropStream, PhotoFolder
from system.machine import available_cores

BATCH_SIZE = 4
RUNS = 5


def parse_args(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("content_dir", type=Path, help="folder of photos")
    parser.add_argument("--image-size", type=int, default=256, help="side of the crops (default: 256 pixels)")
    parser.add_argument("--batches", type=int, default=100, help="timed batches of each run (default: 100)")
    parser.add_argument("--warmup", type=int, default=25, help="batches before the first run (default: 25)")
    return parser.parse_args(arguments)


def images_per_second(photos, options: argparse.Namespace) -> tuple[float, float]:
    """Returns median and relative spread of RUNS runs of the stream."""
    batches = iter(CropStream(photos, image_size=options.image_size, seed=0).batches(BATCH_SIZE))

    def take(count: int) -> None:
        for _ in range(count):
            next(batches)

    take(options.warmup)
    times = run_seconds(lambda: take(options.batches), RUNS)
    return median_and_spread([BATCH_SIZE * options.batches / seconds for seconds in times])


def packed(folder: PhotoFolder, cache_dir: Path, image_size: int) -> PhotoCache:
    """Returns a cache of all photos of `folder`, and prints its size and the time that it took."""
    start = time.perf_counter()
    cache = PhotoCache(cache_dir, folder.paths, 2 * image_size)
    for _ in cache.pack(threads=available_cores()):
        pass
    seconds = time.perf_counter() - start
    size = sum(path.stat().st_size for path in cache_dir.iterdir())
    print(f"{len(folder.paths)} photos packed in {seconds:.1f} s, {size / 1e9:.2f} GB")
    return cache


def main(arguments: list[str] | None = None) -> None:
    options = parse_args(arguments)
    folder = PhotoFolder(options.content_dir)
    with tempfile.TemporaryDirectory() as cache_dir:
        cache = packed(folder, Path(cache_dir), options.image_size)
        print(
            f"{'photos':>8} {'images/s':>9} {'spread':>7}   {PARALLEL_DECODES} threads, {options.image_size} px"
        )
        for name, photos in {"files": folder, "cache": cache}.items():
            rate, spread = images_per_second(photos, options)
            print(f"{name:>8} {rate:9.0f} {spread:7.1%}")


if __name__ == "__main__":
    main()

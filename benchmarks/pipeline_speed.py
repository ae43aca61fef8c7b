"""Images per second of the input pipeline alone, 256 px crops, without and with the photo cache.

    python benchmarks/pipeline_speed.py ../shared/photos/train

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

import statistics

from data.photo_cache import PhotoCache
from data.pipeline import PARALLEL_DECODES, CropStream, PhotoFolder

SIDE, BATCH_SIZE = 256, 4
WARMUP_BATCHES, TIMED_BATCHES, RUNS = 25, 100, 5


def images_per_second(photos) -> tuple[float, float]:
    """Median and relative spread of RUNS stretches of the stream."""
    batches = iter(CropStream(photos, image_size=SIDE, seed=0).batches(BATCH_SIZE))
    for _ in range(WARMUP_BATCHES):
        next(batches)
    rates = []
    for _ in range(RUNS):
        start = time.perf_counter()
        for _ in range(TIMED_BATCHES):
            next(batches)
        rates.append(BATCH_SIZE * TIMED_BATCHES / (time.perf_counter() - start))
    low, middle, high = statistics.quantiles(rates, n=4)
    return middle, (high - low) / middle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("content_dir", type=Path)
    folder = PhotoFolder(parser.parse_args().content_dir)
    with tempfile.TemporaryDirectory() as cache_dir:
        start = time.perf_counter()
        cache = PhotoCache(Path(cache_dir), folder.paths, 2 * SIDE)
        for _ in cache.pack(threads=os.cpu_count() or 1):
            pass
        seconds = time.perf_counter() - start
        size = sum(path.stat().st_size for path in Path(cache_dir).iterdir())
        print(f"{len(folder.paths)} photos packed in {seconds:.1f} s, {size / 1e9:.2f} GB")
        print(f"{'photos':>8} {'images/s':>9} {'spread':>7}   {PARALLEL_DECODES} threads, {SIDE} px")
        for name, photos in {"files": folder, "cache": cache}.items():
            rate, spread = images_per_second(photos)
            print(f"{name:>8} {rate:9.0f} {spread:7.1%}")


if __name__ == "__main__":
    main()

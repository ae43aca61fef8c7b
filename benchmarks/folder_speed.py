"""Compares a folder of photos, from the files to the pictures, with the network alone.

    python benchmarks/folder_speed.py great_wave --photos FOLDER

folder: what infer.py does with the photos, without the start of Python: it loads the style, and it reads, stylizes and
    writes each photo.
network: a loaded style and photos that are in memory as numbers, in as many threads; nothing is read or written.
Both take turns in one process, after a warm-up. Run it while nothing else runs. CPU seconds depend less on
what else runs than photos per second do, but leave out the time that is spent waiting for the disk.
"""

import argparse
import contextlib
import io
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cli.infer_config import FastConfig
from cli.stylize import stylize_photos
from data.images import load_image
from data.listing import list_images
from system.machine import available_cores
from system.threads import in_order
from transformer.inference.limits import DEFAULT_GRAIN
from transformer.inference.loading import load_stylizer


def parse_args(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("style", nargs="?", default="great_wave", help="a style of half width")
    parser.add_argument("--photos", type=Path, required=True, help="folder of photos")
    parser.add_argument("--count", type=int, default=40, help="photos of the folder to take (default: 40)")
    parser.add_argument("--runs", type=int, default=5, help="timed runs of each (default: 5)")
    return parser.parse_args(arguments)


def stylize_files(paths: Sequence[Path], style: str, picture_format: str | None) -> None:
    """What infer.py does; its lines are not shown."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()) as lines:
        config = FastConfig(tuple(paths), output=Path(folder), style=style, format=picture_format)
        if stylize_photos(config):
            raise RuntimeError(f"the folder could not be stylized: {lines.getvalue()}")


def stylize_images(images: Sequence[np.ndarray], stylizer) -> None:
    """The network alone, one image per core at the same time."""
    for _, future in in_order(images, stylizer, min(available_cores(), len(images)), lambda: None):
        future.result()


def passed_seconds(call: Callable[[], object]) -> tuple[float, float]:
    """Returns the seconds that a call takes, and those of all cores together."""
    start, cpu_start = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - start, time.process_time() - cpu_start


def main(arguments: list[str] | None = None) -> None:
    options = parse_args(arguments)
    paths = list_images([options.photos])[: options.count]
    images = [load_image(path) for path in paths]
    stylizer = load_stylizer(options.style, threads=1, grain=DEFAULT_GRAIN)
    calls = {
        "network": partial(stylize_images, images, stylizer),
        "folder": partial(stylize_files, paths, options.style, None),
        "folder, png": partial(stylize_files, paths, options.style, "png"),
    }
    for call in calls.values():
        call()  # warm-up
    times = {name: [] for name in calls}
    for _ in range(options.runs):
        for name, call in calls.items():
            times[name].append(passed_seconds(call))
    megapixels = sum(image.shape[0] * image.shape[1] for image in images) / 1e6
    print(f"{len(paths)} photos of {megapixels / len(paths):.2f} megapixels, {available_cores()} cores")
    print("what          photos/s  of the network  CPU s/photo  of the network")
    for name, own in times.items():
        passed, cpu = np.median(own, axis=0) / len(paths)
        # Each run is compared with the one of the network just before it.
        passed_share, cpu_share = np.median(np.divide(times["network"], own), axis=0)
        print(f"{name:12} {1 / passed:9.2f} {passed_share:15.0%} {cpu:12.3f} {cpu_share:15.0%}", flush=True)


if __name__ == "__main__":
    main()

"""infer.py --benchmark: how long loading a style, the first pass and later passes take."""

import time
from statistics import median

from cli.infer_config import FastConfig
from cli.styles import load_styles

RUNS = 5  # timed passes after the first one; the steady time is their median


def print_times(config: FastConfig) -> int:
    """Prints the times for each photo and writes no picture; returns the exit status."""
    from data.images import load_image
    from data.listing import list_images

    start = time.perf_counter()
    stylize = load_styles(config)
    print(f"load    {time.perf_counter() - start:7.3f} s  {stylize.runtime}")
    for path in list_images(config.photos):
        image = load_image(path, max_side=config.max_side)
        first, *further = [_seconds(stylize, image) for _ in range(1 + RUNS)]
        megapixels = image.shape[0] * image.shape[1] / 1e6
        steady = median(further)
        print(f"first   {first:7.3f} s  {path}, {image.shape[1]}x{image.shape[0]}")
        print(f"steady  {steady:7.3f} s  median of {RUNS}, {megapixels / steady:.2f} megapixels/s")
    return 0


def _seconds(stylize, image) -> float:
    start = time.perf_counter()
    stylize(image)
    return time.perf_counter() - start

"""Compares tiled with untiled inference, in levels of 0..255 before rounding.

    python benchmarks/tiling_error.py great_wave starry_night

Prints the largest difference, the 99.9th percentile, and the share of pixels that differ after rounding.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data.images import load_image, resize_image
from transformer.export.style_folder import find_style
from transformer.inference.loading import load_stylizer

ROOT = Path(__file__).resolve().parents[1]
# height, width: square, odd, portrait, panorama, thin, small, large
SIZES = ((512, 512), (511, 767), (1333, 751), (301, 2999), (1, 5000), (37, 23), (3000, 2000))
TILES = (384, 128)
HEADER = "style         height width  tile  largest  99.9 %  written pixels apart by 1  by 2 or more"


def parse_args(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "styles", nargs="*", metavar="STYLE", help="names or folders (default: those shipped)"
    )
    options = parser.parse_args(arguments)
    options.styles = options.styles or ["great_wave", "starry_night"]
    return options


def measure_style(style: str, photo: np.ndarray, size: tuple[int, int], tiles: Sequence[int]) -> None:
    """Prints one row for each tile side; `photo` is resized to `size`, height and width in pixels."""
    height, width = size
    image = resize_image(photo, height=height, width=width)
    expected = load_stylizer(style, tile="off")(image)
    for tile in tiles:
        actual = load_stylizer(style, tile=tile)(image)
        apart = np.abs(actual - expected)
        written = np.abs(np.rint(actual) - np.rint(expected)).max(-1)
        print(
            f"{find_style(style).name:13} {height:6} {width:5} {tile:5} {apart.max():8.3f}"
            f" {np.percentile(apart, 99.9):7.3f} {(written == 1).mean():18.3%} {(written > 1).mean():19.3%}",
            flush=True,
        )


def main(
    arguments: list[str] | None = None,
    *,
    sizes: Sequence[tuple[int, int]] = SIZES,
    tiles: Sequence[int] = TILES,
) -> None:
    options = parse_args(arguments)
    photo = load_image(ROOT / "examples" / "coffee.jpg")
    print(HEADER)
    for style in options.styles:
        for size in sizes:
            measure_style(style, photo, size, tiles)


if __name__ == "__main__":
    main()

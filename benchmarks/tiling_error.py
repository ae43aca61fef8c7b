"""Tiled against untiled: the largest difference and the 99.9th percentile, in levels of 0..255, before rounding.

python benchmarks/tiling_error.py great_wave starry_night
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data.images import load_image, resize_image
from transformer.export.style_folder import find_style
from transformer.inference.loading import load_stylizer

ROOT = Path(__file__).resolve().parents[1]
# height, width: square, odd, portrait, panorama, thin, large
SIZES = ((512, 512), (511, 767), (1333, 751), (301, 2999), (1, 5000), (37, 23), (3000, 2000))
TILES = (384, 128)


def main(names: list[str]) -> None:
    photo = load_image(ROOT / "examples" / "coffee.jpg")
    print("style         height width  tile  largest  99.9 %  written pixels apart by 1  by 2 or more")
    for name in names:
        whole = load_stylizer(find_style(name), tile="off")
        for height, width in SIZES:
            image = resize_image(photo, height=height, width=width)
            expected = whole(image)
            for tile in TILES:
                actual = load_stylizer(find_style(name), tile=tile)(image)
                apart = np.abs(actual - expected)
                written = np.abs(np.rint(actual) - np.rint(expected)).max(-1)
                print(
                    f"{name:13} {height:6} {width:5} {tile:5} {apart.max():8.3f} {np.percentile(apart, 99.9):7.3f} "
                    f"{(written == 1).mean():18.3%} {(written > 1).mean():19.3%}",
                    flush=True,
                )


if __name__ == "__main__":
    main(sys.argv[1:] or ["great_wave", "starry_night"])

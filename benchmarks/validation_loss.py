"""Scores styles by the loss of a preset, as means over validation photos at their own size.

    python benchmarks/validation_loss.py great_wave --style ../shared/styles/great_wave.jpg \
        --val-dir ../shared/photos/val --vgg ../shared/vgg19/vgg19_notop.h5

For comparison it prints the published network of lengstrom for the same painting, if there is one: at full width, and
measured with preset lengstrom on these 100 photos.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

TERMS = ("content", "style", "tv", "total")
PUBLISHED = {  # networks of lengstrom's fast-style-transfer, by the name of the style picture
    "great_wave": (2.34e6, 1.38e6, 1.28e5, 3.85e6),
    "the_scream": (1.94e6, 8.44e5, 2.8e4, 2.81e6),
    "udnie": (2.16e6, 7.54e5, 6.0e4, 2.97e6),
    "shipwreck_of_the_minotaur": (1.81e6, 6.16e5, 7.1e4, 2.50e6),
}


def parse_args(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("styles", nargs="+", metavar="STYLE", help="names or folders of the styles to score")
    parser.add_argument("--style", type=Path, required=True, help="the style picture, used at its full size")
    parser.add_argument("--val-dir", type=Path, required=True, help="folder of photos")
    parser.add_argument("--vgg", type=Path, required=True, help="VGG weights")
    parser.add_argument("--preset", default="lengstrom", help="preset of the loss (default: lengstrom)")
    parser.add_argument("--photos", type=int, default=100, help="number of photos, by name (default: 100)")
    return parser.parse_args(arguments)


def build_compiled_loss(options: argparse.Namespace) -> Callable:
    """Returns the preset's loss as a compiled function of stylized and content images [1, H, W, 3]."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from benchmarks.recipes import Recipe, build_loss

    return build_loss(options.vgg, Recipe(options.style, options.preset, style_size=None, weights={}))


def mean_losses(style: str, photos: Sequence, compiled_loss: Callable) -> dict[str, float]:
    """Returns the mean of each term over the photos, stylized one at a time."""
    import numpy as np
    from tqdm import tqdm

    from transformer.inference.loading import load_stylizer

    stylize = load_stylizer(style)
    terms = [
        compiled_loss(stylize(photo)[np.newaxis], photo[np.newaxis]) for photo in tqdm(photos, leave=False)
    ]
    return {key: float(np.mean([term[key] for term in terms])) for key in TERMS}


def main(arguments: list[str] | None = None) -> None:
    options = parse_args(arguments)
    from data.images import load_image
    from data.listing import list_images

    compiled_loss = build_compiled_loss(options)
    photos = [load_image(path) for path in list_images([options.val_dir])[: options.photos]]
    print(f"{len(photos)} photos, loss of preset {options.preset}, float32")
    print(f"{'':24}" + "".join(f"{name:>12}" for name in TERMS))
    published = PUBLISHED.get(options.style.stem) if options.preset == "lengstrom" else None
    if published:
        print(f"{'published by lengstrom':24}" + "".join(f"{value:12.3g}" for value in published))
    for style in options.styles:
        means = list(mean_losses(style, photos, compiled_loss).values())
        print(f"{Path(style).name:24}" + "".join(f"{value:12.3g}" for value in means))
        if published:
            ratios = [value / other for value, other in zip(means, published, strict=True)]
            print(f"{'  of the published':24}" + "".join(f"{ratio:12.2f}" for ratio in ratios), flush=True)


if __name__ == "__main__":
    main()

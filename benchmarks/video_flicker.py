"""Flicker of a stylized clip, with and without --temporal; and what that costs where something moves.

    python benchmarks/video_flicker.py starry_night                  # a test clip of its own
    python benchmarks/video_flicker.py starry_night --clip clip.mp4

Flicker: mean change from one stylized frame to the next, where the clip has not changed for real (below --still levels,
averaged over 5x5 pixels to see through camera noise). Ghosting: mean difference between the smoothed and the plain
picture where the clip has changed, that is what of the former picture is left there.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data.images import load_image, resize_image
from data.temporal import TemporalSmoother, box_mean
from data.video import video_frames
from transformer.export.style_folder import find_style
from transformer.inference.loading import load_stylizer

ROOT = Path(__file__).resolve().parents[1]
STRENGTHS = (0.0, 0.5, 0.7, 0.8, 0.9)


def synthetic_frames(count: int = 40, noise: float = 2.5):
    """A static camera: a photo, camera noise of `noise` levels, and a red disc that crosses it."""
    photo = resize_image(load_image(ROOT / "examples" / "coffee.jpg"), height=240, width=360)
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[:240, :360]
    for index in range(count):
        image = photo.copy()
        image[(columns - 30 - 7 * index) ** 2 + (rows - 120) ** 2 < 26**2] = (220, 40, 30)
        yield np.rint((image + generator.normal(0, noise, image.shape)).clip(0, 255)).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("name", metavar="NAME_OR_DIR", help="a trained style")
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--still", type=float, default=6.0, help="levels of 0..255 (default: 6)")
    options = parser.parse_args()
    frames = list(video_frames(options.clip) if options.clip else synthetic_frames())
    stylize = load_stylizer(find_style(options.name))
    plain = [stylize(frame) for frame in frames]
    changes = [
        box_mean(np.abs(after - before).mean(-1), 5)
        for before, after in zip(frames, frames[1:], strict=False)
    ]
    print(f"{options.clip or 'synthetic clip'}, {len(frames)} frames, style {options.name}")
    still = np.mean([(change < options.still).mean() for change in changes])
    print(
        f"unchanged pixels {still:.1%}; change of the source there {flicker(frames, changes, options.still):.2f}"
    )
    print("--temporal  flicker  of plain  ghosting")
    reference = flicker(plain, changes, options.still)
    for strength in STRENGTHS:
        smoother = TemporalSmoother(strength)
        shown = [smoother(frame, picture) for frame, picture in zip(frames, plain, strict=True)]
        value = flicker(shown, changes, options.still)
        moved = [change > 4 * options.still for change in changes]
        apart = [np.abs(a - b).mean(-1)[m] for a, b, m in zip(shown[1:], plain[1:], moved, strict=True)]
        ghosting = np.concatenate(apart).mean() if any(len(item) for item in apart) else float("nan")
        print(f"{strength:10.1f} {value:8.2f} {value / reference:9.2f} {ghosting:9.2f}")


def flicker(pictures: list, changes: list, still: float) -> float:
    """Mean change, in levels, where the source has not changed."""
    values = [
        np.abs(after - before).mean(-1)[change < still]
        for before, after, change in zip(pictures, pictures[1:], changes, strict=False)
    ]
    return float(np.concatenate(values).mean())


if __name__ == "__main__":
    main()

"""Measures the flicker of a stylized video with and without --temporal, and the ghosting that --temporal causes.

    python benchmarks/video_flicker.py starry_night                  # a generated clip
    python benchmarks/video_flicker.py starry_night --clip clip.mp4

Flicker: mean change from one stylized frame to the next where the clip does not change, in levels of 0..255. A pixel
counts as unchanged if the mean over 5x5 pixels, which removes camera noise, changes by less than --still levels.
Ghosting: mean difference between the smoothed and the plain frame where the clip changes, in levels.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data.images import load_image, resize_image
from data.temporal import TemporalSmoother, box_mean
from data.video import video_frames
from transformer.inference.loading import load_stylizer

ROOT = Path(__file__).resolve().parents[1]
STRENGTHS = (0.0, 0.5, 0.7, 0.8, 0.9)
Frames = Sequence[np.ndarray]


def parse_args(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("style", metavar="STYLE", help="name or folder of a trained style")
    parser.add_argument("--clip", type=Path, help="a video with a static camera (default: a generated clip)")
    parser.add_argument("--frames", type=int, default=40, help="length of the generated clip (default: 40)")
    parser.add_argument(
        "--still", type=float, default=6.0, help="change below which a pixel counts as unchanged (default: 6)"
    )
    return parser.parse_args(arguments)


def synthetic_frames(count: int, noise: float = 2.5) -> Iterator[np.ndarray]:
    """Yields frames of a static camera: a photo, noise of `noise` levels, and a red disc that crosses it."""
    photo = resize_image(load_image(ROOT / "examples" / "coffee.jpg"), height=240, width=360)
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[:240, :360]
    for index in range(count):
        image = photo.copy()
        image[(columns - 30 - 7 * index) ** 2 + (rows - 120) ** 2 < 26**2] = (220, 40, 30)
        yield np.rint((image + generator.normal(0, noise, image.shape)).clip(0, 255)).astype(np.float32)


def flicker(pictures: Frames, changes: Frames, still: float) -> float:
    """Returns the mean change of `pictures`, in levels, where the source changes by less than `still`."""
    values = [
        np.abs(after - before).mean(-1)[change < still]
        for before, after, change in zip(pictures, pictures[1:], changes, strict=False)
    ]
    return float(np.concatenate(values).mean())


def ghosting(shown: Frames, plain: Frames, changes: Frames, still: float) -> float:
    """Returns the mean difference of smoothed and plain frames, in levels, where the source clearly changes."""
    moved = [change > 4 * still for change in changes]
    apart = [np.abs(a - b).mean(-1)[m] for a, b, m in zip(shown[1:], plain[1:], moved, strict=True)]
    return float(np.concatenate(apart).mean()) if any(len(item) for item in apart) else float("nan")


def main(arguments: list[str] | None = None) -> None:
    options = parse_args(arguments)
    frames = list(video_frames(options.clip) if options.clip else synthetic_frames(options.frames))
    plain = list(map(load_stylizer(options.style), frames))
    changes = [
        box_mean(np.abs(after - before).mean(-1), 5)
        for before, after in zip(frames, frames[1:], strict=False)
    ]
    still = np.mean([(change < options.still).mean() for change in changes])
    source = flicker(frames, changes, options.still)
    print(f"{options.clip or 'synthetic clip'}, {len(frames)} frames, style {options.style}")
    print(f"unchanged pixels {still:.1%}; change of the source there {source:.2f}")
    print("--temporal  flicker  of plain  ghosting")
    reference = flicker(plain, changes, options.still)
    for strength in STRENGTHS:
        smoother = TemporalSmoother(strength)
        shown = [smoother(frame, picture) for frame, picture in zip(frames, plain, strict=True)]
        value = flicker(shown, changes, options.still)
        ghosts = ghosting(shown, plain, changes, options.still)
        print(f"{strength:10.1f} {value:8.2f} {value / reference:9.2f} {ghosts:9.2f}")


if __name__ == "__main__":
    main()

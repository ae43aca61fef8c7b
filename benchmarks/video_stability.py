"""Measures how far a stylized video swims and flickers under a moving camera, where the motion is known.

    python benchmarks/video_stability.py udnie starry_night --val-dir ../shared/photos/val \
        --clips ../shared/clips/bigbuckbunny.mp4 ../shared/clips/bikes.mp4

Every number is a warping error: the stylized frame before is moved to where the camera went and compared with the
stylized frame; root mean square in levels of 0..255, mean over the clips. Lower is better. "next" compares frames that
follow each other, "drift" frames that are DRIFT apart, which finds patterns that stay on the screen.

pan, zoom, shake  clips cut from photos with exact motion. shake has sensor noise and JPEG compression too.
other names       video files. Their motion is the optical flow of the source (DIS); what the flow cannot explain,
                  such as occlusions and scene cuts, is left out.
relative          mean over the columns of "next" of the error over the standard deviation of the frames, in percent
detail            standard deviation of what a blur of 2 pixels takes from a frame, in levels; it shows whether a video
                  holds still only because it is blurred
net, smooth       median milliseconds of the network and of the smoothing of a frame of a synthetic clip

The row "source" is the clips themselves. The row "glued" of a style is a stylized photo that the camera moves over, as
if the style were painted on the world. What these rows have is the error of interpolation, noise and flow alone.

With --vgg there are the mean losses of the photos, stylized with each style, and the trace of the Gram matrices of
each painting, which predicts flicker according to Gupta et al. 2017 (arXiv:1705.02092).
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.moving_clips import (
    PATHS,
    Clip,
    Image,
    error_map,
    glued_pictures,
    real_clip,
    synthetic_clip,
    to_bytes,
)
from benchmarks.recipes import Recipe, build_loss, gram_traces, read_recipe, still_losses
from benchmarks.stability_scores import (
    DRIFT,
    Scores,
    add_scores,
    columns_of,
    print_head,
    print_losses,
    print_row,
    print_traces,
    score,
    synthetic_mean,
)
from data.images import load_image, save_image
from data.listing import list_images
from data.temporal import TemporalSmoother
from transformer.inference.limits import DEFAULT_GRAIN
from transformer.inference.loading import load_stylizer

KINDS = ("none", "still", "motion")


class Variant(NamedTuple):
    """A way of smoothing stylized frames."""

    kind: str
    strength: float

    @property
    def name(self) -> str:
        return self.kind if self.kind == "none" else f"{self.kind} {self.strength:g}"


# Styles


class StyleRun:
    """A style with its smoothing variants: stylizes each clip once and scores every variant."""

    def __init__(self, style: str, name: str, variants: Sequence[Variant], options: argparse.Namespace):
        self.name = name
        self.stylize = load_stylizer(style, grain=options.grain, threads=options.threads)
        self.scores = {variant: Scores({}, {}, {}, {}) for variant in variants}
        self.net_ms: list[float] = []
        self.smooth_ms: dict[Variant, list[float]] = {variant: [] for variant in variants}

    def run(self, clip: Clip) -> dict[Variant, list[np.ndarray]]:
        """Scores a clip; returns the pictures of each variant."""
        frames = [frame.astype(np.float32) for frame in clip.frames]
        timed = [in_milliseconds(self.stylize, frame) for frame in frames]
        shown = {
            variant: self._smoothed(variant, clip, frames, [picture for picture, _ in timed])
            for variant in self.scores
        }
        if clip.is_synthetic:
            self.net_ms += [milliseconds for _, milliseconds in timed]
        for variant, pictures in shown.items():
            add_scores(self.scores[variant], clip, pictures)
        return shown

    def _smoothed(
        self, variant: Variant, clip: Clip, frames: list[Image], pictures: list[Image]
    ) -> list[Image]:
        smoother = build_smoother(variant)
        timed = [
            in_milliseconds(smoother, frame, picture) for frame, picture in zip(frames, pictures, strict=True)
        ]
        if clip.is_synthetic:
            self.smooth_ms[variant] += [milliseconds for _, milliseconds in timed[1:]]
        return [picture for picture, _ in timed]


def in_milliseconds(call: Callable, *arguments: Any) -> tuple[Any, float]:
    """Returns what a call returns and how long it took."""
    started = time.perf_counter()
    result = call(*arguments)
    return result, 1e3 * (time.perf_counter() - started)


def build_smoother(variant: Variant) -> Callable[[Image, Image], Image]:
    return TemporalSmoother(variant.strength, follows_motion=variant.kind == "motion")


def variants_of(kinds: Sequence[str], strengths: Sequence[float]) -> list[Variant]:
    """Returns the variants without repetition; strength 0 is kind "none"."""
    every = [
        Variant(kind, strength) if kind != "none" and strength else Variant("none", 0.0)
        for kind in kinds
        for strength in strengths
    ]
    return list(dict.fromkeys(every))


# Pictures


def save_pictures(folder: Path, clip: Clip, shown: dict[str, Sequence[np.ndarray]], index: int) -> None:
    """Writes frame `index` and the next of each row, and <clip>.png: side by side, under each pair their error."""
    for name, pictures in shown.items():
        for number in (index, index + 1):
            file_name = f"{clip.column}_{number:03}_{name.replace(' ', '_').replace('/', '_')}.png"
            save_image(folder / file_name, to_bytes(pictures[number]).astype(np.float32))
    motion = clip.motion(index, index + 1)
    columns = []
    for pictures in shown.values():
        cells = [to_bytes(pictures[index]), to_bytes(pictures[index + 1])]
        if motion is not None:
            error = np.abs(error_map(pictures[index], pictures[index + 1], motion))
            cells.append(to_bytes(3 * error * motion.is_known[..., np.newaxis]))
        columns.append(np.concatenate(cells, axis=0))
    save_image(folder / f"{clip.column}.png", np.concatenate(columns, axis=1).astype(np.float32))


# The command


def read_recipes(options: argparse.Namespace) -> dict[str, Recipe]:
    """Returns the recipe of each style by its label."""
    try:
        return {name: read_recipe(style, options.paintings) for style, name in labels(options.styles).items()}
    except FileNotFoundError as error:
        sys.exit(str(error))


def parse_args(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("styles", nargs="+", metavar="STYLE", help="names or folders of trained styles")
    parser.add_argument("--val-dir", type=Path, required=True, help="folder of photos")
    parser.add_argument("--photos", type=int, default=6, help="number of photos, by name (default: 6)")
    parser.add_argument("--first-photo", type=int, default=0, help="number of the first photo (default: 0)")
    parser.add_argument("--frames", type=int, default=12, help="frames of a synthetic clip (default: 12)")
    parser.add_argument("--clips", nargs="+", type=Path, default=[], help="video files")
    parser.add_argument("--clip-frames", type=int, default=20, help="frames of a video file (default: 20)")
    parser.add_argument("--first-frame", type=int, default=0, help="first frame of a video file (default: 0)")
    parser.add_argument(
        "--smoothing", nargs="+", choices=KINDS, default=KINDS, help="kinds of smoothing (default: all)"
    )
    parser.add_argument(
        "--temporal", nargs="+", type=float, default=[0.8], help="strengths of the smoothing (default: 0.8)"
    )
    parser.add_argument(
        "--grain", type=float, default=DEFAULT_GRAIN, help=f"as in infer.py (default: {DEFAULT_GRAIN})"
    )
    parser.add_argument("--threads", type=int, default=1, help="threads of the network (default: 1)")
    parser.add_argument("--vgg", type=Path, help="VGG19 weights; adds losses and Gram traces")
    parser.add_argument(
        "--paintings",
        nargs="+",
        type=Path,
        default=[Path("../shared/styles"), Path("../shared/styles_more")],
        help="folders of the paintings, for --vgg (default: ../shared/styles ../shared/styles_more)",
    )
    parser.add_argument("--frames-dir", type=Path, help="folder for pictures to look at")
    return parser.parse_args(arguments)


def build_clips(options: argparse.Namespace) -> tuple[list[Clip], list[Image]]:
    """Returns the clips and the photos that the synthetic ones are cut from."""
    paths = list_images([options.val_dir])[options.first_photo :][: options.photos]
    photos = [load_image(path) for path in paths]
    clips = [
        synthetic_clip(photo, kind, options.frames, seed=options.first_photo + index)
        for kind in PATHS
        for index, photo in enumerate(photos)
    ]
    clips += [real_clip(path, options.first_frame, options.clip_frames) for path in options.clips]
    return clips, photos


def main(arguments: Sequence[str] | None = None) -> None:
    options = parse_args(arguments)
    cv2.setNumThreads(options.threads)
    variants = variants_of(options.smoothing, options.temporal)
    clips, photos = build_clips(options)
    columns = columns_of(clips)
    if not clips:
        sys.exit(
            f"{options.val_dir}: has no photo number {options.first_photo}; lower --first-photo or give --clips"
        )
    recipes = read_recipes(options) if options.vgg else {}
    print(
        f"{len(photos)} photos from number {options.first_photo}, {options.frames} frames a path;"
        f" clips of {options.clip_frames} frames from {options.first_frame}; drift over {DRIFT} frames;"
        f" grain {options.grain:g}, {options.threads} threads"
    )
    print_head(columns)
    print_row("source", "", score(clips, lambda clip: clip.frames), columns)
    shown: dict[str, dict[str, Sequence[np.ndarray]]] = {column: {} for column in columns}
    runs = list(run_styles(options, clips, variants, columns, shown))
    if options.frames_dir:
        for clip in first_of_each(clips):
            save_pictures(
                options.frames_dir,
                clip,
                {"source": clip.frames, **shown[clip.column]},
                len(clip.frames) // 2 - 1,
            )
    if options.vgg:
        print_paintings(options, recipes, runs, photos)


def first_of_each(clips: Sequence[Clip]) -> Iterator[Clip]:
    """Yields the first clip of each column."""
    for column in columns_of(clips):
        yield next(clip for clip in clips if clip.column == column)


def run_styles(
    options: argparse.Namespace,
    clips: Sequence[Clip],
    variants: Sequence[Variant],
    columns: Sequence[str],
    shown: dict[str, dict[str, Sequence[np.ndarray]]],
) -> Iterator[StyleRun]:
    """Scores the styles one after the other and prints their rows. Fills `shown`, {column: {row: pictures}}."""
    firsts = {id(clip) for clip in first_of_each(clips)}
    for style, name in labels(options.styles).items():
        run = StyleRun(style, name, variants, options)
        for clip in clips:
            pictures = run.run(clip)
            if options.frames_dir and id(clip) in firsts:
                shown[clip.column].update(
                    {f"{run.name} {variant.name}": pictures[variant] for variant in variants}
                )
        synthetic = [clip for clip in clips if clip.is_synthetic]
        if synthetic:
            glued = score(synthetic, lambda clip, run=run: glued_pictures(clip, run.stylize))
            print_row(run.name, "glued", glued, columns)
        for variant, scores in run.scores.items():
            times = (np.median(run.net_ms or [np.nan]), np.median(run.smooth_ms[variant] or [np.nan]))
            print_row(run.name, variant.name, scores, columns, times)
        yield run


def labels(styles: Sequence[str]) -> dict[str, str]:
    """Returns the name of each style, or its path where two styles have the same name."""
    names = [Path(style).name for style in styles]
    return {
        style: name if names.count(name) == 1 else style for style, name in zip(styles, names, strict=True)
    }


def print_paintings(
    options: argparse.Namespace,
    recipes: dict[str, Recipe],
    runs: Sequence[StyleRun],
    photos: Sequence[Image],
) -> None:
    """Prints what needs VGG. recipes: by the names of the runs."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    print_losses(
        {
            run.name: still_losses(run.stylize, photos, build_loss(options.vgg, recipes[run.name]))
            for run in runs
        }
    )
    none = {run.name: next(iter(run.scores.values())) for run in runs}
    print_traces(
        {name: gram_traces(options.vgg, recipe) for name, recipe in recipes.items()},
        {name: synthetic_mean(scores.following) for name, scores in none.items()},
        {name: synthetic_mean(scores.relative) for name, scores in none.items()},
    )


if __name__ == "__main__":
    main()

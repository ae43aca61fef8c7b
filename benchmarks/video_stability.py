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
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from data.images import load_image, resize_image, save_image, shrunk_size
from data.listing import list_images
from data.temporal import TemporalSmoother
from data.video import video_frames
from transformer.export.style_folder import find_style
from transformer.inference.limits import DEFAULT_GRAIN
from transformer.inference.loading import load_stylizer

FRAME = (320, 240)  # longer and shorter side of the frames of synthetic clips, in pixels
PAN_STEP = (1.7, 0.6)  # pixels a frame along x and y; no whole numbers, so that strokes fall between pixels
ZOOM_STEP = 1.006  # a frame, about the center
SHAKE_SHIFT, SHAKE_DEGREES = 2.0, 0.4  # standard deviations of the camera's position and angle in each frame
SHAKE_NOISE, SHAKE_QUALITY = 3.0, 85  # sensor noise in levels, and quality of JPEG
PATHS = ("pan", "zoom", "shake")
SPARE = 6  # pixels between a path and the border of its photo, for the kernel
DRIFT = 5  # frames
MARGIN = 16  # pixels at the border of the frame before and of the frame that are not compared
# Standard deviation in pixels: both frames are blurred before they are compared. Without it, interpolation alone costs
# 3.1 levels in a photo that pans and 2.5 in glued strokes, with it 0.6 and 0.7; styles lose 9 to 28 % of their error.
BLUR = 0.7
DETAIL_BLUR = 2.0  # pixels, standard deviation
REAL_SIDE = 448  # longest side of the frames of video files
CUT_LEVELS = 20.0  # mean difference of the moved source above which a pair of frames counts as a scene cut
KINDS = ("none", "still", "motion")
LOSSES = ("content", "style", "total")
TRACE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")

Image = np.ndarray  # [H, W, 3], RGB, float32, 0..255
Stylize = Callable[[Image], Image]


class Motion(NamedTuple):
    """Where the pixels of a frame were in an earlier frame.

    places: [H, W, 2], x and y in the earlier frame. is_known: [H, W], where that can be compared.
    """

    places: np.ndarray
    is_known: np.ndarray


@dataclass(frozen=True)
class Clip:
    """A clip with its motion. motion(earlier, later) takes numbers of frames; None for a scene cut."""

    column: str
    frames: Sequence[np.ndarray]  # uint8
    motion: Callable[[int, int], Motion | None]
    is_synthetic: bool
    photo: Image | None = None  # what the camera moves over, and
    views: Sequence[
        np.ndarray
    ] = ()  # for each frame the matrix [3, 3] from places of the frame to those of the photo


class Variant(NamedTuple):
    """A way of smoothing stylized frames."""

    kind: str
    strength: float

    @property
    def name(self) -> str:
        return self.kind if self.kind == "none" else f"{self.kind} {self.strength:g}"


class Scores(NamedTuple):
    """The figures of a row, {column: one number for each clip}. relative: error over standard deviation, percent."""

    following: dict[str, list[float]]
    drift: dict[str, list[float]]
    relative: dict[str, list[float]]
    detail: dict[str, list[float]]


# Synthetic clips


def camera_path(kind: str, count: int, generator: np.random.Generator) -> list[np.ndarray]:
    """Returns for each frame the matrix [3, 3] of a path, about the center: frame -> photo, both from their centers."""
    views = []
    for index in range(count):
        shift, angle, scale = np.zeros(2), 0.0, 1.0
        if kind == "pan":
            shift = np.array(PAN_STEP) * (index - (count - 1) / 2)
        elif kind == "zoom":
            scale = ZOOM_STEP**-index  # inwards: a photo is only ever enlarged, which needs no further filter
        else:
            shift = generator.normal(0, SHAKE_SHIFT, 2).clip(-2 * SHAKE_SHIFT, 2 * SHAKE_SHIFT)
            angle = np.radians(generator.normal(0, SHAKE_DEGREES))
        cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
        views.append(np.array([[cosine, -sine, shift[0]], [sine, cosine, shift[1]], [0, 0, 1]]))
    return views


def synthetic_clip(photo: Image, kind: str, count: int, seed: int) -> Clip:
    """Returns a clip of `count` frames of a camera that moves over a photo and never leaves it."""
    generator = np.random.default_rng([seed, PATHS.index(kind)])
    is_wide = photo.shape[1] >= photo.shape[0]
    width, height = FRAME if is_wide else FRAME[::-1]
    path = camera_path(kind, count, generator)
    room = needed_room(path, width, height)
    scale = max(
        (side + 2 * more) / have
        for side, more, have in zip((width, height), room, photo.shape[1::-1], strict=True)
    )
    photo = resize_image(photo, height=round(photo.shape[0] * scale), width=round(photo.shape[1] * scale))
    to_center = shift_matrix(-(width - 1) / 2, -(height - 1) / 2)
    from_center = shift_matrix((photo.shape[1] - 1) / 2, (photo.shape[0] - 1) / 2)
    views = [from_center @ view @ to_center for view in path]
    frames = [moved_view(photo, view, width, height) for view in views]
    if kind == "shake":
        frames = [compressed(frame + generator.normal(0, SHAKE_NOISE, frame.shape)) for frame in frames]

    def motion(earlier: int, later: int) -> Motion:
        return homography_motion(np.linalg.inv(views[earlier]) @ views[later], width, height)

    return Clip(kind, [to_bytes(frame) for frame in frames], motion, True, photo, views)


def needed_room(path: Sequence[np.ndarray], width: int, height: int) -> tuple[float, float]:
    """Returns how many pixels the corners of the frames leave a frame in the middle of the photo, along x and y."""
    corners = np.array([[x, y, 1] for x in (-width / 2, width / 2) for y in (-height / 2, height / 2)])
    reach = np.abs([view @ corner for view in path for corner in corners]).max(0)
    return max(reach[0] - width / 2, 0) + SPARE, max(reach[1] - height / 2, 0) + SPARE


def shift_matrix(x: float, y: float) -> np.ndarray:
    return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]])


def moved_view(photo: Image, view: np.ndarray, width: int, height: int) -> Image:
    """Returns what the camera sees; one interpolation, so that all frames are equally sharp."""
    places = homography_motion(view, width, height).places
    return interpolated(photo, places).clip(0, 255)


def homography_motion(matrix: np.ndarray, width: int, height: int) -> Motion:
    """Returns the motion of a matrix [3, 3] from places of a frame to those of the frame before, both of one size."""
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    moved = np.stack([x, y, np.ones_like(x)], -1) @ matrix.T
    places = moved[..., :2] / moved[..., 2:]
    return Motion(places.astype(np.float32), is_inside(places))


def is_inside(places: np.ndarray, margin: int = MARGIN) -> np.ndarray:
    """Returns where the pixels are at least `margin` from the border, here and in the frame before: [H, W]."""
    height, width = places.shape[:2]
    last = np.array([width - 1, height - 1])
    inside = ((places >= margin) & (places <= last - margin)).all(-1)
    inside[:margin] = inside[-margin:] = inside[:, :margin] = inside[:, -margin:] = False
    return inside


def interpolated(image: np.ndarray, places: np.ndarray, kernel: int = cv2.INTER_LANCZOS4) -> np.ndarray:
    """Returns the values of an image at places [H, W, 2]."""
    return cv2.remap(image, places.astype(np.float32), None, kernel, borderMode=cv2.BORDER_REFLECT_101)


def compressed(image: Image) -> Image:
    _, data = cv2.imencode(".jpg", to_bytes(image)[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, SHAKE_QUALITY])
    return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]


def to_bytes(image: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(image, 0, 255)).astype(np.uint8)


# Video files


def real_clip(path: Path, first: int, count: int) -> Clip:
    """Returns `count` frames of a video file, with their optical flow."""
    frames = []
    for frame in islice(video_frames(path), first, first + count):
        height, width = shrunk_size(frame.shape[:2], REAL_SIDE)
        frames.append(to_bytes(resize_image(frame, height=height, width=width)))
    finder = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    gray = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in frames]
    known: dict[tuple[int, int], Motion | None] = {}

    def motion(earlier: int, later: int) -> Motion | None:
        if (earlier, later) not in known:
            backward = finder.calc(gray[later], gray[earlier], None)
            forward = finder.calc(gray[earlier], gray[later], None)
            found = flow_motion(backward, forward)
            known[earlier, later] = None if is_cut(frames[earlier], frames[later], found) else found
        return known[earlier, later]

    return Clip(path.stem, frames, motion, False)


def flow_motion(backward: np.ndarray, forward: np.ndarray) -> Motion:
    """Returns the motion of the flows [H, W, 2] from a frame to the one before and back.

    Unknown are pixels that were hidden before and the edges of moving things, as in Ruder et al. 2016, section 4.
    """
    height, width = backward.shape[:2]
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    places = np.stack([x, y], -1) + backward
    returned = interpolated(forward, places, cv2.INTER_LINEAR)
    squares = (backward**2).sum(-1)
    is_hidden = ((backward + returned) ** 2).sum(-1) > 0.01 * (squares + (returned**2).sum(-1)) + 0.5
    slopes = sum((np.gradient(backward, axis=axis) ** 2).sum(-1) for axis in (0, 1))
    is_edge = slopes > 0.01 * squares + 0.002
    return Motion(places, is_inside(places) & ~is_hidden & ~is_edge)


def is_cut(earlier: np.ndarray, later: np.ndarray, motion: Motion) -> bool:
    """Tells whether the motion does not explain the later frame, or hardly any of it."""
    if motion.is_known.mean() < 0.1:
        return True
    difference = np.abs(interpolated(earlier, motion.places, cv2.INTER_LINEAR).astype(np.float32) - later)
    return bool(difference[motion.is_known].mean() > CUT_LEVELS)


# The measure


def warping_error(pictures: Sequence[np.ndarray], clip: Clip, distance: int, blur: float = BLUR) -> float:
    """Returns the root mean square of pictures minus those `distance` before, moved; levels. NaN without a pair."""
    squares, count = 0.0, 0
    for earlier in range(len(pictures) - distance):
        motion = clip.motion(earlier, earlier + distance)
        if motion is not None:
            difference = error_map(pictures[earlier], pictures[earlier + distance], motion, blur)
            squares += float((difference[motion.is_known] ** 2).sum(dtype=np.float64))
            count += 3 * int(motion.is_known.sum())
    return float(np.sqrt(squares / count)) if count else float("nan")


def error_map(earlier: np.ndarray, later: np.ndarray, motion: Motion, blur: float = BLUR) -> np.ndarray:
    """Returns the later picture minus the earlier one, moved; [H, W, 3]."""
    difference = later.astype(np.float32) - interpolated(earlier.astype(np.float32), motion.places)
    return cv2.GaussianBlur(difference, (0, 0), blur) if blur else difference


def glued_pictures(clip: Clip, stylize: Stylize) -> list[np.ndarray]:
    """Returns what the camera of a synthetic clip sees of a stylized photo."""
    height, width = clip.frames[0].shape[:2]
    stylized = stylize(clip.photo)
    return [moved_view(stylized, view, width, height) for view in clip.views]


def score(clips: Sequence[Clip], pictures_of: Callable[[Clip], Sequence[np.ndarray]]) -> Scores:
    """Returns the errors of the pictures that are made of each clip."""
    scores = Scores({}, {}, {}, {})
    for clip in clips:
        pictures = pictures_of(clip)
        add_scores(scores, clip, pictures)
    return scores


def add_scores(scores: Scores, clip: Clip, pictures: Sequence[np.ndarray]) -> None:
    following = warping_error(pictures, clip, 1)
    deviation = float(np.mean([np.std(picture, axis=(0, 1)).mean() for picture in pictures]))
    scores.following.setdefault(clip.column, []).append(following)
    scores.drift.setdefault(clip.column, []).append(warping_error(pictures, clip, DRIFT))
    scores.detail.setdefault(clip.column, []).append(
        float(np.mean([detail(picture) for picture in pictures]))
    )
    scores.relative.setdefault(clip.column, []).append(100 * following / max(deviation, 1e-6))


def detail(picture: np.ndarray) -> float:
    """Returns the standard deviation of what a blur of DETAIL_BLUR takes from a picture, in levels."""
    picture = picture.astype(np.float32)
    return float((picture - cv2.GaussianBlur(picture, (0, 0), DETAIL_BLUR)).std())


def means(values: dict[str, list[float]]) -> dict[str, float]:
    return {column: float(np.mean(numbers)) for column, numbers in values.items()}


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> float:
    """Returns Spearman's rank correlation: that of the ranks; equal values share their mean rank."""
    return float(np.corrcoef(ranks(first), ranks(second))[0, 1])


def ranks(values: Sequence[float]) -> np.ndarray:
    values = np.asarray(values, np.float64)
    return np.array([(values < value).sum() + (values == value).sum() / 2 for value in values])


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


# Paintings, only with --vgg


class Recipe(NamedTuple):
    """What a style was trained for. weights: content, style and TV weight, where they differ from the preset's."""

    painting: Path
    preset: str
    style_size: int | None
    weights: dict[str, float]


def read_recipe(style: str, folders: Sequence[Path]) -> Recipe:
    """Returns the recipe in style.json. Raises FileNotFoundError if the painting is in none of the folders."""
    info = json.loads((find_style(style) / "style.json").read_text(encoding="utf-8"))
    config = info.get("config") or info.get("base", {}).get("config", {})
    stem = Path(config.get("style") or info["style_picture"]["file"]).stem
    for folder in folders:
        for path in sorted(folder.glob(f"{stem}.*")):
            names = [f"{term}_weight" for term in ("content", "style", "tv")]
            weights = {name: config[name] for name in names if name in config}
            return Recipe(path, config.get("preset", "lengstrom"), config.get("style_size"), weights)
    raise FileNotFoundError(
        f"{stem}: the painting of {style} is in none of {' '.join(map(str, folders))}; give --paintings"
    )


def read_recipes(options: argparse.Namespace) -> dict[str, Recipe]:
    """Returns the recipe of each style by its label."""
    try:
        return {name: read_recipe(style, options.paintings) for style, name in labels(options.styles).items()}
    except FileNotFoundError as error:
        sys.exit(str(error))


def build_loss(vgg: Path, recipe: Recipe) -> Callable:
    """Returns the loss that the style was trained for, of stylized and content images [1, H, W, 3]."""
    import tensorflow as tf

    from loss_net.perceptual import build_perceptual_loss
    from loss_net.presets import LOSS_PRESETS
    from loss_net.weights import load_vgg_weights

    preset = replace(LOSS_PRESETS[recipe.preset], **recipe.weights)
    painting = load_image(recipe.painting, max_side=recipe.style_size)
    loss = build_perceptual_loss(load_vgg_weights(vgg, preset.architecture), [painting], preset)
    images = tf.TensorSpec([1, None, None, 3], tf.float32)
    return tf.function(loss, input_signature=[images, images])


def still_losses(stylize: Stylize, photos: Sequence[Image], loss: Callable) -> dict[str, float]:
    """Returns the means of LOSSES over photos at their own size."""
    terms = [loss(stylize(photo)[np.newaxis], photo[np.newaxis]) for photo in photos]
    return {name: float(np.mean([float(term[name]) for term in terms])) for name in LOSSES}


def gram_traces(vgg: Path, recipe: Recipe) -> dict[str, float]:
    """Returns the trace of the Gram matrix of a painting in each of TRACE_LAYERS: the mean of C squares, over C."""
    from loss_net.losses import gram_matrix
    from loss_net.vgg import build_vgg
    from loss_net.weights import load_vgg_weights

    network = build_vgg(load_vgg_weights(vgg, "vgg19"), TRACE_LAYERS)
    maps = network(load_image(recipe.painting, max_side=recipe.style_size)[np.newaxis], TRACE_LAYERS)
    return {layer: float(np.trace(gram_matrix(maps[layer])[0].numpy())) for layer in TRACE_LAYERS}


# The table


def columns_of(clips: Sequence[Clip]) -> list[str]:
    return list(dict.fromkeys(clip.column for clip in clips))


def print_head(columns: Sequence[str]) -> None:
    wide = 9 * len(columns)
    print(f"{'':36}{'next':<{wide}}  {'drift':<{wide}}")
    cells = "".join(f"{name[:8]:>9}" for name in columns)
    print(
        f"{'style':20} {'smoothing':12}   {cells}  {cells}{'relative':>10}{'detail':>8}{'net':>7}{'smooth':>8}",
        flush=True,
    )


def print_row(
    name: str, kind: str, scores: Scores, columns: Sequence[str], times: Sequence[float] = ()
) -> None:
    cells = [
        "".join(f"{part.get(column, float('nan')):9.2f}" for column in columns)
        for part in (means(scores.following), means(scores.drift))
    ]
    relative = np.nanmean(list(means(scores.relative).values()))
    fine = np.mean(list(means(scores.detail).values()))
    ends = "".join(f"{value:{width}.1f}" for value, width in zip(times, (7, 8), strict=False))
    print(f"{name:20} {kind:12}   {cells[0]}  {cells[1]}{relative:9.1f}%{fine:8.1f}{ends}", flush=True)


def print_losses(runs: dict[str, dict[str, float]]) -> None:
    print("\nloss on stills, each of its own recipe")
    print(f"{'style':20}" + "".join(f"{name:>12}" for name in LOSSES))
    for name, losses in runs.items():
        print(f"{name:20}" + "".join(f"{losses[key]:12.4g}" for key in LOSSES))


def print_traces(
    traces: dict[str, dict[str, float]], errors: dict[str, float], relative: dict[str, float]
) -> None:
    """Prints the traces beside the error without smoothing, and the rank correlations of both over the styles."""
    print("\ntrace of the Gram matrices of the painting")
    print(
        f"{'style':20}"
        + "".join(f"{layer:>10}" for layer in TRACE_LAYERS)
        + f"{'mean':>10}{'error':>8}{'relative':>10}"
    )
    columns = {
        name: [*layers.values(), float(np.mean(list(layers.values())))] for name, layers in traces.items()
    }
    for name, values in columns.items():
        print(
            f"{name:20}"
            + "".join(f"{value:10.3g}" for value in values)
            + f"{errors[name]:8.2f}{relative[name]:9.1f}%"
        )
    if len(columns) > 2:
        for title, wanted in (("error", errors), ("relative", relative)):
            numbers = [
                rank_correlation(
                    [values[index] for values in columns.values()], [wanted[name] for name in columns]
                )
                for index in range(len(TRACE_LAYERS) + 1)
            ]
            print(f"{'Spearman, ' + title:20}" + "".join(f"{number:10.2f}" for number in numbers))


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


def synthetic_mean(values: dict[str, list[float]]) -> float:
    return float(np.mean([mean for column, mean in means(values).items() if column in PATHS]))


if __name__ == "__main__":
    main()

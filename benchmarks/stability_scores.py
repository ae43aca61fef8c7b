"""The figures of video_stability.py, from stylized clips to the lines of its tables."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.moving_clips import PATHS, Clip, warping_error
from benchmarks.recipes import LOSSES, TRACE_LAYERS

DRIFT = 5  # frames
DETAIL_BLUR = 2.0  # pixels, standard deviation


class Scores(NamedTuple):
    """The figures of a row, {column: one number for each clip}. relative: error over standard deviation, percent."""

    following: dict[str, list[float]]
    drift: dict[str, list[float]]
    relative: dict[str, list[float]]
    detail: dict[str, list[float]]


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


def synthetic_mean(values: dict[str, list[float]]) -> float:
    return float(np.mean([mean for column, mean in means(values).items() if column in PATHS]))


# The tables


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

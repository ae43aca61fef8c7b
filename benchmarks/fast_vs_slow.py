"""Counts how many iterations of the slow method a trained network's picture is worth, on the loss of its training.

    python benchmarks/fast_vs_slow.py great_wave --style-image ../shared/styles/great_wave.jpg \
        --val-dir ../shared/photos/val --vgg ../shared/vgg19/vgg19_notop.h5

For each photo it computes the loss of the network's picture, and the losses of the slow method by Adam and L-BFGS,
starting from the photo and from noise. It prints a table and writes it to OUTPUT.md, and a plot to OUTPUT.png if
matplotlib is installed (benchmarks/requirements.txt). Losses are kept in --results, so an interrupted run can be
started again and continues.
"""

import argparse
import itertools
import json
import statistics
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.timing import run_seconds

METHODS = ("adam/content", "adam/noise", "lbfgs/content", "lbfgs/noise")  # optimizer/initial image
TIMED_PHOTOS, TIMED_RUNS = 3, 12  # after one run that compiles


def parse_args(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("style", metavar="STYLE", help="name or folder of a trained style")
    parser.add_argument("--style-image", type=Path, required=True, help="the style picture of its training")
    parser.add_argument("--val-dir", type=Path, required=True, help="folder of photos")
    parser.add_argument("--vgg", type=Path, required=True, help="VGG weights")
    parser.add_argument("--photos", type=int, default=20, help="number of photos, by name (default: 20)")
    parser.add_argument(
        "--max-side", type=int, default=256, help="longest side of a photo (default: 256 pixels)"
    )
    parser.add_argument("--iterations", type=int, default=200, help="of the slow method (default: 200)")
    parser.add_argument("--learning-rate", type=float, default=10.0, help="of Adam (default: 10)")
    parser.add_argument(
        "--methods", nargs="+", default=METHODS, choices=METHODS, help="optimizer and initial image"
    )
    parser.add_argument(
        "--results", type=Path, default=Path("runs/fast_vs_slow.json"), help="JSON of all losses"
    )
    parser.add_argument("--output", type=Path, default=Path("docs/fast_vs_slow"), help="path without suffix")
    return parser.parse_args(arguments)


def trained_preset(style_dir: Path):
    """Returns the preset that the style was trained with, and the longest side of its style picture or None."""
    from loss_net.presets import PRESETS, overridden
    from transformer.export.style_folder import style_info

    config = style_info(style_dir)["config"]
    weights = {name: config[name] for name in ("content_weight", "style_weight", "tv_weight")}
    return overridden(PRESETS[config["preset"]], weights), config["style_size"]


def slow_preset(preset, method: str, iterations: int, learning_rate: float):
    """Returns the preset with the optimizer and the initial image of `method`, for example "adam/noise"."""
    optimizer, initial = method.split("/")
    return replace(
        preset,
        optimizer=optimizer,
        initial=initial,
        noise_ratio=1.0 if initial == "noise" else 0.0,
        iterations=iterations,
        learning_rate=learning_rate,
    )


class Contest:
    """Fast and slow method on the same photos and the same loss."""

    def __init__(self, options: argparse.Namespace):
        from system.tensorflow_start import start_tensorflow

        start_tensorflow(one_op_at_a_time=True)  # as infer.py --mode optimize
        import numpy as np

        from data.images import load_image
        from data.listing import list_images
        from loss_net.perceptual import build_perceptual_loss
        from loss_net.weights import load_vgg_weights
        from transformer.export.style_folder import find_style
        from transformer.inference.loading import load_stylizer

        self.options = options
        self.preset, style_size = trained_preset(find_style(options.style))
        self.loss = build_perceptual_loss(
            load_vgg_weights(options.vgg, self.preset.loss.architecture),
            [load_image(options.style_image, max_side=style_size)],
            self.preset.loss,
        )
        self.mean_rgb = np.asarray(self.loss.vgg.mean_rgb)
        self.stylize = load_stylizer(options.style)
        paths = list_images([options.val_dir])[: options.photos]
        self.photos = {path.name: load_image(path, max_side=options.max_side) for path in paths}

    def fast_total(self, content) -> float:
        """Returns the loss of the network's picture of `content` [H, W, 3]."""
        return float(self.loss(self.stylize(content)[None], content[None])["total"])

    def slow_steps(self, content, method: str, iterations: int):
        """Returns the generator of (step, losses, image), see loss_net.optimize."""
        from loss_net.optimize import optimize_image
        from loss_net.start import initial_image

        preset = slow_preset(self.preset, method, iterations, self.options.learning_rate)
        initial = initial_image(preset, content, self.mean_rgb, seed=0)
        return optimize_image(self.loss.for_content(content[None]), initial, preset)

    def curve(self, content, method: str) -> dict[str, list]:
        """Returns the loss of each iteration, and the number of evaluations up to it."""
        totals, evaluations = [], []
        steps = self.slow_steps(content, method, self.options.iterations)
        for count, (step, losses, _) in enumerate(steps, 1):
            if step == len(totals):
                totals.append(losses["total"])
                evaluations.append(count)
        return {"totals": totals, "evaluations": evaluations}

    def seconds(self) -> dict[str, float]:
        """Returns the median seconds of a pass of the network ("fast") and of an evaluation of each method."""
        times: dict[str, list[float]] = {}
        for content in list(self.photos.values())[:TIMED_PHOTOS]:
            timed = {"fast": (self.stylize(content) for _ in itertools.count())}
            timed |= {method: self.slow_steps(content, method, TIMED_RUNS) for method in self.options.methods}
            for name, calls in timed.items():
                next(calls)  # compiles
                times.setdefault(name, []).extend(run_seconds(lambda calls=calls: next(calls), TIMED_RUNS))
        return {name: statistics.median(values) for name, values in times.items()}


def measure(contest: Contest) -> dict:
    """Returns {photo: {"fast": loss, "adam/content": curve, ...}}, which is also kept in --results."""
    from tqdm import tqdm

    options = contest.options
    results = json.loads(options.results.read_text()) if options.results.exists() else {}
    options.results.parent.mkdir(parents=True, exist_ok=True)
    for name, content in tqdm(contest.photos.items(), unit="photo"):
        of_photo = results.setdefault(name, {})
        of_photo.setdefault("fast", contest.fast_total(content))
        for method in options.methods:
            if method not in of_photo:
                of_photo[method] = contest.curve(content, method)
                options.results.write_text(json.dumps(results))
    return {name: results[name] for name in contest.photos}


def crossing(curve: dict, fast_total: float) -> int | None:
    """Returns the first iteration whose loss is as low as the network's; None if there is none."""
    return next((step for step, total in enumerate(curve["totals"]) if total <= fast_total), None)


def median_or_none(numbers: list[int | None]) -> float | None:
    """Returns the median, where None counts as infinite; None if the median is infinite."""
    middle = statistics.median([float("inf") if number is None else number for number in numbers])
    return None if middle == float("inf") else middle


def shown(number: float | None, form: str) -> str:
    """Returns the number as text, or a dash for None."""
    return "-" if number is None else format(number, form)


def row(method: str, results: dict, seconds: dict[str, float]) -> str:
    """Returns the row of one method in Markdown."""
    photos = list(results.values())
    crossings = [crossing(photo[method], photo["fast"]) for photo in photos]
    reached = [number for number in crossings if number is not None]
    evaluations = median_or_none(  # the evaluation of the initial image is part of the work
        [
            None if number is None else photo[method]["evaluations"][number]
            for number, photo in zip(crossings, photos, strict=True)
        ]
    )
    spent = evaluations and evaluations * seconds[method]
    lowest = statistics.median(min(photo[method]["totals"]) / photo["fast"] for photo in photos)
    cells = [
        method.replace("/", ", from "),
        shown(median_or_none(crossings), ".0f"),
        f"{min(reached, default='-')} to {max(reached, default='-')}",
        f"{len(photos) - len(reached)} of {len(photos)}",
        shown(evaluations, ".0f"),
        f"{seconds[method]:.3f}",
        shown(spent, ".1f"),
        shown(spent and spent / seconds["fast"], ".0f"),
        f"{lowest:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def table(results: dict, seconds: dict[str, float], options: argparse.Namespace) -> str:
    """Returns the results in Markdown."""
    lines = [
        f"{len(results)} photos of at most {options.max_side} px, style {Path(options.style).name}. Learning rate of"
        f" Adam: {options.learning_rate:g}. Fast: {seconds['fast']:.3f} s per photo.",
        "",
        "| slow method | iteration with the loss of fast (median) | range | not reached within "
        f"{options.iterations} | evaluations (median) | s per evaluation | s until then | "
        "slow : fast, time | lowest loss : loss of fast |",
        "|---|---|---|---|---|---|---|---|---|",
        *(row(method, results, seconds) for method in options.methods),
    ]
    return "\n".join(lines) + "\n"


def plot(results: dict, options: argparse.Namespace, path: Path) -> None:
    """Plots the loss of the slow method over the network's, by iteration: the median and the middle half."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    figure, axes = plt.subplots(figsize=(8, 5))
    for method in options.methods:
        curves = []
        for photo in results.values():
            totals = np.minimum.accumulate(photo[method]["totals"]) / photo["fast"]
            padding = options.iterations + 1 - len(totals)  # L-BFGS may end early
            curves.append(np.pad(totals, (0, padding), mode="edge"))
        low, middle, high = np.percentile(curves, (25, 50, 75), axis=0)
        (line,) = axes.plot(middle, label=method.replace("/", ", from "))
        axes.fill_between(range(len(middle)), low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    axes.axhline(1, color="black", linewidth=1, label="the network's picture")
    axes.set(yscale="log", xlabel="iterations of the slow method", ylabel="loss : the network's loss")
    axes.set_title(f"{Path(options.style).name}: median and middle half of {len(results)} photos")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main(arguments: list[str] | None = None) -> None:
    options = parse_args(arguments)
    contest = Contest(options)
    results = measure(contest)
    text = table(results, contest.seconds(), options)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.with_suffix(".md").write_text(f"# Fast against slow\n\n{text}", encoding="utf-8")
    print(text)
    try:
        plot(results, options, options.output.with_suffix(".png"))
    except ImportError as error:
        print(f"no plot: {error}; run pip install -r benchmarks/requirements.txt")


if __name__ == "__main__":
    main()

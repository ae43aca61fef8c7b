"""What a trained network is worth in iterations of the slow method, on exactly the loss it was trained with.

    python benchmarks/fast_vs_slow.py great_wave --style-image ../shared/styles/great_wave.jpg \
        --val-dir ../shared/photos/val --vgg ../shared/vgg19/vgg19_notop.h5

For each photo: the loss of the network's picture, and the losses of the slow method by Adam and L-BFGS, from the
photo and from noise, until --iterations. Prints a table, and writes it and a plot beside --output. What is done is
kept in --results, so that an interrupted run goes on. Needs matplotlib: benchmarks/requirements.txt.
"""

import argparse
import itertools
import json
import os
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

METHODS = [(optimizer, initial) for optimizer in ("adam", "lbfgs") for initial in ("content", "noise")]
TIMED_PHOTOS, TIMED_RUNS = 3, 12  # after a first one each


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("name", metavar="NAME_OR_DIR", help="a trained style")
    parser.add_argument("--style-image", type=Path, required=True, help="the picture it was trained for")
    parser.add_argument("--val-dir", type=Path, required=True)
    parser.add_argument("--vgg", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=20, help="the first so many by name (default: 20)")
    parser.add_argument("--max-side", type=int, default=256, help="of the photos in pixels (default: 256)")
    parser.add_argument("--iterations", type=int, default=200)
    parser.add_argument("--learning-rate", type=float, default=10.0, help="Adam's (default: 10)")
    parser.add_argument("--methods", nargs="+", default=[f"{o}/{i}" for o, i in METHODS])
    parser.add_argument("--results", type=Path, default=Path("runs/fast_vs_slow.json"))
    parser.add_argument("--output", type=Path, default=Path("docs/fast_vs_slow"))
    return parser.parse_args()


def trained_preset(style_dir: Path):
    """The loss that the style was trained with, and the size at which it saw its picture."""
    from loss_net.presets import PRESETS, overridden
    from transformer.export.style_folder import style_info

    config = style_info(style_dir)["config"]
    weights = {name: config[name] for name in ("content_weight", "style_weight", "tv_weight")}
    return overridden(PRESETS[config["preset"]], weights), config["style_size"]


def slow_preset(preset, method: str, iterations: int, learning_rate: float):
    """Returns the preset with the optimizer and initial image of `method`, for example "adam/noise"."""
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
    """Fast and slow on the same photos and the same loss."""

    def __init__(self, options: argparse.Namespace):
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        import numpy as np
        import tensorflow as tf

        from data.images import load_image
        from data.listing import list_images
        from loss_net.perceptual import build_perceptual_loss
        from loss_net.weights import load_vgg_weights
        from transformer.export.style_folder import find_style
        from transformer.inference.loading import load_stylizer

        tf.config.threading.set_inter_op_parallelism_threads(1)  # as infer.py --mode optimize
        self.options = options
        self.preset, style_size = trained_preset(find_style(options.name))
        self.loss = build_perceptual_loss(
            load_vgg_weights(options.vgg, self.preset.loss.architecture),
            [load_image(options.style_image, max_side=style_size)],
            self.preset.loss,
        )
        self.mean_rgb = np.asarray(self.loss.vgg.mean_rgb)
        self.stylize = load_stylizer(find_style(options.name))
        paths = list_images([options.val_dir])[: options.photos]
        self.photos = {path.name: load_image(path, max_side=options.max_side) for path in paths}

    def fast_total(self, content) -> float:
        return float(self.loss(self.stylize(content)[None], content[None])["total"])

    def slow_steps(self, content, method: str):
        from loss_net.optimize import optimize_image
        from loss_net.start import initial_image

        preset = slow_preset(self.preset, method, self.options.iterations, self.options.learning_rate)
        initial = initial_image(preset, content, self.mean_rgb, seed=0)
        return optimize_image(self.loss.for_content(content[None]), initial, preset)

    def curve(self, content, method: str) -> dict[str, list]:
        """The loss of each iteration, and the evaluations it took until then."""
        totals, evaluations = [], []
        for count, (step, losses, _) in enumerate(self.slow_steps(content, method), 1):
            if step == len(totals):
                totals.append(losses["total"])
                evaluations.append(count)
        return {"totals": totals, "evaluations": evaluations}

    def seconds(self) -> dict[str, float]:
        """Median seconds of a pass of the network and of an evaluation, by method, over TIMED_PHOTOS photos."""
        times: dict[str, list[float]] = {}
        for content in list(self.photos.values())[:TIMED_PHOTOS]:
            passes = itertools.repeat(None)
            timed = {"fast": map(lambda _, photo=content: self.stylize(photo), passes)}
            timed |= {method: self.slow_steps(content, method) for method in self.options.methods}
            for name, calls in timed.items():
                next(calls)  # compiles
                for _ in range(TIMED_RUNS):
                    start = time.perf_counter()
                    next(calls)
                    times.setdefault(name, []).append(time.perf_counter() - start)
        return {name: statistics.median(values) for name, values in times.items()}


def measure(contest: Contest) -> dict:
    """{photo: {"fast": loss, "adam/content": curve, ...}}, kept in --results."""
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
    """The first iteration whose loss is as low as the network's; None if none is."""
    return next((step for step, total in enumerate(curve["totals"]) if total <= fast_total), None)


def median_or_none(numbers: list[int | None]) -> float | None:
    """The median, counting None as infinite; None if that is what it comes to."""
    middle = statistics.median([float("inf") if number is None else number for number in numbers])
    return None if middle == float("inf") else middle


def shown(number: float | None, form: str) -> str:
    """The number, or a dash."""
    return "-" if number is None else format(number, form)


def table(results: dict, seconds: dict[str, float], options: argparse.Namespace) -> str:
    """Markdown: per method the iteration at which slow is as low as fast, and the seconds of each."""
    lines = [
        f"{len(results)} photos of at most {options.max_side} px, style {Path(options.name).name}, Adam's learning "
        f"rate {options.learning_rate:g}. Fast: {seconds['fast']:.3f} s a photo.",
        "",
        "| slow method, start | as low as fast at iteration (median) | least to most | never within "
        f"{options.iterations} | evaluations until then (median) | s per evaluation | seconds until then | "
        "slow : fast | lowest loss : fast's |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for method in options.methods:
        photos = list(results.values())
        crossings = [crossing(photo[method], photo["fast"]) for photo in photos]
        reached = [number for number in crossings if number is not None]
        # the evaluation of the initial image is part of the work
        evaluations = median_or_none(
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
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def plot(results: dict, options: argparse.Namespace, path: Path) -> None:
    """Median over photos of slow's loss divided by fast's, by iteration; the band holds half of the photos."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    figure, axes = plt.subplots(figsize=(8, 5))
    for method in options.methods:
        curves = []
        for photo in results.values():
            totals = np.minimum.accumulate(photo[method]["totals"]) / photo["fast"]
            padding = options.iterations + 1 - len(totals)  # L-BFGS may end early: it stays where it is
            curves.append(np.pad(totals, (0, padding), mode="edge"))
        low, middle, high = np.percentile(curves, (25, 50, 75), axis=0)
        (line,) = axes.plot(middle, label=method.replace("/", ", from "))
        axes.fill_between(range(len(middle)), low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    axes.axhline(1, color="black", linewidth=1, label="the network's picture")
    axes.set(yscale="log", xlabel="iterations of the slow method", ylabel="loss : the network's loss")
    axes.set_title(f"{Path(options.name).name}: median and middle half of {len(results)} photos")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    options = parse_args()
    contest = Contest(options)
    results = measure(contest)
    text = table(results, contest.seconds(), options)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.with_suffix(".md").write_text(f"# Fast against slow\n\n{text}", encoding="utf-8")
    plot(results, options, options.output.with_suffix(".png"))
    print(text)


if __name__ == "__main__":
    main()

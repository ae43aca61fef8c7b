"""Compares shapes of the network: milliseconds of a photo of 512x512 pixels, and the validation loss after equal steps.

    python benchmarks/architectures.py 0.5,5,9 0.5,5,5 0.5,6,5 --vgg ../shared/vgg19/vgg19_notop.h5 \\
        --style ../shared/styles/udnie.jpg --content-dir ../shared/photos/train --val-dir ../shared/photos/val

A shape is WIDTH,BLOCKS,KERNEL: the values of --width, --residual-blocks and --outer-kernel of train.py. The loss
network takes nearly all of the time of a training step, so equal steps are equal minutes. The shapes are timed in turns
with ONNX Runtime before the trainings, and `relative` is the median ratio to the first. Run it while nothing else runs.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from benchmarks.optimizers import build_loss, build_validation, trained, training_parser
from transformer.architecture import Architecture
from transformer.export.onnx_graph import build_onnx_model
from transformer.network import initial_parameters

OPTIMIZER = "muon"  # the default of train.py
TIMED_RUNS = 9


def architecture(text: str) -> Architecture:
    """Returns the network of "WIDTH,BLOCKS,KERNEL". Raises argparse.ArgumentTypeError for another text."""
    try:
        width, blocks, kernel = text.split(",")
        return Architecture(float(width), int(blocks), int(kernel))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text} is not a shape such as 0.5,5,5: {error}") from error


def parse_args(arguments: list[str] | None) -> argparse.Namespace:
    parser = training_parser(__doc__)
    parser.add_argument("shapes", nargs="+", type=architecture, metavar="WIDTH,BLOCKS,KERNEL")
    parser.add_argument("--side", type=int, default=512, help="of the timed photo (default: 512 pixels)")
    return parser.parse_args(arguments)


def inference_seconds(shapes: Sequence[Architecture], side: int) -> np.ndarray:
    """Returns the seconds of each shape for one photo, [TIMED_RUNS, shapes]; the shapes take turns."""
    import onnxruntime

    image = np.random.default_rng(0).integers(0, 256, (1, side, side, 3)).astype(np.float32)
    sessions = [
        onnxruntime.InferenceSession(
            build_onnx_model(initial_parameters(shape, 0), shape).SerializeToString()
        )
        for shape in shapes
    ]
    seconds = np.zeros((TIMED_RUNS + 1, len(shapes)))
    for run in seconds:  # the first warms up
        for index, session in enumerate(sessions):
            start = time.perf_counter()
            session.run(None, {"X": image})
            run[index] = time.perf_counter() - start
    return seconds[1:]


def main(arguments: list[str] | None = None) -> None:
    options = parse_args(arguments)
    seconds = inference_seconds(options.shapes, options.side)
    medians, relatives = np.median(seconds, axis=0), np.median(seconds / seconds[:, :1], axis=0)
    loss = build_loss(options)
    mean_losses = build_validation(options, loss)
    print(
        f"{'shape':>10} {'GMAC':>6} {'ms':>7} {'relative':>8} {'total':>9} {'spread':>7} {'content':>9} {'style':>9}"
    )
    for shape, median, relative in zip(options.shapes, medians, relatives, strict=True):
        means = [mean_losses(trained(options, OPTIMIZER, seed, loss, shape)[0]) for seed in options.seeds]
        total, content, style = (
            np.array([mean[term] for mean in means]) for term in ("total", "content", "style")
        )
        name = f"{shape.width:g},{shape.residual_blocks},{shape.outer_kernel}"
        gmac = shape.multiply_adds(options.side, options.side) / 1e9
        print(
            f"{name:>10} {gmac:6.2f} {1000 * median:7.1f} {relative:8.3f} {total.mean():9.3g}"
            f" {np.ptp(total) / total.mean():7.1%} {content.mean():9.3g} {style.mean():9.3g}",
            flush=True,
        )


if __name__ == "__main__":
    main()

"""Measures the slow method: seconds per iteration in float32 and bfloat16, and the floor of the convolutions.

    python benchmarks/optimize_speed.py --vgg ../shared/vgg19/vgg19_notop.h5

floor: one forward pass of VGG to the deepest layer, and as many operations again for the gradient of the image, at
the best conv2d rate in the same run. Without --vgg the weights are random, which does not change the speed.
Run it while nothing else runs.
"""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

from benchmarks.timing import median_and_spread, run_seconds
from benchmarks.training_speed import PEAK_SHAPES, conv2d_peak, random_vgg
from loss_net.optimize import optimize_image
from loss_net.perceptual import PerceptualLoss, build_perceptual_loss
from loss_net.presets import PRESETS
from loss_net.weights import load_vgg_weights
from system.tensorflow_start import start_tensorflow

WARMUP_ITERATIONS = 3


def parse_args(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--vgg", type=Path, help="VGG19 weights (default: random weights)")
    parser.add_argument(
        "--side", type=int, default=512, help="side of the square picture (default: 512 pixels)"
    )
    parser.add_argument("--preset", default="athalye", help="a preset with VGG19 (default: athalye)")
    parser.add_argument("--iterations", type=int, default=15, help="timed iterations (default: 15)")
    return parser.parse_args(arguments)


def iteration_seconds(steps: Iterator, iterations: int) -> tuple[float, float]:
    """Returns median and relative spread of the seconds of one iteration, after WARMUP_ITERATIONS."""
    times = run_seconds(lambda: next(steps), WARMUP_ITERATIONS + iterations)
    return median_and_spread(times[WARMUP_ITERATIONS:])


def pass_gflop(loss: PerceptualLoss, side: int) -> float:
    """Returns the operations of VGG forward to the deepest layer and back to the image."""
    layers = {**loss.preset.content_layers, **loss.preset.style_layers}
    return 4e-9 * loss.vgg.multiply_adds(layers, side)


def main(
    arguments: list[str] | None = None, *, peak_shapes: Sequence[tuple[int, int, int]] = PEAK_SHAPES
) -> None:
    options = parse_args(arguments)
    start_tensorflow(one_op_at_a_time=True)  # as infer.py --mode optimize
    weights = load_vgg_weights(options.vgg) if options.vgg else random_vgg()
    preset = PRESETS[options.preset]
    content, style = np.random.default_rng(0).uniform(0, 255, (2, options.side, options.side, 3)).astype("f4")
    losses = {
        precision: build_perceptual_loss(weights, [style], preset.loss, compute_dtype=tf.as_dtype(precision))
        for precision in ("float32", "bfloat16")
    }
    gflop = pass_gflop(losses["float32"], options.side)
    print(
        f"TensorFlow {tf.__version__}, {options.side} px, {gflop:.0f} GFLOP, median of {options.iterations}"
    )
    print(
        f"{'precision':>9} {'peak GFLOP/s':>12} {'floor s':>8} {'s/iteration':>11} {'spread':>7} {'of floor':>8}"
    )
    for precision, loss in losses.items():
        dtype = tf.as_dtype(precision)
        peak_before = conv2d_peak(dtype, peak_shapes)
        steps = optimize_image(loss.for_content(content[np.newaxis]), content, preset)
        seconds, spread = iteration_seconds(steps, options.iterations)
        peak = max(peak_before, conv2d_peak(dtype, peak_shapes))  # the speed of a shared machine drifts
        print(
            f"{precision:>9} {peak:12.0f} {gflop / peak:8.3f} {seconds:11.3f} {spread:7.1%}"
            f" {seconds * peak / gflop:8.2f}"
        )


if __name__ == "__main__":
    main()

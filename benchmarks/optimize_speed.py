"""Seconds per iteration of the slow method in float32 and bfloat16, beside the floor that the convolutions set.

    python benchmarks/optimize_speed.py --vgg ../shared/vgg19/vgg19_notop.h5

The floor: VGG19 forward to relu5_1 and the same again for the gradient to the input, at the best conv2d rate
measured in the same run. Without --vgg the weights are random: the speed is the same. Run it while nothing else
runs.
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf
from training_speed import conv2d_peak, random_vgg

from loss_net.optimize import optimize_image
from loss_net.perceptual import build_perceptual_loss
from loss_net.presets import PRESETS
from loss_net.vgg import build_vgg
from loss_net.weights import load_vgg_weights

WARMUP_ITERATIONS, TIMED_ITERATIONS = 3, 15


def iteration_seconds(steps) -> tuple[float, float]:
    """Median and relative spread (interquartile range over median) of the time from step to step."""
    times, start = [], time.perf_counter()
    for _ in range(WARMUP_ITERATIONS + TIMED_ITERATIONS):
        next(steps)
        times.append(time.perf_counter() - start)
        start = time.perf_counter()
    low, middle, high = statistics.quantiles(times[WARMUP_ITERATIONS:], n=4)
    return middle, (high - low) / middle


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--vgg", type=Path)
    parser.add_argument(
        "--side", type=int, default=512, help="of the square picture in pixels (default: 512)"
    )
    parser.add_argument("--preset", default="athalye", help="one of VGG19 whose deepest layer is relu5_1")
    options = parser.parse_args()
    tf.config.threading.set_inter_op_parallelism_threads(1)  # as infer.py --mode optimize
    weights, preset = load_vgg_weights(options.vgg) if options.vgg else random_vgg(), PRESETS[options.preset]
    gflop = 4e-9 * build_vgg(weights, ["relu5_1"]).multiply_adds(["relu5_1"], options.side)
    content, style = np.random.default_rng(0).uniform(0, 255, (2, options.side, options.side, 3)).astype("f4")
    print(f"TensorFlow {tf.__version__}, {options.side} px, {gflop:.0f} GFLOP, median of {TIMED_ITERATIONS}")
    print(
        f"{'precision':>9} {'peak GFLOP/s':>12} {'floor s':>8} {'s/iteration':>11} {'spread':>7} {'of floor':>8}"
    )
    for precision in ("float32", "bfloat16"):
        dtype = tf.as_dtype(precision)
        loss = build_perceptual_loss(weights, [style], preset.loss, compute_dtype=dtype)
        peaks = [conv2d_peak(dtype)]
        seconds, spread = iteration_seconds(
            optimize_image(loss.for_content(content[np.newaxis]), content, preset)
        )
        peaks.append(conv2d_peak(dtype))  # before and after: a shared machine's speed drifts
        floor = gflop / max(peaks)
        print(
            f"{precision:>9} {max(peaks):12.0f} {floor:8.3f} {seconds:11.3f} {spread:7.1%} {seconds / floor:8.2f}"
        )


if __name__ == "__main__":
    main()

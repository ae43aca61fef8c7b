"""Images per second of training, for full and half width in float32 and bfloat16, beside the conv2d peak.

    python benchmarks/training_speed.py --vgg ../shared/vgg19/vgg19_notop.h5

Without --vgg the loss network has random weights: the speed is the same. Run it while nothing else runs.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

from loss_net.perceptual import build_perceptual_loss
from loss_net.recipes import RECIPES
from loss_net.topology import CONV_LAYERS
from loss_net.weights import KERAS_MEAN_BGR, VggWeights, expected_kernel_shape, load_vgg_weights
from transformer.architecture import Architecture
from transformer.network import Transformer
from transformer.optimizer import Optimizer
from transformer.training import build_training_step

WARMUP_RUNS, TIMED_RUNS = 3, 12
PEAK_SHAPES = ((4, 128, 128), (4, 64, 256), (4, 32, 512))  # batch, side, channels of VGG's 3x3 convolutions


def median_seconds(run: Callable[[], tf.Tensor]) -> tuple[float, float]:
    """Median and relative spread (interquartile range over median) of TIMED_RUNS runs, after WARMUP_RUNS."""
    times = []
    for _ in range(WARMUP_RUNS + TIMED_RUNS):
        start = time.perf_counter()
        run().numpy()  # waits for the result
        times.append(time.perf_counter() - start)
    low, middle, high = statistics.quantiles(times[WARMUP_RUNS:], n=4)
    return middle, (high - low) / middle


def conv2d_peak(dtype: tf.DType) -> float:
    """The best GFLOP/s of a 3x3 conv2d over PEAK_SHAPES; one multiply-add counts as two operations."""
    rates = []
    for batch, side, channels in PEAK_SHAPES:
        images = tf.cast(tf.random.normal([batch, side, side, channels]), dtype)
        kernel = tf.cast(tf.random.normal([3, 3, channels, channels]), dtype)
        # the scalar keeps the copy of the result out of the time; its sum over one image is negligible
        convolve = tf.function(lambda images, kernel: tf.nn.conv2d(images, kernel, 1, "SAME")[0, 0, 0, 0])
        seconds, _ = median_seconds(lambda call=convolve, a=images, b=kernel: call(a, b))
        rates.append(2e-9 * batch * side**2 * 9 * channels**2 / seconds)
    return max(rates)


def random_vgg() -> VggWeights:
    generator = np.random.default_rng(0)
    kernels = {
        name: generator.normal(0, 0.05, expected_kernel_shape(name)).astype(np.float32)
        for name in CONV_LAYERS["vgg19"]
    }
    biases = {name: np.zeros(kernel.shape[-1], np.float32) for name, kernel in kernels.items()}
    return VggWeights("vgg19", kernels, biases, np.array(KERAS_MEAN_BGR, np.float32), "random")


def vgg_multiply_adds(deepest: str, side: int) -> float:
    total = 0
    for name in CONV_LAYERS["vgg19"]:
        resolution = side // 2 ** (int(name[4]) - 1)
        total += resolution**2 * np.prod(expected_kernel_shape(name))
        if name == deepest:
            break
    return float(total)


def step_gflop(architecture: Architecture, side: int, batch_size: int) -> float:
    """Convolutions of one step: the network forward and twice backward, VGG forward to relu5_1 and back to the
    image, and the content's pass to relu4_2."""
    network = 3 * architecture.multiply_adds(side, side)
    vgg = 2 * vgg_multiply_adds("conv5_1", side) + vgg_multiply_adds("conv4_2", side)
    return 2e-9 * batch_size * (network + vgg)


def images_per_second(
    weights: VggWeights, width: float, dtype: tf.DType, side: int, batch_size: int
) -> tuple[float, float]:
    images = tf.random.stateless_uniform([batch_size, side, side, 3], [0, 0], 0.0, 255.0)
    loss = build_perceptual_loss(weights, [images[0]], RECIPES["lengstrom"], compute_dtype=dtype)
    network = Transformer(Architecture(width), compute_dtype=dtype)
    step = build_training_step(network, loss, build_optimizer(1e-3, 1000))
    seconds, spread = median_seconds(lambda: step(images)["total"])
    return batch_size / seconds, spread


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--vgg", type=Path)
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=4)
    options = parser.parse_args()
    weights = load_vgg_weights(options.vgg) if options.vgg else random_vgg()
    side, batch_size = options.image_size, options.batch_size
    cores = len(os.sched_getaffinity(0))
    print(
        f"{cores} cores, TensorFlow {tf.__version__}, {side} px, batch {batch_size}, median of {TIMED_RUNS}"
    )
    peaks = {}
    for precision in ("float32", "bfloat16"):
        peaks[precision] = conv2d_peak(tf.as_dtype(precision))
        print(f"conv2d peak {precision:9} {peaks[precision]:6.0f} GFLOP/s")
    print(f"{'width':>5} {'precision':>9} {'images/s':>9} {'spread':>7} {'GFLOP/s':>8} {'of peak':>8}")
    for width in (1.0, 0.5):
        for precision in ("float32", "bfloat16"):
            rate, spread = images_per_second(weights, width, tf.as_dtype(precision), side, batch_size)
            gflops = rate / batch_size * step_gflop(Architecture(width), side, batch_size)
            share = gflops / peaks[precision]
            print(
                f"{width:5} {precision:>9} {rate:9.2f} {spread:7.1%} {gflops:8.0f} {share:8.0%}", flush=True
            )


if __name__ == "__main__":
    main()

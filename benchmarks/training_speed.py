"""Images per second of training, for full and half width in float32 and bfloat16, without and with XLA.

    python benchmarks/training_speed.py

The loss network has random weights: the speed is the same. Run it while nothing else runs. Three shares:
"of peak" is the step's operations at the best conv2d rate of its precision; "of mix" the time of every convolution
of the step alone, at its own shape and precision, and of the Gram products, which are float32 in any case, over the
time of the step. Each row runs in a process of its own, for the peak of its memory.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

from loss_net.perceptual import build_perceptual_loss
from loss_net.presets import LOSS_PRESETS
from loss_net.topology import CONV_LAYERS, expected_kernel_shape
from loss_net.weight_files import KERAS_MEAN_BGR
from loss_net.weights import VggWeights
from transformer.architecture import Architecture
from transformer.network import Transformer
from transformer.training.optimizer import Optimizer
from transformer.training.pace import peak_memory_bytes
from transformer.training.step import build_training_step

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


def seconds_alone(compute: Callable, *arguments: tf.Tensor) -> float:
    """Of `compute`, compiled, without the copy of its result."""
    compiled = tf.function(lambda *tensors: tf.reshape(compute(*tensors), [-1])[0])
    return median_seconds(lambda: compiled(*arguments))[0]


def convolution_seconds(
    dtype: tf.DType, batch: int, side: int, shape: tuple[int, ...], stride: int, passes: tuple[int, int, int]
) -> float:
    """Of one convolution with a kernel of `shape` alone; `passes`: how often forward, to its input, to its kernel."""
    images = tf.cast(tf.random.normal([batch, side, side, shape[2]]), dtype)
    upstream = tf.cast(tf.random.normal([batch, side // stride, side // stride, shape[3]]), dtype)
    kernel = tf.cast(tf.random.normal(shape), dtype)
    computations = (
        (lambda images, kernel: tf.nn.conv2d(images, kernel, stride, "SAME"), images, kernel),
        (
            lambda up, kernel: tf.nn.conv2d_transpose(up, kernel, images.shape, stride, "SAME"),
            upstream,
            kernel,
        ),
        (
            lambda images, up: tf.raw_ops.Conv2DBackpropFilter(
                input=images,
                filter_sizes=shape,
                out_backprop=up,
                strides=[1, stride, stride, 1],
                padding="SAME",
            ),
            images,
            upstream,
        ),
    )
    return sum(
        count * seconds_alone(*parts) for count, parts in zip(passes, computations, strict=True) if count
    )


def mix_seconds(architecture: Architecture, dtype: tf.DType, side: int, batch: int) -> float:
    """The step's convolutions and Gram products, each alone."""
    total, network_side = 0.0, side
    for spec in architecture.convolutions:
        network_side *= spec.upsample
        shape = (spec.kernel_size, spec.kernel_size, spec.in_channels, spec.out_channels)
        passes = (1, int(spec.in_channels != 3), 1)  # the photo needs no gradient
        total += convolution_seconds(dtype, batch, network_side, shape, spec.stride, passes)
        network_side //= spec.stride
    for name in CONV_LAYERS["vgg19"]:
        vgg_side, shape = side >> (int(name[4]) - 1), expected_kernel_shape(name)
        forward = 2 if name <= "conv4_2" else 1  # the content's pass ends there
        total += convolution_seconds(dtype, batch, vgg_side, shape, 1, (forward, 1, 0))
        if name.endswith("_1"):
            features = tf.random.normal([batch, vgg_side**2, shape[3]])
            total += seconds_alone(lambda maps: tf.matmul(maps, maps, transpose_a=True), features)
            grams = tf.cast(tf.random.normal([batch, shape[3], shape[3]]), dtype)
            total += seconds_alone(tf.matmul, tf.cast(features, dtype), grams)
        if name == "conv5_1":
            return total
    raise AssertionError("unreachable: VGG19 has conv5_1")


def report_row(width: float, precision: str, xla: bool, side: int, batch_size: int) -> None:
    dtype, architecture = tf.as_dtype(precision), Architecture(width)
    images = tf.random.stateless_uniform([batch_size, side, side, 3], [0, 0], 0.0, 255.0)
    loss = build_perceptual_loss(random_vgg(), [images[0]], LOSS_PRESETS["lengstrom"], compute_dtype=dtype)
    network = Transformer(architecture, compute_dtype=dtype)
    optimizer = Optimizer(list(network.parameters.values()), learning_rate=1e-3, steps=1000, clip_factor=10)
    step = build_training_step(network, loss, optimizer, xla=xla)
    seconds, spread = median_seconds(lambda: step(images)["total"])
    memory = peak_memory_bytes()
    gflop = 2e-9 * batch_size * (3 * architecture.multiply_adds(side, side) + loss.multiply_adds(side))
    peak, mix = conv2d_peak(dtype), mix_seconds(architecture, dtype, side, batch_size)
    print(
        f"{width:5} {precision:>9} {'yes' if xla else 'no':>4} {batch_size / seconds:9.2f} {spread:7.1%}"
        f" {gflop / seconds:8.0f} {peak:6.0f} {gflop / seconds / peak:8.0%} {mix / seconds:7.0%} {memory / 1e9:8.2f}",
        flush=True,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--row", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        width, precision, xla = options.row
        report_row(float(width), precision, xla == "yes", options.image_size, options.batch_size)
        return
    cores = len(os.sched_getaffinity(0))
    print(
        f"{cores} cores, TensorFlow {tf.__version__}, {options.image_size} px, batch {options.batch_size},"
        f" median of {TIMED_RUNS}"
    )
    print(
        f"{'width':>5} {'precision':>9} {'XLA':>4} {'images/s':>9} {'spread':>7} {'GFLOP/s':>8} {'peak':>6}"
        f" {'of peak':>8} {'of mix':>7} {'peak GB':>8}",
        flush=True,
    )
    for width in ("1.0", "0.5"):
        for precision in ("float32", "bfloat16"):
            for xla in ("no", "yes"):
                sizes = ["--image-size", str(options.image_size), "--batch-size", str(options.batch_size)]
                command = [sys.executable, __file__, *sizes, "--row", width, precision, xla]
                subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()

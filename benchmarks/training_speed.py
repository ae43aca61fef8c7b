"""Measures training: images per second at full and half width, in float32 and bfloat16, without and with XLA.

    python benchmarks/training_speed.py

GFLOP/s: the operations of the step's convolutions over the time of the step.
peak:    the best conv2d rate of that precision in the same process.
of mix:  the time of the step's convolutions and Gram products, each measured alone at its own shape and precision
         (Gram products: always float32), over the time of the step.
Each row runs in a process of its own, because the peak memory is that of a process. The loss network has random
weights, which does not change the speed. Run it while nothing else runs.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

from benchmarks.timing import median_and_spread, run_seconds
from loss_net.perceptual import build_perceptual_loss
from loss_net.presets import LOSS_PRESETS
from loss_net.topology import BLOCK_CHANNELS, CONV_LAYERS, expected_kernel_shape
from loss_net.weight_files import KERAS_MEAN_BGR
from loss_net.weights import VggWeights
from system.machine import available_cores
from transformer.architecture import Architecture
from transformer.network import Transformer
from transformer.training.optimizer import Optimizer
from transformer.training.pace import peak_memory_bytes
from transformer.training.step import build_training_step

WARMUP_RUNS, TIMED_RUNS = 3, 12
PEAK_SHAPES = ((4, 128, 128), (4, 64, 256), (4, 32, 512))  # batch, side, channels of VGG's 3x3 convolutions
WIDTHS, PRECISIONS = ("1.0", "0.5"), ("float32", "bfloat16")
LOSS_CONVOLUTIONS = CONV_LAYERS["vgg19"][: CONV_LAYERS["vgg19"].index("conv5_1") + 1]  # of preset lengstrom
HEADER = (
    f"{'width':>5} {'precision':>9} {'XLA':>4} {'images/s':>9} {'spread':>7} {'GFLOP/s':>8} {'peak':>6}"
    f" {'of peak':>8} {'of mix':>7} {'peak GB':>8}"
)


def parse_args(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--image-size", type=int, default=256, help="side of the crops (default: 256 pixels)")
    parser.add_argument("--batch-size", type=int, default=4, help="images per step (default: 4)")
    parser.add_argument("--row", nargs=3, help=argparse.SUPPRESS)  # width, precision, yes|no
    return parser.parse_args(arguments)


def median_seconds(run: Callable[[], tf.Tensor]) -> tuple[float, float]:
    """Returns median and relative spread of TIMED_RUNS runs, after WARMUP_RUNS."""
    times = run_seconds(lambda: run().numpy(), WARMUP_RUNS + TIMED_RUNS)  # .numpy() waits for the result
    return median_and_spread(times[WARMUP_RUNS:])


def conv2d_peak(dtype: tf.DType, shapes: Sequence[tuple[int, int, int]] = PEAK_SHAPES) -> float:
    """Returns the best GFLOP/s of a 3x3 conv2d over `shapes`. A multiply-add counts as two operations."""
    rates = []
    for batch, side, channels in shapes:
        images = tf.cast(tf.random.normal([batch, side, side, channels]), dtype)
        kernel = tf.cast(tf.random.normal([3, 3, channels, channels]), dtype)
        seconds = seconds_alone(
            lambda images, kernel: tf.nn.conv2d(images, kernel, 1, "SAME"), images, kernel
        )
        rates.append(2e-9 * batch * side**2 * 9 * channels**2 / seconds)
    return max(rates)


def random_vgg(block_channels: tuple[int, ...] = BLOCK_CHANNELS) -> VggWeights:
    """Returns VGG19 with random weights."""
    generator = np.random.default_rng(0)
    kernels = {
        name: generator.normal(0, 0.05, expected_kernel_shape(name, block_channels)).astype(np.float32)
        for name in CONV_LAYERS["vgg19"]
    }
    biases = {name: np.zeros(kernel.shape[-1], np.float32) for name, kernel in kernels.items()}
    mean_bgr = np.array(KERAS_MEAN_BGR, np.float32)
    return VggWeights("vgg19", kernels, biases, mean_bgr, "random", block_channels)


def seconds_alone(compute: Callable, *arguments: tf.Tensor) -> float:
    """Returns the median seconds of `compute`, compiled, without the time that copies of its result take."""
    compiled = tf.function(lambda *tensors: tf.reshape(compute(*tensors), [-1])[0])
    return median_seconds(lambda: compiled(*arguments))[0]


def convolution_seconds(
    dtype: tf.DType, batch: int, side: int, shape: tuple[int, ...], stride: int, passes: tuple[int, int, int]
) -> float:
    """Returns the seconds of one convolution alone, with a kernel of `shape`.

    passes: how often the step computes it forward, back to its input, and back to its kernel.
    """
    images = tf.cast(tf.random.normal([batch, side, side, shape[2]]), dtype)
    upstream = tf.cast(tf.random.normal([batch, side // stride, side // stride, shape[3]]), dtype)
    kernel = tf.cast(tf.random.normal(shape), dtype)

    def forward(images, kernel):
        return tf.nn.conv2d(images, kernel, stride, "SAME")

    def to_input(upstream, kernel):
        return tf.nn.conv2d_transpose(upstream, kernel, images.shape, stride, "SAME")

    def to_kernel(images, upstream):
        strides = [1, stride, stride, 1]
        return tf.raw_ops.Conv2DBackpropFilter(
            input=images, filter_sizes=shape, out_backprop=upstream, strides=strides, padding="SAME"
        )

    computations = ((forward, images, kernel), (to_input, upstream, kernel), (to_kernel, images, upstream))
    return sum(
        count * seconds_alone(*parts) for count, parts in zip(passes, computations, strict=True) if count
    )


def network_mix_seconds(architecture: Architecture, dtype: tf.DType, side: int, batch: int) -> float:
    """Returns the seconds of the transformer's convolutions in a step, each alone."""
    total = 0.0
    for spec in architecture.convolutions:
        side *= spec.upsample
        shape = (spec.kernel_size, spec.kernel_size, spec.in_channels, spec.out_channels)
        passes = (1, int(spec.in_channels != 3), 1)  # the photo needs no gradient
        total += convolution_seconds(dtype, batch, side, shape, spec.stride, passes)
        side //= spec.stride
    return total


def loss_mix_seconds(block_channels: tuple[int, ...], dtype: tf.DType, side: int, batch: int) -> float:
    """Returns the seconds of the loss network's convolutions and Gram products in a step, each alone."""
    total = 0.0
    for name in LOSS_CONVOLUTIONS:
        map_side, shape = side >> (int(name[4]) - 1), expected_kernel_shape(name, block_channels)
        forward = 2 if name <= "conv4_2" else 1  # the pass over the content ends there
        total += convolution_seconds(dtype, batch, map_side, shape, 1, (forward, 1, 0))
        if name.endswith("_1"):
            features = tf.random.normal([batch, map_side**2, shape[3]])
            total += seconds_alone(lambda maps: tf.matmul(maps, maps, transpose_a=True), features)
            grams = tf.cast(tf.random.normal([batch, shape[3], shape[3]]), dtype)
            total += seconds_alone(tf.matmul, tf.cast(features, dtype), grams)
    return total


def print_row(
    architecture: Architecture,
    precision: str,
    *,
    xla: bool,
    side: int,
    batch_size: int,
    weights: VggWeights,
    peak_shapes: Sequence[tuple[int, int, int]] = PEAK_SHAPES,
) -> None:
    """Measures one kind of training in this process and prints its row."""
    dtype = tf.as_dtype(precision)
    images = tf.random.stateless_uniform([batch_size, side, side, 3], [0, 0], 0.0, 255.0)
    loss = build_perceptual_loss(weights, [images[0]], LOSS_PRESETS["lengstrom"], compute_dtype=dtype)
    loss = loss.with_border()
    network = Transformer(architecture, compute_dtype=dtype)
    parameters = list(network.parameters.values())
    optimizer = Optimizer(parameters, learning_rate=1e-3, steps=1000, clip_factor=10)
    step = build_training_step(network, loss, optimizer, xla=xla)
    seconds, spread = median_seconds(lambda: step(images)["total"])
    memory = peak_memory_bytes() or 0
    gflop = 2e-9 * batch_size * (3 * architecture.multiply_adds(side, side) + loss.multiply_adds(side))
    peak = conv2d_peak(dtype, peak_shapes)
    mix = network_mix_seconds(architecture, dtype, side, batch_size)
    mix += loss_mix_seconds(weights.block_channels, dtype, side, batch_size)
    print(
        f"{architecture.width:5} {precision:>9} {'yes' if xla else 'no':>4} {batch_size / seconds:9.2f}"
        f" {spread:7.1%} {gflop / seconds:8.0f} {peak:6.0f} {gflop / seconds / peak:8.0%} {mix / seconds:7.0%}"
        f" {memory / 1e9:8.2f}",
        flush=True,
    )


def main(arguments: list[str] | None = None) -> None:
    options = parse_args(arguments)
    side, batch_size = options.image_size, options.batch_size
    if options.row:
        width, precision, xla = options.row
        sizes = {"side": side, "batch_size": batch_size}
        print_row(Architecture(float(width)), precision, xla=xla == "yes", weights=random_vgg(), **sizes)
        return
    print(
        f"{available_cores()} cores, TensorFlow {tf.__version__}, {side} px, batch {batch_size},"
        f" median of {TIMED_RUNS}"
    )
    print(HEADER, flush=True)
    sizes = ["--image-size", str(side), "--batch-size", str(batch_size)]
    for width in WIDTHS:
        for precision in PRECISIONS:
            for xla in ("no", "yes"):
                command = [sys.executable, __file__, *sizes, "--row", width, precision, xla]
                subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()

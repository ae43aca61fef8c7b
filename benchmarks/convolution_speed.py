"""Measures the training step with each of the ways to compute float32 convolutions on a CPU, in turns in one run.

    python benchmarks/convolution_speed.py --vgg ../shared/vgg19/vgg19_notop.h5

plain:       TensorFlow's conv2d and its gradients
transposed:  what CPUs with AVX-512 get: deep layers of VGG as gradients of the rotated kernel
winograd:    what CPUs with AVX2 get: Winograd's algorithm for the deep layers of VGG, gradients by rotated kernels, and
             gradients of kernels from bands of rows

The images are random, and the loss is that of preset lengstrom. The last column is the distance of the gradient of all
parameters from that of "plain", over its norm. Run it while nothing else runs.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

from benchmarks.timing import median_and_spread, run_seconds
from loss_net import convolution
from loss_net.perceptual import build_perceptual_loss
from loss_net.presets import LOSS_PRESETS
from loss_net.weights import VggWeights, load_vgg_weights
from transformer.architecture import Architecture
from transformer.network import Transformer
from transformer.training.optimizer import Optimizer
from transformer.training.step import build_training_step

WAYS = {"plain": 0, "transposed": 512, "winograd": 256}  # bits of the CPU's vectors
NEVER = 10**9  # channels; a CPU of which nothing is known would get "transposed"
WARMUP_ROUNDS, ROUNDS = 2, 9


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--vgg", type=Path, required=True, help="weights of VGG19, as for train.py")
    parser.add_argument("--image-size", type=int, default=256, help="side of the crops (default: 256 pixels)")
    parser.add_argument("--batch-size", type=int, default=1, help="images per step (default: 1)")
    options = parser.parse_args(arguments)
    weights = load_vgg_weights(options.vgg)
    shape = (options.batch_size, options.image_size, options.image_size, 3)
    images = tf.random.stateless_uniform(shape, [0, 0], 0.0, 255.0)
    steps, gradients = {}, {}
    for way, bits in WAYS.items():
        from_channels = NEVER if way == "plain" else convolution.TRANSPOSED_FROM_CHANNELS
        with (
            mock.patch("loss_net.convolution.vector_bits", lambda bits=bits: bits),
            mock.patch("transformer.layers.vector_bits", lambda bits=bits: bits),
            mock.patch("loss_net.convolution.TRANSPOSED_FROM_CHANNELS", from_channels),
        ):
            steps[way], gradients[way] = _step_and_gradient(weights, images)
            steps[way]()  # compiles while the way is set
    seconds = {way: [] for way in WAYS}
    for _ in range(WARMUP_ROUNDS + ROUNDS):
        for way, step in steps.items():
            seconds[way] += run_seconds(step, 1)
    print(f"{'':12}{'s/step':>8}{'spread':>8}{'plain':>8}{'gradient':>10}")
    for way in WAYS:
        median, spread = median_and_spread(seconds[way][WARMUP_ROUNDS:])
        ratio = median_and_spread(seconds["plain"][WARMUP_ROUNDS:])[0] / median
        distance = np.linalg.norm(gradients[way] - gradients["plain"]) / np.linalg.norm(gradients["plain"])
        print(f"{way:12}{median:8.3f}{spread:8.1%}{ratio:8.2f}{distance:10.0e}", flush=True)


def _step_and_gradient(weights: VggWeights, images: tf.Tensor) -> tuple[Callable[[], np.ndarray], np.ndarray]:
    loss = build_perceptual_loss(weights, [images[0]], LOSS_PRESETS["lengstrom"]).with_border()
    network = Transformer(Architecture())
    parameters = list(network.parameters.values())

    @tf.function(autograph=False)
    def gradient(images):
        with tf.GradientTape() as tape:
            total = loss(network(images), images)["total"]
        return tf.concat([tf.reshape(part, [-1]) for part in tape.gradient(total, parameters)], axis=0)

    first_gradient = gradient(images).numpy()
    optimizer = Optimizer(parameters, learning_rate=1e-3, steps=1000, clip_factor=10)
    step = build_training_step(network, loss, optimizer)
    return lambda: step(images)["total"].numpy(), first_gradient


if __name__ == "__main__":
    main()

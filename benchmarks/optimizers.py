"""Compares optimizers by their validation loss after equal steps, over several seeds.

    python benchmarks/optimizers.py --vgg ../shared/vgg19/vgg19_notop.h5 --style ../shared/styles/great_wave.jpg \
        --content-dir ../shared/photos/train --val-dir ../shared/photos/val

muon and adam are those of train.py. soap is here for the comparison only: Vyas et al. 2024,
https://arxiv.org/abs/2409.11321, Adam in the eigenbasis of Shampoo's second moments, which are taken for sides up to
LARGEST_SIDE. All optimizers see the same crops, and a seed gives all of them the same initial weights.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

from data.images import load_image
from data.listing import list_images
from data.pipeline import CropStream, PhotoFolder
from loss_net.perceptual import build_perceptual_loss
from loss_net.presets import LOSS_PRESETS
from loss_net.weights import load_vgg_weights
from transformer.architecture import Architecture
from transformer.network import Transformer
from transformer.training.optimizer import Optimizer
from transformer.training.stages import staged_batches, stages_of
from transformer.training.step import build_training_step, training_steps

LEARNING_RATE, CLIP_FACTOR = 2e-3, 10  # the defaults of train.py
SOAP_RATE = 1.5  # of Adam's learning rate
SOAP_DECAY, SOAP_EVERY = 0.95, 10  # of the moments; steps between changes of the basis
LARGEST_SIDE = 288  # of a kernel's matrix; a larger side keeps its own basis
DEFAULT = Architecture()
TERMS = ("total", "content", "style")
FIRST_TUNING_PHOTO = 100  # the photos before are for the figures of finished styles


class Soap(Optimizer):
    """SOAP for kernels, Adam for the rest."""

    def __init__(self, parameters: Sequence[tf.Variable], *, kernels: Sequence[tf.Variable], **options):
        super().__init__(parameters, kernels=kernels, **options)
        self._bases = [SoapBasis(variable) for variable in kernels]

    def _with_muon(self, adam: list[tf.Tensor], ahead: list[tf.Tensor]) -> list[tf.Tensor]:
        bases = iter(self._bases)
        gradients = self._parts(self._gradient)
        return [
            SOAP_RATE * next(bases).direction(gradients[index], self.variables["updates"])
            if is_kernel
            else adam[index]
            for index, is_kernel in enumerate(self._is_kernel)
        ]

    def _direction(self, gradient: tf.Tensor, moments: Mapping, updates: tf.Tensor) -> tf.Tensor:
        self._gradient = gradient
        return super()._direction(gradient, moments, updates)


class SoapBasis:
    """The moments of one kernel as a matrix [rows, columns], in bases that follow its second moments."""

    def __init__(self, kernel: tf.Variable):
        columns = kernel.shape[-1]
        self.shape = (kernel.shape.num_elements() // columns, columns)
        self.sides = [side for side in (0, 1) if self.shape[side] <= LARGEST_SIDE]
        self.second = {side: _variable(tf.zeros([self.shape[side]] * 2)) for side in self.sides}
        self.basis = {side: _variable(tf.eye(self.shape[side])) for side in self.sides}
        self.mean, self.square = _variable(tf.zeros(self.shape)), _variable(tf.zeros(self.shape))

    def direction(self, gradient: tf.Tensor, updates: tf.Tensor) -> tf.Tensor:
        """Takes in one gradient; returns the change of the kernel in a row."""
        matrix = tf.reshape(gradient, self.shape)
        for side in self.sides:
            product = tf.matmul(matrix, matrix, transpose_a=side == 1, transpose_b=side == 0)
            self.second[side].assign(SOAP_DECAY * self.second[side] + (1 - SOAP_DECAY) * product)
            self._turn_basis(side, updates)
        self.mean.assign(SOAP_DECAY * self.mean + (1 - SOAP_DECAY) * matrix)
        squares = tf.square(self._to_basis(matrix))
        self.square.assign(SOAP_DECAY * self.square + (1 - SOAP_DECAY) * squares)
        correction = 1 - tf.pow(SOAP_DECAY, tf.cast(updates + 1, tf.float32))
        turned = self._to_basis(self.mean / correction) / (tf.sqrt(self.square / correction) + 1e-9)
        return tf.reshape(self._from_basis(turned), [-1])

    def _turn_basis(self, side: int, updates: tf.Tensor) -> None:
        second, basis = self.second[side], self.basis[side]
        turned = tf.case(
            [
                (tf.equal(updates, 0), lambda: tf.linalg.eigh(second)[1]),
                (
                    tf.equal(updates % SOAP_EVERY, 0),
                    lambda: tf.linalg.qr(tf.matmul(second, basis))[0],
                ),
            ],
            default=basis.value,
        )
        basis.assign(turned)

    def _to_basis(self, matrix: tf.Tensor) -> tf.Tensor:
        if 0 in self.sides:
            matrix = tf.matmul(self.basis[0], matrix, transpose_a=True)
        return tf.matmul(matrix, self.basis[1]) if 1 in self.sides else matrix

    def _from_basis(self, matrix: tf.Tensor) -> tf.Tensor:
        if 0 in self.sides:
            matrix = tf.matmul(self.basis[0], matrix)
        return tf.matmul(matrix, self.basis[1], transpose_b=True) if 1 in self.sides else matrix


def _variable(value: tf.Tensor) -> tf.Variable:
    return tf.Variable(value, trainable=False)


OPTIMIZERS = {"adam": Optimizer, "muon": Optimizer, "soap": Soap}


def parse_args(arguments: list[str] | None) -> argparse.Namespace:
    parser = training_parser(__doc__)
    parser.add_argument(
        "--optimizers", nargs="+", default=list(OPTIMIZERS), choices=list(OPTIMIZERS), help="default: all"
    )
    return parser.parse_args(arguments)


def training_parser(description: str) -> argparse.ArgumentParser:
    """Returns a parser of the flags of short trainings, which are compared by their validation loss."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawTextHelpFormatter)
    for flag in ("--vgg", "--style", "--content-dir", "--val-dir"):
        parser.add_argument(flag, type=Path, required=True)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="default: 0 1 2")
    parser.add_argument("--steps", type=int, default=600, help="default: 600")
    parser.add_argument("--batch-size", type=int, default=1, help="default: 1")
    parser.add_argument("--image-size", type=int, default=256, help="side of the crops (default: 256 pixels)")
    parser.add_argument("--half-size-share", type=float, default=0.0, help="as in train.py (default: 0)")
    parser.add_argument("--large-size-share", type=float, default=0.0, help="as in train.py (default: 0)")
    parser.add_argument("--val-images", type=int, default=12, help="validation photos (default: 12)")
    parser.add_argument("--val-side", type=int, default=640, help="their longest side (default: 640 pixels)")
    return parser


def build_loss(options: argparse.Namespace) -> Callable:
    """Returns the loss of preset lengstrom."""
    weights, preset = load_vgg_weights(options.vgg), LOSS_PRESETS["lengstrom"]
    loss = build_perceptual_loss(weights, [load_image(options.style)], preset, compute_dtype=tf.bfloat16)
    return loss.with_border()


def build_validation(
    options: argparse.Namespace, loss: Callable
) -> Callable[[Transformer], dict[str, float]]:
    """Returns a function: network -> its mean loss over the photos for settings, by term."""
    compiled_loss = tf.function(loss.with_border(0), reduce_retracing=True)
    paths = list_images([options.val_dir])
    paths = (paths[FIRST_TUNING_PHOTO:] or paths)[: options.val_images]
    images = [load_image(path, max_side=options.val_side) for path in paths]

    def mean_losses(network: Transformer) -> dict[str, float]:
        losses = [compiled_loss(network(image[None]), image[None]) for image in images]
        return {term: float(np.mean([value[term] for value in losses])) for term in TERMS}

    return mean_losses


def trained(
    options: argparse.Namespace, name: str, seed: int, loss: Callable, architecture: Architecture
) -> tuple[Transformer, float]:
    """Returns a network after all steps, and the median seconds of its last steps, all of one size."""
    network = Transformer(architecture, seed=seed, compute_dtype=tf.bfloat16)
    optimizer = OPTIMIZERS[name](
        list(network.parameters.values()),
        kernels=() if name == "adam" else network.hidden_kernels,
        learning_rate=LEARNING_RATE,
        steps=options.steps,
        clip_factor=CLIP_FACTOR,
    )
    crops = CropStream(PhotoFolder(options.content_dir), image_size=options.image_size, seed=seed)
    batches = staged_batches(
        stages_of(options.steps, options.image_size, options.half_size_share, options.large_size_share),
        lambda image, side: crops.batches(options.batch_size, first_image=image, image_size=side),
        options.batch_size,
        step=0,
        images=0,
    )
    step_function, times = build_training_step(network, loss, optimizer), [time.perf_counter()]
    for _, losses in training_steps(step_function, batches, steps=options.steps):
        float(losses["total"])
        times.append(time.perf_counter())
    return network, float(np.median(np.diff(times)[-options.steps // 5 :]))


def main(arguments: list[str] | None = None, *, architecture: Architecture = DEFAULT) -> None:
    options = parse_args(arguments)
    loss = build_loss(options)
    mean_losses = build_validation(options, loss)
    print(f"{'optimizer':>9} {'seed':>5} " + " ".join(f"{term:>9}" for term in TERMS) + f" {'s/step':>7}")
    for name in options.optimizers:
        totals = []
        for seed in options.seeds:
            network, seconds = trained(options, name, seed, loss, architecture)
            means = mean_losses(network)
            totals.append(means["total"])
            values = " ".join(f"{mean:9.3g}" for mean in means.values())
            print(f"{name:>9} {seed:5} {values} {seconds:7.3f}", flush=True)
        print(
            f"{name:>9}  mean {np.mean(totals):9.3g}  spread {np.ptp(totals) / np.mean(totals):.1%}",
            flush=True,
        )


if __name__ == "__main__":
    main()

"""Compares learning rate schedules and moving averages of the weights by their validation loss.

    python benchmarks/schedule_and_average.py --vgg ../shared/vgg19/vgg19_notop.h5 \
        --style ../shared/styles/great_wave.jpg --content-dir ../shared/photos/train --val-dir ../shared/photos/val

Trains several times from one seed on the same crops: with a constant learning rate after the warm-up, with a cosine,
and with the schedule of train.py, which falls linearly at the end. Each is validated with its own weights and with
exponential moving averages of them.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

from data.images import load_image
from data.pipeline import CropStream, PhotoFolder, validation_images
from loss_net.perceptual import build_perceptual_loss
from loss_net.presets import LOSS_PRESETS
from loss_net.weights import load_vgg_weights
from transformer.architecture import Architecture
from transformer.network import Transformer
from transformer.training.hyperparameters import WARMUP_STEPS
from transformer.training.optimizer import Optimizer
from transformer.training.step import build_training_step, training_steps

DECAYS = (0.99, 0.999)
BATCH_SIZE, LEARNING_RATE, CLIP_FACTOR = 2, 2e-3, 10
HALF_WIDTH = Architecture(0.5)
VALIDATION_SIDE = 640  # pixels
Weights = list[np.ndarray]


def parse_args(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for flag in ("--vgg", "--style", "--content-dir", "--val-dir"):
        parser.add_argument(flag, type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--every", type=int, default=250, help="steps between validations (default: 250)")
    parser.add_argument("--val-images", type=int, default=12, help="validation photos (default: 12)")
    parser.add_argument("--image-size", type=int, default=256, help="side of the crops (default: 256 pixels)")
    parser.add_argument(
        "--rates", nargs="+", default=list(OPTIMIZERS), choices=list(OPTIMIZERS), help="schedules to compare"
    )
    return parser.parse_args(arguments)


class ConstantRateOptimizer(Optimizer):
    """The optimizer of train.py without the decay of the learning rate."""

    @property
    def learning_rate(self) -> tf.Tensor:
        return LEARNING_RATE * tf.minimum(
            1.0, (tf.cast(self.variables["steps"], tf.float32) + 1) / WARMUP_STEPS
        )


class CosineOptimizer(Optimizer):
    """The optimizer of train.py with a cosine from the peak to zero (Loshchilov & Hutter 2016) after the warm-up."""

    def __init__(self, *arguments, learning_rate: float, steps: int, **options):
        super().__init__(*arguments, learning_rate=learning_rate, steps=steps, **options)
        warmup_steps = max(1, min(WARMUP_STEPS, steps // 10))
        self._schedule = tf.keras.optimizers.schedules.CosineDecay(
            learning_rate / warmup_steps,
            max(1, steps - warmup_steps),
            warmup_target=learning_rate,
            warmup_steps=warmup_steps,
        )


OPTIMIZERS = {"constant": ConstantRateOptimizer, "cosine": CosineOptimizer, "linear": Optimizer}


class Average:
    """An exponential moving average of weights, which begins as an arithmetic mean."""

    def __init__(self, decay: float, weights: Weights):
        self.decay, self.weights = decay, weights

    def add(self, step: int, weights: Weights) -> None:
        kept = min(self.decay, step / (step + 10))
        self.weights = [kept * old + (1 - kept) * new for old, new in zip(self.weights, weights, strict=True)]


@contextmanager
def exchanged(variables: Sequence[tf.Variable], weights: Weights) -> Iterator[None]:
    """Gives the variables other values for a while."""
    own = [variable.numpy() for variable in variables]
    for variable, value in zip(variables, weights, strict=True):
        variable.assign(value)
    yield
    for variable, value in zip(variables, own, strict=True):
        variable.assign(value)


def validated_training(
    options: argparse.Namespace,
    network: Transformer,
    loss: Callable,
    validate: Callable[[Transformer], float],
    rate: str,
) -> Iterator[tuple[int, list[float]]]:
    """Trains `network`; yields a step and the validation losses of its own weights and of each average."""
    variables = list(network.parameters.values())
    optimizer = OPTIMIZERS[rate](
        variables,
        kernels=network.hidden_kernels,
        learning_rate=LEARNING_RATE,
        steps=options.steps,
        clip_factor=CLIP_FACTOR,
    )
    step_function = build_training_step(network, loss, optimizer)
    averages = [Average(decay, [variable.numpy() for variable in variables]) for decay in DECAYS]
    batches = CropStream(PhotoFolder(options.content_dir), image_size=options.image_size, seed=0)
    for step, _ in training_steps(step_function, batches.batches(BATCH_SIZE), steps=options.steps):
        own = [variable.numpy() for variable in variables]
        for average in averages:
            average.add(step, own)
        if step % options.every == 0:
            totals = []
            for weights in (own, *(average.weights for average in averages)):
                with exchanged(variables, weights):
                    totals.append(validate(network))
            yield step, totals


def main(arguments: list[str] | None = None, *, architecture: Architecture = HALF_WIDTH) -> None:
    options = parse_args(arguments)
    weights, style = load_vgg_weights(options.vgg), load_image(options.style)
    loss = build_perceptual_loss(weights, [style], LOSS_PRESETS["lengstrom"], compute_dtype=tf.bfloat16)
    compiled_loss = tf.function(loss, reduce_retracing=True)
    images = validation_images(options.val_dir, max_images=options.val_images, max_side=VALIDATION_SIDE)

    def validate(network: Transformer) -> float:
        return float(np.mean([compiled_loss(network(image[None]), image[None])["total"] for image in images]))

    names = ("own weights", *(f"average {decay}" for decay in DECAYS))
    print(f"{'rate':>9} {'step':>6} " + " ".join(f"{name:>14}" for name in names), flush=True)
    for rate in options.rates:
        network = Transformer(architecture, compute_dtype=tf.bfloat16)
        for step, totals in validated_training(options, network, loss.with_border(), validate, rate):
            print(f"{rate:>9} {step:6} " + " ".join(f"{total:14.4g}" for total in totals), flush=True)


if __name__ == "__main__":
    main()

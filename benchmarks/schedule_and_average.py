"""Does the falling learning rate help, and would a moving average of the weights? Validation loss as they go.

    python benchmarks/schedule_and_average.py --vgg ../shared/vgg19/vgg19_notop.h5 \
        --style ../shared/styles/great_wave.jpg --content-dir ../shared/photos/train --val-dir ../shared/photos/val

Two trainings from one seed on the same crops, with a constant rate after the warm-up and with the cosine; each is
validated with its own weights and with exponential moving averages of them.
"""

import argparse
import os
import sys
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
from transformer.training.optimizer import WARMUP_STEPS, Optimizer
from transformer.training.step import build_training_step, training_steps

DECAYS = (0.99, 0.999)
BATCH_SIZE, LEARNING_RATE = 2, 2e-3


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for flag in ("--vgg", "--style", "--content-dir", "--val-dir"):
        parser.add_argument(flag, type=Path, required=True)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--every", type=int, default=250, help="steps between validations")
    parser.add_argument("--val-images", type=int, default=12)
    return parser.parse_args()


def constant_rate(step: tf.Tensor) -> tf.Tensor:
    return LEARNING_RATE * tf.minimum(1.0, (tf.cast(step, tf.float32) + 1) / WARMUP_STEPS)


def main() -> None:
    options = parse_args()
    weights = load_vgg_weights(options.vgg)
    loss = build_perceptual_loss(
        weights, [load_image(options.style)], LOSS_PRESETS["lengstrom"], compute_dtype=tf.bfloat16
    )
    compiled_loss = tf.function(loss, reduce_retracing=True)
    val_images = validation_images(options.val_dir, max_images=options.val_images, max_side=640)
    photos = PhotoFolder(options.content_dir)
    names = ("own weights", *(f"average {decay}" for decay in DECAYS))
    print(f"{'rate':>9} {'step':>6} " + " ".join(f"{name:>14}" for name in names), flush=True)
    for rate in ("constant", "cosine"):
        network = Transformer(Architecture(0.5), compute_dtype=tf.bfloat16)
        variables = list(network.parameters.values())
        optimizer = Optimizer(variables, learning_rate=LEARNING_RATE, steps=options.steps, clip_factor=10)
        if rate == "constant":
            optimizer._schedule = constant_rate
        step_function = build_training_step(network, loss, optimizer)
        averages = [[variable.numpy() for variable in variables] for _ in DECAYS]
        batches = CropStream(photos, image_size=256, seed=0).batches(BATCH_SIZE)
        for step, _ in training_steps(step_function, batches, steps=options.steps):
            for average, decay in zip(averages, DECAYS, strict=True):
                kept = min(decay, step / (step + 10))  # an arithmetic mean at first
                for index, variable in enumerate(variables):
                    average[index] = kept * average[index] + (1 - kept) * variable.numpy()
            if step % options.every:
                continue
            own = [variable.numpy() for variable in variables]
            totals = []
            for values in (own, *averages):
                for variable, value in zip(variables, values, strict=True):
                    variable.assign(value)
                terms = [compiled_loss(network(image[None]), image[None])["total"] for image in val_images]
                totals.append(float(np.mean(terms)))
            for variable, value in zip(variables, own, strict=True):
                variable.assign(value)
            print(f"{rate:>9} {step:6} " + " ".join(f"{total:14.4g}" for total in totals), flush=True)


if __name__ == "__main__":
    main()

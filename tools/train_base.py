"""Trains the base: one network of many styles, from which train.py starts a new style.

    python -m tools.train_base --styles ../shared/styles_more --content-dir ../shared/photos/train \
        --vgg ../shared/vgg19/vgg19_notop.h5

Every step trains one style on new crops: the kernels, which all styles share, and the scales, offsets and bias of this
style (Dumoulin et al. 2017, https://arxiv.org/abs/1610.07629). Each pass over the styles has its own random order. The
loss is that of preset balanced, which gives all styles losses of one size. The base is written every --save-every steps
and at the end, and the training continues where it stopped if it is started again.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cli.doors import run_door
from cli.flags import UsageError, report
from cli.train_config import TrainConfig, fast_precision
from loss_net.presets import LOSS_PRESETS
from transformer.architecture import OUTER_KERNELS, Architecture
from transformer.export.base_folder import BASE_DIR, INFO_FILE

PROG = "train_base"
PRESET, HALF_SIZE_SHARE = "balanced", 0.9
STYLE_SIZE = 1024  # pixels
PRECISIONS = ("float32", "bfloat16")  # of the convolutions; the parameters are float32


def parse_args(arguments: list[str] | None) -> argparse.Namespace:
    default = TrainConfig()
    parser = argparse.ArgumentParser(
        prog=PROG, description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--styles", type=Path, required=True, help="folder of style pictures")
    parser.add_argument("--content-dir", type=Path, required=True, help="folder of photos")
    parser.add_argument("--vgg", type=Path, required=True, help="VGG19 weights")
    parser.add_argument(
        "--preset", default=PRESET, choices=list(LOSS_PRESETS), help="of the loss (default: balanced)"
    )
    parser.add_argument("--style-size", type=int, default=STYLE_SIZE, help="longest side of a style picture")
    parser.add_argument("--steps", type=int, default=40_000, help="default: 40000")
    parser.add_argument("--batch-size", type=int, default=1, help="crops of a step (default: 1)")
    parser.add_argument("--image-size", type=int, default=default.image_size, help="side of the crops")
    parser.add_argument(
        "--half-size-share", type=float, default=HALF_SIZE_SHARE, help="as in train.py (default: 0.9)"
    )
    parser.add_argument("--learning-rate", type=float, default=default.learning_rate, help="as in train.py")
    parser.add_argument("--precision", default=fast_precision(), choices=PRECISIONS, help="as in train.py")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--width", type=float, default=default.width, help="as in train.py")
    parser.add_argument("--residual-blocks", type=int, default=default.residual_blocks, help="as in train.py")
    parser.add_argument(
        "--outer-kernel",
        type=int,
        default=default.outer_kernel,
        choices=OUTER_KERNELS,
        help="as in train.py",
    )
    parser.add_argument("--save-every", type=int, default=1000, help="steps between saved states")
    parser.add_argument("--log-dir", type=Path, default=Path("runs/base"), help="folder of the saved states")
    parser.add_argument(
        "--output", type=Path, default=BASE_DIR, help="folder of the base (default: checkpoints/base)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a base that another run has made")
    options = parser.parse_args(arguments)
    for name in ("steps", "batch_size", "image_size", "style_size", "save_every"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, got {getattr(options, name)}")
    if not 0 <= options.half_size_share <= 1:
        parser.error(f"--half-size-share must be between 0 and 1, got {options.half_size_share}")
    try:
        architecture_of(options)
    except ValueError as error:
        parser.error(str(error))
    return options


def architecture_of(options: argparse.Namespace) -> Architecture:
    """The shape of the network."""
    return Architecture(options.width, options.residual_blocks, options.outer_kernel)


def saved_run(options: argparse.Namespace, pictures: list[str]) -> Any:
    """The newest state of this run; None at its start. Raises UsageError for a run or a folder that is another's."""
    from transformer.training.state import newest_state, state_paths

    state_dir, output = options.log_dir / "state", options.output
    saved = newest_state(state_dir) if state_paths(state_dir) else None
    if saved is not None and saved.info["config"]["pictures"] != pictures:
        raise UsageError(
            f"{options.log_dir} belongs to a run with other style pictures; give another --log-dir"
        )
    is_base = (output / INFO_FILE).is_file()
    if output.exists() and not is_base and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"{output} is not a base and is not replaced; give another --output")
    if is_base and saved is None and not options.overwrite:
        raise UsageError(f"{output} is a finished base; give another --output, or --overwrite to replace it")
    return saved


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """The flags as JSON values."""
    return {name: str(value) if isinstance(value, Path) else value for name, value in vars(options).items()}


def names(style_paths: list[Path]) -> list[str]:
    """The names of the styles."""
    return [path.stem for path in style_paths]


class BaseWriter:
    """Takes the place of a `Monitor`: writes the base whenever a training saves its state."""

    is_incomplete = False

    def __init__(self, options: argparse.Namespace, network: Any, style_paths: list[Path]):
        self.options, self.network, self.style_paths = options, network, style_paths
        self.losses: dict[str, float] = {}

    def open(self) -> None:
        """Does nothing: only the base is written."""

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Keeps the newest mean losses for base.json."""
        self.losses = {name: scalars[name] for name in ("total", "content", "style", "tv")}

    def evaluate(self, step: int) -> dict[str, float]:
        """Writes the base after `step`."""
        from transformer.export.base_folder import Base, save_base
        from transformer.export.onnx_graph import with_half_precision

        parameters = {name: variable.numpy() for name, variable in self.network.parameters.items()}
        architecture = self.network.architecture
        base = Base(
            architecture, tuple(names(self.style_paths)), with_half_precision(parameters, architecture)
        )
        save_base(
            self.options.output,
            base,
            {"steps_done": step, "losses": self.losses, "config": settings(self.options)},
        )
        return {}


def build_run(options: argparse.Namespace, style_paths: list[Path]) -> Any:
    """The run, before its first step."""
    import tensorflow as tf

    from data.images import load_image
    from data.pipeline import CropStream, PhotoFolder, photos_digest
    from loss_net.perceptual import build_perceptual_loss
    from loss_net.weights import load_vgg_weights
    from transformer.training.distribution import Cluster
    from transformer.training.many_styles import ManyStyles, style_of_step
    from transformer.training.optimizer import Optimizer
    from transformer.training.run import Plan, Run, state_variables
    from transformer.training.stages import stages_of
    from transformer.training.state import TrainingState
    from transformer.training.step import build_training_step

    compute_dtype, preset = tf.as_dtype(options.precision), LOSS_PRESETS[options.preset]
    network = ManyStyles(
        architecture_of(options), styles=len(style_paths), seed=options.seed, compute_dtype=compute_dtype
    )
    styles = [load_image(path, max_side=options.style_size) for path in style_paths]
    weights = load_vgg_weights(options.vgg, preset.architecture)
    loss = build_perceptual_loss(weights, styles, preset, compute_dtype=compute_dtype).with_border()
    optimizer = Optimizer(
        list(network.parameters.values()),
        kernels=network.hidden_kernels,
        learning_rate=options.learning_rate,
        steps=options.steps,
        clip_factor=TrainConfig().clip_factor,
    )

    def style() -> tf.Tensor:
        return style_of_step(optimizer.variables["steps"], network.styles, options.seed)

    training_step = build_training_step(
        lambda content: network(content, style()),
        lambda stylized, content: loss.for_style(style())(stylized, content),
        optimizer,
    )
    crops = CropStream(PhotoFolder(options.content_dir), image_size=options.image_size, seed=options.seed)
    run = Run(
        Plan(
            stages_of(options.steps, options.image_size, options.half_size_share),
            options.batch_size,
            options.save_every,
            summary_every=50,
        ),
        network=network,
        optimizer=optimizer,
        training_step=training_step,
        batches_from=lambda image, side: crops.batches(
            options.batch_size, first_image=image, image_size=side
        ),
        state=TrainingState(options.log_dir / "state", state_variables(network, optimizer), keep=2),
        monitor=BaseWriter(options, network, style_paths),
        cluster=Cluster(tf.distribute.get_strategy()),
        gflop_per_step=0.0,
        metadata={
            "config": {**settings(options), "pictures": names(style_paths)},
            "photos": photos_digest(crops.photos.paths),
        },
    )
    return run


def train(options: argparse.Namespace) -> int:
    """Trains to the last step, from the newest saved state if there is one; returns the exit status."""
    from cli.bars import steps_bar
    from data.listing import list_images
    from system.signals import EXIT_STATUS, NotedInterrupts
    from system.tensorflow_start import start_tensorflow

    style_paths = list_images([options.styles])
    saved = saved_run(options, names(style_paths))
    device = start_tensorflow(joins_cluster=False)
    run = build_run(options, style_paths)
    run.restore(saved)
    report(PROG, f"{len(style_paths)} styles on {device}, from step {run.progress.step} of {options.steps}")
    bar = steps_bar(total=options.steps, initial=run.progress.step, desc="base")
    with NotedInterrupts() as interrupts, bar:

        def show(step: int, line: str) -> None:
            bar.set_postfix_str(line, refresh=False)
            bar.update(step - bar.n)

        run.train(interrupts, show)
    if not (options.output / INFO_FILE).is_file():  # a finished run with another --output
        BaseWriter(options, run.network, style_paths).evaluate(run.progress.step)
    return EXIT_STATUS.get(interrupts.received, 0)


def expected_errors() -> tuple[type[Exception], ...]:
    """Errors that users can cause: one line on stderr."""
    from data.images import ImageError
    from loss_net.weights import WeightsError
    from transformer.training.state import StateError

    return (ImageError, WeightsError, StateError, OSError, MemoryError, FloatingPointError)


def main(arguments: list[str] | None = None) -> int:
    return run_door(PROG, lambda: parse_args(arguments), train, lambda options: expected_errors())


if __name__ == "__main__":
    sys.exit(main())

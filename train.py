"""Trains a network for one style: `python train.py --style IMAGE --content-dir DIR --name NAME`."""

import argparse
import hashlib
import json
import shutil
import signal
import sys
from collections.abc import Callable, Iterable
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from loss_net.recipes import RECIPES

PREVIEW_SIDE = 512  # pixels, longest side of preview photos
VALIDATION_SIDE = 640  # pixels; photos of MS-COCO keep their size
INTERRUPTED = {"SIGINT": 130, "SIGTERM": 143}  # exit status of a shell command ended by that signal


def knob(help: str, default=None, *, many: bool = False, choices=None, at_least=None, kind=None):
    """A field of TrainConfig: its default, and what the command line says of it."""
    metadata = {"help": help, "many": many, "choices": choices, "at_least": at_least, "kind": kind}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class TrainConfig:
    """One training run: the only home of defaults. Field, flag and JSON key are one name."""

    # what is learnt from what
    style: Path = knob("the style picture", kind=Path)
    content_dir: Path = knob("folder of photographs to train on, searched recursively", kind=Path)
    name: str = knob("name of the style; the result is OUTPUT_DIR/NAME", kind=str)
    vgg: Path = knob(
        "VGG weights: Keras *_notop.h5, MatConvNet .mat or .npz (default: Keras' own download)", kind=Path
    )
    # the loss
    preset: str = knob("loss recipe: layers, weights and normalisations", "lengstrom", choices=tuple(RECIPES))
    content_weight: float = knob("weight of the content loss (default: the preset's)", kind=float, at_least=0)
    style_weight: float = knob("weight of the style loss (default: the preset's)", kind=float, at_least=0)
    tv_weight: float = knob(
        "weight of the total variation loss (default: the preset's)", kind=float, at_least=0
    )
    style_size: int = knob(
        "longest side of the style picture in pixels (default: as it is)", kind=int, at_least=16
    )
    # the network
    width: float = knob("multiplier of the channels; 1 is the network of Johnson et al.", 0.5, at_least=0.1)
    residual_blocks: int = knob("residual blocks in the trunk", 5, at_least=0)
    start_from: str = knob(
        "a finished style, by name or folder, whose weights to start from; a related one saves most of the steps",
        kind=str,
    )
    # the training
    steps: int = knob("updates of the network", 12000, at_least=1)
    batch_size: int = knob("images per step", 2, at_least=1)
    image_size: int = knob("side of the square training crops in pixels", 256, at_least=32)
    learning_rate: float = knob("peak of Adam's learning rate; it falls to 0 as a cosine", 2e-3, at_least=0)
    precision: str = knob(
        "of the convolutions; bfloat16 is faster where the hardware computes in it (3.9 times on a CPU with AMX)",
        "float32",
        choices=("float32", "bfloat16"),
    )
    seed: int = knob("of initial weights, photo order and crops", 0, at_least=0)
    # what is watched
    preview: tuple[Path, ...] = knob("photos shown stylized in TensorBoard", (), many=True, kind=Path)
    val_dir: Path = knob("folder of photographs for the validation loss", kind=Path)
    val_images: int = knob("validation photos, the first by name", 16, at_least=1)
    summary_every: int = knob("steps between scalars in TensorBoard", 50, at_least=1)
    # where it goes
    log_dir: Path = knob("folder for TensorBoard and the training state (default: runs/NAME)", kind=Path)
    output_dir: Path = knob("folder that holds the finished styles", Path("checkpoints"), kind=Path)
    save_every: int = knob("steps between saved states, previews and validations", 500, at_least=1)
    # what style.json says of the picture
    style_source: str = knob("where the style picture comes from, for style.json", "", kind=str)
    style_license: str = knob("licence of the style picture, for style.json", "", kind=str)


def parse_args(arguments: list[str] | None = None) -> tuple[TrainConfig, argparse.Namespace]:
    """The configuration, and the flags that belong to this call only: config, resume, overwrite.

    Defaults come from TrainConfig, then --config, then the flags; later ones win.
    """
    parser = argparse.ArgumentParser(
        prog="train.py", description="Train a fast style transfer network for one style picture."
    )
    for option in fields(TrainConfig):
        _add_flag(parser, option)
    parser.add_argument("--config", type=Path, help="JSON written by a former run; flags override it")
    parser.add_argument("--resume", action="store_true", help="go on from the state in LOG_DIR")
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a finished style or an old run of this name"
    )
    options = parser.parse_args(arguments)
    names = [option.name for option in fields(TrainConfig)]
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not MISSING}
    try:
        config = _checked(replace(TrainConfig(), **{**_read_config(options.config), **given}))
    except ValueError as error:
        parser.error(str(error))
    return config, options


def _add_flag(parser: argparse.ArgumentParser, option) -> None:
    about = option.metadata
    default = option.default
    suffix = f" (default: {default})" if default not in (None, (), "") else ""
    parser.add_argument(
        f"--{option.name.replace('_', '-')}",
        type=about["kind"] or type(default),
        default=MISSING,  # told apart from a value that happens to equal the default
        choices=about["choices"],
        nargs="+" if about["many"] else None,
        metavar=None if about["choices"] else option.name.upper(),
        help=about["help"] + suffix,
    )


def _read_config(path: Path | None) -> dict:
    if path is None:
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"--config {path}: cannot be read as JSON ({error})") from error
    if not isinstance(values, dict):
        raise ValueError(f"--config {path}: must hold a JSON object, got {type(values).__name__}")
    values = values.get("config", values)  # a style.json holds it beside other things
    known = {option.name: option for option in fields(TrainConfig)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(f"--config {path}: unknown key {', '.join(unknown)}; known are {', '.join(known)}")
    return {name: _from_json(path, known[name], value) for name, value in values.items()}


def _from_json(path: Path, option, value):
    kind, many = option.metadata["kind"] or type(option.default), option.metadata["many"]
    if value is None and option.default is None:
        return None
    expected = {Path: str, float: (int, float)}.get(kind, kind)
    items = value if many and isinstance(value, list) else [value]
    fits = isinstance(value, list) == many and all(
        isinstance(item, expected) and not isinstance(item, bool) for item in items
    )
    if not fits:
        wanted = f"{'a list of ' if many else ''}{kind.__name__}"
        raise ValueError(f"--config {path}: {option.name} must be {wanted}, got {json.dumps(value)}")
    return tuple(kind(item) for item in items) if many else kind(value)


def _checked(config: TrainConfig) -> TrainConfig:
    """The configuration with everything derived filled in; ValueError for a value that is not allowed."""
    for name in ("style", "content_dir", "name"):
        if getattr(config, name) is None:
            raise ValueError(f"--{name.replace('_', '-')} is required, here or in --config")
    if not config.name or config.name.startswith(".") or Path(config.name).name != config.name:
        raise ValueError(f"--name must be a plain folder name, got {config.name!r}")
    for option in fields(config):
        least, value = option.metadata["at_least"], getattr(config, option.name)
        if least is not None and value is not None and not least <= value < float("inf"):
            raise ValueError(f"--{option.name.replace('_', '-')} must be at least {least}, got {value}")
        allowed = option.metadata["choices"]
        if allowed and value not in allowed:
            raise ValueError(
                f"--{option.name.replace('_', '-')} must be one of {', '.join(allowed)}, got {value!r}"
            )
    recipe = RECIPES[config.preset]
    weights = {
        name: getattr(recipe, name) if getattr(config, name) is None else getattr(config, name)
        for name in ("content_weight", "style_weight", "tv_weight")
    }
    log_dir = config.log_dir or Path("runs") / config.name
    return replace(config, log_dir=log_dir, preview=tuple(config.preview), **weights)


def config_json(config: TrainConfig) -> dict:
    """The configuration as JSON values; `--config` reads it back."""
    return json.loads(json.dumps(asdict(config), default=str))


def check_inputs(config: TrainConfig, *, resume: bool, overwrite: bool) -> None:
    """Everything that the run needs and that can be known before TensorFlow is imported.

    Raises ImageError, WeightsError, StyleError, FileExistsError and other OSErrors, one line each.
    """
    from data.images import list_images, load_image
    from loss_net.weights import check_vgg_source
    from transformer.style_folder import find_style

    check_vgg_source(config.vgg, RECIPES[config.preset].architecture)
    list_images([config.content_dir])
    for path in (config.style, *config.preview):
        load_image(path)
    if config.val_dir is not None:
        list_images([config.val_dir])
    if config.start_from is not None:
        find_style(config.start_from)
    style_dir, state_dir = config.output_dir / config.name, config.log_dir / "state"
    if style_dir.exists() and not overwrite:
        raise FileExistsError(f"{style_dir}: exists; give another --name, or --overwrite to replace it")
    if resume and not (state_dir / "checkpoint").is_file():
        raise FileNotFoundError(f"{state_dir}: holds no training state to resume; start without --resume")
    if (state_dir / "checkpoint").is_file() and not (resume or overwrite):
        raise FileExistsError(
            f"{state_dir}: holds the state of an earlier run; go on with --resume, or --overwrite it"
        )
    for folder in (config.output_dir, config.log_dir):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink()


def clear_former_run(config: TrainConfig) -> None:
    """Removes the state and the TensorBoard events that an earlier run of this name has left."""
    shutil.rmtree(config.log_dir / "state", ignore_errors=True)
    for events_path in config.log_dir.glob("events.out.tfevents.*"):
        events_path.unlink()


def train(config: TrainConfig, *, resume: bool) -> int:
    """Trains, watches and exports one style; the exit status: 0, or 130/143 where a signal ended it early."""
    from transformer.quiet_start import start_tensorflow

    device = start_tensorflow()
    run = _build_run(config, resume=resume)
    with Interrupts() as interrupts:
        last_step, means = _train_steps(config, run, interrupts, title=f"{config.name} on {device}")
    if interrupts.received:
        resumable = f"{interrupts.received} at step {last_step}; state saved, go on with --resume"
        print(f"train.py: {resumable}", file=sys.stderr)
        return INTERRUPTED[interrupts.received]
    _export(config, run, means)
    return 0


@dataclass(frozen=True)
class Run:
    """What one training works with."""

    network: Any  # transformer.network.Transformer; not imported, for TensorFlow comes last
    training_step: Callable
    state: Any  # transformer.checkpoint.TrainingState
    first_step: int  # steps done before this call
    batches: Iterable
    skipped: Any  # data.pipeline.SkippedFiles
    watch: "Watch"


def _build_run(config: TrainConfig, *, resume: bool) -> Run:
    import tensorflow as tf

    from data.pipeline import content_batches
    from transformer.architecture import Architecture
    from transformer.checkpoint import TrainingState, load_parameters
    from transformer.network import Transformer
    from transformer.style_folder import find_style
    from transformer.training import build_optimizer, build_training_step

    compute_dtype = tf.as_dtype(config.precision)
    loss = _build_loss(config, compute_dtype)
    architecture = Architecture(config.width, config.residual_blocks)
    network = Transformer(architecture, seed=config.seed, compute_dtype=compute_dtype)
    optimizer = build_optimizer(config.learning_rate, config.steps)
    training_step = build_training_step(network, loss, optimizer)
    state = TrainingState(config.log_dir / "state", network, optimizer)
    if config.start_from is not None and not resume:
        load_parameters(find_style(config.start_from), network)
    first_step = state.restore() if resume else 0
    batches, skipped = content_batches(
        config.content_dir,
        image_size=config.image_size,
        batch_size=config.batch_size,
        seed=config.seed,
        first_step=first_step,
    )
    return Run(network, training_step, state, first_step, batches, skipped, Watch(config, network, loss))


def _train_steps(
    config: TrainConfig, run: Run, interrupts: "Interrupts", title: str
) -> tuple[int, dict[str, float]]:
    """Trains to the last step or an interrupt; the step reached, and the latest mean losses."""
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    from transformer.summaries import RunningMeans
    from transformer.training import check_finite, training_steps

    means, latest, step = RunningMeans(), {}, run.first_step
    images, images_done = config.steps * config.batch_size, run.first_step * config.batch_size
    with logging_redirect_tqdm(), tqdm(total=images, initial=images_done, unit="img", desc=title) as bar:
        for step, losses in training_steps(
            run.training_step, run.batches, steps=config.steps, first_step=run.first_step
        ):
            means.add(losses)
            bar.update(config.batch_size)
            if step % config.summary_every == 0 or step == config.steps:
                latest = means.flush(config.batch_size)
                bar.set_postfix_str(f"loss {latest['total']:.4g}")
                run.watch.losses(step, latest)
            is_due = step % config.save_every == 0 or step == config.steps
            if not (is_due or interrupts.received):
                continue
            check_finite(step, losses)  # a broken state must not replace a whole one
            with means.clock_stopped():
                run.state.save(step)
                if interrupts.received:
                    break
                run.watch.pictures(step)
    return step, latest


def _build_loss(config: TrainConfig, compute_dtype):
    from data.images import load_image
    from loss_net.perceptual import build_perceptual_loss
    from loss_net.weights import load_vgg_weights

    recipe = replace(
        RECIPES[config.preset],
        content_weight=config.content_weight,
        style_weight=config.style_weight,
        tv_weight=config.tv_weight,
    )
    weights = load_vgg_weights(config.vgg, recipe.architecture)
    style = load_image(config.style, max_side=config.style_size)
    return build_perceptual_loss(weights, [style], recipe, compute_dtype=compute_dtype)


class Interrupts:
    """Within it SIGINT and SIGTERM are noted in `received` instead of ending the process between two files."""

    def __init__(self):
        self.received = ""

    def __enter__(self):
        self._former = {name: signal.signal(getattr(signal, name), self._note) for name in INTERRUPTED}
        return self

    def __exit__(self, *_):
        for name, handler in self._former.items():
            signal.signal(getattr(signal, name), handler)

    def _note(self, number, _frame):
        if self.received:  # the second Ctrl-C is meant
            raise KeyboardInterrupt
        self.received = signal.Signals(number).name


class Watch:
    """What TensorBoard shows of a run: losses, preview photos, validation loss, graph and configuration."""

    def __init__(self, config: TrainConfig, network, loss):
        import tensorflow as tf

        from data.images import load_image
        from data.pipeline import validation_images
        from transformer.summaries import TrainingSummaries

        images = tf.TensorSpec([1, None, None, 3], tf.float32)
        self._stylize = tf.function(network, input_signature=[images])
        self._loss = tf.function(loss, input_signature=[images, images])
        photos = {str(path): load_image(path, max_side=PREVIEW_SIDE) for path in config.preview}
        shortened = {Path(name).stem: photo for name, photo in photos.items()}
        self._previews = shortened if len(shortened) == len(photos) else photos  # two may share a stem
        self._val_images = []
        if config.val_dir is not None:
            self._val_images = validation_images(
                config.val_dir, max_images=config.val_images, max_side=VALIDATION_SIDE
            )
        self.validation: dict[str, float] = {}
        text = json.dumps(config_json(config), indent=2) + "\n"
        (config.log_dir / "config.json").write_text(text, encoding="utf-8")  # --config reads it
        self._summaries = TrainingSummaries(config.log_dir)
        self._summaries.write_config(config_json(config))
        self._summaries.write_graph(self._stylize.get_concrete_function())

    def losses(self, step: int, means: dict[str, float]) -> None:
        """Scalars of the training loss."""
        self._summaries.write_losses(step, means)

    def pictures(self, step: int) -> None:
        """Previews, and the validation loss where there are validation photos."""
        import numpy as np

        if self._previews:
            stylized = [self._stylize(photo[np.newaxis])[0].numpy() for photo in self._previews.values()]
            self._summaries.write_previews(
                step, list(self._previews), list(self._previews.values()), stylized
            )
        if self._val_images:
            batches = [image[np.newaxis] for image in self._val_images]
            terms = [self._loss(self._stylize(images), images) for images in batches]
            self.validation = {name: float(np.mean([term[name] for term in terms])) for name in terms[0]}
            self._summaries.write_validation(step, self.validation)


def _export(config: TrainConfig, run: Run, means: dict[str, float]) -> None:
    from importlib.metadata import version

    from data.images import list_images
    from transformer.checkpoint import export_style

    style_dir = config.output_dir / config.name
    photos = len(list_images([config.content_dir]))
    info = {
        "name": config.name,
        "config": config_json(config),
        "style_picture": {
            "file": config.style.name,
            "sha256": hashlib.sha256(config.style.read_bytes()).hexdigest(),
            "source": config.style_source,
            "license": config.style_license,
        },
        "training_data": {"folder": config.content_dir.name, "photos": photos, "skipped": len(run.skipped)},
        "losses": {"training": means, "validation": run.watch.validation},
        "versions": {name: version(name) for name in ("tensorflow", "keras", "numpy", "onnx")},
    }
    export_style(style_dir, run.network, info)
    print(f"train.py: {style_dir} is ready: python infer.py PHOTO --style {style_dir}", file=sys.stderr)


def main(arguments: list[str] | None = None) -> int:
    """The door: flags in, exit status out."""
    config, options = parse_args(arguments)
    from data.images import ImageError
    from loss_net.weights import WeightsError
    from transformer.style_folder import StyleError

    try:
        check_inputs(config, resume=options.resume, overwrite=options.overwrite)
        if not options.resume:
            clear_former_run(config)
        return train(config, resume=options.resume)
    except (ImageError, WeightsError, StyleError, OSError, FloatingPointError) as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before the first step; later ones are noted by Interrupts
        return INTERRUPTED["SIGINT"]


if __name__ == "__main__":
    sys.exit(main())

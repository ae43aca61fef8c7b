"""Trains a network for one style: `python train.py --style IMAGE --content-dir DIR --name NAME`."""

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from loss_net.recipes import RECIPES
from system.signals import EXIT_STATUS, Interrupted, NotedInterrupts
from transformer.export.style_folder import StyleError

PREVIEW_SIDE = 512  # pixels, longest side of preview photos
VALIDATION_SIDE = 640  # pixels; photos of MS-COCO keep their size
CACHE_DETAIL = 2  # short side of cached photos in crops: their smallest crop is half of what is seen
NEVER_CHANGED = ("width", "residual_blocks")  # by --resume: they are what the saved weights are of
GRID_FACTORS = (1 / 16, 1 / 4, 1, 4, 16)  # of the style weight, in --preview-grid
GRID_PHOTOS = 3  # of --preview, else of --val-dir or --content-dir
GRID_SIDE = 320  # pixels, longest side of the pictures on the sheet
GRID_ITERATIONS = 40  # of the slow method, by L-BFGS; more change little but time


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
    batch_size: int = knob("images per step, of all GPUs and machines together", 2, at_least=1)
    image_size: int = knob("side of the square training crops in pixels", 256, at_least=32)
    learning_rate: float = knob("peak of Adam's learning rate; it falls to 0 as a cosine", 2e-3, at_least=0)
    precision: str = knob(
        "of the convolutions; bfloat16 is faster where the hardware computes in it (about 4 times on a CPU with AMX);"
        " float64, slow, is for comparing runs",
        "float32",
        choices=("float32", "bfloat16", "float64"),
    )
    clip_factor: float = knob(
        "gradients longer than so many times their running mean are shortened to that; 0: none is",
        10.0,
        at_least=0,
    )
    xla: bool = knob("compile the step with XLA: try it on a GPU; on CPUs it is slower", False)
    cache: Path = knob("folder to keep decoded photos in, for trainings that follow", kind=Path)
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
    keep: int = knob("saved states that are kept", 3, at_least=1)
    # what style.json says of the picture
    style_source: str = knob("where the style picture comes from, for style.json", "", kind=str)
    style_license: str = knob("licence of the style picture, for style.json", "", kind=str)


class ClusterError(Exception):
    """A setting or TF_CONFIG that does not fit the machines it is used on."""


def parse_args(arguments: list[str] | None = None) -> tuple[TrainConfig, argparse.Namespace]:
    """The configuration, and what belongs to this call only: resume, overwrite, preview_grid, saved.

    Defaults come from TrainConfig, then the run that --resume goes on with, then --config, then the flags; later
    ones win. `saved` is that run's state: None without --resume, or where there is none yet.
    """
    parser = _build_parser()
    options = parser.parse_args(arguments)
    from transformer.training.state import StateError

    names = [option.name for option in fields(TrainConfig)]
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not MISSING}
    try:
        given = {**_read_config(options.config), **given}
        if options.preview_grid is not None and given.get("style") is not None:
            given.setdefault("name", given["style"].stem)
        options.saved = _saved_run(given, options.resume) if options.resume else None
        former = _known_settings("the saved state", options.saved.info["config"]) if options.saved else {}
        config = _checked(replace(TrainConfig(), **{**former, **given}))
        _check_grid_weights(options)
    except (
        StateError,
        StyleError,
        ClusterError,
    ) as error:  # in the saved state or the environment, not in the flags
        print(f"train.py: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    except ValueError as error:
        parser.error(str(error))
    return config, options


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="train.py", description="Train a fast style transfer network for one style picture."
    )
    for option in fields(TrainConfig):
        _add_flag(parser, option)
    parser.add_argument("--config", type=Path, help="JSON written by a former run; flags override it")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="always",
        choices=("always", "auto"),
        help="go on from the state in LOG_DIR, with that run's settings where no flag is given;"
        " auto: start from the beginning if there is none, so that one command serves both",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace a finished style or an old run of this name"
    )
    parser.add_argument(
        "--preview-grid",
        nargs="?",
        type=Path,
        const=Path(),
        metavar="SHEET.png",
        help="instead of training, show what several style weights would give"
        " (default: LOG_DIR/preview_grid.png)",
    )
    parser.add_argument(
        "--grid-weights", nargs="+", type=float, metavar="WEIGHT", help="the style weights of --preview-grid"
    )
    return parser


def _saved_run(given: dict, resume: str) -> Any:
    """The state that --resume goes on from; StyleError if there is none, or all are damaged.

    None where there need be none: for "auto", and for a worker that is not the chief, who sends it.
    """
    from transformer.training.state import newest_state, state_paths

    log_dir = given.get("log_dir") or (Path("runs") / given["name"] if given.get("name") else None)
    if log_dir is None:
        raise ValueError("--resume needs the --name or the --log-dir of the run")
    may_start = resume == "auto" or not _is_chief()
    return None if may_start and not state_paths(log_dir / "state") else newest_state(log_dir / "state")


def _check_grid_weights(options: argparse.Namespace) -> None:
    if options.grid_weights and options.preview_grid is None:
        raise ValueError("--grid-weights needs --preview-grid")
    for weight in options.grid_weights or ():
        if not 0 <= weight < float("inf"):
            raise ValueError(f"--grid-weights must be at least 0, got {weight}")


def _add_flag(parser: argparse.ArgumentParser, option) -> None:
    about = option.metadata
    default = option.default
    flag = f"--{option.name.replace('_', '-')}"
    if isinstance(default, bool):
        parser.add_argument(
            flag,
            action=argparse.BooleanOptionalAction,
            default=MISSING,
            help=f"{about['help']} (default: no)",
        )
        return
    suffix = f" (default: {default})" if default not in (None, (), "") else ""
    parser.add_argument(
        flag,
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
    return _known_settings(f"--config {path}", values)


def _known_settings(source: str, values: dict) -> dict:
    """JSON values as those of TrainConfig; ValueError names `source` and the first that does not fit."""
    known = {option.name: option for option in fields(TrainConfig)}
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ValueError(f"{source}: unknown key {', '.join(unknown)}; known are {', '.join(known)}")
    return {name: _from_json(source, known[name], value) for name, value in values.items()}


def _from_json(source: str, option, value):
    kind, many = option.metadata["kind"] or type(option.default), option.metadata["many"]
    if value is None and option.default is None:
        return None
    expected = {Path: str, float: (int, float)}.get(kind, kind)
    items = value if many and isinstance(value, list) else [value]
    fits = isinstance(value, list) == many and all(
        isinstance(item, expected) and isinstance(item, bool) == (kind is bool) for item in items
    )
    if not fits:
        wanted = f"{'a list of ' if many else ''}{kind.__name__}"
        raise ValueError(f"{source}: {option.name} must be {wanted}, got {json.dumps(value)}")
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


def check_inputs(config: TrainConfig) -> None:
    """Everything that is read, as far as can be known before TensorFlow is imported.

    Raises ImageError, WeightsError, StyleError and other OSErrors, one line each.
    """
    from data.images import list_images, load_image
    from loss_net.weights import check_vgg_source
    from transformer.export.style_folder import find_style

    check_vgg_source(config.vgg, RECIPES[config.preset].architecture)
    list_images([config.content_dir])
    for path in (config.style, *config.preview):
        load_image(path)
    if config.val_dir is not None:
        list_images([config.val_dir])
    if config.start_from is not None:
        find_style(config.start_from)


def check_targets(config: TrainConfig, options: argparse.Namespace) -> None:
    """Everything that is written, likewise. Raises FileExistsError and other OSErrors."""
    from transformer.training.state import state_paths

    style_dir, state_dir = config.output_dir / config.name, config.log_dir / "state"
    if style_dir.exists() and not options.overwrite:
        raise FileExistsError(f"{style_dir}: exists; give another --name, or --overwrite to replace it")
    if state_paths(state_dir) and not (options.resume or options.overwrite):
        raise FileExistsError(
            f"{state_dir}: holds the state of an earlier run; go on with --resume, or --overwrite it"
        )
    for folder in (config.output_dir, config.log_dir):
        _check_writable(folder)


def _check_writable(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".writable").touch()
    (folder / ".writable").unlink()


def changed_settings(config: TrainConfig, saved: Any) -> Iterator[str]:
    """A line for every setting that is not what `saved` was trained with; StyleError for one that must be."""
    former = _known_settings("the saved state", saved.info["config"])
    for name, old in former.items():
        new, flag = getattr(config, name), f"--{name.replace('_', '-')}"
        if new == old:
            continue
        if name in NEVER_CHANGED:
            raise StyleError(
                f"{saved.path}: was trained with {flag} {old}, got {new}; resume with {flag} {old}, or start"
                " another run"
            )
        if name == "start_from":
            yield f"{flag} is {new}, was {old}: without effect, the saved weights are gone on with"
        else:
            yield f"{flag} is {new}, was {old}: the new value holds from step {saved.step} on"


def _is_chief() -> bool:
    if "TF_CONFIG" not in os.environ:
        return True  # without importing TensorFlow
    from transformer.training.cluster_config import cluster_of_environment

    try:
        return cluster_of_environment()[0] == 0
    except ValueError as error:
        raise ClusterError(str(error)) from error


def train(config: TrainConfig, saved: Any = None) -> int:
    """Trains, watches and exports one style, from `saved` if that is given; the exit status: 0, or 130/143.

    Where the process is one of several workers and another is lost, it starts itself anew and waits for that.
    """
    from system.tensorflow_start import start_tensorflow

    joins = "TF_CONFIG" in os.environ
    device = start_tensorflow(joins_cluster=joins)
    from transformer.training.distribution import LOST_WORKER, join_cluster
    from transformer.training.log_folder import clear_log_dir

    cluster = join_cluster()
    if config.batch_size % cluster.replicas:
        raise ClusterError(
            f"--batch-size must be a multiple of {cluster.replicas}, the number of GPUs or workers, got"
            f" {config.batch_size}"
        )
    with cluster.strategy.scope():
        run, crops = _build_run(config, cluster, is_resumed=saved is not None)
    if saved is None and cluster.is_chief:
        clear_log_dir(config.log_dir)  # only now: whatever can fail has been built
    run.restore(saved)
    if saved is not None and saved.info["photos"] != run.metadata["photos"]:
        print("train.py: the photos are not those of the run so far: their order is another", file=sys.stderr)
    first_step = run.progress.step
    if cluster.is_chief:
        _say_what_is_coming(config, run, cluster, device)
    with NotedInterrupts() as interrupts:
        try:
            _train_under_a_bar(config, run, interrupts, title=f"{config.name} on {device}")
        except LOST_WORKER:
            if cluster.workers == 1 or run.progress.step == first_step:
                raise
            _start_anew()
    if interrupts.received:
        step, kept = run.progress.step, "state saved,"
        if run.saved_step != step:
            kept = (
                f"the state of step {run.saved_step} is the newest one (the last steps were skipped: loss or"
                " gradient not finite);"
            )
        print(
            f"train.py: {interrupts.received} at step {step}; {kept} continue with --resume", file=sys.stderr
        )
        return EXIT_STATUS[interrupts.received]
    if cluster.is_chief:
        _export(config, run, crops)
    cluster.wait_for_all()
    return 0


def _start_anew() -> None:
    """Replaces this process by the same command with --resume; it then waits until all workers are there."""
    print("train.py: a worker was lost; waiting for it to come back", file=sys.stderr, flush=True)
    resume = [] if any(part.startswith("--resume") for part in sys.argv) else ["--resume=auto"]
    os.execv(sys.executable, [*sys.orig_argv, *resume])


def _build_run(config: TrainConfig, cluster: Any, *, is_resumed: bool) -> tuple[Any, Any]:
    """The run, before its first step, and the stream of its crops."""
    import tensorflow as tf

    from data.pipeline import CropStream, Share, photos_digest
    from transformer.architecture import Architecture
    from transformer.export.finished_style import load_parameters
    from transformer.export.style_folder import find_style
    from transformer.network import Transformer
    from transformer.training.optimizer import Optimizer
    from transformer.training.run import Plan, Run, state_variables
    from transformer.training.state import TrainingState
    from transformer.training.step import build_training_step

    compute_dtype = tf.as_dtype(config.precision)
    loss = _build_loss(config, compute_dtype)
    network = Transformer(
        Architecture(config.width, config.residual_blocks), seed=config.seed, compute_dtype=compute_dtype
    )
    optimizer = Optimizer(
        list(network.parameters.values()),
        learning_rate=config.learning_rate,
        steps=config.steps,
        clip_factor=config.clip_factor,
    )
    if config.start_from is not None and not is_resumed:
        load_parameters(find_style(config.start_from), network)
    photos = _photos(config)
    crops = CropStream(photos, image_size=config.image_size, seed=config.seed)
    share = Share(cluster.worker, cluster.workers, cluster.local_replicas)
    run = Run(
        Plan(config.steps, config.batch_size, config.save_every, config.summary_every),
        network=network,
        optimizer=optimizer,
        training_step=build_training_step(
            network, loss, optimizer, strategy=cluster.strategy, xla=config.xla
        ),
        batches_from=lambda image: cluster.distributed(
            crops.batches(config.batch_size, first_image=image, share=share)
        ),
        state=TrainingState(
            config.log_dir / "state",
            state_variables(network, optimizer),
            keep=config.keep,
            is_writer=cluster.is_chief,
        ),
        monitor=_build_monitor(config, network, loss) if cluster.is_chief else None,
        cluster=cluster,
        gflop_per_step=_gflop_per_step(config, network, loss),
        metadata={"config": config_json(config), "photos": photos_digest(photos.paths)},
    )
    return run, crops


def _gflop_per_step(config: TrainConfig, network: Any, loss: Any) -> float:
    """Of the convolutions; the network is passed once forward and twice backward."""
    network_passes = 3 * network.architecture.multiply_adds(config.image_size, config.image_size)
    return 2e-9 * config.batch_size * (network_passes + loss.multiply_adds(config.image_size))


def _build_monitor(config: TrainConfig, network: Any, loss: Any) -> Any:
    """What TensorBoard shows of the training; no file is written yet."""
    from data.images import load_image
    from data.pipeline import validation_images
    from transformer.training.monitor import Monitor

    previews = {str(path): load_image(path, max_side=PREVIEW_SIDE) for path in config.preview}
    val_images = []
    if config.val_dir is not None:
        val_images = validation_images(config.val_dir, max_images=config.val_images, max_side=VALIDATION_SIDE)
    return Monitor(
        config.log_dir,
        network,
        loss,
        photos=_shortened(previews),
        val_images=val_images,
        config=config_json(config),
    )


def _shortened(previews: dict[str, Any]) -> dict[str, Any]:
    by_stem = {Path(name).stem: photo for name, photo in previews.items()}
    return by_stem if len(by_stem) == len(previews) else previews  # two may share a stem


def _photos(config: TrainConfig) -> Any:
    """The photos to train on: of the folder, or of the cache, which is filled first."""
    from data.pipeline import PhotoFolder

    folder = PhotoFolder(config.content_dir)
    if config.cache is None:
        return folder
    from tqdm import tqdm

    from data.photo_cache import SKIPPED_FILE, PhotoCache
    from system.machine import available_cores

    cache = PhotoCache(config.cache, folder.paths, CACHE_DETAIL * config.image_size)
    missing = len(cache.missing)
    with tqdm(total=missing, unit="photo", desc="packing photos", disable=not missing) as bar:
        for done in cache.pack(threads=available_cores()):
            bar.update(done - bar.n)
    skipped = len(cache.unreadable)
    if skipped:
        print(f"train.py: {skipped} files skipped, see {config.cache / SKIPPED_FILE}", file=sys.stderr)
    return cache


def _say_what_is_coming(config: TrainConfig, run: Any, cluster: Any, device: str) -> None:
    """Before the first step: how large the network and its steps are, and what memory they will take."""
    from system.machine import available_memory
    from transformer.training.pace import bytes_needed

    parameters = sum(variable.shape.num_elements() for variable in run.network.parameters.values())
    needed = bytes_needed(
        width=config.width,
        image_size=config.image_size,
        batch_size=config.batch_size // cluster.replicas,
        bytes_per_value={"bfloat16": 2, "float32": 4, "float64": 8}[config.precision],
    )
    free = f", {available_memory() / 1e9:.1f} GB free" if device == "CPU" else " of the GPU"
    spread = f"; {cluster.replicas} replicas in {cluster.workers} workers" if cluster.replicas > 1 else ""
    print(
        f"train.py: {parameters:,} parameters, {run.gflop_per_step:.3g} GFLOP a step, some"
        f" {needed / 1e9:.1f} GB of memory{free}{spread}",
        file=sys.stderr,
    )


def _train_under_a_bar(config: TrainConfig, run: Any, interrupts: NotedInterrupts, title: str) -> None:
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    total = config.steps * config.batch_size
    bar = tqdm(total=total, initial=run.progress.step * config.batch_size, unit="img", desc=title)
    with logging_redirect_tqdm(), bar:

        def show(step: int, line: str) -> None:
            bar.set_postfix_str(line, refresh=False)
            bar.update(step * config.batch_size - bar.n)

        run.train(interrupts, show)


def _build_loss(config: TrainConfig, compute_dtype):
    from data.images import load_image
    from loss_net.perceptual import build_perceptual_loss
    from loss_net.weights import load_vgg_weights

    recipe = _recipe(config)
    weights = load_vgg_weights(config.vgg, recipe.architecture)
    style = load_image(config.style, max_side=config.style_size)
    return build_perceptual_loss(weights, [style], recipe, compute_dtype=compute_dtype)


def _recipe(config: TrainConfig):
    return replace(
        RECIPES[config.preset],
        content_weight=config.content_weight,
        style_weight=config.style_weight,
        tv_weight=config.tv_weight,
    )


def _style_info(config: TrainConfig, run: Any, crops: Any) -> dict:
    """What style.json says."""
    from importlib.metadata import version

    return {
        "name": config.name,
        "config": config_json(config),
        "style_picture": {
            "file": config.style.name,
            "sha256": hashlib.sha256(config.style.read_bytes()).hexdigest(),
            "source": config.style_source,
            "license": config.style_license,
        },
        "training_data": {
            "folder": config.content_dir.name,
            "photos": len(crops.photos.paths),
            "skipped": crops.unreadable,
        },
        "steps": {
            "done": run.progress.step,
            "skipped": run.optimizer.value("skipped"),
            "rollbacks": run.progress.rollbacks,
        },
        "losses": {
            "training": run.progress.losses,
            "validation": run.progress.validation,
            "best_validation": run.progress.best_validation,
        },
        "versions": {name: version(name) for name in ("tensorflow", "keras", "numpy", "onnx")},
    }


def _export(config: TrainConfig, run: Any, crops: Any) -> None:
    from transformer.export.finished_style import export_style
    from transformer.training.pace import peak_memory_bytes

    style_dir = config.output_dir / config.name
    skipped_steps = run.optimizer.value("skipped")
    try:
        export_style(style_dir, run.network, _style_info(config, run, crops))
    except OSError as error:
        reason = error.strerror or error
        raise OSError(
            f"{style_dir}: cannot be written ({reason}); the training is done and its state whole: make room,"
            " then --resume"
        ) from error
    said = [f"{skipped_steps} steps were skipped as not finite"] if skipped_steps else []
    said += [f"{crops.unreadable} files could not be read"] if crops.unreadable else []
    peak = peak_memory_bytes()
    said += [f"peak memory {peak / 1e9:.2f} GB"] if peak else []
    print(f"train.py: {'; '.join(said)}", file=sys.stderr)
    print(f"train.py: {style_dir} is ready: python infer.py PHOTO --style {style_dir}", file=sys.stderr)


def _last_image(steps: Iterator, bar: Any) -> Any:
    """Of the slow method, whose progress goes to the bar; L-BFGS may end early."""
    end, step, last = bar.n + GRID_ITERATIONS, 0, None
    for now, _, image in steps:
        bar.update(now - step)
        step, last = now, image
    bar.update(end - bar.n)
    return last


def preview_grid(config: TrainConfig, sheet_path: Path, weights: tuple[float, ...]) -> int:
    """Writes a sheet of photos stylized by the slow method at each style weight, and shows it in TensorBoard."""
    from system.tensorflow_start import start_tensorflow

    start_tensorflow()
    import tensorflow as tf
    from tqdm import tqdm

    from data.contact_sheet import contact_sheet
    from data.images import list_images, load_image, save_image
    from data.pipeline import readable_images
    from loss_net.optimize import optimize_image
    from loss_net.perceptual import build_perceptual_loss
    from loss_net.weights import load_vgg_weights
    from transformer.training.summaries import TrainingSummaries

    recipe = replace(_recipe(config), optimizer="lbfgs", iterations=GRID_ITERATIONS)
    vgg_weights = load_vgg_weights(config.vgg, recipe.architecture)
    style = load_image(config.style, max_side=config.style_size)
    paths = config.preview or list_images([config.val_dir or config.content_dir])
    readable = readable_images(paths, max_images=GRID_PHOTOS, max_side=GRID_SIDE)
    photos = _shortened({str(path): photo for path, photo in readable.items()})
    rows = {name: [photo] for name, photo in photos.items()}
    with tqdm(total=len(photos) * len(weights) * GRID_ITERATIONS, unit="it", desc="preview grid") as bar:
        for weight in weights:
            loss = build_perceptual_loss(
                vgg_weights,
                [style],
                replace(recipe, style_weight=weight),
                compute_dtype=tf.as_dtype(config.precision),
            )
            for name, photo in photos.items():
                steps = optimize_image(loss.for_content(photo[None]), photo, recipe)
                rows[name].append(_last_image(steps, bar))
    labels = ["photo", *(f"--style-weight {weight:g}" for weight in weights)]
    title = f"{config.style.name}, preset {config.preset}"
    sheet = contact_sheet(rows, labels, title=title, corner=style)
    save_image(sheet_path, sheet)
    TrainingSummaries(config.log_dir).write_sheet("preview_grid", sheet)
    print(
        f"train.py: {sheet_path} is ready; choose a column, then train with its --style-weight;"
        f" in TensorBoard: tensorboard --logdir {config.log_dir}",
        file=sys.stderr,
    )
    return 0


def main(arguments: list[str] | None = None) -> int:
    """The door: flags in, exit status out."""
    config, options = parse_args(arguments)
    from data.images import ImageError, check_image_suffix
    from loss_net.weights import WeightsError
    from system.files import remove_leftovers
    from transformer.training.state import StateError

    try:
        check_inputs(config)
        if options.preview_grid is not None:
            _check_writable(config.log_dir)
            is_named = options.preview_grid != Path()
            sheet_path = options.preview_grid if is_named else config.log_dir / "preview_grid.png"
            check_image_suffix(sheet_path)
            around = [float(f"{config.style_weight * factor:.2g}") for factor in GRID_FACTORS]
            weights = options.grid_weights or around
            return preview_grid(config, sheet_path, tuple(weights))
        if _is_chief():
            check_targets(config, options)
            if options.saved is not None:
                for line in changed_settings(config, options.saved):
                    print(f"train.py: {line}", file=sys.stderr)
            remove_leftovers(config.log_dir / "state")
        return train(config, options.saved)
    except (
        ImageError,
        WeightsError,
        StateError,
        StyleError,
        OSError,
        FloatingPointError,
        ClusterError,
    ) as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, Interrupted):  # before the first step; later ones are noted by Interrupts
        return EXIT_STATUS["SIGINT"]


if __name__ == "__main__":
    sys.exit(main())

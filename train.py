"""Trains a network for one style: `python train.py --style PICTURE --content-dir PHOTOS`.

The settings are in cli/train_config.py. `build_run` puts the parts together; `train` runs them.
"""

from cli.early_signals import end_on_signals

if __name__ == "__main__":
    end_on_signals()  # Ctrl-C while the modules below are imported

import argparse
import os
import sys
from dataclasses import replace
from typing import Any

from cli.doors import run_door
from cli.flags import (
    FLOAT_LIMIT,
    Parser,
    UsageError,
    add_flags,
    given_flags,
    help_formatter,
    report,
    to_json,
)
from cli.train_config import (
    GROUPS,
    PREVIEW_SIDE,
    RETIRED_FLAGS,
    VALIDATION_SIDE,
    TrainConfig,
    add_call_flags,
    changes,
    cluster_fault,
    configured,
    file_settings,
    settings_from_json,
)
from system.program import command, examples, prog
from system.signals import EXIT_STATUS, NotedInterrupts

PROG = prog("train")
EXAMPLES = examples(
    "train",
    """\
examples:
  $ --style wave.jpg --content-dir photos/        writes checkpoints/wave
  $ --style wave.jpg --content-dir photos/ --resume=auto
                                                  the same, or continues where it stopped
  $ --style wave.jpg --content-dir photos/ --preview-grid
                                                  shows several style weights before any training
  $ --config runs/wave/config.json --name wave2 --style-weight 200
                                                  the settings of another run, with changes
""",
)


def parse_args(arguments: list[str] | None = None) -> argparse.Namespace:
    """The flags of one call. `given` holds those of TrainConfig; a mistake ends the process with status 2."""
    parser = _build_parser()
    options = parser.parse_args(arguments)
    options.given = given_flags(options, TrainConfig)
    if options.grid_weights and options.preview_grid is None:
        parser.error("--grid-weights needs --preview-grid")
    for weight in options.grid_weights or ():
        if not 0 <= weight <= FLOAT_LIMIT:
            limit = f" and at most {FLOAT_LIMIT:g}" if weight > FLOAT_LIMIT else ""
            parser.error(f"--grid-weights must be at least 0{limit}, got {weight}")
    if fault := cluster_fault(options):
        parser.error(fault)
    return options


def _build_parser() -> Parser:
    parser = Parser(
        prog=PROG,
        description="Train a fast style transfer network for one style picture.",
        epilog=EXAMPLES,
        formatter_class=help_formatter,
        usage=f"{command('train')} --style PICTURE --content-dir FOLDER [flags]",
    )
    add_flags(parser, [TrainConfig], GROUPS)
    add_call_flags(parser)
    parser.add_retired(RETIRED_FLAGS)
    return parser


def run_call(options: argparse.Namespace) -> int:
    """Checks everything that can be checked without TensorFlow, then trains; returns the exit status."""
    if options.cluster is not None:
        from cli.train_cluster import train_on_cluster

        return train_on_cluster(options)
    from cli.tf_config import is_chief, status_of
    from cli.training_checks import (
        check_inputs,
        check_memory_before_start,
        check_places,
        check_targets,
        check_tensorflow,
        exclusive_run,
        is_finished,
        saved_run,
    )
    from cli.training_network import with_start
    from cli.training_report import MEMORY_REMEDY, report_finished
    from system.faults import memory_faults

    if options.preview_grid is not None:
        from cli.preview_grid import write_preview_grid

        return write_preview_grid(configured(options, {}), options.preview_grid, options.grid_weights)
    saved = saved_run({**file_settings(options), **options.given}, options.resume)
    previous = settings_from_json(saved.info["config"], f"{saved.path}") if saved is not None else {}
    config = configured(options, previous)
    if saved is None:
        config = with_start(config)
    if is_chief():
        lines = list(changes(config, previous, saved.step if saved is not None else 0))
        if is_finished(config, saved) and not options.overwrite:
            report_finished(config, saved.step)
            return 0
        for line in lines:
            report(PROG, line)
    check_memory_before_start(config, check_inputs(config, is_resumed=saved is not None))
    check_tensorflow()
    check_places(config)
    with exclusive_run(config), memory_faults(MEMORY_REMEDY):
        if is_chief():
            check_targets(config, resumes=saved is not None, overwrite=options.overwrite)
        return status_of(lambda: train(config, saved))


def train(config: TrainConfig, saved: Any = None) -> int:
    """Trains, monitors and exports one style, from `saved` if it is given; returns the exit status."""
    from cli.tf_config import wait_for_others
    from cli.training_report import check_memory, export_with_metadata, report_interrupt, report_start
    from system.tensorflow_start import start_tensorflow

    device = start_tensorflow(joins_cluster="TF_CONFIG" in os.environ)
    from transformer.training.distribution import join_cluster
    from transformer.training.log_folder import clear_log_dir

    cluster = join_cluster()
    config = replace(config, batch_size=config.batch_size or cluster.replicas)
    if config.batch_size % cluster.replicas:
        raise UsageError(
            f"--batch-size must be a multiple of {cluster.replicas}, the number of GPUs or workers, got"
            f" {config.batch_size}"
        )
    if device == "CPU":
        check_memory(config, cluster.replicas)
    with cluster.strategy.scope():
        run, crops = build_run(config, cluster, is_resumed=saved is not None)
    if cluster.is_chief and saved is None:
        clear_log_dir(config.log_dir)  # only now: everything that can fail has been built
    run.restore(saved)
    if cluster.is_chief:
        report_start(config, run, saved, cluster, device)
    signal_name = run_steps(config, run, cluster, title=f"{config.name} on {device}")
    if signal_name:
        report_interrupt(config, run, signal_name)
        return EXIT_STATUS[signal_name]
    if cluster.is_chief:
        export_with_metadata(config, run, crops)
    wait_for_others(cluster)
    return 1 if run.is_monitoring_incomplete else 0


def run_steps(config: TrainConfig, run: Any, cluster: Any, title: str) -> str:
    """Trains to the last step; returns the name of the signal that stopped it before, or "".

    If another worker is lost, this process restarts itself and waits for that worker.
    """
    from cli.tf_config import restart_worker
    from cli.training_report import train_with_bar
    from transformer.training.cluster_config import is_restarted_by_starter
    from transformer.training.distribution import LOST_WORKER

    first_step = run.progress.step
    with NotedInterrupts() as interrupts:
        try:
            train_with_bar(config, run, interrupts, title)
        except LOST_WORKER:
            is_first = run.progress.step == first_step
            if cluster.workers == 1 or is_first or is_restarted_by_starter():
                raise
            restart_worker()
    return interrupts.received


def build_run(config: TrainConfig, cluster: Any, *, is_resumed: bool) -> tuple[Any, Any]:
    """Returns the run, before its first step, and the stream of its crops. Nothing is replaced yet."""
    import tensorflow as tf

    from cli.training_network import build_network
    from cli.training_photos import load_photos
    from data.pipeline import CropStream, DataShard, photos_digest
    from transformer.training.run import Plan, Run, state_variables
    from transformer.training.stability import Stability
    from transformer.training.state import TrainingState
    from transformer.training.step import build_training_step

    loss = build_loss(config, tf.as_dtype(config.precision))
    crops = CropStream(load_photos(config), image_size=config.image_size, seed=config.seed)
    crops.crop(0)  # raises ImageError here if no photo can be read, and not after an old run is replaced
    network, optimizer, start = build_network(config, loss, crops, is_resumed=is_resumed)
    shard = DataShard(cluster.worker, cluster.workers, cluster.local_replicas)
    variables, is_writer = state_variables(network, optimizer), cluster.is_chief
    run = Run(
        Plan(config.stages, config.batch_size, config.save_every, config.summary_every),
        network=network,
        optimizer=optimizer,
        training_step=build_training_step(
            network,
            loss,
            optimizer,
            strategy=cluster.strategy,
            xla=config.xla,
            stability=Stability(config.stability, config.seed) if config.stability else None,
            has_lattice_term=config.batch_size == 1,
        ),
        batches_from=lambda image, image_size: cluster.distributed(
            crops.batches(config.batch_size, first_image=image, image_size=image_size, shard=shard)
        ),
        state=TrainingState(config.state_dir, variables, keep=config.keep, is_writer=is_writer),
        monitor=_build_monitor(config, network, loss) if cluster.is_chief else None,
        cluster=cluster,
        gflop_per_step=_gflop_per_step(config, network, loss),
        metadata={"config": to_json(config), "photos": photos_digest(crops.photos.paths)},
    )
    run.progress.start = start
    return run, crops


def build_loss(config: TrainConfig, compute_dtype: Any) -> Any:
    """The perceptual loss for the style picture. Raises ImageError and WeightsError."""
    from data.images import load_image
    from loss_net.perceptual import build_perceptual_loss
    from loss_net.weights import load_vgg_weights

    weights = load_vgg_weights(config.vgg, config.loss.architecture)
    style = load_image(config.style, max_side=config.style_size)
    loss = build_perceptual_loss(weights, [style], config.loss, compute_dtype=compute_dtype)
    return loss.with_border()


def _gflop_per_step(config: TrainConfig, network: Any, loss: Any) -> float:
    """Operations of the convolutions; for each picture, the network runs once forward and twice backward."""
    picture = 3 * network.architecture.multiply_adds(config.image_size, config.image_size)
    of_network = config.network_passes * picture
    return 2e-9 * config.batch_size * (of_network + loss.multiply_adds(config.image_size))


def _build_monitor(config: TrainConfig, network: Any, loss: Any) -> Any:
    from cli.preview_grid import shortened
    from data.images import load_image
    from data.pipeline import validation_images
    from transformer.training.monitor import Monitor

    previews = {str(path): load_image(path, max_side=PREVIEW_SIDE) for path in config.preview}
    options = {"max_images": config.val_images, "max_side": VALIDATION_SIDE, "min_side": config.least_side}
    val_images = [] if config.val_dir is None else validation_images(config.val_dir, **options)
    whole_loss = loss.with_border(0)  # as benchmarks/validation_loss.py and the slow method measure it
    return Monitor(
        config.log_dir,
        network,
        whole_loss,
        photos=shortened(previews),
        val_images=val_images,
        config=to_json(config),
    )


def expected_errors() -> tuple[type[Exception], ...]:
    """Errors that users can cause: one line on stderr. All others keep their traceback."""
    from cluster.session import ClusterError
    from data.images import ImageError
    from loss_net.weights import WeightsError
    from transformer.export.style_folder import StyleError
    from transformer.training.state import StateError

    errors = (ImageError, WeightsError, StyleError, StateError, ClusterError)
    return (*errors, OSError, MemoryError, FloatingPointError)


def main(arguments: list[str] | None = None) -> int:
    """The door: flags in, exit status out."""
    return run_door(PROG, lambda: parse_args(arguments), run_call, lambda options: expected_errors())


if __name__ == "__main__":
    sys.exit(main())

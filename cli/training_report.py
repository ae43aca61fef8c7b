"""What train.py tells its user: before the first step, during the training, and at the end."""

import hashlib
from typing import Any

from cli.bars import steps_bar
from cli.flags import report, to_json
from cli.memory import check_free
from cli.train_config import TrainConfig
from system.program import command, prog
from system.signals import Interrupted

PROG = prog("train")
MEMORY_REMEDY = "lower --batch-size, --image-size or --width, or give --large-size-share 0"
MEMORY_TOLERANCE = 1.5  # of the estimate, which was measured with presets of VGG19
BYTES_PER_VALUE = {"bfloat16": 2, "float32": 4, "float64": 8}


def bytes_per_replica(config: TrainConfig, replicas: int) -> int:
    """An estimate of the memory that each replica of the training needs."""
    from transformer.training.pace import bytes_needed

    return bytes_needed(
        width=config.width,
        image_size=config.stages[-1].image_size,
        batch_size=-(-(config.batch_size or replicas) // replicas),
        bytes_per_value=BYTES_PER_VALUE[config.precision],
        residual_blocks=config.residual_blocks,
        network_passes=config.network_passes,
    )


def check_memory(config: TrainConfig, replicas: int) -> None:
    """Raises MemoryError if a training on the CPU plainly needs more memory than is free."""
    needed = bytes_per_replica(config, replicas)
    check_free("the training needs", needed, MEMORY_REMEDY, tolerance=MEMORY_TOLERANCE)


def report_start(config: TrainConfig, run: Any, saved: Any, cluster: Any, device: str) -> None:
    """The size of the network and of a step, the memory that the training needs, and whether the photos changed."""
    from system.machine import available_memory

    parameters = sum(variable.shape.num_elements() for variable in run.network.parameters.values())
    needed = bytes_per_replica(config, cluster.replicas)
    free = f", {available_memory() / 1e9:.1f} GB free" if device == "CPU" else " on the GPU"
    replicas = f"; {cluster.replicas} replicas in {cluster.workers} workers" if cluster.replicas > 1 else ""
    report(
        PROG,
        f"{parameters:,} parameters, {run.gflop_per_step:.3g} GFLOP per step at full size, about"
        f" {needed / 1e9:.1f} GB of memory needed{free}{replicas}",
    )
    if saved is not None and saved.info["photos"] != run.metadata["photos"]:
        report(PROG, "the photos are not those of the run so far, so they come in another order")


def train_with_bar(config: TrainConfig, run: Any, interrupts: Any, title: str) -> None:
    """Trains with a bar that counts steps."""
    from tqdm.contrib.logging import logging_redirect_tqdm

    bar = steps_bar(total=config.steps, initial=run.progress.step, desc=title)
    with logging_redirect_tqdm(), bar:

        def show(step: int, line: str) -> None:
            bar.set_postfix_str(line, refresh=False)
            bar.update(step - bar.n)

        run.train(interrupts, show)


def report_finished(config: TrainConfig, step: int) -> None:
    """That there is nothing left to resume, and what can be done instead."""
    report(
        PROG,
        f"{config.style_dir} is finished: {step} steps are done; train longer with --resume,"
        " --overwrite and more --steps; start again with --overwrite and without --resume",
    )


def report_interrupt(config: TrainConfig, run: Any, signal_name: str) -> None:
    """After which step the training stopped, and which state is the newest."""
    step, state = run.progress.step, "state saved"
    if run.saved_step != step:
        state = (
            f"the state of step {run.saved_step} is the newest one, because the last steps were skipped (loss or"
            " gradient not finite)"
        )
    report(PROG, f"{signal_name} at step {step}; {state}; continue with --resume --name {config.name}")


def export_with_metadata(config: TrainConfig, run: Any, crops: Any) -> None:
    """Writes the finished style, and reports what was skipped and how to use the style. Raises OSError."""
    from system.faults import disk_fault
    from transformer.export.finished_style import export_style

    saved = "the training is complete and its state is saved"
    try:
        export_style(config.style_dir, run.network, style_metadata(config, run, crops))
    except OSError as error:
        raise OSError(
            f"{config.style_dir}: cannot be written ({disk_fault(error)}); {saved}: free some space, then continue with"
            " --resume"
        ) from error
    except Interrupted as error:
        error.done = f"{saved}; --resume writes the style"
        raise
    _report_end(config, run, crops)


def _report_end(config: TrainConfig, run: Any, crops: Any) -> None:
    from transformer.training.pace import peak_memory_bytes

    skipped_steps, peak = run.optimizer.value("skipped"), peak_memory_bytes()
    parts = [f"{skipped_steps} steps skipped: loss or gradient not finite"] if skipped_steps else []
    parts += [f"{crops.unreadable} files could not be read"] if crops.unreadable else []
    parts += [f"peak memory {peak / 1e9:.2f} GB"] if peak else []
    parts += ["TensorBoard events are incomplete, see above"] if run.is_monitoring_incomplete else []
    if parts:
        report(PROG, "; ".join(parts))
    report(PROG, f"{config.style_dir} is ready: {command('infer')} PHOTO --style {config.style_dir}")


def style_metadata(config: TrainConfig, run: Any, crops: Any) -> dict:
    """The content of style.json."""
    from importlib.metadata import version

    import tensorflow as tf

    return {
        "name": config.name,
        "config": to_json(config),
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
            "minutes": round(run.progress.seconds / 60, 1),
            "device": "GPU" if tf.config.list_physical_devices("GPU") else "CPU",
            "start": run.progress.start,
        },
        "losses": {
            "training": run.progress.losses,
            "validation": run.progress.validation,
            "best_validation": run.progress.best_validation,
        },
        "versions": {name: version(name) for name in ("tensorflow", "keras", "numpy", "onnx")},
    }

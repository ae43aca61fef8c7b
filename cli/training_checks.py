"""What train.py checks before anything slow is imported, and before anything is replaced."""

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cli.flags import UsageError, flag
from cli.memory import check_free, is_cpu_only
from cli.tf_config import cluster_size, is_chief
from cli.train_config import PREVIEW_SIDE, VALIDATION_SIDE, TrainConfig, log_dir_of
from cli.training_network import load_start
from cli.training_report import MEMORY_REMEDY, MEMORY_TOLERANCE, bytes_per_replica
from system.files import WRITE_REMEDY, check_folder_writable, remove_leftovers
from system.locks import locked
from transformer.export.style_folder import hiding_style, is_style
from transformer.training.cluster_config import is_restarted_by_starter
from transformer.training.log_folder import STATE_DIR
from transformer.training.state import newest_state, state_paths

TAKEOVER_SECONDS = 100  # NFS keeps the locks of a lost machine for its lease, 90 s by default
WAITING_BATCHES = 6  # that tf.data prepares ahead, with those in work
IMAGE_BYTES = 12  # of one RGB pixel in float32
# Per pixel of the style picture, for its features: measured with VGG19 at 1 and 2.25 megapixels
STYLE_BYTES = {"bfloat16": 1650, "float32": 1650, "float64": 3300}


def check_tensorflow() -> None:
    """Raises ModuleNotFoundError, which the door explains, before anything is written."""
    if find_spec("tensorflow") is None:
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")


def saved_run(values: dict[str, Any], resume: str | None) -> Any:
    """The state that --resume continues from. Raises StateError if there is none, or all are damaged.

    None without --resume; with --resume=auto where no state exists; and for workers that are not the chief and have
    no state, because the chief sends it.
    """
    if resume is None:
        return None
    log_dir = log_dir_of(values)
    if log_dir is None:
        raise UsageError("--resume needs the --name or the --log-dir of the run")
    may_start = resume == "auto" or not is_chief()
    state_dir = log_dir / STATE_DIR
    return None if may_start and not state_paths(state_dir) else newest_state(state_dir)


@dataclass(frozen=True)
class InputSizes:
    """How much memory the inputs of a training take beside its steps."""

    style_pixels: int  # of the style picture, at the size at which it is used
    kept_pixels: int  # of the previews and validation photos, which stay in memory


def check_inputs(config: TrainConfig, *, is_resumed: bool = False) -> InputSizes:
    """Looks at everything that is read. Raises ImageError, WeightsError, StyleError and OSError."""
    kept_pixels = check_shared_inputs(config, is_resumed=is_resumed)
    height, width = checked_style_size(config)
    return InputSizes(height * width, kept_pixels)


def check_shared_inputs(config: TrainConfig, *, is_resumed: bool = False) -> int:
    """Looks at what trainings of several styles read alike; returns the kept pixels. Raises like `check_inputs`."""
    from data.images import load_image
    from data.listing import list_images
    from loss_net.weights import check_vgg_source

    check_vgg_source(config.vgg, config.loss.architecture)
    list_images([config.content_dir])
    for path in config.preview:
        load_image(path)
    kept_pixels = len(config.preview) * PREVIEW_SIDE**2
    if config.val_dir is not None:
        photos = len(list_images([config.val_dir]))
        kept_pixels += min(config.val_images, photos) * VALIDATION_SIDE**2
    if not is_resumed:
        load_start(config)
    return kept_pixels


def checked_style_size(config: TrainConfig) -> tuple[int, int]:
    """Height and width of the style picture as it is used. Raises ImageError for one that is too small for the loss."""
    from data.images import ImageError, load_image, shrunk_size
    from loss_net.topology import deepest_layer, least_side

    height, width = load_image(config.style).shape[:2]
    if config.style_size is not None:
        height, width = shrunk_size((height, width), config.style_size)
    deepest = deepest_layer(config.loss.style_layers, config.loss.architecture)
    least = least_side(deepest)
    if min(height, width) < least:
        raise ImageError(
            f"{config.style}: {height}x{width} pixels (height x width) are too few for {deepest}, which needs"
            f" {least}x{least}; give a larger picture or --style-size"
        )
    return height, width


def check_memory_before_start(config: TrainConfig, sizes: InputSizes) -> None:
    """Raises MemoryError if the training plainly needs more memory than is free. Imports no TensorFlow.

    A GPU's memory is unknown before TensorFlow starts. The batches are prepared in main memory in any case.
    """
    workers = cluster_size()
    pixels = config.stages[-1].image_size ** 2 * -(-(config.batch_size or workers) // workers)
    needed, what = WAITING_BATCHES * pixels * IMAGE_BYTES, "the batches of this training need"
    if is_cpu_only():
        needed, what = bytes_per_replica(config, workers), "the training needs"
    check_style_memory(config, sizes)
    remedy = MEMORY_REMEDY
    if sizes.kept_pixels * IMAGE_BYTES > needed:
        remedy = "lower --val-images"
    check_free(what, needed + sizes.kept_pixels * IMAGE_BYTES, remedy, tolerance=MEMORY_TOLERANCE)


def check_style_memory(config: TrainConfig, sizes: InputSizes) -> None:
    """Raises MemoryError if the style picture is plainly too large for the free memory."""
    if is_cpu_only():
        what = f"{config.style}: the features of the style picture need"
        needed = sizes.style_pixels * STYLE_BYTES[config.precision]
        check_free(what, needed, "give --style-size", tolerance=MEMORY_TOLERANCE)


def is_finished(config: TrainConfig, saved: Any) -> bool:
    """Whether the saved run is at its last step and its style is exported. Workers of a cluster finish together."""
    is_alone = "TF_CONFIG" not in os.environ
    return is_alone and saved is not None and saved.step >= config.steps and is_style(config.style_dir)


def check_places(config: TrainConfig) -> None:
    """Raises UsageError if an output would replace an input, or if TensorFlow cannot open an output folder."""
    _check_inputs_outside(config)
    for name in ("output_dir", "log_dir"):
        _check_encoding(name, getattr(config, name))


def check_targets(config: TrainConfig, *, resumes: bool, overwrite: bool) -> None:
    """Looks at everything that is written. Raises OSError; replaces nothing."""
    style_dir = config.style_dir
    if other := hiding_style(style_dir):
        raise FileExistsError(
            f"{other}: a style of the name {config.name} exists already; give another --name"
        )
    if style_dir.exists():
        _check_replaceable(style_dir, resumes=resumes, overwrite=overwrite)
    if state_paths(config.state_dir) and not (resumes or overwrite):
        raise FileExistsError(
            f"{config.state_dir}: contains the state of an earlier run; continue it with --resume, or start again with"
            " --overwrite"
        )
    for folder in (config.output_dir, config.log_dir):
        check_folder_writable(folder)
    remove_leftovers(config.state_dir)


@contextmanager
def exclusive_run(config: TrainConfig) -> Iterator[None]:
    """Holds the log folder and the style folder against other trainings. Only the chief of a cluster does so.

    Raises OSError if another training holds one of them.
    """
    with ExitStack() as stack:
        for path in (config.log_dir, config.style_dir) if is_chief() else ():
            try:
                _lock(stack, path.resolve())
            except BlockingIOError as error:
                raise OSError(
                    f"{path}: another training is writing it; wait for its end, or give another --name"
                ) from error
            except OSError as error:
                raise OSError(f"{path}: cannot be written: {error.strerror}; {WRITE_REMEDY}") from error
        yield


def _lock(stack: ExitStack, path: Path) -> None:
    """Locks a path. A worker that is started again waits for its lost one, whose lock the file server may keep."""
    deadline = time.monotonic() + (TAKEOVER_SECONDS if is_restarted_by_starter() else 0)
    while True:
        try:
            stack.enter_context(locked(path))
            return
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(1)


def _check_encoding(name: str, path: Path) -> None:
    """Raises UsageError for a path that TensorFlow cannot open, because its bytes are not UTF-8."""
    try:
        str(path.absolute()).encode("utf-8")
    except UnicodeEncodeError as error:
        raise UsageError(
            f"{flag(name)} {path}: the path is not valid UTF-8, which TensorFlow needs; choose another folder"
        ) from error


def _check_inputs_outside(config: TrainConfig) -> None:
    """Raises UsageError if an input lies in the folder of the finished style, which is replaced as a whole."""
    style_dir = config.style_dir.resolve()
    inputs = {"style": config.style, "content_dir": config.content_dir, "val_dir": config.val_dir}
    inputs |= {"vgg": config.vgg, "cache": config.cache, "log_dir": config.log_dir}
    for name, path in (*inputs.items(), *(("preview", photo) for photo in config.preview)):
        if path is not None and path.resolve().is_relative_to(style_dir):
            raise UsageError(
                f"{flag(name)} {path}: lies in {config.style_dir}, which the style replaces; move it"
            )


def _check_replaceable(style_dir: Path, *, resumes: bool, overwrite: bool) -> None:
    is_empty = style_dir.is_dir() and not any(style_dir.iterdir())
    if not is_style(style_dir) and not is_empty:
        raise FileExistsError(
            f"{style_dir}: exists and is not a style, so it is not replaced; give another --name"
        )
    if not overwrite and not is_empty:
        remedy = (
            "add --overwrite to replace it when the training is done"
            if resumes
            else "--overwrite replaces it"
        )
        raise FileExistsError(f"{style_dir}: exists; give another --name, or {remedy}")

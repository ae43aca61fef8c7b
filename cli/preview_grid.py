"""train.py --preview-grid: a sheet of photos at several style weights, made by the slow method before any training."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cli.bars import progress_bar
from cli.flags import report
from cli.targets import check_folder_outputs, check_outputs
from cli.train_config import TrainConfig
from cli.training_checks import check_inputs, check_style_memory
from data.images import ImageError, check_image_suffix
from loss_net.presets import PRESETS
from system.files import check_folder_writable, check_writable
from system.program import prog

PROG = prog("train")
FACTORS = (1 / 16, 1 / 4, 1, 4, 16)  # of the style weight
PHOTOS = 3  # from --preview, else --val-dir or --content-dir
SIDE = 320  # pixels, longest side of the pictures
ITERATIONS = 40  # of L-BFGS; more iterations change little but the time


def weights_around(style_weight: float) -> tuple[float, ...]:
    """The style weights of the columns, rounded to two digits."""
    return tuple(float(f"{style_weight * factor:.2g}") for factor in FACTORS)


def write_preview_grid(config: TrainConfig, sheet_path: Path, weights: Sequence[float] | None) -> int:
    """Writes the sheet, a column for each weight, and shows it in TensorBoard; returns the exit status.

    sheet_path: Path() means LOG_DIR/preview_grid.png. weights: None means those of `weights_around`.
    """
    sheet_path = sheet_path if sheet_path != Path() else config.log_dir / "preview_grid.png"
    _check(config, sheet_path)
    weights = weights or weights_around(config.style_weight)
    from system.tensorflow_start import start_tensorflow

    start_tensorflow()
    from data.contact_sheet import contact_sheet
    from data.images import load_image, save_image
    from transformer.training.summaries import TrainingSummaries

    style = load_image(config.style, max_side=config.style_size)
    rows = _rows(config, style, weights)
    labels = ["photo", *(f"--style-weight {weight:g}" for weight in weights)]
    sheet = contact_sheet(rows, labels, title=f"{config.style.name}, preset {config.preset}", corner=style)
    save_image(sheet_path, sheet)
    TrainingSummaries(config.log_dir).write_sheet("preview_grid", sheet)
    report(
        PROG,
        f"{sheet_path} is ready; choose a column, then train with its --style-weight; in TensorBoard:"
        f" tensorboard --logdir {config.log_dir}",
    )
    return 0


def _check(config: TrainConfig, sheet_path: Path) -> None:
    """Everything that is read and written, before minutes of work."""
    check_image_suffix(sheet_path)
    check_style_memory(config, check_inputs(config))
    folders = [folder for folder in (config.content_dir, config.val_dir) if folder is not None]
    check_outputs([sheet_path], [config.style, *config.preview, config.vgg])
    check_folder_outputs([sheet_path], folders)
    check_folder_writable(config.log_dir)
    check_writable(sheet_path)


def _rows(config: TrainConfig, style: Any, weights: Sequence[float]) -> dict[str, list]:
    """For each photo by name: the photo, then its picture at each weight."""
    import tensorflow as tf

    from loss_net.optimize import optimize_image
    from loss_net.perceptual import build_perceptual_loss
    from loss_net.weights import load_vgg_weights

    preset = replace(PRESETS[config.preset], loss=config.loss, optimizer="lbfgs", iterations=ITERATIONS)
    vgg_weights = load_vgg_weights(config.vgg, preset.loss.architecture)
    photos = _photos(config)
    rows = {name: [photo] for name, photo in photos.items()}
    total = len(photos) * len(weights) * ITERATIONS
    with progress_bar(total=total, unit="iterations", desc="preview grid") as bar:
        for weight in weights:
            loss = build_perceptual_loss(
                vgg_weights,
                [style],
                replace(preset.loss, style_weight=weight),
                compute_dtype=tf.as_dtype(config.precision),
            )
            for name, photo in photos.items():
                rows[name].append(
                    _last_image(optimize_image(loss.for_content(photo[None]), photo, preset), bar)
                )
    return rows


def _photos(config: TrainConfig) -> dict[str, Any]:
    from data.listing import list_images
    from data.pipeline import readable_images

    paths = config.preview or list_images([config.val_dir or config.content_dir])
    readable = readable_images(paths, max_images=PHOTOS, max_side=SIDE, min_side=config.least_side)
    if not readable:
        raise ImageError(f"{paths[0].parent}: no photo can be used for the preview grid; give larger photos")
    return shortened({str(path): photo for path, photo in readable.items()})


def shortened(photos: dict[str, Any]) -> dict[str, Any]:
    """Photos by path -> by stem, unless two share a stem."""
    by_stem = {Path(name).stem: photo for name, photo in photos.items()}
    return by_stem if len(by_stem) == len(photos) else photos


def _last_image(steps: Iterator, bar: Any) -> Any:
    """The last image of the slow method. L-BFGS may end early, so the bar is advanced to where it should be."""
    end, step, last = bar.n + ITERATIONS, 0, None
    for now, _, image in steps:
        bar.update(now - step)
        step, last = now, image
    bar.update(end - bar.n)
    return last

"""Writes what a GPU machine without TensorFlow needs for trainings: see tools/jax_port/__init__.py.

PACKED then holds vgg.npz, jobs.json, photos_000.npz ... (JPEGs as they are, in parts of --part-mb), val.npz, and
grams/PICTURE.npz for each style picture.
"""

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cli.doors import run_door
from cli.flags import UsageError, read_json, report, to_json
from cli.train_config import BASE, NO_START, settings_from_json, settled
from data.images import load_image
from data.listing import list_images
from tools.jax_port.pack_format import half_gram, save_contents
from tools.train_base import HALF_SIZE_SHARE, PRESET, STYLE_SIZE

PROG = "pack"
FIXED = {"optimizer": "muon", "clip_factor": 10.0, "seed": 0, "xla": False}  # other values are not ported
DEEPEST = "conv5_1"


def packed_weights(weights: Any, dtype: Any) -> dict[str, np.ndarray]:
    """Returns VGG's parameters up to DEEPEST by name, with the first kernel for RGB, and "mean_rgb"."""
    packed = {"mean_rgb": np.float32(weights.mean_bgr[::-1])}
    for conv, kernel in weights.kernels.items():
        if conv <= DEEPEST:
            kernel = kernel[:, :, ::-1] if conv == "conv1_1" else kernel
            packed[f"{conv}/kernel"] = kernel.astype(dtype)
            packed[f"{conv}/bias"] = np.float32(weights.biases[conv])
    return packed


def job_of(values: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Returns a job of jobs.json: its name, settings, style pictures, and what it starts from. Raises UsageError."""
    values, folder = dict(values), values.get("base")
    shared = {"content_dir": str(options.content_dir), "vgg": str(options.vgg), "precision": "bfloat16"}
    if folder is None:
        config = settled(settings_from_json({**values, **shared}, "the job"))
        paths = [config.style]
    else:
        paths = list_images([Path(folder)])
        own = {"preset": PRESET, "half_size_share": HALF_SIZE_SHARE, "large_size_share": 0.0}
        own = {**own, "style_size": STYLE_SIZE, **values, **shared, "style": folder, "name": "many"}
        own.pop("base")
        config = replace(settled(settings_from_json(own, "the job")), name=BASE)
    for name, value in FIXED.items():
        if getattr(config, name) != value:
            raise UsageError(f"{config.name}: only {name} {value} is ported, got {getattr(config, name)}")
    config = replace(config, batch_size=config.batch_size or 1, start_from=config.start_from or NO_START)
    return {
        "name": config.name,
        "config": to_json(config),
        "pictures": [f"{path.stem}_{config.style_size or 0}_{digest_of(path)}" for path in paths],
        "files": [str(path) for path in paths],
    }


def digest_of(path: Path) -> str:
    """Returns a few digits that tell pictures of one name apart."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:8]


def write_grams(jobs: Sequence[Mapping[str, Any]], weights: Any, folder: Path) -> None:
    """Writes the Gram matrices of every style picture, computed by the project's own loss."""
    from loss_net.perceptual import build_perceptual_loss
    from loss_net.presets import LOSS_PRESETS

    folder.mkdir(exist_ok=True)
    for job in jobs:
        for path, name in zip(job["files"], job["pictures"], strict=True):
            if (folder / f"{name}.npz").exists():
                continue
            style = load_image(Path(path), max_side=job["config"]["style_size"])
            loss = build_perceptual_loss(weights, [style], LOSS_PRESETS["balanced"])
            arrays = {}
            for layer, gram in loss.style_grams.items():
                for part, value in half_gram(gram.numpy()[0]).items():
                    arrays[f"{layer}/{part}"] = value
            np.savez_compressed(folder / f"{name}.npz", **arrays)


def write_photos(paths: Sequence[Path], folder: Path, part_bytes: float) -> int:
    """Writes files as they are, in parts of at most `part_bytes`; returns the number of parts."""
    parts: list[list[bytes]] = [[]]
    for path in paths:
        content = path.read_bytes()
        if sum(map(len, parts[-1])) + len(content) > part_bytes and parts[-1]:
            parts.append([])
        parts[-1].append(content)
    for number, contents in enumerate(parts):
        save_contents(folder / f"photos_{number:03d}.npz", contents)
    return len(parts)


def validation_paths(val_dir: Path, first: int, count: int) -> list[Path]:
    """Returns the first `count` photos after `first` that have the most frequent size; one size is one program."""
    paths = list_images([val_dir])
    sizes = {path: load_image(path).shape for path in paths[first:] or paths}
    (shape, _), *_ = Counter(sizes.values()).most_common(1)
    return [path for path, own in sizes.items() if own == shape][:count]


def parse_args(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=PROG, description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("packed", type=Path, metavar="PACKED", help="folder to write")
    for flag in ("--jobs", "--content-dir", "--val-dir", "--vgg"):
        parser.add_argument(flag, type=Path, required=True)
    parser.add_argument(
        "--part-mb", type=float, default=20, help="size of a part of the photos (default: 20)"
    )
    return parser.parse_args(arguments)


def pack(options: argparse.Namespace) -> int:
    """Writes PACKED; returns the exit status 0. Raises UsageError, ImageError and WeightsError."""
    from loss_net.weights import load_vgg_weights

    jobs = [job_of(values, options) for values in read_json(options.jobs, f"--jobs {options.jobs}")]
    weights = load_vgg_weights(options.vgg, "vgg19")
    paths = list_images([options.content_dir])
    options.packed.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(options.packed / "vgg.npz", **packed_weights(weights, np.float16))
    write_grams(jobs, weights, options.packed / "grams")
    order = np.random.default_rng(0).permutation(len(paths))  # so that any parts are a fair choice
    parts = write_photos([paths[index] for index in order], options.packed, 1e6 * options.part_mb)
    save_contents(
        options.packed / "val.npz", [path.read_bytes() for path in validation_paths(options.val_dir, 100, 20)]
    )
    (options.packed / "jobs.json").write_text(json.dumps(jobs, indent=1) + "\n")
    report(PROG, f"{len(jobs)} jobs, {len(paths)} photos in {parts} parts")
    return 0


def expected_errors() -> tuple[type[Exception], ...]:
    """Errors that users can cause: one line on stderr."""
    from data.images import ImageError
    from loss_net.weights import WeightsError

    return (ImageError, WeightsError, OSError)


def main(arguments: list[str] | None = None) -> int:
    return run_door(PROG, lambda: parse_args(arguments), pack, lambda options: expected_errors())


if __name__ == "__main__":
    sys.exit(main())

"""The settings of a training: flags, JSON keys and defaults, and how they come together."""

import argparse
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cli.flags import (
    UsageError,
    check_ranges,
    flag,
    from_json,
    knob,
    number,
    path_of,
    read_json,
    whole_number,
)
from loss_net.presets import LOSS_PRESETS, LossPreset
from loss_net.topology import deepest_layer, least_side
from system.arguments import shown
from system.machine import has_fast_bfloat16, nvidia_devices
from transformer.architecture import OUTER_KERNELS
from transformer.export.style_folder import own_styles_dir

# Titles in --help, in the order in which it lists them.
STYLE = "what is learned from what"
TRAINING = "the training"
FILES = "files"
LOSS = "the loss"
NETWORK = "the network"
MONITORING = "monitoring"
METADATA = "metadata in style.json"
GROUPS = (STYLE, TRAINING, FILES, LOSS, NETWORK, MONITORING, METADATA)
REQUIRED = ("style", "content_dir")
# A resumed training cannot change these, because they shape the weights:
FIXED_BY_STATE = ("width", "residual_blocks", "outer_kernel")
RETIRED_FLAGS = {"--clip-norm": "--clip-factor, a multiple of the running mean norm of the gradients"}
BASE, NO_START = "base", "none"  # of --start-from, beside the names of styles
PREVIEW_SIDE = 512  # pixels, longest side of the preview photos
VALIDATION_SIDE = 640  # pixels; photos of MS-COCO keep their size
MOST_NAME_BYTES = 200  # of --name; file systems allow 255, and temporary names are longer
RETIRED_KEYS = {"clip_norm": "clip_factor"}


@dataclass(frozen=True)
class TrainConfig:
    """One training run. A field, its flag and its JSON key have one name."""

    style: Path | None = knob("the style picture (required)", group=STYLE)
    content_dir: Path | None = knob(
        "folder of photos to train on, searched recursively (required)", group=STYLE, metavar="FOLDER"
    )
    name: str | None = knob(
        "name of the style; the result is OUTPUT_DIR/NAME (default: the name of the style picture)",
        group=STYLE,
        metavar="NAME",
    )
    vgg: Path | None = knob(
        "VGG weights: Keras *_notop.h5, MatConvNet .mat, or .npz (default: downloaded by Keras)", group=STYLE
    )
    preset: str = knob(
        "preset of the loss: layers, weights and normalization; made for training are lengstrom, balanced, johnson and"
        " lesson30",
        "lengstrom",
        group=STYLE,
        choices=tuple(LOSS_PRESETS),
    )
    start_from: str | None = knob(
        "start from the weights of this finished style (name or folder); base: from the network of many styles that"
        " comes with this project; none: from random weights (default: base, if the network has its size)",
        group=STYLE, metavar="STYLE", is_path=True,
    )  # fmt: skip

    steps: int = knob("updates of the network", 1500, group=TRAINING, at_least=1, limit=10**9)
    batch_size: int | None = knob(
        "images per step, over all GPUs and machines (default: one for each of them)",
        group=TRAINING,
        at_least=1,
    )
    image_size: int = knob(
        "side of the square training crops in pixels", 256, group=TRAINING, metavar="PIXELS", at_least=32
    )
    half_size_share: float = knob(
        "share of the steps, the first ones, on crops of half the side, which take about a third of the time",
        0.8,
        group=TRAINING,
        metavar="SHARE",
        at_least=0,
        at_most=1,
    )
    large_size_share: float = knob(
        "share of the other steps, the last ones, on crops of 1.5 times the side, about as large as photos",
        0.3,
        group=TRAINING,
        metavar="SHARE",
        at_least=0,
        at_most=1,
    )
    precision: str | None = knob(
        "number type of the convolutions; float64 is slow and for comparing runs (default: bfloat16 on a CPU with AMX"
        " or AVX-512 BF16, where it is 2 to 4 times as fast as float32; elsewhere, and with an NVIDIA GPU, float32)",
        group=TRAINING, choices=("float32", "bfloat16", "float64"),
    )  # fmt: skip
    optimizer: str = knob(
        "muon: Muon for all kernels but the last layer's, Adam for the rest; adam: Adam for everything",
        "muon",
        group=TRAINING,
        choices=("muon", "adam"),
    )
    learning_rate: float = knob(
        "peak learning rate of Adam; Muon's is 10 times as high; both fall to 0 over the last quarter of the steps",
        2e-3,
        group=TRAINING,
        at_least=0,
    )
    clip_factor: float = knob(
        "clip gradients to this multiple of their running mean norm; 0 disables clipping",
        10.0,
        group=TRAINING,
        at_least=0,
    )
    xla: bool = knob(
        "compile the step with XLA; try it on a GPU, it is slower on CPUs",
        False,
        group=TRAINING,
        has_negation=True,
    )
    seed: int = knob(
        "seed of the photo order and the crops, and of random initial weights", 0, group=TRAINING, at_least=0
    )

    output_dir: Path = knob("folder of the finished styles", own_styles_dir(), group=FILES, metavar="FOLDER")
    log_dir: Path | None = knob(
        "folder for TensorBoard and the saved states (default: runs/NAME)", group=FILES, metavar="FOLDER"
    )
    save_every: int = knob(
        "steps between saved states, previews and validations", 500, group=FILES, at_least=1
    )
    keep: int = knob("number of saved states to keep", 3, group=FILES, at_least=1)
    cache: Path | None = knob(
        "folder where decoded photos are kept, for this training and later ones",
        group=FILES,
        metavar="FOLDER",
    )

    content_weight: float | None = knob(
        "weight of the content loss (default: the preset's)", group=LOSS, at_least=0
    )
    style_weight: float | None = knob(
        "weight of the style loss (default: the preset's)", group=LOSS, at_least=0
    )
    tv_weight: float | None = knob(
        "weight of the total variation loss (default: the preset's)", group=LOSS, at_least=0
    )
    stability: float = knob(
        "weight of the stability loss, which makes videos flicker less; 0: off; 1 to 2 are usual; a step takes about"
        " 1.5 times as long",
        0.0,
        group=LOSS,
        at_least=0,
    )
    style_size: int | None = knob(
        "longest side of the style picture in pixels (default: its own size)",
        group=LOSS,
        metavar="PIXELS",
        at_least=16,
    )

    width: float = knob(
        "multiplier of the channels; 1 is the network of Johnson et al.",
        0.5,
        group=NETWORK,
        at_least=0.1,
        at_most=4,
    )
    residual_blocks: int = knob("number of residual blocks", 5, group=NETWORK, at_least=0, limit=100)
    outer_kernel: int = knob(
        "side of the first and the last kernel; 9 is that of Johnson et al.",
        5,
        group=NETWORK,
        choices=OUTER_KERNELS,
    )

    preview: tuple[Path, ...] = knob(
        "photos shown stylized in TensorBoard", (), group=MONITORING, metavar="PHOTO"
    )
    val_dir: Path | None = knob(
        "folder of photos for the validation loss", group=MONITORING, metavar="FOLDER"
    )
    val_images: int = knob("number of validation photos, the first by name", 16, group=MONITORING, at_least=1)
    summary_every: int = knob(
        "write the losses to TensorBoard every N steps", 50, group=MONITORING, at_least=1
    )

    style_source: str = knob("origin of the style picture", "", group=METADATA, metavar="TEXT")
    style_license: str = knob("license of the style picture", "", group=METADATA, metavar="TEXT")

    @property
    def loss(self) -> LossPreset:
        """The preset with this run's weights; the weights must be settled."""
        return replace(
            LOSS_PRESETS[self.preset],
            content_weight=self.content_weight,
            style_weight=self.style_weight,
            tv_weight=self.tv_weight,
        )

    @property
    def stages(self) -> tuple[Any, ...]:
        """The stages of the training, from small to large crops."""
        from transformer.training.stages import stages_of

        return stages_of(self.steps, self.image_size, self.half_size_share, self.large_size_share)

    @property
    def least_side(self) -> int:
        """The least height and width of an image, in pixels, that the deepest layer of the loss needs."""
        layers = {**self.loss.content_layers, **self.loss.style_layers}
        return least_side(deepest_layer(layers, self.loss.architecture))

    @property
    def network_passes(self) -> int:
        """How many pictures the network makes of each training photo."""
        return 2 if self.stability else 1

    @property
    def style_dir(self) -> Path:
        """The finished style."""
        return self.output_dir / self.name

    @property
    def state_dir(self) -> Path:
        """The saved states."""
        from transformer.training.log_folder import STATE_DIR  # imports NumPy

        return self.log_dir / STATE_DIR


def add_call_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of one call, which are no settings of the training and not in its JSON."""
    call = parser.add_argument_group("this call")
    call.add_argument(
        "--resume",
        nargs="?",
        const="always",
        choices=("always", "auto"),
        help="continue from the state in LOG_DIR, with that run's settings where no flag is given; auto: start from the"
        " beginning if there is no state",
    )
    call.add_argument(
        "--overwrite", action="store_true", help="replace a finished style or an old run of this name"
    )
    call.add_argument(
        "--config",
        type=path_of,
        metavar="JSON",
        help="settings of another run (config.json, style.json); flags override them",
    )
    call.add_argument(
        "--preview-grid",
        nargs="?",
        type=path_of,
        const=Path(),
        metavar="SHEET.png",
        help="instead of training, show what several style weights would give (default: LOG_DIR/preview_grid.png)",
    )
    call.add_argument(
        "--grid-weights",
        nargs="+",
        type=number,
        metavar="X",
        help="the style weights of --preview-grid (default: five around the preset's)",
    )
    _add_cluster_flags(parser.add_argument_group("on many machines, with Ray"))


def _add_cluster_flags(group: Any) -> None:
    group.add_argument(
        "--cluster",
        nargs="?",
        type=_cluster_address,
        const="auto",
        metavar="ADDRESS",
        help="train on a Ray cluster: auto, local, HOST:PORT or ray://HOST:PORT (without one: auto, the cluster of"
        " RAY_ADDRESS or of this machine); the same command goes on where it stopped",
    )
    group.add_argument(
        "--workers", type=_count, metavar="N", help="with --cluster: train the style in N processes together"
    )
    group.add_argument(
        "--styles-from",
        type=path_of,
        metavar="FOLDER",
        help="with --cluster: train a style for every picture of a folder, or of a text file with a path in each line,"
        " side by side; each has the name of its picture and LOG_DIR/NAME",
    )
    group.add_argument(
        "--cpus-each",
        type=_count,
        metavar="N",
        help="with --cluster: CPU cores of each worker or style (default: as many as let all run at once; 1 with GPUs)",
    )


def _cluster_address(text: str) -> str:
    from cluster.session import check_address

    try:
        return check_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _count(text: str) -> int:
    count = whole_number(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {count}")
    return count


def cluster_fault(options: argparse.Namespace) -> str:
    """What is wrong with the flags of a call on a cluster, or ""."""
    if options.cluster is None:
        flags = [
            name for name in ("workers", "styles_from", "cpus_each") if getattr(options, name) is not None
        ]
        return f"{flag(flags[0])} needs --cluster: add it, or --cluster HOST:PORT" if flags else ""
    if os.environ.get("TF_CONFIG"):
        return "--cluster sets TF_CONFIG itself; unset the variable, or train without --cluster"
    if options.preview_grid is not None:
        return "--preview-grid is made on one machine; give it without --cluster"
    if (options.workers is None) == (options.styles_from is None):
        return "--cluster needs --workers N, for one style, or --styles-from FOLDER, for many"
    for name in ("style", "name") if options.styles_from is not None else ():
        if name in options.given:
            return f"{flag(name)} is for one style; --styles-from names each style like its picture"
    return ""


def configured(options: argparse.Namespace, previous: Mapping[str, Any]) -> TrainConfig:
    """The settings: defaults, then those of the `previous` run, then --config, then flags. Raises UsageError."""
    return settled({**previous, **file_settings(options), **options.given})


def file_settings(options: argparse.Namespace) -> dict[str, Any]:
    """The settings in --config. Raises UsageError."""
    if options.config is None:
        return {}
    source = f"--config {options.config}"
    values = read_json(options.config, source)
    is_style_json = isinstance(values, dict) and "config" in values  # which has other keys beside it
    return settings_from_json(values["config"] if is_style_json else values, source)


def settled(values: Mapping[str, Any]) -> TrainConfig:
    """The configuration with every default and derived value in place. Raises UsageError."""
    config = TrainConfig(**values)
    for name in REQUIRED:
        if getattr(config, name) is None:
            raise UsageError(f"{flag(name)} is required, as a flag or in --config")
    check_ranges(config)
    name = config.style.stem if config.name is None else config.name
    if not _is_plain_name(name):
        raise UsageError(f"--name must be a plain folder name, got {shown(name)}")
    if name in (BASE, NO_START):
        raise UsageError(
            f"the name {name} has a meaning of its own in --start-from; give the style another name with --name"
        )
    preset = LOSS_PRESETS[config.preset]
    weights = {
        weight: getattr(preset, weight) if getattr(config, weight) is None else getattr(config, weight)
        for weight in ("content_weight", "style_weight", "tv_weight")
    }
    derived = {
        "log_dir": config.log_dir or Path("runs") / name,
        "precision": config.precision or fast_precision(),
    }
    return replace(config, name=name, **derived, **weights)


def fast_precision() -> str:
    """The number type in which this machine trains fastest and well."""
    is_fast = has_fast_bfloat16() and not nvidia_devices()  # which GPU it is is not known yet
    return "bfloat16" if is_fast else "float32"


def _is_plain_name(name: str) -> bool:
    is_short = len(name.encode("utf-8", "surrogatepass")) <= MOST_NAME_BYTES
    is_shown = all(
        part.isprintable() or "\udc80" <= part <= "\udcff" for part in name
    )  # bytes that are not UTF-8
    return is_short and is_shown and not name.startswith(".") and Path(name).name == name != ""


def log_dir_of(values: Mapping[str, Any]) -> Path | None:
    """The log folder that `settled` gives these values; None where they do not tell it."""
    if values.get("log_dir") is not None:
        return values["log_dir"]
    name = values.get("name") or (values["style"].stem if values.get("style") is not None else None)
    return Path("runs") / name if name and _is_plain_name(name) else None


def settings_from_json(values: Any, source: str) -> dict[str, Any]:
    """JSON values as fields of TrainConfig. UsageError names `source` and what is wrong."""
    return from_json(TrainConfig, values, source, RETIRED_KEYS)


def changes(config: TrainConfig, previous: Mapping[str, Any], step: int) -> Iterator[str]:
    """One line for every setting that differs from the run so far. UsageError for one that cannot change."""
    for name, old in previous.items():
        new = getattr(config, name)
        if new == old:
            continue
        if name in FIXED_BY_STATE:
            raise UsageError(
                f"{flag(name)} is {new}, but the saved training has {old}; resume with {flag(name)} {old}, or start"
                " another run"
            )
        if name == "start_from":
            yield f"{flag(name)} is {new}, was {old}: no effect, training continues from the saved weights"
        else:
            yield f"{flag(name)} is {new}, was {old}: the new value applies from step {step} on"

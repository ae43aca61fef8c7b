"""The network of a training at its first step, and its optimizer."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from cli.flags import UsageError, report
from cli.tf_config import is_chief
from cli.train_config import BASE, NO_START, TrainConfig
from system.program import prog
from transformer.architecture import Architecture

PROG = prog("train")
CHOICE_PHOTOS = 4  # crops on which the styles of the base are compared


def architecture_of(config: TrainConfig) -> Architecture:
    """The shape of the network."""
    return Architecture(config.width, config.residual_blocks, config.outer_kernel)


def with_start(config: TrainConfig) -> TrainConfig:
    """The configuration with the default of --start-from in place: base where it fits the network, else none.

    Raises StyleError for a damaged base.
    """
    from transformer.export.base_folder import BASE_DIR, base_architecture

    if config.start_from is not None:
        return config
    fits = BASE_DIR.is_dir() and base_architecture(BASE_DIR) == architecture_of(config)
    return replace(config, start_from=BASE if fits else NO_START)


def load_start(config: TrainConfig) -> Any:
    """What the training starts from: a Base, the folder of a style, or None for random weights.

    Raises StyleError for a style or base that is missing or damaged, and UsageError for one of another network.
    """
    from transformer.export.base_folder import BASE_DIR, base_architecture, load_base
    from transformer.export.style_folder import find_style

    config = with_start(config)
    if config.start_from == NO_START:
        return None
    if config.start_from == BASE:
        _check_fits(config, base_architecture(BASE_DIR))
        return load_base(BASE_DIR)
    style_dir = find_style(config.start_from)
    _check_fits(config, _style_architecture(style_dir))
    return style_dir


def _style_architecture(style_dir: Path) -> Architecture | None:
    """The architecture of a style of this project; None if its ONNX file is missing or of another program."""
    from transformer.export.checksums import read_files
    from transformer.export.style_folder import ONNX_FILE
    from transformer.inference.own_graph import own_claim

    if not (style_dir / ONNX_FILE).is_file():
        return None
    claim = own_claim(read_files(style_dir, [ONNX_FILE])[ONNX_FILE])
    return claim and claim.architecture


def _check_fits(config: TrainConfig, architecture: Architecture | None) -> None:
    if architecture not in (None, architecture_of(config)):
        raise UsageError(
            f"--start-from {config.start_from} needs --width {architecture.width} --residual-blocks"
            f" {architecture.residual_blocks} --outer-kernel {architecture.outer_kernel}; give these, or --start-from"
            f" {NO_START}"
        )


def build_network(
    config: TrainConfig, loss: Callable, crops: Any, *, is_resumed: bool
) -> tuple[Any, Any, str]:
    """The network, with the weights that it starts from unless it is resumed, its optimizer, and a name of the start.

    loss and crops are those of the training: they decide which style of the base is the start. Raises StyleError.
    """
    import tensorflow as tf

    from transformer.network import Transformer
    from transformer.training.optimizer import Optimizer

    compute_dtype = tf.as_dtype(config.precision)
    network = Transformer(architecture_of(config), seed=config.seed, compute_dtype=compute_dtype)
    optimizer = Optimizer(
        list(network.parameters.values()),
        kernels=network.hidden_kernels if config.optimizer == "muon" else (),
        learning_rate=config.learning_rate,
        steps=config.steps,
        clip_factor=config.clip_factor,
    )
    return network, optimizer, "" if is_resumed else _set_start(config, network, loss, crops)


def _set_start(config: TrainConfig, network: Any, loss: Callable, crops: Any) -> str:
    from transformer.export.finished_style import load_parameters

    start = load_start(config)
    if isinstance(start, Path):
        load_parameters(start, network)
        return f"style {start.resolve().name}"
    if start is not None:
        return _start_from_base(start, config, network, loss, crops)
    if is_chief():
        report(PROG, "starts from random weights")
    return "random weights"


def _start_from_base(base: Any, config: TrainConfig, network: Any, loss: Callable, crops: Any) -> str:
    from transformer.training.many_styles import best_style

    side = config.stages[0].image_size
    photos = [crops.crop(number, side) for number in range(CHOICE_PHOTOS)]
    style = best_style(base, photos, loss, network.compute_dtype)
    for name, value in base.parameters_of(style).items():
        network.parameters[name].assign(value)
    if is_chief():
        report(
            PROG,
            f"starts from the base; the nearest of its {len(base.styles)} styles is {base.styles[style]}",
        )
    return f"base, {base.styles[style]}"

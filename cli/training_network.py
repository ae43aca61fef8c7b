"""The network of a training at its first step, and its optimizer."""

from typing import Any

from cli.train_config import TrainConfig


def build_network(config: TrainConfig, *, is_resumed: bool) -> tuple[Any, Any]:
    """The network, with the weights of --start-from if they are needed, and its optimizer. Raises StyleError."""
    import tensorflow as tf

    from transformer.architecture import Architecture
    from transformer.export.finished_style import load_parameters
    from transformer.export.style_folder import find_style
    from transformer.network import Transformer
    from transformer.training.optimizer import Optimizer

    architecture = Architecture(config.width, config.residual_blocks, config.outer_kernel)
    network = Transformer(architecture, seed=config.seed, compute_dtype=tf.as_dtype(config.precision))
    optimizer = Optimizer(
        list(network.parameters.values()),
        kernels=network.hidden_kernels if config.optimizer == "muon" else (),
        learning_rate=config.learning_rate,
        steps=config.steps,
        clip_factor=config.clip_factor,
    )
    if config.start_from is not None and not is_resumed:
        load_parameters(find_style(config.start_from), network)
    return network, optimizer

"""Exports a trained network as a style: a folder with a meta-graph checkpoint, an ONNX file and style.json."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from system.faults import disk_fault, first_line
from system.files import write_folder
from transformer.export.checksums import CHECKSUMS, file_digests, read_files
from transformer.export.meta_graph import write_meta_graph
from transformer.export.onnx_graph import build_onnx_model, with_half_precision
from transformer.export.style_folder import META_FILES, META_PREFIX, ONNX_FILE, STYLE_FILE, StyleError
from transformer.json_text import json_text
from transformer.network import Transformer


def load_parameters(style_dir: Path, network: Transformer) -> None:
    """Sets the parameters of `network` to those of a style with the same architecture.

    Raises StyleError if the style is missing or damaged, or if its network is another one.
    """
    try:
        read_files(style_dir, META_FILES)
        reader = tf.train.load_checkpoint(str(style_dir / META_PREFIX))
        found = {name: tuple(shape) for name, shape in reader.get_variable_to_shape_map().items()}
        _check_shapes(found, network.architecture.parameter_shapes())
        for name, variable in network.parameters.items():
            variable.assign(reader.get_tensor(f"transformer/{name}"))
    except Exception as error:  # TensorFlow raises many classes for damaged files
        raise StyleError(
            f"{style_dir}: its weights cannot be used ({first_line(error)}); give an undamaged style that was trained"
            " with the same --width, --residual-blocks and --outer-kernel"
        ) from error


def _check_shapes(
    found: Mapping[str, tuple[int, ...]], parameter_shapes: Mapping[str, tuple[int, ...]]
) -> None:
    wanted = {f"transformer/{name}": shape for name, shape in parameter_shapes.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise ValueError(
                f"its network differs in {name}: {found.get(name)} there, {wanted.get(name)} here"
            )


def export_style(style_dir: Path, network: Transformer, style_info: Mapping) -> None:
    """Writes the style folder `style_dir`, complete or not at all; an older folder is replaced.

    style_info: JSON values, written to style.json with the SHA-256 digests of the other files.
    Raises OSError if the folder cannot be written.
    """
    parameters = {name: variable.numpy().astype(np.float32) for name, variable in network.parameters.items()}
    parameters = with_half_precision(parameters, network.architecture)
    try:
        write_folder(style_dir, lambda folder: _write_style(folder, parameters, network, style_info))
    except tf.errors.OpError as error:  # TensorFlow's own class, even for a full disk
        raise OSError(disk_fault(error)) from error


def _write_style(
    folder: Path, parameters: Mapping[str, np.ndarray], network: Transformer, style_info: Mapping
) -> None:
    write_meta_graph(folder, parameters, network.architecture)
    model = build_onnx_model(parameters, network.architecture)
    (folder / ONNX_FILE).write_bytes(model.SerializeToString())
    info = {**style_info, CHECKSUMS: file_digests(folder)}
    (folder / STYLE_FILE).write_text(json_text(info, indent=2) + "\n", encoding="utf-8")

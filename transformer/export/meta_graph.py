"""Writes the network as a TensorFlow 1 meta-graph checkpoint, which the widespread "lesson 30" scripts can load.

Those scripts import the .meta file, restore the latest checkpoint, feed `X:0` and fetch `transformer/g:0`. The graph
contains inference only and takes 0.1 MB. Graphs that contain VGG as well take 250 MB.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from transformer.architecture import Architecture
from transformer.export.style_folder import META_PREFIX
from transformer.network import stylize

INPUT_TENSOR, OUTPUT_TENSOR = "X:0", "transformer/g:0"


def write_meta_graph(
    style_dir: Path, parameters: Mapping[str, np.ndarray], architecture: Architecture
) -> None:
    """Writes `checkpoint` and fast_style_transfer.{meta,index,data-00000-of-00001} into `style_dir`.

    All styles have the same variable names, so the weights of one style can be restored into the graph of another.
    """
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session(graph=graph) as session:
        variables = _build_inference_graph(parameters, architecture)
        saver = tf.compat.v1.train.Saver(
            list(variables.values()), save_relative_paths=True
        )  # the folder may be moved
        saver.export_meta_graph(
            str(style_dir / f"{META_PREFIX}.meta"), clear_devices=True, strip_default_attrs=True
        )
        # Assigned after the export, because the .meta file would otherwise contain the values as constants.
        session.run([variable.assign(parameters[name]) for name, variable in variables.items()])
        saver.save(session, str(style_dir / META_PREFIX), write_meta_graph=False)


def _build_inference_graph(
    parameters: Mapping[str, np.ndarray], architecture: Architecture
) -> dict[str, tf.Variable]:
    images = tf.compat.v1.placeholder(tf.float32, [None, None, None, 3], name=INPUT_TENSOR.removesuffix(":0"))
    with tf.compat.v1.variable_scope("transformer"):
        variables = {
            name: tf.compat.v1.get_variable(name, value.shape, initializer=tf.compat.v1.zeros_initializer())
            for name, value in parameters.items()
        }
    stylized = tf.clip_by_value(stylize(images, variables, architecture), 0.0, 255.0)
    tf.identity(stylized, name=OUTPUT_TENSOR.removesuffix(":0"))
    return variables

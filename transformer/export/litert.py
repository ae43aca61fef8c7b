"""Writes a style as a LiteRT (TensorFlow Lite) file for images of one size. All operations are builtin ones."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from system.faults import first_line
from system.held_stderr import stderr_held
from transformer.architecture import Architecture
from transformer.export.channels_last import channels_last_parameters, stylize
from transformer.export.style_folder import StyleError

INPUT_NAME, OUTPUT_NAME = "images", "stylized"  # in the signature serving_default


def build_litert_model(
    parameters: Mapping[str, np.ndarray],
    architecture: Architecture,
    size: tuple[int, int],
    *,
    has_half_weights: bool = False,
) -> bytes:
    """Builds a file whose input and output are float32 [1, H, W, 3], RGB 0..255.

    parameters: as `onnx_graph.read_onnx_parameters` returns them. size: height and width in pixels.
    has_half_weights: the kernels are stored in float16 and computed in float32.
    Raises StyleError if TensorFlow has no converter or cannot convert the network.
    """
    module = _FixedStyle(parameters, architecture, size)
    try:
        with stderr_held():  # the converter reports its steps
            function = module.serving_default.get_concrete_function()
            converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
            if has_half_weights:
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
                converter.target_spec.supported_types = [tf.float16]
            return converter.convert()
    except (AttributeError, ImportError) as error:  # of tf.lite, which TensorFlow may drop
        raise StyleError(
            f"this TensorFlow ({tf.__version__}) has no LiteRT converter ({first_line(error)}); use 2.21"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # the converter has classes of its own, which have no common base
        raise StyleError(
            f"TensorFlow {tf.__version__} cannot convert this network for LiteRT ({first_line(error)}); use 2.21, or"
            " another --format"
        ) from error


class _FixedStyle(tf.Module):
    """A style for images of one size."""

    def __init__(
        self, parameters: Mapping[str, np.ndarray], architecture: Architecture, size: tuple[int, int]
    ):
        super().__init__(name="style")
        converted = channels_last_parameters(parameters, architecture)
        constants = {name: tf.constant(value) for name, value in converted.items()}
        self.serving_default = tf.function(
            lambda images: {OUTPUT_NAME: stylize(images, constants, architecture)},
            input_signature=[tf.TensorSpec([1, *size, 3], tf.float32, name=INPUT_NAME)],
        )

"""The TensorFlow graph of exports, built from the parameters of the ONNX file."""

import numpy as np
import pytest
import tensorflow as tf

from transformer.architecture import Architecture
from transformer.export.channels_last import channels_last_parameters, stylize
from transformer.export.onnx_graph import onnx_parameters
from transformer.initial_parameters import initial_parameters
from transformer.network import stylize as stylize_in_training


def varied_parameters(architecture: Architecture) -> dict[str, np.ndarray]:
    """Parameters without equal scales or zero offsets, so that none can be mixed up unseen."""
    generator = np.random.default_rng(3)
    varied = initial_parameters(architecture, 0)
    for name, value in varied.items():
        if not name.endswith("kernel"):
            varied[name] = value + generator.normal(0, 0.3, value.shape).astype(np.float32)
    return varied


def random_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)


ARCHITECTURES = [Architecture(0.125, 1), Architecture(0.25, 0, outer_kernel=9), Architecture(0.125, 2, 3)]


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
@pytest.mark.parametrize("shape", [(1, 24, 32, 3), (2, 33, 18, 3), (1, 5, 3, 3)])
@pytest.mark.parametrize("is_fixed", [False, True])
def test_it_gives_the_clipped_picture_of_the_network_of_training(architecture, shape, is_fixed):
    parameters = varied_parameters(architecture)
    converted = channels_last_parameters(onnx_parameters(parameters, architecture), architecture)
    images = random_images(*shape)
    signature = [tf.TensorSpec(shape if is_fixed else [None, None, None, 3], tf.float32)]
    exported = tf.function(lambda images: stylize(images, converted, architecture), input_signature=signature)
    trained = stylize_in_training(tf.constant(images), parameters, architecture).numpy()
    np.testing.assert_allclose(exported(images), trained.clip(0, 255), atol=0.1)


def test_a_large_last_layer_is_clipped_to_the_range_of_pixels():
    architecture = Architecture(0.125, 0)
    parameters = varied_parameters(architecture)
    parameters["decoder/conv3/kernel"] = parameters["decoder/conv3/kernel"] * 100
    converted = channels_last_parameters(onnx_parameters(parameters, architecture), architecture)
    stylized = stylize(tf.constant(random_images(1, 16, 16, 3)), converted, architecture).numpy()
    assert (stylized.min(), stylized.max()) == (0, 255)

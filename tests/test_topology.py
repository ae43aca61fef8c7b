"""The layers of VGG16 and VGG19: names, depth and channels."""

import pytest

from loss_net.topology import CONV_LAYERS, deepest_layer, expected_kernel_shape, layer_names, least_side

VGG16_NAMES = (
    "relu1_1, relu1_2, relu2_1, relu2_2, relu3_1, relu3_2, relu3_3, "
    "relu4_1, relu4_2, relu4_3, relu5_1, relu5_2, relu5_3"
)


def test_conv_layers_are_the_convolutions_of_the_paper():
    assert [len(CONV_LAYERS[name]) for name in ("vgg16", "vgg19")] == [13, 16]
    assert CONV_LAYERS["vgg19"][:4] == ("conv1_1", "conv1_2", "conv2_1", "conv2_2")
    assert CONV_LAYERS["vgg19"][-1] == "conv5_4"
    assert set(CONV_LAYERS["vgg19"]) - set(CONV_LAYERS["vgg16"]) == {"conv3_4", "conv4_4", "conv5_4"}


NAMES = ("conv1_1", "conv1_2", "conv2_1", "conv3_1", "conv4_1", "conv5_1", "conv5_4")


def test_kernel_shapes_are_those_of_the_paper():
    channels = [(3, 64), (64, 64), (64, 128), (128, 256), (256, 512), (512, 512), (512, 512)]
    assert [expected_kernel_shape(name) for name in NAMES] == [(3, 3, *pair) for pair in channels]


def test_kernel_shapes_follow_the_channels_of_the_blocks():
    channels = [(3, 5), (5, 5), (5, 6), (6, 7), (7, 8), (8, 9), (9, 9)]
    shapes = [expected_kernel_shape(name, (5, 6, 7, 8, 9)) for name in NAMES]
    assert shapes == [(3, 3, *pair) for pair in channels]


def test_layer_names_are_those_of_the_literature():
    assert ", ".join(layer_names("vgg16")) == VGG16_NAMES
    assert set(layer_names("vgg19")) - set(layer_names("vgg16")) == {"relu3_4", "relu4_4", "relu5_4"}


def test_the_deepest_layer_is_found_in_any_order():
    assert deepest_layer(["relu1_2", "relu4_1", "relu3_4"], "vgg19") == "relu4_1"


@pytest.mark.parametrize(("layer", "side"), [("relu1_2", 1), ("relu2_1", 2), ("relu4_2", 8), ("relu5_4", 16)])
def test_a_deeper_layer_needs_a_larger_image(layer, side):
    assert least_side(layer) == side

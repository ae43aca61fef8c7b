"""The layers of VGG16 and VGG19 by name."""

import pytest

from loss_net.topology import deepest_layer, layer_names, least_side

VGG16_NAMES = (
    "relu1_1, relu1_2, relu2_1, relu2_2, relu3_1, relu3_2, relu3_3, "
    "relu4_1, relu4_2, relu4_3, relu5_1, relu5_2, relu5_3"
)


def test_layer_names_are_those_of_the_literature():
    assert ", ".join(layer_names("vgg16")) == VGG16_NAMES
    assert set(layer_names("vgg19")) - set(layer_names("vgg16")) == {"relu3_4", "relu4_4", "relu5_4"}


def test_the_deepest_layer_is_found_in_any_order():
    assert deepest_layer(["relu1_2", "relu4_1", "relu3_4"], "vgg19") == "relu4_1"


@pytest.mark.parametrize(("layer", "side"), [("relu1_2", 1), ("relu2_1", 2), ("relu4_2", 8), ("relu5_4", 16)])
def test_a_deeper_layer_needs_a_larger_image(layer, side):
    assert least_side(layer) == side

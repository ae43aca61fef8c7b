"""VGG features by name, against NumPy on a tiny VGG and against Keras' own VGG19 on the real one."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.io
import tensorflow as tf

from loss_net.topology import CONV_LAYERS, layer_names
from loss_net.vgg import build_vgg
from loss_net.weights import VggWeights, load_vgg_weights

VGG16_NAMES = ", ".join(layer_names("vgg16"))


def random_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)


def reference_features(weights: VggWeights, images: np.ndarray, pooling: str) -> dict[str, np.ndarray]:
    """All features of Simonyan & Zisserman's network in float64, from BGR images minus their mean."""
    feature_map = images[..., ::-1].astype(np.float64) - weights.mean_bgr
    features = {}
    for name in CONV_LAYERS[weights.architecture]:
        if name in ("conv2_1", "conv3_1", "conv4_1", "conv5_1"):
            feature_map = reference_pooling(feature_map, pooling)
        feature_map = reference_convolution(feature_map, weights.kernels[name]) + weights.biases[name]
        feature_map = np.maximum(feature_map, 0)
        features[f"relu{name[4:]}"] = feature_map
    return features


def reference_convolution(feature_map: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    _, height, width, _ = feature_map.shape
    padded = np.pad(feature_map, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return sum(
        padded[:, y : y + height, x : x + width] @ kernel[y, x].astype(np.float64)
        for y, x in np.ndindex(3, 3)
    )


def reference_pooling(feature_map: np.ndarray, pooling: str) -> np.ndarray:
    """Over 2x2 windows; where a side is odd, the last windows hold only the pixels that there are."""
    reduce = {"max": np.max, "avg": np.mean}[pooling]
    batch, height, width, channels = feature_map.shape
    pooled = np.zeros((batch, -(-height // 2), -(-width // 2), channels))
    for y, x in np.ndindex(pooled.shape[1:3]):
        pooled[:, y, x] = reduce(feature_map[:, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2], axis=(1, 2))
    return pooled


def assert_close_to_largest(
    actual: tf.Tensor, expected: np.ndarray, name: str, tolerance: float = 1e-3
) -> None:
    """Within `tolerance`, or where ReLU leaves next to nothing, within that of the map's largest value."""
    largest = np.abs(expected).max()
    assert largest > 0, f"{name} is dead, so that equal would mean nothing"
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=0.1 * tolerance * largest, err_msg=name)


@pytest.mark.parametrize("pooling", ["max", "avg"])
@pytest.mark.parametrize("size", [(1, 1), (13, 23), (32, 16)])
@pytest.mark.parametrize("architecture", CONV_LAYERS)
def test_features_equal_those_of_numpy(tiny_vgg_weights, architecture, size, pooling):
    weights = tiny_vgg_weights(architecture)
    images = random_images(2, *size, 3)
    names = layer_names(architecture)
    features = build_vgg(weights, names, pooling=pooling)(images, names)
    expected = reference_features(weights, images, pooling)
    assert list(features) == list(expected)
    for name in expected:
        assert features[name].shape == expected[name].shape
        assert_close_to_largest(features[name], expected[name], name)


def test_the_mean_color_is_what_gives_no_signal_even_at_the_border(tiny_vgg_weights):
    weights = replace(tiny_vgg_weights("vgg19"), mean_bgr=np.array([30, 20, 10], np.float32))
    images = np.broadcast_to(np.array([10, 20, 30], np.float32), (1, 4, 4, 3))
    feature_map = build_vgg(weights, ["relu1_1"])(images, ["relu1_1"])["relu1_1"]
    expected = np.broadcast_to(np.maximum(weights.biases["conv1_1"], 0), feature_map.shape)
    np.testing.assert_allclose(feature_map, expected, atol=1e-5)


def test_max_pooling_is_the_default(tiny_vgg_weights):
    weights, images = tiny_vgg_weights("vgg19"), random_images(1, 8, 8, 3)
    feature_map = build_vgg(weights, ["relu2_1"])(images, ["relu2_1"])["relu2_1"]
    expected = reference_features(weights, images, "max")["relu2_1"]
    assert_close_to_largest(feature_map, expected, "relu2_1")


def test_layers_come_in_the_order_asked_for_and_no_others(tiny_vgg_weights):
    vgg = build_vgg(tiny_vgg_weights("vgg19"), ["relu3_1"])
    assert list(vgg(random_images(1, 8, 8, 3), ["relu3_1", "relu1_2"])) == ["relu3_1", "relu1_2"]


def test_the_network_is_built_only_as_deep_as_asked(tiny_vgg_weights):
    vgg = build_vgg(tiny_vgg_weights("vgg19"), ["relu2_1", "relu1_1"])
    assert set(vgg.convolutions) == set(vgg.biases) == {"conv1_1", "conv1_2", "conv2_1"}


def test_a_call_computes_only_as_deep_as_it_asks(tiny_vgg_weights):
    vgg = build_vgg(tiny_vgg_weights("vgg19"), ["relu5_1"])
    function = tf.function(lambda images: vgg(images, ["relu1_2"]))
    operations = function.get_concrete_function(tf.TensorSpec([1, None, None, 3])).graph.get_operations()
    assert [operation.type for operation in operations].count("Conv2D") == 2


def test_the_network_is_frozen(tiny_vgg_weights):
    vgg = build_vgg(tiny_vgg_weights("vgg19"), ["relu2_1"])
    with tf.GradientTape() as tape:
        vgg(tf.constant(random_images(1, 8, 8, 3)), ["relu2_1"])
    assert tape.watched_variables() == ()
    assert not any(isinstance(value, tf.Variable) for value in vgg.biases.values())


def test_a_mean_of_ones_own_replaces_that_of_the_weights(tiny_vgg_weights):
    weights, images = tiny_vgg_weights("vgg19"), random_images(1, 8, 8, 3)
    vgg = build_vgg(weights, ["relu1_2"], mean_rgb=(10.0, 20.0, 30.0))
    other = replace(weights, mean_bgr=np.array([30, 20, 10], np.float32))
    expected = reference_features(other, images, "max")["relu1_2"]
    assert_close_to_largest(vgg(images, ["relu1_2"])["relu1_2"], expected, "relu1_2")


def test_valid_pooling_leaves_out_an_odd_row_and_column(tiny_vgg_weights):
    weights, images = tiny_vgg_weights("vgg19"), random_images(1, 9, 11, 3)
    feature_map = build_vgg(weights, ["relu2_1"], pool_padding="VALID")(images, ["relu2_1"])["relu2_1"]
    assert feature_map.shape[1:3] == (4, 5)


def test_gradient_reaches_the_images(tiny_vgg_weights):
    vgg, images = build_vgg(tiny_vgg_weights("vgg19"), ["relu5_4"]), tf.constant(random_images(1, 32, 32, 3))
    with tf.GradientTape() as tape:
        tape.watch(images)
        feature_map = vgg(images, ["relu5_4"])["relu5_4"]
    assert np.abs(tape.gradient(feature_map, images)).max() > 0


@pytest.mark.parametrize("compute_dtype", [tf.float32, tf.bfloat16])
def test_features_have_the_type_asked_for(tiny_vgg_weights, compute_dtype):
    vgg = build_vgg(tiny_vgg_weights("vgg19"), ["relu2_1"], compute_dtype=compute_dtype)
    features = vgg(random_images(1, 8, 8, 3), ["relu1_1", "relu2_1"])
    assert {feature_map.dtype for feature_map in features.values()} == {compute_dtype}


def test_the_mean_is_subtracted_before_bfloat16_takes_its_toll(tiny_vgg_weights):
    """Half a grey level: bfloat16 keeps it of a color near the mean, but not of 110 in 0..255."""
    weights = tiny_vgg_weights("vgg19")
    images = (weights.mean_bgr[::-1] + random_images(1, 8, 8, 3) / 255).astype(np.float32)
    feature_map, exact = (
        build_vgg(weights, ["relu1_1"], compute_dtype=compute_dtype)(images, ["relu1_1"])["relu1_1"]
        for compute_dtype in (tf.bfloat16, tf.float32)
    )
    np.testing.assert_allclose(tf.cast(feature_map, tf.float32), exact, atol=0.02 * np.abs(exact).max())


@pytest.mark.parametrize("layer", ["relu3_4", "conv1_1", "relu6_1", ""])
def test_an_unknown_layer_is_refused_with_the_names_allowed(tiny_vgg_weights, layer):
    with pytest.raises(ValueError) as caught:
        build_vgg(tiny_vgg_weights("vgg16"), ["relu1_1", layer])
    assert str(caught.value) == f"unknown vgg16 layer {layer!r}; choose from {VGG16_NAMES}"


def test_no_layer_at_all_is_refused_with_the_names_allowed(tiny_vgg_weights):
    with pytest.raises(ValueError) as caught:
        build_vgg(tiny_vgg_weights("vgg16"), [])
    assert str(caught.value) == f"no vgg16 layer given; choose from {VGG16_NAMES}"


def test_an_unknown_pooling_is_refused_with_the_names_allowed(tiny_vgg_weights):
    with pytest.raises(ValueError, match=r"^pooling must be one of max, avg, got 'mean'$"):
        build_vgg(tiny_vgg_weights("vgg19"), ["relu1_1"], pooling="mean")


@pytest.fixture(scope="module")
def real_weights(shared_dir) -> VggWeights:
    return load_vgg_weights(shared_dir / "vgg19/vgg19_notop.h5")


@pytest.mark.shared
def test_features_of_the_real_vgg19_equal_those_of_keras(real_weights, shared_dir):
    import keras

    model = keras.applications.VGG19(weights=str(shared_dir / "vgg19/vgg19_notop.h5"), include_top=False)
    names = layer_names("vgg19")
    outputs = [model.get_layer(f"block{name[4]}_conv{name[6]}").output for name in names]
    images = random_images(1, 32, 48, 3)
    expected = keras.Model(model.input, outputs)(keras.applications.vgg19.preprocess_input(images.copy()))
    features = build_vgg(real_weights, names)(images, names)
    for name, expected_map in zip(names, expected, strict=True):
        assert_close_to_largest(features[name], expected_map.numpy(), name)


@pytest.mark.shared
@pytest.mark.parametrize("height_first", [True, False])
def test_a_matconvnet_file_of_the_real_vgg19_gives_the_same_features(real_weights, tmp_path, height_first):
    path = write_mat(tmp_path / "imagenet-vgg-verydeep-19.mat", real_weights, height_first)
    mat_weights = load_vgg_weights(path)
    path.unlink()  # 80 MB, which pytest would keep
    names, images = layer_names("vgg19"), random_images(1, 32, 48, 3)
    features, expected = (build_vgg(weights, names)(images, names) for weights in (mat_weights, real_weights))
    for name in names:
        assert_close_to_largest(features[name], expected[name].numpy(), name, tolerance=1e-5)


def write_mat(path, weights: VggWeights, height_first: bool):
    """A MatConvNet file: RGB, and the axes of its kernels in either of the two orders that are about."""
    layers = np.empty((1, len(weights.kernels)), dtype=object)
    for index, (name, kernel) in enumerate(weights.kernels.items()):
        kernel = kernel[:, :, ::-1] if name == "conv1_1" else kernel
        parameters = np.empty((1, 2), dtype=object)
        parameters[0, 0] = kernel if height_first else kernel.swapaxes(0, 1)
        parameters[0, 1] = weights.biases[name].reshape(1, -1)
        layers[0, index] = {"name": name, "type": "conv", "weights": parameters}
    average_image = weights.mean_bgr[::-1].reshape(1, 1, 3)
    scipy.io.savemat(path, {"layers": layers, "meta": {"normalization": {"averageImage": average_image}}})
    return path

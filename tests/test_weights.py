"""Every known VGG weights file gives the same arrays; every unusable one gives one line that says what to do."""

import importlib.util
import re
import subprocess
import sys
import types
from dataclasses import replace
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from vgg_files import TINY_VGG_CHANNELS, random_vgg_weights, save_vgg_weights

from loss_net.topology import BLOCK_CHANNELS, CONV_LAYERS, expected_kernel_shape
from loss_net.weight_files import KERAS_MEAN_BGR, KNOWN_BLUE_FILTERS, read_weights_file
from loss_net.weights import (
    KERAS_MD5S,
    KERAS_URLS,
    VggWeights,
    WeightsError,
    check_vgg_source,
    keras_cache_path,
    load_vgg_weights,
)

REPOSITORY_DIR = Path(__file__).parents[1]
REAL_VGG_PATH = REPOSITORY_DIR.parent / "shared/vgg19/vgg19_notop.h5"
needs_vgg = pytest.mark.skipif(not REAL_VGG_PATH.exists(), reason=f"needs VGG19 at {REAL_VGG_PATH}")

load_tiny = partial(
    load_vgg_weights, block_channels=TINY_VGG_CHANNELS
)  # .h5 and .mat files do not say their own

# conv1_1[:, :, :, 0] of MatConvNet's imagenet-vgg-verydeep-19.mat, axes as scipy.io.loadmat returns them, the
# last one RGB. Source: printed in a tutorial of June 2017 by csdn.net user u011239443.
MATCONVNET_CONV1_1_FILTER_0 = [
    [
        [0.39416704, 0.46418372, 0.34119523],
        [0.37740308, 0.41810837, 0.33999205],
        [-0.04594866, -0.04806903, -0.04484424],
    ],
    [
        [0.2671299, 0.30511212, 0.23215917],
        [0.09986369, 0.10385381, 0.08978214],
        [-0.34100872, -0.37314063, -0.30331427],
    ],
    [
        [-0.07573577, -0.07646758, -0.07260918],
        [-0.28034249, -0.31070709, -0.246675],
        [-0.41602272, -0.46453714, -0.33683276],
    ],
]


@pytest.fixture
def tiny() -> VggWeights:
    """VGG19 with a few channels in each block and random values."""
    return random_vgg_weights("vgg19")


@pytest.fixture(autouse=True)
def mat_reader_untried(request, monkeypatch) -> None:
    """Spares most tests the process that tries the reader of .mat files, which takes a second."""
    if "crash" not in request.node.name:
        monkeypatch.setattr("loss_net.weight_files._try_mat_reader", lambda path: None)


@pytest.fixture
def cache_path(monkeypatch, tmp_path) -> Path:
    """Where an empty Keras cache, of this test only, would hold VGG19."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras_home"))
    path = keras_cache_path("vgg19")
    path.parent.mkdir(parents=True)
    return path


def assert_same_weights(actual: VggWeights, expected: VggWeights) -> None:
    assert actual.architecture == expected.architecture
    assert list(actual.kernels) == list(actual.biases) == list(CONV_LAYERS[expected.architecture])
    for name in expected.kernels:
        np.testing.assert_array_equal(actual.kernels[name], expected.kernels[name], err_msg=name)
        np.testing.assert_array_equal(actual.biases[name], expected.biases[name], err_msg=name)
        assert actual.kernels[name].dtype == actual.biases[name].dtype == np.float32
    np.testing.assert_array_equal(actual.mean_bgr, expected.mean_bgr)
    assert actual.mean_bgr.dtype == np.float32
    assert actual.block_channels == expected.block_channels


def rgb_kernels(weights: VggWeights) -> dict[str, np.ndarray]:
    return weights.kernels | {"conv1_1": weights.kernels["conv1_1"][:, :, ::-1]}


def write_h5(path: Path, weights: VggWeights, layout: str = "keras1") -> Path:
    """A file as Keras writes it; `layout` names who did, and "model" is a whole model with its optimizer."""
    names = {
        "keras1": ("{0}/{0}_W_1:0", "{0}/{0}_b_1:0"),
        "keras2": ("{0}/{0}/kernel:0", "{0}/{0}/bias:0"),
        "keras3": ("{0}/{0}/kernel", "{0}/{0}/bias"),
        "nested": ("vgg19/{0}/kernel:0", "vgg19/{0}/bias:0"),
        "model": ("model_weights/{0}/{0}/kernel:0", "model_weights/{0}/{0}/bias:0"),
    }[layout]
    with h5py.File(path, "w") as file:
        file["fc1/fc1_W_1:0"], file["fc1/fc1_b_1:0"] = np.ones((4, 3)), np.ones(3)
        file.create_group("block1_pool")
        for name, kernel in weights.kernels.items():
            block = f"block{name[4]}_conv{name[6]}"
            for dataset_path, array in zip(names, (kernel, weights.biases[name]), strict=True):
                file[dataset_path.format(block)] = array
                if layout == "model":
                    file[f"a_optimizer_weights/{dataset_path.format(block)}"] = np.zeros_like(array)
    return path


def write_mat(
    path: Path, weights: VggWeights, layout: str = "2015", *, height_first=False, average_image=None
) -> Path:
    """A file with the fields that MatConvNet's importer writes (utils/import-caffe.py) in its releases."""
    layers = []
    for name, kernel in rgb_kernels(weights).items():
        kernel = kernel if height_first else kernel.transpose(1, 0, 2, 3)
        bias = weights.biases[name]
        pad, stride = np.ones((1, 4)), np.ones((1, 2))
        parameters = np.empty((1, 2), dtype=object)
        parameters[0, 0], parameters[0, 1] = kernel, bias.reshape(1, -1)
        if layout == "2014":
            layer = {"type": "conv", "name": name, "filters": kernel, "biases": bias, "pad": pad}
        elif layout == "2015":
            layer = {"weights": parameters, "pad": pad, "type": "conv", "name": name, "stride": stride}
        else:
            parameters[0, 1] = bias.reshape(-1, 1)
            layer = {"name": name, "type": "conv", "weights": parameters, "pad": pad, "precious": 0.0}
        layers += [layer, {"type": "relu", "name": name.replace("conv", "relu")}]
    fc_parameters = np.empty((1, 2), dtype=object)
    fc_parameters[0, 0], fc_parameters[0, 1] = np.ones((7, 7, 2, 3)), np.ones((1, 3))
    layers += [{"type": "conv", "name": "fc6", "weights": fc_parameters}, {"type": "softmax"}]
    cell = np.empty((1, len(layers)), dtype=object)
    cell[0, :] = layers
    if average_image is None:
        height_width = (1, 1) if layout == "2017" else (224, 224)
        average_image = np.broadcast_to(KERAS_MEAN_BGR[::-1], (*height_width, 3))
    normalization = {"imageSize": np.array([[224.0, 224, 3]]), "averageImage": average_image}
    variables = {"normalization": normalization}
    variables = {"layers": cell, **({"meta": variables} if layout == "2017" else variables)}
    scipy.io.savemat(path, variables, oned_as="row")
    return path


def write_npz(path: Path, weights: VggWeights, layout: str = "ours") -> Path:
    """`layout` "ours" is BGR, "frossard" that of vgg16_weights.npz."""
    if layout == "ours":
        save_vgg_weights(path, weights)
    else:
        kernels = {f"{name}_W": kernel for name, kernel in rgb_kernels(weights).items()}
        biases = {f"{name}_b": bias for name, bias in weights.biases.items()}
        np.savez(path, fc6_W=np.ones((4, 3)), fc6_b=np.ones(3), **kernels, **biases)
    return path


WRITERS = {".h5": write_h5, ".mat": write_mat, ".npz": write_npz}


def refusal(path: Path, architecture: str = "vgg19") -> str:
    """What the message about an unusable file says between the path and the advice, which are checked here."""
    with pytest.raises(WeightsError) as caught:
        load_tiny(path, architecture)
    line = str(caught.value)
    number = architecture[3:]
    advice = (
        f"get {KERAS_URLS[architecture]} or imagenet-vgg-verydeep-{number}.mat "
        "(https://www.vlfeat.org/matconvnet/pretrained/) and pass its path with --vgg"
    )
    assert "\n" not in line
    assert line.startswith(f"{path}: ")
    assert line.endswith(f"; {advice}")
    return line.removeprefix(f"{path}: ").removesuffix(f"; {advice}")


def install_fake_keras(monkeypatch, get_file) -> None:
    keras = types.SimpleNamespace(utils=types.SimpleNamespace(get_file=get_file))
    monkeypatch.setitem(sys.modules, "keras", keras)


def with_known_filter(weights: VggWeights, *, scale: float = 1.0) -> VggWeights:
    """The weights beginning as the published ones of their architecture do, or nearly."""
    weights.kernels["conv1_1"][:, :, 0, 0] = scale * np.array(KNOWN_BLUE_FILTERS[weights.architecture])
    return weights


def with_kernel(weights: VggWeights, name: str, kernel: np.ndarray) -> VggWeights:
    return replace(weights, kernels=weights.kernels | {name: kernel})


@pytest.mark.parametrize("layout", ["keras1", "keras2", "keras3", "nested", "model"])
def test_h5_files_of_every_keras_are_read_exactly(tiny, tmp_path, layout):
    path = write_h5(tmp_path / "vgg.h5", tiny, layout)
    assert_same_weights(load_tiny(path), tiny)


@pytest.mark.parametrize("layout", ["2014", "2015", "2017"])
def test_mat_files_of_every_matconvnet_are_read_exactly(tiny, tmp_path, layout):
    path = write_mat(tmp_path / "vgg.mat", tiny, layout)
    assert_same_weights(load_tiny(path), tiny)


@pytest.mark.parametrize("height_first", [True, False])
@pytest.mark.parametrize("architecture", CONV_LAYERS)
def test_published_mat_files_are_read_in_either_order_of_axes(tiny, tmp_path, architecture, height_first):
    published = with_known_filter(random_vgg_weights(architecture))
    path = write_mat(tmp_path / "vgg.mat", published, height_first=height_first)
    assert_same_weights(load_tiny(path, architecture), published)


@pytest.mark.parametrize("scale", [0.9995, 1.0005])  # as rounded to float16
def test_a_height_first_mat_file_is_known_by_its_rounded_first_filter(tiny, tmp_path, scale):
    rounded = with_known_filter(tiny, scale=scale)
    path = write_mat(tmp_path / "vgg.mat", rounded, height_first=True)
    assert_same_weights(load_tiny(path), rounded)


@pytest.mark.parametrize("scale", [0.998, 1.002])
def test_a_mat_file_whose_first_filter_was_trained_on_is_transposed(tiny, tmp_path, scale):
    retrained = with_known_filter(tiny, scale=scale)
    path = write_mat(tmp_path / "vgg.mat", retrained, height_first=True)
    for name, kernel in load_tiny(path).kernels.items():
        np.testing.assert_array_equal(kernel, retrained.kernels[name].transpose(1, 0, 2, 3), err_msg=name)


def test_the_known_filter_of_vgg19_is_that_of_matconvnets_file():
    blue_filter = np.array(MATCONVNET_CONV1_1_FILTER_0)[:, :, 2]
    np.testing.assert_allclose(KNOWN_BLUE_FILTERS["vgg19"], blue_filter, rtol=0, atol=1e-7)


@pytest.mark.parametrize("shape", [(3,), (1, 3), (1, 1, 3), (224, 224, 3)])
def test_mat_mean_is_read_whatever_its_shape_and_turned_to_bgr(tiny, tmp_path, shape):
    average_image = np.broadcast_to([10.0, 20.0, 30.0], shape)
    path = write_mat(tmp_path / "vgg.mat", tiny, "2017", average_image=average_image)
    np.testing.assert_array_equal(load_tiny(path).mean_bgr, [30, 20, 10])


@pytest.mark.parametrize("layout", ["ours", "frossard"])
def test_npz_files_of_both_conventions_are_read_exactly(tiny, tmp_path, layout):
    path = write_npz(tmp_path / "vgg.npz", tiny, layout)
    assert_same_weights(load_tiny(path), tiny)


def test_npz_keeps_a_mean_of_its_own(tiny, tmp_path):
    other = replace(tiny, mean_bgr=np.array([1, 2, 3], np.float32))
    save_vgg_weights(tmp_path / "vgg.npz", other)
    np.testing.assert_array_equal(load_tiny(tmp_path / "vgg.npz").mean_bgr, [1, 2, 3])


def write_npz_with(path: Path, weights: VggWeights, **entries: np.ndarray) -> Path:
    """Our own form, with entries that replace or complete those of `save_vgg_weights`."""
    save_vgg_weights(path, weights)
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **arrays | entries)
    return path


def test_an_npz_file_says_its_own_block_channels(tiny, tmp_path):
    path = write_npz(tmp_path / "vgg.npz", tiny)
    for channels in (BLOCK_CHANNELS, (9, 8, 7, 6, 5)):  # the entry of the file counts
        assert_same_weights(load_vgg_weights(path, block_channels=channels), tiny)


@pytest.mark.parametrize(
    ("suffix", "layout"), [(".npz", "frossard"), (".npz", "ours"), (".h5", "keras3"), (".mat", "2015")]
)
def test_a_file_without_block_channels_must_have_the_published_ones(tiny, tmp_path, suffix, layout):
    unsaid = replace(tiny, block_channels=BLOCK_CHANNELS)  # so that no entry is written
    path = WRITERS[suffix](tmp_path / f"vgg{suffix}", unsaid, layout)
    with pytest.raises(
        WeightsError, match=r"conv1_1 kernel has shape \[3, 3, 3, 5\], expected \[3, 3, 3, 64\]; get"
    ):
        load_vgg_weights(path)


def test_block_channels_in_the_other_npz_form_are_ignored(tiny, tmp_path):
    path = write_npz(tmp_path / "vgg.npz", tiny, "frossard")
    with np.load(path) as file:
        np.savez(path, **file, block_channels=np.array(TINY_VGG_CHANNELS))
    with pytest.raises(WeightsError, match=r"expected \[3, 3, 3, 64\]; get"):
        load_vgg_weights(path)


def test_the_published_channels_need_no_entry(tmp_path):
    """One layer of full size is enough: the next one is missing."""
    name = "conv1_1"
    arrays = {f"{name}/kernel": np.ones(expected_kernel_shape(name), np.float32)}
    arrays |= {f"{name}/bias": np.ones(64, np.float32)}
    arrays |= {f"{other}/bias": np.ones(1) for other in CONV_LAYERS["vgg19"][1:]}
    np.savez(tmp_path / "vgg.npz", **arrays)
    with pytest.raises(WeightsError, match="conv1_2 kernel is missing; get"):
        load_vgg_weights(tmp_path / "vgg.npz")


EXPECTED_CHANNELS = "expected 5 whole numbers from 1 to 4096"
CHANNEL_REFUSALS = [
    ((5, 6, 7, 8), f"block_channels has shape [4], {EXPECTED_CHANNELS}"),
    ([(5, 6, 7, 8, 9)], f"block_channels has shape [1, 5], {EXPECTED_CHANNELS}"),
    (5, f"block_channels has shape [], {EXPECTED_CHANNELS}"),
    ((5.0, 6.0, 7.0, 8.0, 9.0), f"block_channels has type float64, {EXPECTED_CHANNELS}"),
    (("5", "6", "7", "8", "9"), f"block_channels has type <U1, {EXPECTED_CHANNELS}"),
    ((True,) * 5, f"block_channels has type bool, {EXPECTED_CHANNELS}"),
    ((5, 6, 0, 8, 9), f"block_channels is [5, 6, 0, 8, 9], {EXPECTED_CHANNELS}"),
    ((-5, 6, 7, 8, 9), f"block_channels is [-5, 6, 7, 8, 9], {EXPECTED_CHANNELS}"),
    ((5, 6, 7, 8, 4097), f"block_channels is [5, 6, 7, 8, 4097], {EXPECTED_CHANNELS}"),
    (
        (4096, 6, 7, 8, 1),
        "conv1_1 kernel has shape [3, 3, 3, 5], expected [3, 3, 3, 4096]",
    ),  # allowed, not true
]


@pytest.mark.parametrize(("channels", "problem"), CHANNEL_REFUSALS)
def test_block_channels_that_are_no_five_whole_numbers_are_refused(tiny, tmp_path, channels, problem):
    path = write_npz_with(tmp_path / "vgg.npz", tiny, block_channels=np.array(channels))
    assert refusal(path) == problem


def test_pickled_block_channels_are_refused_unopened(tiny, tmp_path):
    pickled = np.array([5, 6, 7, 8, {}], dtype=object)
    path = write_npz_with(tmp_path / "vgg.npz", tiny, block_channels=pickled)
    assert "Object arrays cannot be loaded" in refusal(path)


@pytest.mark.parametrize("suffix", WRITERS)
def test_vgg16_is_read_when_asked_for(tiny, tmp_path, suffix):
    vgg16 = random_vgg_weights("vgg16")
    path = WRITERS[suffix](tmp_path / f"vgg{suffix}", vgg16)
    assert_same_weights(load_tiny(path, "vgg16"), vgg16)


def test_the_source_and_upper_case_suffixes_are_kept(tiny, tmp_path):
    path = write_h5(tmp_path / "VGG.H5", tiny)
    assert load_tiny(path).source == str(path)


@pytest.mark.parametrize("suffix", WRITERS)
def test_good_files_pass_the_cheap_check(tiny, tmp_path, suffix):
    check_vgg_source(WRITERS[suffix](tmp_path / f"vgg{suffix}", tiny))


def test_a_big_endian_mat_header_passes_the_cheap_check(tmp_path):
    path = tmp_path / "vgg.mat"
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(124) + b"\x01\x00MI")
    check_vgg_source(path)


def test_vgg19_where_vgg16_is_asked_for_is_named(tiny, tmp_path):
    path = write_npz(tmp_path / "vgg.npz", tiny)
    assert refusal(path, "vgg16") == "contains VGG19 (it has conv3_4), but VGG16 is needed"


@pytest.mark.parametrize("suffix", WRITERS)
def test_vgg16_where_vgg19_is_asked_for_is_named(tiny, tmp_path, suffix):
    path = WRITERS[suffix](tmp_path / f"vgg{suffix}", random_vgg_weights("vgg16"))
    assert refusal(path) == "contains VGG16 (it has no conv3_4), but VGG19 is needed"


def test_unknown_architecture_is_refused():
    with pytest.raises(WeightsError, match=r"^unknown VGG architecture 'vgg13': choose from vgg16, vgg19$"):
        check_vgg_source(None, "vgg13")


CHEAP_REFUSALS = {
    "text.h5": (b"<!DOCTYPE html>", r"is not an HDF5 file, it starts with b'<!DOCTYP'"),
    "text.npz": (b"<!DOCTYPE html>", r"is not an .npz (zip) file, it starts with b'<!DOCTYP'"),
    "text.mat": (b"<!DOCTYPE html>", r"is not a MATLAB 5 file, it starts with b'<!DOCTYP'"),
    "empty.h5": (b"", "is empty, expected VGG weights"),
    "weights.pth": (b"PK", "unknown suffix '.pth', allowed are .h5, .mat, .npz"),
    "weights": (b"PK", "unknown suffix '', allowed are .h5, .mat, .npz"),
    "new.mat": (
        b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM",
        "is a MATLAB 7.3 file, convert it in MATLAB with save(..., '-v7')",
    ),
    "hdf5.mat": (b"\x89HDF\r\n\x1a\n", "is a MATLAB 7.3 file, convert it in MATLAB with save(..., '-v7')"),
}


@pytest.mark.parametrize("name", CHEAP_REFUSALS)
def test_a_file_that_is_plainly_wrong_fails_the_cheap_check_with_the_same_line(tmp_path, name):
    content, problem = CHEAP_REFUSALS[name]
    path = tmp_path / name
    path.write_bytes(content)
    assert refusal(path) == problem
    with pytest.raises(WeightsError, match=re.escape(f"{path}: {problem}; get ")):
        check_vgg_source(path)


def test_a_missing_file_is_refused(tmp_path):
    assert refusal(tmp_path / "vgg.h5") == "no such file, expected VGG weights"


def test_a_directory_is_refused(tmp_path):
    assert refusal(tmp_path) == "is a directory or device, expected a file of VGG weights"


def test_a_file_that_may_not_be_read_is_refused(tiny, tmp_path, monkeypatch):
    def refuse(path, mode):
        raise PermissionError("Permission denied")

    path = write_h5(tmp_path / "vgg.h5", tiny)
    monkeypatch.setattr(Path, "open", refuse)  # not by chmod, which does not stop root
    assert refusal(path) == "cannot be read (Permission denied)"


@pytest.mark.parametrize("fraction", [0.2, 0.5, 0.95])
@pytest.mark.parametrize("suffix", WRITERS)
def test_a_truncated_file_is_refused(tiny, tmp_path, suffix, fraction):
    path = WRITERS[suffix](tmp_path / f"vgg{suffix}", tiny)
    content = path.read_bytes()
    path.write_bytes(content[: int(fraction * len(content))])
    assert refusal(path).startswith("is truncated or damaged (")


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_file_without_a_layer_is_refused_by_the_layers_name(tiny, tmp_path, suffix):
    del tiny.kernels["conv4_2"], tiny.kernels["conv5_4"]
    path = WRITERS[suffix](tmp_path / f"vgg{suffix}", tiny)
    if suffix == ".npz":  # whose biases of these layers are still there
        assert refusal(path) == "conv4_2 kernel is missing"
    else:
        assert refusal(path) == "has no conv4_2, conv5_4, which VGG19 needs"


def test_a_file_without_a_bias_is_refused_by_the_layers_name(tiny, tmp_path):
    del tiny.biases["conv2_2"]
    assert refusal(write_npz(tmp_path / "vgg.npz", tiny)) == "conv2_2 bias is missing"


def test_a_file_of_another_network_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", dense=np.ones(3))
    assert refusal(tmp_path / "other.npz") == "contains no layer of a VGG network (conv1_1, conv1_2, ...)"


def test_a_mat_file_that_is_no_network_is_refused(tmp_path):
    scipy.io.savemat(tmp_path / "other.mat", {"x": np.ones(3)})
    expected = "contains no variable 'layers', so it is not a MatConvNet network"
    assert refusal(tmp_path / "other.mat") == expected


def test_a_mat_file_without_convolutions_is_refused(tmp_path):
    mean = {"averageImage": np.ones((1, 1, 3))}
    scipy.io.savemat(tmp_path / "other.mat", {"layers": np.ones((1, 3)), "normalization": mean})
    assert refusal(tmp_path / "other.mat") == "contains no layer of a VGG network (conv1_1, conv1_2, ...)"


@pytest.mark.parametrize("average_image", [np.zeros(2), np.empty((0, 0))])
def test_a_mat_file_without_a_mean_is_refused(tiny, tmp_path, average_image):
    path = write_mat(tmp_path / "vgg.mat", tiny, average_image=average_image)
    assert refusal(path) == "contains no normalization.averageImage, the mean color to subtract"


def test_a_mean_that_is_no_color_is_refused(tiny, tmp_path):
    path = write_mat(tmp_path / "vgg.mat", tiny, average_image=np.array([1.0, 2.0, 256.0]))
    assert refusal(path) == "mean color is [256.0, 2.0, 1.0], expected values in 0..255"


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_kernel_of_another_shape_is_refused_with_both_shapes(tiny, tmp_path, suffix):
    path = WRITERS[suffix](tmp_path / f"vgg{suffix}", with_kernel(tiny, "conv2_1", np.ones((3, 3, 6, 5))))
    assert refusal(path) == "conv2_1 kernel has shape [3, 3, 6, 5], expected [3, 3, 5, 6]"


@pytest.mark.parametrize(
    ("shape", "problem"),
    [
        (
            (3, 3, 3),
            "conv1_1 kernel has shape [3, 3, 3], expected [3, 3, 3, 5]",
        ),  # MATLAB drops a last axis of 1
        ((5, 5, 3, 5), "conv1_1 kernel has shape [5, 5, 3, 5], expected [3, 3, 3, 5]"),
        ((3, 3, 3, 0), "conv1_1 kernel is missing"),
    ],
)
def test_a_mat_file_whose_first_kernel_is_no_filter_of_vgg_is_refused_with_its_shape(
    tiny, tmp_path, shape, problem
):
    path = write_mat(tmp_path / "vgg.mat", with_kernel(tiny, "conv1_1", np.ones(shape)), height_first=True)
    assert refusal(path) == problem


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("suffix", WRITERS)
def test_values_that_are_not_finite_are_refused(tiny, tmp_path, suffix, value):
    tiny.kernels["conv3_3"][1, 1, 2, 3] = value
    path = WRITERS[suffix](tmp_path / f"vgg{suffix}", tiny)
    assert refusal(path) == "conv3_3 kernel contains values that are not finite"


def test_a_bias_that_is_not_finite_is_refused(tiny, tmp_path):
    tiny.biases["conv1_1"][0] = np.nan
    expected = "conv1_1 bias contains values that are not finite"
    assert refusal(write_h5(tmp_path / "vgg.h5", tiny)) == expected


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_kernel_of_zeros_is_refused(tiny, tmp_path, suffix):
    tiny.kernels["conv5_1"][:] = 0
    path = WRITERS[suffix](tmp_path / f"vgg{suffix}", tiny)
    assert refusal(path) == "conv5_1 kernel is all zeros"


def test_integer_kernels_are_refused(tiny, tmp_path):
    kernel = np.ones(expected_kernel_shape("conv1_2", TINY_VGG_CHANNELS), np.uint8)
    path = write_h5(tmp_path / "vgg.h5", with_kernel(tiny, "conv1_2", kernel))
    assert refusal(path) == "conv1_2 kernel has type uint8, expected floating point"


def test_pickled_arrays_are_refused_unopened(tmp_path):
    np.savez(tmp_path / "vgg.npz", conv1_1_W=np.array([{}], dtype=object))
    assert "Object arrays cannot be loaded" in refusal(tmp_path / "vgg.npz")


def test_without_a_path_the_cached_file_is_read_without_keras(tiny, cache_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras", None)  # makes its import fail
    write_h5(cache_path, tiny)
    check_vgg_source(None)
    loaded = load_tiny(None)
    assert_same_weights(loaded, tiny)
    assert loaded.source == str(cache_path)


def test_a_damaged_cached_file_is_refused_by_the_cheap_check(cache_path):
    cache_path.write_bytes(b"half a file")
    with pytest.raises(WeightsError) as caught:
        check_vgg_source(None)
    problem = "is not an HDF5 file, it starts with b'half a f'; delete it to download it again, or get http"
    assert str(caught.value).startswith(f"{cache_path}: {problem}")


def test_without_a_path_or_a_cached_file_keras_downloads(tiny, cache_path, monkeypatch):
    def get_file(name, url, *, cache_subdir, file_hash):
        assert (name, url, cache_subdir) == (cache_path.name, KERAS_URLS["vgg19"], "models")
        assert file_hash == KERAS_MD5S["vgg19"]
        return str(write_h5(cache_path, tiny))

    install_fake_keras(monkeypatch, get_file)
    check_vgg_source(None)
    assert not cache_path.exists()
    assert_same_weights(load_tiny(None), tiny)


def test_a_failed_download_says_where_to_put_the_file(cache_path, monkeypatch):
    def get_file(*_, **__):
        raise Exception("URL fetch failure:\nno network")

    install_fake_keras(monkeypatch, get_file)
    with pytest.raises(WeightsError) as caught:
        load_tiny(None)
    assert str(caught.value) == (
        f"cannot download {KERAS_URLS['vgg19']} (URL fetch failure: no network); download it on another "
        f"machine and put it at {cache_path}, or pass a VGG weights file (.h5, .mat, .npz) with --vgg PATH"
    )


def test_the_cache_is_in_the_home_directory_by_default(monkeypatch):
    monkeypatch.delenv("KERAS_HOME", raising=False)
    name = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    assert keras_cache_path("vgg16") == Path.home() / ".keras/models" / name


@pytest.mark.parametrize("architecture", CONV_LAYERS)
def test_the_download_is_the_one_of_the_installed_keras(architecture):
    keras_dir = Path(importlib.util.find_spec("keras").origin).parent  # found without importing it
    source = (keras_dir / f"src/applications/{architecture}.py").read_text()
    source = re.sub(r'"\s+"', "", source)  # joins the strings that Keras breaks over lines
    assert f'"{KERAS_URLS[architecture]}"' in source
    no_top_download = re.search(r'WEIGHTS_PATH_NO_TOP,.*?file_hash="(\w+)"', source, re.DOTALL)
    assert no_top_download[1] == KERAS_MD5S[architecture]


def test_importing_the_module_imports_nothing_slow():
    code = "import sys, loss_net.weights; print(*{'tensorflow', 'keras', 'h5py', 'scipy'} & set(sys.modules))"
    assert subprocess.check_output([sys.executable, "-c", code], cwd=REPOSITORY_DIR, text=True) == "\n"


@needs_vgg
def test_the_real_vgg19_is_read_and_agrees_with_matconvnets():
    check_vgg_source(REAL_VGG_PATH)
    loaded = load_vgg_weights(REAL_VGG_PATH)
    assert list(loaded.kernels) == list(CONV_LAYERS["vgg19"])
    for name, kernel in loaded.kernels.items():
        assert kernel.shape == expected_kernel_shape(name)
        assert loaded.biases[name].shape == kernel.shape[3:]
    rgb_filter = loaded.kernels["conv1_1"][:, :, ::-1, 0]
    np.testing.assert_allclose(rgb_filter, MATCONVNET_CONV1_1_FILTER_0, rtol=0, atol=1e-7)
    np.testing.assert_array_equal(loaded.mean_bgr, np.float32([103.939, 116.779, 123.68]))


def test_a_mat_file_that_would_crash_its_reader_is_refused(tiny, tmp_path, monkeypatch):
    (tmp_path / "scipy").mkdir()
    (tmp_path / "scipy" / "__init__.py").write_text("")
    (tmp_path / "scipy" / "io.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert "is truncated or damaged (it crashes SciPy's reader" in refusal(
        write_mat(tmp_path / "vgg.mat", tiny)
    )


def test_the_process_against_a_crash_imports_nothing_from_the_working_directory(tiny, tmp_path, monkeypatch):
    (tmp_path / "scipy.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    read_weights_file(write_mat(tmp_path / "vgg.mat", tiny))
    assert not (tmp_path / "ran").exists()


def test_the_process_against_a_crash_may_not_hang(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("loss_net.weight_files._TRY_MAT", "import time; time.sleep(60)")
    monkeypatch.setattr("loss_net.weight_files.MAT_SECONDS", 0.5)
    assert refusal(write_mat(tmp_path / "vgg.mat", tiny)) == "cannot be read within 0.5 s, it may be damaged"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such limit")
def test_the_process_against_a_crash_may_not_take_all_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("loss_net.weight_files.available_memory", lambda: 0)
    path = tmp_path / "vgg.mat"
    scipy.io.savemat(path, {"layers": np.zeros(10)})
    head, _, values = path.read_bytes().rpartition((80).to_bytes(4, "little"))
    path.write_bytes(head + b"\xf8\xff\xff\xff" + values)  # claims 4 GB
    assert refusal(path) == "needs more memory than there is, or is damaged"


def test_values_that_only_damage_gives_are_refused(tiny, tmp_path):
    kernel = tiny.kernels["conv2_1"].copy()
    kernel[0, 0, 0, 0] = 1e30
    path = write_h5(tmp_path / "vgg.h5", with_kernel(tiny, "conv2_1", kernel))
    assert "conv2_1 kernel contains 1e+30, expected values up to 1e+06" in refusal(path)


def test_an_array_of_absurd_size_is_refused_before_it_is_read(tiny, tmp_path):
    path = write_h5(tmp_path / "vgg.h5", tiny)
    with h5py.File(path, "a") as file:
        file.create_dataset("block9_conv9/kernel", (10**6, 10**6, 3, 3), "f4", chunks=(1, 1, 3, 3))
    assert "claims 9000000000000 values in one array" in refusal(path)


def test_an_archive_that_unpacks_without_end_is_refused(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("loss_net.weight_files.MOST_VALUES", 1000)
    assert "GB are read" in refusal(write_npz(tmp_path / "vgg.npz", tiny))


def test_values_from_other_files_are_refused(tiny, tmp_path):
    path = write_h5(tmp_path / "vgg.h5", tiny)
    (tmp_path / "other").write_bytes(bytes(36))
    with h5py.File(path, "a") as file:
        file.create_dataset("block9_conv9/bias", (9,), "f4", external=[(str(tmp_path / "other"), 0, 36)])
    assert "takes its values from other files" in refusal(path)

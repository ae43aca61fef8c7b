"""Find and read the VGG weights: Keras .h5, MatConvNet .mat, .npz; and say which file to put where.

Neither TensorFlow nor Keras is imported here before a download is needed, so that a door can call
`check_vgg_source` before the slow imports. Whatever the file's convention, the caller gets one:
kernels [3, 3, in, out] (height, width) for BGR input in 0..255 minus `mean_bgr`.
"""

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loss_net.topology import BLOCK_DEPTHS, CONV_LAYERS

BLOCK_CHANNELS = (64, 128, 256, 512, 512)  # Simonyan & Zisserman 2014 (arXiv:1409.1556), table 1

# Mean pixel of the ImageNet training set, 0..255, blue first.
# Source: keras/src/applications/imagenet_utils.py, mode "caffe".
KERAS_MEAN_BGR = (103.939, 116.779, 123.68)

# How the published VGGs begin: what filter 0 of conv1_1 does to blue, height before width. By it a .mat file
# is known, see _read_mat. In Keras' files, converted from the same Caffe models, this is kernel[:, :, 0, 0].
KNOWN_BLUE_FILTERS = {
    "vgg16": (  # devincody/CS179final_project, src/h5_utils.cpp, tests(): ans_weight, VGG19's beside it
        (0.42947057, 0.373467, -0.061360113),
        (0.27476987, 0.038680777, -0.36722335),
        (-0.05746817, -0.26224968, -0.35009676),
    ),
    "vgg19": (  # read from the file of KERAS_URLS
        (0.34119523, 0.33999205, -0.04484424),
        (0.23215917, 0.08978214, -0.30331427),
        (-0.07260918, -0.246675, -0.33683276),
    ),
}
KNOWN_FILTER_TOLERANCE = 1e-3  # of the largest value: above the rounding of float16, 0.0005

# keras/src/applications/vgg16.py and vgg19.py: WEIGHTS_PATH_NO_TOP, and the md5 sums inside VGG16(), VGG19().
# Written down again because Keras keeps the sums in functions, and an error must not wait for its import.
KERAS_URLS = {
    name: f"https://storage.googleapis.com/tensorflow/keras-applications/{name}/"
    f"{name}_weights_tf_dim_ordering_tf_kernels_notop.h5"
    for name in BLOCK_DEPTHS
}
KERAS_MD5S = {"vgg16": "6d6bbae143d832006294945121d1f1fc", "vgg19": "253f8cb515780f3b799900260a226db6"}

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"  # HDF5 file format specification, section II.A
ZIP_SIGNATURE = b"PK\x03\x04"  # .ZIP file format specification, 4.3.7
MAT_HEADER_BYTES = 128  # MAT-File Format (MathWorks), "Level 5 MAT-File Header Format"

Layers = dict[str, dict[str, np.ndarray]]  # "conv1_1" -> {"kernel": [3, 3, in, out], "bias": [out]}


class WeightsError(ValueError):
    """The VGG weights cannot be had from this source: one line saying what is wrong and what to do."""


@dataclass(frozen=True)
class VggWeights:
    """The convolutions of one VGG, for BGR input in 0..255 minus `mean_bgr`, whatever file they are from."""

    architecture: str  # "vgg16" or "vgg19"
    kernels: dict[str, np.ndarray]  # "conv1_1" -> float32 [3, 3, in, out], height before width
    biases: dict[str, np.ndarray]  # "conv1_1" -> float32 [out]
    mean_bgr: np.ndarray  # float32 [3], 0..255
    source: str  # the file that was read


def load_vgg_weights(path: Path | None, architecture: str = "vgg19") -> VggWeights:
    """Read the weights of `architecture` ("vgg16" or "vgg19") from `path`, by its suffix: .h5, .mat or .npz.

    Without a path: the file in Keras' cache if there is one, else Keras' own download.
    Raises WeightsError for a source that cannot be used, whatever is wrong with it.
    """
    check_vgg_source(path, architecture)
    path = _keras_weights_path(architecture) if path is None else Path(path)
    with _advising(path, architecture):
        layers, mean_bgr = _read(path)
        _check_architecture(layers, architecture)
        checked = {name: _checked_layer(name, layers[name]) for name in CONV_LAYERS[architecture]}
        mean_bgr = _checked_mean(mean_bgr)
    kernels = {name: layer["kernel"] for name, layer in checked.items()}
    biases = {name: layer["bias"] for name, layer in checked.items()}
    return VggWeights(architecture, kernels, biases, mean_bgr, str(path))


def check_vgg_source(path: Path | None, architecture: str = "vgg19") -> None:
    """Raise WeightsError if `path` is plainly no VGG weights file: a look at its name and first bytes.

    Without a path: looks at the file in Keras' cache if there is one; does not try whether a download works.
    """
    if architecture not in CONV_LAYERS:
        raise WeightsError(f"unknown VGG architecture {architecture!r}: choose from {', '.join(CONV_LAYERS)}")
    cache_path = keras_cache_path(architecture)
    if path is None and not cache_path.exists():
        return
    path = cache_path if path is None else Path(path)
    with _advising(path, architecture):
        _check_file(path)


def save_vgg_weights(path: Path, weights: VggWeights) -> None:
    """Write an .npz that `load_vgg_weights` reads back exactly; the file appears whole or not at all."""
    arrays = {f"{name}/kernel": kernel for name, kernel in weights.kernels.items()}
    arrays |= {f"{name}/bias": bias for name, bias in weights.biases.items()}
    with tempfile.TemporaryDirectory(dir=Path(path).parent) as partial_dir:
        partial_path = Path(partial_dir) / "weights.npz"
        np.savez(partial_path, mean_bgr=weights.mean_bgr, **arrays)
        os.replace(partial_path, path)


def keras_cache_path(architecture: str) -> Path:
    """Where Keras keeps its download, there or not (KERAS_HOME: keras/src/backend/config.py)."""
    keras_home = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
    return keras_home / "models" / KERAS_URLS[architecture].rpartition("/")[2]


def expected_kernel_shape(name: str) -> tuple[int, int, int, int]:
    """Shape (3, 3, in, out) of the kernel of convolution `name` ("conv1_1"), the same in VGG16 and VGG19."""
    block, index = int(name[4]), int(name[6])
    channels = (3, *BLOCK_CHANNELS)
    return (3, 3, channels[block - 1] if index == 1 else channels[block], channels[block])


def _keras_weights_path(architecture: str) -> Path:
    """The cached file, else the downloaded one; WeightsError if the download fails."""
    cache_path, url = keras_cache_path(architecture), KERAS_URLS[architecture]
    if cache_path.exists():  # whatever its sum: get_file would replace a file put there by hand
        return cache_path
    import keras

    try:
        file_hash = KERAS_MD5S[architecture]
        return Path(keras.utils.get_file(cache_path.name, url, cache_subdir="models", file_hash=file_hash))
    except Exception as error:  # a bare Exception for a failed download, ValueError for a wrong sum
        raise WeightsError(
            f"cannot download {url} ({_one_line(error)}); fetch it on another machine and put it at "
            f"{cache_path}, or pass a VGG weights file ({', '.join(FORMATS)}) with --vgg PATH"
        ) from error


@contextmanager
def _advising(path: Path, architecture: str) -> Iterator[None]:
    """Complete a WeightsError raised inside: which file it is about, and what to do."""
    try:
        yield
    except WeightsError as error:
        is_cached = path == keras_cache_path(architecture)
        raise WeightsError(
            f"{path}: {error}; {'delete it to download it again, or ' if is_cached else ''}get "
            f"{KERAS_URLS[architecture]} or imagenet-vgg-verydeep-{architecture.removeprefix('vgg')}.mat "
            "(https://www.vlfeat.org/matconvnet/pretrained/) and pass it with --vgg PATH"
        ) from error


def _one_line(error: Exception) -> str:
    """The message of a foreign error, short enough to stand inside ours."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def _check_file(path: Path) -> None:
    """Raise WeightsError unless `path` is a non-empty file whose suffix and first bytes agree."""
    try:
        if not path.exists():
            raise WeightsError("no such file, expected VGG weights")
        if not path.is_file():
            raise WeightsError("is a directory or device, expected a file of VGG weights")
        if path.suffix.lower() not in FORMATS:
            raise WeightsError(f"unknown suffix {path.suffix!r}, allowed are {', '.join(FORMATS)}")
        with path.open("rb") as file:
            head = file.read(MAT_HEADER_BYTES)
    except OSError as error:
        raise WeightsError(f"cannot be read ({_one_line(error)})") from error
    if not head:
        raise WeightsError("is empty, expected VGG weights")
    check_head, _ = FORMATS[path.suffix.lower()]
    check_head(head)


def _check_h5_head(head: bytes) -> None:
    if not head.startswith(HDF5_SIGNATURE):
        raise WeightsError(f"is not an HDF5 file, it starts with {head[:8]!r}")


def _check_npz_head(head: bytes) -> None:
    if not head.startswith(ZIP_SIGNATURE):
        raise WeightsError(f"is not an .npz (zip) file, it starts with {head[:8]!r}")


def _check_mat_head(head: bytes) -> None:
    """The header ends in the version and "MI", in the writer's byte order: 0x0100, or 0x0200 for 7.3."""
    version = head[124:]
    if version in (b"\x00\x02IM", b"\x02\x00MI") or head.startswith(HDF5_SIGNATURE):
        raise WeightsError("is a MATLAB 7.3 file, convert it in MATLAB with save(..., '-v7')")
    if version not in (b"\x00\x01IM", b"\x01\x00MI"):
        raise WeightsError(f"is not a MATLAB 5 file, it starts with {head[:8]!r}")


def _read(path: Path) -> tuple[Layers, np.ndarray]:
    """The layers found in the file, unchecked, for BGR input, and its mean [3] in BGR."""
    _check_file(path)
    _, read_format = FORMATS[path.suffix.lower()]
    try:
        return read_format(path)
    except WeightsError:
        raise
    except Exception as error:  # on damaged bytes the parsers raise almost anything; the cause stays chained
        raise WeightsError(f"is truncated or damaged ({_one_line(error)})") from error


def _read_h5(path: Path) -> tuple[Layers, np.ndarray]:
    """Keras: datasets below a group block1_conv1, told apart by rank as their names vary between versions."""
    import h5py

    layers: Layers = {}

    def collect(dataset_path: str, item: h5py.Group | h5py.Dataset) -> None:
        match = re.search(r"\bblock(\d)_conv(\d)/", dataset_path)
        role = {4: "kernel", 1: "bias"}.get(item.ndim) if isinstance(item, h5py.Dataset) else None
        if match and role:
            layers.setdefault(f"conv{match[1]}_{match[2]}", {}).setdefault(role, item[()])

    with h5py.File(path, "r") as file:
        # A whole saved model keeps the optimiser's slots, of the same ranks, beside its weights.
        file.get("model_weights", file).visititems(collect)
    return layers, np.array(KERAS_MEAN_BGR)


def _read_mat(path: Path) -> tuple[Layers, np.ndarray]:
    """MatConvNet, RGB: `layers` is a cell of structs; the mean is in `normalization`, later in `meta`.

    No field tells the order of a kernel's axes. In MatConvNet's own files it is [height, width, in, out]
    (vlfeat/matconvnet, utils/import-caffe.py: --transpose is its default), and they are known by their first
    filter. Any other file, as of retrained weights, is taken to be [width, height, in, out], the convention
    that most TensorFlow code assumes for such files, and is transposed (1, 0, 2, 3).
    """
    from scipy.io import loadmat

    variables = loadmat(path, variable_names=["layers", "normalization", "meta"])
    if "layers" not in variables:
        raise WeightsError("holds no 'layers', so it is not a MatConvNet network")
    layers = {}
    for struct in variables["layers"].flat:
        name = "".join(_field(struct, "name").flat)
        if re.fullmatch(r"conv\d_\d", name):
            layers[name] = _mat_layer(struct)
    meta = variables.get("meta", np.empty(0))
    normalization = variables.get("normalization", _field(meta, "normalization"))
    average_image = _field(normalization, "averageImage")
    if average_image.size == 0 or average_image.size % 3:
        raise WeightsError("holds no normalization.averageImage, the mean to subtract")
    # [3], [1, 1, 3] or [224, 224, 3], the latter with the same pixel everywhere.
    mean_rgb = average_image.reshape(-1, 3).mean(axis=0, dtype=np.float64)
    layers = _with_input_reversed(layers)
    if not _begins_as_published(layers):
        layers = {name: layer | {"kernel": layer["kernel"].swapaxes(0, 1)} for name, layer in layers.items()}
    return layers, mean_rgb[::-1]


def _begins_as_published(layers: Layers) -> bool:
    """Whether the layers, for BGR input, begin with a filter of KNOWN_BLUE_FILTERS, height before width."""
    kernel = layers.get("conv1_1", {}).get("kernel", np.empty(0))
    if kernel.shape != expected_kernel_shape("conv1_1"):
        return False  # the checks to come name what is missing or misshapen
    tolerances = {"rtol": 0, "atol": KNOWN_FILTER_TOLERANCE * np.abs(kernel[:, :, 0, 0]).max()}
    return any(np.allclose(kernel[:, :, 0, 0], known, **tolerances) for known in KNOWN_BLUE_FILTERS.values())


def _mat_layer(struct: np.ndarray) -> dict[str, np.ndarray]:
    """Kernel [3, 3, in, out] as stored and bias [out]: `weights` {kernel, bias}, in 2014 `filters`, `biases`."""
    if "weights" in struct.dtype.names:
        kernel, bias = _field(struct, "weights").flat
    else:
        kernel, bias = _field(struct, "filters"), _field(struct, "biases")
    return {"kernel": kernel, "bias": bias.ravel()}  # biases are [1, out] or [out, 1]


def _field(struct: np.ndarray, name: str) -> np.ndarray:
    """Field `name` of a 1x1 struct of loadmat, by name since the order varies; MATLAB's empty if it has none."""
    return struct[name].flat[0] if name in (struct.dtype.names or ()) else np.empty((0, 0))


def _read_npz(path: Path) -> tuple[Layers, np.ndarray]:
    """Keys conv1_1_W, conv1_1_b: RGB, as vgg16_weights.npz; conv1_1/kernel, conv1_1/bias: BGR, ours.

    The former is from cs.toronto.edu/~frossard/post/vgg16, whose code subtracts the same mean from RGB.
    """
    roles = {"_W": "kernel", "_b": "bias", "/kernel": "kernel", "/bias": "bias"}
    layers: Layers = {}
    with np.load(path, allow_pickle=False) as file:
        for key in file.files:
            match = re.fullmatch(r"(conv\d_\d)(_W|_b|/kernel|/bias)", key)
            if match:
                layers.setdefault(match[1], {})[roles[match[2]]] = file[key]
        mean_bgr = file["mean_bgr"] if "mean_bgr" in file else np.array(KERAS_MEAN_BGR)
        is_rgb = "conv1_1_W" in file
    return _with_input_reversed(layers) if is_rgb else layers, mean_bgr


def _with_input_reversed(layers: Layers) -> Layers:
    """Layers for RGB input made layers for BGR input with equal features: only the first sees colours."""
    first = layers.get("conv1_1", {})
    if np.ndim(first.get("kernel")) != 4:
        return layers  # the checks to come name what is missing or misshapen
    return layers | {"conv1_1": first | {"kernel": first["kernel"][:, :, ::-1]}}


def _check_architecture(layers: Layers, architecture: str) -> None:
    """Raise WeightsError unless the file holds every layer of `architecture` and is not of the other one."""
    missing = [name for name in CONV_LAYERS[architecture] if name not in layers]
    if not layers:
        raise WeightsError("holds none of the layers of a VGG (conv1_1, conv1_2, ...)")
    if architecture == "vgg19" and set(layers) == set(CONV_LAYERS["vgg16"]):
        raise WeightsError("holds VGG16 (it has no conv3_4), but VGG19 is asked for")
    if architecture == "vgg16" and "conv3_4" in layers:
        raise WeightsError("holds VGG19 (it has conv3_4), but VGG16 is asked for")
    if missing:
        raise WeightsError(f"lacks {', '.join(missing)} of {architecture.upper()}")


def _checked_layer(name: str, layer: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The layer in float32, or WeightsError if its shapes or values cannot be those of a trained VGG."""
    kernel_shape = expected_kernel_shape(name)
    kernel = _checked_array(f"{name} kernel", layer.get("kernel"), kernel_shape)
    if not kernel.any():
        raise WeightsError(f"{name} kernel is all zeros")
    return {"kernel": kernel, "bias": _checked_array(f"{name} bias", layer.get("bias"), kernel_shape[-1:])}


def _checked_array(label: str, array: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    """`array` as contiguous float32, or WeightsError if it is not finite numbers of `shape`."""
    if array is None or array.size == 0:
        raise WeightsError(f"{label} is missing")
    if array.shape != shape:
        raise WeightsError(f"{label} has shape {list(array.shape)}, expected {list(shape)}")
    if array.dtype.kind != "f":
        raise WeightsError(f"{label} has type {array.dtype}, expected floating point")
    if not np.isfinite(array).all():
        raise WeightsError(f"{label} holds values that are not finite")
    return np.ascontiguousarray(array, dtype=np.float32)


def _checked_mean(mean_bgr: np.ndarray) -> np.ndarray:
    """The mean as float32 [3], or WeightsError if it is no colour in 0..255."""
    mean_bgr = _checked_array("mean", mean_bgr, (3,))
    if mean_bgr.min() < 0 or mean_bgr.max() > 255:
        raise WeightsError(f"mean is {mean_bgr.tolist()}, expected values in 0..255")
    return mean_bgr


# Suffix -> (raise WeightsError for wrong first bytes, read the file).
FORMATS: dict[str, tuple[Callable[[bytes], None], Callable[[Path], tuple[Layers, np.ndarray]]]] = {
    ".h5": (_check_h5_head, _read_h5),
    ".mat": (_check_mat_head, _read_mat),
    ".npz": (_check_npz_head, _read_npz),
}

"""Finds, checks and loads the weights of the VGG network, and says which file to put where.

TensorFlow and Keras are not imported before a download is needed, so a door can call `check_vgg_source` before
the slow imports. All file formats give the same arrays: see `weight_files`.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loss_net.topology import BLOCK_CHANNELS, BLOCK_DEPTHS, CONV_LAYERS, expected_kernel_shape
from loss_net.weight_files import FORMATS, Layers, WeightsError, check_weights_file, read_weights_file
from system.faults import one_line

LARGEST_VALUE = (
    1e6  # of weights, far more than the published ones have; a flipped bit of an exponent gives more
)
MOST_CHANNELS = 4096  # of a block; the published networks have at most 512

# keras/src/applications/vgg16.py and vgg19.py: WEIGHTS_PATH_NO_TOP, and the md5 sums inside VGG16() and VGG19().
# They are copied because Keras keeps the sums inside functions, and error messages must not wait for its import.
KERAS_URLS = {
    name: f"https://storage.googleapis.com/tensorflow/keras-applications/{name}/"
    f"{name}_weights_tf_dim_ordering_tf_kernels_notop.h5"
    for name in BLOCK_DEPTHS
}
KERAS_MD5S = {"vgg16": "6d6bbae143d832006294945121d1f1fc", "vgg19": "253f8cb515780f3b799900260a226db6"}


@dataclass(frozen=True)
class VggWeights:
    """The weights of a VGG's convolutions, for BGR input in 0..255 minus `mean_bgr`."""

    architecture: str  # "vgg16" or "vgg19"
    kernels: dict[str, np.ndarray]  # "conv1_1" -> float32 [3, 3, in, out], height before width
    biases: dict[str, np.ndarray]  # "conv1_1" -> float32 [out]
    mean_bgr: np.ndarray  # float32 [3], 0..255
    source: str  # path of the file
    block_channels: tuple[int, ...] = BLOCK_CHANNELS  # output channels of the five blocks


def load_vgg_weights(
    path: Path | None, architecture: str = "vgg19", *, block_channels: tuple[int, ...] = BLOCK_CHANNELS
) -> VggWeights:
    """Loads the weights of `architecture` ("vgg16" or "vgg19") from an .h5, .mat or .npz file.

    If `path` is None, loads the file in Keras' cache, and lets Keras download it first if it is not there.
    block_channels: the output channels that the five blocks must have. If the file contains `block_channels`, which
    only our own .npz form can, the file's numbers are used instead.

    Raises WeightsError if the weights cannot be loaded.
    """
    check_vgg_source(path, architecture)
    path = _keras_weights_path(architecture) if path is None else Path(path)
    with _advising(path, architecture):
        file = read_weights_file(path)
        _check_architecture(file.layers, architecture)
        if file.block_channels is not None:
            block_channels = _checked_block_channels(file.block_channels)
        checked = {
            name: _checked_layer(name, file.layers[name], expected_kernel_shape(name, block_channels))
            for name in CONV_LAYERS[architecture]
        }
        mean_bgr = _checked_mean(file.mean_bgr)
    kernels = {name: layer["kernel"] for name, layer in checked.items()}
    biases = {name: layer["bias"] for name, layer in checked.items()}
    return VggWeights(architecture, kernels, biases, mean_bgr, str(path), block_channels)


def check_vgg_source(path: Path | None, architecture: str = "vgg19") -> None:
    """Raises WeightsError if `path` cannot be a VGG weights file, judged by its name and first bytes.

    If `path` is None, checks the file in Keras' cache, if it is there. Does not try whether a download works.
    """
    if architecture not in CONV_LAYERS:
        raise WeightsError(f"unknown VGG architecture {architecture!r}: choose from {', '.join(CONV_LAYERS)}")
    cache_path = keras_cache_path(architecture)
    if path is None and not cache_path.exists():
        return
    path = cache_path if path is None else Path(path)
    with _advising(path, architecture):
        check_weights_file(path)


def keras_cache_path(architecture: str) -> Path:
    """Returns where Keras keeps its download, whether or not it is there.

    The folder is KERAS_HOME or ~/.keras: keras/src/backend/config.py.
    """
    keras_home = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser()
    return keras_home / "models" / KERAS_URLS[architecture].rpartition("/")[2]


def _keras_weights_path(architecture: str) -> Path:
    """Returns the path of the cached file, after a download if necessary. Raises WeightsError if that fails."""
    cache_path, url = keras_cache_path(architecture), KERAS_URLS[architecture]
    if cache_path.exists():  # whatever its checksum: get_file would replace a file that the user put there
        return cache_path
    import keras

    try:
        file_hash = KERAS_MD5S[architecture]
        return Path(keras.utils.get_file(cache_path.name, url, cache_subdir="models", file_hash=file_hash))
    except Exception as error:  # Exception for a failed download, ValueError for a wrong checksum
        raise WeightsError(
            f"cannot download {url} ({one_line(error)}); download it on another machine and put it at "
            f"{cache_path}, or pass a VGG weights file ({', '.join(FORMATS)}) with --vgg PATH"
        ) from error


@contextmanager
def _advising(path: Path, architecture: str) -> Iterator[None]:
    """Completes a WeightsError that is raised inside: adds the path, and what to do."""
    try:
        yield
    except WeightsError as error:
        is_cached = path == keras_cache_path(architecture)
        raise WeightsError(
            f"{path}: {error}; {'delete it to download it again, or ' if is_cached else ''}get "
            f"{KERAS_URLS[architecture]} or imagenet-vgg-verydeep-{architecture.removeprefix('vgg')}.mat "
            "(https://www.vlfeat.org/matconvnet/pretrained/) and pass its path with --vgg"
        ) from error


def _check_architecture(layers: Layers, architecture: str) -> None:
    """Raises WeightsError unless `layers` contains every layer of `architecture` and is not the other one."""
    missing = [name for name in CONV_LAYERS[architecture] if name not in layers]
    if not layers:
        raise WeightsError("contains no layer of a VGG network (conv1_1, conv1_2, ...)")
    if architecture == "vgg19" and set(layers) == set(CONV_LAYERS["vgg16"]):
        raise WeightsError("contains VGG16 (it has no conv3_4), but VGG19 is needed")
    if architecture == "vgg16" and "conv3_4" in layers:
        raise WeightsError("contains VGG19 (it has conv3_4), but VGG16 is needed")
    if missing:
        raise WeightsError(f"has no {', '.join(missing)}, which {architecture.upper()} needs")


def _checked_block_channels(block_channels: np.ndarray) -> tuple[int, ...]:
    """Returns the channels of the five blocks, or raises WeightsError if they are not five whole numbers."""
    expected = f"expected {len(BLOCK_CHANNELS)} whole numbers from 1 to {MOST_CHANNELS}"
    if block_channels.shape != (len(BLOCK_CHANNELS),):
        raise WeightsError(f"block_channels has shape {list(block_channels.shape)}, {expected}")
    if block_channels.dtype.kind not in "iu":
        raise WeightsError(f"block_channels has type {block_channels.dtype}, {expected}")
    if block_channels.min() < 1 or block_channels.max() > MOST_CHANNELS:
        raise WeightsError(f"block_channels is {block_channels.tolist()}, {expected}")
    return tuple(block_channels.tolist())


def _checked_layer(
    name: str, layer: Mapping[str, np.ndarray], kernel_shape: tuple[int, ...]
) -> dict[str, np.ndarray]:
    """Returns the layer in float32, or raises WeightsError if it cannot be that of a trained VGG."""
    kernel = _checked_array(f"{name} kernel", layer.get("kernel"), kernel_shape)
    if not kernel.any():
        raise WeightsError(f"{name} kernel is all zeros")
    return {"kernel": kernel, "bias": _checked_array(f"{name} bias", layer.get("bias"), kernel_shape[-1:])}


def _checked_array(label: str, array: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray:
    """Returns `array` as contiguous float32, or raises WeightsError unless it is finite numbers of `shape`."""
    if array is None or array.size == 0:
        raise WeightsError(f"{label} is missing")
    if array.shape != shape:
        raise WeightsError(f"{label} has shape {list(array.shape)}, expected {list(shape)}")
    if array.dtype.kind != "f":
        raise WeightsError(f"{label} has type {array.dtype}, expected floating point")
    if not np.isfinite(array).all():
        raise WeightsError(f"{label} contains values that are not finite")
    if (largest := np.abs(array).max()) > LARGEST_VALUE:
        raise WeightsError(
            f"{label} contains {largest:.3g}, expected values up to {LARGEST_VALUE:g}; it is damaged"
        )
    return np.ascontiguousarray(array, dtype=np.float32)


def _checked_mean(mean_bgr: np.ndarray) -> np.ndarray:
    """Returns the mean color as float32 [3], or raises WeightsError if it is not in 0..255."""
    mean_bgr = _checked_array("mean color", mean_bgr, (3,))
    if mean_bgr.min() < 0 or mean_bgr.max() > 255:
        raise WeightsError(f"mean color is {mean_bgr.tolist()}, expected values in 0..255")
    return mean_bgr

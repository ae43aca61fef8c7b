"""The three formats of VGG weights files: Keras .h5, MatConvNet .mat and NumPy .npz.

Files differ in the order of the colors and of the kernels' axes. `read_weights_file` returns one convention:
kernels [3, 3, in, out], height before width, for BGR input in 0..255 minus the mean color. It does not check
shapes and values. The libraries of each format are imported only when a file of that format is read.
"""

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from system.child_python import run_python
from system.console import printable
from system.faults import one_line
from system.machine import available_memory

# Mean color of the ImageNet training set, blue first, 0..255.
# Source: keras/src/applications/imagenet_utils.py, mode "caffe".
KERAS_MEAN_BGR = (103.939, 116.779, 123.68)

# The weights from blue to output channel 0 of conv1_1 in the published networks, height before width. `_read_mat`
# recognizes a published file by them. Keras' files were converted from the same Caffe models and have these values
# in kernel[:, :, 0, 0].
KNOWN_BLUE_FILTERS = {
    "vgg16": (  # devincody/CS179final_project, src/h5_utils.cpp, tests(): ans_weight, next to VGG19's
        (0.42947057, 0.373467, -0.061360113),
        (0.27476987, 0.038680777, -0.36722335),
        (-0.05746817, -0.26224968, -0.35009676),
    ),
    "vgg19": (  # read from Keras' vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5
        (0.34119523, 0.33999205, -0.04484424),
        (0.23215917, 0.08978214, -0.30331427),
        (-0.07260918, -0.246675, -0.33683276),
    ),
}
KNOWN_FILTER_TOLERANCE = 1e-3  # of the largest value; float16 rounds by up to 0.0005 of it

HDF5_SIGNATURE = b"\x89HDF\r\n\x1a\n"  # HDF5 file format specification, section II.A
ZIP_SIGNATURE = b"PK\x03\x04"  # .ZIP file format specification, 4.3.7
MAT_VARIABLES = ("layers", "normalization", "meta")
MOST_VALUES = 2**28  # of one array: 1 GB in float32; the largest of the published networks has 2.4 million
MAT_SECONDS = 300  # for the 500 MB of a published file from a slow network disk
MORE_ADDRESS_SPACE = 2e9  # bytes that SciPy, its threads and allocators reserve beyond the memory they use
MAT_HEADER_BYTES = 128  # MAT-File Format (MathWorks), "Level 5 MAT-File Header Format"

Layers = dict[str, dict[str, np.ndarray]]  # "conv1_1" -> {"kernel": [3, 3, in, out], "bias": [out]}


class WeightsError(ValueError):
    """The VGG weights cannot be loaded. The message is one line: what is wrong, and what to do."""


@dataclass(frozen=True)
class WeightsFile:
    """What a file contains, for BGR input and with height before width, not yet checked."""

    layers: Layers
    mean_bgr: np.ndarray  # [3], 0..255
    block_channels: np.ndarray | None = None  # [5], if the file says how many channels each block has


def read_weights_file(path: Path) -> WeightsFile:
    """Reads a weights file; its suffix decides the format.

    Raises WeightsError if the file cannot be read or is damaged.
    """
    check_weights_file(path)
    _, read_format = FORMATS[path.suffix.lower()]
    try:
        return read_format(path)
    except WeightsError:
        raise
    except Exception as error:  # parsers raise almost any exception on damaged bytes; it stays chained
        raise WeightsError(f"is truncated or damaged ({printable(one_line(error, at_most=120))})") from error


def check_weights_file(path: Path) -> None:
    """Raises WeightsError unless `path` is a readable file whose suffix and first bytes agree.

    Only the first bytes are read, so this takes no time and imports no library.
    """
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
        raise WeightsError(f"cannot be read ({one_line(error)})") from error
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
    # the header ends with the version, 0x0100 or for 7.3 0x0200, and "MI", both in the writer's byte order
    version = head[124:]
    if version in (b"\x00\x02IM", b"\x02\x00MI") or head.startswith(HDF5_SIGNATURE):
        raise WeightsError("is a MATLAB 7.3 file, convert it in MATLAB with save(..., '-v7')")
    if version not in (b"\x00\x01IM", b"\x01\x00MI"):
        raise WeightsError(f"is not a MATLAB 5 file, it starts with {head[:8]!r}")


def _read_h5(path: Path) -> WeightsFile:
    """Reads a Keras file: the datasets below each group block1_conv1 and so on.

    The names of the datasets vary between Keras versions, so their rank tells kernel and bias apart.
    """
    import h5py

    layers: Layers = {}

    def collect(dataset_path: str, item: h5py.Group | h5py.Dataset) -> None:
        match = re.search(r"\bblock(\d)_conv(\d)/", dataset_path)
        role = {4: "kernel", 1: "bias"}.get(item.ndim) if isinstance(item, h5py.Dataset) else None
        if match and role:
            _check_h5_dataset(item)
            layers.setdefault(f"conv{match[1]}_{match[2]}", {}).setdefault(role, item[()])

    with h5py.File(path, "r") as file:
        # a saved model also contains the optimizer's variables, which have the same ranks
        file.get("model_weights", file).visititems(collect)
    return WeightsFile(layers, np.array(KERAS_MEAN_BGR))


def _check_h5_dataset(dataset) -> None:
    """Raises WeightsError for one that needs absurd memory, or that names other files to read."""
    if dataset.size > MOST_VALUES:
        raise WeightsError(f"claims {dataset.size} values in one array, at most {MOST_VALUES} are read")
    if dataset.external or dataset.is_virtual:
        raise WeightsError("takes its values from other files, which is not supported")


def _read_mat(path: Path) -> WeightsFile:
    """Reads a MatConvNet file, for RGB input: a cell array of structs, and the mean color.

    The file does not say how a kernel's axes are ordered. The published files have [height, width, in, out]
    (vlfeat/matconvnet, utils/import-caffe.py: --transpose is the default); they are recognized by their first
    filter. All other files, for example with retrained weights, are read as [width, height, in, out], the order
    that most TensorFlow programs assume for such files.
    """
    _try_mat_reader(path)
    from scipy.io import loadmat

    variables = loadmat(path, variable_names=MAT_VARIABLES)
    if "layers" not in variables:
        raise WeightsError("contains no variable 'layers', so it is not a MatConvNet network")
    layers = {}
    for struct in variables["layers"].flat:
        name = "".join(_field(struct, "name").flat)
        if re.fullmatch(r"conv\d_\d", name):
            layers[name] = _mat_layer(struct)
    layers = _with_input_reversed(layers)
    if not _begins_as_published(layers):
        layers = {name: layer | {"kernel": layer["kernel"].swapaxes(0, 1)} for name, layer in layers.items()}
    return WeightsFile(layers, _mat_mean_bgr(variables))


_TRY_MAT = """
from scipy.io import loadmat
try:
    loadmat(sys.argv[1], variable_names=sys.argv[2:])
except MemoryError:
    sys.exit(3)
"""


def _try_mat_reader(path: Path) -> None:
    """Reads the file in a process of its own first: some damaged bytes crash SciPy's reader. Raises WeightsError."""
    memory = available_memory() + MORE_ADDRESS_SPACE
    try:
        finished = run_python(
            _TRY_MAT, str(path.absolute()), *MAT_VARIABLES, seconds=MAT_SECONDS, more_memory=memory
        )
    except subprocess.TimeoutExpired as error:
        raise WeightsError(f"cannot be read within {MAT_SECONDS} s, it may be damaged") from error
    if finished.returncode < 0:
        raise WeightsError("is truncated or damaged (it crashes SciPy's reader of .mat files)")
    if finished.returncode == 3:
        raise WeightsError("needs more memory than there is, or is damaged")


def _mat_mean_bgr(variables: dict) -> np.ndarray:
    """Returns the mean color [3]. Older files keep `normalization` at the top, newer ones in `meta`."""
    meta = variables.get("meta", np.empty(0))
    normalization = variables.get("normalization", _field(meta, "normalization"))
    average_image = _field(normalization, "averageImage")
    if average_image.size == 0 or average_image.size % 3:
        raise WeightsError("contains no normalization.averageImage, the mean color to subtract")
    # [3], [1, 1, 3] or [224, 224, 3]; in the last, all pixels are equal
    return average_image.reshape(-1, 3).mean(axis=0, dtype=np.float64)[::-1]


def _begins_as_published(layers: Layers) -> bool:
    """Returns whether the layers, for BGR input, begin with one of KNOWN_BLUE_FILTERS, height before width."""
    kernel = layers.get("conv1_1", {}).get("kernel", np.empty(0))
    if kernel.ndim != 4 or kernel.shape[:3] != (3, 3, 3) or kernel.size == 0:
        return False  # the checks of load_vgg_weights report what is missing or has a wrong shape
    tolerances = {"rtol": 0, "atol": KNOWN_FILTER_TOLERANCE * np.abs(kernel[:, :, 0, 0]).max()}
    return any(np.allclose(kernel[:, :, 0, 0], known, **tolerances) for known in KNOWN_BLUE_FILTERS.values())


def _mat_layer(struct: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the kernel as stored and the bias [out]. Files of 2014 have `filters` and `biases`, not `weights`."""
    if "weights" in struct.dtype.names:
        kernel, bias = _field(struct, "weights").flat
    else:
        kernel, bias = _field(struct, "filters"), _field(struct, "biases")
    return {"kernel": kernel, "bias": bias.ravel()}  # biases are stored as [1, out] or [out, 1]


def _field(struct: np.ndarray, name: str) -> np.ndarray:
    """Returns a field of a 1x1 struct of loadmat, or MATLAB's empty array if there is no such field."""
    return struct[name].flat[0] if name in (struct.dtype.names or ()) else np.empty((0, 0))


def _read_npz(path: Path) -> WeightsFile:
    """Reads an .npz file of one of two forms.

    Keys conv1_1/kernel and conv1_1/bias: our own form, for BGR input. It may also contain `mean_bgr`, the mean
    color [3], and `block_channels`, the output channels of the five blocks.
    Keys conv1_1_W and conv1_1_b: for RGB input, as vgg16_weights.npz of cs.toronto.edu/~frossard/post/vgg16,
    whose program subtracts the mean of Keras.
    """
    roles = {"_W": "kernel", "_b": "bias", "/kernel": "kernel", "/bias": "bias"}
    layers: Layers = {}
    with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
        if (size := sum(entry.file_size for entry in file.zip.infolist())) > 4 * MOST_VALUES:
            raise WeightsError(
                f"contains {size / 1e9:.1f} GB, at most {4 * MOST_VALUES / 1e9:.1f} GB are read"
            )
        for key in file.files:
            match = re.fullmatch(r"(conv\d_\d)(_W|_b|/kernel|/bias)", key)
            if match:
                layers.setdefault(match[1], {})[roles[match[2]]] = file[key]
        mean_bgr = file["mean_bgr"] if "mean_bgr" in file else np.array(KERAS_MEAN_BGR)
        block_channels = file.get("block_channels")
        is_rgb = "conv1_1_W" in file
    if is_rgb:
        return WeightsFile(_with_input_reversed(layers), mean_bgr)
    return WeightsFile(layers, mean_bgr, block_channels)


def _with_input_reversed(layers: Layers) -> Layers:
    """Converts layers from RGB to BGR input. Only conv1_1 sees colors, so only its kernel changes."""
    first = layers.get("conv1_1", {})
    if np.ndim(first.get("kernel")) != 4:
        return layers  # the checks of load_vgg_weights report what is missing or has a wrong shape
    return layers | {"conv1_1": first | {"kernel": first["kernel"][:, :, ::-1]}}


# suffix -> (function that raises WeightsError for wrong first bytes, function that reads the file)
FORMATS: dict[str, tuple[Callable[[bytes], None], Callable[[Path], WeightsFile]]] = {
    ".h5": (_check_h5_head, _read_h5),
    ".mat": (_check_mat_head, _read_mat),
    ".npz": (_check_npz_head, _read_npz),
}

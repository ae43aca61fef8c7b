"""The flags of infer.py: those of both modes, of the trained networks, and of the slow method."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from cli.addresses import Address, place_of
from cli.flags import FLOAT_LIMIT, knob, number, path_of, whole_number
from system.arguments import shown
from system.program import IS_INSTALLED
from transformer.inference.devices import DEVICES, parsed_device
from transformer.inference.limits import AUTO, DEFAULT_GRAIN, FLOAT32, MAX_GRAIN, PRECISIONS, RUNTIMES
from transformer.inference.memory_plan import MIN_TILE

# Titles in --help, in the order in which it lists them.
STYLE = "the style (--mode fast)"
SHARED = "both modes"
PICTURE = "the picture (--mode fast)"
MANY = "folders, videos and large photos (--mode fast)"
NETWORK = "the network (--mode fast)"
CLUSTER = "many machines (--mode fast)"
SLOW = "the slow method (--mode optimize)"
SLOW_LOSS = "its loss (--mode optimize)"
SLOW_STEPS = "its optimization (--mode optimize)"
GROUPS = (STYLE, SHARED, PICTURE, MANY, NETWORK, CLUSTER, SLOW, SLOW_LOSS, SLOW_STEPS)
# Where --style and --sheet look for styles.
AMONG_STYLES = "that --list-styles prints" if IS_INSTALLED else "in checkpoints/"
OF_STYLES = "that --list-styles prints" if IS_INSTALLED else "of checkpoints/"


def style_and_weight(text: str) -> tuple[str, float]:
    """STYLE:WEIGHT, such as great_wave:2; the weight is 1 if none is given."""
    style, separator, weight = text.rpartition(":")
    try:
        style, value = (style, number(weight)) if separator else (text, 1.0)
    except argparse.ArgumentTypeError:
        style, value = text, 1.0  # the colon is part of a path
    path_of(style)  # raises ArgumentTypeError
    return style, value


def layer_and_weight(text: str) -> tuple[str, float]:
    """LAYER[:WEIGHT], such as relu4_2:0.5; the weight is 1 if none is given."""
    layer, separator, weight = text.partition(":")
    try:
        value = number(weight) if separator else 1.0
    except argparse.ArgumentTypeError:
        value = -1.0
    if not 0 <= value <= FLOAT_LIMIT:
        raise argparse.ArgumentTypeError(f"{shown(text)} is not LAYER or LAYER:WEIGHT, such as relu4_2:0.5")
    return layer, value


def tile_side(text: str) -> str | int:
    """auto, off, or a number of pixels."""
    if text in ("auto", "off"):
        return text
    side = _pixels(text)
    if side < MIN_TILE:
        raise argparse.ArgumentTypeError(f"{shown(text)} is not auto, off, or at least {MIN_TILE} pixels")
    return side


def device_name(text: str) -> str:
    """auto, cpu, gpu or gpu:N."""
    try:
        return str(parsed_device(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{shown(text)} is not {DEVICES}") from error


def cluster_address(text: str) -> str:
    """auto, local, HOST:PORT or ray://HOST:PORT."""
    from cluster.session import check_address

    try:
        return check_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}") from error


def height_by_width(text: str) -> tuple[int, int]:
    """HxW in pixels: 300x500 is 300 rows by 500 columns."""
    height, _, width = text.partition("x")
    size = _pixels(height), _pixels(width)
    if min(size) < 1:
        raise argparse.ArgumentTypeError(f"{shown(text)} is not HEIGHTxWIDTH in pixels, such as 300x500")
    return size


def _pixels(text: str) -> int:
    """A number of pixels; 0 for a text that is none."""
    try:
        return whole_number(text) if text.isdecimal() else 0
    except argparse.ArgumentTypeError:
        return 0


@dataclass(frozen=True)
class SharedConfig:
    """Flags of both modes."""

    photos: tuple[Path | Address, ...] = ()  # positional
    output: Path | None = knob(
        "the picture or video to write, or the folder for several (default: the current folder; cat.jpg becomes"
        " cat_STYLE.jpg, see --format, clip.mov becomes clip_STYLE.mp4, and an animated GIF or WebP stays one; --mode"
        " optimize and --sheet write .png); with --cluster also an address such as s3://BUCKET/FOLDER",
        group=SHARED, short="-o", parse=place_of,
    )  # fmt: skip
    max_side: int | None = knob(
        "shrink photos whose longest side is longer than this; the picture has the smaller size too",
        group=SHARED, metavar="PIXELS", at_least=1,
    )  # fmt: skip
    keep_colors: bool = knob(
        "keep the colors of the photo: take only light and dark from the stylized picture",
        False,
        group=SHARED,
    )
    mode: str = knob(
        "fast: a trained network; optimize: the slow method of Gatys et al., which needs no trained network",
        "fast", group=SHARED, choices=("fast", "optimize"),
    )  # fmt: skip
    list_styles: bool = knob("print the trained styles and exit", False, group=SHARED)
    list_presets: bool = knob("print the presets of the slow method and exit", False, group=SHARED)


@dataclass(frozen=True)
class FastConfig(SharedConfig):
    """--mode fast: one pass through a trained network."""

    style: str | None = knob(
        f"name of a style {AMONG_STYLES}, or its folder",
        group=STYLE,
        short="-s",
        metavar="STYLE",
        is_path=True,
    )
    blend: tuple[tuple[str, float], ...] = knob(
        "several styles instead of --style; their pictures are mixed in proportion to the weights",
        (), group=STYLE, metavar="STYLE[:WEIGHT]", parse=style_and_weight,
    )  # fmt: skip
    sheet: bool = knob(
        f"stylize each photo in every style {OF_STYLES} and write one sheet of all pictures with their names,"
        " PHOTO_styles.png",
        False, group=STYLE,
    )  # fmt: skip
    webcam: int | None = knob(
        "instead of photos: show what a camera sees in the style, live in a window; the number of the camera, 0 if none"
        " is given; needs the package opencv-python",
        group=STYLE, metavar="CAMERA", at_least=0, at_most=99, bare=0,
    )  # fmt: skip
    strength: float = knob(
        "strength of the style: 0 is the photo, 1 the full style", 1.0, group=PICTURE, at_least=0, at_most=1
    )
    mask: Path | None = knob(
        "picture that is white where the style applies and black where the photo stays", group=PICTURE
    )
    stroke_scale: float | None = knob(
        "size of the brush strokes: 1 as the network draws them at full size, 2 twice as large; the picture keeps its"
        " size (default: 1 for videos and for photos up to 1.7 megapixels; more for larger photos, such as 3.3 for 12"
        " megapixels, so that all of them look alike)",
        group=PICTURE, metavar="X", at_least=1, at_most=1000,
    )  # fmt: skip
    grain: float = knob(
        "fine noise that is added to photos and frames before the network: its standard deviation, in levels of 255;"
        " without any, a network draws stripes into drawings and plain backgrounds; 0: none",
        DEFAULT_GRAIN, group=PICTURE, metavar="LEVELS", at_least=0, at_most=MAX_GRAIN,
    )  # fmt: skip
    format: str | None = knob(
        "format of the pictures (default: that of the file of -o, or else that of each photo, so that cat.jpg becomes a"
        " JPEG file; PNG where the format of the photo cannot be written or cannot hold the picture)",
        group=PICTURE, choices=("jpg", "png", "webp", "tiff", "bmp"),
    )  # fmt: skip
    restore_size: bool = knob(
        "enlarge the picture to the size that the photo had before --max-side", False, group=PICTURE
    )
    skip_existing: bool = knob("leave out photos and videos whose picture exists already", False, group=MANY)
    temporal: float | None = knob(
        "video: share of the previous frame that is kept, moved along with what is seen, 0 to below 1; reduces flicker;"
        " without the package opencv-python-headless only what stands still is smoothed (default: 0.8, without the"
        " package 0)",
        group=MANY, at_least=0, below=1,
    )  # fmt: skip
    tile: str | int = knob(
        "side in pixels of the tiles in which large photos are computed, with the same result; auto: tiles when a photo"
        " needs much memory; off: never",
        "auto", group=MANY, metavar="auto|off|PIXELS", parse=tile_side,
    )  # fmt: skip
    max_memory: float | None = knob(
        "memory limit of --tile auto, in GB: photos that need more are computed in tiles, and tiles stay within it"
        " (default: 2 GB for whole photos, all free memory for tiles)",
        group=MANY, metavar="GB", above=0,
    )  # fmt: skip
    runtime: str = knob(
        "library that runs the network; auto: OpenVINO, if it is installed, for videos and for photos that have"
        " 2 megapixels or more together; otherwise ONNX Runtime, or TensorFlow if the style has no .onnx file",
        AUTO, group=NETWORK, choices=RUNTIMES,
    )  # fmt: skip
    precision: str = knob(
        "number type of the convolutions; bfloat16 needs OpenVINO and a CPU with AVX-512 BF16 or AMX, and takes less"
        " than half the time; pixels change by less than 1 level of 255 on average, by tens of levels at a few edges",
        FLOAT32, group=NETWORK, choices=PRECISIONS,
    )  # fmt: skip
    device: str = knob(
        "cpu, gpu, or gpu:N for the GPU with number N; auto: a GPU if the installed ONNX Runtime supports one,"
        " otherwise the CPU; where a GPU fails, the CPU is used and a line says why",
        AUTO, group=NETWORK, metavar="auto|cpu|gpu|gpu:N", parse=device_name,
    )  # fmt: skip
    trust: bool = knob(
        "run a graph of another program whatever operations it contains, without a time limit; such a graph can do"
        " anything on this machine",
        False, group=NETWORK,
    )  # fmt: skip
    benchmark: bool = knob(
        "print how long loading, the first pass and later passes take at the full size of a photo; write no picture",
        False,
        group=NETWORK,
    )

    cluster: str | None = knob(
        "stylize on a Ray cluster: local (this machine), HOST:PORT, ray://HOST:PORT, or auto, a running cluster or"
        " otherwise this machine (default: auto); photos may then also be patterns such as 'photos/*.jpg', addresses"
        " such as s3://BUCKET/FOLDER, and manifests that name photos (.txt, .lst: one per line; .parquet: the column"
        " path); pictures that exist are left out; needs the package ray",
        group=CLUSTER, metavar="ADDRESS", parse=cluster_address, bare="auto",
    )  # fmt: skip
    workers: int | None = knob(
        "most workers at the same time; each holds the style in its memory (default: what the CPUs or GPUs of the"
        " cluster allow)",
        group=CLUSTER, at_least=1,
    )  # fmt: skip
    cpus_per_worker: int = knob(
        "CPUs of each worker, which computes so many photos side by side",
        1,
        group=CLUSTER,
        at_least=1,
        at_most=1024,
    )
    gpus_per_worker: float = knob(
        "GPUs of each worker; 0.5 lets two workers share one; needs an ONNX Runtime for GPUs on the machines of the"
        " cluster",
        0.0, group=CLUSTER, metavar="GPUS", at_least=0, at_most=64,
    )  # fmt: skip
    report: Path | None = knob(
        "folder or address for the report of --cluster, Parquet files with a row for each photo: status, reason,"
        " seconds and sizes (default: _report in the folder of -o)",
        group=CLUSTER, metavar="FOLDER", parse=place_of,
    )  # fmt: skip


@dataclass(frozen=True)
class SlowConfig(SharedConfig):
    """--mode optimize: the pixels of one picture are optimized. None means: the preset decides."""

    style_images: tuple[Path, ...] = knob("style pictures; several are blended", (), group=SLOW)
    preset: str = knob(
        "loss, start, optimizer and sizes; --list-presets prints the presets", "athalye", group=SLOW
    )
    vgg: Path | None = knob(
        "VGG weights: Keras *_notop.h5, MatConvNet .mat, or .npz (default: downloaded by Keras)", group=SLOW
    )
    width: int | None = knob(
        "resize the photo to this width in pixels", group=SLOW, metavar="PIXELS", at_least=1
    )
    size: tuple[int, int] | None = knob(
        "resize the photo to this height and width in pixels",
        group=SLOW,
        metavar="HEIGHTxWIDTH",
        parse=height_by_width,
    )
    style_scales: tuple[float, ...] = knob(
        "size of each style picture; 1 is the size that the preset gives it",
        (),
        group=SLOW,
        above=0,
        at_most=1000,
    )
    style_blend_weights: tuple[float, ...] = knob(
        "weight of each style picture in the style loss (default: equal)",
        (),
        group=SLOW,
        at_least=0,
        limit=float("inf"),  # their sum is checked, and they are divided by it
    )
    checkpoint_output: str | None = knob(
        "where to write intermediate pictures, such as out_%s.png; %s becomes the iteration (default: the"
        " picture of -o is overwritten with the best one so far)",
        group=SLOW, metavar="PATTERN", is_path=True,
    )  # fmt: skip
    checkpoint_iterations: int = knob("iterations between intermediate pictures", 100, group=SLOW, at_least=1)
    print_iterations: int | None = knob("print the losses every N iterations", group=SLOW, at_least=1)
    history: Path | None = knob(
        "CSV file for the losses of every iteration; row 0 is the initial image", group=SLOW
    )
    content_weight: float | None = knob(
        "weight of the content loss (default: the preset's)", group=SLOW_LOSS, at_least=0
    )
    style_weight: float | None = knob(
        "weight of the style loss (default: the preset's)", group=SLOW_LOSS, at_least=0
    )
    tv_weight: float | None = knob(
        "weight of the total variation loss (default: the preset's)", group=SLOW_LOSS, at_least=0
    )
    content_layers: tuple[tuple[str, float], ...] | None = knob(
        "layers of the content loss (default: the preset's)",
        group=SLOW_LOSS, metavar="LAYER[:WEIGHT]", parse=layer_and_weight,
    )  # fmt: skip
    style_layers: tuple[tuple[str, float], ...] | None = knob(
        "layers of the style loss (default: the preset's)",
        group=SLOW_LOSS, metavar="LAYER[:WEIGHT]", parse=layer_and_weight,
    )  # fmt: skip
    architecture: str | None = knob(
        "loss network (default: the preset's)", group=SLOW_LOSS, choices=("vgg16", "vgg19")
    )
    pooling: str | None = knob(
        "pooling of the loss network (default: the preset's)", group=SLOW_LOSS, choices=("max", "avg")
    )
    precision: str = knob(
        "number type of the convolutions; Gram matrices and losses are always float32",
        "float32", group=SLOW_LOSS, choices=("float32", "bfloat16"),
    )  # fmt: skip
    initial: str | None = knob(
        "initial image: content, noise, or the path of an image (default: the preset's)",
        group=SLOW_STEPS,
        metavar="IMAGE",
        is_path=True,
    )
    noise_ratio: float | None = knob(
        "share of noise in the initial image, 0 to 1; the rest is the content or the image of --initial (default: the"
        " preset's for a start from noise, otherwise 0)",
        group=SLOW_STEPS, at_least=0, at_most=1,
    )  # fmt: skip
    optimizer: str | None = knob(
        "optimizer of the pixels (default: the preset's)", group=SLOW_STEPS, choices=("adam", "lbfgs")
    )
    learning_rate: float | None = knob(
        "learning rate of Adam (default: the preset's)", group=SLOW_STEPS, at_least=0
    )
    iterations: int | None = knob(
        "updates of the picture (default: the preset's)", group=SLOW_STEPS, at_least=1, limit=10**9
    )
    seed: int = knob("seed of the noise", 0, group=SLOW_STEPS, at_least=0)

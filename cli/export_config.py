"""The flags of export.py."""

from dataclasses import dataclass
from pathlib import Path

from cli.flags import UsageError, knob
from cli.infer_config import height_by_width

SAVED_MODEL, LITERT, ONNX, ONNX_HALF = "saved_model", "litert", "onnx", "onnx-fp16"
FORMATS = (SAVED_MODEL, LITERT, ONNX, ONNX_HALF)
DEFAULT_SIZE = (512, 512)  # of LiteRT files, height and width
MOST_PIXELS = 4096**2  # of --size; a network of half width takes 6 GB for so many

# Titles in --help, in the order in which it lists them.
WHAT = "what is written where"
CONTENT = "the network"
GROUPS = (WHAT, CONTENT)


@dataclass(frozen=True)
class ExportConfig:
    """One call: a style in one or more formats."""

    style: str = ""  # positional: name of a style in checkpoints/, or its folder
    format: tuple[str, ...] = knob(
        "one or more of: saved_model (TensorFlow Serving), litert (phones), onnx (ONNX Runtime, onnxruntime-web; with"
        " --size also OpenCV 4), onnx-fp16 (half precision, for GPUs)",
        (), group=WHAT, choices=FORMATS,
    )  # fmt: skip
    output: Path | None = knob("the folder to write to", group=WHAT, short="-o", metavar="DIR")
    overwrite: bool = knob(
        "replace files that exist; saved_model never replaces anything, it writes the next version",
        False,
        group=WHAT,
    )
    size: tuple[int, int] | None = knob(
        "size of the images of litert, onnx and onnx-fp16 (default: 512x512 for litert, any size for the others)",
        group=CONTENT, metavar="HEIGHTxWIDTH", parse=height_by_width,
    )  # fmt: skip
    half_weights: bool = knob(
        "litert: store the kernels in half precision, which halves the file", False, group=CONTENT
    )
    max_megapixels: float = knob(
        "saved_model: largest picture that the signature image_bytes takes; a megapixel takes about 0.25 GB of memory",
        4.0, group=CONTENT, above=0, at_most=200,
    )  # fmt: skip


def check_config(config: ExportConfig) -> None:
    """Raises UsageError for flags that are missing or contradict each other."""
    if not config.format:
        raise UsageError(f"give --format with one or more of {', '.join(FORMATS)}")
    if config.output is None:
        raise UsageError("give -o with the folder to write to")
    if config.size is not None and set(config.format) == {SAVED_MODEL}:
        raise UsageError(
            "--size belongs to litert, onnx and onnx-fp16; a SavedModel takes images of any size"
        )
    if config.size is not None and config.size[0] * config.size[1] > MOST_PIXELS:
        raise UsageError(
            f"--size may have at most {MOST_PIXELS} pixels, such as 4096x4096, got {config.size[0]}x{config.size[1]}"
        )
    if config.half_weights and LITERT not in config.format:
        raise UsageError("--half-weights belongs to --format litert; for ONNX give --format onnx-fp16")
    if config.max_megapixels != ExportConfig.max_megapixels and SAVED_MODEL not in config.format:
        raise UsageError("--max-megapixels belongs to --format saved_model")

"""Turning images into stylized images: ONNX Runtime, which starts in a fraction of a second, or TensorFlow.

Both runtimes are imported on use: fast inference never pays for the other one.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from transformer.quiet_start import start_tensorflow
from transformer.style_folder import META_FILES, ONNX_FILE, StyleError, first_line

RUNTIMES = ("auto", "onnx", "tensorflow")

Stylizer = Callable[[np.ndarray], np.ndarray]


def load_stylizer(checkpoint_dir: Path, runtime: str = "auto") -> Stylizer:
    """Loads a style once: a callable from an image [H, W, 3] or images [B, H, W, 3] to the stylized same shape.

    RGB float32 0..255 on both sides, any size. "auto" is "onnx" where the .onnx file is there, else
    "tensorflow". Raises StyleError for a folder that lacks what the runtime needs or holds it damaged.
    """
    if runtime not in RUNTIMES:
        raise ValueError(f"runtime must be one of {', '.join(RUNTIMES)}, got {runtime!r}")
    checkpoint_dir = Path(checkpoint_dir)
    if runtime == "auto":
        runtime = "onnx" if (checkpoint_dir / ONNX_FILE).is_file() else "tensorflow"
    load = {"onnx": _load_onnx, "tensorflow": _load_tensorflow}[runtime]
    return _accepting_single_images(load(checkpoint_dir))


def _accepting_single_images(stylize_batch: Stylizer) -> Stylizer:
    def stylize(images: np.ndarray) -> np.ndarray:
        images = np.asarray(images, dtype=np.float32)
        if images.ndim not in (3, 4) or images.shape[-1] != 3:
            raise ValueError(f"expected an image [H, W, 3] or images [B, H, W, 3], got shape {images.shape}")
        return stylize_batch(images[np.newaxis])[0] if images.ndim == 3 else stylize_batch(images)

    return stylize


def _load_onnx(checkpoint_dir: Path) -> Stylizer:
    path = checkpoint_dir / ONNX_FILE
    if not path.is_file():
        raise StyleError(f"{path}: no such file; use --runtime tensorflow or export the style again")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = available_cores()
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises a class per status code, without a common base
        raise StyleError(
            f"{path}: damaged or not an ONNX model ({first_line(error)}); export the style again"
        ) from error
    return lambda images: session.run(None, {"X": images})[0]


def _load_tensorflow(checkpoint_dir: Path) -> Stylizer:
    missing = [file for file in META_FILES if not (checkpoint_dir / file).is_file()]
    if missing:
        raise StyleError(
            f"{checkpoint_dir}: lacks {', '.join(missing)}; copy the whole folder or export it again"
        )
    try:
        start_tensorflow()
        from transformer.meta_graph import MetaGraphStylizer
    except ImportError as error:
        raise StyleError(
            "TensorFlow is not installed, which --runtime tensorflow needs; pip install -r requirements.txt"
        ) from error
    try:
        return MetaGraphStylizer(checkpoint_dir)
    except Exception as error:  # protobuf and TensorFlow raise unrelated classes for damaged files
        raise StyleError(
            f"{checkpoint_dir}: damaged meta graph ({first_line(error)}); export the style again"
        ) from error


def available_cores() -> int:
    """CPU cores that this process may use; in a container fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

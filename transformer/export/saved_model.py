"""Writes a style as a TensorFlow SavedModel, which TensorFlow Serving serves.

serving_default: images [B, H, W, 3], float32 RGB 0..255, to stylized images of the same shape. image_bytes: JPEG or
PNG files of any sizes to PNG files. Names that end with "_bytes" make TensorFlow Serving's REST interface use base64.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tensorflow as tf

from system.faults import disk_fault
from system.files import write_folder, write_text
from system.locks import locked
from transformer.architecture import Architecture
from transformer.export.channels_last import channels_last_parameters, stylize
from transformer.export.portable_style import ABOUT_FILE, about_text

EXTRA_DIR = "assets.extra"  # files that belong to a SavedModel and that its graph does not read
MOST_VERSION = 2**63 - 1  # TensorFlow Serving counts in 64 bits
_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_SIZE = (16, 8)  # offset and bytes of width and height in the first chunk, IHDR; each is big-endian


class ServedStyle(tf.Module):
    """The two signatures of a style. Both use the same variables.

    parameters: as `onnx_graph.read_onnx_parameters` returns them. max_pixels: of a picture for `image_bytes`; larger
    ones are refused before they are decoded, because a file of a few kilobytes can describe gigabytes of pixels.
    """

    def __init__(self, parameters: Mapping[str, np.ndarray], architecture: Architecture, max_pixels: int):
        super().__init__(name="style")
        self._architecture, self._max_pixels = architecture, max_pixels
        converted = channels_last_parameters(parameters, architecture)
        self.parameters = {
            name: tf.Variable(value, name=name, trainable=False) for name, value in converted.items()
        }

    @tf.function(input_signature=[tf.TensorSpec([None, None, None, 3], tf.float32, name="images")])
    def serving_default(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        """Stylizes pixels."""
        return {"stylized": stylize(images, self.parameters, self._architecture)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def image_bytes(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        """Stylizes files, one after the other, because each has its own size and takes much memory."""
        pictures = tf.map_fn(
            self._stylized_file, image_bytes, fn_output_signature=tf.string, parallel_iterations=1
        )
        return {"stylized_bytes": pictures}

    def _stylized_file(self, content: tf.Tensor) -> tf.Tensor:
        image = tf.cast(self._decoded(content), tf.float32)
        stylized = stylize(image[tf.newaxis], self.parameters, self._architecture)[0]
        return tf.io.encode_png(tf.cast(tf.round(stylized), tf.uint8))

    def _decoded(self, content: tf.Tensor) -> tf.Tensor:
        """The pixels of a file, uint8 RGB. Raises InvalidArgumentError for a file that is damaged or too large."""
        is_jpeg = tf.io.is_jpeg(content)
        has_size = tf.strings.length(content) >= sum(
            _PNG_SIZE
        )  # else the error would quote bytes that are no text
        is_png = tf.equal(tf.strings.substr(content, 0, len(_PNG_START)), _PNG_START) & has_size
        known = tf.debugging.Assert(is_jpeg | is_png, ["image_bytes: a file is neither JPEG nor PNG"])
        with tf.control_dependencies([known]):
            size = tf.cond(is_jpeg, lambda: _jpeg_size(content), lambda: _png_size(content))
        is_small = tf.reduce_prod(size) <= self._max_pixels
        message = f"image_bytes: a picture has more than {self._max_pixels} pixels; height and width:"
        with tf.control_dependencies([tf.debugging.Assert(is_small, [message, size])]):
            content = tf.identity(content)
        return tf.cond(
            is_jpeg,
            lambda: tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE"),
            lambda: tf.io.decode_png(content, channels=3),
        )


def _jpeg_size(content: tf.Tensor) -> tf.Tensor:
    return tf.cast(tf.io.extract_jpeg_shape(content)[:2], tf.int64)


def _png_size(content: tf.Tensor) -> tf.Tensor:
    width_and_height = tf.strings.substr(content, *_PNG_SIZE)
    sides = tf.io.decode_raw(width_and_height, tf.int32, little_endian=False)
    return tf.cast(tf.reverse(sides, [0]), tf.int64)


def write_saved_model(model_dir: Path, style: ServedStyle, about: Mapping) -> Path:
    """Writes the next version of a model, `model_dir`/1, /2 ..., complete or not at all; returns its folder.

    about: JSON values, written to assets.extra/about.json.
    Raises OSError if the folder cannot be written, or if another process writes a version of the model.
    """

    def fill(folder: Path) -> None:
        signatures = {"serving_default": style.serving_default, "image_bytes": style.image_bytes}
        tf.saved_model.save(style, str(folder), signatures)
        write_text(folder / EXTRA_DIR / ABOUT_FILE, about_text(about))

    try:
        with locked(model_dir):
            version_dir = model_dir / str(next_version(model_dir))
            write_folder(version_dir, fill)
    except tf.errors.OpError as error:  # TensorFlow's own class, even for a full disk
        raise OSError(disk_fault(error)) from error
    finally:
        with contextlib.suppress(OSError):
            model_dir.rmdir()  # only where it is empty: no version was written
    return version_dir


def next_version(model_dir: Path) -> int:
    """Returns the number after the highest one that a file or folder in `model_dir` has as its name; 1 if none has."""
    names = [path.name for path in model_dir.iterdir()] if model_dir.is_dir() else []
    numbers = [int(name) for name in names if name.isascii() and name.isdecimal() and len(name) <= 19]
    return 1 + max((number for number in numbers if number < MOST_VERSION), default=0)

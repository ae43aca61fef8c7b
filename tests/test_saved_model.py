"""The SavedModel for TensorFlow Serving: its two signatures, its versions, and hostile files."""

import io
import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import tensorflow as tf
from PIL import Image

from system.locks import locked
from transformer.export import saved_model
from transformer.export.onnx_graph import read_onnx_parameters
from transformer.export.saved_model import ServedStyle, next_version, write_saved_model
from transformer.export.style_folder import ONNX_FILE

MAX_PIXELS = 4000


@pytest.fixture(scope="module")
def served(style_dirs) -> ServedStyle:
    return ServedStyle(*read_onnx_parameters(style_dirs["waves"] / ONNX_FILE), MAX_PIXELS)


@pytest.fixture(scope="module")
def version_dir(served, tmp_path_factory) -> Path:
    return write_saved_model(tmp_path_factory.mktemp("models") / "waves", served, {"style": "waves"})


@pytest.fixture(scope="module")
def signatures(version_dir):
    return tf.saved_model.load(str(version_dir)).signatures


@pytest.fixture(scope="module")
def ours(style_dirs):
    session = onnxruntime.InferenceSession(str(style_dirs["waves"] / ONNX_FILE))
    return lambda images: session.run(None, {"X": np.asarray(images, np.float32)})[0]


def pixels_of(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def decoded(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.mark.parametrize("shape", [(1, 40, 31, 3), (3, 17, 24, 3), (1, 3, 5, 3)])
def test_serving_default_gives_our_picture_for_any_size_and_batch(signatures, ours, shape):
    images = np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)
    stylized = signatures["serving_default"](images=tf.constant(images))["stylized"]
    np.testing.assert_allclose(stylized, ours(images), atol=0.1)


def test_image_bytes_takes_files_of_several_sizes_and_gives_png(signatures, ours):
    photos = [pixels_of(40, 31), pixels_of(9, 50, seed=1)]
    files = tf.constant([encoded(Image.fromarray(photo)) for photo in photos])
    pictures = signatures["image_bytes"](image_bytes=files)["stylized_bytes"].numpy()
    for photo, picture in zip(photos, pictures, strict=True):
        assert picture.startswith(b"\x89PNG")
        expected = ours(photo[None])[0]
        np.testing.assert_allclose(decoded(picture).astype(float), expected, atol=0.6)  # rounded, not cut


FORMS = {
    "gray": lambda image: (image.convert("L"), "PNG"),
    "gray with alpha": lambda image: (image.convert("LA"), "PNG"),
    "alpha": lambda image: (with_alpha(image), "PNG"),
    "palette": lambda image: (image.quantize(8), "PNG"),
    "one bit": lambda image: (image.convert("1"), "PNG"),
    "16 bits": lambda image: (Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257), "PNG"),
    "gray JPEG": lambda image: (image.convert("L"), "JPEG"),
    "CMYK JPEG": lambda image: (image.convert("CMYK"), "JPEG"),
}


def with_alpha(image: Image.Image) -> Image.Image:
    image = image.convert("RGBA")
    image.putalpha(90)
    return image


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_png_and_jpeg_becomes_the_picture_of_its_rgb_pixels(signatures, ours, form):
    photo, kind = FORMS[form](Image.fromarray(pixels_of(24, 20)))
    content = encoded(photo, kind)
    picture = signatures["image_bytes"](image_bytes=tf.constant([content]))["stylized_bytes"].numpy()[0]
    shown = Image.fromarray(decoded(content) // 257).convert("L") if form == "16 bits" else photo
    if kind == "JPEG":
        shown = Image.open(io.BytesIO(content))
    if "A" in shown.getbands():
        shown = shown.convert("RGBA")
    expected = ours(np.asarray(shown.convert("RGB"))[None])[0]
    assert decoded(picture).shape == (24, 20, 3)
    levels = 12 if kind == "JPEG" else 1.5  # decoders of JPEG differ by a level or two before the network
    np.testing.assert_allclose(decoded(picture).astype(float), expected, atol=levels)


def png_header(width: int, height: int) -> bytes:
    """A PNG of a few bytes that claims a size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")


PNG, JPEG = (encoded(Image.fromarray(pixels_of(24, 20)), kind) for kind in ("PNG", "JPEG"))
BAD_FILES = {
    "empty": (b"", "neither JPEG nor PNG"),
    "text": (b"hello", "neither JPEG nor PNG"),
    "start of a PNG": (PNG[:12], "neither JPEG nor PNG"),
    "half a PNG": (PNG[: len(PNG) // 2], "Invalid PNG"),
    "start of a JPEG": (JPEG[:3], "Invalid JPEG"),
    "half a JPEG": (JPEG[: len(JPEG) // 2], "Invalid JPEG"),
    "GIF": (encoded(Image.fromarray(pixels_of(9, 9)).quantize(8), "GIF"), "neither JPEG nor PNG"),
    "a PNG of gigapixels": (png_header(40_000, 40_000), "more than 4000 pixels; height and width:"),
    "a JPEG that is too large": (encoded(Image.new("RGB", (80, 60)), "JPEG"), "more than 4000 pixels"),
    "a PNG without pixels": (png_header(0, 5), "Invalid PNG"),
    "a PNG of negative sides": (png_header(2**32 - 1, 2**32 - 1), "Invalid PNG"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_an_invalid_argument_whose_reason_is_text(signatures, name):
    content, reason = BAD_FILES[name]
    with pytest.raises(tf.errors.InvalidArgumentError, match=reason):
        signatures["image_bytes"](image_bytes=tf.constant([content]))


def test_the_names_make_tensorflow_serving_use_base64(signatures):
    signature = signatures["image_bytes"]
    assert list(signature.structured_input_signature[1]) == ["image_bytes"]
    assert list(signature.structured_outputs) == ["stylized_bytes"]


def test_the_weights_are_there_once_and_nothing_else_is_large(served, version_dir):
    weights = sum(variable.numpy().nbytes for variable in served.parameters.values())
    data = version_dir / "variables" / "variables.data-00000-of-00001"
    assert data.stat().st_size < weights + 10_000
    assert (version_dir / "saved_model.pb").stat().st_size < 500_000


def test_the_folder_says_what_it_is_where_tensorflow_serving_does_not_look(version_dir):
    assert json.loads((version_dir / "assets.extra" / "about.json").read_text()) == {"style": "waves"}


LOAD = """
import sys
import numpy as np, tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
images = np.load(sys.argv[2])
np.save(sys.argv[3], model.signatures["serving_default"](images=tf.constant(images))["stylized"].numpy())
"""


def test_a_program_that_knows_nothing_of_this_project_can_use_it(version_dir, ours, tmp_path):
    images = np.random.default_rng(0).uniform(0, 255, (1, 16, 21, 3)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    arguments = [str(version_dir), str(tmp_path / "images.npy"), str(tmp_path / "stylized.npy")]
    subprocess.run([sys.executable, "-c", LOAD, *arguments], check=True, cwd=tmp_path, capture_output=True)
    np.testing.assert_allclose(np.load(tmp_path / "stylized.npy"), ours(images), atol=0.1)


def test_a_second_export_is_the_next_version_and_the_first_one_stays(served, tmp_path):
    first, second = (write_saved_model(tmp_path / "waves", served, {}) for _ in range(2))
    assert (first.name, second.name) == ("1", "2")
    assert sorted(path.name for path in (tmp_path / "waves").iterdir()) == ["1", "2"]
    assert [path.name for path in tmp_path.iterdir()] == ["waves"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [((), 1), (("1", "3"), 4), (("0010", "2"), 11), (("x", "-5", "1.5", "²"), 1), (("9" * 30, "7"), 8)],
)
def test_the_next_version_is_one_more_than_the_highest(tmp_path, names, expected):
    for name in names:
        (tmp_path / name).mkdir()
    assert next_version(tmp_path) == expected


@pytest.mark.parametrize(
    "error", [OSError("no space left"), tf.errors.ResourceExhaustedError(None, None, "No space")]
)
def test_an_export_that_fails_leaves_no_version_and_is_an_os_error(served, tmp_path, monkeypatch, error):
    def fail(*_arguments):
        raise error

    monkeypatch.setattr(saved_model.tf.saved_model, "save", fail)
    with pytest.raises(OSError, match="(?i)no space"):
        write_saved_model(tmp_path / "waves", served, {})
    assert list(tmp_path.iterdir()) == []


def test_two_processes_cannot_write_one_version(served, tmp_path):
    with locked(tmp_path / "waves"), pytest.raises(BlockingIOError, match="another process"):
        write_saved_model(tmp_path / "waves", served, {})

"""data/decoding.py, whatever a file holds: a picture, or an ImageError of one line; nothing else."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from data.decoding import decode_file
from data.encoding import encode_file
from data.images import rgb_over
from data.picture import ImageError, Picture
from fuzz import picture as fuzz_picture

EXACT = {  # format -> modes that it stores without loss
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"),
    "BMP": ("1", "L", "P", "RGB"),
    "GIF": ("L", "P"),
    "WEBP": ("RGB", "RGBA"),
}
OPTIONS = {"WEBP": {"lossless": True, "exact": True}}
WITH_EXIF = ("PNG", "TIFF", "WEBP")
KINDS = [(name, mode) for name, modes in EXACT.items() for mode in modes]
sizes = st.tuples(st.integers(1, 40), st.integers(1, 40))


def examples(count: int):
    """The same examples in every run, however slow a decoder is."""
    return settings(
        max_examples=count, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck)
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("pictures")


def content_of(size: tuple[int, int], mode: str, seed: int) -> Image.Image:
    generator = np.random.default_rng(seed)
    if mode == "I;16":
        return Image.fromarray(generator.integers(0, 65536, size, dtype=np.uint16))
    channels = 4 if mode in ("LA", "RGBA") else 3
    return Image.fromarray(generator.integers(0, 256, (*size, channels), dtype=np.uint8)).convert(mode)


@examples(80)
@given(kind=st.sampled_from(KINDS), size=sizes, orientation=st.integers(1, 8), seed=st.integers(0, 2**16))
def test_every_mode_size_and_orientation_is_shown_as_it_was_stored(folder, kind, size, orientation, seed):
    name, mode = kind
    image = content_of(size, mode, seed)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = folder / "picture"
    image.save(path, name, **({"exif": exif} if name in WITH_EXIF else {}), **OPTIONS.get(name, {}))
    shown = rgb_over(decode_file(path).pixels)
    if name in WITH_EXIF:
        image.getexif()[0x0112] = orientation
        image = ImageOps.exif_transpose(image)
    if mode == "I;16":
        expected = np.repeat(np.asarray(image)[..., None] / 257, 3, axis=-1)
    else:
        rgba = np.asarray(image.convert("RGB" if mode == "CMYK" else "RGBA").convert("RGBA"), np.float32)
        expected = rgba[..., :3] * (rgba[..., 3:] / 255) + 255 * (1 - rgba[..., 3:] / 255)
    np.testing.assert_allclose(shown, expected, atol=0.01)


@examples(40)
@given(
    suffix=st.sampled_from([".png", ".tif", ".bmp"]),
    size=sizes,
    channels=st.sampled_from([3, 4]),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    seed=st.integers(0, 2**16),
)
def test_what_was_encoded_is_decoded(folder, suffix, size, channels, dtype, seed):
    if suffix == ".bmp":
        channels, dtype = 3, np.uint8
    pixels = np.random.default_rng(seed).integers(
        0, np.iinfo(dtype).max, (*size, channels), dtype, endpoint=True
    )
    path = folder / f"picture{suffix}"
    assert encode_file(path, Picture(pixels)) == ()
    decoded = decode_file(path).pixels
    assert decoded.dtype == dtype
    np.testing.assert_array_equal(decoded, pixels)


def picture_or_refusal(folder: Path, content: bytes) -> None:
    path = folder / "damaged"
    path.write_bytes(content)
    try:
        picture = decode_file(path)
    except ImageError as error:
        text = str(error)
        assert text.startswith(f"{path}: ") and text.isprintable() and len(text) < 600, text
        assert "; " in text  # the remedy
    else:
        assert picture.pixels.size > 0 and picture.pixels.dtype in (np.uint8, np.uint16, np.float32)


@examples(120)
@given(data=st.data())
def test_a_file_that_is_cut_anywhere_is_a_picture_or_one_line(folder, data):
    name = data.draw(st.sampled_from(sorted(fuzz_picture.seeds())))
    content = fuzz_picture.seeds()[name]
    picture_or_refusal(folder, content[: data.draw(st.integers(0, len(content) - 1))])


@examples(150)
@given(data=st.data())
def test_a_file_with_changed_bytes_is_a_picture_or_one_line(folder, data):
    name = data.draw(st.sampled_from(sorted(fuzz_picture.seeds())))
    content = bytearray(fuzz_picture.seeds()[name])
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    picture_or_refusal(folder, bytes(content))


@examples(60)
@given(content=st.binary(min_size=1, max_size=200))
def test_any_bytes_are_one_line(folder, content):
    picture_or_refusal(folder, content)


def test_every_seed_of_the_fuzz_target_is_a_picture(folder):
    for name, content in fuzz_picture.seeds().items():
        path = folder / "seed"
        path.write_bytes(content)
        assert decode_file(path).pixels.shape[:2] in ((18, 23), (23, 18)), name

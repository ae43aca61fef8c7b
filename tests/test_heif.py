"""HEIC photos: read by the optional package pillow-heif, and named with the package where it is missing."""

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

import infer
from data import containers, decoding, listing
from data.decoding import decode_file

HEIC_START = b"\0\0\0\x24ftypheic\0\0\0\0mif1heic"  # what phones write
SHARED_START = b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf"  # what other programs write
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture
def pillow_heif():
    return pytest.importorskip("pillow_heif")


@pytest.fixture
def heic(pillow_heif, pixels_u8):
    """A function that writes the picture of `pixels_u8`, all but lossless."""

    def save(path: Path, pixels: np.ndarray = pixels_u8, **options) -> Path:
        image = Image.fromarray(pixels)
        pillow_heif.from_pillow(image).save(path, quality=-1, chroma=444, **options)
        return path

    return save


def exif_bytes(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation], exif[ExifTags.Base.Make] = orientation, "Camera maker"
    return exif.tobytes()


# Without the package


@pytest.mark.parametrize("start", [HEIC_START, SHARED_START])
def test_a_heic_file_without_the_package_names_it(tmp_path, monkeypatch, error_of, start):
    monkeypatch.setattr(containers, "can_read_heif", lambda: False)
    (tmp_path / "cat.heic").write_bytes(start + bytes(99))
    message = error_of(decode_file, tmp_path / "cat.heic")
    assert message.endswith(
        "HEIC needs pip install pillow-heif; install it, or convert the photo to JPEG first"
    )


def test_a_folder_without_the_package_names_it(tmp_path, monkeypatch, capsys, style_dirs):
    monkeypatch.setattr(listing, "can_read_heif", lambda: False)
    (tmp_path / "photos").mkdir()
    for name in ("a.heic", "b.HEIC", "c.hif"):
        (tmp_path / "photos" / name).write_bytes(HEIC_START)
    Image.new("RGB", (20, 20)).save(tmp_path / "photos" / "d.png")
    call = [str(tmp_path / "photos"), "--style", str(style_dirs["waves"]), "-o", str(tmp_path / "art")]
    assert infer.main(call) == 0
    line = capsys.readouterr().err.splitlines()[0]
    assert line.endswith("photos: 3 files skipped: 2 .heic, 1 .hif; pip install pillow-heif to read them")


def test_a_package_that_cannot_be_loaded_is_named(tmp_path, monkeypatch, error_of):
    monkeypatch.setattr(containers, "can_read_heif", lambda: True)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "cat.heic").write_bytes(HEIC_START + bytes(99))
    assert "pillow-heif cannot be loaded: " in error_of(decode_file, tmp_path / "cat.heic")


def test_an_avif_file_is_not_taken_for_heic():
    start = b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf"
    assert not containers._is_heif(start) and containers._is_avif(start)
    assert not containers._is_avif(SHARED_START) and not containers._is_heif(b"\0\0\0\x1cmoovheic")


# With the package


def test_a_heic_photo_is_read(heic, tmp_path, pixels_u8):
    picture = decode_file(heic(tmp_path / "cat.heic"))
    assert picture.pixels.dtype == np.uint8 and picture.pixels.shape == pixels_u8.shape
    assert np.abs(picture.pixels.astype(int) - pixels_u8).max() <= 3


def test_a_transparent_heic_photo_keeps_its_alpha(heic, tmp_path, pixels_u8):
    alpha = np.where(np.arange(30) < 15, 0, 255) * np.ones((20, 1))
    pixels = np.dstack([pixels_u8, alpha]).astype(np.uint8)
    read = decode_file(heic(tmp_path / "cat.heic", pixels)).pixels
    np.testing.assert_array_equal(read[..., 3], pixels[..., 3])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_heic_photo_is_turned_upright_once(heic, tmp_path, pixels_u8, orientation):
    stored = heic(tmp_path / "cat.heic", exif=exif_bytes(orientation))
    Image.fromarray(pixels_u8).save(tmp_path / "cat.png", exif=exif_bytes(orientation))
    expected = decode_file(tmp_path / "cat.png").pixels.astype(int)
    read = decode_file(stored).pixels
    assert read.shape == expected.shape and np.abs(read - expected).max() <= 3


def test_exif_and_profile_of_a_heic_photo_are_in_the_picture(heic, tmp_path, style_dirs, monkeypatch):
    monkeypatch.chdir(tmp_path)
    heic(tmp_path / "cat.HEIC", exif=exif_bytes(6), icc_profile=PROFILE)
    assert infer.main(["cat.HEIC", "--style", str(style_dirs["waves"])]) == 0
    with Image.open("cat_waves.png") as picture:
        assert picture.size == (20, 30) and picture.info["icc_profile"] == PROFILE
        exif = picture.getexif()
        assert exif[ExifTags.Base.Make] == "Camera maker" and ExifTags.Base.Orientation not in exif


def test_10_bits_of_a_heic_photo_become_8(pillow_heif, tmp_path, pixels_u8):
    deep = np.ascontiguousarray(pixels_u8.astype(np.uint16) * 257)
    image = pillow_heif.from_bytes("RGB;16", (30, 20), deep.tobytes())
    image.save(tmp_path / "cat.heic", quality=-1, chroma=444)
    read = decode_file(tmp_path / "cat.heic").pixels
    assert read.dtype == np.uint8 and np.abs(read.astype(int) - pixels_u8).max() <= 3


def test_a_heic_photo_of_too_many_pixels_is_refused_before_it_is_decoded(
    heic, tmp_path, monkeypatch, error_of
):
    from pillow_heif.as_plugin import HeifImageFile

    monkeypatch.setattr(decoding, "MAX_PIXELS", 599)
    monkeypatch.setattr(HeifImageFile, "load", pytest.fail)
    message = error_of(decode_file, heic(tmp_path / "cat.heic"))
    assert "more than 0 megapixels" in message and "600 pixels" in message


def test_a_heic_photo_that_is_cut_short_is_refused(heic, tmp_path, error_of):
    content = heic(tmp_path / "cat.heic").read_bytes()
    for length in (40, len(content) // 2, len(content) - 9):
        (tmp_path / "cut.heic").write_bytes(content[:length])
        assert "damaged" in error_of(decode_file, tmp_path / "cut.heic")


def test_heic_photos_of_a_folder_are_stylized(heic, tmp_path, style_dirs):
    (tmp_path / "photos").mkdir()
    for name in ("a.heic", "b.HIF", "c.heif"):
        heic(tmp_path / "photos" / name)
    call = [str(tmp_path / "photos"), "--style", str(style_dirs["waves"]), "-o", str(tmp_path / "art")]
    assert infer.main(call) == 0
    assert {path.name for path in (tmp_path / "art").iterdir()} == {
        "a_waves.png",
        "b_waves.png",
        "c_waves.png",
    }


def test_a_jpeg_photo_does_not_load_the_package(tmp_path, pixels_u8):
    import subprocess

    Image.fromarray(pixels_u8).save(tmp_path / "cat.jpg")
    program = "import sys; from pathlib import Path; from data.decoding import decode_file;"
    program += " decode_file(Path(sys.argv[1])); print('pillow_heif' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "cat.jpg")],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "False"

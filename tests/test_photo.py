"""data/photo.py: bit depth, opacity, ICC profile and EXIF are kept."""

from pathlib import Path

import numpy as np
import pytest
import pyvips
from PIL import ExifTags, Image, ImageCms

from data.decoding import ImageError
from data.photo import load_photo, save_photo

HEIGHT, WIDTH = 12, 16
RGB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GRAY_PROFILE = RGB_PROFILE[:16] + b"GRAY" + RGB_PROFILE[20:]


@pytest.fixture
def deep_pixels() -> np.ndarray:
    """Random 16-bit RGBA, [12, 16, 4]; 8 bits cannot represent it."""
    return np.random.default_rng(0).integers(0, 65536, (HEIGHT, WIDTH, 4), dtype=np.uint16)


def write_deep(path: Path, pixels: np.ndarray, **fields: bytes) -> Path:
    image = pyvips.Image.new_from_array(np.ascontiguousarray(pixels), interpretation="rgb16")
    for name, value in fields.items():
        image.set_type(pyvips.GValue.blob_type, name.replace("_", "-"), value)
    image.write_to_file(str(path))
    return path


def read_deep(path: Path) -> np.ndarray:
    return pyvips.Image.new_from_file(str(path)).numpy()


def exif_bytes(orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation], exif[ExifTags.Base.Make] = orientation, "Camera maker"
    return exif.tobytes()


def negative(photo, path: Path, **options) -> None:
    """Saves 255 minus the photo, or 65535 minus it."""
    canvas = photo.canvas(path)
    full = np.iinfo(canvas.dtype).max
    canvas[:] = np.rint((255 - photo[:, :]) * (full / 255))
    save_photo(path, canvas, photo, **options)


@pytest.mark.parametrize("target_suffix", [".png", ".tif", ".tiff", ".PNG"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [3, 4])
def test_16_bits_in_are_16_bits_out(tmp_path, deep_pixels, suffix, target_suffix, channels):
    deep_pixels[..., 3] = 65535  # opaque, so that no background mixes in
    photo = load_photo(write_deep(tmp_path / f"in{suffix}", deep_pixels[..., :channels]))
    target = tmp_path / f"out{target_suffix}"
    negative(photo, target)
    written = read_deep(target)
    assert written.dtype == np.uint16 and written.shape == (HEIGHT, WIDTH, channels)
    np.testing.assert_allclose(written[..., :3].astype(int), 65535 - deep_pixels[..., :3].astype(int), atol=1)


def test_16_bit_gray_becomes_16_bit_color(tmp_path, deep_pixels):
    Image.fromarray(deep_pixels[..., 0]).save(tmp_path / "in.png")
    negative(load_photo(tmp_path / "in.png"), tmp_path / "out.png")
    expected = 65535 - np.repeat(deep_pixels[..., :1].astype(int), 3, axis=-1)
    np.testing.assert_allclose(read_deep(tmp_path / "out.png").astype(int), expected, atol=1)


def test_16_bits_become_8_where_the_format_has_no_more(tmp_path, deep_pixels):
    negative(load_photo(write_deep(tmp_path / "in.png", deep_pixels[..., :3])), tmp_path / "out.bmp")
    written = np.asarray(Image.open(tmp_path / "out.bmp"))
    np.testing.assert_allclose(written, 255 - deep_pixels[..., :3] / 257, atol=0.51)


def test_8_bits_stay_8_bits(tmp_path, deep_pixels):
    Image.fromarray(deep_pixels[..., :3].astype(np.uint8)).save(tmp_path / "in.png")
    negative(load_photo(tmp_path / "in.png"), tmp_path / "out.png")
    written = np.asarray(Image.open(tmp_path / "out.png"))
    assert read_deep(tmp_path / "out.png").dtype == np.uint8
    np.testing.assert_array_equal(written, 255 - deep_pixels[..., :3].astype(np.uint8))


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".webp", ".PNG"])
def test_opacity_is_kept(tmp_path, deep_pixels, suffix):
    pixels_u8 = deep_pixels.astype(np.uint8)
    Image.fromarray(pixels_u8).save(tmp_path / "in.png")
    photo = load_photo(tmp_path / "in.png")
    assert photo.shape == (HEIGHT, WIDTH, 3)
    negative(photo, tmp_path / f"out{suffix}")
    written = np.asarray(Image.open(tmp_path / f"out{suffix}"))
    assert written.shape == (HEIGHT, WIDTH, 4)
    np.testing.assert_array_equal(written[..., 3], pixels_u8[..., 3])


def test_16_bit_opacity_is_kept(tmp_path, deep_pixels):
    negative(load_photo(write_deep(tmp_path / "in.png", deep_pixels)), tmp_path / "out.tif")
    np.testing.assert_array_equal(read_deep(tmp_path / "out.tif")[..., 3], deep_pixels[..., 3])


def test_16_bit_opacity_becomes_8_bit_where_the_format_has_no_more(tmp_path, deep_pixels):
    negative(load_photo(write_deep(tmp_path / "in.png", deep_pixels)), tmp_path / "out.webp")
    written = np.asarray(Image.open(tmp_path / "out.webp"))[..., 3]
    np.testing.assert_allclose(written, deep_pixels[..., 3] / 257, atol=0.51)


def test_what_is_transparent_is_stylized_over_white(tmp_path):
    Image.new("RGBA", (4, 4), (10, 20, 30, 0)).save(tmp_path / "in.png")
    np.testing.assert_array_equal(load_photo(tmp_path / "in.png")[:, :], np.full((4, 4, 3), 255))


@pytest.mark.parametrize("suffix", [".jpg", ".bmp"])
def test_opacity_is_dropped_where_the_format_has_none(tmp_path, deep_pixels, suffix):
    Image.fromarray(deep_pixels.astype(np.uint8)).save(tmp_path / "in.png")
    negative(load_photo(tmp_path / "in.png"), tmp_path / f"out{suffix}")
    assert Image.open(tmp_path / f"out{suffix}").mode == "RGB"


@pytest.mark.parametrize("target_suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp"])
def test_profile_and_exif_are_carried_over_but_for_the_orientation(tmp_path, suffix, target_suffix):
    picture = Image.new("RGB", (WIDTH, HEIGHT), (200, 100, 50))
    picture.save(tmp_path / f"in{suffix}", icc_profile=RGB_PROFILE, exif=exif_bytes(orientation=6))
    photo = load_photo(tmp_path / f"in{suffix}")
    assert photo.shape == (WIDTH, HEIGHT, 3)  # turned upright
    negative(photo, tmp_path / f"out{target_suffix}")
    with Image.open(tmp_path / f"out{target_suffix}") as written:
        assert written.size == (HEIGHT, WIDTH)
        assert written.info["icc_profile"] == RGB_PROFILE
        exif = written.getexif()
        assert exif[ExifTags.Base.Make] == "Camera maker"
        assert exif.get(ExifTags.Base.Orientation, 1) == 1


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_profile_and_exif_of_16_bits_are_carried_over(tmp_path, deep_pixels, suffix):
    fields = {"icc_profile_data": RGB_PROFILE, "exif_data": exif_bytes()}
    photo = load_photo(write_deep(tmp_path / "in.png", deep_pixels[..., :3], **fields))
    negative(photo, tmp_path / f"out{suffix}")
    written = pyvips.Image.new_from_file(str(tmp_path / f"out{suffix}"))
    assert bytes(written.get("icc-profile-data")) == RGB_PROFILE
    if suffix == ".png":  # libvips writes no EXIF into TIFF
        assert b"Camera maker" in bytes(written.get("exif-data"))


def test_a_format_without_metadata_is_written_without_it(tmp_path):
    picture = Image.new("RGB", (WIDTH, HEIGHT), (200, 100, 50))
    picture.save(tmp_path / "in.png", icc_profile=RGB_PROFILE, exif=exif_bytes())
    negative(load_photo(tmp_path / "in.png"), tmp_path / "out.bmp")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "out.bmp"))[0, 0], (55, 155, 205))


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_photos_are_turned_upright(tmp_path, deep_pixels, suffix):
    image = pyvips.Image.new_from_array(np.ascontiguousarray(deep_pixels[..., :3]), interpretation="rgb16")
    image.set_type(pyvips.GValue.gint_type, "orientation", 6)
    image.write_to_file(str(tmp_path / f"in{suffix}"))
    photo = load_photo(tmp_path / f"in{suffix}")
    np.testing.assert_array_equal(photo.picture.pixels, np.rot90(deep_pixels[..., :3], -1))  # clockwise
    negative(photo, tmp_path / "out.png")
    written = pyvips.Image.new_from_file(str(tmp_path / "out.png"))
    assert (written.height, written.width) == (WIDTH, HEIGHT)
    assert "orientation" not in written.get_fields() or written.get("orientation") == 1


def test_the_describing_tags_of_a_tiff_are_carried_over(tmp_path):
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "Somebody"
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "in.tif", exif=exif)
    negative(load_photo(tmp_path / "in.tif"), tmp_path / "out.jpg")
    assert Image.open(tmp_path / "out.jpg").getexif()[ExifTags.Base.Artist] == "Somebody"


def test_a_profile_that_is_not_of_rgb_is_dropped(tmp_path):
    Image.new("L", (WIDTH, HEIGHT)).save(tmp_path / "in.png", icc_profile=GRAY_PROFILE)
    negative(load_photo(tmp_path / "in.png"), tmp_path / "out.png")
    assert "icc_profile" not in Image.open(tmp_path / "out.png").info


def test_broken_exif_costs_no_picture(tmp_path):
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "in.jpg", exif=b"Exif\0\0MM\0*nonsense")
    negative(load_photo(tmp_path / "in.jpg"), tmp_path / "out.jpg")
    assert Image.open(tmp_path / "out.jpg").size == (WIDTH, HEIGHT)


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("deep", [False, True])
def test_the_size_can_be_restored(tmp_path, deep_pixels, deep, channels):
    pixels = deep_pixels[..., :channels]
    if deep:
        write_deep(tmp_path / "in.png", pixels)
    else:
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "in.png")
    photo = load_photo(tmp_path / "in.png", max_side=8)
    assert photo.shape == (6, 8, 3)
    negative(photo, tmp_path / "small.png")
    negative(photo, tmp_path / "large.png", restore_size=True)
    assert read_deep(tmp_path / "small.png").shape == (6, 8, channels)
    written = read_deep(tmp_path / "large.png")
    assert written.shape == (HEIGHT, WIDTH, channels) and written.dtype == (np.uint16 if deep else np.uint8)


def test_a_cut_16_bit_file_is_refused(tmp_path, deep_pixels):
    path = write_deep(tmp_path / "in.png", np.tile(deep_pixels, (8, 8, 1)))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImageError, match=r"in\.png: damaged or cut short"):
        load_photo(path)


def test_a_16_bit_bomb_is_refused(tmp_path, deep_pixels, monkeypatch):
    path = write_deep(tmp_path / "in.png", deep_pixels)
    monkeypatch.setattr("data.decoding.MAX_PIXELS", HEIGHT * WIDTH - 1)
    with pytest.raises(ImageError, match="megapixels"):
        load_photo(path)


def test_a_file_name_is_no_option_string(tmp_path, deep_pixels):
    path = write_deep(tmp_path / "in.png", deep_pixels[..., :3]).rename(tmp_path / "odd[name].png")
    assert load_photo(path).shape == (HEIGHT, WIDTH, 3)
    negative(load_photo(path), tmp_path / "out[1].png")
    assert (tmp_path / "out[1].png").is_file()

"""data/encoding.py: every kind of file goes out, complete or not at all."""

import errno
import os
import stat
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import pyvips
from PIL import ExifTags, Image, ImageCms

from data import encoding
from data.decoding import Picture, decode_file
from data.encoding import encode_file
from data.images import check_image_suffix, load_image, save_image

SAVED_SUFFIXES = [".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"]


@pytest.mark.parametrize("suffix", [".png", ".tif", ".tiff", ".bmp", ".PNG"])
def test_save_image_and_load_image_round_trip_exactly(tmp_path, pixels_u8, suffix):
    path = tmp_path / f"stylized{suffix}"
    save_image(path, pixels_u8.astype(np.float32))
    np.testing.assert_array_equal(load_image(path), pixels_u8)


@pytest.mark.parametrize(("suffix", "tolerance"), [(".jpg", 2), (".jpeg", 2), (".webp", 4)])
def test_save_image_and_load_image_round_trip_closely(tmp_path, pixels_u8, suffix, tolerance):
    path = tmp_path / f"stylized{suffix}"
    save_image(path, pixels_u8.astype(np.float32))
    assert np.abs(load_image(path) - pixels_u8).mean() < tolerance


@pytest.mark.parametrize(
    ("suffix", "picture_format"),
    [
        (".jpg", "JPEG"),
        (".jpeg", "JPEG"),
        (".png", "PNG"),
        (".webp", "WEBP"),
        (".tif", "TIFF"),
        (".bmp", "BMP"),
    ]
    + [(".tiff", "TIFF"), (".JPG", "JPEG")],
)
def test_save_image_writes_the_format_its_suffix_names(tmp_path, pixels_u8, suffix, picture_format):
    path = tmp_path / f"stylized{suffix}"
    save_image(path, pixels_u8)
    with Image.open(path) as written:
        assert (written.format, written.mode) == (picture_format, "RGB")


def test_save_image_keeps_full_color_resolution_in_jpeg(tmp_path):
    path = tmp_path / "stripes.jpg"
    stripes = np.zeros((32, 32, 3), np.float32)
    stripes[:, ::2, 0] = stripes[:, 1::2, 2] = 255  # red and blue by turns: 4:2:0 would give one purple
    save_image(path, stripes)
    assert np.abs(load_image(path) - stripes).mean() < 10
    with Image.open(path) as written:
        assert [component[1:3] for component in written.layer] == [(1, 1)] * 3


def test_save_image_writes_jpeg_of_quality_95(tmp_path, pixels_u8):
    save_image(tmp_path / "stylized.jpg", pixels_u8)
    Image.fromarray(pixels_u8).save(tmp_path / "reference.jpg", quality=95)
    with (
        Image.open(tmp_path / "stylized.jpg") as written,
        Image.open(tmp_path / "reference.jpg") as reference,
    ):
        assert written.quantization == reference.quantization


@pytest.mark.parametrize(
    ("suffix", "options"),
    [(".webp", {"quality": 95}), (".png", {"compress_level": 2, "compress_type": zlib.Z_RLE})],
)
def test_save_image_writes_webp_and_png_with_the_measured_options(tmp_path, pixels_u8, suffix, options):
    save_image(tmp_path / f"stylized{suffix}", pixels_u8)
    Image.fromarray(pixels_u8).save(tmp_path / f"reference{suffix}", **options)
    assert (tmp_path / f"stylized{suffix}").read_bytes() == (tmp_path / f"reference{suffix}").read_bytes()


def test_16_bit_png_files_are_compressed_as_fast_as_those_of_8_bits(tmp_path):
    rows, columns = np.mgrid[0:256, 0:256] // 16
    pixels_u16 = (257 * np.stack([rows, columns, (rows + columns) // 2], axis=-1)).astype(np.uint16)
    encode_file(tmp_path / "deep.png", Picture(pixels_u16))
    image = pyvips.Image.new_from_array(pixels_u16, interpretation="rgb16")
    sizes = [len(image.write_to_buffer(".png", compression=level)) for level in (2, 6)]
    assert sizes[0] != sizes[1]  # or the next line proves nothing
    assert (tmp_path / "deep.png").stat().st_size == sizes[0]


def test_save_image_makes_the_parent_folders(tmp_path, pixels_u8):
    path = tmp_path / "a" / "b" / "stylized.png"
    save_image(path, pixels_u8)
    assert path.is_file()


@pytest.mark.parametrize("mask", [0o022, 0o027])
def test_save_image_heeds_the_umask(tmp_path, pixels_u8, mask):
    path = tmp_path / "stylized.png"
    former_mask = os.umask(mask)
    try:
        save_image(path, pixels_u8)
    finally:
        os.umask(former_mask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~mask


def test_save_image_replaces_an_older_file_and_leaves_nothing_else(tmp_path, pixels_u8):
    path = tmp_path / "stylized.png"
    path.write_bytes(b"older")
    save_image(path, pixels_u8)
    np.testing.assert_array_equal(load_image(path), pixels_u8)
    assert list(tmp_path.iterdir()) == [path]


def test_save_image_accepts_the_longest_name_a_folder_can_hold(tmp_path, pixels_u8):
    path = tmp_path / ("n" * 251 + ".png")
    save_image(path, pixels_u8)
    assert path.is_file()


def fail_with_a_full_disk(*arguments, **options):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(("owner", "step"), [(Image.Image, "save"), (os, "replace")])
def test_save_image_leaves_the_older_file_untouched_when_it_fails(
    tmp_path, pixels_u8, monkeypatch, owner, step, error_of
):
    path = tmp_path / "stylized.png"
    path.write_bytes(b"older")
    monkeypatch.setattr(owner, step, fail_with_a_full_disk)
    message = error_of(save_image, path, pixels_u8)
    assert "cannot be written: No space left on device" in message
    assert "free space" in message
    assert path.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [path]


def test_save_image_removes_its_temporary_file_when_interrupted(tmp_path, pixels_u8, monkeypatch):
    def interrupt(*arguments, **options):
        assert any(tmp_path.iterdir())  # the unfinished file exists by now
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_image(tmp_path / "stylized.png", pixels_u8)
    assert not any(tmp_path.iterdir())


def test_save_image_refuses_a_target_that_is_a_folder(tmp_path, pixels_u8, error_of):
    path = tmp_path / "folder.png"
    path.mkdir()
    assert "Is a directory" in error_of(save_image, path, pixels_u8)
    assert list(tmp_path.iterdir()) == [path]


def test_save_image_refuses_a_parent_that_is_a_file(tmp_path, pixels_u8, error_of):
    (tmp_path / "file").touch()
    message = error_of(save_image, tmp_path / "file" / "stylized.png", pixels_u8)
    assert "cannot be written" in message
    assert "choose another path" in message


def test_save_image_reports_a_folder_it_may_not_write(tmp_path, pixels_u8, monkeypatch, error_of):
    def refuse(path, *arguments):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(os, "open", refuse)  # chmod would not stop a test that runs as root
    message = error_of(save_image, tmp_path / "stylized.png", pixels_u8)
    assert "Permission denied" in message
    assert "permissions" in message
    assert ".tmp" not in message  # the user never asked for that file


def test_save_image_reports_a_format_that_cannot_hold_the_picture(tmp_path, error_of):
    message = error_of(save_image, tmp_path / "wide.webp", np.zeros((2, 16_384, 3), np.float32))
    assert "16383" in message
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("save", [check_image_suffix, lambda path: save_image(path, np.zeros((4, 4, 3)))])
@pytest.mark.parametrize(
    ("name", "received"),
    [
        ("picture.xyz", "unknown suffix '.xyz'"),
        ("picture.gif", "unknown suffix '.gif'"),
        ("picture", "no suffix"),
    ]
    + [(".png", "no suffix")],
)
def test_an_unknown_suffix_is_refused_with_the_list_of_known_ones(tmp_path, save, name, received, error_of):
    message = error_of(save, tmp_path / name)
    assert received in message
    assert message.endswith(" ".join(SAVED_SUFFIXES))
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [*SAVED_SUFFIXES, ".JPG", ".Png"])
def test_check_image_suffix_accepts_every_format_that_can_be_written(tmp_path, pixels_u8, suffix):
    check_image_suffix(tmp_path / f"stylized{suffix}")
    save_image(tmp_path / f"stylized{suffix}", pixels_u8)
    assert load_image(tmp_path / f"stylized{suffix}").shape == pixels_u8.shape


# Faults while a picture is written

WRITERS = [(suffix, np.uint8) for suffix in SAVED_SUFFIXES] + [
    (suffix, np.uint16) for suffix in (".png", ".tif")
]
writers = pytest.mark.parametrize(
    ("suffix", "dtype"), WRITERS, ids=[f"{suffix[1:]}-{np.iinfo(dtype).bits}" for suffix, dtype in WRITERS]
)


def noise(dtype: type, side: int = 120) -> np.ndarray:
    """Pixels that no format compresses to less than 16 KB."""
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (side, side, 3), dtype, endpoint=True)


WRITE = """
import resource, sys
from pathlib import Path
import numpy as np
from data.encoding import encode_file
from data.picture import ImageError, Picture
pixels = np.load(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
try:
    encode_file(Path(sys.argv[1]), Picture(pixels))
except ImageError as error:
    sys.exit(str(error))
"""


@writers
def test_a_file_size_limit_leaves_the_old_picture_and_is_reported(tmp_path, suffix, dtype):
    np.save(tmp_path / "pixels.npy", noise(dtype))
    path = tmp_path / "out" / f"picture{suffix}"
    path.parent.mkdir()
    path.write_bytes(b"older")
    finished = subprocess.run(
        [sys.executable, "-c", WRITE, str(path), str(tmp_path / "pixels.npy")],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 1
    (line,) = finished.stderr.splitlines()
    assert line.startswith(
        f"{path}: cannot be written: File too large; check the folder's permissions and free space"
    )
    assert path.read_bytes() == b"older" and list(path.parent.iterdir()) == [path]


@writers
@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_every_encoder_writes_through_the_stream_that_it_is_given(
    tmp_path, monkeypatch, suffix, dtype, fault, error_of
):
    """The stream fails after 4 KB, as a full disk does; no encoder can write around it."""
    from system import files

    path = tmp_path / f"picture{suffix}"
    path.write_bytes(b"older")
    written = 0
    write = files._Stream.write

    def failing_write(self, content):
        nonlocal written
        written += len(content)
        if written > 4096:
            raise OSError(fault, os.strerror(fault))
        return write(self, content)

    monkeypatch.setattr(files._Stream, "write", failing_write)
    message = error_of(encode_file, path, Picture(noise(dtype)))
    assert f"cannot be written: {os.strerror(fault)}" in message
    assert path.read_bytes() == b"older" and list(tmp_path.iterdir()) == [path]


@writers
def test_too_little_memory_leaves_the_old_picture(tmp_path, monkeypatch, suffix, dtype, error_of):
    def fail(*arguments, **options):
        raise MemoryError

    path = tmp_path / f"picture{suffix}"
    path.write_bytes(b"older")
    monkeypatch.setattr(Image, "fromarray", fail)
    monkeypatch.setattr(pyvips.Image, "new_from_array", fail)
    assert "cannot be written: not enough memory" in error_of(encode_file, path, Picture(noise(dtype)))
    assert path.read_bytes() == b"older" and list(tmp_path.iterdir()) == [path]


def test_a_fault_of_the_program_is_not_reported_as_one_of_the_file(tmp_path, pixels_u8, monkeypatch):
    calls = []

    def fail(*arguments, **options):
        calls.append(options)
        raise TypeError("a fault of the program")

    monkeypatch.setattr(encoding, "_encode_by_pillow", fail)
    with pytest.raises(TypeError, match="a fault of the program"):
        encode_file(tmp_path / "a.png", Picture(pixels_u8, RGB_PROFILE, exif_of(100)))
    assert len(calls) == 1 and not any(tmp_path.iterdir())


def test_the_remedy_fits_the_fault(tmp_path, monkeypatch, error_of):
    wide = Picture(np.zeros((2, 16_384, 3), np.uint8))
    assert error_of(encode_file, tmp_path / "a.webp", wide).endswith(
        "give --max-side or end the name in .png"
    )
    monkeypatch.setattr(Image, "fromarray", lambda *arguments, **options: bytearray(2**62))
    message = error_of(encode_file, tmp_path / "a.png", wide)
    assert message.endswith("not enough memory; free some memory, or give --max-side")


# Metadata that a format cannot store

RGB_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exif_of(size: int) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = "x" * (size - 50)
    return exif.tobytes()


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".bmp"])
@pytest.mark.parametrize("size", [60_000, 66_000, 3_000_000])
def test_exif_of_any_size_costs_no_picture(tmp_path, pixels_u8, suffix, size):
    path, exif = tmp_path / f"a{suffix}", exif_of(size)
    notes = encode_file(path, Picture(pixels_u8, RGB_PROFILE, exif))
    picture = decode_file(path)
    assert picture.pixels.shape == pixels_u8.shape
    if suffix == ".jpg" and size > 65_533:
        assert notes == (f"EXIF ({len(exif)} bytes) was left out: it cannot be stored in a .jpg file",)
        assert picture.exif is None and picture.icc_profile == RGB_PROFILE
    elif suffix != ".bmp":  # which stores no metadata
        assert notes == () and b"x" * (size - 50) in picture.exif and picture.icc_profile == RGB_PROFILE


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("size", [100_000, 3_000_000, 17_000_000])
def test_a_profile_of_any_size_costs_no_picture(tmp_path, pixels_u8, suffix, size):
    path = tmp_path / f"a{suffix}"
    profile = RGB_PROFILE + np.random.default_rng(0).bytes(size)
    notes = encode_file(path, Picture(pixels_u8, profile, exif_of(100)))
    picture = decode_file(path)
    assert picture.pixels.shape == pixels_u8.shape and picture.exif is not None
    if size > 16_800_000 and suffix in (".jpg", ".png"):
        assert notes == (
            f"the ICC profile ({len(profile)} bytes) was left out: it cannot be stored in a {suffix} file",
        )
        assert picture.icc_profile is None
    else:
        assert notes == () and picture.icc_profile == profile


@writers
@pytest.mark.parametrize(
    ("profile", "exif"),
    [(None, b"nonsense"), (b"\0" * 16 + b"RGB " + b"q" * 9, None), (RGB_PROFILE[:200], exif_of(100))]
    + [(RGB_PROFILE[:200], b"Exif\0\0MM\0*nonsense"), (b"short", b"")],
)
def test_malformed_metadata_costs_no_picture(tmp_path, pixels_u8, suffix, dtype, profile, exif):
    notes = encode_file(tmp_path / f"a{suffix}", Picture(pixels_u8.astype(dtype), profile, exif))
    assert decode_file(tmp_path / f"a{suffix}").pixels.shape == pixels_u8.shape
    assert all("was left out" in note for note in notes)


def test_16_bit_tiff_says_that_it_has_no_exif(tmp_path, pixels_u8):
    notes = encode_file(tmp_path / "a.tif", Picture(pixels_u8.astype(np.uint16), RGB_PROFILE, exif_of(100)))
    (note,) = notes
    assert note.startswith("EXIF (") and "cannot be stored in a 16-bit .tif file" in note


def test_a_picture_that_the_format_cannot_hold_is_not_blamed_on_metadata(tmp_path, error_of):
    wide = Picture(np.zeros((2, 16_384, 3), np.uint8), RGB_PROFILE, exif_of(100))
    assert "16383" in error_of(encode_file, tmp_path / "wide.webp", wide)
    assert not any(tmp_path.iterdir())

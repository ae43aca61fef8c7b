"""data/tiff.py: every layout of a TIFF file is read rightly or refused by its name; missing pixels are noticed."""

import itertools
import tracemalloc

import numpy as np
import pytest
from tiff_files import CMYK, DEFLATE, GRAY, INVERTED, LAB, PALETTE, RGB, YCBCR, tiff_bytes

from data.decoding import decode_file
from data.images import rgb_over

HEIGHT, WIDTH = 21, 37  # not a multiple of a tile, nor of 8 bits
PREMULTIPLIED, ALPHA, UNSPECIFIED = 1, 2, 0
ROWS, COLUMNS = np.mgrid[0:HEIGHT, 0:WIDTH]
# Five channels of 0..1 that differ everywhere.
CHANNELS = np.stack(
    [
        ROWS / (HEIGHT - 1),
        COLUMNS / (WIDTH - 1),
        1 - ROWS / HEIGHT / 2,
        (ROWS + COLUMNS) % 7 / 6,
        ROWS % 2 / 3,
    ],
    axis=-1,
)
PLACES = {
    "strips": {"rows_per_strip": 5},
    "big-endian": {"order": ">"},
    "BigTIFF": {"big": True},
    "tiles": {"tile": 16},
    "deflate": {"compression": DEFLATE, "rows_per_strip": 8},
    "deflate big-endian": {"compression": DEFLATE, "order": ">", "tile": 32},
}
places = pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)


def stored(channels: int, bits: int) -> np.ndarray:
    """The first channels as unsigned integers of `bits` bits."""
    dtype = np.uint8 if bits <= 8 else np.uint16 if bits <= 16 else np.uint32
    return np.rint(CHANNELS[..., :channels] * (2**bits - 1)).astype(dtype)


def shown(tmp_path, content: bytes) -> np.ndarray:
    """The picture over white, [H, W, 3] of 0..1."""
    path = tmp_path / "picture.tif"
    path.write_bytes(content)
    picture = decode_file(path)
    return rgb_over(picture.pixels) / 255


def over_white(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return color * alpha[..., None] + 1 - alpha[..., None]


@places
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("photometric", [GRAY, INVERTED])
def test_gray_of_every_depth_is_shown_as_it_is_stored(tmp_path, bits, photometric, place):
    gray = stored(1, bits)
    expected = np.repeat(gray / (2**bits - 1), 3, axis=-1)
    if photometric == INVERTED:
        expected = 1 - expected
    actual = shown(tmp_path, tiff_bytes(gray, photometric=photometric, bits=bits, **place))
    np.testing.assert_allclose(actual, expected, atol=0.5 / 255)


def test_gray_of_12_bits_uses_the_full_range(tmp_path):
    actual = shown(tmp_path, tiff_bytes(stored(1, 12), photometric=GRAY, bits=12))
    np.testing.assert_allclose(actual[..., 0], stored(1, 12)[..., 0] / 4095, atol=1e-4)


@places
@pytest.mark.parametrize("dtype", [np.uint32, np.int32, np.float32])
def test_gray_of_32_bits_is_read_in_both_byte_orders(tmp_path, dtype, place):
    values = CHANNELS[..., :1] if dtype == np.float32 else np.rint(CHANNELS[..., :1] * 65535)
    actual = shown(tmp_path, tiff_bytes(values.astype(dtype), photometric=GRAY, **place))
    np.testing.assert_allclose(actual[..., 2], CHANNELS[..., 0], atol=1e-4)


@places
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_rgb_is_shown_as_it_is_stored(tmp_path, bits, planar, place):
    if planar and bits == 16 and "tile" in place:
        pytest.skip("refused by name, see below")
    rgb = stored(3, bits)
    actual = shown(tmp_path, tiff_bytes(rgb, photometric=RGB, planar=planar, **place))
    np.testing.assert_allclose(actual, rgb / (2**bits - 1), atol=1e-4)


@places
@pytest.mark.parametrize("extras", [(ALPHA,), (PREMULTIPLIED,), (ALPHA, UNSPECIFIED), (UNSPECIFIED,)])
@pytest.mark.parametrize("bits", [8, 16])
def test_only_alpha_channels_make_rgb_transparent(tmp_path, bits, extras, place):
    samples, white = stored(3 + len(extras), bits), 2**bits - 1
    expected = samples[..., :3] / white
    if extras[0] == PREMULTIPLIED:
        samples[..., :3] = np.rint(expected * samples[..., 3:4])
    if extras[0] != UNSPECIFIED:
        expected = over_white(expected, samples[..., 3] / white)
    actual = shown(tmp_path, tiff_bytes(samples, photometric=RGB, extras=extras, **place))
    np.testing.assert_allclose(actual, expected, atol=2 / 255)


@places
@pytest.mark.parametrize("extra", [ALPHA, UNSPECIFIED])
@pytest.mark.parametrize("bits", [8, 16])
def test_gray_keeps_its_alpha(tmp_path, bits, extra, place):
    samples = stored(2, bits)
    gray, alpha = (samples[..., [channel]] / (2**bits - 1) for channel in (0, 1))
    expected = np.repeat(gray, 3, axis=-1)
    if extra == ALPHA:
        expected = over_white(expected, alpha[..., 0])
    actual = shown(tmp_path, tiff_bytes(samples, photometric=GRAY, extras=(extra,), **place))
    np.testing.assert_allclose(actual, expected, atol=1e-4)


@places
@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_cmyk_is_converted_and_black_is_no_alpha(tmp_path, bits, planar, place):
    if planar and bits == 16 and "tile" in place:
        pytest.skip("refused by name, see below")
    cmyk = stored(4, bits)
    ink = cmyk / (2**bits - 1)
    actual = shown(tmp_path, tiff_bytes(cmyk, photometric=CMYK, planar=planar, **place))
    np.testing.assert_allclose(actual, (1 - ink[..., :3]) * (1 - ink[..., 3:]), atol=2 / 255)


@places
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palettes_of_every_depth_are_looked_up(tmp_path, bits, place):
    indices = stored(1, bits)
    palette = np.random.default_rng(0).integers(0, 256, (3, 2**bits)) * 257
    content = tiff_bytes(
        indices, photometric=PALETTE, bits=bits, more_tags={320: tuple(palette.ravel())}, **place
    )
    expected = np.moveaxis(palette[:, indices[..., 0]], 0, -1) / 65535
    np.testing.assert_allclose(shown(tmp_path, content), expected, atol=0.5 / 255)


REFUSED = {
    "32-bit RGB": (stored(3, 32), {"photometric": RGB}),
    "32-bit float RGB": (CHANNELS[..., :3].astype(np.float32), {"photometric": RGB}),
    "64-bit float gray": (CHANNELS[..., :1], {"photometric": GRAY}),
    "16-bit float gray": (CHANNELS[..., :1].astype(np.float16), {"photometric": GRAY}),
    "8-bit signed gray": (stored(1, 4).astype(np.int8), {"photometric": GRAY}),
    "16-bit signed gray": (stored(1, 12).astype(np.int16), {"photometric": GRAY}),
    "16-bit signed RGB": (stored(3, 12).astype(np.int16), {"photometric": RGB}),
    "32-bit float inverted gray": (CHANNELS[..., :1].astype(np.float32), {"photometric": INVERTED}),
    "12-bit RGB": (stored(3, 12), {"photometric": RGB, "bits": 12}),
    "12-bit gray": (stored(1, 12), {"photometric": GRAY, "bits": 12, "order": ">"}),
    "16-bit CIELab": (stored(3, 16), {"photometric": LAB}),
    "8-bit ICCLab": (stored(3, 8), {"photometric": 9}),
    "8-bit camera raw": (stored(1, 8), {"photometric": 32803}),
    "8-bit color space 77": (stored(1, 8), {"photometric": 77}),
    "16-bit palette": (stored(1, 16), {"photometric": PALETTE, "more_tags": {320: (0,) * 3}}),
    "8-bit CMYK with 1 extra channel": (stored(5, 8), {"photometric": CMYK, "extras": (ALPHA,)}),
    "16-bit CMYK with 1 extra channel": (stored(5, 16), {"photometric": CMYK, "extras": (ALPHA,)}),
    "8-bit CMYK,": (stored(4, 8), {"photometric": CMYK, "more_tags": {332: (2,)}}),  # other inks
    "8-bit YCbCr, no compression": (stored(3, 8), {"photometric": YCBCR, "more_tags": {530: (2, 2)}}),
    "8-bit RGB with 2 extra channels": (stored(5, 8), {"photometric": RGB, "extras": (UNSPECIFIED, ALPHA)}),
    "8-bit gray with premultiplied alpha and 1 extra channel": (
        stored(2, 8),
        {"photometric": GRAY, "extras": (PREMULTIPLIED,)},
    ),
    "8-bit inverted gray with 1 extra channel": (stored(2, 8), {"photometric": INVERTED, "extras": (ALPHA,)}),
    "16-bit inverted gray with 1 extra channel": (
        stored(2, 16),
        {"photometric": INVERTED, "extras": (ALPHA,)},
    ),
    "16-bit RGB in planes, no compression": (
        stored(3, 16),
        {"photometric": RGB, "planar": True, "tile": 16},
    ),
    "16-bit CMYK in planes, no compression": (
        stored(4, 16),
        {"photometric": CMYK, "planar": True, "tile": 16},
    ),
    "8-bit gray, unknown (99) compression": (stored(1, 8), {"photometric": GRAY, "compression": 99}),
    "8-bit gray, JPEG 2000 compression": (stored(1, 8), {"photometric": GRAY, "compression": 34712}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_layout_that_no_decoder_shows_rightly_is_refused_by_name(tmp_path, name, error_of):
    samples, options = REFUSED[name]
    (tmp_path / "odd.tif").write_bytes(tiff_bytes(samples, **options))
    message = error_of(decode_file, tmp_path / "odd.tif")
    assert f"TIFF files of this kind are not supported: {name}" in message
    assert "save it as 8-bit or 16-bit RGB" in message


def test_channels_of_different_depth_are_refused(tmp_path, error_of):
    content = tiff_bytes(stored(3, 8), photometric=RGB, more_tags={258: (8, 8, 4)})
    (tmp_path / "odd.tif").write_bytes(content)
    assert "channels of different types ((8, 8, 4) bits)" in error_of(decode_file, tmp_path / "odd.tif")


def test_big_endian_bigtiff_is_refused_by_name(tmp_path, error_of):
    content = tiff_bytes(stored(3, 8), photometric=RGB, big=True, order=">")
    (tmp_path / "odd.tif").write_bytes(content)
    assert "not supported: big-endian BigTIFF;" in error_of(decode_file, tmp_path / "odd.tif")


# Pixels that are not there


@places
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("missing", [1, 300])
def test_a_file_that_ends_before_its_pixels_is_refused(tmp_path, bits, missing, place, error_of):
    """The directory comes first here, so that a decoder finds a complete one in the cut file."""
    content = tiff_bytes(stored(3, bits), photometric=RGB, pixels_last=True, **place)
    path = tmp_path / "cut.tif"
    path.write_bytes(content)
    np.testing.assert_allclose(rgb_over(decode_file(path).pixels) / 255, CHANNELS[..., :3], atol=0.6 / 255)
    path.write_bytes(content[:-missing])
    message = error_of(decode_file, path)
    assert f"({len(content)} bytes are needed, the file has {len(content) - missing})" in message


@pytest.mark.parametrize(("bits", "channels"), [(8, 3), (16, 3), (16, 4), (1, 1), (32, 1)])
@pytest.mark.parametrize("compression", [1, 2, 4, 5, 7, 8, 32773, 34925, 50000, 50001])
def test_a_tiny_file_that_claims_a_huge_picture_costs_no_memory(
    tmp_path, bits, channels, compression, error_of
):
    samples = stored(channels, bits)[:4, :4]
    photometric = {1: GRAY, 3: RGB, 4: CMYK}[channels]
    claims = {256: (14_000,), 257: (14_000,), 278: (14_000,), 259: (compression,)}
    content = tiff_bytes(samples, photometric=photometric, bits=bits, more_tags=claims)
    assert len(content) < 500
    (tmp_path / "bomb.tif").write_bytes(content)
    tracemalloc.start()
    message = error_of(decode_file, tmp_path / "bomb.tif")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6
    assert "damaged or cut short" in message or "not supported" in message


@pytest.mark.parametrize(
    ("tags", "words"),
    [
        ({278: (1,)}, "21 parts are needed, the file has 1"),  # one row per strip
        ({273: (10**6,)}, "bytes are needed, the file has"),
        ({256: (0,)}, "damaged or cut short"),
        ({278: (0,)}, "damaged or cut short"),
        ({257: (60_000,), 256: (60_000,)}, "more than 200 megapixels"),
    ],
)
def test_tags_that_contradict_the_file_are_refused(tmp_path, tags, words, error_of):
    (tmp_path / "odd.tif").write_bytes(tiff_bytes(stored(3, 8), photometric=RGB, more_tags=tags))
    assert words in error_of(decode_file, tmp_path / "odd.tif")


def test_a_huge_tile_around_a_small_picture_is_refused(tmp_path, error_of):
    tags = {322: (65_520,), 323: (65_520,)}
    (tmp_path / "odd.tif").write_bytes(tiff_bytes(stored(3, 8), photometric=RGB, tile=16, more_tags=tags))
    assert "tiles of 65520x65520 pixels" in error_of(decode_file, tmp_path / "odd.tif")


@pytest.mark.parametrize("compression", ["none", "lzw", "deflate", "packbits"])
def test_a_large_black_picture_that_compresses_well_is_still_read(tmp_path, compression):
    import pyvips

    black = pyvips.Image.black(4100, 4000, bands=3)
    black.tiffsave(str(tmp_path / "black.tif"), compression=compression)
    assert decode_file(tmp_path / "black.tif").pixels.shape == (4000, 4100, 3)


def test_every_place_and_order_is_another_file():
    """The builder does what its options say, or the tests above compare equal files."""
    files = [tiff_bytes(stored(3, 16), photometric=RGB, **place) for place in PLACES.values()]
    assert all(first != second for first, second in itertools.combinations(files, 2))

"""Tiles give the picture of the whole, whatever the size of either."""

import threading
from pathlib import Path

import numpy as np
import onnx
import pytest

from transformer.export.finished_style import export_style
from transformer.export.style_folder import ONNX_FILE, StyleError
from transformer.inference.loading import load_stylizer
from transformer.inference.stages import COMPACT, PRECISE, Moments, Stage, norm_of
from transformer.inference.tiles import cut
from transformer.inference.tiling import TiledStylizer

# height, width, tile: odd and thin sides, tiles larger than the image, of one trunk pixel, and not dividing it
CASES = [
    (1, 1, 16),
    (1, 90, 32),
    (90, 1, 32),
    (5, 3, 16),
    (61, 47, 16),
    (64, 64, 64),
    (33, 130, 20),
    (40, 24, 999),
]


def random_image(height: int, width: int) -> np.ndarray:
    """Bright on one side and dark on the other, so that tiles differ in their statistics."""
    noise = np.random.default_rng(0).uniform(0, 120, (height, width, 3))
    return (noise + np.linspace(0, 130, width)[:, np.newaxis]).astype(np.float32)


@pytest.fixture(scope="module")
def tiled(style_dirs) -> TiledStylizer:
    return TiledStylizer(style_dirs["waves"] / ONNX_FILE, threads=2)


def stylized_in_tiles(tiled: TiledStylizer, image, tile: int, stored=None) -> np.ndarray:
    """The picture put together; NaN where no part came."""
    picture = np.full(image.shape, np.nan, np.float32)
    for part in tiled.parts(image, tile, stored=stored):
        picture[part.rows, part.columns] = part.pixels
    return picture


@pytest.mark.parametrize(("stored", "tolerance"), [(PRECISE, 0.05), (COMPACT, 2)])
@pytest.mark.parametrize(("height", "width", "tile"), CASES)
def test_tiles_give_the_picture_of_the_whole(style_dirs, tiled, height, width, tile, stored, tolerance):
    image = random_image(height, width)
    whole = load_stylizer(style_dirs["waves"], tile="off")(image)
    apart = np.abs(stylized_in_tiles(tiled, image, tile, stored) - whole)
    assert apart.max() <= tolerance and np.percentile(apart, 99.9) <= tolerance / 2


def test_very_large_images_are_held_compactly(style_dirs, tiled):
    image = random_image(40, 50)
    precise, compact = (stylized_in_tiles(tiled, image, 16, stored) for stored in (PRECISE, COMPACT))
    assert np.abs(precise - compact).max() > 1e-3
    np.testing.assert_array_equal(stylized_in_tiles(tiled, image, 16), precise)
    tight = TiledStylizer(style_dirs["waves"] / ONNX_FILE, threads=2, precise_limit=0)
    np.testing.assert_array_equal(stylized_in_tiles(tight, image, 16), compact)
    assert tight.held_bytes(40, 50) < 0.7 * tiled.held_bytes(40, 50)


@pytest.mark.parametrize("residual_blocks", [0, 3])
def test_tiles_serve_networks_of_any_depth(varied_network, tmp_path, residual_blocks):
    export_style(tmp_path / "style", varied_network(3, residual_blocks=residual_blocks), {})
    image = random_image(50, 70)
    whole = load_stylizer(tmp_path / "style", tile="off")(image)
    in_tiles = load_stylizer(tmp_path / "style", tile=24)(image)
    assert np.abs(in_tiles - whole).max() <= 2


def test_tiles_on_their_own_would_give_another_picture(style_dirs, tiled):
    image = random_image(64, 64)
    stylize = load_stylizer(style_dirs["waves"], tile="off")
    apart = np.abs(stylize(image[:, :32]) - stylized_in_tiles(tiled, image, 32)[:, :32])[:, :16]
    assert apart.max() > 10  # else the tests above would not see whether statistics are those of the whole


def test_every_pixel_comes_once(tiled):
    counts = np.zeros((61, 47), int)
    for part in tiled.parts(random_image(61, 47), 16):
        assert part.pixels.shape == (*counts[part.rows, part.columns].shape, 3)
        counts[part.rows, part.columns] += 1
    assert (counts == 1).all()


def test_any_number_type_is_taken(tiled):
    pixels_u8 = random_image(30, 40).astype(np.uint8)
    np.testing.assert_array_equal(
        stylized_in_tiles(tiled, pixels_u8, 16), stylized_in_tiles(tiled, pixels_u8.astype(np.float64), 16)
    )


def test_an_image_need_only_have_a_shape_and_be_sliced(tiled):
    class Lazy:
        shape = (30, 40, 3)

        def __getitem__(self, place):
            rows, columns = place
            assert (
                rows.stop - rows.start <= 16 + 10 and columns.stop - columns.start <= 16 + 10
            )  # never the whole
            return random_image(30, 40)[place]

    expected = stylized_in_tiles(tiled, random_image(30, 40), 16)
    np.testing.assert_array_equal(stylized_in_tiles(tiled, Lazy(), 16), expected)


def test_progress_rises_to_one(tiled):
    shares = []
    for _ in tiled.parts(random_image(50, 60), 20, shares.append):
        pass
    assert shares == sorted(shares) and len(shares) > 9
    assert shares[-1] == pytest.approx(1)


def test_closing_early_leaves_no_thread_working(tiled, monkeypatch):
    computed = []
    stage_call = Stage.__call__

    def recorded(stage, *arguments):
        outputs = stage_call(stage, *arguments)
        computed.append(threading.current_thread())
        return outputs

    monkeypatch.setattr(Stage, "__call__", recorded)
    parts = tiled.parts(random_image(64, 64), 16)  # 16 tiles
    next(parts)
    parts.close()
    count = len(computed)
    assert not any(thread.is_alive() for thread in computed)
    for _ in tiled.parts(random_image(64, 64), 16):
        pass
    assert len(computed) - count > count  # the last stage of the first image did not run to its end


def test_tiles_are_about_equal_and_start_at_multiples_of_four():
    places = cut(100, 52, 40)
    assert {(place.top, place.bottom) for place in places} == {(0, 32), (32, 64), (64, 100)}
    assert {(place.left, place.right) for place in places} == {(0, 24), (24, 52)}


def test_moments_of_parts_give_the_norm_of_the_whole():
    generator = np.random.default_rng(0)
    sums = generator.normal(3, 2, (5, 20, 30)) * np.arange(1, 6)[:, None, None] + 100
    parts = [sums[:, :, :7], sums[:, :, 7:20], sums[:, :, 20:]]
    moments = [
        Moments(
            part[0].size,
            part.mean((1, 2), keepdims=True)[None],
            ((part - part.mean((1, 2), keepdims=True)) ** 2).sum((1, 2), keepdims=True)[None],
        )
        for part in parts
    ]
    scale, offset = generator.normal(size=5), generator.normal(size=5)
    norm = norm_of(moments, scale, offset)
    mean, variance = sums.mean((1, 2)), sums.var((1, 2))
    gain = scale / np.sqrt(variance + 1e-3)
    np.testing.assert_allclose(norm.gain[0, :, 0, 0], gain, rtol=1e-5)
    np.testing.assert_allclose(norm.shift[0, :, 0, 0], offset - mean * gain, rtol=1e-4)


def test_100_megapixels_at_half_width_are_held_in_less_than_4_gigabytes():
    style_dir = Path(__file__).resolve().parents[1] / "checkpoints" / "great_wave"
    held = TiledStylizer(style_dir / ONNX_FILE, threads=2).held_bytes(8400, 12000)
    assert 3e9 < held < 4e9


def test_an_onnx_file_of_another_network_is_refused(style_dirs, tmp_path):
    model = onnx.load(str(style_dirs["waves"] / ONNX_FILE))
    next(node for node in model.graph.node if node.op_type == "Relu").op_type = "Tanh"
    onnx.save(model, str(tmp_path / ONNX_FILE))
    with pytest.raises(
        StyleError, match="was written by another version of this project; export the style again"
    ):
        TiledStylizer(tmp_path / ONNX_FILE, threads=1)


def test_a_damaged_onnx_file_is_refused(tmp_path):
    (tmp_path / ONNX_FILE).write_bytes(b"no model")
    with pytest.raises(StyleError, match="is damaged or was not written by train.py"):
        TiledStylizer(tmp_path / ONNX_FILE, threads=1)

"""transformer/inference/memory_plan.py: whole or in tiles, and what does not fit."""

import re

import numpy as np
import pytest

from transformer.inference.loading import load_blend, load_stylizer
from transformer.inference.memory_plan import TILES


def random_images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 255, shape).astype(np.float32)


def blended(style_dirs, weights, **options):
    return load_blend(list(zip(style_dirs.values(), weights, strict=True)), **options)


def test_small_images_are_computed_whole_and_large_ones_in_tiles(style_dirs):
    stylizer = load_stylizer(style_dirs["waves"])
    assert stylizer.plan.tile_for(1000, 1000) is None
    assert stylizer.plan.tile_for(8400, 12000) == TILES[0]
    assert load_stylizer(style_dirs["waves"], tile="off").plan.tile_for(8400, 12000) is None
    assert load_stylizer(style_dirs["waves"], tile=64).plan.tile_for(10, 10) == 64


@pytest.mark.tensorflow
def test_less_memory_means_smaller_tiles_and_at_last_an_error(style_dirs):
    def tile_within(gigabytes: float) -> int | None:
        return load_stylizer(style_dirs["waves"], max_memory=gigabytes).plan.tile_for(2000, 3000)

    tiles = [tile_within(gigabytes) for gigabytes in (5, 0.8, 0.43, 0.39)]
    assert tiles[0] is None and tiles[1] == TILES[0]
    assert tiles == sorted(tiles, key=lambda tile: -(tile or 10**6)) and tiles[-1] in TILES[1:]
    with pytest.raises(
        MemoryError,
        match=r"2000x3000 pixels .* even in tiles, 0\.3 GB are allowed; resize the image to at most \d+ pixels",
    ):
        tile_within(0.3)


def test_what_is_free_is_the_limit_where_none_is_given(style_dirs, monkeypatch):
    monkeypatch.setattr("transformer.inference.memory_plan.available_memory", lambda: 1e9)
    with pytest.raises(MemoryError, match="1.0 GB are allowed"):
        load_stylizer(style_dirs["waves"]).plan.tile_for(20_000, 20_000)


@pytest.mark.tensorflow
@pytest.mark.parametrize(("runtime", "tile"), [("onnx", "off"), ("tensorflow", "auto")])
def test_a_whole_image_that_memory_cannot_hold_is_refused(style_dirs, monkeypatch, runtime, tile):
    stylizer = load_stylizer(style_dirs["waves"], runtime, tile=tile)
    monkeypatch.setattr("transformer.inference.memory_plan.available_memory", lambda: 2.55e8)
    with pytest.raises(
        MemoryError,
        match=r"400x300 pixels .* 0\.3 GB are free; resize the image to at most \d+ pixels a side",
    ):
        stylizer(random_images(400, 300, 3))


def test_a_blend_counts_the_memory_of_all_its_styles(style_dirs):
    single, double = load_stylizer(style_dirs["waves"]).plan, blended(style_dirs, [1, 1]).plan
    assert double.whole_bytes(1000, 1000) - 250e6 > 2 * (
        single.whole_bytes(1000, 1000) - 250e6 - 1000**2 * 10
    )
    size = next((side, side) for side in range(1000, 9000, 100) if double.tile_for(side, side))
    assert single.tile_for(*size) is None
    assert double.held_bytes(*size) == 2 * single.held_bytes(*size)


def test_a_blend_is_refused_where_its_styles_together_need_too_much(style_dirs, monkeypatch):
    single = load_stylizer(style_dirs["waves"], tile="off")
    needed = single.plan.whole_bytes(60, 70)
    monkeypatch.setattr("transformer.inference.memory_plan.available_memory", lambda: needed)
    image = random_images(60, 70, 3)
    single(image)
    with pytest.raises(MemoryError, match="60x70 pixels"):
        blended(style_dirs, [1, 1], tile="off")(image)


def test_the_memory_limit_is_in_gigabytes(style_dirs):
    assert load_stylizer(style_dirs["waves"], max_memory=4).plan.max_memory == 4e9


def test_no_impossible_size_is_advised(style_dirs):
    with pytest.raises(
        MemoryError, match=r"free some memory or allow more: the program alone needs 0\.25 GB"
    ):
        load_stylizer(style_dirs["waves"], max_memory=0.1).plan.tile_for(2000, 3000)


def test_the_advised_size_fits(style_dirs):
    plan = load_stylizer(style_dirs["waves"], max_memory=0.5).plan
    with pytest.raises(MemoryError) as error:
        plan.tile_for(8000, 12000)
    side = int(re.search(r"--max-side (\d+)", str(error.value))[1])
    assert plan.tile_for(side * 2 // 3, side) == TILES[-1]
    with pytest.raises(MemoryError):
        plan.tile_for(int(1.1 * side) * 2 // 3, int(1.1 * side))

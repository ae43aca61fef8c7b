"""The shelf of styles: what is offered, what stays loaded, and how much memory that keeps."""

import numpy as np
import pytest

from web.shelf import MOST_KEPT_PIXELS, MOST_LOADED, StyleShelf, UnknownStyle


class FakeStylizer:
    def __init__(self):
        self.usage = type("Usage", (), {"most_pixels": 0})()

    def variant(self, weights, grain):
        self.asked = weights, grain
        return self


@pytest.fixture
def loads() -> list:
    return []


@pytest.fixture
def shelf(tmp_path, loads):
    for name in "abcdef":
        (tmp_path / name).mkdir()
        (tmp_path / name / "fast_style_transfer.onnx").touch()

    def load(styles, **options):
        loads.append([(folder.rpartition("/")[2], weight) for folder, weight in styles])
        return FakeStylizer()

    return StyleShelf(tmp_path, load=load)


@pytest.mark.parametrize("name", ["../a", "/etc", ".", "", "a/", "a\0", "A", "a" * 5000, "*", "a/../a"])
def test_a_name_that_is_not_listed_is_refused(shelf, name):
    with pytest.raises(UnknownStyle, match="no style has this name; the styles are a, b, c, d, e, f"):
        shelf.folder(name)


def test_a_style_is_loaded_once(shelf, loads):
    first = shelf.stylizer([("a", 1.0)])
    assert shelf.stylizer([("a", 1.0)]) is first and loads == [[("a", 1.0)]]


def test_other_weights_and_grain_need_no_loading(shelf, loads):
    shelf.stylizer([("a", 1.0), ("b", 2.0)])
    stylizer = shelf.stylizer([("a", 3.0), ("b", 1.0)], grain=7.0)
    assert stylizer.asked == ([3.0, 1.0], 7.0) and len(loads) == 1


def test_the_oldest_style_is_let_go(shelf, loads):
    for name in "abcde":
        shelf.stylizer([(name, 1.0)])
    assert len(loads) == MOST_LOADED + 1
    shelf.stylizer([("b", 1.0)])
    assert len(loads) == MOST_LOADED + 1
    shelf.stylizer([("a", 1.0)])
    assert len(loads) == MOST_LOADED + 2


def test_a_style_that_keeps_much_memory_is_let_go_for_another(shelf, loads):
    large = shelf.stylizer([("a", 1.0)])
    shelf.stylizer([("b", 1.0)])
    shelf.stylizer([("a", 1.0)])
    large.usage.most_pixels = MOST_KEPT_PIXELS + 1
    assert shelf.stylizer([("a", 1.0)]) is large  # for itself it stays
    shelf.stylizer([("b", 1.0)])
    assert len(loads) == 2  # b was small and stayed
    shelf.stylizer([("a", 1.0)])
    assert len(loads) == 3


def test_a_style_that_is_trained_again_is_loaded_again(shelf, loads, tmp_path):
    import os

    shelf.stylizer([("a", 1.0)])
    os.utime(tmp_path / "a" / "fast_style_transfer.onnx", (1, 1))
    shelf.stylizer([("a", 1.0)])
    assert len(loads) == 2


@pytest.mark.tensorflow
def test_a_variant_gives_the_picture_of_its_weights_and_grain(style_dirs):
    from transformer.inference.loading import load_blend

    image = np.random.default_rng(0).integers(0, 256, (20, 24, 3)).astype(np.float32)
    shelf = StyleShelf(style_dirs["waves"].parent, runtime="onnx", threads=1)
    styles = [("waves", 1.0), ("stars", 3.0)]
    expected = load_blend(
        [(style_dirs[name], weight) for name, weight in styles], "onnx", threads=1, grain=5.0
    )
    assert np.array_equal(shelf.stylizer(styles, grain=5.0)(image), expected(image))

"""transformer/inference/arguments.py: every impossible argument of the library is one ValueError or TypeError."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer.export.style_folder import StyleError
from transformer.inference.arguments import (
    check_engine,
    check_options,
    check_styles,
    checked_images,
    shares,
)
from transformer.inference.loading import load_blend, load_stylizer
from transformer.inference.stylizer import Stylizer

FINE = {
    "tile": "auto",
    "max_memory": None,
    "trust": False,
    "threads": None,
    "grain": 0.0,
    "expected_pixels": None,
}
ENGINE = {"runtime": "auto", "precision": "float32", "device": "auto"}
HUGE = 10**5000  # too long for Python to print
THREADS = "threads must be a whole number of at least 1 and at most 1024, got"


def complaint(kind: type[Exception], call, *arguments, **options) -> str:
    """The message of the exception: one short line."""
    with pytest.raises(kind) as error:
        call(*arguments, **options)
    assert type(error.value) is kind
    message = str(error.value)
    assert "\n" not in message and len(message) < 300
    return message


@pytest.mark.parametrize(
    "options",
    [
        *({"tile": tile} for tile in ("off", 16, np.int64(64), 10**9)),
        *({"threads": threads} for threads in (1, 1024, np.int32(2))),
        *({"grain": grain} for grain in (0, 1.5, np.float32(50))),
        *({"max_memory": memory} for memory in (1, 0.5, np.float32(2), 1e300)),
        *({"expected_pixels": pixels} for pixels in (0, 1e9, np.inf, np.int64(5))),
        {"trust": np.True_},
    ],
)
def test_possible_options_are_taken(options):
    check_options(**FINE | options)


@pytest.mark.parametrize(
    ("option", "values", "words"),
    [
        (
            "tile",
            [-1, 0, 2.5, True, None, "16", "", b"auto", [], np.nan, HUGE, -HUGE, {}],
            "tile must be 'auto', 'off' or",
        ),
        ("threads", [-1, 0, 1.0, True, "2", [], -HUGE, np.array([1, 2])], THREADS),
        ("threads", [1025, 10**6, HUGE], THREADS),
        (
            "max_memory",
            [-1, 0, np.nan, np.inf, True, "2", [], 1j, HUGE, -HUGE],
            "max_memory must be above 0, in GB",
        ),
        ("expected_pixels", [-1, np.nan, "2", True, [], -HUGE], "expected_pixels must be at least 0"),
    ],
)
def test_impossible_options_are_one_value_error(option, values, words):
    for value in values:
        assert words in complaint(ValueError, check_options, **FINE | {option: value})


@pytest.mark.parametrize(
    "names",
    [
        *({"runtime": runtime} for runtime in ("onnx", "openvino", "tensorflow")),
        {"precision": "bfloat16"},
        {"precision": "bfloat16", "runtime": "openvino", "device": "cpu"},
        *({"device": device} for device in ("cpu", "gpu", "gpu:3")),
    ],
)
def test_possible_runtimes_precisions_and_devices_are_taken(names):
    assert str(check_engine(**ENGINE | names)) == names.get("device", "auto")


@pytest.mark.parametrize(
    ("option", "values", "words"),
    [
        ("runtime", [None, 1, "torch", ["onnx"], b"onnx", "", np.array(["onnx"])], "one of auto, onnx"),
        ("precision", [None, 16, "float16", "", ["float32"]], "precision must be one of float32, bfloat16"),
        ("device", [None, 0, "cuda", "", "gpu:", "gpu:-1", ["cpu"], "gpu:1000"], "auto, cpu, gpu, or gpu:N"),
    ],
)
def test_unknown_runtimes_precisions_and_devices_are_refused(option, values, words):
    for value in values:
        assert words in complaint(ValueError, check_engine, **ENGINE | {option: value})


@pytest.mark.parametrize("names", [{"runtime": "onnx"}, {"runtime": "tensorflow"}, {"device": "gpu:1"}])
def test_bfloat16_is_for_openvino_on_cpus(names):
    message = complaint(ValueError, check_engine, **ENGINE | {"precision": "bfloat16"} | names)
    assert next(iter(names.values())) in message


@pytest.mark.parametrize("trust", [None, 1, "yes", [], 0])
def test_trust_is_true_or_false(trust):
    assert "trust must be True or False" in complaint(TypeError, check_options, **FINE | {"trust": trust})


def test_loading_checks_the_options(style_dirs):
    for option, value in (("tile", -1), ("threads", 10**6), ("max_memory", -1), ("runtime", None)):
        complaint(ValueError, load_stylizer, style_dirs["waves"], **{option: value})


@pytest.mark.parametrize(
    "styles", [None, 5, "great_wave", Path("great_wave"), ["great_wave"], [("a",)], [("a", 1, 2)]]
)
def test_styles_that_are_no_pairs_are_one_type_error(styles):
    assert "pairs" in complaint(TypeError, load_blend, styles)


@pytest.mark.parametrize(
    "pair", [(None, 1), (5, 1), (b"a", 1), ("a", "1"), ("a", None), ("a", True), ("a", 1j)]
)
def test_a_pair_of_other_types_is_one_type_error(pair):
    complaint(TypeError, check_styles, [pair])


@pytest.mark.parametrize(
    "weights",
    [[], [-1], [0], [0, 0], [np.nan, 1], [np.inf], [1, -1e-320], [1e308, 1e308], [HUGE], [1, -HUGE]],
)
def test_weights_without_a_usable_sum_are_one_value_error(weights):
    pairs = [("a", weight) for weight in weights]
    assert "finite weights of at least 0" in complaint(ValueError, check_styles, pairs)


@pytest.mark.parametrize(
    "weights", [[1e-320, 1e-320], [8e307, 8e307], [5e-324, 5e-324], [1e-45, 1e-45], [3, 3]]
)
def test_two_equal_weights_are_halves_however_small_or_large(weights, style_dirs):
    assert shares(weights) == [0.5, 0.5]
    image = np.random.default_rng(0).uniform(0, 255, (9, 10, 3)).astype(np.float32)
    pairs = list(zip(style_dirs.values(), weights, strict=True))
    expected = load_blend([(style, 1) for style, _ in pairs])(image)
    np.testing.assert_array_equal(load_blend(pairs)(image), expected)


@settings(derandomize=True, max_examples=200, deadline=None)
@given(st.lists(st.floats(), max_size=5))
def test_the_shares_of_any_weights_sum_to_one_or_are_refused(weights):
    try:
        result = shares(weights)
    except ValueError:
        return
    assert sum(result) == pytest.approx(1) and min(result) >= 0


@pytest.mark.parametrize(
    "images",
    [
        *(
            np.zeros(shape)
            for shape in ((0, 8, 3), (8, 0, 3), (0, 8, 8, 3), (2, 0, 8, 3), (8, 8), (8, 8, 4), ())
        ),
        *(np.zeros((8, 8, 3), kind) for kind in (bool, object, complex, "U3", "M8[s]")),
        *(np.full((2, 8, 8, 3), value) for value in (np.nan, np.inf, -np.inf, 1e300, -1e30)),
        np.full((8, 8, 3), 10**18),
        *(None, 5, "text", {}, [[1, 2], [3]], [[[1, 2, "3"]]]),
    ],
)
def test_what_is_no_image_is_one_value_error(images):
    assert complaint(ValueError, checked_images, images).startswith("images (RGB 0..255) must ")


def test_one_nan_in_a_batch_is_found(style_dirs):
    images = np.zeros((3, 8, 8, 3), np.float32)
    images[1, 2, 3, 0] = np.nan
    assert "NaN" in complaint(ValueError, load_stylizer(style_dirs["waves"]), images)


def test_parts_of_what_is_no_image_are_refused(style_dirs):
    stylizer = load_stylizer(style_dirs["waves"])
    for shape in ((0, 8, 3), (8, 8), (8, 8, 4), (2, 8, 8, 3)):
        with pytest.raises(ValueError, match=r"the image must be an array \[H, W, 3\]"):
            list(stylizer.parts(np.zeros(shape, np.float32)))


def test_a_stylizer_needs_a_weight_for_every_network():
    complaint(ValueError, Stylizer, [], [], None)
    complaint(ValueError, Stylizer, [object()], [1, 2], None)


@pytest.mark.parametrize(
    "error", [MemoryError("Unable to allocate 9 GiB"), RuntimeError("can't start new thread")]
)
def test_memory_errors_of_libraries_tell_what_to_do(style_dirs, monkeypatch, error):
    stylizer = load_stylizer(style_dirs["waves"])

    def fail(*_):
        raise error

    monkeypatch.setattr(stylizer, "_mixed", fail)
    with pytest.raises(MemoryError, match=f"not enough memory .{error}.; resize the image .--max-side."):
        stylizer(np.full((8, 8, 3), 9, np.uint8))


def test_other_errors_of_libraries_stay_what_they_are(style_dirs, monkeypatch):
    stylizer = load_stylizer(style_dirs["waves"])

    def fail(*_):
        raise RuntimeError("a programming error")

    monkeypatch.setattr(stylizer, "_mixed", fail)
    with pytest.raises(RuntimeError, match="a programming error"):
        stylizer(np.full((8, 8, 3), 9, np.uint8))


def test_a_name_with_a_null_character_is_a_missing_style():
    with pytest.raises(StyleError):
        load_stylizer("a\0b")

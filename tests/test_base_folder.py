"""The base: what is written comes back, and damage is one line."""

import hashlib
import json

import numpy as np
import pytest

from transformer.architecture import Architecture
from transformer.export.base_folder import INFO_FILE, WEIGHTS_FILE, Base, is_of_style, load_base, save_base
from transformer.export.onnx_graph import with_half_precision
from transformer.export.style_folder import StyleError, is_style

TINY = Architecture(width=0.125, residual_blocks=1)


def base_of(styles: int = 3) -> Base:
    generator = np.random.default_rng(0)
    parameters = {
        name: generator.normal(size=(styles, *shape) if is_of_style(name) else shape).astype(np.float32)
        for name, shape in TINY.parameter_shapes().items()
    }
    return Base(TINY, tuple(f"style {number}" for number in range(styles)), parameters)


@pytest.fixture
def base_dir(tmp_path):
    save_base(tmp_path / "base", base_of(), {"steps_done": 7})
    return tmp_path / "base"


def test_values_that_float16_holds_take_half_the_place_and_come_back_in_float32(tmp_path):
    base = base_of()
    rounded = Base(base.architecture, base.styles, with_half_precision(base.parameters, base.architecture))
    for name, kind in (("exact", base), ("rounded", rounded)):
        save_base(tmp_path / name, kind, {})
        for parameter, value in load_base(tmp_path / name).parameters.items():
            assert value.dtype == np.float32
            np.testing.assert_array_equal(value, kind.parameters[parameter])
    sizes = [(tmp_path / name / WEIGHTS_FILE).stat().st_size for name in ("rounded", "exact")]
    assert sizes[0] < 0.9 * sizes[1]


def test_what_is_written_comes_back(base_dir):
    loaded, written = load_base(base_dir), base_of()
    assert (loaded.architecture, loaded.styles) == (TINY, written.styles)
    for name, value in written.parameters.items():
        np.testing.assert_array_equal(loaded.parameters[name], value)
    assert json.loads((base_dir / INFO_FILE).read_text())["steps_done"] == 7


def test_one_style_has_the_shapes_of_an_ordinary_network():
    base = base_of()
    parameters = base.parameters_of(2)
    assert {name: value.shape for name, value in parameters.items()} == TINY.parameter_shapes()
    np.testing.assert_array_equal(
        parameters["encoder/conv1/scale"], base.parameters["encoder/conv1/scale"][2]
    )


def test_the_base_is_no_style(base_dir):
    assert not is_style(base_dir)


def rewrite(base_dir, **changes):
    info = json.loads((base_dir / INFO_FILE).read_text())
    (base_dir / INFO_FILE).write_text(json.dumps({**info, **changes}))


def rewrite_weights(base_dir, parameters):
    np.savez(base_dir / WEIGHTS_FILE, **parameters)
    digest = hashlib.sha256((base_dir / WEIGHTS_FILE).read_bytes()).hexdigest()
    rewrite(base_dir, sha256={WEIGHTS_FILE: digest})


def test_changed_bytes_are_noticed(base_dir):
    content = bytearray((base_dir / WEIGHTS_FILE).read_bytes())
    content[-40] ^= 1
    (base_dir / WEIGHTS_FILE).write_bytes(content)
    with pytest.raises(StyleError, match=r"does not have the SHA-256 digest"):
        load_base(base_dir)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda folder: (folder / INFO_FILE).unlink(), "no such file"),
        (lambda folder: (folder / WEIGHTS_FILE).unlink(), "No such file"),
        (lambda folder: (folder / INFO_FILE).write_text("{"), "cannot be read as JSON"),
        (lambda folder: (folder / INFO_FILE).write_text("[]"), "a value of a wrong type"),
        (lambda folder: (folder / INFO_FILE).write_text("{}"), "base.json lacks 'width'"),
        (lambda folder: rewrite(folder, width=-1), "width must be"),
        (lambda folder: rewrite(folder, outer_kernel=4), "outer_kernel must be"),
        (lambda folder: rewrite(folder, styles=["one"]), "not those of 1 styles"),
        (lambda folder: rewrite(folder, styles=None), "a value of a wrong type"),
        (lambda folder: rewrite(folder, sha256=[]), "a value of a wrong type"),
        (lambda folder: rewrite_weights(folder, {"a": np.zeros(3)}), "not those of 3 styles"),
        (
            lambda folder: rewrite_weights(
                folder, {name: value * np.float32(np.nan) for name, value in base_of().parameters.items()}
            ),
            "not finite",
        ),
        (
            lambda folder: rewrite_weights(
                folder, {**base_of().parameters, "decoder/conv3/bias": np.array([{}, 1], object)}
            ),
            "allow_pickle=False",
        ),
    ],
)
def test_a_damaged_base_is_refused_in_one_line_with_the_way_out(base_dir, damage, reason):
    damage(base_dir)
    with pytest.raises(StyleError, match=reason) as caught:
        load_base(base_dir)
    assert "--start-from none" in str(caught.value) and "\n" not in str(caught.value)


def test_the_shipped_base_fits_the_default_network_and_has_no_painting_of_the_tests():
    base = load_base()
    assert base.architecture == Architecture()
    assert len(set(base.styles)) == len(base.styles) >= 40
    test_paintings = {"great_wave", "starry_night", "the_scream", "udnie", "wheat_field_with_cypresses"}
    assert not test_paintings & set(base.styles)

"""What a training starts from: the base, a finished style, or random weights."""

import numpy as np
import pytest

import train
from cli.training_network import build_network, load_start, with_start
from transformer.architecture import Architecture
from transformer.export import base_folder
from transformer.export.base_folder import Base, save_base
from transformer.network import initial_parameters

TINY = Architecture(width=0.125, residual_blocks=1)


@pytest.fixture
def tiny_base(tmp_path, monkeypatch) -> Base:
    """A base of three styles that fits the network of the tests."""
    rows = [initial_parameters(TINY, seed) for seed in range(3)]
    parameters = {
        name: np.stack([row[name] for row in rows]) if base_folder.is_of_style(name) else rows[0][name]
        for name in rows[0]
    }
    parameters["decoder/conv3/bias"] = np.array([[0, 0, 0], [2, 2, 2], [-2, 2, -2]], np.float32)
    base = Base(TINY, ("grey", "white", "green"), parameters)
    monkeypatch.setattr(base_folder, "BASE_DIR", tmp_path / "base")
    save_base(tmp_path / "base", base, {})
    return base


class Crops:
    def crop(self, number: int, side: int) -> np.ndarray:
        return np.random.default_rng(number).integers(0, 256, (side, side, 3)).astype(np.uint8)


def whiteness(stylized, content):
    return {"total": -stylized[0, 0, 0, 0] - stylized[0, 0, 0, 1]}


def config_of(tiny_flags, folder, *more):
    return with_start(train.configured(train.parse_args(tiny_flags(folder, *more)), {}))


@pytest.mark.parametrize("more", [(), ("--start-from", "base")])
def test_a_new_style_starts_from_the_nearest_style_of_the_base(tiny_flags, tmp_path, tiny_base, more, capsys):
    config = config_of(tiny_flags, tmp_path, *more)
    network, _, start = build_network(config, whiteness, Crops(), is_resumed=False)
    assert start == "base, white"
    for name, value in tiny_base.parameters_of(1).items():
        np.testing.assert_array_equal(network.parameters[name], value)
    line = "train.py: starts from the base; the nearest of its 3 styles is white\n"
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(
    ("more", "resumed"),
    [(("--start-from", "none"), False), (("--outer-kernel", "9"), False), ((), True)],
    ids=["asked for", "no base of this size", "a saved state follows"],
)
def test_random_weights_are_named_unless_a_saved_state_follows(
    tiny_flags, tmp_path, tiny_base, more, resumed, capsys
):
    config = config_of(tiny_flags, tmp_path, *more)
    network, _, start = build_network(config, whiteness, Crops(), is_resumed=resumed)
    assert start == ("" if resumed else "random weights")
    for name, value in initial_parameters(network.architecture, 0).items():
        np.testing.assert_array_equal(network.parameters[name], value)
    assert capsys.readouterr().err == ("" if resumed else "train.py: starts from random weights\n")


@pytest.mark.parametrize(("more", "start"), [((), "base"), (("--width", "0.25"), "none")])
def test_the_settings_say_what_the_training_starts_from(tiny_flags, tmp_path, tiny_base, more, start):
    assert config_of(tiny_flags, tmp_path, *more).start_from == start


def test_without_a_base_a_style_starts_from_random_weights(tiny_flags, tmp_path, monkeypatch):
    monkeypatch.setattr(base_folder, "BASE_DIR", tmp_path / "nowhere")
    assert load_start(config_of(tiny_flags, tmp_path)) is None


def test_a_base_of_another_size_is_refused_where_it_is_asked_for(tiny_flags, tmp_path, tiny_base, capsys):
    flags = tiny_flags(tmp_path, "--start-from", "base", "--residual-blocks", "2")
    assert train.main(flags) == 2
    assert capsys.readouterr().err == (
        "train.py: --start-from base needs --width 0.125 --residual-blocks 1 --outer-kernel 5; give these, or"
        " --start-from none\n"
    )


def test_a_style_of_another_size_is_refused_with_its_size_before_tensorflow_starts(
    tiny_flags, tmp_path, capsys
):
    assert train.main(tiny_flags(tmp_path, "--start-from", "great_wave")) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--start-from great_wave needs --width 0.5 --residual-blocks 5 --outer-kernel 5;" in line


def test_a_damaged_base_is_no_matter_for_a_network_of_another_size(tiny_flags, tmp_path, tiny_base):
    (tmp_path / "base" / "many_styles.npz").write_bytes(b"")
    assert load_start(config_of(tiny_flags, tmp_path, "--width", "0.25")) is None


def test_a_damaged_base_is_one_line_before_tensorflow_starts(tiny_flags, tmp_path, tiny_base, capsys):
    (tmp_path / "base" / "base.json").write_text("{")
    assert train.main(tiny_flags(tmp_path)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "the base cannot be used (cannot be read as JSON" in line and "--start-from none" in line


@pytest.mark.parametrize("name", ["base", "none"])
def test_a_style_cannot_have_a_name_that_start_from_gives_a_meaning(tiny_flags, tmp_path, name, capsys):
    assert train.main(tiny_flags(tmp_path, "--name", name)) == 2
    assert f"the name {name} has a meaning of its own in --start-from" in capsys.readouterr().err

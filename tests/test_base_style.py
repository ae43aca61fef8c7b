"""tools/base_style.py: a style of a base becomes a finished style."""

import json

import numpy as np
import pytest

from tools import base_style
from transformer.architecture import Architecture
from transformer.export.base_folder import Base, load_base, save_base
from transformer.inference.loading import load_stylizer
from transformer.network import Transformer
from transformer.training.many_styles import ManyStyles

ARCHITECTURE = Architecture(0.125, 1, 5)
INFO = {"steps_done": 21, "losses": {"total": 1.5}, "config": {"preset": "balanced"}, "trained_with": "a GPU"}


@pytest.fixture
def base_dir(tmp_path):
    network = ManyStyles(ARCHITECTURE, styles=2)
    generator = np.random.default_rng(0)
    parameters = {
        name: variable.numpy() + generator.normal(0.0, 0.2, variable.shape).astype(np.float32)
        for name, variable in network.parameters.items()
    }
    save_base(tmp_path / "base", Base(ARCHITECTURE, ("duck", "sea"), parameters), INFO)
    return tmp_path / "base"


def call(base_dir, *arguments: str) -> int:
    return base_style.main([*arguments, "--base", str(base_dir), "--output-dir", str(base_dir.parent)])


def test_the_style_is_the_network_of_its_row(base_dir):
    assert call(base_dir, "sea", "--name", "waves", "--source", "a museum") == 0
    image = np.random.default_rng(1).uniform(0, 255, (16, 20, 3)).astype(np.float32)
    network, pictures = Transformer(ARCHITECTURE), []
    for row in range(2):
        for name, value in load_base(base_dir).parameters_of(row).items():
            network.parameters[name].assign(value)
        pictures.append(np.clip(network(image[np.newaxis]).numpy()[0], 0, 255))
    picture = load_stylizer(base_dir.parent / "waves")(image)
    np.testing.assert_allclose(picture, pictures[1], atol=0.05)
    assert np.abs(picture - pictures[0]).mean() > 1


def test_style_json_says_what_the_style_was_made_of(base_dir):
    assert call(base_dir, "sea", "--source", "a museum", "--license", "public domain") == 0
    info = json.loads((base_dir.parent / "sea" / "style.json").read_text())
    assert info["style_picture"] == {"file": "sea", "source": "a museum", "license": "public domain"}
    assert info["steps"] == {"done": 10, "start": "a base of 2 styles"}
    assert info["base"]["config"] == INFO["config"] and info["trained_with"] == "a GPU"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("lake",), 2, "the base has no style lake; it has duck, sea"),
        (("duck", "--name", "base"), 2, "base exists; give another --name, or --overwrite to replace it"),
    ],
)
def test_mistakes_are_one_line(base_dir, capsys, arguments, status, words):
    assert call(base_dir, *arguments) == status
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("base_style: ") and line.endswith(words)


def test_a_damaged_base_is_one_line(base_dir, capsys):
    (base_dir / "many_styles.npz").write_bytes(b"")
    assert call(base_dir, "sea") == 1
    assert "the base cannot be used" in capsys.readouterr().err

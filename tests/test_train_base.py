"""tools/train_base.py: it writes the base and continues where it stopped."""

import json

import numpy as np
import pytest

from tools import train_base
from transformer.architecture import Architecture
from transformer.export.base_folder import INFO_FILE, load_base


@pytest.fixture
def flags(tiny_inputs, tmp_path):
    def flags(folder: str, *more: str) -> list[str]:
        return [
            *("--styles", str(tiny_inputs / "photos"), "--content-dir", str(tiny_inputs / "photos")),
            *("--vgg", str(tiny_inputs / "vgg.npz"), "--width", "0.125", "--residual-blocks", "1"),
            *("--image-size", "64", "--precision", "float32", "--save-every", "2", "--steps", "4"),
            *(
                "--log-dir",
                str(tmp_path / folder / "log"),
                "--output",
                str(tmp_path / folder / "base"),
                *more,
            ),
        ]

    return flags


def test_it_writes_a_base_of_all_styles_and_continues_where_it_stopped(flags, tiny_inputs, tmp_path, capsys):
    assert train_base.main(flags("whole")) == 0
    whole = load_base(tmp_path / "whole" / "base")
    assert whole.architecture == Architecture(0.125, 1)
    info = json.loads((tmp_path / "whole" / "base" / INFO_FILE).read_text())
    assert info["steps_done"] == 4 and info["config"]["steps"] == 4
    (tmp_path / "whole" / "log" / "state" / "step_00000004.npz").unlink()
    (tmp_path / "whole" / "base" / INFO_FILE).unlink()
    capsys.readouterr()
    assert train_base.main(flags("whole")) == 0
    assert "from step 2 of 4" in capsys.readouterr().err
    again = load_base(tmp_path / "whole" / "base")
    for name, value in whole.parameters.items():
        np.testing.assert_array_equal(again.parameters[name], value)


def test_a_missing_folder_is_one_line(flags, capsys):
    assert train_base.main(flags("one", "--styles", "/nowhere")) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("train_base: /nowhere: no such file")

"""tools/train_base.py: it writes the base and continues where it stopped."""

import json
import shutil

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
    shutil.rmtree(tmp_path / "whole" / "base")
    capsys.readouterr()
    assert train_base.main(flags("whole")) == 0
    assert "from step 2 of 4" in capsys.readouterr().err
    again = load_base(tmp_path / "whole" / "base")
    for name, value in whole.parameters.items():
        np.testing.assert_array_equal(again.parameters[name], value)


def test_other_pictures_do_not_continue_a_run(flags, tiny_inputs, tmp_path, capsys):
    (tmp_path / "pictures").mkdir()
    shutil.copy(tiny_inputs / "style.png", tmp_path / "pictures" / "other.png")
    assert train_base.main(flags("run", "--steps", "1")) == 0
    assert train_base.main(flags("run", "--styles", str(tmp_path / "pictures"))) == 2
    assert "belongs to a run with other style pictures; give another --log-dir" in last_line(capsys)


def test_a_finished_run_writes_its_base_again_elsewhere(flags, tmp_path):
    assert train_base.main(flags("run", "--steps", "1")) == 0
    assert train_base.main(flags("run", "--steps", "1", "--output", str(tmp_path / "again"))) == 0
    assert load_base(tmp_path / "again").styles == load_base(tmp_path / "run" / "base").styles


@pytest.mark.parametrize("more", [(), ("--overwrite",)])
def test_a_folder_that_is_no_base_is_never_replaced(flags, tmp_path, capsys, more):
    (tmp_path / "paintings").mkdir()
    (tmp_path / "paintings" / "mine.jpg").write_bytes(b"picture")
    assert train_base.main(flags("run", "--output", str(tmp_path / "paintings"), *more)) == 2
    assert "paintings is not a base and is not replaced" in last_line(capsys)
    assert (tmp_path / "paintings" / "mine.jpg").read_bytes() == b"picture"


def test_a_finished_base_is_not_replaced_unasked(flags, tmp_path, capsys):
    assert train_base.main(flags("run", "--steps", "1")) == 0
    other = flags("other", "--steps", "1", "--output", str(tmp_path / "run" / "base"))
    assert train_base.main(other) == 2
    assert "is a finished base; give another --output, or --overwrite" in last_line(capsys)
    assert train_base.main([*other, "--overwrite"]) == 0


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--preset", "x"),
        ("--width", "0"),
        ("--outer-kernel", "4"),
        ("--half-size-share", "2"),
        ("--precision", "float64"),
        ("--steps", "0"),
    ],
)
def test_a_mistaken_flag_is_status_2(flags, flag, value, capsys):
    with pytest.raises(SystemExit) as ended:
        train_base.main(flags("run", flag, value))
    assert ended.value.code == 2 and last_line(capsys)


def last_line(capsys) -> str:
    return capsys.readouterr().err.splitlines()[-1]


def test_a_missing_folder_is_one_line(flags, capsys):
    assert train_base.main(flags("one", "--styles", "/nowhere")) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("train_base: /nowhere: no such file")

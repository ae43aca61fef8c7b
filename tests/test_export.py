"""export.py: what it writes, what it refuses, and that every refusal is one line."""

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import export
from cli import export_style
from cli.export_config import FORMATS, ExportConfig
from cli.flags import flag
from transformer.export.style_folder import META_PREFIX, ONNX_FILE

ROOT = Path(__file__).resolve().parents[1]
SLOW_LIBRARIES = {"tensorflow", "keras", "numpy", "onnx", "onnxruntime"}


@pytest.fixture
def run(style_dirs, tmp_path):
    """A function: flags -> exit status of exporting "waves" to tmp_path/out."""

    def call(*flags: str, style: Path | str = style_dirs["waves"], output: Path = tmp_path / "out") -> int:
        try:
            return export.main([str(style), *flags, "-o", str(output)])
        except SystemExit as leaving:
            return leaving.code

    return call


def one_line(capsys) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1 and captured.err.startswith("export.py: ")
    return captured.err.removeprefix("export.py: ").rstrip("\n")


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.is_dir() else set()


def test_without_a_size_onnx_is_the_file_of_the_style_unchanged(run, style_dirs, tmp_path, capsys):
    assert run("--format", "onnx") == 0
    written = tmp_path / "out" / "waves.onnx"
    assert written.read_bytes() == (style_dirs["waves"] / ONNX_FILE).read_bytes()
    assert names_in(tmp_path / "out") == {"waves.onnx", "waves.onnx.json"}
    assert capsys.readouterr().out.startswith(f"{written}  ")


def test_several_formats_are_written_at_once_and_named_after_size_and_precision(run, tmp_path, capsys):
    assert run("--format", "onnx", "onnx-fp16", "onnx", "--size", "24x40") == 0
    files = {"waves_24x40.onnx", "waves_24x40_fp16.onnx"}
    assert names_in(tmp_path / "out") == files | {f"{name}.json" for name in files}
    assert len(capsys.readouterr().out.splitlines()) == 2


@pytest.mark.tensorflow
def test_every_format_is_written_and_told_in_a_line(run, tmp_path, capsys):
    assert run("--format", *FORMATS, "--size", "24x40", "--half-weights") == 0
    files = {"waves_24x40.onnx", "waves_24x40_fp16.onnx", "waves_24x40_fp16.tflite"}
    assert names_in(tmp_path / "out") == files | {f"{name}.json" for name in files} | {"waves"}
    assert names_in(tmp_path / "out" / "waves") == {"1"}
    assert len(capsys.readouterr().out.splitlines()) == len(FORMATS)


@pytest.mark.tensorflow
def test_litert_has_a_size_without_the_flag(run, tmp_path):
    assert run("--format", "litert") == 0
    assert "waves_512x512.tflite" in names_in(tmp_path / "out")


def test_the_json_file_tells_contract_source_and_digest(run, tmp_path):
    assert run("--format", "onnx-fp16", "--size", "24x40") == 0
    content = (tmp_path / "out" / "waves_24x40_fp16.onnx").read_bytes()
    about = json.loads((tmp_path / "out" / "waves_24x40_fp16.onnx.json").read_text())
    assert about["style"] == "waves" and about["format"] == "onnx-fp16"
    assert about["style_picture"]["source"] == "museum of waves"
    assert about["sha256"] == hashlib.sha256(content).hexdigest()
    for role, name in {"input": "X", "output": "g"}.items():
        tensor = about[role]
        assert (tensor["name"], tensor["shape"], tensor["type"]) == (name, [1, 24, 40, 3], "float32")
        assert tensor["range"] == [0, 255] and tensor["channels"] == "red, green, blue"
    metadata = {item.key: item.value for item in onnx.load_from_string(content).metadata_props}
    assert json.loads(metadata["style_picture"]) == about["style_picture"]


def test_a_style_may_say_anything_of_itself(style_dirs, run, tmp_path):
    hostile = shutil.copytree(style_dirs["waves"], tmp_path / "wa\x1bves")
    info = json.loads((hostile / "style.json").read_text())
    picture = {"source": "\x1b[2J of\nnowhere", "license": ["\udc80"]}
    (hostile / "style.json").write_text(json.dumps({**info, "name": "\ud800", "style_picture": picture}))
    assert run("--format", "onnx-fp16", style=hostile) == 0
    (about_file,) = (tmp_path / "out").glob("*.json")
    about = json.loads(about_file.read_text())
    assert about["style"] == r"wa\x1bves"
    assert about["style_picture"] == {"source": r"\x1b[2J of\nnowhere"}


def test_an_existing_file_is_kept_without_overwrite_and_replaced_with_it(run, tmp_path, capsys):
    target = tmp_path / "out" / "waves.onnx"
    target.parent.mkdir()
    target.write_text("older")
    assert run("--format", "onnx-fp16", "onnx") == 1
    assert f"{target}: exists; give --overwrite to replace it" in one_line(capsys)
    assert target.read_text() == "older" and names_in(target.parent) == {"waves.onnx"}
    assert run("--format", "onnx", "--overwrite") == 0
    assert onnxruntime.InferenceSession(str(target)).get_inputs()[0].name == "X"


def test_a_json_file_of_someone_else_is_kept_without_overwrite(run, tmp_path, capsys):
    described = tmp_path / "out" / "waves.onnx.json"
    described.parent.mkdir()
    described.write_text("mine")
    assert run("--format", "onnx") == 1
    assert f"{described}: exists; give --overwrite" in one_line(capsys)
    assert described.read_text() == "mine" and names_in(tmp_path / "out") == {described.name}
    described.unlink()
    described.mkdir()
    assert run("--format", "onnx", "--overwrite") == 1
    assert f"{described}: is a folder" in one_line(capsys)


@pytest.mark.tensorflow
def test_a_network_that_litert_cannot_convert_is_one_line_and_the_others_are_written(
    run, tmp_path, monkeypatch, capsys
):
    import tensorflow as tf

    class Converter:
        @staticmethod
        def from_concrete_functions(*_arguments):
            raise RuntimeError("no such operation\nand more")

    monkeypatch.setattr(tf.lite, "TFLiteConverter", Converter)
    assert run("--format", "litert", "onnx") == 1
    assert "cannot convert this network for LiteRT (no such operation)" in capsys.readouterr().err
    assert "waves.onnx" in names_in(tmp_path / "out")


def test_too_little_memory_for_one_format_is_one_line(run, tmp_path, monkeypatch, capsys):
    def refuse(*_arguments):
        raise MemoryError

    monkeypatch.setitem(export_style.WRITERS, "onnx-fp16", refuse)
    assert run("--format", "onnx-fp16", "onnx") == 1
    assert "waves_fp16.onnx: not enough memory; give a smaller --size" in capsys.readouterr().err
    assert "waves.onnx" in names_in(tmp_path / "out")


def test_a_description_never_stays_beside_a_file_that_it_does_not_describe(
    run, tmp_path, monkeypatch, capsys
):
    assert run("--format", "onnx") == 0
    capsys.readouterr()

    def full(path, _write):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(export_style, "write_whole", full)
    assert run("--format", "onnx", "--overwrite") == 1
    target = tmp_path / "out" / "waves.onnx"
    line = (
        f"{target}: cannot be written: No space left on device; check the folder's permissions and free space"
    )
    assert one_line(capsys).startswith(line)
    assert names_in(tmp_path / "out") == {"waves.onnx"}


def test_a_format_that_fails_does_not_keep_the_others(run, tmp_path, monkeypatch, capsys):
    def refuse(*_arguments):
        raise export_style.StyleError("the parameter x exceeds the range of half precision")

    monkeypatch.setitem(export_style.WRITERS, "onnx-fp16", refuse)
    assert run("--format", "onnx-fp16", "onnx") == 1
    captured = capsys.readouterr()
    assert captured.err == "export.py: the parameter x exceeds the range of half precision\n"
    assert "waves.onnx" in names_in(tmp_path / "out")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "give --format with one or more of saved_model, litert, onnx, onnx-fp16"),
        (("--format", "coreml"), "invalid choice: 'coreml'"),
        (("--format", "onnx", "--size", "0x5"), "is not HEIGHTxWIDTH in pixels"),
        (("--format", "onnx", "--size", "512"), "is not HEIGHTxWIDTH in pixels"),
        (("--format", "onnx", "--size", "99999x99999"), "--size may have at most 16777216 pixels"),
        (("--format", "saved_model", "--size", "8x8"), "--size belongs to litert, onnx and onnx-fp16"),
        (("--format", "onnx", "--half-weights"), "--half-weights belongs to --format litert"),
        (("--format", "onnx", "--max-megapixels", "2"), "--max-megapixels belongs to --format saved_model"),
        (("--format", "saved_model", "--max-megapixels", "nan"), "--max-megapixels must be a finite number"),
        (("--format", "saved_model", "--max-megapixels", "0"), "--max-megapixels must be above 0"),
    ],
)
def test_wrong_flags_are_one_line_and_status_2(run, tmp_path, capsys, flags, words):
    assert run(*flags) == 2
    assert words in one_line(capsys)
    assert not (tmp_path / "out").exists()


def test_a_folder_must_be_named(style_dirs, capsys):
    with pytest.raises(SystemExit, match="2"):
        export.main([str(style_dirs["waves"]), "--format", "onnx"])
    assert "give -o with the folder to write to" in one_line(capsys)


def test_an_unknown_style_is_the_line_of_infer(run, capsys):
    assert run("--format", "onnx", style="grate_wave") == 1
    assert "grate_wave: no such style or folder; styles in" in one_line(capsys)


def test_a_style_of_another_program_is_one_line_for_every_format(style_dirs, run, tmp_path, capsys):
    foreign = shutil.copytree(style_dirs["waves"], tmp_path / "foreign")
    (foreign / "style.json").unlink()
    model = onnx.load(foreign / ONNX_FILE)
    model.graph.node[-1].attribute[0].ints[:] = [0, 3, 2, 1]
    onnx.save(model, foreign / ONNX_FILE)
    for name in FORMATS:
        assert run("--format", name, style=foreign) == 1
        assert one_line(capsys).endswith("; only styles of train.py can be exported")
    (foreign / ONNX_FILE).write_bytes(b"no model")
    assert run("--format", "onnx", style=foreign) == 1
    assert "is damaged or was not written by train.py" in one_line(capsys)
    assert names_in(tmp_path / "out") == set()


def test_a_style_with_a_meta_graph_alone_is_one_line(run, tmp_path, capsys):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / f"{META_PREFIX}.meta").write_bytes(b"")
    assert run("--format", "onnx", style=tmp_path / "old") == 1
    assert f"has no {ONNX_FILE}, so its network is that of another program" in one_line(capsys)


def test_a_damaged_style_is_one_line(style_dirs, run, tmp_path, capsys):
    damaged = shutil.copytree(style_dirs["waves"], tmp_path / "damaged")
    content = bytearray((damaged / ONNX_FILE).read_bytes())
    content[len(content) // 2] ^= 1
    (damaged / ONNX_FILE).write_bytes(content)
    assert run("--format", "onnx", style=damaged) == 1
    assert "damaged or of another style" in one_line(capsys)


def test_nothing_is_written_into_the_folder_of_a_style(style_dirs, run, tmp_path, capsys):
    style = shutil.copytree(style_dirs["waves"], tmp_path / "styles" / "waves")
    before = names_in(style)
    assert run("--format", "onnx", style=style, output=style) == 1
    assert "is the folder of a style; give another folder with -o" in one_line(capsys)
    assert run("--format", "saved_model", style=style, output=tmp_path / "styles") == 1
    assert "is the folder of a style; give another folder with -o" in one_line(capsys)
    assert names_in(style) == before


def test_what_stands_in_the_way_is_named(run, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "waves").write_text("")
    assert run("--format", "saved_model") == 1
    assert "waves: is a file, and a folder of this name is needed" in one_line(capsys)
    (tmp_path / "out" / "waves.onnx").mkdir()
    assert run("--format", "onnx", "--overwrite") == 1
    assert "waves.onnx: is a folder, and a file of this name is to be written" in one_line(capsys)
    assert run("--format", "onnx", output=tmp_path / "out" / "waves") == 1
    assert "waves: cannot be written: a part of its path is a file" in one_line(capsys)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_one_line(run, tmp_path, capsys):
    (tmp_path / "closed").mkdir(mode=0o500)
    assert run("--format", "onnx", output=tmp_path / "closed") == 1
    assert "closed: cannot be written: Permission denied" in one_line(capsys)


def test_a_missing_tensorflow_is_one_line_before_anything_is_written(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("cli.doors.TRAINING_PACKAGES", frozenset({"tensorflow"}))
    monkeypatch.setattr(export_style, "find_spec", lambda _name: None)
    assert run("--format", "onnx", "litert") == 1
    assert "the package tensorflow is not installed; run make install" in one_line(capsys)
    assert names_in(tmp_path / "out") == set()


IMPORTED = """
import json, runpy, sys
sys.argv = json.loads(sys.argv[1])
sys.path.insert(0, ".")
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as exit:
    status = exit.code
print(json.dumps([status, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def modules_after(*command: str) -> tuple[int, set[str]]:
    """Exit status of a command line in a fresh Python, and the packages it imported."""
    program = [sys.executable, "-c", IMPORTED, json.dumps(["export.py", *command])]
    finished = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=True)
    status, loaded = json.loads(finished.stdout.splitlines()[-1])
    return status, set(loaded)


@pytest.mark.parametrize(("command", "status"), [(["--help"], 0), (["waves", "--fromat", "onnx"], 2)])
def test_help_and_mistakes_wait_for_no_library(command, status):
    found, loaded = modules_after(*command)
    assert found == status
    assert loaded & SLOW_LIBRARIES == set()


def test_onnx_files_need_no_tensorflow(style_dirs, tmp_path):
    folder = str(tmp_path / "out")
    command = [str(style_dirs["waves"]), "--format", "onnx", "onnx-fp16", "-o", folder]
    status, loaded = modules_after(*command)
    assert status == 0 and loaded & {"tensorflow", "keras"} == set()


def test_every_field_is_a_flag_of_the_same_name():
    actions = {
        option: action.dest for action in export._build_parser()._actions for option in action.option_strings
    }
    flags = {
        option: name
        for option, name in actions.items()
        if option.startswith("--") and option not in ("--help", "--version")
    }
    names = {option.name for option in fields(ExportConfig)} - {"style"}
    assert flags == {flag(name): name for name in names}


def test_the_exported_file_gives_the_picture_of_the_style(style_dirs, run, tmp_path):
    images = np.random.default_rng(0).uniform(0, 255, (1, 24, 40, 3)).astype(np.float32)
    assert run("--format", "onnx", "--size", "24x40") == 0
    paths = (style_dirs["waves"] / ONNX_FILE, tmp_path / "out" / "waves_24x40.onnx")
    ours, exported = (onnxruntime.InferenceSession(str(path)).run(None, {"X": images})[0] for path in paths)
    np.testing.assert_allclose(exported, ours, atol=0.01)

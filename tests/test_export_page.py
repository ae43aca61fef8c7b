"""docs/exports.md: its programs run as they are printed, and its commands are understood."""

import importlib.util
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import export

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "exports.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = sorted(set(re.findall(r"^ {4}.venv/bin/python export\.py (.*)$", PAGE, re.MULTILINE)))
PACKAGES = {
    "tensorflow": "saved_model",
    "ai_edge_litert": "litert",
    "cv2": "onnx",
    "onnxruntime": "onnx-fp16",
}


def package_of(program: str) -> str:
    return next(package for package in PACKAGES if re.search(rf"^(import|from) {package}\b", program, re.M))


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Path:
    """A folder with photo.jpg, and with what the programs load in models/."""
    folder = tmp_path_factory.mktemp("page")
    Image.open(ROOT / "examples" / "coffee.jpg").resize((120, 80)).save(folder / "photo.jpg")
    size = ["--size", "512x512"]
    for flags in (["onnx", "onnx-fp16"], ["onnx", *size]):
        assert export.main(["great_wave", "--format", *flags, "-o", str(folder / "models")]) == 0
    if importlib.util.find_spec("tensorflow"):
        flags = ["saved_model", "litert", *size]
        assert export.main(["great_wave", "--format", *flags, "-o", str(folder / "models")]) == 0
    return folder


@pytest.mark.parametrize("program", PROGRAMS, ids=package_of)
def test_a_program_of_the_page_writes_a_stylized_picture(program, models, monkeypatch):
    pytest.importorskip(package_of(program))
    if PACKAGES[package_of(program)] in ("saved_model", "litert"):
        pytest.importorskip("tensorflow", reason="needs tensorflow, which writes the file")
    monkeypatch.chdir(models)
    (models / "picture.png").unlink(missing_ok=True)
    exec(compile(program, "docs/exports.md", "exec"), {"__name__": "__main__"})
    picture = Image.open("picture.png")
    photo = Image.open("photo.jpg").resize(picture.size)
    change = np.abs(np.asarray(picture, float) - np.asarray(photo, float)).mean()
    assert 15 < change < 90  # another picture, and not one of swapped channels or a wrong range
    correlation = np.corrcoef(*(np.asarray(image.convert("L"), float).ravel() for image in (picture, photo)))
    assert correlation[0, 1] > 0.5


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_page_is_understood(command):
    assert export.parse_args(shlex.split(command)).style == "great_wave"


def test_the_page_has_a_program_for_every_format():
    assert {PACKAGES[package_of(program)] for program in PROGRAMS} == set(PACKAGES.values())

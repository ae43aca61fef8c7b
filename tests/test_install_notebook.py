"""docs/fast_style_transfer.ipynb: its cells run from top to bottom with the installed package, tiny and offline."""

import os
import re
import shutil

import pytest
from installed import ROOT, bin_of, build, fresh_environment, site_of

nbformat = pytest.importorskip("nbformat", reason="needs nbformat, which comes with nbclient")
nbclient = pytest.importorskip("nbclient", reason="needs nbclient")
pytest.importorskip("ipykernel", reason="needs ipykernel")
pytest.importorskip("hatchling", reason="needs hatchling, which builds the package")
pytest.importorskip("pip", reason="needs pip, which installs the package")

PATH = ROOT / "docs" / "fast_style_transfer.ipynb"
SKIPPED = {"network", "colab", "page"}  # cells that download, that only Colab has, and TensorBoard's page


@pytest.fixture
def notebook():
    return nbformat.read(PATH, as_version=4)


def tags_of(cell) -> set[str]:
    return set(cell.metadata.get("tags", ()))


def tiny(notebook, settings: str):
    """The notebook without the cells that cannot run here, with `settings` after its own."""
    cells = []
    for cell in notebook.cells:
        if not SKIPPED & tags_of(cell):
            cells.append(cell)
        if "parameters" in tags_of(cell):
            cells.append(nbformat.v4.new_code_cell(settings))
    return nbformat.v4.new_notebook(cells=cells, metadata=notebook.metadata)


def text_of(notebook) -> str:
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return "".join(output.get("text", "") for output in outputs)


@pytest.mark.tensorflow
def test_the_notebook_runs_from_top_to_bottom(notebook, tmp_path, tiny_inputs, photo, monkeypatch):
    environment = fresh_environment(build("wheel", ROOT, tmp_path / "wheel"), tmp_path / "environment")
    work_dir = tmp_path / "work"
    photo(work_dir / "cat.png", height=70, width=80)
    shutil.copytree(tiny_inputs / "photos", work_dir / "photos")
    shutil.copy(tiny_inputs / "style.png", work_dir)
    monkeypatch.setenv("PATH", str(bin_of(environment)), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(site_of(environment)))
    flags = f"--vgg {tiny_inputs / 'vgg.npz'} --width 0.125 --residual-blocks 1 --image-size 32 --precision float32"
    settings = f"""
PHOTO, PAINTING, PHOTOS, STYLE = "cat.png", "style.png", "photos", "udnie"
STEPS, TRAINING_FLAGS = 2, "{flags}"
"""
    done = tiny(notebook, settings)
    nbclient.NotebookClient(done, timeout=300, resources={"metadata": {"path": str(work_dir)}}).execute()
    text = text_of(done)
    assert re.search(r"^udnie +Francis Picabia", text, re.MULTILINE)
    assert "checkpoints/my_style is ready: fast-style-transfer stylize PHOTO" in text
    for name in ("picture.jpg", "sheet.png", "my_picture.jpg", "my_style.zip", "from_python.png"):
        assert (work_dir / name).is_file(), text


def test_the_notebook_is_committed_without_outputs(notebook):
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in notebook.cells)


def test_everything_that_is_downloaded_is_in_a_cell_of_its_own(notebook):
    for cell in notebook.cells:
        loads = cell.cell_type == "code" and re.search(r"https?://|%pip|wget|git\+", cell.source)
        assert bool(loads) == ("network" in tags_of(cell)), cell.source


@pytest.mark.parametrize("source", ["git+https://host/owner/name", "a clone", "~/a clone"])
def test_pip_can_read_what_is_installed_from_an_address_or_a_folder(notebook, tmp_path, monkeypatch, source):
    requirements = pytest.importorskip("packaging.requirements")
    (tmp_path / "a clone").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    cell = next(cell.source for cell in notebook.cells if "%pip" in cell.source)
    program, _, line = cell.partition("%pip")
    names = {}
    exec(re.sub(r'"git\+[^"]+"', repr(source), program), names)
    text = re.search(r'"(.+)"', line)[1].format(SOURCE=names["SOURCE"])
    found = requirements.Requirement(text)
    assert (found.name, found.extras) == ("fast-style-transfer", {"train"})
    assert found.url == (source if "://" in source else (tmp_path / "a clone").as_uri())


def test_the_flags_of_the_notebook_exist(notebook):
    import infer
    import train

    known = {
        option
        for door in (infer, train)
        for action in door._build_parser()._actions
        for option in action.option_strings
    }
    lines = " ".join(cell.source for cell in notebook.cells if cell.cell_type == "code").replace("\\\n", " ")
    used = {
        flag
        for line in re.findall(r"!fast-style-transfer (?:stylize|train)[^\n]*", lines)
        for flag in re.findall(r"(?<= )--[a-z-]+", line)
    }
    assert used and used <= known


def test_the_notebook_stops_where_a_file_is_missing(notebook, tmp_path):
    cell = next(cell for cell in notebook.cells if "def present" in cell.source)
    names = {"PHOTO": str(tmp_path / "nowhere.jpg")}
    with pytest.raises(FileNotFoundError, match="no such file; copy one here"):
        exec(cell.source, names)

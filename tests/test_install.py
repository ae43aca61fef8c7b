"""pip install .: the wheel has one package with all that runs, and works in a folder that is not the repository."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import numpy as np
import pytest
from installed import COMMAND, PACKAGE, ROOT, bin_of, build, fresh_environment, site_of

from install.source_files import source_files

pytest.importorskip("hatchling", reason="needs hatchling, which builds the package")
pytest.importorskip("pip", reason="needs pip, which installs the package")

FOLDERS = ("cli", "cluster", "data", "loss_net", "system", "transformer", "web")
# Styles of a user may lie beside the shipped ones.
SHIPPED = {
    path.parent.name for path in map(Path, source_files(ROOT)) if path.match("checkpoints/*/style.json")
}
HIJACK = "raise SystemExit('a module of the current folder was imported')\n"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="session")
def names(wheel) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


@pytest.fixture(scope="session")
def environment(wheel, tmp_path_factory) -> Path:
    return fresh_environment(wheel, tmp_path_factory.mktemp("environment"))


def own_files(environment: Path) -> dict[str, tuple[int, int]]:
    package = site_of(environment) / PACKAGE
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns)
        for path in package.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


@pytest.fixture
def run(environment, elsewhere):
    """Runs the command, or Python with "-c", in the folder `elsewhere`; nothing may be written into the package."""
    before = own_files(environment)

    def call(*arguments: str, status: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
        program = "python" if "-c" in arguments[:1] else COMMAND
        done = subprocess.run(
            [str(bin_of(environment) / program), *arguments],
            cwd=elsewhere,
            env=os.environ | variables,
            capture_output=True,
            text=True,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done

    yield call
    assert own_files(environment) == before


@pytest.fixture
def elsewhere(tmp_path, photo) -> Path:
    """A folder with a photo and with modules of its own that have our names."""
    for name in ("cli", "infer", "train", "system", "web", "loss_net", "json", "numpy"):
        (tmp_path / f"{name}.py").write_text(HIJACK)
    (tmp_path / "data.py").write_text("MINE = 'mine'\n")
    (tmp_path / "transformer").mkdir()
    (tmp_path / "transformer" / "__init__.py").write_text(HIJACK)
    photo(tmp_path / "cat.png")
    return tmp_path


def write_negative(folder: Path) -> Path:
    """A style of another program that returns 255 - X."""
    onnx = pytest.importorskip("onnx")
    info, make = onnx.helper.make_tensor_value_info, onnx.helper
    white = make.make_tensor("white", onnx.TensorProto.FLOAT, [], [255.0])
    ends = [[info(name, onnx.TensorProto.FLOAT, ("N", "H", "W", 3))] for name in "Xg"]
    graph = make.make_graph([make.make_node("Sub", ["white", "X"], ["g"])], "negative", *ends, [white])
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8)
    folder.mkdir(parents=True)
    onnx.save(model, str(folder / f"{PACKAGE}.onnx"))
    return folder


def test_the_wheel_has_one_package_and_its_metadata(names):
    assert {name.partition("/")[0].partition("-")[0] for name in names} == {PACKAGE}
    tops = {name.partition("/")[0] for name in names}
    assert len(tops) == 2 and any(top.endswith(".dist-info") for top in tops)
    unwanted = {"tests", "benchmarks", "fuzz", "tools", "docs", "install", "__pycache__"}
    assert not any(unwanted & set(Path(name).parts) for name in names)


def test_every_module_and_every_shipped_style_is_in_the_wheel(names):
    modules = {
        name for name in source_files(ROOT) if re.fullmatch(rf"(({'|'.join(FOLDERS)})/.+|\w+)\.py", name)
    }
    styles = {name for name in source_files(ROOT) if re.match("checkpoints/[a-z]", name)}
    assert (
        len(SHIPPED) >= 12 and len(styles) >= 6 * len(SHIPPED) and {"infer.py", "data/images.py"} <= modules
    )
    examples = {name for name in source_files(ROOT) if name.startswith("examples/")}
    assert {f"{PACKAGE}/{name}" for name in modules | styles | examples} - names == set()


def test_the_wheel_of_the_sdist_is_that_of_the_repository(wheel, names, tmp_path):
    from install.build_hook import write_package

    sdist = build("sdist", ROOT, tmp_path / "sdist")
    shutil.unpack_archive(sdist, tmp_path / "unpacked")
    (root,) = (tmp_path / "unpacked").iterdir()
    assert not (root / "tests").exists()
    write_package(root, tmp_path / "package")
    written = {path for path in (tmp_path / "package").rglob("*") if path.is_file()}
    contents = {path.relative_to(tmp_path / "package").as_posix(): path.read_bytes() for path in written}
    archive = zipfile.ZipFile(wheel)
    assert contents.keys() == {name for name in names if name.startswith(f"{PACKAGE}/")}
    assert [name for name, content in contents.items() if archive.read(name) != content] == []


def test_an_editable_installation_is_refused_in_one_line():
    program = "from hatchling.build import build_editable; build_editable('.')"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("fast-style-transfer cannot be installed with --editable")
    assert done.stderr.count("\n") == 1


def test_the_command_lists_its_subcommands_and_its_version(run):
    from system.version import VERSION

    usage = run("--help").stdout
    assert all(re.search(rf"^  {name} ", usage, re.MULTILINE) for name in ("stylize", "styles", "train"))
    assert run("--version").stdout == f"{COMMAND} {VERSION}\n"
    assert run(status=2).stdout == usage
    assert run("stylize", "--version").stdout == f"{COMMAND} {VERSION}\n"


def test_a_mistyped_subcommand_is_refused_with_the_nearest(run):
    line = run("styilze", "cat.png", status=2).stderr
    assert line == f"{COMMAND}: there is no command 'styilze'; did you mean stylize?; see {COMMAND} --help\n"
    assert run("a\x1b[31m\nb", status=2).stderr.count("\n") == 1


def subcommands(environment: Path) -> list[str]:
    usage = subprocess.run([str(bin_of(environment) / COMMAND), "--help"], capture_output=True, text=True)
    return re.findall(r"^  (\w+) ", usage.stdout, re.MULTILINE)


def test_no_help_text_names_a_file_of_the_repository(run, environment):
    for name in subcommands(environment):
        text = run(name, "--help").stdout
        assert text.startswith(f"usage: {COMMAND} ")
        assert not re.search(r"\b\w+\.py\b|requirements|\bmake\b|python |\b(examples|docs)/", text), text
        assert "checkpoints/" not in text or name == "train", text


def test_the_modules_of_the_current_folder_are_not_imported(run, elsewhere):
    line = run("stylize", "cat.png", "--style", "udnie").stderr
    assert re.search(rf"^{COMMAND} stylize: wrote cat_udnie\.png \(48x40 pixels\)$", line, re.MULTILINE)
    assert (elsewhere / "cat_udnie.png").is_file()


def test_mistakes_name_the_command_to_use(run, elsewhere):
    assert f"see {COMMAND} stylize --help" in run("stylize", "--stlye", "x", status=2).stderr
    line = run("stylize", "cat.png", "--style", "cat.png", status=1).stderr
    assert f"train a style with {COMMAND} train --style cat.png" in line


IMPORT = f"""
import sys
sys.path.remove("")
import json, numpy
sys.path.insert(0, "")
import data
from {PACKAGE} import load_stylizer, load_image, save_image
import {PACKAGE}
save_image("art.png", load_stylizer("starry_night", grain=1.0)(load_image("cat.png")))
ours = ["cli", "loss_net", "system", "transformer", "web", "infer", "train", "tensorflow"]
print(json.dumps([data.MINE, {PACKAGE}.__version__, [name for name in ours if name in sys.modules]]))
"""


def test_the_import_leaves_the_modules_of_its_user_alone(run, elsewhere):
    from system.version import VERSION

    assert json.loads(run("-c", IMPORT).stdout) == ["mine", VERSION, []]
    assert (elsewhere / "art.png").is_file()


def test_an_unknown_name_of_the_package_is_refused_and_the_known_ones_are_listed(run):
    program = f"""
import sys
sys.path.remove("")
import {PACKAGE}
print(dir({PACKAGE}), all(hasattr({PACKAGE}, name) for name in {PACKAGE}.__all__))
{PACKAGE}.nothing
"""
    done = run("-c", program, status=1)
    assert "load_blend" in done.stdout and "True" in done.stdout
    assert done.stderr.endswith(f"AttributeError: module '{PACKAGE}' has no attribute 'nothing'\n")


def test_a_graph_of_another_program_runs_in_a_process_of_its_own(run, elsewhere):
    from PIL import Image

    write_negative(elsewhere / "checkpoints" / "negative")
    run("stylize", "cat.png", "--style", "negative", "--grain", "0", "-o", "art.png")
    photo, art = (np.asarray(Image.open(elsewhere / name), int) for name in ("cat.png", "art.png"))
    assert np.array_equal(art, 255 - photo)


CHILD = f"""
import sys
sys.path.remove("")
from {PACKAGE}.system.child_python import run_python
print(run_python("import numpy; print(sys.path)", seconds=120, more_memory=float("inf")).stdout)
"""


def test_a_child_finds_our_modules_behind_the_standard_library(run, environment):
    places = ast.literal_eval(run("-c", CHILD).stdout)
    site = str(site_of(environment))
    assert "" not in places and places.index(site) > places.index(sysconfig.get_path("stdlib"))


DOOR = f"""
import sys
sys.path.remove("")
import subprocess
from {PACKAGE}.system.child_python import door_start
done = subprocess.run([*door_start("infer"), "--list-styles"], capture_output=True, text=True)
print(done.stdout, done.stderr)
"""


def test_a_program_starts_the_doors_as_processes(run):
    assert run("-c", DOOR).stdout.strip() == run("styles").stdout.strip()


INSTALL = f"""
import sys
sys.path.remove("")
from {PACKAGE}.system.program import REQUIREMENTS, install_line
print(*map(install_line, REQUIREMENTS), sep="\\n")
"""


def test_missing_packages_are_installed_by_their_names_for_the_python_of_the_command(run, environment):
    lines = run("-c", INSTALL).stdout.splitlines()
    assert len(lines) == 5 and all(str(bin_of(environment) / "python") in line for line in lines)
    assert (
        "tensorflow" in lines[0]
        and "gradio" in lines[3]
        and "ray[data,default,train]" in lines[4]
        and not any(COMMAND in line for line in lines)
    )


def test_own_styles_are_listed_beside_the_shipped_ones(run, elsewhere):
    shipped = run("styles").stdout
    assert shipped.count("\n") == len(SHIPPED)
    write_negative(elsewhere / "checkpoints" / "mine")
    assert set(run("styles").stdout.splitlines()) == {*shipped.splitlines(), "mine"}


def test_a_style_of_the_current_folder_cannot_take_the_place_of_a_shipped_one(run, elsewhere):
    write_negative(elsewhere / "checkpoints" / "udnie")
    lines = run("styles").stdout.splitlines()
    assert os.path.join("checkpoints", "udnie") in lines
    assert any(line.startswith("udnie ") and "Picabia" in line for line in lines)
    run("stylize", "cat.png", "--style", "udnie", "--grain", "0", "-o", "shipped.png")
    run("stylize", "cat.png", "--style", "checkpoints/udnie", "--grain", "0", "-o", "own.png")
    assert (elsewhere / "shipped.png").read_bytes() != (elsewhere / "own.png").read_bytes()


@pytest.mark.parametrize("variable", ["", "checkpoints"])
def test_styles_of_the_clone_from_which_it_is_installed_are_listed_once(run, elsewhere, variable):
    shutil.copytree(ROOT / "checkpoints" / "udnie", elsewhere / "checkpoints" / "udnie")
    lines = run("styles", FAST_STYLE_TRANSFER_STYLES=variable).stdout.splitlines()
    assert sorted(line.partition(" ")[0] for line in lines) == sorted(SHIPPED)


def test_a_folder_named_in_the_environment_comes_before_the_shipped_styles(run, elsewhere):
    write_negative(elsewhere / "mine" / "udnie")
    write_negative(elsewhere / "checkpoints" / "ignored")
    lines = run("styles", FAST_STYLE_TRANSFER_STYLES="mine").stdout.splitlines()
    assert "udnie" in lines and "ignored" not in lines and len(lines) == len(SHIPPED) + 1
    assert any(line.endswith("Picabia, Udnie, 1913") or "udnie " in line for line in lines)


@pytest.mark.parametrize("kind", ["file", "circle", "names"])
def test_a_strange_checkpoints_folder_hides_no_shipped_style(run, elsewhere, kind):
    checkpoints_dir = elsewhere / "checkpoints"
    if kind == "file":
        checkpoints_dir.write_text("")
    elif kind == "circle":
        checkpoints_dir.symlink_to("checkpoints")
    else:
        write_negative(checkpoints_dir / "a\x1b[2Jb")
    output = run("styles").stdout
    assert output.count("\n") == len(SHIPPED) + (kind == "names") and "\x1b" not in output
    run("stylize", "cat.png", "--style", "udnie")


@pytest.mark.tensorflow
def test_a_training_writes_into_the_current_folder(run, elsewhere, tiny_inputs, tiny_flags):
    flags = tiny_flags(elsewhere)
    del flags[flags.index("--output-dir") :][:2]
    flags = flags[: flags.index("--output-dir")]
    line = run("train", *flags, "--steps", "2").stderr
    assert f"{COMMAND} stylize PHOTO --style checkpoints{os.sep}tiny" in line
    assert (elsewhere / "checkpoints" / "tiny" / "style.json").is_file()
    run("stylize", "cat.png", "--style", "tiny", "-o", "art.png")
    again = run("train", *flags, "--name", "udnie", "--log-dir", "other", "--overwrite", status=1).stderr
    assert "a style of the name udnie exists already; give another --name" in again


REPOSITORY_NAMES = re.compile(
    r"\b(infer|train|export|serve|studio)\.py\b|requirements(-\w+)?\.txt|\bmake (install|studio|serve|cluster)\b"
)
ALLOWED = {
    ("system/program.py", "requirements"),
    ("transformer/export/onnx_graph.py", "train.py"),  # the mark of our ONNX files
}


def test_messages_take_the_names_of_commands_from_one_home():
    """They would be wrong where the project is installed: use system.program's prog, command and install_line."""
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")] + list(ROOT.glob("*.py"))
    found = []
    for path in files:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            is_text = isinstance(node, ast.Constant) and isinstance(node.value, str)
            if is_text and id(node) not in documentation and (name := REPOSITORY_NAMES.search(node.value)):
                found.append((path.relative_to(ROOT).as_posix(), node.lineno, name[0]))
    assert [
        place
        for place in found
        if not any(place[0] == file and place[2].startswith(name) for file, name in ALLOWED)
    ] == []
    needed = {(file, name) for file, name in ALLOWED for place in found if place[0] == file}
    assert needed == ALLOWED

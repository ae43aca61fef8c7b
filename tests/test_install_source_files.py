"""install/source_files.py: wheel and sdist have the project's files, and none of those that a user has beside them."""

import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from installed import PACKAGE, ROOT, build

from install.source_files import installed_files, source_files

GIT = ("git", "-c", "user.name=a", "-c", "user.email=a@localhost")


def write(root: Path, *names: str, content: str = "") -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def track(root: Path) -> Path:
    if not shutil.which("git"):
        pytest.skip("needs git")
    for command in (["init", "-q"], ["add", "-A"]):
        subprocess.run([*GIT, *command], cwd=root, check=True)
    return root


@pytest.fixture
def tree(tmp_path) -> Path:
    return write(
        tmp_path / "tree", "pyproject.toml", "data/a.py", "data/page/é [1]*.css", "data/gone.py", "infer.py"
    )


FILES = ["data/a.py", "data/page/é [1]*.css", "infer.py", "pyproject.toml"]


def test_without_git_all_files_are_sources_but_for_hidden_and_compiled_ones(tree):
    write(tree, "data/__pycache__/a.pyc", "data/b.pyc", "data/.hidden/b.py", ".venv/c.py", "new/d.py")
    assert source_files(tree) == sorted([*FILES, "data/gone.py", "new/d.py"])


def test_in_a_repository_only_tracked_files_are_sources_as_they_are_now(tree):
    write(track(tree), "data/untracked.py", "numpy/a.py", "checkpoints/mine/private.txt")
    write(tree, "data/a.py", content="changed")
    (tree / "data" / "gone.py").unlink()
    assert source_files(tree) == FILES


@pytest.mark.parametrize("in_git", [False, True])
def test_symbolic_links_are_no_sources(tree, tmp_path, in_git):
    outside = write(tmp_path / "outside", "secret.txt")
    (tree / "data" / "link.txt").symlink_to(outside / "secret.txt")
    (tree / "data" / "gone.py").unlink()
    if in_git:
        write(tree, "linked/secret.txt")
        track(tree)
        shutil.rmtree(tree / "linked")
    (tree / "linked").symlink_to(outside)
    assert source_files(tree) == FILES


@pytest.mark.parametrize("fault", ["damaged", "no git", "nothing tracked", "of another project"])
def test_where_git_cannot_tell_all_files_are_sources(tree, monkeypatch, fault):
    if fault == "no git":
        (tree / ".git").mkdir()
        monkeypatch.setenv("PATH", str(tree))
    elif fault == "damaged":
        write(tree, ".git", content="gitdir: nowhere")
    elif fault == "nothing tracked":
        subprocess.run([shutil.which("git") or pytest.skip("needs git"), "init", "-q"], cwd=tree, check=True)
    else:  # the folder above is a repository
        track(write(tree.parent, "tree/.gitignore", content="*"))
    assert source_files(tree) == sorted([*FILES, "data/gone.py"])


def test_the_variables_of_a_git_hook_name_no_other_repository(tree, tmp_path, monkeypatch):
    track(tree)
    other = track(write(tmp_path / "other", "pyproject.toml", "other.py"))
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    assert "other.py" not in source_files(tree)


def test_a_repository_of_another_user_is_read(tree, monkeypatch):
    """Else `sudo pip install .` would take everything that lies there."""
    track(tree)
    write(tree, "own.txt")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    assert "own.txt" not in source_files(tree)


def test_files_of_the_installed_folders_and_modules_are_installed():
    names = [
        "data/a.py",
        "data/page/style.css",
        "infer.py",
        "database/a.py",
        "train.py",
        "data.txt",
        "docs/infer.py",
    ]
    assert list(installed_files(names, frozenset({"data", "infer"}))) == names[:3]


@pytest.fixture
def clone(tmp_path) -> Path:
    """The repository with one style, all of it tracked, and with files of a user beside it."""
    root = tmp_path / "clone"
    for name in source_files(ROOT):
        if not name.startswith("checkpoints/") or name.startswith("checkpoints/udnie/"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, root / name)
    track(root)
    shutil.copytree(root / "checkpoints" / "udnie", root / "checkpoints" / "mine")
    (root / "web" / "secret.txt").symlink_to(write(tmp_path, "secret.txt") / "secret.txt")
    return write(root, "cli/stray[1].py", "numpy/a.py", "examples/private.jpg", "system/data.py")


OWN = ("mine", "secret", "stray", "private", "system/data.py", "numpy")


def test_a_wheel_has_no_files_of_its_user_and_their_modules_do_not_fail_it(clone, tmp_path):
    pytest.importorskip("hatchling", reason="needs hatchling, which builds the package")
    from install.build_hook import write_package

    write_package(clone, tmp_path / "package")
    names = [path.as_posix() for path in (tmp_path / "package" / PACKAGE).rglob("*") if path.is_file()]
    assert any(name.endswith("checkpoints/udnie/style.json") for name in names)
    assert not [name for name in names if any(part in name.partition(f"/{PACKAGE}/")[2] for part in OWN)]


def test_an_sdist_has_all_files_of_the_project_and_none_of_its_user(clone, tmp_path):
    pytest.importorskip("hatchling", reason="needs hatchling, which builds the package")
    with tarfile.open(build("sdist", clone, tmp_path / "sdist")) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names - set(source_files(clone)) == {"PKG-INFO"} | names & {".gitignore"}
    folders = (
        "cli/",
        "data/",
        "loss_net/",
        "system/",
        "transformer/",
        "web/",
        "checkpoints/",
        "examples/",
        "install/",
    )
    assert {name for name in source_files(clone) if name.startswith(folders)} <= names

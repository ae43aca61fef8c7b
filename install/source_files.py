"""Which files of the repository go into a wheel or an sdist: those that git tracks, so that own files never do."""

import os
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

# The build runs this repository's code anyway, so git may read it for any user; but it starts no program of its own.
GIT = ("git", "-c", "safe.directory=*", "-c", "core.fsmonitor=false")
# Where a hook of git starts the build, these name the repository of the hook.
PLACES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX")


def source_files(root: Path) -> list[str]:
    """Returns the files of the project below `root`, with "/" in their paths, sorted.

    These are the files that git tracks, as they are in the folder now. Without a .git, or without git, these are all
    files: those of an unpacked sdist. Symbolic links, hidden files and compiled modules are left out.
    """
    names = tracked_files(root)
    return sorted(name for name in (_all_files(root) if names is None else names) if _is_source(root, name))


def tracked_files(root: Path) -> list[str] | None:
    """Returns what git tracks below `root`; None if `root` is not a repository of its own or git cannot tell."""
    if not (root / ".git").exists():
        return None
    variables = {name: value for name, value in os.environ.items() if name not in PLACES}
    try:
        done = subprocess.run([*GIT, "ls-files", "-z"], cwd=root, env=variables, capture_output=True)
    except OSError:  # git is not installed
        return None
    names = [os.fsdecode(name) for name in done.stdout.split(b"\0") if name]
    return names if done.returncode == 0 and "pyproject.toml" in names else None


def installed_files(names: Iterable[str], tops: frozenset[str]) -> Iterator[str]:
    """Yields the names of files that belong to the top-level modules and folders `tops`."""
    for name in names:
        top, _, below = name.partition("/")
        if (top if below else top.removesuffix(".py")) in tops:
            yield name


def _all_files(root: Path) -> Iterator[str]:
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not _is_hidden(name)]
        yield from ((Path(folder) / name).relative_to(root).as_posix() for name in files)


def _is_source(root: Path, name: str) -> bool:
    path = root / name
    if any(map(_is_hidden, path.relative_to(root).parts)) or path.suffix in (".pyc", ".pyo"):
        return False
    above = path.relative_to(root).parents  # a tracked folder may have become a link
    return path.is_file() and not any((root / place).is_symlink() for place in (name, *list(above)[:-1]))


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name == "__pycache__"

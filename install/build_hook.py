"""Builds the wheel: the tree of the repository becomes one package, fast_style_transfer, with its styles.

The repository keeps its short module names (`from data.images import ...`), which must not lie in site-packages as
they are. So this hook writes every module under its installed name (see rewriting.py) and adds install/package/, the
command and what `import fast_style_transfer` offers. Both wheel and sdist have only files of the project, not those
that a user has beside them (see source_files.py).
"""

import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

DOORS = ("infer", "train", "export", "serve", "studio")  # those that exist are installed
FOLDERS = ("cli", "cluster", "data", "loss_net", "system", "transformer", "web")
FILES = (
    "checkpoints",
    "examples",
)  # the styles, with the base that new ones start from; photos of the studio


class PackageHook(BuildHookInterface):
    """Adds the package to the wheel, and the project's files to the sdist."""

    _folder = None

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Writes the package into a temporary folder and tells hatchling to put it into the wheel."""
        if (
            self.target_name == "sdist"
        ):  # pyproject.toml excludes all files; artifacts are included nevertheless
            names = _module(Path(self.root), "source_files").source_files(Path(self.root))
            build_data["artifacts"] += map(_pattern, names)
            return
        if version == "editable":
            sys.exit(
                "fast-style-transfer cannot be installed with --editable: the repository runs as it is (python"
                " infer.py, see README.md); install it with `pip install .`"
            )
        self._folder = Path(tempfile.mkdtemp())
        try:
            write_package(Path(self.root), self._folder)
        except BaseException:
            shutil.rmtree(self._folder)
            raise
        for path in sorted(self._folder.rglob("*")):
            if path.is_file():
                build_data["force_include"][str(path)] = path.relative_to(self._folder).as_posix()

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Removes the temporary folder."""
        if self._folder:
            shutil.rmtree(self._folder)


def write_package(root: Path, folder: Path) -> None:
    """Writes the package of the repository `root` into `folder`. Ends the process if an import cannot be renamed."""
    rewriting, sources = _module(root, "rewriting"), _module(root, "source_files")
    present = sources.source_files(root)
    names = _names(present, rewriting)
    package = folder / rewriting.PACKAGE
    places = {name: name for name in sources.installed_files(present, names.installed)}
    places |= {name: Path(name).name for name in present if re.fullmatch(r"install/package/[^/]+\.py", name)}
    for name, place in places.items():
        target = package / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".py"):
            text = (root / name).read_text(encoding="utf-8")
            target.write_text(_renamed(rewriting, text, names, Path(name)), encoding="utf-8")
        else:
            shutil.copyfile(root / name, target)


def _names(present: list[str], rewriting: Any) -> Any:
    installed = {*FOLDERS, *FILES, *(door for door in DOORS if f"{door}.py" in present)}
    folders = (name.partition("/")[0] for name in present if re.fullmatch(r"[^/]+/[^/]+\.py", name))
    modules = (name.removesuffix(".py") for name in present if re.fullmatch(r"[^/]+\.py", name))
    return rewriting.Names(frozenset(installed), frozenset({*folders, *modules} - installed))


def _pattern(name: str) -> str:
    """Returns the pattern, as in .gitignore, that matches this file only."""
    return "/" + re.sub(r"([\\*?\[\] ])", r"\\\1", name)


def _renamed(rewriting: Any, text: str, names: Any, where: Path) -> str:
    try:
        return rewriting.renamed(text, names, str(where))
    except rewriting.ImportFault as fault:
        sys.exit(f"the wheel cannot be built: {fault}")


def _module(root: Path, name: str) -> Any:
    """Imports install/NAME.py by its path: the root of the repository does not belong into the path of the builder."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location(f"fast_style_transfer_{name}", root / "install" / f"{name}.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

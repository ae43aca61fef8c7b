"""Builds the wheel: the tree of the repository becomes one package, fast_style_transfer, with its styles.

The repository keeps its short module names (`from data.images import ...`), which must not lie in site-packages as
they are. So this hook writes every module under its installed name (see rewriting.py) and adds install/package/, the
command and what `import fast_style_transfer` offers.
"""

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

DOORS = ("infer", "train", "export", "serve", "studio")  # those that exist are installed
FOLDERS = ("cli", "data", "loss_net", "system", "transformer", "web")
FILES = (
    "checkpoints",
    "examples",
)  # the styles, with the base that new ones start from; photos of the studio


class PackageHook(BuildHookInterface):
    """Adds the package to the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Writes the package into a temporary folder and tells hatchling to put it into the wheel."""
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
        shutil.rmtree(self._folder)


def write_package(root: Path, folder: Path) -> None:
    """Writes the package of the repository `root` into `folder`. Ends the process if an import cannot be renamed."""
    rewriting = _rewriting(root)
    names = _names(root, rewriting)
    package = folder / rewriting.PACKAGE
    places = dict(rewriting.installed_files(root, names.installed))
    places |= {path: path.name for path in sorted((root / "install" / "package").glob("*.py"))}
    for source, place in places.items():
        target = package / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.suffix == ".py":
            text = source.read_text(encoding="utf-8")
            target.write_text(_renamed(rewriting, text, names, source.relative_to(root)), encoding="utf-8")
        else:
            shutil.copyfile(source, target)


def _names(root: Path, rewriting: Any) -> Any:
    installed = {*FOLDERS, *FILES, *(door for door in DOORS if (root / f"{door}.py").is_file())}
    folders = (path.name for path in root.iterdir() if path.is_dir() and any(path.glob("*.py")))
    modules = (path.stem for path in root.glob("*.py"))
    return rewriting.Names(frozenset(installed), frozenset({*folders, *modules} - installed))


def _renamed(rewriting: Any, text: str, names: Any, where: Path) -> str:
    try:
        return rewriting.renamed(text, names, str(where))
    except rewriting.ImportFault as fault:
        sys.exit(f"the wheel cannot be built: {fault}")


def _rewriting(root: Path) -> Any:
    """Imports rewriting.py by its path: the root of the repository does not belong into the path of the builder."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("fast_style_transfer_rewriting", root / "install" / "rewriting.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

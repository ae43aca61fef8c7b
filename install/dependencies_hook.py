"""The dependencies of the package are those of the requirements files, which are their only home."""

from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

BASE_FILE = "requirements-infer.txt"
# Extra -> its file. What BASE_FILE lists does not count: the package depends on it.
EXTRA_FILES = {
    "train": "requirements.txt",
    "openvino": "requirements-openvino.txt",
    "serve": "requirements-serve.txt",
    "studio": "requirements-studio.txt",
    "cluster": "requirements-cluster.txt",
}
EXTRAS = {"heic": ["pillow-heif>=1.1"]}  # no file: see README.md
# gradio 6 refuses Pillow 13, and an extra cannot lift that. So the package allows 12.3: pip takes 13 unless gradio is
# installed too. studio.py and serve.py then say how to get 13 (system/pillow_release.py).
LOOSENED = {"pillow": "pillow>=12.3"}


class DependenciesHook(MetadataHookInterface):
    """Fills `dependencies` and `optional-dependencies`."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Reads the requirements files."""
        root = Path(self.root)
        metadata["dependencies"] = base_requirements(root)
        metadata["optional-dependencies"] = extra_requirements(root)


def base_requirements(root: Path) -> list[str]:
    """Returns what the package needs to stylize, each requirement once."""
    lines = [
        LOOSENED.get(name_of(requirement), requirement) for requirement in requirements(root / BASE_FILE)
    ]
    return list(dict.fromkeys(lines))


def extra_requirements(root: Path) -> dict[str, list[str]]:
    """Returns the requirements of each extra; `all` has all of them."""
    files = {extra: root / file for extra, file in EXTRA_FILES.items()}
    extras = {extra: requirements(path) for extra, path in files.items() if path.is_file()} | EXTRAS
    base = {name_of(requirement) for requirement in requirements(root / BASE_FILE)}
    extras = {extra: [line for line in lines if name_of(line) not in base] for extra, lines in extras.items()}
    return extras | {"all": sorted({line for lines in extras.values() for line in lines})}


def requirements(path: Path) -> list[str]:
    """Returns the requirements in a file, with those of the files that it reads (-r)."""
    found: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        line = line.partition("#")[0].strip()
        if line.startswith("-r "):
            found += requirements(path.parent / line.removeprefix("-r ").strip())
        elif line and not line.startswith("-"):
            found.append(line)
    return found


def name_of(requirement: str) -> str:
    """Returns the name of the package of a requirement, in small letters."""
    from packaging.requirements import Requirement

    return Requirement(requirement).name.lower()

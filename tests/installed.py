"""The package as pip installs it, for tests: built without network, in a fresh environment."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE, COMMAND = "fast_style_transfer", "fast-style-transfer"


def build(target: str, root: Path, folder: Path) -> Path:
    """Builds a "wheel" or "sdist" with the installed hatchling; returns its path."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl" if target == "wheel" else "*.tar.gz")
    return path


def fresh_environment(wheel: Path, folder: Path) -> Path:
    """Makes a virtual environment with the wheel; the packages that it needs are those of this Python."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = str(bin_of(folder) / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(wheel)], check=True)
    libraries = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (site_of(folder) / "libraries.pth").write_text("\n".join(libraries))
    return folder


def bin_of(environment: Path) -> Path:
    return environment / ("Scripts" if os.name == "nt" else "bin")


def site_of(environment: Path) -> Path:
    return next(environment.glob("[lL]ib/**/site-packages"))

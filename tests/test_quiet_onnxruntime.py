"""transformer/inference/quiet_onnxruntime.py: ONNX Runtime sends nothing and leaves nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Variables that switch telemetry off by themselves: those of CI machines, and the one under test.
QUIET = ("CI", "TF_BUILD", "GITHUB_ACTIONS", "BUILD_ID", "ORT_DISABLE_TELEMETRY", "ORT_RUNNING_UNIT_TESTS")


def environment(temporary_dir: Path) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in QUIET} | {
        "TMPDIR": str(temporary_dir)
    }


def test_infer_leaves_no_file_of_telemetry(photo, style_dirs, tmp_path):
    temporary_dir = tmp_path / "temporary"
    temporary_dir.mkdir()
    command = [sys.executable, str(ROOT / "infer.py"), str(photo(tmp_path / "cat.png")), "-o", "art.png"]
    subprocess.run(
        [*command, "--style", str(style_dirs["waves"]), "--runtime", "onnx"],
        cwd=tmp_path,
        env=environment(temporary_dir),
        check=True,
    )
    assert (tmp_path / "art.png").is_file()
    assert list(temporary_dir.iterdir()) == []


@pytest.mark.parametrize("given", [None, "0"])
def test_telemetry_is_off_before_the_import(given, tmp_path):
    program = (
        "import os\n"
        "from transformer.inference.quiet_onnxruntime import load_onnxruntime\n"
        "load_onnxruntime()\n"
        "print(os.environ['ORT_DISABLE_TELEMETRY'])\n"
    )
    variables = environment(tmp_path) | ({} if given is None else {"ORT_DISABLE_TELEMETRY": given})
    completed = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=variables, capture_output=True, text=True, check=True
    )
    assert completed.stdout.strip() == "1"
    assert list(tmp_path.iterdir()) == []

"""onnxruntime-web, the runtime of browsers, reads the ONNX files unchanged. Nothing is installed here.

npm install --prefix FOLDER onnxruntime-web
ONNXRUNTIME_WEB=FOLDER python -m pytest tests/test_onnxruntime_web.py
"""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import export
from transformer.export.style_folder import ONNX_FILE

PROGRAM = Path(__file__).resolve().parents[1] / "benchmarks" / "onnxruntime_web.mjs"
WEB_DIR = Path(os.environ.get("ONNXRUNTIME_WEB", "ONNXRUNTIME_WEB is not set"))

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (WEB_DIR / "node_modules" / "onnxruntime-web").is_dir(),
    reason="needs node, and onnxruntime-web in the folder that ONNXRUNTIME_WEB names",
)


@pytest.mark.parametrize(("format", "levels"), [("onnx", 0.1), ("onnx-fp16", 2)])
def test_the_runtime_of_browsers_gives_our_picture(style_dirs, tmp_path, format, levels):
    assert export.main([str(style_dirs["waves"]), "--format", format, "-o", str(tmp_path)]) == 0
    (model,) = tmp_path.glob("*.onnx")
    images = np.random.default_rng(0).uniform(0, 255, (1, 40, 31, 3)).astype(np.float32)
    images.tofile(tmp_path / "in.raw")
    command = ["node", PROGRAM, WEB_DIR, model, tmp_path / "in.raw", tmp_path / "out.raw", 40, 31, 1]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    stylized = np.fromfile(tmp_path / "out.raw", np.float32).reshape(images.shape)
    ours = onnxruntime.InferenceSession(str(style_dirs["waves"] / ONNX_FILE)).run(None, {"X": images})[0]
    np.testing.assert_allclose(stylized, ours, atol=levels)

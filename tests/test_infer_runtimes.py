"""infer.py --runtime, --precision and --device: what they print and write."""

import numpy as np
import pytest
from PIL import Image

import infer
from data.images import load_image
from transformer.inference import openvino_session
from transformer.inference.session import GpuError

needs_openvino = pytest.mark.skipif(not openvino_session.is_installed(), reason="needs openvino")


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    path = tmp_path / "cat.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def stylized(photo, style_dirs, tmp_path, capsys):
    """A function of flags: the exit status, what was printed to stderr, and the picture if there is one."""

    def run(*flags: str) -> tuple[int, str, np.ndarray | None]:
        target = tmp_path / f"picture{len(list(tmp_path.iterdir()))}.png"
        status = infer.main([str(photo), "--style", str(style_dirs["waves"]), "-o", str(target), *flags])
        return status, capsys.readouterr().err, load_image(target) if target.exists() else None

    return run


def refuse_gpu(*_):
    raise GpuError("none is here")


@needs_openvino
def test_openvino_writes_the_picture_of_onnx_runtime(stylized):
    status, printed, picture = stylized("--runtime", "openvino")
    assert status == 0 and printed.count("\n") == 1
    np.testing.assert_allclose(picture, stylized("--runtime", "onnx")[2], atol=1)


@pytest.mark.parametrize("runtime", ["onnx", pytest.param("openvino", marks=needs_openvino)])
@pytest.mark.parametrize("device", ["gpu", "gpu:7"])
def test_a_missing_gpu_is_one_line_and_the_picture_is_written(stylized, runtime, device, monkeypatch):
    monkeypatch.setattr("transformer.inference.runtimes.available_providers", lambda: [])
    monkeypatch.setattr(openvino_session, "_gpu_name", refuse_gpu)
    status, printed, picture = stylized("--runtime", runtime, "--device", device)
    first, second = printed.splitlines()
    assert first.startswith("infer.py: the GPU cannot be used (")
    assert first.endswith("); the CPU is used instead") and "wrote" in second
    assert status == 0
    np.testing.assert_allclose(picture, stylized("--runtime", "onnx", "--device", "cpu")[2], atol=1)


@pytest.mark.tensorflow
def test_a_missing_gpu_is_one_line_with_tensorflow_too(stylized):
    status, printed, _ = stylized("--runtime", "tensorflow", "--device", "gpu")
    assert status == 0 and printed.count("the CPU is used instead") == 1


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--runtime", "onnx", "--precision", "bfloat16"), "needs runtime openvino or auto"),
        (("--precision", "bfloat16", "--device", "gpu"), "is for CPUs"),
        (("--device", "cuda"), "auto, cpu, gpu, or gpu:N"),
        (("--precision", "float16"), "float32"),
    ],
)
def test_flags_that_contradict_each_other_are_status_2(stylized, flags, words, capsys):
    with pytest.raises(SystemExit) as error:
        stylized(*flags)
    assert error.value.code == 2
    assert words in capsys.readouterr().err


@needs_openvino
def test_a_cpu_without_bfloat16_is_one_line(stylized, monkeypatch):
    def refuse(core, precision):
        assert precision == "bfloat16"
        raise openvino_session.StyleError("this CPU cannot compute in bfloat16")

    monkeypatch.setattr(openvino_session, "_check_precision", refuse)
    status, printed, picture = stylized("--precision", "bfloat16")
    assert (status, picture) == (1, None)
    assert printed == "infer.py: this CPU cannot compute in bfloat16\n"

"""transformer/inference/openvino_session.py: OpenVINO gives the pictures of ONNX Runtime; its faults are one line."""

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from waiting import wait_until

from system.machine import has_fast_bfloat16
from transformer.export.style_folder import StyleError
from transformer.inference import openvino_session
from transformer.inference.devices import parsed_device
from transformer.inference.loading import load_blend, load_stylizer
from transformer.inference.openvino_session import OpenVinoSession
from transformer.inference.session import GpuError

ROOT = Path(__file__).resolve().parents[1]
needs_openvino = pytest.mark.skipif(not openvino_session.is_installed(), reason="needs openvino")


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    blocks = np.random.default_rng(seed).uniform(0, 255, (height // 8 + 1, width // 8 + 1, 3))
    return blocks.repeat(8, 0).repeat(8, 1)[:height, :width].astype(np.float32)


@needs_openvino
@pytest.mark.parametrize("size", [(64, 64), (61, 90), (1, 7), (130, 33)])
def test_pictures_are_those_of_onnx_runtime(style_dirs, size):
    image = picture(*size)
    expected = load_stylizer(style_dirs["waves"], "onnx")(image)
    np.testing.assert_allclose(load_stylizer(style_dirs["waves"], "openvino")(image), expected, atol=0.05)


@needs_openvino
def test_a_shipped_style_gives_the_picture_of_onnx_runtime():
    image = picture(200, 260)
    expected = load_stylizer("great_wave", "onnx")(image)
    assert expected.std() > 20
    np.testing.assert_allclose(load_stylizer("great_wave", "openvino")(image), expected, atol=0.1)


@needs_openvino
def test_a_blend_and_a_batch_of_two_sizes_one_after_the_other(style_dirs):
    pairs = [(folder, 1) for folder in style_dirs.values()]
    ours, expected = load_blend(pairs, "openvino"), load_blend(pairs, "onnx")
    for size in ((40, 40), (48, 20), (40, 40)):
        images = np.stack([picture(*size, seed) for seed in range(2)])
        np.testing.assert_allclose(ours(images), expected(images), atol=0.05)


@needs_openvino
def test_tiles_give_the_whole_picture(style_dirs):
    image = picture(150, 210)
    whole = load_stylizer(style_dirs["waves"], "openvino", tile="off")(image)
    tiled = load_stylizer(style_dirs["waves"], "openvino", tile=64)(image)
    np.testing.assert_allclose(tiled, whole, atol=0.1)


@needs_openvino
def test_tiles_in_openvino_itself_give_the_whole_picture(style_dirs, monkeypatch):
    """They are used in bfloat16, which few CPUs have; here in float32."""
    monkeypatch.setattr("transformer.inference.runtimes.Engine.for_tiles", lambda engine: engine)
    image = picture(150, 210)
    whole = load_stylizer(style_dirs["waves"], "onnx", tile="off")(image)
    tiled = load_stylizer(style_dirs["waves"], "openvino", tile=64)(image)
    np.testing.assert_allclose(tiled, whole, atol=0.1)


@needs_openvino
def test_threads_share_a_stylizer_and_get_their_own_pictures(style_dirs):
    stylize = load_stylizer(style_dirs["waves"], "openvino", threads=1)
    images = [picture(48 + 4 * seed, 64, seed) for seed in range(8)]
    alone = [stylize(image) for image in images]
    together: list = [None] * len(images)

    def work(index: int) -> None:
        together[index] = stylize(images[index])

    threads = [threading.Thread(target=work, args=(index,)) for index in range(len(images))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


@needs_openvino
def test_stop_ends_a_long_call_and_refuses_later_ones(monkeypatch):
    sessions, opened = [], OpenVinoSession.__init__

    def noted(self, *arguments, **options):
        sessions.append(self)
        opened(self, *arguments, **options)

    monkeypatch.setattr(OpenVinoSession, "__init__", noted)
    stylizer = load_stylizer("great_wave", "openvino", tile="off")
    errors = []

    def work() -> None:
        try:
            stylizer(picture(2000, 2000))
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    wait_until(lambda: any(session._busy for session in sessions))
    stylizer.stop()
    thread.join(60)
    assert errors and not thread.is_alive()
    with pytest.raises(Exception, match="stopped"):
        stylizer(picture(16, 16))


@needs_openvino
def test_a_gpu_that_is_missing_is_a_gpu_error_that_names_what_is_there(style_dirs):
    with pytest.raises(GpuError, match="OpenVINO finds no GPU.3 here, but CPU"):
        OpenVinoSession(b"", threads=1, precision="float32", device=parsed_device("gpu:3"))
    lines: list[str] = []
    stylize = load_stylizer(style_dirs["waves"], "openvino", device="gpu:3", report=lines.append)
    assert stylize(picture(16, 16)).shape == (16, 16, 3)
    assert len(lines) == 1 and "the CPU is used instead" in lines[0]


@pytest.mark.parametrize(
    ("available", "device", "name"),
    [
        (["CPU", "GPU"], "gpu", "GPU"),
        (["CPU", "GPU"], "gpu:0", "GPU"),
        (["CPU", "GPU.0", "GPU.1"], "gpu", "GPU"),
        (["CPU", "GPU.0", "GPU.1"], "gpu:1", "GPU.1"),
        (["CPU"], "gpu", None),
        (["CPU", "GPU"], "gpu:1", None),
        (["CPU", "NPU"], "gpu", None),
    ],
)
def test_gpus_have_the_names_of_openvino(available, device, name):
    if name is None:
        with pytest.raises(GpuError, match="finds no GPU"):
            openvino_session._gpu_name(available, parsed_device(device))
    else:
        assert openvino_session._gpu_name(available, parsed_device(device)) == name


class FakeCore:
    available_devices = ("CPU",)

    def __init__(self, *capabilities: str):
        self.capabilities, self.settings = capabilities, None

    def get_property(self, device, name):
        return list(self.capabilities)

    def read_model(self, model):
        return model

    def compile_model(self, model, name, settings):
        self.settings = settings


def opened_with(core: FakeCore, monkeypatch, precision: str, threads: int = 1) -> dict:
    monkeypatch.setattr(openvino_session, "_core", lambda: core)
    monkeypatch.setattr(openvino_session, "available_cores", lambda: 8)
    OpenVinoSession(b"", threads=threads, precision=precision, device=parsed_device("cpu"))
    return core.settings


def test_a_cpu_without_bfloat16_is_refused_in_one_line(monkeypatch):
    with pytest.raises(StyleError, match="cannot compute in bfloat16.*--precision float32") as error:
        opened_with(FakeCore("FP32", "INT8"), monkeypatch, "bfloat16")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("precision", "hint"), [("float32", "f32"), ("bfloat16", "bf16")])
def test_the_precision_is_always_asked_for(precision, hint, monkeypatch):
    settings = opened_with(FakeCore("FP32", "BF16"), monkeypatch, precision)
    assert settings["INFERENCE_PRECISION_HINT"] == hint


@pytest.mark.parametrize(("threads", "streams"), [(1, 8), (8, 1), (3, 2), (16, 1)])
def test_the_cores_are_shared_by_the_calls(threads, streams, monkeypatch):
    settings = opened_with(FakeCore("FP32"), monkeypatch, "float32", threads)
    assert settings["NUM_STREAMS"] == streams
    assert settings["INFERENCE_NUM_THREADS"] == max(8, threads)


def test_a_missing_package_is_named_with_what_to_install(style_dirs, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    openvino_session._core.cache_clear()
    with pytest.raises(
        StyleError, match="OpenVINO is not installed; run pip install -r requirements-openvino.txt"
    ):
        load_stylizer(style_dirs["waves"], "openvino")
    openvino_session._core.cache_clear()


@needs_openvino
@pytest.mark.skipif(not has_fast_bfloat16(), reason="needs a CPU with AVX-512 BF16 or AMX")
@pytest.mark.parametrize("tile", ["off", 128])
def test_bfloat16_changes_pixels_by_a_few_levels(tile):
    image = picture(300, 400)
    expected = load_stylizer("great_wave", "onnx", tile="off")(image)
    apart = np.abs(load_stylizer("great_wave", precision="bfloat16", tile=tile)(image) - expected)
    assert 0 < apart.mean() < 1 and apart.max() < 12


@pytest.mark.parametrize("fault", [ImportError("libtbb.so.12: cannot open"), None])
def test_auto_goes_on_with_onnx_runtime_where_openvino_is_broken(style_dirs, monkeypatch, fault):
    class Broken:
        """An old package without Core, or one whose libraries are missing."""

        def __getattr__(self, name):
            raise fault or AttributeError(name)

    monkeypatch.setattr(openvino_session, "is_installed", lambda: True)
    monkeypatch.setitem(sys.modules, "openvino", Broken())
    openvino_session._core.cache_clear()
    lines: list[str] = []
    stylize = load_stylizer(style_dirs["waves"], expected_pixels=1e9, report=lines.append)
    assert stylize.runtime == "onnx"
    (line,) = lines
    assert "OpenVINO cannot be loaded (" in line and line.endswith("ONNX Runtime is used instead")
    with pytest.raises(StyleError, match="OpenVINO cannot be loaded"):
        load_stylizer(style_dirs["waves"], "openvino")
    openvino_session._core.cache_clear()


@needs_openvino
def test_openvino_is_given_whole_images_up_to_4_megapixels_only(style_dirs):
    """Its instance norm sums up in float32, which is wrong by whole levels in larger images."""
    plan = load_stylizer("great_wave", "openvino").plan
    assert plan.tile_for(2048, 2048) is None  # benchmarks/README.md has its error and its time
    assert plan.tile_for(2150, 2150) is not None


FIRST_CALLS = """
import sys, threading
import numpy as np
from transformer.inference.loading import load_stylizer

stylize = load_stylizer(sys.argv[1], "openvino", threads=1)
barrier = threading.Barrier(4)

def first_call():
    barrier.wait()
    stylize(np.full((32, 32, 3), 99, np.float32))

threads = [threading.Thread(target=first_call, daemon=True) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("done")
"""


@needs_openvino
def test_the_first_calls_of_a_process_may_come_from_several_threads(style_dirs):
    """Without the first access to a tensor in one thread, most of such processes hang."""
    for _ in range(3):
        finished = subprocess.run(
            [sys.executable, "-c", FIRST_CALLS, str(style_dirs["waves"])],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert finished.stdout == "done\n"

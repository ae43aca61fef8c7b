"""cli/expected_work.py: how many pixels the network will compute, from the sizes of files and the flags."""

import pytest

from cli.expected_work import expected_pixels
from cli.infer_config import FastConfig
from data.enlarging import LARGE_PIXELS
from transformer.inference import runtimes
from transformer.inference.devices import Device


@pytest.fixture
def files(tmp_path):
    """A function: the paths of files of so many bytes."""

    def write(*sizes: int) -> list:
        paths = [tmp_path / f"{index}.jpg" for index in range(len(sizes))]
        for path, size in zip(paths, sizes, strict=True):
            path.write_bytes(bytes(size))
        return paths

    return write


def test_every_photo_adds_its_pixels_and_a_missing_one_none(files, tmp_path):
    assert expected_pixels(FastConfig(), [*files(1000, 2000), tmp_path / "missing.jpg"]) == 9000


def test_large_photos_are_shrunk_before_the_network(files):
    assert expected_pixels(FastConfig(), files(10**7)) == LARGE_PIXELS


@pytest.mark.parametrize(("options", "pixels"), [({"max_side": 100}, 1e4), ({"stroke_scale": 2.0}, 7.5e6)])
def test_flags_that_shrink_photos_count(files, options, pixels):
    assert expected_pixels(FastConfig(**options), files(10**7)) == pixels


@pytest.mark.parametrize(("photos", "runtime"), [(1, "onnx"), (2, "openvino")])
def test_one_large_photo_is_not_worth_the_start_of_openvino_and_several_are(
    files, photos, runtime, monkeypatch
):
    monkeypatch.setattr(runtimes.openvino_session, "is_installed", lambda: True)
    monkeypatch.setattr(runtimes, "available_providers", lambda: [])
    pixels = expected_pixels(FastConfig(), files(*[4 * 10**6] * photos))
    assert runtimes.chosen_runtime("float32", Device("auto"), pixels) == runtime

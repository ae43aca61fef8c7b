"""What several test modules share."""

import json
import os
import re
import shutil
from collections.abc import Callable
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from vgg_files import random_vgg_weights, save_vgg_weights

from loss_net.weights import VggWeights

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # of ONNX Runtime, which some tests import themselves

# `make test-lowest` runs the tests with the packages of inference alone. What imports one of these is skipped there.
TRAINING_PACKAGES = {"tensorflow", "keras", "scipy", "h5py", "tensorboard"}
HAS_TENSORFLOW = find_spec("tensorflow") is not None
SHARED_DIR = Path(__file__).resolve().parents[2] / "shared"


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("tensorflow") and not HAS_TENSORFLOW:
            item.add_marker(pytest.mark.skip(reason="needs tensorflow"))
    if (SHARED_DIR / "vgg19" / "vgg19_notop.h5").is_file():
        return
    for item in items:
        if item.get_closest_marker("shared"):
            item.add_marker(pytest.mark.skip(reason=f"{SHARED_DIR} with VGG19 weights and photos is absent"))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    missing = re.search(r"No module named '(\w+)", str(report.longrepr)) if report.failed else None
    if not HAS_TENSORFLOW and missing and missing[1] in TRAINING_PACKAGES:
        report.outcome, report.longrepr = "skipped", (str(collector.path), 1, f"needs {missing[1]}")
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    with _skipped_without_tensorflow():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    with _skipped_without_tensorflow():
        return (yield)


@pytest.fixture(scope="session", autouse=True)
def _a_missing_package_reaches_pytest():
    """Lets run_door raise for a missing package of training, where it prints a line else: the test is skipped then."""
    if HAS_TENSORFLOW:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cli.doors.TRAINING_PACKAGES", frozenset())
        yield


@contextmanager
def _skipped_without_tensorflow():
    try:
        yield
    except ModuleNotFoundError as error:
        if HAS_TENSORFLOW or error.name not in TRAINING_PACKAGES:
            raise
        pytest.skip(f"needs {error.name}")


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    return SHARED_DIR


@pytest.fixture(scope="session")
def tiny_vgg_weights() -> Callable[[str], VggWeights]:
    """A function: "vgg16" or "vgg19" -> random VggWeights with a few channels in each block."""
    return random_vgg_weights


def write_photo(path: Path, *, height: int = 40, width: int = 48, seed: int = 0) -> Path:
    """A small picture of smooth colours, which JPEG keeps and no two seeds share."""
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    pixels_u8 = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    Image.fromarray(pixels_u8).resize((width, height), Image.Resampling.BICUBIC).save(path)
    return path


@pytest.fixture
def pixels_u8() -> np.ndarray:
    """A smooth gradient with four different corners, [20, 30, 3], so that every flip or channel swap shows."""
    rows, columns = np.mgrid[0:20, 0:30]
    return np.stack([rows * 12, columns * 8, 255 - rows * 6 - columns * 4], axis=-1).astype(np.uint8)


def _error_of(action, *arguments, **options) -> str:
    from data.images import ImageError

    with pytest.raises(ImageError) as caught:
        action(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    path = arguments[0][0] if isinstance(arguments[0], list) else arguments[0]
    assert message.startswith(f"{path}: ")
    return message


@pytest.fixture(scope="session")
def error_of():
    """Returns the message of the ImageError that a call raises; checks that it is one line and names the file."""
    return _error_of


@pytest.fixture(scope="session")
def photo():
    """`write_photo`, for tests, which cannot import this file."""
    return write_photo


@pytest.fixture(scope="session")
def tiny_inputs(tmp_path_factory) -> Path:
    """A folder with all that a training reads: style.png, vgg.npz, photos/, val/."""
    folder = tmp_path_factory.mktemp("inputs")
    write_photo(folder / "style.png", seed=100)
    for index in range(4):
        write_photo(folder / "photos" / f"photo{index}.png", seed=index)
    write_photo(folder / "val" / "unseen.png", height=33, width=47, seed=200)
    save_vgg_weights(folder / "vgg.npz", random_vgg_weights("vgg19"))
    return folder


@pytest.fixture(scope="session")
def tiny_flags(tiny_inputs):
    """The flags of a training of a few seconds that writes below the folder it is given."""

    def flags(folder: Path, *more: str) -> list[str]:
        return [
            *("--style", str(tiny_inputs / "style.png"), "--content-dir", str(tiny_inputs / "photos")),
            *("--vgg", str(tiny_inputs / "vgg.npz"), "--name", "tiny", "--width", "0.125"),
            *("--residual-blocks", "1", "--image-size", "32", "--batch-size", "2", "--steps", "6"),
            *("--learning-rate", "0.001", "--precision", "float32"),
            *("--summary-every", "2", "--save-every", "3", "--val-dir", str(tiny_inputs / "val")),
            *("--preview", str(tiny_inputs / "val" / "unseen.png"), "--log-dir", str(folder / "log")),
            *("--output-dir", str(folder / "styles"), *more),
        ]

    return flags


@pytest.fixture(scope="session")
def tiny_run(tiny_flags, tmp_path_factory) -> Path:
    """The folder that one finished training of 6 steps has written: log/ and styles/tiny/. Read it only."""
    import train

    folder = tmp_path_factory.mktemp("run")
    assert train.main(tiny_flags(folder)) == 0
    return folder


def _varied_network(seed: int, residual_blocks: int = 1):
    """A network of 4 channels with every parameter random, so that none can be mixed up unseen.

    Its last layer is large, so that pictures reach past 0 and 255.
    """
    from transformer.architecture import Architecture
    from transformer.network import Transformer

    network = Transformer(Architecture(0.125, residual_blocks), seed=seed)
    generator = np.random.default_rng(seed)
    for name, variable in network.parameters.items():
        if not name.endswith("kernel"):
            variable.assign_add(generator.normal(0, 0.3, variable.shape))
    network.parameters["decoder/conv3/kernel"].assign(8 * network.parameters["decoder/conv3/kernel"])
    return network


@pytest.fixture(scope="session")
def varied_network():
    """A function of `seed` and `residual_blocks`: a network of 4 channels with every parameter random."""
    return _varied_network


@pytest.fixture(scope="session")
def style_dirs(tmp_path_factory) -> dict[str, Path]:
    """Two exported styles, "waves" and "stars", that differ in their weights only. Read them only.

    Without TensorFlow they are copies of the shipped ones.
    """
    folder = tmp_path_factory.mktemp("styles")
    if not HAS_TENSORFLOW:
        return _shipped_styles(folder)
    from transformer.export.finished_style import export_style

    for seed, name in enumerate(("waves", "stars"), 1):
        info = {"name": name, "style_picture": {"file": f"{name}.png", "source": f"museum of {name}"}}
        export_style(folder / name, _varied_network(seed), info)
    return {name: folder / name for name in ("waves", "stars")}


def _shipped_styles(folder: Path) -> dict[str, Path]:
    checkpoints_dir = Path(__file__).resolve().parents[1] / "checkpoints"
    for name, shipped in {"waves": "great_wave", "stars": "starry_night"}.items():
        shutil.copytree(checkpoints_dir / shipped, folder / name)
        checksums = json.loads((folder / name / "style.json").read_text())["sha256"]
        picture = {"file": f"{name}.png", "source": f"museum of {name}"}
        info = {"name": name, "style_picture": picture, "sha256": checksums}
        (folder / name / "style.json").write_text(json.dumps(info))
    return {name: folder / name for name in ("waves", "stars")}

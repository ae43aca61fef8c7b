"""What several test modules share."""

from pathlib import Path

import pytest

SHARED_DIR = Path(__file__).resolve().parents[2] / "shared"


def pytest_collection_modifyitems(items):
    if (SHARED_DIR / "vgg19" / "vgg19_notop.h5").is_file():
        return
    for item in items:
        if item.get_closest_marker("shared"):
            item.add_marker(pytest.mark.skip(reason=f"{SHARED_DIR} with VGG19 weights and photos is absent"))


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    return SHARED_DIR

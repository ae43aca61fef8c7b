"""Fuzz target: a .meta file without a digest, from its bytes to a picture. `python -m fuzz.meta_graph --cases 200`"""

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fuzz.engine import Target, main
from transformer.export.style_folder import CHECKPOINTS_DIR, META_FILES, StyleError

IMAGE = np.random.default_rng(0).uniform(0, 255, (17, 22, 3)).astype(np.float32)
META_FILE, *VALUE_FILES = META_FILES
STYLE_DIR = CHECKPOINTS_DIR / "great_wave"


def seeds() -> Mapping[str, bytes]:
    """The meta graph of a shipped style."""
    return {"great_wave": (STYLE_DIR / META_FILE).read_bytes()}


def run(content: bytes, folder: Path) -> None:
    """Stylizes an image with the graph. The checks run here first, which saves most child processes."""
    from system.tensorflow_start import start_tensorflow

    start_tensorflow()
    from transformer.inference.foreign_graph import serving_graph
    from transformer.inference.loading import load_stylizer

    for file in VALUE_FILES:
        shutil.copy(STYLE_DIR / file, folder)
    (folder / META_FILE).write_bytes(content)
    serving_graph(folder, trust=False, named=folder)
    picture = load_stylizer(folder)(IMAGE)
    assert picture.shape == IMAGE.shape and picture.dtype == np.float32


TARGET = Target("meta_graph", seeds, run, lambda: (StyleError, MemoryError), seconds=90)

if __name__ == "__main__":
    sys.exit(main(TARGET))

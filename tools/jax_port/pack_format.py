"""The files that pack.py writes and train.py reads. This module needs NumPy only."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np


def half_gram(gram: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the upper triangle of a Gram matrix [C, C] in float16, and its scale."""
    scale = np.float32(np.abs(gram).max() or 1)
    return {"triangle": np.float16(gram[np.triu_indices(len(gram))] / scale), "scale": scale}


def whole_gram(triangle: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Returns the Gram matrix [C, C] that `half_gram` packed."""
    channels = int((np.sqrt(8 * triangle.size + 1) - 1) / 2)
    gram = np.zeros((channels, channels), np.float32)
    gram[np.triu_indices(channels)] = triangle
    return scale * (gram + np.triu(gram, 1).T)


def load_grams(path: Path) -> dict[str, np.ndarray]:
    """Returns the Gram matrices of a style picture by layer."""
    with np.load(path) as archive:
        layers = sorted({name.partition("/")[0] for name in archive.files})
        return {
            layer: whole_gram(archive[f"{layer}/triangle"], archive[f"{layer}/scale"]) for layer in layers
        }


def save_contents(path: Path, contents: Sequence[bytes]) -> None:
    """Writes the contents of files as one archive."""
    ends = np.cumsum([len(content) for content in contents])
    np.savez(path, bytes=np.frombuffer(b"".join(contents), np.uint8), ends=ends)


def load_contents(path: Path) -> list[bytes]:
    """Returns the contents of the files in an archive of `save_contents`."""
    with np.load(path) as archive:
        return [part.tobytes() for part in np.split(archive["bytes"], archive["ends"][:-1])]

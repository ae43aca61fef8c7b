"""The resumable state of a training: one file per saved step, whole or not there, checked when it is read.

A file is a NumPy archive (.npz): arrays by name, each with the CRC-32 of the zip format, and "info", JSON as
bytes. One file, because one rename makes it appear whole; and readable without TensorFlow, so that a door knows
in a moment what there is to resume. Arrays, not a tf.train.Checkpoint, because that is written by all workers of
a distributed training together, and only the chief may write here.
"""

import json
import logging
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from system.faults import disk_fault, first_line
from system.files import write_whole
from transformer.export.style_folder import StyleError

INFO = "info"  # name of the entry that is not an array of the training
DAMAGED = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SavedState:
    """What one file holds."""

    path: Path
    step: int
    arrays: Mapping[str, np.ndarray]
    info: Mapping[str, Any]  # whatever JSON the training added


def state_paths(state_dir: Path) -> list[Path]:
    """The saved states of a folder, newest first; damaged ones too, unfinished ones not."""
    return sorted(state_dir.glob("step_*.npz"), key=_step_of, reverse=True)


def newest_state(state_dir: Path, *, before: int | None = None) -> SavedState:
    """The newest whole state, of a step below `before` if that is given; damaged ones on the way are warned of.

    Raises StyleError if there is none.
    """
    paths = [path for path in state_paths(state_dir) if before is None or _step_of(path) < before]
    for path in paths:
        try:
            return read_state(path)
        except StyleError as error:
            logger.warning("%s; the state before it is tried", error)
    damaged = f"; all {len(paths)} are damaged" if paths else ""
    raise StyleError(f"{state_dir}: holds no training state to resume{damaged}; start without --resume")


def read_state(path: Path) -> SavedState:
    """Everything in one file. Raises StyleError unless every byte of it is as it was written."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        info = json.loads(arrays.pop(INFO).tobytes())
        if info["step"] != _step_of(path):
            raise ValueError(f"it says that it is of step {info['step']}")
    except DAMAGED as error:
        raise StyleError(f"{path}: is damaged or cannot be read ({first_line(error)})") from error
    return SavedState(path, info["step"], arrays, info)


class TrainingState:
    """The values of `variables`, by name, in files of `state_dir`, of which the newest `keep` stay.

    `variables` have `numpy` and `assign`. A state that `is_writer` is false for saves nothing.
    """

    def __init__(self, state_dir: Path, variables: Mapping[str, Any], *, keep: int, is_writer: bool = True):
        self.state_dir = state_dir
        self.variables = dict(variables)
        self.keep = keep
        self.is_writer = is_writer

    def save(self, step: int, info: Mapping[str, Any]) -> None:
        """Writes the state as of `step` with `info`, JSON values. Raises OSError; older states are then intact."""
        if not self.is_writer:
            return
        arrays = {name: np.asarray(variable.numpy()) for name, variable in self.variables.items()}
        text = json.dumps({**info, "step": step})
        arrays[INFO] = np.frombuffer(text.encode("utf-8"), np.uint8)
        self.state_dir.mkdir(parents=True, exist_ok=True)
        path = self.state_dir / f"step_{step:08d}.npz"
        try:
            write_whole(path, lambda stream: np.savez(stream, **arrays))
        except OSError as error:
            raise OSError(self._trouble(step, error)) from error
        for old_path in state_paths(self.state_dir)[self.keep :]:
            old_path.unlink(missing_ok=True)

    def restore(self, saved: SavedState) -> None:
        """Sets the variables; StyleError unless names and shapes are those of `saved`."""
        shapes = {name: tuple(variable.shape) for name, variable in self.variables.items()}
        saved_shapes = {name: array.shape for name, array in saved.arrays.items()}
        for name in sorted(shapes.keys() | saved_shapes.keys()):
            if shapes.get(name) != saved_shapes.get(name):
                raise StyleError(
                    f"{saved.path}: does not fit this network ({name} is {saved_shapes.get(name)} there, "
                    f"{shapes.get(name)} here); resume with the --width and --residual-blocks it was trained"
                    " with, or start without --resume"
                )
        for name, variable in self.variables.items():
            variable.assign(saved.arrays[name])

    def drop_after(self, step: int) -> None:
        """Removes the states of later steps: a training that was taken back must not be resumed from them."""
        for path in state_paths(self.state_dir) if self.is_writer else ():
            if _step_of(path) > step:
                path.unlink(missing_ok=True)

    def _trouble(self, step: int, error: OSError) -> str:
        whole = state_paths(self.state_dir)
        last = f"the state of step {_step_of(whole[0])} is whole" if whole else "no state is saved yet"
        return (
            f"{self.state_dir}: the state of step {step} cannot be written ({disk_fault(error)}); {last}:"
            " make room there, then go on with --resume"
        )


def _step_of(path: Path) -> int:
    match = re.fullmatch(r"step_(\d+)\.npz", path.name)
    return int(match[1]) if match else -1

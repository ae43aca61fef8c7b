"""The resumable state of a training: one file per saved step, complete or absent, checked when it is read.

A file is a NumPy archive (.npz). It contains arrays by name, each with the CRC-32 of the zip format, and "info",
which is JSON as bytes. A single file appears complete because one rename creates it. NumPy reads it without
TensorFlow, so a door finds out at once what there is to resume. A tf.train.Checkpoint would not do: all workers of
a distributed training write it together, and here only the chief may write.
"""

import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from system.console import printable
from system.faults import disk_fault, one_line
from system.files import write_whole
from system.json_reader import parse_json
from transformer.json_text import json_text

FORMAT = 3  # increase it when a key of the info or the name of an array changes
INFO = "info"  # name of the entry with the JSON text
INFO_KEYS = frozenset(
    ("format", "step", "config", "photos", "images", "rollbacks", "monitored_step", "losses", "validation")
) | {"best_validation", "means", "seconds", "start"}
# What Progress and the doors read. A number that is not finite is saved as null.
_NUMBERS_BY_NAME = "losses", "validation", "best_validation"
_COUNTS = "step", "images", "rollbacks", "monitored_step"

logger = logging.getLogger(__name__)


class StateError(ValueError):
    """A saved state is missing or cannot be used: one line that says what is wrong and what to do."""


class DamagedStateError(StateError):
    """A file does not contain what was written to it."""


@dataclass(frozen=True)
class SavedState:
    """The contents of one file. `info` has at least INFO_KEYS."""

    path: Path
    step: int
    arrays: Mapping[str, np.ndarray]
    info: Mapping[str, Any]


def state_paths(state_dir: Path) -> list[Path]:
    """Returns the state files of a folder, newest first, including damaged ones."""
    return sorted(state_dir.glob("step_*.npz"), key=step_of, reverse=True)


def newest_state(state_dir: Path, *, before: int | None = None) -> SavedState:
    """Reads the newest undamaged state, of a step below `before` if that is given.

    Logs a warning for every damaged state that it passes over. Raises StateError if no state is left, or if the
    newest undamaged one has another format.
    """
    paths = [path for path in state_paths(state_dir) if before is None or step_of(path) < before]
    for path in paths:
        try:
            return read_state(path)
        except DamagedStateError as error:
            logger.warning("%s; trying the state before it", error)
    damaged = f" (damaged files: {len(paths)})" if paths else ""
    raise StateError(f"{state_dir}: contains no training state to resume{damaged}; start without --resume")


def read_state(path: Path) -> SavedState:
    """Reads one file.

    Raises DamagedStateError if a byte of the contents has changed, and StateError if the file has another format.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        info = parse_json(arrays.pop(INFO).tobytes())
    except Exception as error:  # parsers raise almost any exception on damaged bytes; it stays chained
        reason = printable(one_line(error, at_most=120))
        raise DamagedStateError(f"{path}: is damaged or cannot be read ({reason})") from error
    _check_info(path, info)
    return SavedState(path, info["step"], arrays, info)


def _check_info(path: Path, info: Any) -> None:
    found = info.get("format", "unknown") if isinstance(info, dict) else "unknown"
    if found != FORMAT:
        raise StateError(
            f"{path}: was written by another version of this project (format {found}, this version reads"
            f" {FORMAT}); start without --resume, or use the version that wrote it"
        )
    missing = INFO_KEYS - info.keys()
    if missing:
        raise DamagedStateError(f"{path}: is incomplete (no {', '.join(sorted(missing))})")
    if wrong := _wrong_key(info):
        raise DamagedStateError(f"{path}: is damaged ({wrong} has a wrong type)")
    if info["step"] != step_of(path):
        raise DamagedStateError(
            f"{path}: is damaged or renamed (it contains the state of step {info['step']})"
        )


def _wrong_key(info: Mapping[str, Any]) -> str:
    """The first key of `info` whose value has a wrong type, or ""."""
    means = info["means"] if isinstance(info["means"], dict) else {}
    fits = {
        "config": isinstance(info["config"], dict),
        "photos": isinstance(info["photos"], str),
        "start": isinstance(info["start"], str),
        "seconds": _is_duration(info["seconds"]),
        "means": type(means.get("weight")) is int and _are_numbers(means.get("sums")),
        **{key: type(info[key]) is int and info[key] >= 0 for key in _COUNTS},
        **{key: _are_numbers(info[key]) for key in _NUMBERS_BY_NAME},
    }
    return next((key for key, is_right in fits.items() if not is_right), "")


def _is_duration(value: Any) -> bool:
    return type(value) in (int, float) and 0 <= value < math.inf


def _are_numbers(values: Any) -> bool:
    return isinstance(values, dict) and all(
        value is None or (isinstance(value, int | float) and not isinstance(value, bool))
        for value in values.values()
    )


class TrainingState:
    """Saves the values of `variables`, by name, to files in `state_dir` and restores them.

    Only the newest `keep` files stay. A variable has `numpy`, `assign` and `shape`. With is_writer=False nothing is
    written or removed.
    """

    def __init__(self, state_dir: Path, variables: Mapping[str, Any], *, keep: int, is_writer: bool = True):
        self.state_dir = state_dir
        self.variables = dict(variables)
        self.keep = keep
        self.is_writer = is_writer

    def save(self, step: int, info: Mapping[str, Any]) -> None:
        """Writes the state of `step`. `info` contains JSON values: INFO_KEYS except "format" and "step".

        Raises OSError if the file cannot be written; older states then stay as they are.
        """
        if not self.is_writer:
            return
        info = {**info, "step": step, "format": FORMAT}
        if missing := INFO_KEYS - info.keys():
            raise ValueError(f"a state needs {', '.join(sorted(missing))}")
        arrays = {name: np.asarray(variable.numpy()) for name, variable in self.variables.items()}
        arrays[INFO] = np.frombuffer(json_text(info).encode("utf-8"), np.uint8)
        self.state_dir.mkdir(parents=True, exist_ok=True)
        path = self.state_dir / f"step_{step:08d}.npz"
        try:
            write_whole(path, lambda stream: np.savez(stream, **arrays))
        except OSError as error:
            raise OSError(self._explained(step, error)) from error
        for old_path in state_paths(self.state_dir)[self.keep :]:
            old_path.unlink(missing_ok=True)

    def restore(self, saved: SavedState) -> None:
        """Sets the variables to the saved values.

        Raises StateError, and changes nothing, if names or shapes differ.
        """
        shapes = {name: tuple(variable.shape) for name, variable in self.variables.items()}
        saved_shapes = {
            name: array.shape for name, array in saved.arrays.items() if array.dtype.kind in "biuf"
        }
        for name in sorted(shapes.keys() | saved_shapes.keys()):
            if shapes.get(name) != saved_shapes.get(name):
                raise StateError(
                    f"{saved.path}: does not fit this network ({name} has the shape {saved_shapes.get(name)} there"
                    f" and {shapes.get(name)} here); resume with the --width, --residual-blocks and --outer-kernel of"
                    " that training, or start without --resume"
                )
        for name, variable in self.variables.items():
            variable.assign(saved.arrays[name])

    def drop_after(self, step: int) -> None:
        """Removes the states of later steps, so that nobody resumes from them after a rollback."""
        for path in state_paths(self.state_dir) if self.is_writer else ():
            if step_of(path) > step:
                path.unlink(missing_ok=True)

    def _explained(self, step: int, error: OSError) -> str:
        paths = state_paths(self.state_dir)
        advice = (
            f"the state of step {step_of(paths[0])} is intact: free some space, then continue with --resume"
            if paths
            else "no state has been saved yet: free some space, then start again"
        )
        return f"{self.state_dir}: the state of step {step} cannot be written ({disk_fault(error)}); {advice}"


def step_of(path: Path) -> int:
    """Returns the step that the name of a state file tells; -1 for other files."""
    match = re.fullmatch(r"step_(\d+)\.npz", path.name)
    return int(match[1]) if match else -1

"""The state of a training on disk: exact, complete or absent, and refused when damaged or of another format."""

import errno
import json
import logging
from pathlib import Path

import numpy as np
import pytest

from system.files import remove_leftovers
from transformer.training import state as training_state
from transformer.training.state import (
    FORMAT,
    INFO,
    INFO_KEYS,
    DamagedStateError,
    StateError,
    TrainingState,
    newest_state,
    read_state,
    state_paths,
)


class Value:
    """The part of tf.Variable that a state uses."""

    def __init__(self, value):
        self.value = np.asarray(value)

    @property
    def shape(self):
        return self.value.shape

    def numpy(self):
        return self.value

    def assign(self, value):
        self.value = value


def variables(seed: int = 0) -> dict[str, Value]:
    generator = np.random.default_rng(seed)
    return {
        "parameters/conv/kernel": Value(generator.normal(size=(3, 3, 4, 5)).astype(np.float32)),
        "optimizer/moment": Value(generator.normal(size=200).astype(np.float32)),
        "optimizer/steps": Value(np.int64(seed)),
    }


def info(step: int = 0) -> dict:
    """The info that a training saves, with a number that shows which step it belongs to."""
    values = {key: {} for key in INFO_KEYS - {"format", "step"}}
    values |= {"photos": "digest", "rollbacks": 0, "monitored_step": 0, "means": {"sums": {}, "weight": 0}}
    values |= {"seconds": 1.5 * step, "start": "random weights"}
    return {**values, "images": 2 * step, "losses": {"total": step / 3}}


def saved(folder: Path, *steps: int, keep: int = 3) -> TrainingState:
    for step in steps:
        state = TrainingState(folder, variables(step), keep=keep)
        state.save(step, info(step))
    return state


def rewrite_info(path: Path, change) -> None:
    """Replaces the info of a state file by what `change` makes of it, with checksums that fit."""
    with np.load(path) as archive:
        arrays = dict(archive)
    values = change(json.loads(arrays[INFO].tobytes()))
    arrays[INFO] = np.frombuffer(json.dumps(values).encode(), np.uint8)
    np.savez(path, **arrays)


def without(*keys: str):
    return lambda values: {key: value for key, value in values.items() if key not in keys}


def steps_of(folder: Path) -> list[int]:
    return [read_state(path).step for path in state_paths(folder)]


def test_what_is_restored_is_bit_for_bit_what_was_saved(tmp_path):
    saved(tmp_path, 7)
    restored = TrainingState(tmp_path, variables(99), keep=3)
    state = newest_state(tmp_path)
    restored.restore(state)
    for name, variable in variables(7).items():
        np.testing.assert_array_equal(restored.variables[name].numpy(), variable.numpy())
        assert restored.variables[name].numpy().dtype == variable.numpy().dtype
    assert state.info == {**info(7), "step": 7, "format": FORMAT}  # JSON restores numbers exactly


@pytest.mark.parametrize("keep", [1, 2, 3])
def test_the_last_few_are_kept(tmp_path, keep):
    saved(tmp_path, 5, 10, 15, 20, keep=keep)
    assert steps_of(tmp_path) == [20, 15, 10][:keep]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        path.name for path in state_paths(tmp_path)
    )


def test_steps_are_sorted_as_numbers(tmp_path):
    saved(tmp_path, 99_999_999, 100_000_000, 5)
    assert steps_of(tmp_path) == [100_000_000, 99_999_999, 5]


@pytest.mark.parametrize("fraction", [0, 0.3, 0.999])
def test_a_state_cut_short_gives_way_to_the_one_before_with_a_warning(tmp_path, caplog, fraction):
    saved(tmp_path, 5, 10)
    path = state_paths(tmp_path)[0]
    path.write_bytes(path.read_bytes()[: int(fraction * path.stat().st_size)])
    assert newest_state(tmp_path).step == 5
    [message] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert str(path) in message and "damaged" in message and "trying the state before it" in message


def test_no_flipped_bit_ever_changes_what_is_read(tmp_path):
    saved(tmp_path, 5)
    path = state_paths(tmp_path)[0]
    whole, content = read_state(path), bytearray(path.read_bytes())
    refused = 0
    for position in np.random.default_rng(0).integers(0, 8 * len(content), 400):
        content[position // 8] ^= 1 << position % 8
        path.write_bytes(content)
        try:
            state = read_state(path)
        except DamagedStateError:
            refused += 1
        else:  # a byte of the archive without a meaning for us, such as a time
            assert state.info == whole.info and state.arrays.keys() == whole.arrays.keys()
            for name, value in whole.arrays.items():
                np.testing.assert_array_equal(state.arrays[name], value)
        content[position // 8] ^= 1 << position % 8
    assert refused > 300


def test_a_state_under_the_name_of_another_step_is_refused(tmp_path):
    saved(tmp_path, 5)
    path = state_paths(tmp_path)[0]
    with pytest.raises(DamagedStateError, match="the state of step 5"):
        read_state(path.rename(path.with_name("step_00000009.npz")))


def test_the_error_for_damaged_states_only_counts_them(tmp_path):
    saved(tmp_path, 5, 10)
    for path in state_paths(tmp_path):
        path.write_bytes(b"")
    with pytest.raises(StateError, match=r"no training state .*\(damaged files: 2\); start without --resume"):
        newest_state(tmp_path)


@pytest.mark.parametrize("folder", ["empty", "missing"])
def test_the_error_for_a_folder_without_a_state_advises_to_start_without_resume(tmp_path, folder):
    (tmp_path / "empty").mkdir()
    with pytest.raises(StateError, match="contains no training state to resume; start without --resume"):
        newest_state(tmp_path / folder)


def test_an_older_one_can_be_asked_for(tmp_path):
    saved(tmp_path, 5, 10, 15)
    assert newest_state(tmp_path, before=15).step == 10


def test_later_states_are_dropped(tmp_path):
    saved(tmp_path, 5, 10, 15).drop_after(5)
    assert steps_of(tmp_path) == [5]


@pytest.mark.parametrize("change", ["shape", "missing", "unknown"])
def test_a_state_of_another_network_is_refused_by_the_flags_to_use(tmp_path, change):
    saved(tmp_path, 5)
    other = variables()
    if change == "shape":
        other["optimizer/moment"] = Value(np.zeros(3, np.float32))
    elif change == "missing":
        other["optimizer/more"] = Value(np.zeros(3, np.float32))
    else:
        del other["optimizer/moment"]
    before = {name: variable.numpy() for name, variable in other.items()}
    with pytest.raises(StateError, match="--width, --residual-blocks and --outer-kernel"):
        TrainingState(tmp_path, other, keep=3).restore(newest_state(tmp_path))
    assert all(other[name].numpy() is value for name, value in before.items())


def test_a_full_disk_leaves_the_older_states_and_says_so_in_one_line(tmp_path, monkeypatch):
    state = saved(tmp_path, 5, 10)

    def full(stream, **arrays):
        stream.write(b"half of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(training_state.np, "savez", full)
    with pytest.raises(OSError) as caught:
        state.save(15, info(15))
    message = str(caught.value)
    assert "\n" not in message
    for words in (
        str(tmp_path),
        "step 15",
        "No space left on device",
        "the state of step 10 is intact",
        "--resume",
    ):
        assert words in message
    assert steps_of(tmp_path) == [10, 5]
    assert len(list(tmp_path.iterdir())) == 2


def test_only_the_writer_writes(tmp_path):
    state = TrainingState(tmp_path / "state", variables(), keep=3, is_writer=False)
    state.save(5, info(5))
    assert not (tmp_path / "state").exists()
    saved(tmp_path / "state", 5, 10)
    state.drop_after(5)
    assert steps_of(tmp_path / "state") == [10, 5]


def test_a_full_disk_at_the_first_state_does_not_advise_to_resume(tmp_path, monkeypatch):
    def full(*_arguments, **_options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(training_state.np, "savez", full)
    with pytest.raises(OSError, match="no state has been saved yet: free some space, then start again"):
        TrainingState(tmp_path / "state", variables(), keep=3).save(0, info())


def test_the_rest_of_a_killed_process_is_no_state_and_is_removed(tmp_path):
    saved(tmp_path, 5)
    (tmp_path / f".0123456789abcdef.{2**22 + 1}.01234567.tmp").write_bytes(
        b"half"
    )  # no process has such a number
    assert steps_of(tmp_path) == [5]
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000005.npz"]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (without("format"), "unknown"),
        (without(*INFO_KEYS - {"step", "images"}), "unknown"),
        (lambda values: {**values, "format": FORMAT + 1}, str(FORMAT + 1)),
        (lambda values: [values], "unknown"),
    ],
    ids=["none", "older keys", "newer", "no object"],
)
def test_a_state_of_another_format_is_refused_in_one_line_that_names_both_formats(tmp_path, change, found):
    saved(tmp_path, 5, 10)
    path = state_paths(tmp_path)[0]
    rewrite_info(path, change)
    for read in (lambda: read_state(path), lambda: newest_state(tmp_path)):  # no older state is used instead
        with pytest.raises(StateError) as caught:
            read()
        assert str(caught.value) == (
            f"{path}: was written by another version of this project (format {found}, this version reads {FORMAT});"
            " start without --resume, or use the version that wrote it"
        )


@pytest.mark.parametrize("key", sorted(INFO_KEYS - {"format"}))
def test_a_state_that_lacks_a_key_is_refused_by_its_name(tmp_path, key):
    saved(tmp_path, 5, 10)
    path = state_paths(tmp_path)[0]
    rewrite_info(path, without(key))
    with pytest.raises(DamagedStateError, match=f"{path.name}: is incomplete \\(no {key}\\)$"):
        read_state(path)
    assert newest_state(tmp_path).step == 5


@pytest.mark.parametrize("key", sorted(INFO_KEYS - {"format", "step"}))
def test_a_state_cannot_be_saved_without_a_key_that_reading_needs(tmp_path, key):
    with pytest.raises(ValueError, match=f"a state needs {key}"):
        TrainingState(tmp_path, variables(), keep=3).save(5, without(key)(info()))
    assert steps_of(tmp_path) == []


def test_numbers_that_are_not_finite_are_saved_as_null(tmp_path):
    values = {**info(5), "losses": {"total": float("nan"), "tv": float("inf"), "style": 0.1}}
    TrainingState(tmp_path, variables(), keep=3).save(5, values)
    assert newest_state(tmp_path).info["losses"] == {"total": None, "tv": None, "style": 0.1}


def test_the_keys_that_a_training_reads_are_those_that_it_saves():
    from transformer.training.progress import Progress

    door = {"config", "photos"}
    assert Progress().as_json().keys() | door | {"format", "step"} == INFO_KEYS


def test_a_flipped_bit_anywhere_is_noticed_or_changes_nothing(tmp_path):
    saved(tmp_path, 3)
    [path] = state_paths(tmp_path)
    content, expected = path.read_bytes(), read_state(path)
    positions = {*range(0, len(content), 7), *range(len(content) - 400, len(content))}
    harmless = 0
    for position in positions:
        damaged = bytearray(content)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            found = read_state(path)
        except StateError as error:
            assert "\n" not in str(error) and str(error).isprintable() and len(str(error)) < 500
            continue
        harmless += 1  # a date in the archive, for example
        assert found.info == expected.info and found.arrays.keys() == expected.arrays.keys()
        for name, array in expected.arrays.items():
            np.testing.assert_array_equal(found.arrays[name], array)
    assert harmless < len(positions) / 3


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("config", []), ("photos", 5), ("images", "5"), ("images", -1), ("rollbacks", True), ("losses", [1]),
        ("seconds", -1.0), ("seconds", "3"), ("seconds", True), ("start", None),
        ("losses", {"total": "1"}), ("means", {}), ("means", {"sums": [], "weight": 1}), ("validation", None),
    ],
)  # fmt: skip
def test_a_value_of_a_wrong_type_is_refused_by_its_key(tmp_path, key, value):
    saved(tmp_path, 3)
    [path] = state_paths(tmp_path)
    rewrite_info(path, lambda info: {**info, key: value})
    with pytest.raises(DamagedStateError, match=f"is damaged \\({key} has a wrong type\\)"):
        read_state(path)


def test_an_info_nested_without_end_is_refused(tmp_path):
    saved(tmp_path, 3)
    [path] = state_paths(tmp_path)
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays[INFO] = np.frombuffer(b"[" * 100_000, np.uint8)
    np.savez(path, **arrays)
    with pytest.raises(DamagedStateError, match="nested more than 32 deep"):
        read_state(path)

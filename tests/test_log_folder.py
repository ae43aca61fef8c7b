"""Clearing a log folder: everything of earlier trainings goes, everything of anybody else stays."""

import json
from pathlib import Path

import pytest
import tensorflow as tf

from transformer.training.log_folder import EVENT_SUFFIX, clear_log_dir
from transformer.training.summaries import TrainingSummaries

# The first text summary of a training, as versions before the suffix wrote it.
CONFIG = {
    "style": "a.png",
    "content_dir": "photos",
    "style_weight": 100.0,
    "residual_blocks": 5,
    "clip_norm": 10.0,
}


def write_events(log_dir: Path, text: str | None = None) -> Path:
    """An event file as TensorFlow names it by itself, with `text` as its first summary."""
    before = set(log_dir.glob("*"))
    writer = tf.summary.create_file_writer(str(log_dir))
    with writer.as_default(step=0):
        if text is not None:
            tf.summary.text("config", text)
        tf.summary.scalar("loss/total", 2.5)
    writer.close()
    [path] = set(log_dir.glob("*")) - before
    return path


def test_the_events_of_a_training_have_a_suffix_of_their_own_and_are_removed(tmp_path):
    summaries = TrainingSummaries(tmp_path)
    summaries.write_losses(1, {"total": 2.5})
    summaries.close()
    [path] = tmp_path.iterdir()
    assert path.name.startswith("events.out.tfevents.") and path.name.endswith(EVENT_SUFFIX)
    clear_log_dir(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_events_of_earlier_versions_are_known_by_their_configuration_and_removed(tmp_path):
    write_events(tmp_path, f"```json\n{json.dumps(CONFIG, indent=2)}\n```")
    clear_log_dir(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "text",
    [None, '```json\n{"content_dir": "photos", "width": 2}\n```'],
    ids=["scalars", "other configuration"],
)
def test_events_of_other_projects_stay_even_beside_states_of_a_training(tmp_path, text):
    path = write_events(tmp_path, text)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "step_00000005.npz").write_bytes(b"of a training")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    before = path.read_bytes()
    clear_log_dir(tmp_path)
    assert path.read_bytes() == before
    assert not (tmp_path / "state" / "step_00000005.npz").exists()


def test_only_states_are_removed_from_the_state_folder(tmp_path):
    (tmp_path / "state").mkdir()
    for name in ("step_00000005.npz", "step_00000010.npz", "notes.txt", "weights.npz"):
        (tmp_path / "state" / name).write_bytes(b"")
    (tmp_path / "events.out.tfevents.folder").mkdir()
    (tmp_path / "photo.png").write_bytes(b"")
    clear_log_dir(tmp_path)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    assert left == {
        "state",
        "state/notes.txt",
        "state/weights.npz",
        "events.out.tfevents.folder",
        "photo.png",
    }


def test_a_folder_that_is_missing_needs_no_clearing(tmp_path):
    clear_log_dir(tmp_path / "log")
    assert not (tmp_path / "log").exists()

"""The monitor of a training: which files it creates when, what it evaluates, and what it says of a full disk."""

import json

import numpy as np
import pytest
import tensorflow as tf

from transformer.training.log_folder import clear_log_dir
from transformer.training.monitor import Monitor

PHOTO = np.random.default_rng(0).uniform(0, 255, (9, 13, 3)).astype(np.float32)
VAL_IMAGES = [
    np.random.default_rng(seed).uniform(0, 255, (8, 8 + seed, 3)).astype(np.float32) for seed in (1, 2)
]
CONFIG = {"name": "tiny", "learning_rate": float("inf"), "preview": ["cat.jpg"]}


def loss(stylized: tf.Tensor, content: tf.Tensor) -> dict[str, tf.Tensor]:
    difference = tf.reduce_mean(tf.math.squared_difference(stylized, content))
    return {"total": difference, "content": difference / 2}


@pytest.fixture
def monitor(varied_network, tmp_path) -> Monitor:
    return Monitor(
        tmp_path / "log",
        varied_network(1),
        loss,
        photos={"cat": PHOTO},
        val_images=VAL_IMAGES,
        config=CONFIG,
    )


def test_no_file_is_created_before_the_monitor_is_opened(monitor, tmp_path):
    log_dir = tmp_path / "log"
    assert not log_dir.exists()
    clear_log_dir(log_dir)  # as a door does, between building and opening
    monitor.open()
    [events] = log_dir.glob("events.*")
    assert {path.name for path in log_dir.iterdir()} == {"config.json", events.name}


def test_the_configuration_is_written_as_valid_json(monitor, tmp_path):
    monitor.open()
    text = (tmp_path / "log" / "config.json").read_text(encoding="utf-8")
    assert json.loads(text) == {"name": "tiny", "learning_rate": None, "preview": ["cat.jpg"]}


def test_the_validation_loss_is_the_mean_over_the_photos(monitor, varied_network):
    monitor.open()
    network = varied_network(1)
    totals = [float(loss(network(image[np.newaxis]), image[np.newaxis])["total"]) for image in VAL_IMAGES]
    assert monitor.evaluate(5) == pytest.approx(
        {"total": np.mean(totals), "content": np.mean(totals) / 2}, rel=1e-4
    )


def test_without_validation_photos_there_is_no_validation_loss(varied_network, tmp_path):
    monitor = Monitor(tmp_path, varied_network(1), loss, photos={}, val_images=[], config=CONFIG)
    monitor.open()
    assert monitor.evaluate(5) == {}


CALLS = {
    "open": lambda monitor: monitor.open(),
    "write_scalars": lambda monitor: monitor.write_scalars(5, {"total": 1.0}),
    "evaluate": lambda monitor: monitor.evaluate(5),
}


def full(*_):
    raise tf.errors.ResourceExhaustedError(None, None, "lines\nof TensorFlow; No space left on device")


@pytest.mark.parametrize("method", CALLS)
def test_a_full_disk_is_reported_in_one_line_and_the_training_continues(monitor, monkeypatch, caplog, method):
    if method != "open":
        monitor.open()
    for name in ("write_config", "write_losses", "write_previews"):
        monkeypatch.setattr(f"transformer.training.monitor.TrainingSummaries.{name}", full)
    assert not monitor.is_incomplete
    CALLS[method](monitor)
    [message] = caplog.messages
    assert "\n" not in message and "cannot be written (No space left on device)" in message
    assert "the training continues without them, and its states are saved as before" in message
    assert monitor.is_incomplete


def test_a_full_disk_is_reported_once_and_costs_no_validation_loss(monitor, monkeypatch, caplog):
    monitor.open()
    expected = monitor.evaluate(1)
    with monkeypatch.context() as patch:
        for name in ("write_config", "write_losses", "write_previews", "write_validation"):
            patch.setattr(f"transformer.training.monitor.TrainingSummaries.{name}", full)
        for step in (2, 3):
            monitor.write_scalars(step, {"total": 1.0})
            assert monitor.evaluate(step) == expected != {}
    assert len(caplog.messages) == 1


def test_events_are_written_again_when_there_is_space(monitor, monkeypatch, tmp_path):
    monitor.open()
    with monkeypatch.context() as patch:
        patch.setattr("transformer.training.monitor.TrainingSummaries.write_losses", full)
        monitor.write_scalars(1, {"total": 1.0})
    monitor.evaluate(2)
    assert len(list((tmp_path / "log").glob("events.*"))) == 2


def test_a_log_folder_that_is_a_file_costs_neither_training_nor_validation(varied_network, tmp_path, caplog):
    (tmp_path / "log").write_text("")
    monitor = Monitor(
        tmp_path / "log", varied_network(1), loss, photos={}, val_images=VAL_IMAGES, config=CONFIG
    )
    monitor.open()
    assert monitor.evaluate(1)["total"] > 0 and monitor.is_incomplete
    assert len(caplog.messages) == 1


def failing(error: Exception):
    def fail(*_):
        raise error

    return fail


PROGRAMMING_ERRORS = [
    tf.errors.InvalidArgumentError(None, None, "Incompatible shapes: [1,8,9,3] vs. [1,8,10,3]"),
    tf.errors.UnimplementedError(None, None, "no such kernel"),
    tf.errors.NotFoundError(None, None, "no such variable"),
    tf.errors.FailedPreconditionError(None, None, "a variable has no value"),
    OSError("not of the disk"),
    ValueError("wrong shape"),
]


@pytest.mark.parametrize("error", PROGRAMMING_ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("part", ["_stylize", "_loss"])
def test_an_error_of_the_network_or_the_loss_is_no_fault_of_the_disk(monitor, monkeypatch, part, error):
    monitor.open()
    monkeypatch.setattr(monitor, part, failing(error))
    with pytest.raises(type(error)):
        monitor.evaluate(1)


@pytest.mark.parametrize("error", PROGRAMMING_ERRORS[:2], ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("method", CALLS)
def test_wrong_arguments_of_a_summary_are_no_fault_of_the_disk(monitor, monkeypatch, method, error):
    if method != "open":
        monitor.open()
    for name in ("write_config", "write_losses", "write_previews"):
        monkeypatch.setattr(f"transformer.training.monitor.TrainingSummaries.{name}", failing(error))
    with pytest.raises(type(error)):
        CALLS[method](monitor)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[1]"),
        tf.errors.ResourceExhaustedError(None, None, "Out of memory while trying to allocate 5 bytes"),
        tf.errors.InternalError(None, None, "CUDA_ERROR_OUT_OF_MEMORY"),
    ],
    ids=["Python", "TensorFlow", "XLA", "CUDA"],
)
def test_without_the_memory_for_validation_the_training_continues(monitor, monkeypatch, caplog, error):
    monitor.open()
    monkeypatch.setattr(monitor, "_loss", failing(error))
    assert monitor.evaluate(1) == {} and monitor.is_incomplete
    [message] = caplog.messages
    assert "(not enough memory)" in message


def test_a_log_folder_with_too_long_a_name_costs_no_training(varied_network, tmp_path, caplog):
    monitor = Monitor(
        tmp_path / ("x" * 300), varied_network(1), loss, photos={}, val_images=VAL_IMAGES, config=CONFIG
    )
    monitor.open()
    assert monitor.evaluate(1)["total"] > 0
    [message] = caplog.messages
    assert "File name too long" in message

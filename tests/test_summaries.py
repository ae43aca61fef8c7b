"""What TensorBoard shows of a training: scalars, previews, configuration, graph."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from transformer.json_text import json_text
from transformer.training.summaries import RunningMeans, TrainingSummaries

STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
LOSS_NAMES = ("total", "content", "style", "tv", *(f"style/{layer}" for layer in STYLE_LAYERS))


def read_events(log_dir: Path) -> EventAccumulator:
    events = EventAccumulator(str(log_dir), size_guidance={"tensors": 0})
    events.Reload()
    return events


def scalars(events: EventAccumulator, tag: str) -> dict[int, float]:
    """Step -> value."""
    return {event.step: float(tf.make_ndarray(event.tensor_proto)) for event in events.Tensors(tag)}


def preview(events: EventAccumulator, tag: str, index: int = 0) -> np.ndarray:
    """The image [H, W, 3] uint8 of a summary, which contains width and height as text and then PNG bytes."""
    _width, _height, png = tf.make_ndarray(events.Tensors(tag)[index].tensor_proto)
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


@pytest.fixture(scope="module")
def events(tiny_run) -> EventAccumulator:
    """The events of the tiny training: 6 steps, scalars every 2, previews and validation every 3."""
    return read_events(tiny_run / "log")


@pytest.mark.parametrize("name", LOSS_NAMES)
def test_every_loss_term_of_the_training_is_a_scalar(events, name):
    values = scalars(events, f"loss/{name}")
    assert list(values) == [2, 4, 6]
    assert all(np.isfinite(value) for value in values.values())


@pytest.mark.parametrize("name", LOSS_NAMES)
def test_every_loss_term_of_the_validation_is_a_scalar(events, name):
    values = scalars(events, f"validation/{name}")
    assert list(values) == [3, 6]
    assert all(np.isfinite(value) for value in values.values())


def test_the_terms_in_tensorboard_sum_to_the_total(events):
    for step, total in scalars(events, "loss/total").items():
        terms = [scalars(events, f"loss/{name}")[step] for name in ("content", "style", "tv")]
        assert sum(terms) == pytest.approx(total, rel=1e-4)
        layers = [scalars(events, f"loss/style/{layer}")[step] for layer in STYLE_LAYERS]
        assert sum(layers) == pytest.approx(terms[1], rel=1e-4)


@pytest.mark.parametrize("name", ["learning_rate", "gradient_norm", "images_per_second"])
def test_rate_norm_and_speed_are_shown_apart_from_the_losses(events, name):
    values = scalars(events, f"training/{name}")
    assert list(values) == [2, 4, 6]
    assert all(value > 0 for value in values.values())
    assert f"loss/{name}" not in events.Tags()["tensors"]


def test_the_learning_rate_in_tensorboard_falls(events):
    rates = list(scalars(events, "training/learning_rate").values())
    assert rates == pytest.approx(sorted(rates, reverse=True))
    assert rates[0] == pytest.approx(1e-3) and 0 < rates[-1] < 0.9e-3


def test_a_preview_is_the_photo_beside_its_stylized_form(events, tiny_inputs):
    tags = [tag for tag in events.Tags()["tensors"] if tag.startswith("preview/")]
    assert tags == ["preview/unseen"]
    assert [event.step for event in events.Tensors("preview/unseen")] == [3, 6]
    picture = preview(events, "preview/unseen")
    photo = np.asarray(Image.open(tiny_inputs / "val" / "unseen.png"))
    assert picture.shape == (33, 2 * 47, 3)
    np.testing.assert_array_equal(picture[:, :47], photo)
    assert np.abs(picture[:, 47:].astype(float) - photo).mean() > 5


def test_the_configuration_is_shown_as_json(events):
    (event,) = events.Tensors("config")
    text = tf.make_ndarray(event.tensor_proto).item().decode()
    config = json.loads(text.removeprefix("```json\n").removesuffix("\n```"))
    assert config["width"] == 0.125 and config["name"] == "tiny" and config["preset"] == "lengstrom"


def test_the_graph_in_tensorboard_is_that_of_the_network(events):
    operations = [
        node.op for node in tf.compat.v1.GraphDef.FromString(events.Graph().SerializeToString()).node
    ]
    assert operations.count("Conv2D") == 8  # 3 + 2 + 3 at one residual block


def test_previews_are_clipped_and_rounded(tmp_path):
    summaries = TrainingSummaries(tmp_path)
    photo = np.full((2, 3, 3), 99.6, np.float32)
    stylized = np.full((2, 3, 3), 300, np.float32)
    stylized[0] = -40
    summaries.write_previews(7, ["cat"], [photo], [stylized])
    summaries.close()
    picture = preview(read_events(tmp_path), "preview/cat")
    assert picture[:, :3].min() == picture[:, :3].max() == 100
    assert picture[0, 3:].max() == 0 and picture[1, 3:].min() == 255


def test_scalars_can_be_read_while_the_training_runs(tmp_path):
    summaries = TrainingSummaries(tmp_path)
    summaries.write_losses(4, {"total": 2.5, "learning_rate": 0.5})
    summaries.write_validation(4, {"total": 3.5})
    events = read_events(tmp_path)  # the file is still open
    assert scalars(events, "loss/total") == {4: 2.5}
    assert scalars(events, "training/learning_rate") == {4: 0.5}
    assert scalars(events, "validation/total") == {4: 3.5}
    summaries.close()


def test_running_means_are_those_since_the_last_flush(monkeypatch):
    now = 100.0
    monkeypatch.setattr("transformer.training.summaries.time.perf_counter", lambda: now)
    means = RunningMeans()
    for total in (1.0, 2.0, 6.0):
        means.add({"total": tf.constant(total), "tv": tf.constant(2 * total)})
    now += 2
    assert means.flush(batch_size=4) == {"total": 3, "tv": 6, "images_per_second": 3 * 4 / 2}
    means.add({"total": tf.constant(8.0), "tv": tf.constant(1.0)})
    now += 0.5
    assert means.flush(batch_size=4) == {"total": 8, "tv": 1, "images_per_second": 8}


def test_running_means_continue_exactly_from_saved_sums():
    whole, first = RunningMeans(), RunningMeans()
    totals = np.random.default_rng(0).normal(size=9) * 1e7
    for total in totals[:4]:
        whole.add({"total": float(total)})
        first.add({"total": float(total)})
    second = RunningMeans(json.loads(json_text(first.as_json())))
    for means in (whole, second):
        for total in totals[4:]:
            means.add({"total": float(total)})
    assert whole.flush(1)["total"] == second.flush(1)["total"]


def test_skipped_steps_do_not_count_in_the_means():
    means = RunningMeans()
    for total, in_a_row in ((1.0, 0), (np.nan, 1), (np.nan, 2), (4.0, 0)):
        means.add({"total": total, "skipped": 2, "skipped_in_a_row": in_a_row})
    flushed = means.flush(1)
    assert flushed["total"] == 2.5 and (flushed["skipped"], flushed["skipped_in_a_row"]) == (2, 0)


def test_sums_that_are_not_finite_are_saved_as_null_and_restored_as_nan():
    means = RunningMeans()
    means.add({"total": float("inf"), "tv": 0.5})
    saved = json.loads(json_text(means.as_json()))
    assert saved == {"sums": {"total": None, "tv": 0.5}, "weight": 1}
    flushed = RunningMeans(saved).flush(1)
    assert np.isnan(flushed["total"]) and flushed["tv"] == 0.5

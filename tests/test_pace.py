"""The forecast of a training: images per second, hours left, time of the end, memory."""

from datetime import datetime

import pytest
import tensorflow as tf

from system.machine import peak_memory
from transformer.training.pace import SETTLED_STEPS, Pace, bytes_needed, finish_time, peak_memory_bytes
from transformer.training.stages import Stage


class Clock:
    def __init__(self):
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_the_forecast_ignores_the_slow_first_steps():
    clock = Clock()
    pace = Pace([Stage(3620, 64)], batch_size=4, clock=clock)
    for step in range(1, 21):
        clock.seconds += 60 if step <= 2 else 2  # tracing
        pace.count()
    forecast = pace.forecast()
    assert forecast["images_per_second_overall"] == pytest.approx(2.0)
    assert forecast["hours_left"] == pytest.approx(3600 * 2 / 3600)


def test_a_resumed_run_forecasts_by_its_own_steps():
    clock = Clock()
    pace = Pace([Stage(1000, 64)], batch_size=1, first_step=888, clock=clock)
    for _ in range(12):
        clock.seconds += 1
        pace.count()
    assert pace.forecast()["hours_left"] == pytest.approx(100 / 3600)


def test_the_forecast_knows_that_larger_crops_take_longer():
    clock = Clock()
    pace = Pace([Stage(100, 64), Stage(150, 128)], batch_size=1, clock=clock)
    for _ in range(100):
        clock.seconds += 1
        pace.count()
    assert pace.forecast()["hours_left"] == pytest.approx(50 * 4 / 3600)


def test_there_is_no_forecast_before_ten_steps():
    clock = Clock()
    pace = Pace([Stage(100, 64)], batch_size=1, clock=clock)
    for _ in range(SETTLED_STEPS - 1):
        clock.seconds += 1
        pace.count()
        assert pace.forecast() == {}
    clock.seconds += 1
    pace.count()
    assert set(pace.forecast()) == {"images_per_second_overall", "hours_left"}


@pytest.mark.parametrize(
    ("hours", "text"), [(0.5, "22:30"), (1.99, "23:59"), (2.1, "2026-11-22 00:06"), (50, "2026-11-24 00:00")]
)
def test_the_time_of_the_end_has_a_date_unless_it_is_today(hours, text):
    assert finish_time(hours, datetime(2026, 11, 21, 22, 0)) == text


def test_memory_grows_with_everything_that_makes_activations():
    base = {"width": 0.5, "image_size": 256, "batch_size": 4, "bytes_per_value": 2}
    least = bytes_needed(**base)
    for name, more in {"width": 1.0, "image_size": 512, "batch_size": 8, "bytes_per_value": 4}.items():
        assert bytes_needed(**{**base, name: more}) > least


@pytest.mark.parametrize(
    ("width", "bytes_per_value", "measured_gb"), [(1, 4, 2.37), (1, 2, 1.64), (0.5, 4, 1.93), (0.5, 2, 1.44)]
)
def test_the_memory_estimate_is_near_the_measured_peaks(width, bytes_per_value, measured_gb, monkeypatch):
    """The rows without XLA of benchmarks/README.md, "Speed of training", to which the estimate was fitted."""
    monkeypatch.setattr("transformer.training.pace.vector_bits", lambda: 512)
    estimate = bytes_needed(width=width, image_size=256, batch_size=4, bytes_per_value=bytes_per_value)
    assert estimate / 1e9 == pytest.approx(measured_gb, rel=0.01)


def test_the_kernels_of_winograds_algorithm_take_memory(monkeypatch):
    estimates = {}
    for bits, bytes_per_value in ((512, 4), (256, 4), (512, 2), (256, 2)):
        monkeypatch.setattr("transformer.training.pace.vector_bits", lambda bits=bits: bits)
        sizes = {"width": 0.5, "image_size": 256, "batch_size": 1}
        estimates[bits, bytes_per_value] = bytes_needed(**sizes, bytes_per_value=bytes_per_value)
    assert estimates[256, 4] == estimates[512, 4] + 0.5e9
    assert estimates[256, 2] == estimates[512, 2]


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="the peak is then the GPU's")
def test_without_a_gpu_the_peak_of_a_training_is_that_of_its_process():
    """tests/test_machine.py checks that this one grows with what is held."""
    assert peak_memory() <= peak_memory_bytes() <= peak_memory()


def test_a_second_picture_of_each_image_needs_memory_for_the_network_alone():
    sizes = {"width": 1.0, "image_size": 256, "batch_size": 1, "bytes_per_value": 2}
    once, twice = (bytes_needed(**sizes, network_passes=passes) for passes in (1, 2))
    assert once < twice < 2 * once

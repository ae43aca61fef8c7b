"""The counts and losses of a training: saved and restored exactly, and no NaN among the best."""

import json
import math

import pytest

from transformer.json_text import json_text
from transformer.training.progress import Progress


def after_three_steps() -> Progress:
    progress = Progress()
    for total in (0.1, 0.2, 0.7):
        progress.add_step({"total": total}, images=2)
    progress.losses = {"total": 1 / 3}
    progress.rollbacks, progress.seconds, progress.start = 2, 61.25, "random weights"
    progress.add_validation({"total": 0.3, "tv": 0.1})
    return progress


def test_what_is_saved_is_restored_exactly():
    progress, restored = after_three_steps(), Progress()
    restored.restore(3, json.loads(json_text(progress.as_json())))
    assert restored.as_json() == progress.as_json()
    assert (restored.step, restored.images, restored.rollbacks, restored.monitored_step) == (3, 6, 2, 3)
    for each in (progress, restored):
        each.add_step({"total": 0.4}, images=2)
    assert restored.means.flush(2)["total"] == progress.means.flush(2)["total"] == (0.1 + 0.2 + 0.7 + 0.4) / 4


def test_losses_that_were_not_finite_are_restored_as_nan():
    progress, restored = after_three_steps(), Progress()
    progress.losses = {"total": math.inf, "tv": 0.5}
    progress.validation = {"total": math.nan}
    restored.restore(3, json.loads(json_text(progress.as_json())))
    assert math.isnan(restored.losses["total"]) and restored.losses["tv"] == 0.5
    assert math.isnan(restored.validation["total"])


def test_the_best_validation_is_the_one_with_the_lowest_total():
    progress = Progress()
    for total in (0.5, 0.2, 0.2, 0.9):
        progress.add_step({"total": 1.0}, images=1)
        progress.add_validation({"total": total, "tv": 0.1})
    assert progress.validation == {"total": 0.9, "tv": 0.1}
    assert progress.best_validation == {"step": 2, "total": 0.2}


@pytest.mark.parametrize("total", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("is_first", [True, False], ids=["first", "later"])
def test_a_validation_that_is_not_finite_is_never_the_best(total, is_first):
    progress = Progress()
    if not is_first:
        progress.add_step({"total": 1.0}, images=1)
        progress.add_validation({"total": 0.2})
    best = progress.best_validation
    progress.add_step({"total": 1.0}, images=1)
    progress.add_validation({"total": total})
    assert progress.best_validation == best
    assert progress.monitored_step == progress.step


def test_without_validation_photos_there_is_no_best():
    progress = after_three_steps()
    progress.add_validation({})
    assert progress.validation == {} and progress.best_validation == {"step": 3, "total": 0.3}

"""JSON without NaN: what is written can be read by every parser."""

import json
import math

import numpy as np
import pytest

from transformer.json_text import json_text, read_numbers


def refuse(constant: str):
    raise ValueError(f"{constant} is not JSON")


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, np.float64("nan")])
def test_a_number_that_is_not_finite_is_written_as_null_at_any_depth(number):
    text = json_text({"loss": number, "nested": {"list": [1.5, number], "tuple": (number, "a")}})
    values = json.loads(text, parse_constant=refuse)
    assert values == {"loss": None, "nested": {"list": [1.5, None], "tuple": [None, "a"]}}


def test_everything_else_is_written_as_json_writes_it():
    value = {"name": "étoile", "steps": 3, "xla": False, "vgg": None, "rate": 1e-30, "list": [0.1, -0.0, []]}
    assert json_text(value) == json.dumps(value)
    assert json_text(value, indent=2) == json.dumps(value, indent=2)


def test_finite_numbers_come_back_bit_for_bit_and_null_as_nan():
    numbers = {f"{n}": float(x) for n, x in enumerate(np.random.default_rng(0).normal(size=50) * 1e7)}
    restored = read_numbers(json.loads(json_text({**numbers, "lost": math.nan})))
    assert math.isnan(restored.pop("lost"))
    assert restored == numbers

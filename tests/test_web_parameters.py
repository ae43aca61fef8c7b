"""Parameters of requests: the same names, ranges and defaults as the flags of infer.py."""

from dataclasses import fields

import pytest

from cli.flags import UsageError
from cli.infer_config import FastConfig
from web.parameters import picture_request, schemas
from web.pictures import PictureRequest


def test_texts_become_a_request(tmp_path):
    texts = [("style", "a:2"), ("style", "b"), ("keep_colors", "Yes"), ("max_side", "9"), ("strength", ".5")]
    assert picture_request(texts, tmp_path) == PictureRequest(
        (("a", 2.0), ("b", 1.0)), strength=0.5, keep_colors=True, max_side=9, mask=tmp_path
    )


def test_every_field_of_a_request_is_a_parameter_with_the_default_of_infer_py():
    names = {option.name for option in fields(PictureRequest)} - {"styles", "mask"}
    assert set(schemas()) == {"style", *names}
    assert picture_request([("style", "a")]) == PictureRequest((("a", 1.0),))
    defaults = FastConfig()
    assert all(getattr(PictureRequest(()), name) == getattr(defaults, name) for name in names)


def test_schemas_have_the_ranges_of_the_flags():
    found = schemas()
    assert (found["strength"]["minimum"], found["strength"]["maximum"]) == (0, 1)
    assert found["format"]["enum"] == ["jpg", "png", "webp", "tiff", "bmp"]
    assert not any(
        "--" in schema["description"] or " -o" in schema["description"] for schema in found.values()
    )


@pytest.mark.parametrize("text", ["a:", "a:b", "a:1_0", "a:\u0661"])
def test_a_weight_that_is_no_number_is_refused(text):
    with pytest.raises(UsageError, match="invalid float value"):
        picture_request([("style", text)])

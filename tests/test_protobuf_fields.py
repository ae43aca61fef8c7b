"""transformer/inference/protobuf_fields.py: reads what protobuf writes, and refuses what is damaged."""

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transformer.inference.protobuf_fields import LENGTH, VARINT, fields


@settings(derandomize=True, max_examples=100, deadline=None)
@given(st.integers(0, 2**63 - 1), st.text(max_size=300))
def test_numbers_and_texts_are_those_that_were_written(number, text):
    written = onnx.ModelProto(ir_version=number, producer_name=text)
    found = {field.number: field for field in fields(memoryview(written.SerializeToString()))}
    if number:
        assert (found[1].wire_type, found[1].value) == (VARINT, number)
    if text:
        assert (found[2].wire_type, bytes(found[2].value)) == (LENGTH, text.encode())


def test_the_fields_cover_the_whole_message():
    content = memoryview(onnx.ModelProto(ir_version=300, producer_name="x" * 200).SerializeToString())
    found = list(fields(content))
    assert b"".join(content[field.start : field.end] for field in found) == content


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_refused(content):
    try:
        assert sum(field.end - field.start for field in fields(memoryview(content))) == len(content)
    except ValueError as error:
        assert str(error).isprintable()


@pytest.mark.parametrize("length", [1, 2, 100])
def test_a_message_that_is_cut_off_is_refused(length):
    content = onnx.ModelProto(producer_name="x" * 200).SerializeToString()
    with pytest.raises(ValueError, match="cut off"):
        list(fields(memoryview(content[:length])))

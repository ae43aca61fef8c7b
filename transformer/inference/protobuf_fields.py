"""Reads the fields of a serialized protobuf message, without the message's definition and without the onnx package.

See https://protobuf.dev/programming-guides/encoding. Importing onnx takes a fifth of a second.
"""

from collections.abc import Iterator
from typing import NamedTuple

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5  # wire types
_FIXED_BYTES = {FIXED64: 8, FIXED32: 4}
_MAX_VARINT_BYTES = 10


class Field(NamedTuple):
    """One field of a message: its number, its wire type, its value, and where its value starts and ends.

    value: an integer for VARINT, else the bytes as a view.
    """

    number: int
    wire_type: int
    value: int | memoryview
    start: int  # of the tag
    end: int


def fields(message: memoryview) -> Iterator[Field]:
    """Yields the fields in their order. Raises ValueError if the message is damaged."""
    position = 0
    while position < len(message):
        start = position
        tag, position = _varint(message, position)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == VARINT:
            value, position = _varint(message, position)
            yield Field(number, wire_type, value, start, position)
            continue
        if wire_type == LENGTH:
            length, position = _varint(message, position)
        elif wire_type in _FIXED_BYTES:
            length = _FIXED_BYTES[wire_type]
        else:
            raise ValueError(f"unknown wire type {wire_type}")
        if length > len(message) - position:
            raise ValueError("the file is cut off")
        yield Field(number, wire_type, message[position : position + length], start, position + length)
        position += length


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """Returns an integer of 7 bits per byte, and the position after it."""
    value = 0
    for index in range(_MAX_VARINT_BYTES):
        if position + index >= len(message):
            raise ValueError("the file is cut off")
        byte = message[position + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, position + index + 1
    raise ValueError("a number is longer than 10 bytes")

"""Damages bytes at random, as disks, networks and attackers do."""

from collections.abc import Sequence

import numpy as np

MOST_CHANGES = 8  # in one input
LONGEST_RANGE = 64  # bytes that are removed, repeated or inserted at once
# Numbers at which readers of lengths, sizes and offsets fail.
EDGES = (
    0,
    1,
    2,
    127,
    128,
    255,
    256,
    32767,
    32768,
    65535,
    65536,
    2**24,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
)


def mutated(content: bytes, others: Sequence[bytes], generator: np.random.Generator) -> bytes:
    """Returns `content` with 1 to MOST_CHANGES random changes. `others` are inputs of which parts are spliced in."""
    data = bytearray(content)
    for _ in range(generator.integers(1, MOST_CHANGES + 1)):
        change = _CHANGES[generator.integers(len(_CHANGES))]
        change(data, others, generator)
    return bytes(data)


def _position(data: bytearray, generator: np.random.Generator) -> int:
    """A random position; every second one lies in the first 256 bytes, where headers are."""
    end = len(data) if generator.integers(2) else min(len(data), 256)
    return int(generator.integers(max(1, end)))


def _length(generator: np.random.Generator) -> int:
    return int(generator.integers(1, LONGEST_RANGE + 1))


def _flip_bit(data: bytearray, others, generator) -> None:
    if data:
        data[_position(data, generator)] ^= 1 << int(generator.integers(8))


def _set_byte(data: bytearray, others, generator) -> None:
    if data:
        data[_position(data, generator)] = int(generator.integers(256))


def _set_number(data: bytearray, others, generator) -> None:
    """Overwrites 1, 2, 4 or 8 bytes with a number at an edge, in either byte order."""
    size = int(2 ** generator.integers(4))
    number = int(generator.choice(np.array(EDGES, np.uint64))) % 256**size
    at = _position(data, generator)
    data[at : at + size] = number.to_bytes(size, "little" if generator.integers(2) else "big")


def _remove(data: bytearray, others, generator) -> None:
    at = _position(data, generator)
    del data[at : at + _length(generator)]


def _repeat(data: bytearray, others, generator) -> None:
    at = _position(data, generator)
    data[at:at] = data[at : at + _length(generator)] * int(generator.integers(1, 5))


def _insert(data: bytearray, others, generator) -> None:
    at = _position(data, generator)
    data[at:at] = generator.bytes(_length(generator))


def _cut(data: bytearray, others, generator) -> None:
    del data[int(generator.integers(len(data) + 1)) :]


def _splice(data: bytearray, others, generator) -> None:
    """Replaces the rest by the rest of another input, or a range by a range of it."""
    other = others[generator.integers(len(others))]
    at, of_other = _position(data, generator), int(generator.integers(len(other) + 1))
    if generator.integers(2):
        data[at:] = other[of_other:]
    else:
        size = _length(generator)
        data[at : at + size] = other[of_other : of_other + size]


_CHANGES = (
    _flip_bit,
    _flip_bit,
    _set_byte,
    _set_number,
    _set_number,
    _remove,
    _repeat,
    _insert,
    _cut,
    _splice,
)

"""The messages between this process and the child process that runs a foreign graph: a kind, a length, the content.

Nothing in them is executed or unpickled: pictures are raw float32, errors are text, settings are JSON.
"""

import struct
from typing import BinaryIO

import numpy as np

from system.console import printable

# To the child
SETTINGS = b"SETT"  # JSON
MODEL = b"MODL"  # the bytes of an .onnx file
IMAGES = b"IMGS"  # shape and pixels
# From the child
READY = b"REDY"  # on the CPU
READY_ON_GPU = b"REDG"
PICTURES = b"PICT"  # pixels
REFUSED = b"REFU"  # the text of a StyleError
NO_MEMORY = b"NMEM"  # the text of a MemoryError

_HEADER = struct.Struct("<4sQ")
_SHAPE = struct.Struct("<3Q")  # images, height, width
_ENCODING = ("utf-8", "surrogateescape")  # paths may be any bytes
MAX_TEXT_BYTES = 4096


def write_frame(stream: BinaryIO, kind: bytes, *parts: bytes | memoryview) -> None:
    """Writes one message; its content is `parts` one after the other."""
    stream.write(_HEADER.pack(kind, sum(len(part) for part in parts)))
    for part in parts:
        stream.write(part)
    stream.flush()


def read_header(stream: BinaryIO) -> tuple[bytes, int]:
    """Returns kind and length of the next message. Raises EOFError at the end of the stream."""
    return _HEADER.unpack(read_exactly(stream, _HEADER.size))


def read_exactly(stream: BinaryIO, length: int) -> bytearray:
    """Returns `length` bytes. Raises EOFError if the stream ends before."""
    content = bytearray(length)
    read_into(stream, memoryview(content))
    return content


def read_into(stream: BinaryIO, target: memoryview) -> None:
    """Fills `target` with bytes. Raises EOFError if the stream ends before."""
    while len(target):
        count = stream.readinto(target)
        if not count:
            raise EOFError
        target = target[count:]


def pixels_of(images: np.ndarray) -> memoryview:
    """Returns the bytes of images [N, H, W, 3] as a view; the images must be contiguous float32."""
    return memoryview(images).cast("B")


def packed_images(images: np.ndarray) -> tuple[bytes, memoryview]:
    """Returns the content of IMAGES."""
    images = np.ascontiguousarray(images, np.float32)
    return _SHAPE.pack(*images.shape[:3]), pixels_of(images)


def unpacked_images(content: bytearray) -> np.ndarray:
    """Returns the images [N, H, W, 3] in the content of IMAGES."""
    shape = _SHAPE.unpack_from(content)
    return np.frombuffer(content, np.float32, offset=_SHAPE.size).reshape(*shape, 3)


def text_bytes(text: str) -> bytes:
    """Returns text as the content of a message, cut to MAX_TEXT_BYTES."""
    return text.encode(*_ENCODING)[:MAX_TEXT_BYTES]


def shown_name(name: str | bytes, at_most: int = 60) -> str:
    """Returns a name out of a foreign file for a message; protobuf gives bytes if it is not UTF-8."""
    text = name.decode("utf-8", "replace") if isinstance(name, bytes) else name
    return printable(text[:at_most])


def one_line_of(content: bytes | bytearray) -> str:
    """Returns a text from the child as one line of printable characters, apart from the undecoded bytes of paths."""
    text = bytes(content).decode(*_ENCODING)
    return "".join(
        character if "\udc80" <= character <= "\udcff" else printable(character) for character in text
    )

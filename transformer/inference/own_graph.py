"""Recognizes the ONNX graphs that this project writes, without importing onnx.

A graph is a program. A graph with exactly the nodes that `export/onnx_graph.py` writes may run in this process.
All others are checked and run in a child process, see graph_process.py. A graph is recognized by a fingerprint: the
SHA-256 of the whole file except the values and shapes of the parameters and the width. The shapes must be those that
the width demands.
"""

import hashlib
import math
from typing import NamedTuple

from transformer.architecture import Architecture
from transformer.export.onnx_shapes import onnx_shapes
from transformer.inference.protobuf_fields import LENGTH, VARINT, Field, fields

# Field numbers of onnx.proto, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
_GRAPH, _METADATA = 7, 14  # of ModelProto
_INITIALIZER = 5  # of GraphProto
_DIMS, _DATA_TYPE, _NAME, _RAW_DATA = 1, 2, 8, 9  # of TensorProto
_KEY, _VALUE = 1, 2  # of StringStringEntryProto
_FLOAT = 1  # TensorProto.DataType
_FLOAT_BYTES = 4
# By number of residual blocks. tests/test_own_graph.py computes them again from `build_onnx_model`.
FINGERPRINTS: dict[int, str] = {
    0: "985882551df5d059a8a8693762043024a60caad79163b151afb797699a074b60",
    1: "82587b197f73098a2a205bfd4fd2ca5b14ff8f974a7f8c05cec0a41ebdbcb234",
    2: "88b4e36e3b04fd962d2c341ae5e799f518346abaaace7dbd64ff345b9b1fac93",
    3: "9284c3e4c15e1194b65e91cb245d4d307723093a98fab2a30bd1c365be12b1a3",
    4: "6b96c4d8db2c50bee2adb9707fa1328fca6b6a8788214665244653f8e4cfd947",
    5: "e36718e71d45eb7311870ebebc649c42566f428d5c5313601bc69ad1a7beba41",
    6: "4af8df68307caaa7fd62ee19c729c6abc05f19526fbe07483a13b4bae5c1a72f",
    7: "922c4f2a99f4d24851c523057da571f3805fc177039afa98f4db1bf661f41b79",
    8: "0039901daaadf3435331fef2e6d868d9a27be1beedc0a7078e99f779e76e7d7c",
    9: "43bb0e4401ec029b78642be169c69dfeab1c5bb55eb6d74089206c0eebcddb26",
    10: "982b0bfcd68816c6f1d7076b430c2e6300b9b226e5acb6b4bd27b2478158dc3c",
    11: "31e4685cb975309dbdb861cc2e0ec9e7e86462b226c9a4e5e8d2ef7366a30a95",
    12: "675566a5b2d405f999b631678e4168ee555be2ff529e8b70263036d3d29f3a8a",
    13: "fe8a8fcc6249c135e018923bb581a4335c208daea35421c227d5ac1f7deec96b",
    14: "1c50ad2ee9fd711dda80c6ea44a5762b6c7c3243fb0fb39383dbc52e2cde145d",
    15: "88ab79431503b7b2312657a473a0137250f41337bf57404df96660c6c54bf3a3",
    16: "2ee4b508f7fe3b405ad5e5ea73683fbd3e3cdc11ba70728720b67a4a95058f1a",
}


class Claim(NamedTuple):
    """What a file with the parameters of one of our networks says of itself, and whether its fingerprint is known."""

    architecture: Architecture
    is_known: bool


def own_claim(content: bytes) -> Claim | None:
    """Returns what a serialized model claims to be; None unless its parameters are exactly those of our network.

    A claim that is not known may be a graph of ours that another version of onnx has serialized, or one with more
    residual blocks; `onnx_graph.read_onnx_parameters` decides.
    """
    try:
        found, shapes, width = _read(memoryview(content))
        blocks = sum(name.startswith("residual") and name.endswith("conv1/kernel") for name in shapes)
        architecture = Architecture(float(width), blocks)
    except (ValueError, OverflowError):  # damaged, or not of this form
        return None
    if width != str(architecture.width) or shapes != onnx_shapes(architecture):
        return None
    return Claim(architecture, found == FINGERPRINTS.get(blocks))


def fingerprint(content: bytes) -> str:
    """Returns the fingerprint of a serialized model. Raises ValueError if it is not of the form that we write."""
    return _read(memoryview(content))[0]


def _read(model: memoryview) -> tuple[str, dict[str, tuple[int, ...]], str]:
    """Returns the fingerprint, the shapes of the parameters by name, and the width as text."""
    digest, shapes, width = hashlib.sha256(), {}, ""
    for field in fields(model):
        if field.number == _GRAPH and field.wire_type == LENGTH:
            _add(digest, b"graph starts")
            _read_graph(field.value, digest, shapes)
            _add(digest, b"graph ends")
        elif field.number == _METADATA and field.wire_type == LENGTH:
            key, value = _strings(field.value)
            if key != "width" or width:
                raise ValueError("other metadata than the width")
            _add(digest, b"width")
            width = value
        else:
            _add(digest, b"field", model[field.start : field.end])
    return digest.hexdigest(), shapes, width


def _add(digest, kind: bytes, content: bytes | memoryview = b"") -> None:
    """Adds one piece with its length, so that no two sequences of pieces give the same bytes."""
    digest.update(b"%s %d " % (kind, len(content)))
    digest.update(content)


def _read_graph(graph: memoryview, digest, shapes: dict[str, tuple[int, ...]]) -> None:
    for field in fields(graph):
        if field.number != _INITIALIZER or field.wire_type != LENGTH:
            _add(digest, b"field", graph[field.start : field.end])
            continue
        parts = list(fields(field.value))
        name = next(
            (bytes(part.value) for part in parts if (part.number, part.wire_type) == (_NAME, LENGTH)), b""
        )
        if b"/" not in name:  # a constant of the graph, not a parameter
            _add(digest, b"field", graph[field.start : field.end])
            continue
        _add(digest, b"parameter", name)
        if name.decode() in shapes:
            raise ValueError("a parameter appears twice")
        shapes[name.decode()] = _parameter_shape(parts)


def _parameter_shape(parts: list[Field]) -> tuple[int, ...]:
    """Returns the shape of a float32 parameter. Raises ValueError if its fields are not exactly those we write."""
    *dims, data_type, _, raw_data = parts
    kinds = [(part.number, part.wire_type) for part in parts]
    expected = [(_DIMS, VARINT)] * len(dims) + [(_DATA_TYPE, VARINT), (_NAME, LENGTH), (_RAW_DATA, LENGTH)]
    if kinds != expected or data_type.value != _FLOAT:
        raise ValueError("a parameter has other fields than shape, type, name and values")
    shape = tuple(part.value for part in dims)
    if len(raw_data.value) != _FLOAT_BYTES * math.prod(shape):
        raise ValueError("a parameter has more or fewer values than its shape says")
    return shape


def _strings(entry: memoryview) -> tuple[str, str]:
    (key, value) = fields(entry)
    if (key.number, key.wire_type, value.number, value.wire_type) != (_KEY, LENGTH, _VALUE, LENGTH):
        raise ValueError("damaged metadata")
    return bytes(key.value).decode(), bytes(value.value).decode()

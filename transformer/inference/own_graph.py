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
from transformer.export.onnx_shapes import architecture_of, onnx_shapes
from transformer.inference.protobuf_fields import LENGTH, VARINT, Field, fields

# Field numbers of onnx.proto, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
_GRAPH, _METADATA = 7, 14  # of ModelProto
_INITIALIZER = 5  # of GraphProto
_DIMS, _DATA_TYPE, _NAME, _RAW_DATA = 1, 2, 8, 9  # of TensorProto
_KEY, _VALUE = 1, 2  # of StringStringEntryProto
_FLOAT = 1  # TensorProto.DataType
_FLOAT_BYTES = 4
# By the side of the outer kernels, then by number of residual blocks. tests/test_own_graph.py computes them again
# from `build_onnx_model`.
FINGERPRINTS: dict[int, dict[int, str]] = {
    3: {
        0: "b2165bf6c849e3fbabbd5376e598160100042fe6686c8aeeb6b4af3a99c8c9e7",
        1: "0c998632b2f0169d4f6d52bde679b256f11d9920d2fb3f81964b040e79b87878",
        2: "2d1cd57f62b2eccd3e8438870eda9e92cd00191ff4624e97da4ea36216a853db",
        3: "68bcbaa24fe022d5f8f73ad499639539668ac78780a4b308e15781191a4ad7ae",
        4: "485867c296c0157fbdd7a41697f5b9a1101c52960213828ce15c389b87fc010a",
        5: "9f0ddf3e7176e9cd11f4c070a0dc2472377daf6f1578dbb516c293bab4d8f619",
        6: "fd5b84d69589538e9a7532d3b717f4305f3580ac11d56831f2ae6ae716269bbf",
        7: "1404e8bae91e420f9f177ac2ebba722f4ceabfb50344078f343202adb8ab822d",
        8: "201bec781b6297d054896722e88c57bcf93d66ec479e6e1f469d16cceda8029a",
        9: "320f5e19572dc4623a14db499a984d2b63e6841ce317e12ff4e857e34d16ecc3",
        10: "4ded64cd0bd84f311817ef5e269074d5834017a9b61bf746d58742a6d6a27ab6",
        11: "a012ee6f2d77755bc446dc06df906c8e9be6cc646d8e7baa39fed1fd59cd7424",
        12: "c72127dfd2d57738a8afde444dd4b076d110afc9eecaf5b50c933b4af4c28f7c",
        13: "d15360eaa270beb730e3ce7adb3a8030f74d5bcbe8332b600035c9ac05179bef",
        14: "496907c01ab707f5c3c7f39316777841dd4964332203e4a958fd3756779cb45c",
        15: "1bdb27b9e5c0b2c742a43903c9774bf22b359cf8b15f4355b941d9638c1f0143",
        16: "0b56d2ffed7a5c4d11356b51e945f4313a4c41997452dc5888557487288c2723",
    },
    5: {
        0: "e3a9bef9cbcc80efc324d8ec89f7976d4a60b0bb092b6dac539a7637c175ccfb",
        1: "dbf73e86f3dce12366121403824b3e165a5254e1a7bd9fac01980ee7e97e736f",
        2: "b5d5c5871ae861e7c6a417e19e9bfc78fd7fe3de3007ac8dfef92320fe3c0988",
        3: "c1c36ef870085e36df15884163d96a224820f1cd65b4ceb35f8dc590c4cbad1e",
        4: "37e0f84282cda29cde14d02ac25f0be28d7a1e28e2e641378624d03a7aa82847",
        5: "c065e21be527b97987ded939b286451c663a9bea2f0a824a338e1a5f1dcf4b67",
        6: "c58c72c3b70ebc2fe486aad952da655c76f3eee27f566829d9badebff0359c7f",
        7: "4258818b3372bb60572a8c5af92bed1406dd5fd46cf8ff2f810db19df676ffbd",
        8: "8535bc5d035a7fb03eb332b310122d42944d796a7b47d26352feaec661e2cb9d",
        9: "6923df61824deec7423ce339dfc196e6e1cc28c35c23f14524c30882c63ba0ac",
        10: "325ce96ff2daa96d7ddd540b8166fa36aec3f3875e74df27d22f4e378a596dca",
        11: "4fcc277a2a5358fc1d18a294ee4293b7aaef1accd17dd9cc0070accea2c9227d",
        12: "0923710b42e216ecebb0e159b9aa263adc13a8400cf61150fed0c87eb30415af",
        13: "726a683ce19c391a3a9cbd55b3693c11b5964876a8e3e7db764b55e0d3dbbe4c",
        14: "1b1fd2c4c56fbb25b2d3b0b2fe6c1ecc8b4e501119ea9f031bddf990b5e18ab6",
        15: "bd03ea1b720c8af9521d8c33bdb53644ddea5960de853345cfc05e69e69fefb0",
        16: "7026e9f158b134430fe78ec208afe8bb6a3e510cedcac24014539ab7b1b679fa",
    },
    7: {
        0: "041a97a1ea6cf9defc6f350ccff1d8e2d7756428d95861007826519f9d1c909f",
        1: "a315c9c07d2c546a52f0437ce9a6317e4409984beb33ec92f9a8e86ecb201ad1",
        2: "327e2de27d96d7dcf3bcc7cefcfc2be81fbc262a4177239f45814e000afaa126",
        3: "296d1ff0143404c73879eb91e930945833b87f1ea866a5aebb0e45e890994e62",
        4: "c9c892e36006709fa029bc7a0c15cd30d1f852fceeb2b06fe289c21087d86257",
        5: "2c4cac746658a2c119123f941ddf0f9c7d76a42a2cd67a0cb8a53b6e92129b8b",
        6: "732bb5b342b3b70d1c97867ded8a63b8ed24086e4a6390e2caff39bbfe0ec740",
        7: "210bb8f65f74d57a4b88dcb127a5989a23707ff3539987e6853883e6ebb721b6",
        8: "2dff018e4fb11c86a5e183660c9f57d5a58e5eda548af1dc8aa3314263bd7f2f",
        9: "0d7b8e660fd40c16719d3647f7c66d05acd2708efb660fad65d9ad6a9f734b80",
        10: "238aad4809dd805fb53dbe77805155737c78aea78149ab5bc702abd790c0adc5",
        11: "a11e741c677e0c1accc7475cebd9a62d00f4f278874ed03293ad82eeb2d603b1",
        12: "d9f4d69c1daacf61fb3d9fd5a7c0c08988d8f830116f6f7a76d9a787c1c8fe78",
        13: "334d3bee7e7b319234be6c7160350cd5ea2636ec03f91bbff14cc75f7e34d5c7",
        14: "7b8c2f635bca388962550242f26c4679b8fee9945cebc12fa5ae312d90b34878",
        15: "d00ce1a968defc593d558b35aeef7382ccc5f4096d88f77beb0edd5b70c8a70c",
        16: "39cf4c2b2f722290540b41f3ebdd81c2bcc82fed3e2b70579a3f73996ab2d759",
    },
    9: {
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
    },
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
        architecture = architecture_of(float(width), shapes)
    except (ValueError, OverflowError):  # damaged, or not of this form
        return None
    if width != str(architecture.width) or shapes != onnx_shapes(architecture):
        return None
    known = FINGERPRINTS.get(architecture.outer_kernel, {}).get(architecture.residual_blocks)
    return Claim(architecture, found == known)


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

"""Recognizes the ONNX graphs that this project writes, without importing onnx.

A graph is a program. A graph with exactly the nodes that `export/onnx_graph.py` writes may run in this process.
All others are checked and run in a child process, see graph_process.py. A graph is recognized by a fingerprint: the
SHA-256 of the whole file except the values and shapes of the parameters and the width; the types of the parameters
count. The shapes must be those that the width demands.
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
_FLOAT_BYTES = {1: 4, 10: 2}  # by TensorProto.DataType: float32 and float16
# By the side of the outer kernels, then by number of residual blocks. tests/test_own_graph.py computes them again
# from `build_onnx_model`.
FINGERPRINTS: dict[int, dict[int, str]] = {
    3: {
        0: "9b5acb9c1c21a13e47766193d2904348c2528fa5aa959f049240c29ef9127df4",
        1: "10bd92546eaef63400b65621da8ba39cc2311c6c9d61c179c4f4caeda9a9dc95",
        2: "c9a73b506bc6f19eed5efc76fe69ca22deb8d8f6167e667ce577ac0a26c9e70d",
        3: "a9bd1bd7268af54846c460438921a16e48fdcc17dfaa9fa6dd9805c2ef3938c0",
        4: "3cdd32269b5416a9b0ad345a219660976d041ed03bb7fcab4c505c6950861a5d",
        5: "0e04aa9f7459f3ddda85675dcf341be1f2c27561d16561d4acd7720bd82b599f",
        6: "9595fefcb27fdb21b91b897ac59606ad98a539713f524a9f367c92ae635ba196",
        7: "d2dad298fecca18c08820f070b54cb09a076264e75d7fbfe67d5c5127c6d2b67",
        8: "bbf4d712ad8b85dcdfc5640d298dad42daca57434b80df6c47d7acb242e60580",
        9: "e27cd8ab99186377370a5c0eb076af46f54b91780a6492978f2401d6658cb314",
        10: "2517d118d4f83dcbc47038f104eea1cd7246ad9bd60044995aec015c0224c382",
        11: "bcf3e100662503d9c4fea30842ad926ef51c31f62f16319ae2b5d072120639af",
        12: "35ea586b6a1927c07145b30f2c61b5cadf994750e83f2e4cd6c1f591ebd58c94",
        13: "099f4b463daae2bb3eda472909e65f70173dac2e6155ffd3ead57b0dd6fb870e",
        14: "7d127332e4cd80b8214d7a110ba942cb186f1d628e215517bfb68d12a3863790",
        15: "8033d5c5c84646a4c623b6840edca43c97af7bdacdccdad216254ad61727e181",
        16: "f8e5732422d911b04a992a767ae58acce14d3472584006ebd3056025c7f78f0c",
    },
    5: {
        0: "0b8876f396deb0f6983cd05a6986aa78e4f10dc4dab71ccba97b9731b4870db7",
        1: "a4dff4f79b03514d6f341d8c56081854324779f8608005e9f64728f9631aca46",
        2: "8082a23d864ba2d2354f545ba845c7920fadbe9bdbf478c821454cecb22ca427",
        3: "42104cc34b3741966d058e698bb96c799b7de308eb58c0fdaa03dc645d9abe7a",
        4: "756baad480b1d549503c5c99449a2a6186e1616bdc8b28776cc568452b424691",
        5: "24f54b2641a946593b8170f507474579322670806339a92e9b238e69ae5c8ec6",
        6: "5214d5f80196d03b951aa658cc5577e6e70eaa8b13d8fa81cf747c9c791b3a33",
        7: "5cae1513c16855b2b69ad36c645b72472fffbf6ff7eb535a0693493c44a94fb7",
        8: "4b330c83838956aa68e4c4c62a55b098909abd5c56b1e25ca93ac21150ef9933",
        9: "5de42d3a1f76a43f3fb0b81167c538df20be9cb52fec11999f2b1348d146b7d8",
        10: "05dc9f886194c5576523067a2cbb400dc039fb78019f12f9b22e98325c3d7fad",
        11: "e38d90a64e0e0760ed7883a6bf8fd40a4b5c58d875e28dc292be6ee56bea4f54",
        12: "aa97e65c34fc3c2bea81580a1717158bfc045845c87063a4e6174bbd79fc957f",
        13: "700dd14949e976495325ae7d6079d3a454d52f86fc546f9f4a5fd3c324c85883",
        14: "8e6423805a167d4f89806479eec9f56ba39088d456e44ab57c9b45f3fb70bcbc",
        15: "5bdbd9740933d825c971632aa7ebadf94f272b2b9541d577a48b4dd97c27d7cd",
        16: "7a28a233ce552317788d3a1deeb00f2341b5a27eafe291b073b8b7c78a30a457",
    },
    7: {
        0: "3207b6a29c06452c1893f7494cb5f9c732f13df2f28eb9d4bb8646d2d46df3ed",
        1: "28e3c20e0a46adce9c6f155a660084e0a759fa8c35d9e55adbd3f366b5296ace",
        2: "38f749e12c365ce56db8776055640b0c7d404322fc75e7b65ac679f86f3b05ee",
        3: "39cf029323d45435c44b3b22d8ab6e6e5f8933407455521ff35b22bf0e218be8",
        4: "c2dbe72bbe55cd53aace931b734a33761827de146854aa8fc037e82e1552b5bb",
        5: "cdade03094926e076fe4a2c33ef5579bbe56773f6a9a7d4c42bf5095998fcc1a",
        6: "4d31e77c5054c82ebf6abcc2c68c60fea37d86a9d945f2d5a33ed570361eaf6d",
        7: "a0f55d2729955790e634bd7c5313c5a46c72c3b0bc323f3ad2d0a44184e0f275",
        8: "5975e7079bbbb44e82bdf0907704e4e0e0ad79df7a12ffd337c1ba471d48dae8",
        9: "71141f98cae504e5c35ad10a36267e53025d229f46d807b1e79b73356515d045",
        10: "12c6361012bbe7860ee9b6396be739ca12cdff4dc8b588978eff9472beaeaf8a",
        11: "aca5e7da40f46adf6dcd2ab7aad5e6118ff06b4ddfc674cc43bf37a0c799923b",
        12: "f6fcb740192954c366360272fd1a97b34506f8dd2c2fea0a3ec0be37daf54c8f",
        13: "e2d32efe76c7ce11a7e5fda3deb39ae2e6f78ae44f57fe9e0e286e48c7df5888",
        14: "d6a602f037c3194771ac4a7860a739e2f667b22483299f8b0a852527e7023c92",
        15: "1bb188d6d8151e5bc6e3e9188acf972cdc265ac795f41d5d330a6ce2f5312795",
        16: "57584fd6bd788270ace244596cee2226baffeaeaa090fc3220bd0d2feca748da",
    },
    9: {
        0: "eaec049bfa4a08da75e424b209e129075118b9a6ef533835bb24531336e40268",
        1: "3adeb8e6bbfa4f95522900ff3d51515d241157cc2c847312c90fc628598731fa",
        2: "5d81ddba3bbed9ce42503143fe33be65b11a3b1c3e4b51faa4f55772b664723d",
        3: "0df4e278bb2c5bda02b0782571db07cf235929e4d0c090b5c2311210630a9ff5",
        4: "53c13edba946d8cef621afa5009ff2e42f20e9dc392dbaf3ab650b781177af3c",
        5: "0ba7b9d4838fa4e7b799b9eb529368fbfa605d01b2dbd384856711f7301a8032",
        6: "616c67663341d5dedf0d1e344f88723041475ae4ef7d65800ce95847df92c07f",
        7: "a45deaae52d3ad186dd7b5a2aff35668e0161d7155e5c7a704021437f3e0477e",
        8: "c1ef5aa537b5b86ba6d995988f48ee1104ebebc36af22304b8fdf6eac2a927e6",
        9: "cf0825cea91ea465c38b5744aab005f79eed8267f1aa2b55a10225685ad18865",
        10: "dd1dd420fef7b2c20d261cbf5517376e059e9f928dd75cbf0789e96af0af288b",
        11: "4ef1534e92bebebd6b9edcde557975badfec7ade391c86b19050347b9c1a5ed5",
        12: "3f30fd0cfc56ccb74290672e996617ad036596293ebf183f797506121006a015",
        13: "07919e5a536574c18d0a773d2e7c4a5e0034eae85ec2ce965cee6ef7bb86a5f1",
        14: "cab2a4a3843a605c5d41b1ec84ac5107bf2a6c4cd7a1d1119fe768dfd02673a1",
        15: "132f5821c43cde5c4042bc1949cdb6c9a1029c8328f05d2bbb2c35f9e97a8116",
        16: "62d5f53c217cd24ecd3fefa75da3fd263c7d8f1475e305dd48836635fec9a2d6",
    },
}


class Claim(NamedTuple):
    """What a file with the parameters of one of our networks says of itself, and whether its fingerprint is known."""

    architecture: Architecture
    is_known: bool


def own_claim(content: bytes) -> Claim | None:
    """Returns what a serialized model claims to be; None unless its parameters are exactly those of our network.

    A claim that is not known may be a graph of ours that another version of onnx has serialized, one with more
    residual blocks, or one whose kernels are all in float32, as earlier versions of this project wrote them;
    `onnx_graph.read_onnx_parameters` decides.
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
        shapes[name.decode()], type_number = _parameter_shape_and_type(parts)
        _add(digest, b"type", bytes([type_number]))


def _parameter_shape_and_type(parts: list[Field]) -> tuple[tuple[int, ...], int]:
    """Returns the shape of a parameter and the number of its type.

    Raises ValueError if its fields are not exactly those we write.
    """
    *dims, data_type, _, raw_data = parts
    kinds = [(part.number, part.wire_type) for part in parts]
    expected = [(_DIMS, VARINT)] * len(dims) + [(_DATA_TYPE, VARINT), (_NAME, LENGTH), (_RAW_DATA, LENGTH)]
    if kinds != expected or data_type.value not in _FLOAT_BYTES:
        raise ValueError("a parameter has other fields than shape, type, name and values")
    shape = tuple(part.value for part in dims)
    if len(raw_data.value) != _FLOAT_BYTES[data_type.value] * math.prod(shape):
        raise ValueError("a parameter has more or fewer values than its shape says")
    return shape, data_type.value


def _strings(entry: memoryview) -> tuple[str, str]:
    (key, value) = fields(entry)
    if (key.number, key.wire_type, value.number, value.wire_type) != (_KEY, LENGTH, _VALUE, LENGTH):
        raise ValueError("damaged metadata")
    return bytes(key.value).decode(), bytes(value.value).decode()

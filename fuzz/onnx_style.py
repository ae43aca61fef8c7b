"""Fuzz target: an .onnx file without a digest, from its bytes to a picture. `python -m fuzz.onnx_style --cases 500`"""

import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fuzz.engine import Target, main
from transformer.export.style_folder import CHECKPOINTS_DIR, ONNX_FILE, StyleError

IMAGE = np.random.default_rng(0).uniform(0, 255, (17, 22, 3)).astype(np.float32)


def seeds() -> Mapping[str, bytes]:
    """A shipped style, one of ours that is small, and a foreign one."""
    from onnx import TensorProto, helper

    from transformer.architecture import Architecture
    from transformer.export.onnx_graph import build_onnx_model, with_half_precision

    architecture = Architecture(0.125, 1)
    generator = np.random.default_rng(0)
    parameters = {
        name: generator.normal(size=shape).astype(np.float32)
        for name, shape in architecture.parameter_shapes().items()
    }
    images = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", "H", "W", 3]) for name in "Xg"]
    white = helper.make_tensor("white", TensorProto.FLOAT, [1, 1, 1, 3], [255.0] * 3)
    nodes = [helper.make_node("Sub", ["white", "X"], ["a"]), helper.make_node("Abs", ["a"], ["g"])]
    graph = helper.make_graph(nodes, "graph", images[:1], images[1:], [white])
    foreign = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return {
        "great_wave": (CHECKPOINTS_DIR / "great_wave" / ONNX_FILE).read_bytes(),
        "small": build_onnx_model(
            with_half_precision(parameters, architecture), architecture
        ).SerializeToString(),
        "earlier version": build_onnx_model(parameters, architecture).SerializeToString(),
        "foreign": foreign.SerializeToString(),
    }


def run(content: bytes, folder: Path) -> None:
    """Stylizes an image with the model. The checks run here first, which saves most child processes."""
    from transformer.inference.foreign_onnx import check_model
    from transformer.inference.loading import load_stylizer
    from transformer.inference.own_graph import own_claim

    if own_claim(content) is None:
        check_model(content, folder / ONNX_FILE)
    (folder / ONNX_FILE).write_bytes(content)
    picture = load_stylizer(folder)(IMAGE)
    assert picture.shape == IMAGE.shape and picture.dtype == np.float32


TARGET = Target("onnx_style", seeds, run, lambda: (StyleError, MemoryError), seconds=90)

if __name__ == "__main__":
    sys.exit(main(TARGET))

"""transformer/inference/onnx_session.py: ONNX Runtime's failures to allocate are MemoryErrors."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from transformer.export.onnx_graph import OPSET
from transformer.inference.onnx_session import OnnxSession

VALUE = helper.make_tensor_value_info


def model_of(*nodes, constants=()) -> bytes:
    graph = helper.make_graph(
        nodes,
        "graph",
        [VALUE("X", TensorProto.FLOAT, ["n"])],
        [VALUE("g", TensorProto.FLOAT, None)],
        constants,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    return made.SerializeToString()


def test_an_allocation_that_fails_is_a_memory_error_with_a_remedy(capfd):
    copies = helper.make_tensor("copies", TensorProto.INT64, [2], [10**7, 10**7])
    session = OnnxSession(
        model_of(helper.make_node("Expand", ["X", "copies"], ["g"]), constants=[copies]), threads=1
    )
    with pytest.raises(MemoryError, match="memory ran out in ONNX Runtime; resize the image") as error:
        session.run({"X": np.ones(1, np.float32)})
    assert "\n" not in str(error.value)
    assert capfd.readouterr().err == ""  # ONNX Runtime logs nothing beside it


def test_other_errors_stay_those_of_onnx_runtime(capfd):
    session = OnnxSession(model_of(helper.make_node("Relu", ["X"], ["g"])), threads=1)
    np.testing.assert_array_equal(session.run({"X": np.array([-1, 2], np.float32)})[0], [0, 2])
    with pytest.raises(Exception, match="Invalid rank") as error:
        session.run({"X": np.ones((2, 2), np.float32)})
    assert not isinstance(error.value, MemoryError)
    assert capfd.readouterr().err == ""

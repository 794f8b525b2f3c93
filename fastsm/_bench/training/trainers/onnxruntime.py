"""ONNX Runtime: it runs networks, and does not train them here."""

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from fastsm._bench.timing import Call
from fastsm._bench.training.networks import Array, Network, Task

__all__ = ["CALLED", "predictors", "setup", "trainers"]

CALLED = (
    "Inference only: a graph of `Gemm`, activations and `Softmax`, input and output bound to arrays"
    " allocated beforehand."
)
_OPSET = 18
_threads = 1


def setup(threads: int) -> str:
    """Remember the number of threads: each session is limited by itself."""
    global _threads
    _threads = threads
    ort.set_default_logger_severity(3)
    return str(ort.__version__)


def trainers(task: Task) -> list[Any]:
    """Return nothing: it only runs networks here."""
    return []


def predictors(network: Network, x: Array) -> list[Call]:
    """Return a run with bound arrays."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = _threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(
        _model(network, len(x)).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    out = np.empty((len(x), network.sizes[-1]), np.float32)
    binding = session.io_binding()
    for bind, name, array in ((binding.bind_input, "x0", x), (binding.bind_output, "y", out)):
        bind(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
    run = session.run_with_iobinding
    return [Call("onnxruntime", "bound", lambda: run(binding), read=lambda _: out)]


def _model(network: Network, rows: int) -> Any:
    activation = "Relu" if network.activation == "relu" else "Tanh"
    nodes, constants = [], []
    last = len(network.sizes) - 2
    for i, (w, b) in enumerate(network.weights()):
        constants += [numpy_helper.from_array(w, f"w{i}"), numpy_helper.from_array(b, f"b{i}")]
        nodes.append(helper.make_node("Gemm", [f"x{i}", f"w{i}", f"b{i}"], [f"z{i}"]))
        nodes.append(
            helper.make_node("Softmax", [f"z{i}"], ["y"], axis=-1)
            if i == last
            else helper.make_node(activation, [f"z{i}"], [f"x{i + 1}"])
        )
    described = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [rows, size])
        for name, size in (("x0", network.sizes[0]), ("y", network.sizes[-1]))
    ]
    graph = helper.make_graph(nodes, "network", described[:1], described[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=9)
    onnx.checker.check_model(model)
    return model

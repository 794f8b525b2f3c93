"""ONNX Runtime: one-node models with inputs and outputs bound to arrays allocated beforehand."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnx import TensorProto, helper

from fastsm._bench.kernels.cells import Cell
from fastsm._bench.timing import Call

CALLED = (
    "Models of one node, with inputs and output bound to aligned arrays that were allocated beforehand"
    " (`run_with_iobinding`), without spinning threads."
)

_OPSET = 18
_NODES = {
    "softmax": "Softmax",
    "log_softmax": "LogSoftmax",
    "logsumexp": "ReduceLogSumExp",
    "cross_entropy": "SoftmaxCrossEntropyLoss",  # a function of the standard: expanded into simpler nodes
}
_TYPES = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE, "int64": TensorProto.INT64}
_TYPES |= {"float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16}
_threads = 1


def setup(threads: int) -> str:
    """Remember the number of threads for the sessions, and return the version."""
    global _threads
    _threads = threads
    ort.set_default_logger_severity(3)
    return str(ort.__version__)


def calls(cell: Cell) -> list[Call]:
    """Return the one way there is; the loss has its classes last but in images."""
    if cell.operation not in _NODES or (cell.operation == "cross_entropy" and cell.axis != -1):
        return []
    inputs = {"x": cell.aligned("x")}
    out = cell.aligned("out")
    if cell.operation == "cross_entropy":
        inputs["targets"] = cell.targets
        out = np.zeros((), cell.x.dtype)
    run = _bound(_model(cell, inputs, out), inputs, out)
    return [Call("onnxruntime", _NODES[cell.operation], run, read=lambda _: out)]


def _bound(model: onnx.ModelProto, inputs: dict[str, NDArray[Any]], out: NDArray[Any]) -> Callable[[], None]:
    session = ort.InferenceSession(model.SerializeToString(), _options(), providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    for name, array in inputs.items():
        binding.bind_input(name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
    binding.bind_output("y", "cpu", 0, out.dtype, out.shape, out.ctypes.data)
    return lambda: session.run_with_iobinding(binding)


def _options() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads = _threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _model(cell: Cell, inputs: dict[str, NDArray[Any]], out: NDArray[Any]) -> onnx.ModelProto:
    names, constants = list(inputs), []
    attributes: dict[str, Any] = {}
    if cell.operation == "logsumexp":
        names.append("axes")
        constants.append(helper.make_tensor("axes", TensorProto.INT64, [1], [cell.axis % 2]))
        attributes["keepdims"] = 0
    elif cell.operation == "cross_entropy":
        attributes["reduction"] = "mean"
    else:
        attributes["axis"] = cell.axis
    node = helper.make_node(_NODES[cell.operation], names, ["y"], **attributes)
    described = [_info(name, array) for name, array in inputs.items()]
    graph = helper.make_graph([node], cell.operation, described, [_info("y", out)], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=9)


def _info(name: str, array: NDArray[Any]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, _TYPES[array.dtype.name], list(array.shape))

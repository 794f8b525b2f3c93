"""ONNX Runtime: graphs whose inputs and output are bound to arrays allocated beforehand."""

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from timing import Call

CALLED = (
    "Models of one node, `Softmax` or `LogSoftmax`, with input and output bound to arrays that were allocated"
    " beforehand (`run_with_iobinding`), without spinning threads. Inference: a graph of `Gemm`, activations"
    " and `Softmax`, bound in the same way. It has no gradients, and trains no networks here."
)
TYPES = {
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
}
_threads = 1


def setup(threads):
    """Remember the number of threads for the sessions, and return the version."""
    global _threads
    _threads = threads
    ort.set_default_logger_severity(3)
    return ort.__version__


def kernels(cell):
    """Return the only way."""
    names = {"softmax": "Softmax", "log_softmax": "LogSoftmax"}
    if cell.operation not in names:
        return []
    node = helper.make_node(names[cell.operation], ["x"], ["y"], axis=cell.axis)
    return [_bound(names[cell.operation], [node], [], cell.x, cell.out)]


def predictors(network, x):
    """Return a run of the whole network."""
    nodes, constants = [], []
    last = len(network.sizes) - 2
    for i, (w, b) in enumerate(network.weights()):
        constants += [numpy_helper.from_array(w, f"w{i}"), numpy_helper.from_array(b, f"b{i}")]
        nodes.append(helper.make_node("Gemm", [f"a{i}" if i else "x", f"w{i}", f"b{i}"], [f"z{i}"]))
        if i == last:
            nodes.append(helper.make_node("Softmax", [f"z{i}"], ["y"], axis=-1))
        else:
            kind = "Relu" if network.activation == "relu" else "Tanh"
            nodes.append(helper.make_node(kind, [f"z{i}"], [f"a{i + 1}"]))
    out = np.empty((len(x), network.sizes[-1]), np.float32)
    return [_bound("network", nodes, constants, x, out)]


def _bound(name, nodes, constants, x, out):
    """Return the call of a graph from x to y."""
    infos = [
        helper.make_tensor_value_info(name, TYPES[array.dtype.name], list(array.shape))
        for name, array in (("x", x), ("y", out))
    ]
    graph = helper.make_graph(nodes, name, infos[:1], infos[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    options = ort.SessionOptions()
    options.intra_op_num_threads = _threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    binding.bind_input("x", "cpu", 0, x.dtype, x.shape, x.ctypes.data)
    binding.bind_output("y", "cpu", 0, out.dtype, out.shape, out.ctypes.data)
    return Call("onnxruntime", name, lambda: session.run_with_iobinding(binding), read=lambda _: out)

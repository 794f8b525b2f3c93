"""How ``fastsm bench`` calls each library: as its users do.

Each function here takes a number of threads and the name of a dtype. It returns the library's version, and by
operation a function from the arrays to the call that is timed; it raises ImportError where the library is
not installed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import fastsm
from fastsm.typing import Array

__all__ = ["LIBRARIES", "Ways"]

Ways = dict[str, Callable[..., Callable[[], Any]]]


def _fastsm(threads: int, dtype: str) -> tuple[str, Ways]:
    fastsm.set_num_threads(threads)

    def way(function: Callable[..., Any]) -> Callable[..., Callable[[], Any]]:
        return lambda x, *others: partial(function, x, *others, out=np.empty_like(x))

    functions = (fastsm.softmax, fastsm.softmax_vjp, fastsm.cross_entropy_with_grad)
    return fastsm.__version__, {function.__name__: way(function) for function in functions}


def _numpy(threads: int, dtype: str) -> tuple[str, Ways]:
    """Write the formulas plainly; NumPy computes them on one thread."""

    def softmax(x: Array) -> Array:
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        return np.asarray(e / e.sum(axis=-1, keepdims=True))

    def softmax_vjp(y: Array, dy: Array) -> Array:
        return np.asarray(y * (dy - (y * dy).sum(axis=-1, keepdims=True)))

    def cross_entropy_with_grad(x: Array, labels: Array) -> tuple[Array, Array]:
        rows = np.arange(len(x))
        z = x - x.max(axis=-1, keepdims=True)
        log_p = z - np.log(np.exp(z).sum(axis=-1, keepdims=True))
        grad = np.exp(log_p)
        grad[rows, labels] -= 1
        grad /= len(x)
        return -log_p[rows, labels].mean(), grad

    functions = (softmax, softmax_vjp, cross_entropy_with_grad)
    return np.__version__, {function.__name__: partial(partial, function) for function in functions}


def _scipy(threads: int, dtype: str) -> tuple[str, Ways]:
    import scipy
    from scipy import special

    return scipy.__version__, {"softmax": lambda x: partial(special.softmax, x, axis=-1)}


def _torch(threads: int, dtype: str) -> tuple[str, Ways]:
    import torch

    torch.set_num_threads(threads)
    tensor = torch.from_numpy

    def softmax_vjp(y: Array, dy: Array) -> Callable[[], Any]:
        # What its autograd runs.
        return partial(torch._softmax_backward_data, tensor(dy), tensor(y), -1, tensor(y).dtype)

    def cross_entropy_with_grad(x: Array, labels: Array) -> Callable[[], Any]:
        logits, targets = tensor(x).requires_grad_(), tensor(labels)

        def call() -> tuple[Any, Any]:
            loss = torch.nn.functional.cross_entropy(logits, targets)
            (grad,) = torch.autograd.grad(loss, logits)
            return loss.detach(), grad

        return call

    return torch.__version__, {
        "softmax": lambda x: partial(torch.softmax, tensor(x), -1),
        "softmax_vjp": softmax_vjp,
        "cross_entropy_with_grad": cross_entropy_with_grad,
    }


def _onnxruntime(threads: int, dtype: str) -> tuple[str, Ways]:
    """Run a model of one node, which the package onnx writes."""
    import onnxruntime
    from onnx import helper

    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    x, y = (helper.make_tensor_value_info(name, kind, ["rows", "classes"]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Softmax", ["x"], ["y"], axis=-1)], "softmax", [x], [y])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return onnxruntime.__version__, {"softmax": lambda x: lambda: session.run(None, {"x": x})[0]}


LIBRARIES: dict[str, Callable[[int, str], tuple[str, Ways]]] = {
    "fastsm": _fastsm,
    "numpy": _numpy,
    "scipy": _scipy,
    "torch": _torch,
    "onnxruntime": _onnxruntime,
}

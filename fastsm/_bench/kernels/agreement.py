"""Reference results in float64, and how near to them a result must be before its way is timed."""

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsm._bench.kernels.cells import HALF, Cell, dtype_of, log_softmax

__all__ = ["disagreement", "reference"]

# Differences beyond this many machine epsilons mean another operation, not another order of additions.
# Half precision has no room for that many: there they tell whether sums were carried in float32.
_EPSILONS = 1000
_EPSILONS_OF_HALF = 16

Results = tuple[Any, ...]


def disagreement(cell: Cell, got: object, expected: Results) -> str | None:
    """Return how far a result is from the reference, if it is too far."""
    values = got if isinstance(got, tuple) else (got,)
    if len(values) != len(expected):
        return f"{len(values)} results, not {len(expected)}"
    for value, wanted in zip(values, expected, strict=True):
        message = _difference(np.asarray(value).astype(np.float64), np.asarray(wanted), cell.dtype)
        if message is not None:
            return message
    return None


def reference(cell: Cell) -> Results:
    """Return the operation's results in float64, from the same rounded inputs."""
    axis = cell.axis
    if cell.operation == "softmax_vjp":
        y, dy = cell.y.astype(np.float64), cell.dy.astype(np.float64)
        return (y * (dy - (y * dy).sum(axis, keepdims=True)),)
    if cell.operation == "log_softmax_vjp":
        log_y, dy = cell.log_y.astype(np.float64), cell.dy.astype(np.float64)
        return (dy - np.exp(log_y) * dy.sum(axis, keepdims=True),)
    log_p = log_softmax(cell.x, axis)
    if cell.operation == "softmax":
        return (np.exp(log_p),)
    if cell.operation == "log_softmax":
        return (log_p,)
    if cell.operation == "logsumexp":
        return (cell.x.max(axis) - log_p.max(axis),)
    loss = -log_p[cell.index].mean()
    if cell.operation == "cross_entropy":
        return (loss,)
    grad = np.exp(log_p)
    grad[cell.index] -= 1
    return loss, grad / cell.rows


def _difference(got: NDArray[np.float64], expected: NDArray[np.float64], dtype: str) -> str | None:
    if got.shape != expected.shape:
        return f"shape {got.shape}, not {expected.shape}"
    finite = np.isfinite(expected)
    if not np.array_equal(got[~finite], expected[~finite]):
        return "a result that should be infinite is not"
    got, expected = got[finite], expected[finite]
    epsilon, least = _limits(dtype)
    count = _EPSILONS_OF_HALF if dtype in HALF else _EPSILONS
    # Half a subnormal number is lost when a small result is rounded.
    allowed = count * epsilon * (np.abs(expected) + 0.1 * np.abs(expected).max()) + least / 2
    error = np.abs(got - expected)
    if np.all(error <= allowed):
        return None
    return f"differs by {np.max(error / allowed):.3g} times the tolerance"


def _limits(dtype: str) -> tuple[float, float]:
    """Return the machine epsilon and the least subnormal number."""
    if dtype == "bfloat16":
        information: Any = import_module("ml_dtypes").finfo(dtype_of(dtype))
    else:
        information = np.finfo(dtype)
    return float(information.eps), float(information.smallest_subnormal)

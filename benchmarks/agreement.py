"""Reference results in float64, and the tolerance that a result must meet before it is timed."""

from typing import Any

import numpy as np

from cells import HALF, Cell, dtype_of, log_softmax

# Differences beyond this many machine epsilons mean another operation, not another order of additions.
# Half precision is too coarse for that: there they show whether sums were kept in float32.
_EPSILONS = 1000
_EPSILONS_OF_HALF = 16

Results = tuple[Any, ...]


def disagreement(cell: Cell, got: object, expected: Results) -> str | None:
    """Return the distance of a result from the reference, if it is too large."""
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
    if cell.is_vjp:
        saved, dy = cell.saved.astype(np.float64), cell.given.astype(np.float64)
        if cell.operation == "softmax_vjp":
            return (saved * (dy - (saved * dy).sum(axis, keepdims=True)),)
        return (dy - np.exp(saved) * dy.sum(axis, keepdims=True),)
    log_p = log_softmax(cell.x, axis)
    if cell.operation == "log_softmax":
        return (log_p,)
    p = np.exp(log_p)
    if cell.operation == "softmax":
        return (p,)
    p[cell.index] -= 1
    return -log_p[cell.index].mean(), p / cell.rows


def _difference(got: Any, expected: Any, dtype: str) -> str | None:
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
        import ml_dtypes

        information: Any = ml_dtypes.finfo(dtype_of(dtype))
    else:
        information = np.finfo(dtype)
    return float(information.eps), float(information.smallest_subnormal)

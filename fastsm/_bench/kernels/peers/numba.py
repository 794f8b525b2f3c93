"""numba: the loops over rows as one writes them, jitted; in parallel where there are threads.

Each row is done at once, in a few passes over it. With and without ``fastmath``, which lets the compiler
reorder sums, and so use vectors for them; both must agree with the reference like everybody else.
"""

from collections.abc import Callable
from functools import cache
from math import exp, log
from typing import Any

import numba
from numba import prange

from fastsm._bench.kernels.cells import HALF, Cell
from fastsm._bench.timing import Call

CALLED = (
    "`numba.njit` of a plain loop over the rows into an output allocated beforehand, and in place; with"
    " `fastmath` off and on, with `prange` over the rows where there are several threads. It has no axis."
)

_threads = 1


def setup(threads: int) -> str:
    """Remember the number of threads, and return the version."""
    global _threads
    _threads = threads
    if threads > 1:
        numba.set_num_threads(threads)
    return str(numba.__version__)


def calls(cell: Cell) -> list[Call]:
    """Return the jitted loops; they are compiled by their first call."""
    if cell.axis != -1 or cell.dtype in HALF:
        return []
    return [call for fastmath in (False, True) for call in _ways(cell, fastmath)]


def _ways(cell: Cell, fastmath: bool) -> list[Call]:
    function = _jitted(_LOOPS[cell.operation], fastmath, _threads > 1)
    suffix = " fastmath" if fastmath else ""
    x, dy, out, z, targets = cell.x, cell.dy, cell.out, cell.scratch, cell.targets
    if cell.operation == "cross_entropy":
        return [Call("numba", f"njit{suffix}", lambda: function(x, targets))]
    if cell.operation == "logsumexp":
        return [Call("numba", f"out{suffix}", lambda: function(x, out), read=lambda _: out)]
    if cell.operation == "cross_entropy_with_grad":
        into = lambda: (function(x, targets, out), out)  # noqa: E731
        in_place = lambda: (function(z, targets, z), z)  # noqa: E731
        return [Call("numba", f"out{suffix}", into), _in_place(cell, suffix, in_place)]
    if cell.operation.endswith("_vjp"):
        y = getattr(cell, cell.saved)
        into = lambda: function(y, dy, out)  # noqa: E731
        in_place = lambda: function(y, z, z)  # noqa: E731
    else:
        into = lambda: function(x, out)  # noqa: E731
        in_place = lambda: function(z, z)  # noqa: E731
    found = _in_place(cell, suffix, in_place)
    found.read = lambda _: z
    return [Call("numba", f"out{suffix}", into, read=lambda _: out), found]


def _in_place(cell: Cell, suffix: str, run: Callable[[], object]) -> Call:
    return Call("numba", f"in place{suffix}", run, restore=cell.refill, most_calls=cell.most_in_place)


@cache
def _jitted(function: Callable[..., Any], fastmath: bool, parallel: bool) -> Callable[..., Any]:
    jitted: Callable[..., Any] = numba.njit(
        function, fastmath=fastmath, parallel=parallel, error_model="numpy"
    )
    return jitted


# ---- the loops; the output may be the input


def _softmax(x: Any, out: Any) -> None:
    for i in prange(x.shape[0]):
        largest = x[i].max()
        total = x.dtype.type(0)
        for j in range(x.shape[1]):
            out[i, j] = exp(x[i, j] - largest)
            total += out[i, j]
        scale = 1 / total
        for j in range(x.shape[1]):
            out[i, j] *= scale


def _log_softmax(x: Any, out: Any) -> None:
    for i in prange(x.shape[0]):
        largest = x[i].max()
        total = x.dtype.type(0)
        for j in range(x.shape[1]):
            total += exp(x[i, j] - largest)
        shift = largest + log(total)
        for j in range(x.shape[1]):
            out[i, j] = x[i, j] - shift


def _logsumexp(x: Any, out: Any) -> None:
    for i in prange(x.shape[0]):
        largest = x[i].max()
        total = x.dtype.type(0)
        for j in range(x.shape[1]):
            total += exp(x[i, j] - largest)
        out[i] = largest + log(total)


def _softmax_vjp(y: Any, dy: Any, out: Any) -> None:
    for i in prange(y.shape[0]):
        total = y.dtype.type(0)
        for j in range(y.shape[1]):
            total += y[i, j] * dy[i, j]
        for j in range(y.shape[1]):
            out[i, j] = y[i, j] * (dy[i, j] - total)


def _log_softmax_vjp(log_y: Any, dy: Any, out: Any) -> None:
    for i in prange(log_y.shape[0]):
        total = log_y.dtype.type(0)
        for j in range(log_y.shape[1]):
            total += dy[i, j]
        for j in range(log_y.shape[1]):
            out[i, j] = dy[i, j] - exp(log_y[i, j]) * total


def _cross_entropy(x: Any, targets: Any) -> Any:
    loss = 0.0
    for i in prange(x.shape[0]):
        largest = x[i].max()
        total = x.dtype.type(0)
        for j in range(x.shape[1]):
            total += exp(x[i, j] - largest)
        loss += largest + log(total) - x[i, targets[i]]
    return loss / x.shape[0]


def _cross_entropy_with_grad(x: Any, targets: Any, out: Any) -> Any:
    loss = 0.0
    for i in prange(x.shape[0]):
        largest = x[i].max()
        of_target = x[i, targets[i]]
        total = x.dtype.type(0)
        for j in range(x.shape[1]):
            out[i, j] = exp(x[i, j] - largest)
            total += out[i, j]
        loss += largest + log(total) - of_target
        scale = 1 / (total * x.shape[0])
        for j in range(x.shape[1]):
            out[i, j] *= scale
        out[i, targets[i]] -= 1 / x.shape[0]
    return loss / x.shape[0]


_LOOPS: dict[str, Callable[..., Any]] = {
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "logsumexp": _logsumexp,
    "softmax_vjp": _softmax_vjp,
    "log_softmax_vjp": _log_softmax_vjp,
    "cross_entropy": _cross_entropy,
    "cross_entropy_with_grad": _cross_entropy_with_grad,
}

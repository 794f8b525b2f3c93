"""NumPy: the formulas as one writes them, and once more with every array allocated beforehand."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsm._bench.kernels.cells import Cell
from fastsm._bench.timing import Call

CALLED = (
    "`numpy`: the formulas as one writes them. `numpy out=`: every array allocated beforehand, the ufuncs'"
    " own `reduce`, and in place where that is possible. NumPy computes this on one thread."
)

Array = NDArray[Any]


def setup(threads: int) -> str:
    """Return the version."""
    return np.__version__


def calls(cell: Cell) -> list[Call]:
    """Return the formulas, and the same with every array allocated beforehand."""
    plain = Call("numpy", "plain", _PLAIN[cell.operation](cell))
    reusing = _REUSING[cell.operation]
    if cell.operation.endswith("_vjp"):
        return [plain, Call("numpy out=", "out=", reusing(cell))]
    found = [plain, Call("numpy out=", "out=", reusing(cell, cell.x, cell.out))]
    if cell.operation in ("softmax", "log_softmax", "cross_entropy_with_grad"):
        in_place = reusing(cell, cell.scratch, cell.scratch)
        most = cell.most_in_place
        found.append(Call("numpy out=", "in place", in_place, restore=cell.refill, most_calls=most))
    return found


# ---- plain


def _softmax(cell: Cell) -> Callable[[], Any]:
    x, axis = cell.x, cell.axis

    def run() -> Any:
        e = np.exp(x - x.max(axis=axis, keepdims=True))
        return e / e.sum(axis=axis, keepdims=True)

    return run


def _log_softmax(cell: Cell) -> Callable[[], Any]:
    x, axis = cell.x, cell.axis

    def run() -> Any:
        z = x - x.max(axis=axis, keepdims=True)
        return z - np.log(np.exp(z).sum(axis=axis, keepdims=True))

    return run


def _logsumexp(cell: Cell) -> Callable[[], Any]:
    x, axis = cell.x, cell.axis

    def run() -> Any:
        m = x.max(axis=axis, keepdims=True)
        return m.squeeze(axis) + np.log(np.exp(x - m).sum(axis=axis))

    return run


def _softmax_vjp(cell: Cell) -> Callable[[], Any]:
    y, dy, axis = cell.y, cell.dy, cell.axis
    return lambda: y * (dy - (y * dy).sum(axis=axis, keepdims=True))


def _log_softmax_vjp(cell: Cell) -> Callable[[], Any]:
    log_y, dy, axis = cell.log_y, cell.dy, cell.axis
    return lambda: dy - np.exp(log_y) * dy.sum(axis=axis, keepdims=True)


def _cross_entropy(cell: Cell) -> Callable[[], Any]:
    log_softmax, index = _log_softmax(cell), cell.index
    return lambda: -log_softmax()[index].mean()


def _cross_entropy_with_grad(cell: Cell) -> Callable[[], Any]:
    log_softmax, index, rows = _log_softmax(cell), cell.index, cell.rows

    def run() -> Any:
        log_p = log_softmax()
        grad = np.exp(log_p)
        grad[index] -= 1
        grad /= rows
        return -log_p[index].mean(), grad

    return run


_PLAIN: dict[str, Callable[[Cell], Callable[[], Any]]] = {
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "logsumexp": _logsumexp,
    "softmax_vjp": _softmax_vjp,
    "log_softmax_vjp": _log_softmax_vjp,
    "cross_entropy": _cross_entropy,
    "cross_entropy_with_grad": _cross_entropy_with_grad,
}


# ---- with out= throughout; `out` may be `x`. The ufuncs' own reduce has the least overhead.


def _column(cell: Cell) -> Array:
    shape = (cell.rows, 1) if cell.axis == -1 else (1, cell.rows)
    return np.empty(shape, cell.x.dtype)


def _softmax_reusing(cell: Cell, x: Array, out: Array) -> Callable[[], Any]:
    axis, column = cell.axis, _column(cell)

    def run() -> Any:
        np.maximum.reduce(x, axis=axis, keepdims=True, out=column)
        np.subtract(x, column, out=out)
        np.exp(out, out=out)
        np.add.reduce(out, axis=axis, keepdims=True, out=column)
        np.reciprocal(column, out=column)
        return np.multiply(out, column, out=out)

    return run


def _log_softmax_reusing(cell: Cell, x: Array, out: Array) -> Callable[[], Any]:
    axis, column, e = cell.axis, _column(cell), np.empty_like(x)

    def run() -> Any:
        np.maximum.reduce(x, axis=axis, keepdims=True, out=column)
        np.subtract(x, column, out=out)
        np.exp(out, out=e)
        np.add.reduce(e, axis=axis, keepdims=True, out=column)
        np.log(column, out=column)
        return np.subtract(out, column, out=out)

    return run


def _logsumexp_reusing(cell: Cell, x: Array, out: Array) -> Callable[[], Any]:
    axis, largest, e = cell.axis, _column(cell), np.empty_like(x)
    flat = largest.reshape(-1)

    def run() -> Any:
        np.maximum.reduce(x, axis=axis, keepdims=True, out=largest)
        np.subtract(x, largest, out=e)
        np.exp(e, out=e)
        np.add.reduce(e, axis=axis, out=out)
        np.log(out, out=out)
        return np.add(out, flat, out=out)

    return run


def _softmax_vjp_reusing(cell: Cell) -> Callable[[], Any]:
    y, dy, out, axis, column = cell.y, cell.dy, cell.out, cell.axis, _column(cell)
    flat = column.reshape(-1)
    vecdot: Any = np.vecdot  # whose type has no `axis`

    def run() -> Any:
        vecdot(y, dy, axis=axis, out=flat)
        np.subtract(dy, column, out=out)
        return np.multiply(out, y, out=out)

    return run


def _log_softmax_vjp_reusing(cell: Cell) -> Callable[[], Any]:
    log_y, dy, out, axis, column = cell.log_y, cell.dy, cell.out, cell.axis, _column(cell)

    def run() -> Any:
        np.add.reduce(dy, axis=axis, keepdims=True, out=column)
        np.exp(log_y, out=out)
        np.multiply(out, column, out=out)
        return np.subtract(dy, out, out=out)

    return run


def _cross_entropy_reusing(cell: Cell, x: Array, out: Array) -> Callable[[], Any]:
    axis, column, e, index = cell.axis, _column(cell), np.empty_like(x), cell.index
    flat = column.reshape(-1)

    def run() -> Any:
        np.maximum.reduce(x, axis=axis, keepdims=True, out=column)
        np.subtract(x, column, out=e)
        chosen = e[index]
        np.exp(e, out=e)
        np.add.reduce(e, axis=axis, keepdims=True, out=column)
        np.log(column, out=column)
        return (flat - chosen).mean()

    return run


def _cross_entropy_with_grad_reusing(cell: Cell, x: Array, out: Array) -> Callable[[], Any]:
    axis, column, index = cell.axis, _column(cell), cell.index
    flat = column.reshape(-1)
    share = 1 / cell.rows

    def run() -> Any:
        np.maximum.reduce(x, axis=axis, keepdims=True, out=column)
        np.subtract(x, column, out=out)
        chosen = out[index]
        np.exp(out, out=out)
        np.add.reduce(out, axis=axis, keepdims=True, out=column)
        loss = (np.log(flat) - chosen).mean()
        np.divide(share, column, out=column)
        np.multiply(out, column, out=out)
        out[index] -= share
        return loss, out

    return run


_REUSING: dict[str, Callable[..., Callable[[], Any]]] = {
    "softmax": _softmax_reusing,
    "log_softmax": _log_softmax_reusing,
    "logsumexp": _logsumexp_reusing,
    "softmax_vjp": _softmax_vjp_reusing,
    "log_softmax_vjp": _log_softmax_vjp_reusing,
    "cross_entropy": _cross_entropy_reusing,
    "cross_entropy_with_grad": _cross_entropy_with_grad_reusing,
}

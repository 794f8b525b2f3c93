"""NumPy: the formulas as one writes them, and once more with every array allocated beforehand."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from _cells import Cell
from _timing import Call


def setup(threads: int) -> str:
    return np.__version__


def calls(cell: Cell) -> list[Call]:
    function, *inputs = _PLAIN[cell.operation]
    plain = Call("numpy", "plain", partial(function, *(getattr(cell, name) for name in inputs)))
    reusing = _REUSING[cell.operation]
    if cell.operation.endswith("_vjp"):
        return [plain, Call("numpy out=", "out=", reusing(cell))]
    found = [plain, Call("numpy out=", "out=", reusing(cell, cell.x, cell.out))]
    if cell.operation in ("softmax", "log_softmax", "cross_entropy_with_grad"):
        in_place = reusing(cell, cell.scratch, cell.scratch)
        found.append(Call("numpy out=", "in place", in_place, restore=cell.refill))
    return found


# ---- plain


def _softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def _log_softmax(x: np.ndarray) -> np.ndarray:
    z = x - x.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def _logsumexp(x: np.ndarray) -> np.ndarray:
    m = x.max(axis=-1, keepdims=True)
    return m[..., 0] + np.log(np.exp(x - m).sum(axis=-1))


def _softmax_vjp(y: np.ndarray, dy: np.ndarray) -> np.ndarray:
    return y * (dy - (y * dy).sum(axis=-1, keepdims=True))


def _log_softmax_vjp(log_y: np.ndarray, dy: np.ndarray) -> np.ndarray:
    return dy - np.exp(log_y) * dy.sum(axis=-1, keepdims=True)


def _cross_entropy(x: np.ndarray, targets: np.ndarray) -> np.floating:
    log_p = _log_softmax(x)
    return -log_p[np.arange(len(x)), targets].mean()


def _cross_entropy_with_grad(x: np.ndarray, targets: np.ndarray) -> tuple[np.floating, np.ndarray]:
    rows = np.arange(len(x))
    log_p = _log_softmax(x)
    grad = np.exp(log_p)
    grad[rows, targets] -= 1
    grad /= len(x)
    return -log_p[rows, targets].mean(), grad


_PLAIN: dict[str, tuple[Any, ...]] = {
    "softmax": (_softmax, "x"),
    "log_softmax": (_log_softmax, "x"),
    "logsumexp": (_logsumexp, "x"),
    "softmax_vjp": (_softmax_vjp, "y", "dy"),
    "log_softmax_vjp": (_log_softmax_vjp, "log_y", "dy"),
    "cross_entropy": (_cross_entropy, "x", "targets"),
    "cross_entropy_with_grad": (_cross_entropy_with_grad, "x", "targets"),
}


# ---- with out= throughout; `out` may be `x`. The ufuncs' own reduce has the least overhead.


def _column(cell: Cell) -> np.ndarray:
    return np.empty((cell.rows, 1), cell.dtype)


def _softmax_reusing(cell: Cell, x: np.ndarray, out: np.ndarray) -> Callable[[], np.ndarray]:
    column = _column(cell)

    def run() -> np.ndarray:
        np.maximum.reduce(x, axis=-1, keepdims=True, out=column)
        np.subtract(x, column, out=out)
        np.exp(out, out=out)
        np.add.reduce(out, axis=-1, keepdims=True, out=column)
        np.reciprocal(column, out=column)
        return np.multiply(out, column, out=out)

    return run


def _log_softmax_reusing(cell: Cell, x: np.ndarray, out: np.ndarray) -> Callable[[], np.ndarray]:
    column, e = _column(cell), np.empty_like(x)

    def run() -> np.ndarray:
        np.maximum.reduce(x, axis=-1, keepdims=True, out=column)
        np.subtract(x, column, out=out)
        np.exp(out, out=e)
        np.add.reduce(e, axis=-1, keepdims=True, out=column)
        np.log(column, out=column)
        return np.subtract(out, column, out=out)

    return run


def _logsumexp_reusing(cell: Cell, x: np.ndarray, out: np.ndarray) -> Callable[[], np.ndarray]:
    largest, e = _column(cell), np.empty_like(x)

    def run() -> np.ndarray:
        np.maximum.reduce(x, axis=-1, keepdims=True, out=largest)
        np.subtract(x, largest, out=e)
        np.exp(e, out=e)
        np.add.reduce(e, axis=-1, out=out)
        np.log(out, out=out)
        return np.add(out, largest[:, 0], out=out)

    return run


def _softmax_vjp_reusing(cell: Cell) -> Callable[[], np.ndarray]:
    y, dy, out, column = cell.y, cell.dy, cell.out, _column(cell)

    def run() -> np.ndarray:
        np.vecdot(y, dy, out=column[:, 0])
        np.subtract(dy, column, out=out)
        return np.multiply(out, y, out=out)

    return run


def _log_softmax_vjp_reusing(cell: Cell) -> Callable[[], np.ndarray]:
    log_y, dy, out, column = cell.log_y, cell.dy, cell.out, _column(cell)

    def run() -> np.ndarray:
        np.add.reduce(dy, axis=-1, keepdims=True, out=column)
        np.exp(log_y, out=out)
        np.multiply(out, column, out=out)
        return np.subtract(dy, out, out=out)

    return run


def _cross_entropy_reusing(cell: Cell, x: np.ndarray, out: np.ndarray) -> Callable[[], object]:
    column, e, rows, targets = _column(cell), np.empty_like(x), np.arange(cell.rows), cell.targets

    def run() -> object:
        np.maximum.reduce(x, axis=-1, keepdims=True, out=column)
        np.subtract(x, column, out=e)
        chosen = e[rows, targets]
        np.exp(e, out=e)
        np.add.reduce(e, axis=-1, keepdims=True, out=column)
        np.log(column, out=column)
        return (column[:, 0] - chosen).mean()

    return run


def _cross_entropy_with_grad_reusing(cell: Cell, x: np.ndarray, out: np.ndarray) -> Callable[[], object]:
    column, rows, targets = _column(cell), np.arange(cell.rows), cell.targets
    share = 1 / cell.rows

    def run() -> object:
        np.maximum.reduce(x, axis=-1, keepdims=True, out=column)
        np.subtract(x, column, out=out)
        chosen = out[rows, targets]
        np.exp(out, out=out)
        np.add.reduce(out, axis=-1, keepdims=True, out=column)
        loss = (np.log(column[:, 0]) - chosen).mean()
        np.divide(share, column, out=column)
        np.multiply(out, column, out=out)
        out[rows, targets] -= share
        return loss, out

    return run


_REUSING: dict[str, Callable[..., Callable[[], object]]] = {
    "softmax": _softmax_reusing,
    "log_softmax": _log_softmax_reusing,
    "logsumexp": _logsumexp_reusing,
    "softmax_vjp": _softmax_vjp_reusing,
    "log_softmax_vjp": _log_softmax_vjp_reusing,
    "cross_entropy": _cross_entropy_reusing,
    "cross_entropy_with_grad": _cross_entropy_with_grad_reusing,
}

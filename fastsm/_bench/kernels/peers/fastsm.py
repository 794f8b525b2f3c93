"""fastsm, with ``out=`` allocated beforehand, and in place."""

from collections.abc import Callable
from functools import partial
from typing import Any

import fastsm
from fastsm._bench.kernels.cells import Cell
from fastsm._bench.timing import Call

CALLED = (
    "The public functions, with `out=` allocated beforehand, and in place. Masked rows are masked by `where=`"
    " in each call; all others get logits that were set to -inf beforehand, which is their best way."
)


def setup(threads: int) -> str:
    """Set the number of threads, and return the version."""
    fastsm.set_num_threads(threads)
    return str(fastsm.__version__)


def calls(cell: Cell) -> list[Call]:
    """Return both ways; a loss alone has only one. Only a lambda is between clock and function."""
    if cell.operation.endswith("_vjp"):
        return _vjp(cell)
    if cell.operation.startswith("cross_entropy"):
        return _cross_entropy(cell)
    function, x, out, z = _function(cell), cell.x, cell.out, cell.scratch
    into = Call("fastsm", "out=", lambda: function(x, out=out))
    if cell.operation == "logsumexp":
        return [into]
    return [into, _in_place(cell, lambda: function(z, out=z))]


def _vjp(cell: Cell) -> list[Call]:
    function, y, dy, out, z = _function(cell), getattr(cell, cell.saved), cell.dy, cell.out, cell.scratch
    into = Call("fastsm", "out=", lambda: function(y, dy, out=out))
    return [into, _in_place(cell, lambda: function(y, z, out=z))]


def _cross_entropy(cell: Cell) -> list[Call]:
    function, x, targets, out, z = _function(cell), cell.x, cell.targets, cell.out, cell.scratch
    if cell.operation == "cross_entropy":
        return [Call("fastsm", "loss", lambda: function(x, targets))]
    into = Call("fastsm", "out=", lambda: function(x, targets, out=out))
    return [into, _in_place(cell, lambda: function(z, targets, out=z))]


def _in_place(cell: Cell, run: Callable[[], object]) -> Call:
    return Call("fastsm", "in place", run, restore=cell.refill, most_calls=cell.most_in_place)


def _function(cell: Cell) -> Callable[..., Any]:
    """Return the function, called as users call it: without `axis` where that is the default."""
    function: Callable[..., Any] = getattr(fastsm, cell.operation)
    if cell.axis != -1:
        function = partial(function, axis=cell.axis)
    return function if cell.where is None else partial(function, where=cell.where)

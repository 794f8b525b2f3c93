"""fastsm, with ``out=`` allocated beforehand, and in place."""

from collections.abc import Callable
from functools import partial
from typing import Any

import fastsm
from _cells import Cell
from _timing import Call


def setup(threads: int) -> str:
    fastsm.set_num_threads(threads)
    return str(fastsm.__version__)


def calls(cell: Cell) -> list[Call]:
    if cell.operation.endswith("_vjp"):
        return _vjp(cell)
    if cell.operation.startswith("cross_entropy"):
        return _cross_entropy(cell)
    function, x, out, z = _function(cell), cell.x, cell.out, cell.scratch
    into = Call("fastsm", "out=", lambda: function(x, out=out))
    if cell.operation == "logsumexp":
        return [into]
    return [into, Call("in place", "out=x", lambda: function(z, out=z), restore=cell.refill)]


def _vjp(cell: Cell) -> list[Call]:
    function, dy, out, z = _function(cell), cell.dy, cell.out, cell.scratch
    y = cell.y if cell.operation == "softmax_vjp" else cell.log_y
    in_place = Call("in place", "out=dy", lambda: function(y, z, out=z), restore=cell.refill)
    in_place.most_calls = cell.most_vjps
    return [Call("fastsm", "out=", lambda: function(y, dy, out=out)), in_place]


def _cross_entropy(cell: Cell) -> list[Call]:
    function, x, targets, out, z = _function(cell), cell.x, cell.targets, cell.out, cell.scratch
    if cell.operation == "cross_entropy":
        return [Call("fastsm", "loss", lambda: function(x, targets))]
    return [
        Call("fastsm", "out=", lambda: function(x, targets, out=out)),
        Call("in place", "out=logits", lambda: function(z, targets, out=z), restore=cell.refill),
    ]


def _function(cell: Cell) -> Callable[..., Any]:
    """The function, called as users call it: without `axis` where that is the default."""
    function = getattr(fastsm, cell.operation)
    return function if cell.axis == -1 else partial(function, axis=cell.axis)

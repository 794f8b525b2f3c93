"""thinc: the softmax and its backward pass of ``NumpyOps``."""

from thinc import __version__
from thinc.api import NumpyOps

from fastsm._bench.kernels.cells import HALF, Cell
from fastsm._bench.timing import Call

CALLED = (
    "`NumpyOps().softmax` (also with `inplace=True`) and `backprop_softmax`. It has no function for the"
    " others: its loss takes probabilities, and has another value."
)


def setup(threads: int) -> str:
    """Return the version; these functions run on one thread."""
    return str(__version__)


def calls(cell: Cell) -> list[Call]:
    """Return the ways that there are."""
    ops, axis = NumpyOps(), cell.axis
    if cell.dtype in HALF:
        return []
    if cell.operation == "softmax":
        x, z, most = cell.x, cell.scratch, cell.most_in_place
        in_place = lambda: ops.softmax(z, inplace=True, axis=axis)  # noqa: E731
        return [
            Call("thinc", "softmax", lambda: ops.softmax(x, axis=axis)),
            Call("thinc", "inplace=True", in_place, restore=cell.refill, most_calls=most),
        ]
    if cell.operation == "softmax_vjp":
        y, dy = cell.y, cell.dy
        return [Call("thinc", "backprop_softmax", lambda: ops.backprop_softmax(y, dy, axis=axis))]
    return []

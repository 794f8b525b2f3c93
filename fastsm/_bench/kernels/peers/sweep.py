"""The limit that memory sets: read and write the array once, in place; only read it if no array results."""

import numpy as np

from fastsm._bench.kernels.cells import HALF, Cell
from fastsm._bench.timing import Call

CALLED = (
    "The limit, not a library: one pass over the memory in place, `np.multiply(x, 1, out=x)`; where no array"
    " results, the maximum of the whole array."
)


def setup(threads: int) -> str:
    """Return NumPy's version; it sweeps on one thread."""
    return np.__version__


def calls(cell: Cell) -> list[Call]:
    """Return the sweep over the cell's logits, in half precision as 16-bit integers."""
    if cell.dtype in HALF:
        return _of_integers(cell)
    x, z = cell.x, cell.scratch
    if cell.operation in ("logsumexp", "cross_entropy"):
        return [Call("sweep", "max(x)", lambda: np.maximum.reduce(x, axis=None))]
    return [Call("sweep", "multiply(x, 1, out=x)", lambda: np.multiply(z, 1, out=z), restore=cell.refill)]


def _of_integers(cell: Cell) -> list[Call]:
    """NumPy converts half precision one number at a time, which is no limit of memory."""
    z = cell.scratch.view(np.int16)
    return [Call("sweep", "add(x, 1, out=x) of int16", lambda: np.add(z, 1, out=z), restore=cell.refill)]

"""The limit that memory sets: read and write the array once, in place; only read it if no array results."""

import numpy as np

from _cells import Cell
from _timing import Call


def setup(threads: int) -> str:
    return np.__version__


def calls(cell: Cell) -> list[Call]:
    x, z = cell.x, cell.scratch
    if cell.operation in ("logsumexp", "cross_entropy"):
        return [Call("sweep", "max(x)", lambda: np.maximum.reduce(x, axis=None))]
    return [Call("sweep", "multiply(x, 1, out=x)", lambda: np.multiply(z, 1, out=z), restore=cell.refill)]

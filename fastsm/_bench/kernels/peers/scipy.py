"""SciPy: the three functions of ``scipy.special``."""

import scipy
from scipy import special

from fastsm._bench.kernels.cells import Cell
from fastsm._bench.timing import Call

CALLED = "The functions of `scipy.special`, which take no `out=`."


def setup(threads: int) -> str:
    """Return the version; these functions run on one thread."""
    return str(scipy.__version__)


def calls(cell: Cell) -> list[Call]:
    """Return the one way there is."""
    if cell.operation not in ("softmax", "log_softmax", "logsumexp"):
        return []
    function, x, axis = getattr(special, cell.operation), cell.x, cell.axis
    return [Call("scipy", "special", lambda: function(x, axis=axis))]

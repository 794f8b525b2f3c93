"""What fastsm is to reach, in ratios of times measured side by side: those travel between machines."""

from _cells import Cell

GEOMETRIC_MEAN = 2.5
# C = 10 is the usual number of classes; with this many rows the cost of the call itself hardly counts.
MANY_ROWS = 100

CROSS_ENTROPY = "cross-entropy"
MANY_ROWS_OF_TEN = "many rows of 10"
SOFTMAX = "float32 softmax and log_softmax, C >= 100"
OTHERS = "every other cell"
OVER_PEERS = {CROSS_ENTROPY: 2.5, MANY_ROWS_OF_TEN: 2.0, SOFTMAX: 1.2, OTHERS: 1.5}

OVER_PLAIN_NUMPY = {MANY_ROWS_OF_TEN: 10.0, OTHERS: 4.0}

IN_PLACE_SWEEPS = {(256, 1000): 4.0, (4096, 1000): 2.2}
AXIS_0 = 1.5
# "No slower", with room for the noise of two measurements.
WIDE_RANGE = 1.05
ROW_OVER_TORCH = 1.0
ROW_OVER_NUMPY = 5.0


def group(cell: Cell) -> str:
    """Which of the targets over the fastest peer a cell has; the first that fits."""
    if cell.operation.startswith("cross_entropy"):
        return CROSS_ENTROPY
    if _is_many_rows_of_ten(cell):
        return MANY_ROWS_OF_TEN
    if cell.operation in ("softmax", "log_softmax") and cell.dtype == "float32" and cell.classes >= 100:
        return SOFTMAX
    return OTHERS


def over_fastest_peer(cell: Cell) -> float:
    """How many times faster than the fastest peer."""
    return OVER_PEERS[group(cell)]


def over_plain_numpy(cell: Cell) -> float | None:
    """How many times faster than NumPy plainly written, where there is such a target."""
    if cell.operation != "softmax" or cell.dtype != "float32":
        return None
    return OVER_PLAIN_NUMPY[MANY_ROWS_OF_TEN if _is_many_rows_of_ten(cell) else OTHERS]


def _is_many_rows_of_ten(cell: Cell) -> bool:
    return cell.classes == 10 and cell.rows >= MANY_ROWS

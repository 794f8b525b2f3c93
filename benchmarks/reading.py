"""Evaluate records: ratios to peers and to the limit, best time over best time."""

import math
from collections.abc import Iterable
from statistics import geometric_mean

from records import LIMIT, OURS, PEERS, Record

# The timed records of one cell, by candidate.
Cell = dict[str, Record]


def cells(records: Iterable[Record]) -> list[Cell]:
    """Return the cells in which fastsm was timed, in order."""
    found: dict[tuple[object, ...], Cell] = {}
    for record in records:
        if record.best is not None:
            place = (record.suite, record.group, record.cell, record.threads)
            found.setdefault(place, {})[record.candidate] = record
    return [cell for cell in found.values() if OURS in cell]


def peers(found: Iterable[Cell]) -> list[str]:
    """Return the peers of some cells, in the order of columns."""
    names = {name for cell in found for name in cell}
    return [name for name in PEERS if name in names]


def ratio(cell: Cell, name: str) -> float:
    """Return how many times as long as fastsm a candidate takes; NaN if it was not timed."""
    return cell[name].best / cell[OURS].best if name in cell else math.nan


def ratios(found: Iterable[Cell], peer: str) -> list[float]:
    """Return the ratios of all cells that the peer was timed in."""
    return [ratio(cell, peer) for cell in found if peer in cell]


def wins(cell: Cell) -> dict[str, float]:
    """Return the peers that are faster than fastsm, with their ratios (below 1), the fastest first."""
    if cell[OURS].unit == "%":
        return {}
    found = {name: ratio(cell, name) for name in peers([cell])}
    return dict(sorted(((n, r) for n, r in found.items() if r < 1), key=lambda pair: pair[1]))


def usual(found: Iterable[Cell]) -> dict[str, list[Cell]]:
    """Return the kernels' cells of usual float32 rows on one thread, by operation."""
    groups: dict[str, list[Cell]] = {}
    for cell in found:
        ours = cell[OURS]
        operation, _, setting = ours.group.partition(", ")
        if (ours.suite, setting, ours.threads) == ("kernels", "float32", 1):
            groups.setdefault(operation, []).append(cell)
    return groups


def mean(values: list[float]) -> float:
    """Return the geometric mean: swapping the two candidates inverts it."""
    return geometric_mean(values)


def share_of_limit(cell: Cell) -> str:
    """Return the limit's time as a share of fastsm's."""
    return f"{ratio(cell, LIMIT):.0%}" if LIMIT in cell else ""


def short(value: float) -> str:
    """Return a number with three digits, or with all digits before the point."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def factor(value: float) -> str:
    """Return a ratio as text, such as ``2.9x``; near 1 with more digits, ``1.03x``."""
    digits = 2 if value < 1.1 else 1 if value < 10 else 0
    return f"{value:.{digits}f}x"

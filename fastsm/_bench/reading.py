"""What the figures of a document say: who is fastest, how many times, and how near the limit.

A cell is one of the entries of "kernels", "training" and "inference": what was measured, and its timings. A
document holds no ratios; all of them are computed here, best over best.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import geometric_mean
from typing import Any

from fastsm._bench import CANDIDATES, LIMITS

__all__ = [
    "OURS",
    "Comparison",
    "best",
    "candidates",
    "comparisons",
    "factor",
    "fastest_peer",
    "label",
    "network_label",
    "of_limit",
    "per_element",
    "ratio",
    "short",
    "usual",
    "wins",
]

Cell = dict[str, Any]

OURS = "fastsm"


@dataclass(frozen=True)
class Comparison:
    """How many times as fast as a peer fastsm is, over some cells."""

    peer: str
    ratios: tuple[float, ...]

    @property
    def mean(self) -> float:
        """The geometric mean: that of a/b is the inverse of that of b/a."""
        return geometric_mean(self.ratios)

    @property
    def least(self) -> float:
        """The cell where the peer comes off best; below 1 it is faster there."""
        return min(self.ratios)

    @property
    def most(self) -> float:
        """The cell where the peer comes off worst."""
        return max(self.ratios)


def best(cell: Cell) -> dict[str, dict[str, Any]]:
    """Return the fastest timing of each candidate, whatever its variant."""
    found: dict[str, dict[str, Any]] = {}
    for timing in cell["timings"]:
        name = timing["candidate"]
        if name not in found or timing["best_ns"] < found[name]["best_ns"]:
            found[name] = timing
    return found


def candidates(cells: Iterable[Cell]) -> list[str]:
    """Return all candidates of some cells, in the order of columns; the limits are none."""
    names = dict.fromkeys(timing["candidate"] for cell in cells for timing in cell["timings"])
    known = [name for name in (OURS, *CANDIDATES) if name in names]
    return known + [name for name in names if name not in known and name not in LIMITS]


def ratio(cell: Cell, peer: str) -> float:
    """Return how many times as long as fastsm a candidate takes; NaN where one of the two is missing."""
    fastest = best(cell)
    if OURS not in fastest or peer not in fastest:
        return math.nan
    return float(fastest[peer]["best_ns"] / fastest[OURS]["best_ns"])


def of_limit(cell: Cell) -> float:
    """Return the limit's time as a fraction of fastsm's; NaN where one of the two is missing."""
    ratios = (ratio(cell, limit) for limit in LIMITS)
    return next((value for value in ratios if not math.isnan(value)), math.nan)


def fastest_peer(cell: Cell) -> str | None:
    """Return the peer that takes the least time, if there is any."""
    fastest = best(cell)
    peers = [name for name in candidates([cell]) if name != OURS]
    return min(peers, key=lambda name: float(fastest[name]["best_ns"]), default=None)


def wins(cell: Cell) -> dict[str, float]:
    """Return the peers that are faster than fastsm, with their ratios (below 1), the fastest first."""
    ratios = {name: ratio(cell, name) for name in candidates([cell])}
    return dict(sorted(((n, r) for n, r in ratios.items() if r < 1), key=lambda pair: pair[1]))


def comparisons(cells: Iterable[Cell]) -> list[Comparison]:
    """Return fastsm beside each peer over all cells that have both."""
    cells = list(cells)
    found = []
    for peer in candidates(cells):
        ratios = tuple(value for cell in cells if not math.isnan(value := ratio(cell, peer)))
        if peer != OURS and ratios:
            found.append(Comparison(peer, ratios))
    return found


def usual(document: dict[str, Any]) -> list[Cell]:
    """Return the kernels' cells that pictures show: rows of usual float32 logits, on the fewest threads."""
    cells = document.get("kernels", [])
    threads = min((cell["threads"] for cell in cells), default=1)
    wanted = {"dtype": "float32", "axis": -1, "logits": "usual", "threads": threads}
    return [cell for cell in cells if all(cell[name] == value for name, value in wanted.items())]


def per_element(cell: Cell, nanoseconds: float) -> float:
    """Return the time of an element of an array; a single row's whole time, which is that of a call."""
    return nanoseconds if cell["rows"] == 1 else nanoseconds / (cell["rows"] * cell["classes"])


def label(cell: Cell) -> str:
    """Return the shape in words, such as ``60,000 x 10``: rows x classes, on whichever axis these lie."""
    return f"{cell['rows']:,} x {cell['classes']:,}"


def network_label(cell: Cell) -> str:
    """Return a network and how it is fed, such as ``784-128-10 relu, batch 128``."""
    if cell.get("batch_size"):
        return f"{cell['network']}, batch {cell['batch_size']}"
    return f"{cell['network']}, " + ("one row" if cell["rows"] == 1 else f"{cell['rows']:,} rows")


def short(value: float) -> str:
    """Return a number with three digits, or all of those before the point."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def factor(value: float) -> str:
    """Return a ratio in words, such as ``2.9x``; near 1, where it matters who wins, ``1.03x``."""
    digits = 2 if value < 1.1 else 1 if value < 10 else 0
    return f"{value:.{digits}f}x"

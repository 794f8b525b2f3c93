"""The kernels' times as tables that a person can read."""

import math
from collections.abc import Sequence
from typing import Any

from fastsm._bench import reading

__all__ = ["table", "tables"]

Cell = dict[str, Any]

_LIMIT = "sweep"
_LEGEND = """\
Times: ns an element (one row: ns a call), each library's best way, * the fastest peer. peer: its time over
fastsm's. sweep: the limit, one pass over the memory in place. Rows x classes, on whichever axis they lie."""


def tables(document: dict[str, Any]) -> str:
    """Return an overview, then two tables of each kind of cell: times, and how near they are to the limit."""
    cells = document["kernels"]
    parts = [_overview(cells), _LEGEND]
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(_title(cell), []).append(cell)
    parts += [f"{title}\n{_group(group)}" for title, group in groups.items()]
    return "\n\n".join(parts)


def table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return columns as wide as their content: the first and the last to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    lines = []
    for row in (names, *rows):
        cells = [word.rjust(width) for word, width in zip(row[1:-1], widths[1:-1], strict=True)]
        lines.append("  ".join(["", row[0].ljust(widths[0]), *cells, row[-1]]).rstrip())
    return "\n".join(lines)


def _overview(cells: Sequence[Cell]) -> str:
    """Each peer's time over fastsm's, over all shapes of an operation."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(f"{cell['operation']}{_threads(cell)}", []).append(cell)
    peers = [name for name in reading.candidates(cells) if name != reading.OURS]
    rows = []
    for title, group in groups.items():
        means = {comparison.peer: f"{comparison.mean:.2f}" for comparison in reading.comparisons(group)}
        lost = sum(bool(reading.wins(cell)) for cell in group)
        note = f"a peer wins {lost} of {len(group)}" if lost else ""
        rows.append([title, *(means.get(peer, "") for peer in peers), note])
    title = "Kernels: time of each library over fastsm's, geometric mean over all shapes and dtypes"
    return f"{title}\n{table(['', *peers, ''], rows)}"


def _title(cell: Cell) -> str:
    axis = "" if cell["axis"] == -1 else ", axis 0"
    kind = "" if cell["logits"] == "usual" else f", {cell['logits']} logits"
    return f"{cell['operation']}, {cell['dtype']}{axis}{kind}{_threads(cell)}"


def _threads(cell: Cell) -> str:
    return "" if cell["threads"] == 1 else f", {cell['threads']} threads"


def _group(cells: Sequence[Cell]) -> str:
    names = reading.candidates(cells)
    times, shares = [], []
    for cell in cells:
        fastest, peer = reading.best(cell), reading.fastest_peer(cell)
        words = [
            f"{_short(reading.per_element(cell, fastest[name]['best_ns']))}{'*' if name == peer else ' '}"
            if name in fastest
            else ""
            for name in (*names, _LIMIT)
        ]
        over = math.nan if peer is None else reading.ratio(cell, peer)
        mark = f"{peer.upper()} WINS" if peer is not None and over < 1 else ""
        times.append([reading.label(cell), *words, _ratio(over), mark])
        shares.append([reading.label(cell), *(_share(fastest, name) for name in names), ""])
    lines = [table(["", *names, _LIMIT, "peer", ""], times)]
    lines += ["  the limit's time as a fraction of each:", table(["", *names, ""], shares), *_notes(cells)]
    return "\n".join(line for line in lines if line)


def _notes(cells: Sequence[Cell]) -> list[str]:
    """Which way of calling was the fastest peer's best, and what was not timed."""
    best = []
    for cell in cells:
        peer = reading.fastest_peer(cell)
        if peer is not None:
            best.append(f"{reading.label(cell)} {peer} ({reading.best(cell)[peer]['variant']})")
    lines = [f"  the fastest peers' best ways: {'; '.join(best)}"] if best else []
    for cell in cells:
        lines += [f"  {reading.label(cell)}: not timed: {n}: {why}" for n, why in cell["rejected"].items()]
    return lines


def _share(fastest: dict[str, Any], name: str) -> str:
    if name not in fastest or _LIMIT not in fastest:
        return ""
    return f"{fastest[_LIMIT]['best_ns'] / fastest[name]['best_ns']:.2f}"


def _short(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _ratio(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.2f}"

"""Tables of a document in Markdown, for benchmarks/page.py."""

from collections.abc import Callable, Iterable, Sequence
from math import isnan
from typing import Any

from fastsm._bench import reading

Cell = dict[str, Any]

# Next to it the text is bold: a mark that can be searched for.
MARK = "◄"
OUT_OF_PLACE = "fastsm out="


def overview(cells: Sequence[Cell]) -> str:
    """Return the geometric means over each peer, operation by operation, with the extremes."""
    peers = [name for name in reading.candidates(cells) if name != reading.OURS]
    groups = {
        f"`{operation}`": [cell for cell in cells if cell["operation"] == operation]
        for operation in dict.fromkeys(cell["operation"] for cell in cells)
    }
    groups["all of these"] = list(cells)
    rows = []
    for name, group in groups.items():
        found = {comparison.peer: comparison for comparison in reading.comparisons(group)}
        rows.append([name, *(_mean(found[peer]) if peer in found else "" for peer in peers)])
    return table(["", *peers], rows)


def wins(named: Iterable[tuple[str, Cell]]) -> str:
    """Return every cell where a peer is faster, those with the largest differences first."""
    found = sorted(
        ((min(peers.values()), name, peers) for name, cell in named if (peers := reading.wins(cell))),
        key=lambda entry: entry[:2],
    )
    rows = [
        [name, ", ".join(f"{p} {reading.factor(r)}" for p, r in peers.items())] for _, name, peers in found
    ]
    return table(["", "time over fastsm's"], rows, words=2)


def times(
    cells: Sequence[Cell], label: Callable[[Cell], str], scaled: Callable[[Cell, float], float], limit: str
) -> str:
    """Return a table of the best times of all candidates, with a row for each cell.

    `scaled` converts nanoseconds to the unit of the table; the title of the column with the shares of the
    limit is `limit`.
    """
    peers = [name for name in reading.candidates(cells) if name != reading.OURS]
    has_limit = any(not isnan(reading.of_limit(cell)) for cell in cells)
    # Of fastsm's two ways the better counts; the other is there for those who keep their input.
    has_two = any({"in place", "out="} <= set(_variants(cell)) for cell in cells)
    rows = []
    for cell in cells:
        best = reading.best(cell)
        row = [label(cell)]
        row.append(reading.short(scaled(cell, best[reading.OURS]["best_ns"])) if reading.OURS in best else "")
        if has_two:
            out = _variants(cell).get("out=")
            row.append("" if out is None else reading.short(scaled(cell, out)))
        if has_limit:
            share = reading.of_limit(cell)
            row.append("" if isnan(share) else f"{share:.0%}")
        row += [
            _peer(cell, peer, scaled(cell, best[peer]["best_ns"])) if peer in best else "" for peer in peers
        ]
        rows.append(row)
    columns = ["", reading.OURS, *[OUT_OF_PLACE] * has_two, *[limit] * has_limit, *peers]
    return table(columns, rows)


def rejections(named: Iterable[tuple[str, Cell]]) -> str:
    """Return a list of what was not timed, and why: each reason once, with the number of cells."""
    found: dict[str, list[str]] = {}
    for name, cell in named:
        for candidate, why in cell.get("rejected", {}).items():
            found.setdefault(f"{candidate}: {why}", []).append(name)
    lines = [
        f"- {escaped(reason)} ({names[0]}{f' and {len(names) - 1} more' if len(names) > 1 else ''})"
        for reason, names in found.items()
    ]
    return "Not timed, since it failed or did not agree:\n\n" + "\n".join(lines) if lines else ""


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], words: int = 1, last: int = 0) -> str:
    """Return a Markdown table, empty without rows; the first and last columns are words."""
    if not rows:
        return ""
    numbers = len(columns) - words - last
    lines = [columns, [*["---"] * words, *["---:"] * numbers, *["---"] * last], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def number(value: float | None, digits: int) -> str:
    """Return a number with so many digits after the point; empty where it is unknown."""
    return "" if value is None else f"{value:,.{digits}f}"


def escaped(text: str) -> str:
    """Return text from elsewhere as Markdown that shows it as it is, in a table too."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    for letter in "\\|*`[$":
        text = text.replace(letter, "\\" + letter)
    return text


def _mean(comparison: reading.Comparison) -> str:
    least, most = (reading.factor(ratio).removesuffix("x") for ratio in (comparison.least, comparison.most))
    text = f"{reading.factor(comparison.mean)} ({least} to {most})"
    text = f"**{text}**" if comparison.mean < 1 else text
    return f"{text} {MARK}" if comparison.least < 1 else text


def _peer(cell: Cell, peer: str, time: float) -> str:
    ratio = reading.ratio(cell, peer)
    if isnan(ratio):
        return reading.short(time)
    text = f"{reading.short(time)} ({reading.factor(ratio)})"
    return f"**{text}** {MARK}" if ratio < 1 else text


def _variants(cell: Cell) -> dict[str, float]:
    return {t["variant"]: t["best_ns"] for t in cell["timings"] if t["candidate"] == reading.OURS}

"""Measure kernels: let every library propose its calls, keep those that agree with a reference, time them."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from types import ModuleType

import numpy as np

import agreement
from cells import Cell, chosen
from records import LIMIT, Record, of_cell
from timing import Call, attempt, interleave

ROUNDS, SECONDS = 15, 0.5

Libraries = dict[str, ModuleType]


def measure(libraries: Libraries, threads: int, rounds: int | None, quick: bool) -> Iterator[Record]:
    """Yield the records of all cells."""
    for cell in chosen(quick, threads):
        yield from measure_cell(cell, libraries, threads, rounds, quick)


def measure_cell(
    cell: Cell, libraries: Libraries, threads: int, rounds: int | None, quick: bool
) -> list[Record]:
    """Return the records of one cell."""
    cell = replace(cell)  # frees its arrays at the end: the arrays of all cells would not fit in memory
    rejected: dict[tuple[str, str], str] = {}
    calls = agreeing(cell, proposed(cell, libraries, rejected), rejected)
    timings = interleave(calls, rounds or ROUNDS, 0.0 if quick or rounds else SECONDS)
    return of_cell("kernels", cell.group, cell.shape, threads, timings, rejected)


def proposed(cell: Cell, libraries: Libraries, rejected: dict[tuple[str, str], str]) -> list[Call]:
    """Return all libraries' calls; report libraries that fail."""
    calls: list[Call] = []
    for name, module in libraries.items():
        if hasattr(module, "kernels"):
            calls += attempt(rejected, (name, ""), module.kernels, cell) or []
    return calls


def agreeing(cell: Cell, calls: Iterable[Call], rejected: dict[tuple[str, str], str]) -> list[Call]:
    """Return the calls whose results agree with the reference."""
    expected = agreement.reference(cell)
    kept = []
    for call in calls:
        name = (call.candidate, call.way)
        if call.candidate != LIMIT:  # which computes nothing
            cell.out.fill(np.nan)  # clears the results of the previous call
            message = attempt(rejected, name, _disagreement, cell, call, expected)
            if message is not None:
                rejected[name] = message
        if name not in rejected:
            kept.append(call)
    return kept


def _disagreement(cell: Cell, call: Call, expected: agreement.Results) -> str | None:
    return agreement.disagreement(cell, call.once(), expected)

"""Measure a cell: let every library propose its calls, keep those that agree with a reference, time them."""

from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any

from fastsm._bench import LIMITS, Settings
from fastsm._bench.kernels import agreement
from fastsm._bench.kernels.cells import Cell, without_data
from fastsm._bench.libraries import Libraries
from fastsm._bench.timing import Call, attempt, interleave

__all__ = ["agreeing", "measure_cell", "proposed"]

_ROUNDS, _SECONDS = 15, 0.5
_QUICK_ROUNDS, _QUICK_SECONDS = 15, 0.0


def measure_cell(
    cell: Cell, libraries: Libraries, settings: Settings, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Return a cell's timings, and who was not timed and why."""
    start = perf_counter()
    cell = without_data(cell)
    rejected: dict[str, str] = {}
    calls = agreeing(cell, proposed(cell, libraries, rejected), rejected)
    calls = [call for call in calls if settings.wants(call.candidate)]
    rounds = settings.rounds or (_QUICK_ROUNDS if settings.quick else _ROUNDS)
    seconds = _QUICK_SECONDS if settings.quick or settings.rounds else _SECONDS
    timings = interleave(calls, rounds, seconds)
    threads = f" {settings.threads} threads" if settings.threads > 1 else ""
    why = "".join(f"; {name}: {message}" for name, message in rejected.items())
    tell(f"{cell.label}{threads}: {len(calls)} calls, {perf_counter() - start:.1f} s{why}")
    return {
        **cell.to_json(),
        "threads": settings.threads,
        "timings": [timing.to_json() for timing in timings],
        "rejected": rejected,
    }


def proposed(cell: Cell, libraries: Libraries, rejected: dict[str, str]) -> list[Call]:
    """Return all libraries' calls. A library that cannot do the cell is named, and the others go on."""
    calls: list[Call] = []
    for name, module in libraries.modules.items():
        calls += attempt(rejected, name, module.calls, cell) or []
    return calls


def agreeing(cell: Cell, calls: Iterable[Call], rejected: dict[str, str]) -> list[Call]:
    """Return the calls whose results agree with the reference: only those are worth timing."""
    expected = agreement.reference(cell)
    kept = []
    for call in calls:
        name = f"{call.candidate} ({call.variant})"
        if call.candidate not in LIMITS:  # which compute nothing
            cell.spoil_outputs()
            message = attempt(rejected, name, _disagreement, cell, call, expected)
            if message is not None:
                rejected[name] = message
        if name not in rejected:
            kept.append(call)
    return kept


def _disagreement(cell: Cell, call: Call, expected: agreement.Results) -> str | None:
    return agreement.disagreement(cell, call.once(), expected)

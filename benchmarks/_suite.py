"""Measure a cell: let every library propose its calls, keep those that agree with a reference, time them."""

import math
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from time import perf_counter
from types import ModuleType
from typing import Any

import _peers
import _targets
from _cells import Cell
from _timing import Call, Timing, fastest, interleave

Modules = dict[str, ModuleType]


@dataclass
class Result:
    """A cell's timings, the best way of calling each candidate, and who was not timed and why."""

    cell: Cell
    timings: list[Timing]
    rejected: dict[str, str]
    best: dict[str, Timing] = field(init=False)

    def __post_init__(self) -> None:
        self.best = fastest(self.timings)

    @property
    def fastest_peer(self) -> str | None:
        peers = [name for name in _peers.PEERS if name in self.best]
        return min(peers, key=lambda name: self.best[name].best, default=None)

    @property
    def ours(self) -> str | None:
        """fastsm's best way: like the peers, it may work in place."""
        found = [name for name in _peers.OURS if name in self.best]
        return min(found, key=lambda name: self.best[name].best, default=None)

    def ratio(self, other: str | None, ours: str | None = None) -> float:
        """How many times longer `other` takes than fastsm; NaN where one of them is missing."""
        ours = ours or self.ours
        if ours not in self.best or other not in self.best:
            return math.nan
        return self.best[other].best / self.best[ours].best

    def over_fastest_peer(self, ours: str | None = None) -> float:
        return self.ratio(self.fastest_peer, ours)

    @property
    def verdict(self) -> str:
        """Empty where the target is met."""
        ratio = self.over_fastest_peer()
        if math.isnan(ratio):
            return "not measured"
        if ratio <= 1:
            return "PEER WINS"
        return "" if ratio >= _targets.over_fastest_peer(self.cell) else "MISSED"

    def to_json(self) -> dict[str, Any]:
        cell = self.cell
        return {
            "operation": cell.operation,
            "dtype": cell.dtype,
            "shape": [cell.rows, cell.classes],
            "timings": [timing.to_json() for timing in self.timings],
            "rejected": self.rejected,
            "fastest_peer": self.fastest_peer,
            "over_fastest_peer": _number(self.over_fastest_peer()),
            "over_fastest_peer_out_of_place": _number(self.over_fastest_peer("fastsm")),
            "target": _targets.over_fastest_peer(cell),
            "over_plain_numpy": _number(self.ratio("numpy")),
            "target_over_plain_numpy": _targets.over_plain_numpy(cell),
            "verdict": self.verdict or "met",
        }


def measure(cells: Iterable[Cell], modules: Modules, rounds: int, seconds: float) -> list[Result]:
    """Time all candidates on each cell."""
    return [_measured(cell.without_data(), modules, rounds, seconds) for cell in cells]


def proposed(cell: Cell, modules: Modules, rejected: dict[str, str]) -> list[Call]:
    """All libraries' calls. A library that cannot do the cell is named, and the others go on."""
    calls: list[Call] = []
    for name, module in modules.items():
        calls += attempt(rejected, name, module.calls, cell) or []
    return calls


def agreeing(cell: Cell, calls: Iterable[Call], rejected: dict[str, str]) -> list[Call]:
    """The calls whose results agree with the reference: only those are worth timing."""
    kept = []
    for call in calls:
        name = f"{call.candidate} ({call.variant})"
        if call.candidate != _peers.LIMIT:  # which computes nothing
            cell.spoil_outputs()
            message = attempt(rejected, name, _disagreement, cell, call)
            if message is not None:
                rejected[name] = message
        if name not in rejected:
            kept.append(call)
    return kept


def attempt(rejected: dict[str, str], name: str, function: Callable[..., Any], *arguments: object) -> Any:
    """Run someone else's code: whatever it raises is a line in the report, not the end of the benchmark."""
    try:
        return function(*arguments)
    except Exception as error:
        rejected[name] = f"{type(error).__name__}: {error}".splitlines()[0]
        return None


def progress(text: str, start: float, rejected: dict[str, str]) -> None:
    """One line on standard error."""
    rejections = "".join(f"; {name}: {message}" for name, message in rejected.items())
    print(f"{text}, {perf_counter() - start:.1f} s{rejections}", file=sys.stderr, flush=True)


def _measured(cell: Cell, modules: Modules, rounds: int, seconds: float) -> Result:
    start = perf_counter()
    rejected: dict[str, str] = {}
    calls = agreeing(cell, proposed(cell, modules, rejected), rejected)
    timings = interleave(calls, rounds, seconds)
    progress(f"{cell.operation} {cell.dtype} {cell.label}: {len(calls)} calls", start, rejected)
    return Result(cell.without_data(), timings, rejected)


def _disagreement(cell: Cell, call: Call) -> str | None:
    return cell.disagreement(call.once())


def _number(value: float) -> float | None:
    """JSON has no NaN."""
    return None if math.isnan(value) else value

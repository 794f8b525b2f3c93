"""Cells that compare fastsm with itself or with a limit: other axes, wide logits, work in place, one row."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import _targets
from _cells import Cell
from _suite import Modules, agreeing, progress, proposed
from _timing import Call, Timing, fastest, interleave

_AXIS_SHAPES = ((4096, 1000), (60000, 10))
_WIDE_SHAPES = ((128, 10), (60000, 10), (256, 1000), (4096, 1000))
_QUICK_SHAPES = ((128, 10), (256, 1000))
_WIDE = 100.0


@dataclass
class Judgement:
    """A ratio of two times with its target. Of several on one side the fastest counts."""

    title: str
    cell: Cell
    numerator: tuple[str, ...]
    denominator: tuple[str, ...]
    target: float
    at_least: bool = False
    times: dict[str, Timing] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.cell = self.cell.without_data()

    @property
    def ratio(self) -> float:
        """NaN where one side was not measured."""
        upper, lower = self._time(self.numerator), self._time(self.denominator)
        return upper / lower

    @property
    def verdict(self) -> str:
        if math.isnan(self.ratio):
            return "not measured"
        met = self.ratio >= self.target if self.at_least else self.ratio <= self.target
        return "" if met else "MISSED"

    def _time(self, names: tuple[str, ...]) -> float:
        return min((self.times[name].best for name in names if name in self.times), default=math.nan)

    def to_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "operation": self.cell.operation,
            "dtype": self.cell.dtype,
            "shape": [self.cell.rows, self.cell.classes],
            "numerator": self.numerator,
            "denominator": self.denominator,
            "ratio": None if math.isnan(self.ratio) else self.ratio,
            "target": self.target,
            "at_least": self.at_least,
            "verdict": self.verdict or "met",
            "timings": [timing.to_json() for timing in self.times.values()],
        }


class Special:
    """Measures the special cells with the libraries and rounds of the main tables."""

    def __init__(self, modules: Modules, rounds: int, seconds: float, quick: bool) -> None:
        self.modules, self.rounds, self.seconds, self.quick = modules, rounds, seconds, quick

    def measure(self, operations: tuple[str, ...], dtypes: tuple[str, ...]) -> list[Judgement]:
        """All judgements for these operations and dtypes."""
        pairs = [(operation, dtype) for operation in operations for dtype in dtypes]
        on_logits = [pair for pair in pairs if not pair[0].endswith("_vjp")]
        found = [judgement for pair in pairs for judgement in self._axis_0(*pair)]
        found += [judgement for pair in on_logits for judgement in self._wide_range(*pair)]
        if "softmax" in operations:
            found += [judgement for dtype in dtypes for judgement in self._in_place(dtype)]
            found += [judgement for dtype in dtypes for judgement in self._one_row(dtype)]
        return found

    def _axis_0(self, operation: str, dtype: str) -> Iterator[Judgement]:
        for rows, classes in _QUICK_SHAPES if self.quick else _AXIS_SHAPES:
            last = Cell(operation, rows, classes, dtype)
            first = Cell(operation, rows, classes, dtype, axis=0)
            times = self._times({"axis=0": first, "axis=-1": last})
            title = "axis=0 over axis=-1 of the transpose"
            yield Judgement(title, first, ("axis=0",), ("axis=-1",), _targets.AXIS_0, times=times)

    def _wide_range(self, operation: str, dtype: str) -> Iterator[Judgement]:
        for rows, classes in _QUICK_SHAPES if self.quick else _WIDE_SHAPES:
            usual = Cell(operation, rows, classes, dtype)
            wide = replace(usual, scale=_WIDE * usual.scale)
            times = self._times({"wide": wide, "usual": usual})
            title = "logits times 100 over ordinary ones"
            yield Judgement(title, usual, ("wide",), ("usual",), _targets.WIDE_RANGE, times=times)

    def _in_place(self, dtype: str) -> Iterator[Judgement]:
        for (rows, classes), target in _targets.IN_PLACE_SWEEPS.items():
            if self.quick and rows > 1000:
                continue
            cell = Cell("softmax", rows, classes, dtype)
            times = self._interleaved("in place", self._pairs(cell, "fastsm", "sweep"))
            title = "in place over an in-place sweep"
            yield Judgement(title, cell, ("in place",), ("sweep",), target, times=times)

    def _one_row(self, dtype: str) -> Iterator[Judgement]:
        cell = Cell("softmax", 1, 10, dtype)
        times = self._interleaved("one row", self._pairs(cell, "fastsm", "numpy", "torch"))
        for name, others, target in (
            ("torch", ("torch",), _targets.ROW_OVER_TORCH),
            ("NumPy", ("numpy", "numpy out="), _targets.ROW_OVER_NUMPY),
        ):
            title = f"one row: {name} over fastsm in place"
            yield Judgement(title, cell, others, ("in place",), target, at_least=True, times=times)

    def _times(self, cells: dict[str, Cell]) -> dict[str, Timing]:
        """fastsm with ``out=`` on several cells, under their names."""
        pairs = [
            (cell, replace(call, candidate=name))
            for name, cell in cells.items()
            for _, call in self._pairs(cell, "fastsm")
            if call.candidate == "fastsm"
        ]
        return self._interleaved(" against ".join(cells), pairs)

    def _pairs(self, cell: Cell, *libraries: str) -> list[tuple[Cell, Call]]:
        modules = {name: self.modules[name] for name in libraries if name in self.modules}
        return [(cell, call) for call in proposed(cell, modules, {})]

    def _interleaved(self, title: str, pairs: list[tuple[Cell, Call]]) -> dict[str, Timing]:
        start = perf_counter()
        rejected: dict[str, str] = {}
        calls = [call for cell, call in pairs for call in agreeing(cell, [call], rejected)]
        times = fastest(interleave(calls, self.rounds, self.seconds))
        for cell, _ in pairs[:1]:
            progress(f"{title}: {cell.operation} {cell.dtype} {cell.label}", start, rejected)
        return times

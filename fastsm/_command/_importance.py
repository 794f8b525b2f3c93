"""Look at a table through its model: what each column is worth, and rows as they were in the table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from fastsm.data import Choice, Number, Table
from fastsm.typing import Array

__all__ = ["Importance", "cells", "permutation_importance"]

_REPEATS, _ROWS, _COLUMNS = 5, 2000, 500
_MOST_WORK = 4e10  # multiplications: some seconds


class Importance(NamedTuple):
    """How much the score falls when a column is shuffled: mean and standard deviation over the repeats."""

    column: str
    mean: float
    spread: float


def permutation_importance(
    table: Table, x: Array, y: Array, score: Callable[[Array, Array], float], seed: int, parameters: int
) -> tuple[list[Importance], int]:
    """Return the importance of each column, the largest first, and the number of rows that it took.

    All inputs of a column are shuffled together, 5 times (Breiman, "Random forests", 2001, section 10). For
    time's sake there are at most 500 columns, and of the rows a sample.
    """
    columns = list(_places(table))[:_COLUMNS]
    most = int(_MOST_WORK / (_REPEATS * len(columns) * max(parameters, 1)))
    rng = np.random.default_rng([seed, 3])
    rows = np.sort(rng.permutation(len(x))[: min(max(most, 100), _ROWS)])
    x, y = x[rows], y[rows]
    whole, found = score(x, y), []
    for column, place in columns:
        kept = x[:, place].copy()
        falls = []
        for _ in range(_REPEATS):
            x[:, place] = kept[rng.permutation(len(x))]
            falls.append(whole - score(x, y))
        x[:, place] = kept
        found.append(Importance(column.name, float(np.mean(falls)), float(np.std(falls, ddof=1))))
    return sorted(found, key=lambda one: -one.mean), len(rows)


def _places(table: Table) -> Iterator[tuple[Number | Choice, slice]]:
    """Return the columns, each with the place of its inputs."""
    first = 0
    for column in table.columns:
        yield column, slice(first, first + column.width)
        first += column.width


def cells(table: Table, row: Array) -> dict[str, str]:
    """Return the cells of a row of inputs, as far as the inputs tell: numbers to 6 digits."""
    result = {}
    for column, place in _places(table):
        inputs = row[place].astype(np.float64)
        if isinstance(column, Number):
            value = inputs[0] * column.deviation + column.mean
            if abs(value) < 1e-6 * column.deviation:  # 0, but for the rounding of the inputs
                value = 0.0
            words = "" if column.median is not None and inputs[1] > 0 else f"{value:.6g}"
        else:
            values = ["" if value is None else value for value in column.values] + ["other"]
            words = values[int(inputs.argmax())] if inputs.any() else "other"
        result[column.name] = words
    return result

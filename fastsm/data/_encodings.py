"""How a column of a table becomes inputs of a model, and the check of records that are not trusted."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastsm.data._columns import Column, Texts, as_text, check_numbers, is_missing
from fastsm.data._dataset import DataError
from fastsm.typing import Array

__all__ = ["Choice", "Number", "as_texts", "column_from_record", "finite", "only", "pair", "pixels"]


@dataclass(frozen=True)
class Number:
    """A column of numbers: it becomes ``(x - mean) / deviation``.

    Parameters
    ----------
    name : str
        The name of the column.
    mean, deviation : float
        The mean and the standard deviation of the training part.
    median : float or None
        If numbers were missing: what they become. A second input is 1 for them.
    missing : float
        The fraction that was missing in the training part.

    Examples
    --------
    >>> from fastsm import data
    >>> data.Number("age", 50.0, 10.0, median=40.0, missing=0.1).width
    2
    """

    name: str
    mean: float
    deviation: float
    median: float | None = None
    missing: float = 0.0

    @property
    def width(self) -> int:
        """The number of inputs."""
        return 1 if self.median is None else 2

    def write(self, where: str, column: Column, first: int, out: Array) -> None:
        """Write the inputs of some rows, of which the first is row `first` of the table."""
        values = check_numbers(where, self.name, column, first)
        if values.dtype.kind == "f" and (missing := np.isnan(values)).any():
            if self.median is None:
                raise DataError(
                    f"{where} has no number in row {first + int(missing.argmax()) + 1}, column {self.name!r},"
                    " which had one in every row of the training: fill it in"
                )
            values = np.where(missing, self.median, values)
            out[:, 1] = missing
        elif self.median is not None:
            out[:, 1] = 0
        try:
            with np.errstate(over="raise"):
                np.divide(np.subtract(values, self.mean), self.deviation, out=out[:, 0], casting="same_kind")
        except FloatingPointError:
            with np.errstate(all="ignore"):
                row = first + int(np.abs(values - self.mean).argmax()) + 1
            raise DataError(
                f"{where} has a number far beyond those of the training in row {row}, column {self.name!r}"
            ) from None


@dataclass(frozen=True)
class Choice:
    """A column of texts, categories or True and False: each of its `values` becomes a column of 0 and 1.

    Parameters
    ----------
    name : str
        The name of the column.
    values : tuple of str or None
        The values; None is a missing one.
    other : bool
        Whether a last input is 1 for all other values, which were rare in the training. Without it they are 0
        everywhere.

    Examples
    --------
    >>> from fastsm import data
    >>> data.Choice("city", ("Bonn", "Rome", None)).width
    3
    """

    name: str
    values: tuple[str | None, ...]
    other: bool = False

    @property
    def width(self) -> int:
        """The number of inputs."""
        return len(self.values) + self.other

    def write(self, where: str, column: Column, first: int, out: Array) -> list[str]:
        """Write the inputs of some rows; return the values that are new."""
        texts = as_texts(column)
        places = {value: i for i, value in enumerate(self.values)}
        known = [places.get(value, -1) for value in texts.values] + [places.get(None, -1)]
        place = np.array(known)[texts.codes]
        out[...] = 0
        rows = np.flatnonzero(place >= 0)
        out[rows, place[rows]] = 1
        if self.other:
            out[place < 0, -1] = 1
        return [value for value, at in zip(texts.values, known, strict=False) if at < 0]


def as_texts(column: Column) -> Texts:
    """Return a column of numbers as one of texts."""
    if isinstance(column, Texts):
        return column
    found, codes = np.unique(column, return_inverse=True)
    codes = np.where(is_missing(column), -1, codes.reshape(-1))
    return Texts(codes, [as_text(value) for value in found.tolist()])


def pixels(where: str, name: str, column: Column, first: int) -> Array:
    """Return a column of whole numbers from 0 to 255."""
    values = check_numbers(where, name, column, first)
    if values.dtype == np.uint8:
        return values
    wrong = ~((values >= 0) & (values <= 255) & (values == np.floor(values)))
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"{where} must have pixels, whole numbers from 0 to 255, got {values[row]} in row"
            f" {first + row + 1}, column {name!r}"
        )
    return values


def column_from_record(record: object) -> Number | Choice:
    """Return a column of a record that is not trusted."""
    parts = {**only(dict, record)}
    kind: type[Number] | type[Choice] = Choice if parts.pop("kind", None) == "choice" else Number
    if set(parts) != {f.name for f in dataclasses.fields(kind)}:
        raise ValueError("its table must have columns that are numbers or choices")
    name = only(str, parts["name"])
    if kind is Choice:
        values = tuple(v if v is None else only(str, v) for v in only(list, parts["values"]))
        if len(set(values)) < len(values) or not values:
            raise ValueError("its table must have choices of different values")
        return Choice(name, values, only(bool, parts["other"]))
    mean, deviation, missing = (finite(parts[key]) for key in ("mean", "deviation", "missing"))
    if not deviation > 0:
        raise ValueError("its table must have deviations above 0")
    return Number(
        name, mean, deviation, None if parts["median"] is None else finite(parts["median"]), missing
    )


def only(kind: Any, value: object) -> Any:
    """Return a value of this type; raise ValueError for another one."""
    if type(value) is not kind:
        raise ValueError(f"its table must have a {kind.__name__} in this place, got {str(value)[:40]!r}")
    return value


def finite(value: object) -> float:
    """Return a number that is finite."""
    if type(value) not in (int, float) or not math.isfinite(value):  # type: ignore[arg-type]
        raise ValueError("its table must have finite numbers")
    return float(value)  # type: ignore[arg-type]


def pair(kind: type, value: object) -> Any:
    """Return two values of this type; integers must be above 0."""
    both = only(list, value)
    if len(both) != 2 or (kind is int and not all(type(n) is int and n > 0 for n in both)):
        raise ValueError("its table must have pairs in this place")
    return tuple(map(finite, both)) if kind is float else tuple(only(kind, part) for part in both)

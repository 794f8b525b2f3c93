"""The columns of tables: arrays of numbers, or texts."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from fastsm.data._dataset import DataError
from fastsm.typing import Array

__all__ = [
    "Chunk", "Column", "Texts", "as_chunk", "as_text", "check_numbers", "is_missing", "is_mostly", "length",
    "number", "refuse_dates", "wrong_cell",
]  # fmt: skip

_DATE = re.compile(
    r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}([T ].*)?"
    r"|\d{1,2}[-/.]\d{1,2}[-/.](\d{4}|\d{2})( .*)?|\d{1,2}:\d{2}(:\d{2}.*)?"
)
_LARGEST = 1e150  # the square of a larger number may be infinite


class Texts(NamedTuple):
    """A column of texts: `values[code]` for each row; the code of a missing value is -1."""

    codes: Array
    values: list[str]


# Numbers are integers, or float64 with NaN where they are missing.
Column: TypeAlias = Array | Texts
Chunk: TypeAlias = dict[str, Column]


def number(text: str) -> float | None:
    """Return the number in a cell, None if it is something else."""
    try:
        return float(text)
    except ValueError:
        return None


def is_mostly(what: Callable[[str], object], values: Sequence[str]) -> bool:
    """Whether at least half of the values are something: the function returns neither None nor False."""
    few = values[:1000]
    return len(few) > 0 and 2 * sum(what(value) not in (None, False) for value in few) >= len(few)


def as_chunk(frame: Any, names: Sequence[str]) -> Chunk:
    """Return the columns of a pandas frame, under these names, in their smallest form."""
    chunk: Chunk = dict.fromkeys(names, np.empty(0))
    plain = [isinstance(t, np.dtype) and t.kind in "iu" and t != np.uint64 for t in frame.dtypes]
    integers = np.array(plain, bool) & (len(frame) > 0)
    if integers.any():
        block = frame.iloc[:, integers].to_numpy()
        its = np.array(names, object)[integers]
        low, high, done = block.min(axis=0), block.max(axis=0), np.zeros(len(its), bool)
        for kind in (np.uint8, np.int16, np.int32, np.int64):
            fits = (low >= np.iinfo(kind).min) & (high <= np.iinfo(kind).max) & ~done
            chunk.update(zip(its[fits], np.asarray(block[:, fits].T, kind, "C"), strict=True))
            done |= fits
    chunk.update((names[i], _column(frame.iloc[:, i])) for i in np.flatnonzero(~integers).tolist())
    return chunk


def _column(series: Any) -> Column:
    if series.dtype.kind in "iuf":
        values: Array = series.to_numpy(np.float64, na_value=np.nan)
        return values
    codes, found = importlib.import_module("pandas").factorize(series.astype(object))
    places: dict[str, int] = {}
    moved = [places.setdefault(as_text(value), len(places)) for value in found]
    return Texts(np.array([*moved, -1], np.int32)[codes], list(places))


def as_text(value: object) -> str:
    """Return a value as text, the same whether it was read as a number, as True or False, or as text."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip()
    return text.capitalize() if text.lower() in ("true", "false") else text


def length(column: Column) -> int:
    """Return the number of rows."""
    return len(column.codes if isinstance(column, Texts) else column)


def is_missing(column: Column) -> Array:
    """Return which rows have no value."""
    if isinstance(column, Texts):
        return np.asarray(column.codes < 0)
    return np.isnan(column) if column.dtype.kind == "f" else np.zeros(len(column), bool)


def check_numbers(where: str, name: str, column: Column, first: int) -> Array:
    """Check that a column has numbers, none of them infinite; its first row is row `first` of the table."""
    if isinstance(column, Texts):
        if column.values:
            raise wrong_cell(where, name, column, first)
        return np.full(len(column.codes), np.nan)
    if column.dtype.kind == "f" and (np.abs(column) > _LARGEST).any():
        row = int(np.argmax(np.abs(column) > _LARGEST))
        raise DataError(
            f"{where} must have finite numbers, got {column[row]} in row {first + row + 1}, column {name!r}"
        )
    return column


def wrong_cell(where: str, name: str, texts: Texts, first: int) -> DataError:
    """Return the error for the first cell with text in a column of numbers."""
    wrong = [code for code, value in enumerate(texts.values) if number(value) is None]
    row = int(np.argmax(np.isin(texts.codes, wrong)))
    value = texts.values[texts.codes[row]]
    return DataError(
        f"{where} must have numbers in column {name!r}, got {value[:40]!r} in row {first + row + 1}: correct"
        " it, leave it empty, or train without the column (--drop)"
    )


def refuse_dates(where: str, name: str, values: Sequence[str]) -> None:
    """Raise DataError if the texts of a column are dates or times."""
    if values and all(map(_DATE.fullmatch, values[:100])):
        raise DataError(
            f"{where} has dates or times such as {values[0][:40]!r} in column {name!r}: make numbers of them,"
            " as the year or an age in days, or train without the column (--drop)"
        )

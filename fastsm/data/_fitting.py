"""Find out what the columns of a table of training data are."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsm.data._columns import (
    Chunk,
    Column,
    Texts,
    as_text,
    check_numbers,
    is_missing,
    is_mostly,
    length,
    number,
    refuse_dates,
    wrong_cell,
)
from fastsm.data._dataset import DataError, listed, test_rows
from fastsm.data._encodings import Choice, Number
from fastsm.data._table import Rows, Table, class_name, missing_label
from fastsm.typing import Array

__all__ = ["LABELS", "find_column", "find_label", "fit_table"]

#: What the column with the labels is called, in any capitals.
LABELS = ("label", "labels", "target", "class", "classes", "y", "species", "category", "diagnosis", "outcome")
_ID = re.compile(
    r"(.*[ _.-])?(id|uuid|guid|index)|.*[a-z]I[dD]|unnamed: ?\d+|level_0|row|nr|no|#", re.IGNORECASE
)
_PIXEL = re.compile(r"(pixel|pix|px|p)[ _-]?\d+|\d+x\d+", re.IGNORECASE)
_LEAST_PIXELS = 64
_MOST_VALUES = 64  # of a column of texts that have an input each
_MANY = 20  # rows or values that are enough to judge by their number


def find_column(where: str, names: Sequence[str], wanted: str) -> str:
    """Return the column of this name, in any capitals if only one has it."""
    if wanted in names:
        return wanted
    found = [name for name in names if name.lower() == wanted.strip().lower()]
    if len(found) != 1:
        raise DataError(f"{where} must have a column {wanted!r}, got {listed(names)}")
    return found[0]


def find_label(where: str, names: Sequence[str], label: str | None, drop: Collection[str]) -> str:
    """Return the column with the labels, which is none of those to drop."""
    if label is not None:
        return find_column(where, names, label)
    dropped = {find_column(where, names, name) for name in drop}
    names = [name for name in names if name not in dropped]
    if not names:
        raise DataError(f"{where} must have a column with the labels, and all are dropped")
    lower = {name.lower(): name for name in reversed(names)}
    return next((lower[name] for name in LABELS if name in lower), names[-1])


def fit_table(
    where: str,
    names: Sequence[str],
    chunks: Sequence[Chunk],
    label: str | None,
    regression: bool,
    drop: Collection[str],
    keep: Collection[str],
    *,
    divided: bool,
) -> Rows:
    """Return the record of a table and its labels; if `divided`, from all rows but a fifth for testing."""
    label = find_label(where, names, label, drop)
    dropped = {find_column(where, names, name) for name in drop} - {label}
    kept = {find_column(where, names, name) for name in keep}
    used = [name for name in names if name != label and name not in dropped]
    labels = [chunk[label] for chunk in chunks]
    classes: tuple[str, ...] = ()
    y: NDArray[Any] = _values(where, label, labels) if regression else np.empty(0)
    if not regression:
        classes, y = _classes(where, label, labels)
    test = test_rows(np.zeros(len(y), np.int64) if regression else y) if divided else None
    train = None if test is None else ~test
    shape = _image(used, chunks)
    columns: list[Number | Choice] = []
    left_out = dict.fromkeys(sorted(dropped), "as asked")
    starts = np.cumsum([0, *map(length, labels)]).tolist()
    for name in used:
        if shape is not None:
            columns.append(Number(name, 0.0, 255.0))
            continue
        column = _Whole(where, name, [chunk[name] for chunk in chunks], train, starts)
        reason = column.useless()
        if reason and name not in kept:
            left_out[name] = reason
        else:
            columns.append(column.choice() if column.texts else column.number())
    if not columns:
        raise DataError(
            f"{where} must have columns besides the label that differ between rows, got none: --keep"
        )
    scale = (0.0, 1.0)
    if regression:
        own = y if train is None else y[train]
        scale = float(own.mean()), float(own.std())
        if not scale[1] > 0:
            raise DataError(f"{where} must have different numbers in column {label!r}, got only {own[0]}")
    return Rows(Table(tuple(columns), label, classes, scale, tuple(names), left_out, shape), y, test)


# ---- labels ----


def _check_complete(where: str, label: str, labels: Sequence[Column]) -> None:
    first = 0
    for column in labels:
        missing = is_missing(column)
        if missing.any():
            raise missing_label(where, label, first + int(missing.argmax()))
        first += len(missing)


def _values(where: str, label: str, labels: Sequence[Column]) -> NDArray[np.float64]:
    """Return labels that are numbers."""
    _check_complete(where, label, labels)
    starts = np.cumsum([0, *map(length, labels)])
    checked = (check_numbers(where, label, c, int(n)) for c, n in zip(labels, starts, strict=False))
    return np.concatenate([column.astype(np.float64) for column in checked])


def _classes(where: str, label: str, labels: Sequence[Column]) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """Return the names of the classes, and the number of its class for each row."""
    _check_complete(where, label, labels)
    places: dict[str, int] = {}
    parts = []
    for column in labels:
        if isinstance(column, Texts):
            codes, values = column
        else:
            found, codes = np.unique(column, return_inverse=True)
            codes, values = codes.reshape(-1), [as_text(value) for value in found.tolist()]
        parts.append(np.array([places.setdefault(class_name(v), len(places)) for v in values])[codes])
    y, names = np.concatenate(parts), list(places)
    many = f"{len(names)} different values in {len(y)} rows"
    if any("." in name and number(name) is not None for name in names) and is_mostly(number, names):
        example = next(name for name in names if "." in name and number(name) is not None)
        raise DataError(
            f"{where} must have classes in column {label!r}, got numbers such as {example:.40}: choose"
            " another column with --label, or learn numbers with --task regression"
        )
    if len(names) > _MANY and len(names) * 5 > len(y):
        raise DataError(
            f"{where} has {many} of column {label!r}, too many for classes: choose another column with"
            " --label, or learn numbers with --task regression"
        )
    if len(names) < 2:
        raise DataError(f"{where} must have rows of at least two classes, got only {names[0]!r:.50}")
    whole = all(re.fullmatch(r"-?\d{1,18}", name, re.ASCII) for name in names)
    order = sorted(names, key=int) if whole else sorted(names)
    ranks = {name: i for i, name in enumerate(order)}
    return tuple(order), np.array([ranks[name] for name in names], np.int64)[y]


# ---- columns ----


def _image(names: Sequence[str], chunks: Sequence[Chunk]) -> tuple[int, int] | None:
    """Return the shape of an image if the columns are called pixels and are bytes, else None."""
    side = math.isqrt(len(names))
    if side * side != len(names) or len(names) < _LEAST_PIXELS or not all(map(_PIXEL.fullmatch, names)):
        return None
    columns = [c for chunk in chunks for name in names if not isinstance(c := chunk[name], Texts)]
    if len(columns) < len(names) * len(chunks) or any(column.dtype != np.uint8 for column in columns):
        return None
    return (side, side) if max(int(column.max()) for column in columns) > 1 else None


class _Whole:
    """A column of all chunks; statistics are of the rows `train`, or of all."""

    def __init__(
        self, where: str, name: str, parts: Sequence[Column], train: NDArray[np.bool_] | None, starts: Array
    ) -> None:
        self.where, self.name, self.parts = where, name, parts
        self._train, self._starts = train, starts
        # A column without any value is read as numbers.
        self.texts = any(isinstance(part, Texts) and part.values for part in parts)
        if self.texts:
            self._check_texts()
            self._counts = Counter[str | None]()
            for part, rows in zip(parts, self._rows(), strict=True):
                codes, values = self._as_texts(part)
                found, counts = np.unique(codes[rows], return_counts=True)
                for code, count in zip(found.tolist(), counts.tolist(), strict=True):
                    self._counts[values[code] if code >= 0 else None] += count
        else:
            checked = [check_numbers(where, name, p, n) for p, n in zip(parts, starts, strict=False)]
            every = np.concatenate(checked)
            self._incomplete = every.dtype.kind == "f" and bool(np.isnan(every).any())
            self._values = every if train is None else every[train]

    def _rows(self) -> list[Array | slice]:
        """Return which rows of each part are to train on."""
        if self._train is None:
            return [slice(None)] * len(self.parts)
        ends = zip(self._starts, self._starts[1:], strict=False)
        return [self._train[first:last] for first, last in ends]

    @staticmethod
    def _as_texts(part: Column) -> Texts:
        return part if isinstance(part, Texts) else Texts(np.full(len(part), -1), [])

    def _check_texts(self) -> None:
        """Refuse dates, and columns of numbers with a few texts among them."""
        first, count, found, rows = 0, 0, list[str](), int(self._starts[-1])
        error: DataError | None = None
        for part in self.parts:
            if isinstance(part, Texts):
                refuse_dates(self.where, self.name, part.values)
                wrong = [code for code, value in enumerate(part.values) if number(value) is None]
                count += int(np.isin(part.codes, wrong).sum())
                found += part.values
                if wrong and error is None:
                    error = wrong_cell(self.where, self.name, part, first)
            else:
                found += map(str, part[:_MANY])
            first += length(part)
        if error is not None and is_mostly(number, found) and count <= max(2, rows // 20):
            raise error

    def useless(self) -> str:
        """Return why the column is of no use, empty if it is."""
        if self.texts:
            rows, different = self._counts.total(), len(self._counts)
            constant, new = different == 1, rows >= _MANY and different > 0.9 * rows
        else:
            values = self._values
            rows, constant = len(values), not self._incomplete and bool((values == values[0]).all())
            constant |= bool(is_missing(values).all())
            new = _ID.fullmatch(self.name) is not None and values.dtype.kind in "iu"
            new = new and rows > 2 and len(np.unique(values)) == rows
        return "one value in all rows" if constant else "a different value in each row" if new else ""

    def choice(self) -> Choice:
        """Return the column as one of texts; those beyond the most frequent are others."""
        frequent = [value for value, _ in self._counts.most_common(_MOST_VALUES)]
        texts = sorted(value for value in frequent if value is not None)
        values = (*texts, None) if None in frequent else tuple(texts)
        return Choice(self.name, values, other=len(self._counts) > _MOST_VALUES)

    def number(self) -> Number:
        """Return the column as one of numbers."""
        values, median, fraction = self._values, None, 0.0
        if self._incomplete:
            missing = is_missing(values)
            values, fraction = values[~missing], float(missing.mean())
            median = float(np.median(values)) if len(values) else 0.0
        if not len(values):
            return Number(self.name, 0.0, 1.0, median, fraction)
        values = values.astype(np.float64)
        mean = float(values.mean())
        values -= mean
        deviation = math.sqrt(values @ values / len(values))
        return Number(self.name, mean, deviation or 1.0, median, fraction)

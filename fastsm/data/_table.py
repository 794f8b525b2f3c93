"""How the columns of a table become the inputs of a model: the record that is kept with the model."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsm.data._columns import Chunk, as_chunk, check_numbers, is_missing, length
from fastsm.data._dataset import DataError, listed
from fastsm.data._encodings import Choice, Number, as_texts, column_from_record, only, pair, pixels
from fastsm.typing import Array

__all__ = ["Rows", "Table", "class_name", "missing_label"]


@dataclass(frozen=True)
class Table:
    """The columns of a table, and how they become the inputs of a model.

    `fastsm.data.load` makes it from the training part of a table, `Splits.table` has it, and files of models
    keep it: a model that was trained on a table has it as `table`.

    Attributes
    ----------
    columns : tuple of Number or Choice
        The columns that are used, in the order of the inputs. A number is standardised with the mean and the
        deviation of the training part; where numbers were missing, they are the median, and another input is
        1. A text, a category or a truth value is one input for each value.
    label : str
        The name of the column with the labels.
    classes : tuple of str
        The names of the classes; empty if the labels are numbers.
    scale : tuple of two float
        The mean and the deviation of labels that are numbers; models learn ``(y - mean) / deviation``.
    order : tuple of str
        The names of all columns of the table.
    left_out : dict of str to str
        The columns that are not used, each with the reason.
    shape : tuple of two int or None
        The shape of an image, if the columns are the pixels of images: then inputs are uint8, from 0 to 255.

    Examples
    --------
    >>> import pandas
    >>> from fastsm.data import Table
    >>> frame = pandas.DataFrame({"age": [30, 50, 40], "city": ["Rome", "Bonn", "Rome"], "paid": [1, 0, 1]})
    >>> table = Table.fit(frame, label="paid")
    >>> table
    Table(age; city: 2 values; label paid: 2 classes)
    >>> table.prepare(frame[["city", "age"]])
    array([[-1.2247449,  0.       ,  1.       ],
           [ 1.2247449,  1.       ,  0.       ],
           [ 0.       ,  0.       ,  1.       ]], dtype=float32)
    >>> table.labels(frame)
    array([1, 0, 1])
    """

    columns: tuple[Number | Choice, ...]
    label: str
    classes: tuple[str, ...] = ()
    scale: tuple[float, float] = (0.0, 1.0)
    order: tuple[str, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    shape: tuple[int, int] | None = None

    def __repr__(self) -> str:
        """Return a summary."""
        names = [
            f"{c.name}: {len(c.values)} values" if isinstance(c, Choice) else c.name for c in self.columns
        ]
        what = f"{len(self.classes)} classes" if self.classes else "numbers"
        shown = names if len(names) <= 8 else [*names[:7], "..."]
        return f"Table({'; '.join(shown)}; label {self.label}: {what})"

    @property
    def features(self) -> int:
        """The number of inputs."""
        return sum(column.width for column in self.columns)

    @property
    def texts(self) -> set[str]:
        """The columns whose values are texts, as they are written."""
        names = {column.name for column in self.columns if isinstance(column, Choice)}
        return names | {self.label} if self.classes else names

    @classmethod
    def fit(
        cls,
        frame: Any,
        label: str | None = None,
        *,
        regression: bool = False,
        drop: Sequence[str] = (),
        keep: Sequence[str] = (),
    ) -> Table:
        """Return the record of a table of training data.

        Parameters
        ----------
        frame : pandas.DataFrame
            The table.
        label : str, optional
            The column with the labels, in any capitals; by default one that is called label, target, class,
            y, species or the like, or the last one.
        regression : bool, default False
            Whether the labels are numbers, not classes.
        drop, keep : sequence of str
            Columns to leave out, and columns to keep that would be left out: those with the same value in
            all rows, and those with names like ``id`` and another value in each row.

        Raises
        ------
        DataError
            If a column cannot be used, or the labels cannot: the message names it.
        """
        from fastsm.data._fitting import fit_table

        chunk, names = _chunk(frame)
        return fit_table("`frame`", names, [chunk], label, regression, drop, keep, divided=False).table

    def prepare(self, frame: Any) -> Array:
        """Return the inputs of a model for the rows of a table.

        Parameters
        ----------
        frame : pandas.DataFrame
            A table with these columns, in any order. Others are ignored.

        Returns
        -------
        ndarray of float32 or uint8, shape (N, features)
            For `fastsm.fit` and for the model; uint8 if the columns are pixels.

        Raises
        ------
        DataError
            If a column is missing or has values of another kind: the message names it, and the row.
        """
        return self.inputs("`frame`", [_chunk(frame)[0]])

    def labels(self, frame: Any) -> Array:
        """Return the labels of the rows of a table.

        Parameters
        ----------
        frame : pandas.DataFrame
            A table with a column `label`.

        Returns
        -------
        ndarray of int64 or float64, shape (N,)
            Indices of `classes`; the numbers themselves if there are no classes.

        Raises
        ------
        DataError
            If the column is missing, or has a class that is not among `classes`, or a missing value.
        """
        return self.targets("`frame`", [_chunk(frame)[0]])

    def inputs(self, where: str, chunks: Sequence[Chunk], notes: list[str] | None = None) -> Array:
        """Return the inputs for all rows; add what was noticed to `notes`."""
        absent = [column.name for column in self.columns if column.name not in chunks[0]]
        if absent:
            raise DataError(f"{where} must have the columns of the training, and lacks {listed(absent)}")
        if notes is not None:
            extra = [name for name in chunks[0] if name not in (*self.order, self.label)]
            notes += [f"columns that the model does not know are ignored: {listed(extra)}"] if extra else []
        sizes = [length(next(iter(chunk.values()))) for chunk in chunks]
        out = np.empty((sum(sizes), self.features), np.float32 if self.shape is None else np.uint8)
        first, new = 0, dict[str, list[str]]()
        for size, chunk in zip(sizes, chunks, strict=True):
            self.write(where, chunk, first, out[first : first + size], new)
            first += size
        if notes is not None:
            notes += [
                f"{name} has values that were not in the training: {listed(v)}" for name, v in new.items()
            ]
        return out

    def write(
        self, where: str, chunk: Chunk, first: int, out: Array, new: dict[str, list[str]] | None = None
    ) -> None:
        """Write the inputs of some rows, of which the first is row `first` of the table."""
        at = 0
        for column in self.columns:
            values = chunk[column.name]
            if self.shape is not None:
                out[:, at] = pixels(where, column.name, values, first)
            elif isinstance(column, Choice):
                found = column.write(where, values, first, out[:, at : at + column.width])
                if found and not column.other and new is not None:
                    new[column.name] = [*new.get(column.name, ()), *found]
            else:
                column.write(where, values, first, out[:, at : at + column.width])
            at += column.width

    def targets(self, where: str, chunks: Sequence[Chunk]) -> Array:
        """Return the labels of all rows."""
        if self.label not in chunks[0]:
            raise DataError(f"{where} must have the column {self.label!r} with the labels")
        first, parts = 0, []
        numbers = {name: i for i, name in enumerate(self.classes)}
        for chunk in chunks:
            column = chunk[self.label]
            missing = is_missing(column)
            if missing.any():
                raise missing_label(where, self.label, first + int(missing.argmax()))
            if self.classes:
                texts = as_texts(column)
                codes = np.array([numbers.get(class_name(value), -1) for value in texts.values] or [-1])[
                    texts.codes
                ]
                if (codes < 0).any():
                    row = int(np.argmax(codes < 0))
                    raise DataError(
                        f"{where} has the class {texts.values[texts.codes[row]]!r:.50} in row"
                        f" {first + row + 1}, which the model does not know: {listed(self.classes)}"
                    )
                parts.append(codes.astype(np.int64))
            else:
                parts.append(check_numbers(where, self.label, column, first).astype(np.float64))
            first += length(next(iter(chunk.values())))
        return np.concatenate(parts)

    def record(self) -> dict[str, object]:
        """Return the table in the types of JSON."""
        kinds = {Number: "number", Choice: "choice"}
        columns = [{"kind": kinds[type(c)], **dataclasses.asdict(c)} for c in self.columns]
        # As pairs: in files the keys of objects may not begin with a dollar sign.
        left_out = [[name, reason] for name, reason in self.left_out.items()]
        return {**dataclasses.asdict(self), "columns": columns, "left_out": left_out}

    @classmethod
    def from_record(cls, record: Mapping[str, object]) -> Table:
        """Return the table of a record, which is not trusted; raise ValueError if it is not one."""
        names = {f.name for f in dataclasses.fields(cls)}
        columns = record.get("columns")
        if set(record) != names or not isinstance(columns, list) or not columns:
            raise ValueError("its table must have columns, a label and all else that belongs to a table")
        classes, order, left, shape = (record[name] for name in ("classes", "order", "left_out", "shape"))
        table = cls(
            tuple(map(column_from_record, columns)),
            only(str, record["label"]),
            tuple(only(str, name) for name in only(list, classes)),
            pair(float, record["scale"]),
            tuple(only(str, name) for name in only(list, order)),
            dict(pair(str, both) for both in only(list, left)),
            None if shape is None else pair(int, shape),
        )
        used = [column.name for column in table.columns]
        size = table.features if table.shape is None else math.prod(table.shape)
        if len({*used, table.label}) != len(used) + 1 or len(table.classes) == 1 or size != table.features:
            raise ValueError("its table must have columns of different names, and as many pixels as columns")
        if len(set(table.classes)) < len(table.classes) or not table.scale[1] > 0:
            raise ValueError("its table must have classes of different names, and a deviation above 0")
        return table


@dataclass
class Rows:
    """The rows of a table of training data."""

    table: Table
    y: NDArray[Any]
    test: NDArray[np.bool_] | None  # which rows are set aside for testing


def missing_label(where: str, label: str, row: int) -> DataError:
    """Return the error for a row without a label."""
    return DataError(f"{where} must have a label in every row, got none in row {row + 1}, column {label!r}")


def class_name(text: str) -> str:
    """Return the name of the class of a label: 2 for 2.0 and 02."""
    try:
        value = float(text)
    except ValueError:
        return text
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else text


def _chunk(frame: Any) -> tuple[Chunk, list[str]]:
    """Return a pandas frame as a chunk, and the names of its columns."""
    if not hasattr(frame, "columns") or not hasattr(frame, "iloc"):
        raise TypeError(f"`frame` must be a pandas.DataFrame, got {type(frame).__name__}")
    names = [str(name) for name in frame.columns]
    if len(set(names)) < len(names):
        raise DataError("`frame` must have columns of different names")
    if not names or not len(frame):
        raise DataError(f"`frame` must have rows and columns, got shape {frame.shape}")
    return as_chunk(frame, names), names

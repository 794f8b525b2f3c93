"""Data sets from tables: a file, and the record of its columns, become arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fastsm.data._columns import Chunk, length
from fastsm.data._dataset import DataError, Dataset, listed, split
from fastsm.data._fitting import find_label, fit_table
from fastsm.data._table import Rows, Table
from fastsm.data._table_files import TableFile, read_table

__all__ = ["read_inputs", "read_parts", "read_rows"]


def read_parts(
    path: str,
    table: Table | None,
    label: str | None,
    regression: bool,
    drop: Sequence[str],
    keep: Sequence[str],
    *,
    divided: bool,
) -> tuple[Table, list[Dataset]]:
    """Return the record of a table, or `table`, and its rows: divided for testing, or as one data set."""
    if table is not None:
        whole = read_rows(path, table)
        return table, list(split(whole)) if divided else [whole]

    def classes(names: Sequence[str]) -> set[str]:
        return set() if regression else {find_label(repr(path), names, label, drop)}

    file = read_table(path, classes)
    if len(file.names) < 2:
        raise DataError(
            f"{path!r} must have at least two columns, separated by commas, semicolons, tabs or bars, got"
            f" {listed(file.names)}"
        )
    rows = fit_table(repr(path), file.names, file.chunks, label, regression, drop, keep, divided=divided)
    return rows.table, _arrays(repr(path), file, rows)


def _arrays(where: str, file: TableFile, rows: Rows) -> list[Dataset]:
    """Return the arrays of each part; each chunk is freed once it is in them."""
    table, y = rows.table, rows.y
    masks: list[NDArray[np.bool_]] = [np.ones(len(y), bool)] if rows.test is None else [~rows.test, rows.test]
    dtype = np.float32 if table.shape is None else np.uint8
    arrays = [np.empty((int(mask.sum()), table.features), dtype) for mask in masks]
    first, done, chunks = 0, [0] * len(masks), file.chunks[::-1]
    file.chunks.clear()
    buffer = np.empty((max(map(_rows, chunks)), table.features), dtype)
    while chunks:
        count = _rows(chunks[-1])
        inputs = buffer[:count]
        table.write(where, chunks.pop(), first, inputs)
        for i, (array, mask) in enumerate(zip(arrays, masks, strict=True)):
            own = np.flatnonzero(mask[first : first + count])
            stop = done[i] + len(own)
            inputs.take(own, axis=0, out=array[done[i] : stop], mode="clip")  # copies no row twice
            done[i] = stop
        first += count
    return [Dataset(a, y[m], table.classes, table.shape) for a, m in zip(arrays, masks, strict=True)]


def _rows(chunk: Chunk) -> int:
    return length(next(iter(chunk.values())))


def _chunks(path: str, table: Table) -> list[Chunk]:
    return read_table(path, lambda names: table.texts, table.order).chunks


def read_rows(path: str, table: Table) -> Dataset:
    """Return the rows of another file with the columns and the labels of a table."""
    chunks = _chunks(path, table)
    y = table.targets(repr(path), chunks)
    return Dataset(table.inputs(repr(path), chunks), y, table.classes, table.shape)


def read_inputs(path: str, table: Table, notes: list[str]) -> NDArray[np.float32] | NDArray[np.uint8]:
    """Return the inputs in a file with the columns of a table, and add what was noticed to `notes`."""
    return table.inputs(repr(path), _chunks(path, table), notes)

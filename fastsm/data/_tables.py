"""Read CSV files: tables of numbers with a label in each row."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import math
import os
import re
import zlib
from collections.abc import Iterator

import numpy as np

from fastsm.data._dataset import DataError, listed
from fastsm.data._idx import decompressed, unreadable
from fastsm.data._limits import LIMIT, check_expansion, regular_size
from fastsm.typing import Array

__all__ = ["csv_rows", "number", "read_csv", "stem"]

_ROW_LIMIT = 1 << 24  # characters
_BLOCK = 1 << 16  # cells parsed at a time
_BYTES = {str(byte): byte for byte in range(256)}


def read_csv(path: str, label: str) -> tuple[Array, Array]:
    """Return the rows and labels of a CSV file with a header.

    The column `label` has the labels; if that is ``"label"`` and missing, the last column. Rows that look
    like images (100 columns or more, a square number of them, whole numbers from 0 to 255 and some above 1)
    are uint8 of shape (N, side, side), others float64.
    """
    rows = csv_rows(path)
    _, header = next(rows, (0, []))
    X, labels = _cells(path, rows, header, _label_column(path, header, label))
    side = math.isqrt(X.shape[1])
    if X.dtype == np.uint8 and side >= 10 and side * side == X.shape[1] and X.max() > 1:
        return X.reshape(-1, side, side), labels
    return X.astype(np.float64, copy=False), labels


def csv_rows(path: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a CSV file, plain or compressed by gzip, each with the number of its last line.

    Empty rows are skipped. Raise DataError if a row or the file is too large or cannot be read.
    """
    left = _ROW_LIMIT

    def lines() -> Iterator[str]:
        nonlocal left
        for line in _lines(path):
            left -= len(line)  # a quoted cell may span several lines
            if left <= 0:
                raise DataError(f"{path!r} has a line that is too long, or a quoted cell over too many lines")
            yield line

    reader = csv.reader(lines(), strict=True)
    try:
        for row in reader:
            left = _ROW_LIMIT
            if row:
                yield reader.line_num, row
    except csv.Error as error:
        raise DataError(f"{path!r} must be a CSV file, line {reader.line_num}: {error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path!r} must be text in UTF-8: {error}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(path, error) from error


def _lines(path: str) -> Iterator[str]:
    """Yield the lines of a file, long ones in pieces."""
    size, total = regular_size(path), 0
    with open(path, "rb") as file:
        plain = decompressed(file)
        with io.TextIOWrapper(plain, "utf-8-sig", newline="") as text:
            while line := text.readline(_ROW_LIMIT):
                total += len(line)
                if plain is not file:
                    check_expansion(repr(path), size, total)
                elif total > LIMIT:
                    raise DataError(f"{path!r} is too large for a table")
                yield line


def _label_column(path: str, header: list[str], label: str) -> int:
    """Return the index of the column with the labels."""
    if len(header) < 2:
        raise DataError(
            f"{path!r} must have a header with at least two columns, separated by commas, got"
            f" {listed(header)}"
        )
    names = [name.strip() for name in header]
    if all(number(name) is not None for name in names):
        raise DataError(f"{path!r} must have a header: add a first line with the names of the columns")
    if label in names:
        return names.index(label)
    if label != "label":
        raise DataError(f"{path!r} must have a column {label!r} with the labels, got {listed(names)}")
    return len(names) - 1


def number(text: str) -> float | None:
    """Return the number in a cell, None if it is something else."""
    try:
        return float(text)
    except ValueError:
        return None


def _cells(
    path: str, numbered: Iterator[tuple[int, list[str]]], header: list[str], column: int
) -> tuple[Array, Array]:
    """Return the numbers, as uint8 if all fit, and the labels."""
    blocks: list[Array] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    labels: list[str] = []
    known: dict[str, str] = {}  # keeps equal labels in memory once
    full = max(_BLOCK // len(header), 1)
    for line, row in numbered:
        if len(row) != len(header):
            raise DataError(
                f"{path!r} must have {len(header)} cells in every row, got {len(row)} in line {line}"
            )
        name = row.pop(column).strip()
        if not name:
            raise DataError(f"{path!r} must have a label in every row, got none in line {line}")
        labels.append(known.setdefault(name, name))
        rows.append(row)
        lines.append(line)
        if len(rows) == full:
            blocks.append(_parse(path, header, column, rows, lines))
            rows, lines = [], []
    if rows:
        blocks.append(_parse(path, header, column, rows, lines))
    if not blocks:
        raise DataError(f"{path!r} must have rows below its header, got none")
    return np.concatenate(blocks), _label_array(path, labels, known)


def _parse(path: str, header: list[str], column: int, rows: list[list[str]], lines: list[int]) -> Array:
    """Return a block of cells as numbers: as uint8 if that is exact."""
    with contextlib.suppress(KeyError):  # for pixels several times as fast as converting floats
        pixels = bytes(map(_BYTES.__getitem__, itertools.chain.from_iterable(rows)))
        return np.frombuffer(pixels, np.uint8).reshape(len(rows), -1)
    try:
        block = np.array(rows, np.float64)
        finite = bool(np.isfinite(block).all())
    except ValueError:
        finite = False
    if not finite:
        names = header[:column] + header[column + 1 :]
        for line, row in zip(lines, rows, strict=True):
            for name, cell in zip(names, row, strict=True):
                value = number(cell)
                if value is None or not math.isfinite(value):
                    raise DataError(
                        f"{path!r} must have finite numbers outside the labels, got {cell[:40]!r} in line"
                        f" {line}, column {name!r}: fill in, encode or leave out"
                    )
    with np.errstate(invalid="ignore"):
        small = block.astype(np.uint8)
    return small if np.array_equal(small, block) else block


def _label_array(path: str, labels: list[str], known: dict[str, str]) -> Array:
    """Return labels as integers if all of them are, else as strings."""
    if all(re.fullmatch(r"[+-]?\d{1,18}", name, re.ASCII) for name in known):
        return np.array([int(name) for name in labels], np.int64)
    finite = [x for name in known if (x := number(name)) is not None and math.isfinite(x)]
    if len(finite) == len(known):
        if not all(x.is_integer() and abs(x) < 2**53 for x in finite):
            raise DataError(f"{path!r} must have classes as labels, got numbers such as {next(iter(known))}")
        return np.array([int(float(name)) for name in labels], np.int64)
    return np.array(labels, object)


def stem(path: str) -> str:
    """Return the name of a file without its folder and its extensions."""
    return os.path.basename(path).removesuffix(".gz").rsplit(".", 1)[0]

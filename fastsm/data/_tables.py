"""Tables of numbers with a label in each row: CSV files and NumPy's archives."""

import contextlib
import csv
import gzip
import io
import itertools
import math
import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, Any, cast

import numpy as np

from fastsm._checks import Array
from fastsm.data._dataset import DataError
from fastsm.data._idx import EXPANSION, LIMIT, fill, regular_size, unreadable

__all__ = ["read_csv", "read_npz"]

_LINE_LIMIT = 1 << 24
_BLOCK = 1 << 16  # cells that are parsed at a time
_BYTES = {str(byte): byte for byte in range(256)}
_NAMES = (("x_train", "y_train", "x_test", "y_test"), ("x", "y"))


def read_csv(path: str, label: str) -> tuple[Array, Array]:
    """Return the rows and labels of a CSV file with a header.

    The label is in the column of that name; without a column ``"label"`` in the last one. Rows are uint8 of
    shape (N, side, side) where they can only be images (100 columns or more, a square number of them, whole
    numbers from 0 to 255 and some above 1), else float64.
    """
    try:
        reader = csv.reader(text_lines(path), strict=True)
        header = next((row for row in reader if row), [])
        column = _label_column(path, header, label)
        X, labels = _cells(path, reader, header, column)
    except csv.Error as error:
        raise DataError(f"{path!r} must be a CSV file, line {reader.line_num}: {error}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path!r} must be text in UTF-8: {error}") from error
    except (OSError, EOFError, zlib.error) as error:
        raise unreadable(path, error) from error
    side = math.isqrt(X.shape[1])
    if X.dtype == np.uint8 and side >= 10 and side * side == X.shape[1] and X.max() > 1:
        return X.reshape(-1, side, side), labels
    return X.astype(np.float64, copy=False), labels


def text_lines(path: str) -> Iterator[str]:
    """Yield the lines of a file, plain or compressed by gzip, of bounded length and in bounded number."""
    regular_size(path)
    with open(path, "rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        plain = cast(IO[bytes], gzip.GzipFile(fileobj=file)) if compressed else file
        total = 0
        with io.TextIOWrapper(plain, "utf-8-sig", newline="") as text:
            while line := text.readline(_LINE_LIMIT):
                total += len(line)
                if len(line) == _LINE_LIMIT or total > LIMIT:
                    raise DataError(f"{path!r} has too long a line, or is too large for a table")
                yield line


def _label_column(path: str, header: list[str], label: str) -> int:
    """Return the number of the column that holds the labels."""
    if len(header) < 2:
        raise DataError(
            f"{path!r} must have a header with at least two columns, separated by commas, got {header}"
        )
    names = [name.strip() for name in header]
    if all(_number(name) is not None for name in names):
        raise DataError(
            f"{path!r} must have a header: put a line with the names of the columns before the others"
        )
    if label in names:
        return names.index(label)
    if label != "label":
        shown = ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")
        raise DataError(f"{path!r} must have a column {label!r} with the labels, got {shown}")
    return len(names) - 1


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _cells(path: str, reader: Any, header: list[str], column: int) -> tuple[Array, Array]:
    """Return the numbers, as bytes if they fit, and the labels."""
    blocks: list[Array] = []
    rows: list[list[str]] = []
    lines: list[int] = []
    labels: list[str] = []
    known: dict[str, str] = {}  # each label once in memory
    full = max(_BLOCK // len(header), 1)
    for row in reader:
        if not row:
            continue
        if len(row) != len(header):
            raise DataError(
                f"{path!r} must have {len(header)} cells in every row, got {len(row)} in line"
                f" {reader.line_num}"
            )
        name = row.pop(column).strip()
        if not name:
            raise DataError(f"{path!r} must have a label in every row, got none in line {reader.line_num}")
        labels.append(known.setdefault(name, name))
        rows.append(row)
        lines.append(reader.line_num)
        if len(rows) == full:
            blocks.append(_parse(path, header, column, rows, lines))
            rows, lines = [], []
    if rows:
        blocks.append(_parse(path, header, column, rows, lines))
    if not blocks:
        raise DataError(f"{path!r} must have rows below its header, got none")
    return np.concatenate(blocks), _label_array(path, labels, known)


def _parse(path: str, header: list[str], column: int, rows: list[list[str]], lines: list[int]) -> Array:
    """Return a block of cells as numbers: as bytes if nothing is lost."""
    with contextlib.suppress(KeyError):  # pixels, several times as fast as through floats
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
                value = _number(cell)
                if value is None or not math.isfinite(value):
                    raise DataError(
                        f"{path!r} must have finite numbers outside the labels, got {cell[:40]!r} in line"
                        f" {line}, column {name!r}: fill in, encode or leave out"
                    )
    with np.errstate(invalid="ignore"):
        small = block.astype(np.uint8)
    return small if np.array_equal(small, block) else block


def _label_array(path: str, labels: list[str], known: dict[str, str]) -> Array:
    """Return labels as integers if all of them are, else as texts."""
    if all(re.fullmatch(r"[+-]?\d{1,18}", name, re.ASCII) for name in known):
        return np.array([int(name) for name in labels], np.int64)
    numbers = [_number(name) for name in known]
    if all(number is not None and math.isfinite(number) for number in numbers):
        if not all(
            cast(float, number).is_integer() and abs(cast(float, number)) < 2**53 for number in numbers
        ):
            raise DataError(f"{path!r} must have classes as labels, got numbers such as {next(iter(known))}")
        return np.array([int(float(name)) for name in labels], np.int64)
    return np.array(labels, object)


def read_npz(path: str) -> list[tuple[Array, Array]]:
    """Return ``X, y`` of an archive, or ``x_train, y_train, x_test, y_test``; capitals do not matter."""
    try:
        size = regular_size(path)
        with zipfile.ZipFile(path) as archive:
            members = {e.filename.removesuffix(".npy").lower(): e for e in archive.infolist()}
            for names in _NAMES:
                if all(name in members for name in names):
                    arrays = [read_member(archive, members[name], path, size) for name in names]
                    return list(zip(arrays[::2], arrays[1::2], strict=True))
    except DataError:
        raise
    except (
        OSError, EOFError, ValueError, RuntimeError, KeyError, IndexError, OverflowError, zlib.error,
        zipfile.BadZipFile, zipfile.LargeZipFile,
    ) as error:  # fmt: skip
        if isinstance(error, OSError) and error.strerror:
            raise unreadable(path, error) from error
        raise DataError(f"{path!r} must be an archive written by numpy.savez: {error}") from error
    held = ", ".join(sorted(members)[:8]) or "nothing"
    raise DataError(f"{path!r} must hold X and y, or x_train, y_train, x_test and y_test, got {held}")


def read_member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: str, size: int) -> Array:
    """Return an array; its size is checked before memory is taken for it."""
    where = f"{entry.filename} in {path!r}"
    if entry.file_size > min(LIMIT, EXPANSION * size) and not entry.file_size <= size:
        raise DataError(f"{where} promises {entry.file_size} bytes, which is too much")
    with archive.open(entry) as member:
        version = np.lib.format.read_magic(member)
        if version not in ((1, 0), (2, 0)):
            raise DataError(f"{where} has version {version} of NumPy's format: save plain numbers and texts")
        read = (
            np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        )
        shape, fortran, dtype = read(member)
        if dtype.kind not in "biufU" or not dtype.itemsize:
            raise DataError(f"{where} must have numbers or texts, got {dtype}: save it with another dtype")
        promised = math.prod(shape) * dtype.itemsize
        if any(n < 0 for n in shape) or member.tell() + promised != entry.file_size:
            raise DataError(f"{where} has not the size that its shape {shape} promises: save it again")
        array = np.empty(shape[::-1] if fortran else shape, dtype)
        fill(member, array, where)
    return array.T if fortran else array


def stem(path: str) -> str:
    """Return the name of a file without what its ending says about the format."""
    return os.path.basename(path).removesuffix(".gz").rsplit(".", 1)[0]

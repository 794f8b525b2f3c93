"""Read tables from files with pandas: their separator, header and compression are found out.

A table is read in chunks of bounded size, each reduced at once to the smallest columns that hold it.
"""

from __future__ import annotations

import bz2
import contextlib
import csv
import gzip
import importlib
import io
import itertools
import lzma
import os
import re
import warnings
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

from fastsm.data._archives import open_archive
from fastsm.data._columns import Chunk, Texts, as_chunk, is_missing, is_mostly, number
from fastsm.data._dataset import DataError, listed
from fastsm.data._idx import unreadable
from fastsm.data._limits import LIMIT, check_expansion, regular_size

__all__ = ["TABLES", "TableFile", "read_table", "stem"]

_PACKED = ("", ".gz", ".bz2", ".xz", ".zip")
_PARQUET = (".parquet", ".pq")
#: The endings of the names of tables.
TABLES = (
    *(kind + packed for kind in (".csv", ".tsv", ".tab", ".txt", ".data") for packed in _PACKED),
    *_PARQUET,
)
# What stands for a missing value. None, often a category, and an empty text in quotes are not among them.
_MISSING = ["", "?", "NA", "N/A", "n/a", "#N/A", "<NA>", "nan", "NaN", "NAN", "-nan", "-NaN", "null", "NULL"]
_LONGEST_LINE = 1 << 24  # bytes
_MOST_COLUMNS = 1 << 16
_CELLS = 1 << 22  # of a chunk
_SAMPLE = 20  # lines


@dataclass
class TableFile:
    """A table in memory: the names of its columns, its rows in chunks, and whether its file had the names."""

    names: list[str]
    chunks: list[Chunk]
    header: bool


@dataclass
class _Layout:
    """How the text of a table is laid out."""

    names: list[str]
    header: bool
    separator: str
    decimal: str = "."


def stem(path: str) -> str:
    """Return the name of a file without its folder and its extensions."""
    name = os.path.basename(path)
    for ending in sorted(_PACKED, key=len, reverse=True):
        name = name.removesuffix(ending) if ending else name
    return name.rsplit(".", 1)[0]


def read_table(
    path: str, texts: Callable[[Sequence[str]], Collection[str]], order: tuple[str, ...] = ()
) -> TableFile:
    """Return a table; `texts` returns those of its columns whose values are read as they are written.

    `order` are the names of the columns that are expected. A file without a header must have as many columns.

    Raise DataError, with the row and the column, if the file does not hold a table or is too large.
    """
    try:
        pandas = importlib.import_module("pandas")
    except ImportError:
        raise DataError(f"{path!r} is a table, which needs pandas: pip install fastsm[train]") from None
    try:
        if path.lower().endswith(_PARQUET):
            return _read_parquet(path)
        layout = _layout(path, order)
        known = set(texts(layout.names))
        chunks = _read_text(path, layout, known, pandas)
        # Text that is a number in another chunk has to be read as it is written.
        again = [n for n in layout.names if len({isinstance(chunk[n], Texts) for chunk in chunks}) > 1]
        commas = layout.separator != "," and any(
            isinstance(c := chunk[name], Texts) and is_mostly(_comma_number, c.values)
            for chunk in chunks[:1]
            for name in layout.names
        )
        if again or commas:
            layout.decimal = "," if commas else layout.decimal
            chunks = _read_text(path, layout, {*known, *again}, pandas)
        return TableFile(layout.names, chunks, layout.header)
    except UnicodeDecodeError as error:
        raise DataError(f"{path!r} must be text in UTF-8: {error}") from error
    except csv.Error as error:
        raise DataError(f"{path!r} must be a table: {error}") from error
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise unreadable(path, error) from error


# ---- bytes ----


class _Checked(io.RawIOBase):
    """The bytes of a file after decompression, checked while they are read."""

    def __init__(self, path: str, file: IO[bytes], size: int, packed: bool) -> None:
        self.total = 0
        self._line, self._path, self._file, self._size, self._packed = 0, path, file, size, packed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        block = self._file.read(len(buffer))
        buffer[: len(block)] = block
        self.total += len(block)
        last = block.rfind(b"\n")
        self._line = self._line + len(block) if last < 0 else len(block) - last
        if self._line > _LONGEST_LINE:
            raise DataError(f"{self._path!r} has a line that is too long")
        if self._packed:
            check_expansion(repr(self._path), self._size, self.total)
        elif self.total > LIMIT:
            raise DataError(f"{self._path!r} is too large for a table")
        return len(block)


@contextlib.contextmanager
def _opened(path: str) -> Iterator[tuple[_Checked, IO[str]]]:
    """Open a text, which may be compressed: its first bytes say how."""
    size = regular_size(path)
    with contextlib.ExitStack() as stack:
        file: IO[bytes] = stack.enter_context(open(path, "rb"))
        start = file.read(6)
        file.seek(0)
        opener: Callable[..., Any] | None = next(
            (f for magic, f in _OPENERS.items() if start.startswith(magic)), None
        )
        if start.startswith(b"PK\3\4"):
            archive, members = stack.enter_context(open_archive(path))
            names = [name for name in members if not name.startswith("__MACOSX/")]
            if len(names) != 1:
                raise DataError(f"{path!r} must be an archive of one table, got {listed(names)}")
            file = stack.enter_context(archive.open(members[names[0]]))
        elif opener is not None:
            file = stack.enter_context(opener(file))
        checked = _Checked(path, file, size, packed=opener is not None or start.startswith(b"PK\3\4"))
        raw = io.BufferedReader(checked, 1 << 18)
        wide = raw.peek(2)[:2] in (b"\xff\xfe", b"\xfe\xff")
        yield checked, io.TextIOWrapper(raw, "utf-16" if wide else "utf-8-sig", newline="")


_OPENERS: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
}


# ---- layout ----


def _layout(path: str, order: tuple[str, ...]) -> _Layout:
    """Return the layout of a text, from its first lines."""
    with _opened(path) as (_, text):
        lines: list[str] = []
        while len(lines) <= _SAMPLE and sum(map(len, lines)) < _LONGEST_LINE and (line := text.readline()):
            lines += [line] if line.strip() else []
    if not lines:
        raise DataError(f"{path!r} must be a table with a header and rows, got an empty file")
    whole = lines if len(lines) <= _SAMPLE else lines[:-1]
    parsed = {separator: _parsed(whole, separator) for separator in ",;\t|"}

    def columns(separator: str) -> tuple[bool, int]:
        widths = {len(row) for row in parsed[separator]}
        return len(widths) == 1 and max(widths) > 1, len(parsed[separator][0])

    separator = max(parsed, key=columns)
    rows = [[cell.strip() for cell in row] for row in parsed[separator]]
    if not 0 < len(rows[0]) <= _MOST_COLUMNS:
        found = len(rows[0]) or "a cell that is too long"
        raise DataError(f"{path!r} must have 1 to {_MOST_COLUMNS} columns, got {found}")
    header = not set(order).isdisjoint(rows[0]) or _has_header(path, rows)
    names = rows[0]
    if header:
        names = [name or f"Unnamed: {i}" for i, name in enumerate(names)]
        twice = next((name for name in names if names.count(name) > 1), None) if _repeats(names) else None
        if twice is not None:
            raise DataError(f"{path!r} has two columns with the name {twice!r}: rename one")
    else:
        names = [f"column {i}" for i in range(1, len(names) + 1)]
        if order and len(order) != len(names):
            raise DataError(
                f"{path!r} has no header, and {len(names)} columns where the model has {len(order)}: add a"
                " first line with the names of the columns"
            )
        names = list(order) or names
    cells = list(itertools.chain.from_iterable(rows))
    commas = separator != "," and any(map(_comma_number, cells))
    points = any(re.fullmatch(r"[+-]?\d*\.\d+", cell) for cell in cells)
    return _Layout(names, header, separator, "," if commas and not points else ".")


def _repeats(names: list[str]) -> bool:
    return len(set(names)) < len(names)


def _parsed(lines: list[str], separator: str) -> list[list[str]]:
    try:
        return list(csv.reader(lines, delimiter=separator, skipinitialspace=True))
    except csv.Error:  # a cell that is too long: it is another separator
        return [[]]


def _has_header(path: str, rows: list[list[str]]) -> bool:
    """Whether the first row has names; its cells are compared with those below."""
    first, below = rows[0], [[cell for cell in column if cell] for column in _columns(rows)]
    figures = [cell for cell in first if number(cell) is not None]
    # A name seldom occurs again in its column.
    again = any(number(cell) is None and cell in cells for cell, cells in zip(first, below, strict=True))
    if not figures:
        numbers = any(cells and all(number(cell) is not None for cell in cells) for cells in below)
        return numbers or not again
    if len(figures) > 2 and figures == [str(i) for i in range(len(figures))]:
        return True  # pandas numbers columns without names
    rising = all(cell.isdecimal() for cell in figures) and sorted(set(figures), key=int) == figures
    if 2 < len(figures) < len(first) and rising and not again:
        raise DataError(f"{path!r} has a first line of names or of data: give all columns names in words")
    return False


def _columns(rows: list[list[str]]) -> list[list[str]]:
    """Return the cells of each column below the first row."""
    return [[row[i] for row in rows[1:] if i < len(row)] for i in range(len(rows[0]))]


def _comma_number(text: str) -> bool:
    return re.fullmatch(r"[+-]?\d+,\d+", text) is not None


# ---- chunks ----


def _read_text(path: str, layout: _Layout, texts: set[str], pandas: Any) -> list[Chunk]:
    """Return the rows below the header."""
    names, chunks, rows = layout.names, [], 0
    with _opened(path) as (checked, text), warnings.catch_warnings():
        warnings.simplefilter("error", pandas.errors.ParserWarning)
        try:
            reader = pandas.read_csv(
                text,
                sep=layout.separator,
                decimal=layout.decimal,
                header=0 if layout.header else None,
                names=names,
                index_col=False,
                dtype={name: str for name in names if name in texts} or None,
                na_values=_MISSING,
                keep_default_na=False,
                skipinitialspace=True,
                chunksize=max(_CELLS // len(names), 1),
                low_memory=False,
                engine="c",
            )
            for frame in reader:
                rows += len(frame)
                # A row has at least its separators: short rows would take memory without end.
                if rows * (len(names) - 1) > checked.total:
                    _check_widths(path, layout)
                chunks.append(as_chunk(frame, names))
        except (pandas.errors.ParserWarning, pandas.errors.ParserError) as error:
            raise _parser_error(path, layout, str(error)) from error
        except pandas.errors.EmptyDataError:
            pass
    if not rows:
        raise DataError(f"{path!r} must have rows below its header, got none")
    if any(is_missing(chunk[names[-1]]).any() for chunk in chunks):
        _check_widths(path, layout)
    return chunks


def _parser_error(path: str, layout: _Layout, message: str) -> DataError:
    match = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", message)
    if match:
        wanted, line, found = match.groups()
        return DataError(f"{path!r} must have {wanted} cells in every row, got {found} in line {line}")
    if "Length of header" in message:
        _check_widths(path, layout)
    return DataError(f"{path!r} must be a table: {message.split('C error: ')[-1].strip()}")


def _check_widths(path: str, layout: _Layout) -> None:
    """Check that each row has a cell for each column: pandas fills short rows."""
    with _opened(path) as (_, text):
        reader = csv.reader(text, delimiter=layout.separator, skipinitialspace=True)
        for row in reader:
            if row and len(row) != len(layout.names) and any(row):
                raise DataError(
                    f"{path!r} must have {len(layout.names)} cells in every row, got {len(row)} in line"
                    f" {reader.line_num}"
                )


def _read_parquet(path: str) -> TableFile:
    """Return a table of Parquet, which pyarrow reads."""
    try:
        arrow, parquet = importlib.import_module("pyarrow"), importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise DataError(f"{path!r} needs pyarrow: pip install pyarrow") from None
    size, chunks, total, rows = regular_size(path), [], 0, 0
    try:
        with parquet.ParquetFile(path) as file:
            schema, groups = file.schema_arrow, file.metadata.num_row_groups
            check_expansion(
                repr(path), size, sum(file.metadata.row_group(i).total_byte_size for i in range(groups))
            )
        names = [str(name) for name in schema.names]
        # A text that is repeated takes no memory for each row.
        texts = [field.name for field in schema if arrow.types.is_string(field.type)]
        with parquet.ParquetFile(path, read_dictionary=texts) as file:
            if not 0 < len(names) <= _MOST_COLUMNS or _repeats(names):
                raise DataError(f"{path!r} must have 1 to {_MOST_COLUMNS} columns of different names")
            for batch in file.iter_batches(max(_CELLS // len(names), 1)):
                total += batch.nbytes
                check_expansion(repr(path), size, total)
                frame = arrow.Table.from_batches([batch]).to_pandas(ignore_metadata=True)
                chunks.append(as_chunk(frame, names))
                rows += batch.num_rows
    except (arrow.ArrowException, KeyError, TypeError) as error:
        raise DataError(f"{path!r} must be a table of Parquet: {' '.join(str(error).split())}") from error
    if not rows:
        raise DataError(f"{path!r} must have rows, got none")
    return TableFile(names, chunks, header=True)

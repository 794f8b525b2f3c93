"""The answers of ``fastsm predict``: as lines, or in a table; and inputs from the standard input."""

from __future__ import annotations

import csv
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from fastsm._command._errors import BAD_DATA, CommandError
from fastsm._command._models import Trained
from fastsm._command._output import Output, printable
from fastsm._command._report import predict_numbers, predict_probs
from fastsm._files._atomic import write_atomically
from fastsm.data._columns import Texts
from fastsm.data._limits import LIMIT
from fastsm.data._table_files import TABLES, read_table
from fastsm.typing import Array

__all__ = ["Answers", "as_file", "read_ids"]


_BLOCK = 1 << 20
_KINDS = {
    b"\x93NUMPY": ".npy",
    b"PK\3\4": ".npz",
    b"PAR1": ".parquet",
    b"\x1f\x8b": ".csv.gz",
    b"\x89PNG": ".png",
    b"\xff\xd8\xff": ".jpg",
}


@contextmanager
def as_file(name: str) -> Iterator[str]:
    """Give the path of an input: for "-" that of a temporary file with the standard input."""
    if name != "-":
        yield name
        return
    if sys.stdin is None:
        raise CommandError("- is the standard input, which is closed", BAD_DATA)
    with tempfile.TemporaryDirectory() as folder:
        block = sys.stdin.buffer.read(_BLOCK)
        kind = next((kind for start, kind in _KINDS.items() if block.startswith(start)), ".csv")
        path = os.path.join(folder, f"stdin{kind}")
        total = 0
        with open(path, "xb") as file:
            while block:
                total += len(block)
                if total > LIMIT:
                    raise CommandError("the standard input is too large", BAD_DATA)
                file.write(block)
                block = sys.stdin.buffer.read(_BLOCK)
        try:
            yield path
        except CommandError as error:
            words = str(error).replace(repr(path), "the standard input").replace(path, "the standard input")
            raise CommandError(words, error.code) from error


def read_ids(path: str, trained: Trained) -> dict[str, list[str]]:
    """Return the columns of a table that say which row it is: left out as they differ in each row."""
    table = trained.model.table
    if table is None or not path.lower().endswith(TABLES):
        return {}
    ids = {name for name, why in table.left_out.items() if why == "a different value in each row"}
    file = read_table(path, lambda names: table.texts | ids, table.order)
    result: dict[str, list[str]] = {}
    for name in file.names:
        if name in ids:
            result[name] = []
            for chunk in file.chunks:
                column = chunk[name]
                if isinstance(column, Texts):
                    result[name] += ["" if code < 0 else column.values[code] for code in column.codes]
                else:  # of Parquet
                    result[name] += map(str, column.tolist())
    return result


class Answers:
    """The answers for the rows of some inputs."""

    def __init__(self, trained: Trained, top: int) -> None:
        self._trained, self._top = trained, min(top, len(trained.classes))
        self._parts: list[tuple[str, Array, dict[str, list[str]], list[str]]] = []

    def add(self, name: str, x: Array, ids: dict[str, list[str]], notes: list[str]) -> None:
        """Add the rows of an input, with the columns that say which row it is, and what was done to it."""
        predict = predict_probs if self._trained.classes else predict_numbers
        self._parts.append((name, predict(self._trained.model, x), ids, notes))

    def print(self, output: Output) -> None:
        """Print a line for each row of the last input."""
        (name, found, _, notes), classes = self._parts.pop(), self._trained.classes
        noted = {"notes": notes} if notes else {}
        if not classes:
            for row, value in enumerate(found.tolist()):
                output.result(f"{name}\t{row}\t{value:.6g}", input=name, row=row, prediction=value, **noted)
            return
        best = (-found).argsort(axis=1, kind="stable")[:, : self._top]
        for row, (order, probs) in enumerate(zip(best.tolist(), found, strict=True)):
            answers = [{"class": classes[i], "index": i, "probability": float(probs[i])} for i in order]
            words = "\t".join(f"{printable(classes[i])}\t{float(probs[i]):.4f}" for i in order)
            about = {**answers[0], "top": answers, **noted}
            output.result(f"{name}\t{row}\t{words}", input=name, row=row, **about)

    def write(self, path: str) -> int:
        """Write all rows to a table, atomically; return their number."""

        def fill(file: IO[bytes]) -> None:
            text = io.TextIOWrapper(file, "utf-8", newline="")
            csv.writer(text).writerows(self._rows())
            text.flush()
            text.detach()

        try:
            write_atomically(path, fill)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise CommandError(f"--csv {path} cannot be written: {reason}") from error
        return sum(len(found) for _, found, *_ in self._parts)

    def _rows(self) -> Iterator[list[object]]:
        """Give the rows of the table, the first one with the names of its columns."""
        classes = self._trained.classes
        ids = list(dict.fromkeys(name for _, _, its, _ in self._parts for name in its))
        yield ["input", "row", *ids, "prediction", *(f"P({name})" for name in classes)]
        for name, found, its, _ in self._parts:
            for row, values in enumerate(found.tolist()):
                own = [its[column][row] if column in its else "" for column in ids]
                cells = [classes[found[row].argmax()], *values] if classes else [values]
                yield [name, row, *own, *cells]

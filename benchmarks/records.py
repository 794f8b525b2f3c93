"""A record is one measured figure of one candidate in one cell. A file of results is a table of records.

The file is CSV, behind lines `# key: value` that describe the machine and the versions. Figures are the
measured ones, without ratios: readers compute ratios, best over best.
"""

import csv
import io
from collections.abc import Iterable
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from timing import Timing, fastest

# fastsm, the other libraries in the order of the tables, and the limit.
OURS, LIMIT = "fastsm", "limit"
PEERS = (
    "numpy",
    "numpy out=",
    "scipy",
    "torch",
    "torch.compile",
    "onnxruntime",
    "jax",
    "sklearn",
    "numba",
)


@dataclass(frozen=True)
class Record:
    """One line of the table. Without `best` the candidate was not timed, and `note` says why."""

    suite: str  # kernels, training, inference, estimators, footprint
    group: str  # cells that are compared in one table: "softmax, float32"
    cell: str  # "4096 x 1000"
    threads: int
    candidate: str
    way: str  # how the library is called: the fastest of its ways
    unit: str  # "ns", "MB", "%"
    best: float | None
    median: float | None = None
    note: str = ""


def of_cell(
    suite: str,
    group: str,
    cell: str,
    threads: int,
    timings: Iterable[Timing],
    rejected: dict[tuple[str, str], str],
) -> list[Record]:
    """Return a record of the fastest way of each candidate, and one of each way that was rejected."""
    place = (suite, group, cell, threads)
    best = fastest(timings).values()
    timed = [Record(*place, one.candidate, one.way, "ns", one.best, one.median) for one in best]
    return timed + [Record(*place, *name, "ns", None, note=why) for name, why in rejected.items()]


def write(records: Iterable[Record], about: dict[str, str]) -> str:
    """Return the content of a file of results."""
    text = io.StringIO()
    for key, value in about.items():
        text.write(f"# {key}: {value}\n")
    table = csv.writer(text, lineterminator="\n")
    table.writerow(field.name for field in fields(Record))
    for record in records:
        table.writerow("" if value is None else _short(value) for value in astuple(record))
    return text.getvalue()


def read(text: str) -> tuple[list[Record], dict[str, str]]:
    """Return the records of a file of results, and its description of the machine."""
    lines = text.splitlines()
    head = [line for line in lines if line.startswith("# ")]
    about = dict(line[2:].split(": ", 1) for line in head)
    records = [
        Record(
            **{
                **row,
                "threads": int(row["threads"]),
                "best": float(row["best"]) if row["best"] else None,
                "median": float(row["median"]) if row["median"] else None,
            }
        )
        for row in csv.DictReader(lines[len(head) :])
    ]
    return records, about


def read_all(folder: Path) -> dict[str, tuple[list[Record], dict[str, str]]]:
    """Return all files of a folder by their names without the ending."""
    return {path.stem: read(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.csv"))}


def _short(value: object) -> object:
    return f"{value:.5g}" if isinstance(value, float) else value

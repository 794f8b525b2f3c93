"""Say which targets of the project a result file meets.

    fastsm bench all --threads 1,2 --json results.json
    python benchmarks/targets.py results.json

Targets are ratios of times that were measured side by side: those travel between machines. A target whose
cells the file lacks is not mentioned. The exit status is 1 if one is missed.
"""

import argparse
import json
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from fastsm._bench import LIMITS, reading

Cell = dict[str, Any]

# ---- kernels, one thread

GEOMETRIC_MEAN = 2.5  # of the fastest peer's time over fastsm's
CROSS_ENTROPY, TENS, LONG_SOFTMAX, OTHERS = (
    "cross-entropy",
    "many rows of 10",
    "float32 softmax and log_softmax, C >= 100",
    "every other cell",
)
OVER_FASTEST_PEER = {CROSS_ENTROPY: 2.5, TENS: 2.0, LONG_SOFTMAX: 1.2, OTHERS: 1.5}
# With this many rows the cost of the call itself hardly counts.
MANY_ROWS = 100
OVER_PLAIN_NUMPY = {True: 10.0, False: 4.0}  # by whether it is many rows of 10; float32 softmax
IN_PLACE_OVER_SWEEP = {(256, 1000): 4.0, (4096, 1000): 2.2}  # softmax
AXIS_0 = 1.5  # over axis -1 of the transpose
WIDE = 1.05  # "no slower" than ordinary logits, with room for the noise of two measurements
ROW_OVER_TORCH, ROW_OVER_NUMPY = 1.0, 5.0

# ---- training, one thread; then two threads over one

SMALL, LARGE, SPIRAL = "784-128-10 relu", "784-512-512-10 relu", "2-500-2 tanh"
OVER_PRODUCTS = {32: 1.3, 128: 1.15}  # by batch size
OVER_PEERS = {
    SMALL: {"numpy": 1.5, "torch": 2.0, "sklearn": 2.0, "jax": 1.0},
    LARGE: {"numpy": 1.5, "jax": 1.0},
    SPIRAL: {"torch": 6.0},
}
TWO_THREADS = {(SMALL, 128): 1.7, (LARGE, 128): 1.3}

# ---- footprint

IMPORT_MS = 15.0
TRAINING_MB = 120.0
IN_PLACE_MEMORY = 0.01


@dataclass(frozen=True)
class Check:
    """A target on one cell."""

    target: str
    what: str
    value: float
    bound: float
    at_least: bool = True

    @property
    def share(self) -> float:
        """How much of the target is reached: 1 or more meets it."""
        return self.value / self.bound if self.at_least else self.bound / max(self.value, 1e-9)

    @property
    def met(self) -> bool:
        return self.share >= 1


def main(arguments: list[str] | None = None) -> int:
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("file", type=Path, help="what fastsm bench --json wrote")
    document = json.loads(parser.parse_args(arguments).file.read_text(encoding="utf-8"))
    found = checks(document)
    print(report(found))
    return int(not all(check.met for check in found))


def checks(document: dict[str, Any]) -> list[Check]:
    """Return every target on every cell that has one."""
    kernels = document.get("kernels", [])
    found = [*_peers(kernels), *_limits(kernels), *_layouts(kernels), *_one_row(kernels)]
    found += [*_training(document.get("training", [])), *_footprint(document.get("footprint", {}))]
    return [check for check in found if not math.isnan(check.value)]


def report(found: list[Check]) -> str:
    """Return how many cells meet each target, then those that fall short, the furthest first."""
    groups: dict[str, list[Check]] = {}
    for check in found:
        groups.setdefault(check.target, []).append(check)
    lines = []
    for target, group in groups.items():
        met = sum(check.met for check in group)
        lines.append(f"{met:4d} of {len(group):3d}  {target}{'' if met == len(group) else '  MISSED'}")
    for check in sorted((check for check in found if not check.met), key=lambda check: check.share):
        sign = ">=" if check.at_least else "<="
        lines.append(f"  {check.target}: {check.what}: {check.value:.2f}, not {sign} {check.bound:g}")
    return "\n".join(lines) or "no target has a cell in this file"


# ---- kernels


def _plain(cells: list[Cell]) -> list[Cell]:
    """Return the cells of the main tables."""
    wanted = {"axis": -1, "logits": "usual", "threads": 1}
    return [
        cell
        for cell in cells
        if all(cell[name] == value for name, value in wanted.items()) and cell["dtype"].startswith("float")
        if cell["dtype"] != "float16"
    ]


def _peers(cells: list[Cell]) -> Iterator[Check]:
    ratios = []
    for cell in _plain(cells):
        peer = reading.fastest_peer(cell)
        ratio = math.nan if peer is None else reading.ratio(cell, peer)
        if math.isnan(ratio):
            continue
        ratios.append(ratio)
        what, bound = f"{_name(cell)}, {peer}", OVER_FASTEST_PEER[_group(cell)]
        yield Check("faster than the fastest peer", what, ratio, 1.0)
        yield Check(f"fastest peer over fastsm, {_group(cell)}: {bound:g}", what, ratio, bound)
        if cell["operation"] == "softmax" and cell["dtype"] == "float32":
            bound = OVER_PLAIN_NUMPY[_is_many_tens(cell)]
            title = f"plain NumPy over fastsm, float32 softmax: {bound:g}"
            yield Check(title, _name(cell), reading.ratio(cell, "numpy"), bound)
    if ratios:
        mean = geometric_mean(ratios)
        yield Check("fastest peer over fastsm, geometric mean", "all cells", mean, GEOMETRIC_MEAN)


def _limits(cells: list[Cell]) -> Iterator[Check]:
    for cell in _plain(cells):
        bound = IN_PLACE_OVER_SWEEP.get((cell["rows"], cell["classes"]))
        if cell["operation"] == "softmax" and bound is not None:
            ratio = _time(cell, "fastsm", "in place") / _time(cell, "sweep")
            title = f"in place over a sweep, {reading.label(cell)}: {bound:g}"
            yield Check(title, _name(cell), ratio, bound, at_least=False)


def _layouts(cells: list[Cell]) -> Iterator[Check]:
    """Other axes and logits over the usual ones, out of place: a wide softmax in place is soon not wide."""
    usual = {_key(cell): cell for cell in _plain(cells)}
    for cell in cells:
        other = usual.get(_key(cell))
        if other is None or cell["threads"] != 1:
            continue
        ratio = _out_of_place(cell) / _out_of_place(other)
        if cell["axis"] == 0:
            yield Check("axis 0 over axis -1 of the transpose", _name(cell), ratio, AXIS_0, at_least=False)
        elif cell["logits"] == "wide":
            yield Check("wide logits over ordinary ones", _name(cell), ratio, WIDE, at_least=False)


def _one_row(cells: list[Cell]) -> Iterator[Check]:
    for cell in _plain(cells):
        if (cell["operation"], cell["rows"], cell["classes"]) == ("softmax", 1, 10):
            ours = _time(cell, "fastsm", "in place")
            numpy = min(_time(cell, "numpy"), _time(cell, "numpy out="))
            for title, time, bound in (
                ("one row: torch over fastsm", _time(cell, "torch"), ROW_OVER_TORCH),
                ("one row: NumPy over fastsm", numpy, ROW_OVER_NUMPY),
            ):
                yield Check(title, _name(cell), time / ours, bound)


def _group(cell: Cell) -> str:
    if cell["operation"].startswith("cross_entropy"):
        return CROSS_ENTROPY
    if _is_many_tens(cell):
        return TENS
    of_softmax = cell["operation"] in ("softmax", "log_softmax")
    return LONG_SOFTMAX if of_softmax and cell["dtype"] == "float32" and cell["classes"] >= 100 else OTHERS


def _is_many_tens(cell: Cell) -> bool:
    return bool(cell["classes"] == 10 and cell["rows"] >= MANY_ROWS)


def _key(cell: Cell) -> tuple[Any, ...]:
    return tuple(cell[name] for name in ("operation", "dtype", "rows", "classes"))


def _name(cell: Cell) -> str:
    return f"{cell['operation']} {cell['dtype']} {reading.label(cell)}"


def _time(cell: Cell, candidate: str, variant: str | None = None) -> float:
    """Return nanoseconds; NaN where this was not measured."""
    times = [
        timing["best_ns"]
        for timing in cell["timings"]
        if timing["candidate"] == candidate and variant in (None, timing["variant"])
    ]
    return min(times, default=math.nan)


def _out_of_place(cell: Cell) -> float:
    ours = [timing for timing in cell["timings"] if timing["candidate"] == "fastsm"]
    return min((one["best_ns"] for one in ours if one["variant"] != "in place"), default=math.nan)


# ---- training and footprint


def _training(cells: list[Cell]) -> Iterator[Check]:
    alone = {(cell["network"], cell["batch_size"]): cell for cell in cells if cell["threads"] == 1}
    for (network, batch_size), cell in alone.items():
        what = f"{network}, batch {batch_size}"
        if network != SPIRAL and batch_size in OVER_PRODUCTS:
            bound, ratio = OVER_PRODUCTS[batch_size], 1 / reading.ratio(cell, LIMITS[1])
            yield Check(f"an epoch over its products, batch {batch_size}", what, ratio, bound, at_least=False)
        for peer, bound in OVER_PEERS.get(network, {}).items():
            yield Check(f"{peer}'s epoch over fastsm's: {bound:g}", what, reading.ratio(cell, peer), bound)
    for cell in cells:
        key = cell["network"], cell["batch_size"]
        if cell["threads"] == 2 and key in TWO_THREADS and key in alone:
            ratio = _time(alone[key], "fastsm") / _time(cell, "fastsm")
            what, bound = f"{key[0]}, batch {key[1]}", TWO_THREADS[key]
            yield Check(f"one thread's epoch over two threads': {bound:g}", what, ratio, bound)


def _footprint(footprint: dict[str, Any]) -> Iterator[Check]:
    for entry in footprint.get("imports", []):
        if entry["candidate"] == "fastsm":
            title = f"import after NumPy: {IMPORT_MS:g} ms"
            yield Check(title, "fastsm", entry["after_numpy_ms"], IMPORT_MS, at_least=False)
    for entry in footprint.get("memory", []):
        taken = max(entry["mb"] or 0.0, entry["tracemalloc_mb"] or 0.0)
        if entry["in_place"]:
            title = f"memory of working in place over the data: {IN_PLACE_MEMORY:g}"
            yield Check(title, entry["what"], taken / entry["data_mb"], IN_PLACE_MEMORY, at_least=False)
        elif entry["candidate"] == "fastsm" and entry["what"].startswith("training"):
            title = f"peak of training: {TRAINING_MB:g} MB"
            yield Check(title, entry["what"], taken, TRAINING_MB, at_least=False)


if __name__ == "__main__":
    sys.exit(main())

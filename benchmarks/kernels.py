"""Time fastsm's kernels beside NumPy, SciPy, PyTorch, ONNX Runtime, JAX and scikit-learn.

    python benchmarks/kernels.py --quick
    python benchmarks/kernels.py --operations softmax,softmax_vjp --dtypes float32 --json kernels.json

Every library but NumPy is optional; each is called at its best setting (see _peers). All run in one process
on one thread, interleaved, after their results have been checked against a float64 reference. Tables go to
standard output, progress to standard error.
"""

import argparse
import json
import sys
from itertools import product
from pathlib import Path

import _machine  # imports no NumPy: the limits on threads come first


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    _machine.limit_threads(options.threads)
    run(options)
    return 0


def run(options: argparse.Namespace) -> None:
    """Measure and print; NumPy is first imported here."""
    import _cells
    import _peers
    import _report
    import _special
    import _suite
    import _timing

    names = _chosen(options.candidates, _peers.LIBRARIES, "candidates")
    operations = _chosen(options.operations, _cells.OPERATIONS, "operations")
    dtypes = _chosen(options.dtypes, _cells.DTYPES, "dtypes")
    shapes = options.shapes or (_cells.QUICK_SHAPES if options.quick else _cells.SHAPES)
    rounds = options.rounds or (3 if options.quick else 15)
    seconds = 0.0 if options.quick else 0.5
    if "fastsm" not in names:
        names = ("fastsm", *names)

    libraries = _peers.load(names, options.threads)
    machine = _machine.describe(libraries.versions, options.threads)
    loop_ns = _timing.empty_call_ns()
    print(_report.header(machine, libraries.missing, loop_ns), flush=True)

    kinds = product(operations, dtypes, shapes)
    cells = [_cells.Cell(name, rows, classes, dtype) for name, dtype, (rows, classes) in kinds]
    results = _suite.measure(cells, libraries.modules, rounds, seconds)
    print("\n" + _report.tables(results), flush=True)

    judgements: list[_special.Judgement] = []
    if not options.no_special:
        special = _special.Special(libraries.modules, rounds, seconds, options.quick)
        judgements = special.measure(operations, dtypes)
        print(_report.special_table(judgements))
    numbers = _report.summary(results, judgements)
    print(_report.summary_text(numbers, results))

    if options.json:
        report = {
            "machine": machine,
            "missing": libraries.missing,
            "rounds": rounds,
            "timing_loop_ns": loop_ns,
            "cells": [result.to_json() for result in results],
            "special": [judgement.to_json() for judgement in judgements],
            "summary": numbers,
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n")


def _parser() -> argparse.ArgumentParser:
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("--quick", action="store_true", help="three small shapes, three rounds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to FILE")
    parser.add_argument("--operations", type=_names, help="comma-separated; default: all")
    parser.add_argument("--dtypes", type=_names, help="float32, float64 or both; default: both")
    parser.add_argument("--shapes", type=_shapes, help="rows x classes, such as 1x10,4096x1000")
    parser.add_argument("--candidates", type=_names, help="libraries to compare fastsm with; default: all")
    parser.add_argument("--rounds", type=int, help="at least so many rounds (default: 15, with --quick 3)")
    parser.add_argument("--threads", type=int, default=1, help="threads for every library (default: 1)")
    parser.add_argument("--no-special", action="store_true", help="only the tables, no special cells")
    return parser


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def _shapes(text: str) -> tuple[tuple[int, int], ...]:
    shapes = []
    for name in _names(text):
        rows, classes = name.lower().split("x")
        shapes.append((int(rows), int(classes)))
    return tuple(shapes)


def _chosen(names: tuple[str, ...] | None, known: tuple[str, ...], option: str) -> tuple[str, ...]:
    """All that are known, or those asked for, in the order of the tables."""
    unknown = set(names or ()) - set(known)
    if unknown:
        sys.exit(f"--{option}: unknown {', '.join(sorted(unknown))}; choose from {', '.join(known)}")
    return tuple(name for name in known if names is None or name in names)


if __name__ == "__main__":
    sys.exit(main())

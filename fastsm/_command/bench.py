"""``fastsm bench``."""

from __future__ import annotations

import argparse
import math
import textwrap
import time
from collections.abc import Callable
from typing import Any

from fastsm._command._errors import FAILURE, OK, CommandError
from fastsm._command._options import Option, add_options, given_flags, one_of, resolve, whole
from fastsm._command._output import Output, printable, table
from fastsm._command._train_options import OUTPUT

__all__ = ["DESCRIPTION", "EPILOG", "add_arguments", "run"]

DESCRIPTION = """\
Measure softmax, its vector-Jacobian product, and cross-entropy with its
gradient on this machine, beside plain NumPy and those of SciPy, PyTorch and
ONNX Runtime (with onnx) that are installed. It takes about ten seconds.

Each result is compared with one in float64 first; a library whose result
differs is reported and not timed. The libraries are timed in turn, round by
round, so that changes in clock speed or load affect all alike.
"""

EPILOG = """\
how to read the tables:
  Times are microseconds per call, the best of all rounds. After each time comes
  its ratio to fastsm's: 4.8x means that fastsm is 4.8 times as fast; * marks a
  library that is faster than fastsm. Shapes are rows x classes. Ratios compare
  better across machines than times.

examples:
  fastsm bench                          one thread, float32
  fastsm bench --threads 2              allow each library two threads
  fastsm bench --dtype float64 --json   an object per shape, in seconds
"""

OURS = "fastsm"
OPERATIONS = ("softmax", "softmax_vjp", "cross_entropy_with_grad")
SHAPES = ((1, 10), (128, 10), (60000, 10), (256, 1000), (4096, 1000))
# Calls are timed in blocks that take about as long: the clock itself costs some 50 ns.
BLOCK_SECONDS = 1e-3
# Differences beyond this many machine epsilons mean another operation, not another order of additions.
EPSILONS = 1000

_OPTIONS = [
    Option("threads", whole(1), 1, "the number of threads of each library", "N", group="measuring"),
    Option("dtype", one_of("float32", "float64"), "float32", "float32 or float64", "NAME", group="measuring"),
    Option(
        "rounds", whole(1), 20, "the number of timing rounds; the best is reported", "N", group="measuring"
    ),
    *OUTPUT,
]

Calls = dict[str, Callable[[], Any]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    add_options(parser, _OPTIONS)


def run(arguments: argparse.Namespace) -> int:
    """Measure, and show."""
    import fastsm

    settings = resolve(_OPTIONS, given_flags(arguments, _OPTIONS), environment=False)
    output = Output(settings)
    threads_before = fastsm.get_num_threads()
    try:
        ways = _libraries(settings, output)
        for operation in OPERATIONS:
            able = {name: way[operation] for name, way in ways.items() if operation in way}
            _measure(operation, able, settings, output)
    finally:
        fastsm.set_num_threads(threads_before)
    return OK


def _libraries(settings: dict[str, Any], output: Output) -> dict[str, Any]:
    """Return how those that are there are called, and tell who is there."""
    from fastsm._command._libraries import LIBRARIES
    from fastsm._info import versions as of_fastsm

    versions, ways, missing = {}, {}, {}
    for name, load in LIBRARIES.items():
        try:
            versions[name], ways[name] = load(settings["threads"], settings["dtype"])
        except ImportError as error:
            missing[name] = str(error)
        except Exception as error:  # one that is installed but broken
            missing[name] = _first_line(error)
    threads, instruction_set = settings["threads"], of_fastsm()["instruction set"]
    words = (
        f"{', '.join(f'{name} {version}' for name, version in versions.items())};"
        f" {threads} thread{'s' * (threads > 1)}, {settings['dtype']}, {instruction_set}. Microseconds per"
        f" call, the best of {settings['rounds']} rounds, and the ratio to fastsm's time; * is faster than"
        " fastsm."
    )
    lines = [textwrap.fill(words, 80), *(f"without {name}: {why}" for name, why in missing.items())]
    about = {"versions": versions, "missing": missing, "instruction_set": instruction_set}
    output.result("\n".join(lines), **about, threads=threads, dtype=settings["dtype"])
    return ways


def _measure(operation: str, ways: dict[str, Any], settings: dict[str, Any], output: Output) -> None:
    """Measure all shapes, and show a table, or an object for each shape."""
    rows, notes = [[operation, *ways]], []
    for shape in SHAPES:
        label = f"{shape[0]} x {shape[1]}"
        output.progress(f"{operation} {label}")
        calls, rejected = _agreeing(operation, _arrays(operation, shape, settings["dtype"]), ways)
        if OURS in rejected:
            raise CommandError(f"{operation}, {label}: fastsm is wrong: {rejected[OURS]}", FAILURE)
        seconds = dict(zip(calls, _best_times(list(calls.values()), settings["rounds"]), strict=True))
        rows.append([label, *(_words(seconds, name) for name in ways)])
        notes += [f"not timed: {name}, {label}: {printable(why)}" for name, why in rejected.items()]
        if output.json:
            place = {"operation": operation, "rows": shape[0], "classes": shape[1]}
            output.result("", **place, seconds=seconds, rejected=rejected)
    if not output.json:
        output.result("\n".join(["", table(rows), *notes]))


def _arrays(operation: str, shape: tuple[int, int], dtype: str) -> tuple[Any, ...]:
    """Return the arguments of an operation."""
    import numpy as np

    from fastsm import reference

    rng = np.random.default_rng(0)
    x, dy = ((3 * rng.standard_normal(shape)).astype(dtype) for _ in range(2))
    if operation == "softmax":
        return (x,)
    if operation == "softmax_vjp":
        return reference.softmax(x.astype(np.float64)).astype(dtype), dy
    return x, rng.integers(0, shape[1], shape[0])


def _agreeing(operation: str, arrays: tuple[Any, ...], ways: dict[str, Any]) -> tuple[Calls, dict[str, str]]:
    """Return the calls whose results are right, and why the others are not timed."""
    import numpy as np

    from fastsm import reference

    exact = (array.astype(np.float64) if array.dtype.kind == "f" else array for array in arrays)
    right = getattr(reference, operation)(*exact)
    calls: Calls = {}
    rejected = {}
    for name, way in ways.items():
        try:
            calls[name] = way(*arrays)
            why = _disagreement(calls[name](), right, arrays[0].dtype)
        except Exception as error:  # a library that cannot do this is named, and the others go on
            why = _first_line(error)
        if why:
            rejected[name] = why
            calls.pop(name, None)
    return calls, rejected


def _disagreement(returned: Any, right: Any, dtype: Any) -> str:
    """Return how far results are from those in float64, empty if they are near enough."""
    import numpy as np

    if not isinstance(right, tuple):
        returned, right = (returned,), (right,)
    for got, wanted in zip(returned, right, strict=True):
        value = np.asarray(got, np.float64)
        if value.shape != np.shape(wanted):
            return f"it returns the shape {value.shape}, not {np.shape(wanted)}"
        error, size = np.abs(value - wanted), np.abs(wanted)
        if not np.all(error <= EPSILONS * np.finfo(dtype).eps * (size + 0.1 * np.max(size))):
            return f"its result differs by up to {np.max(error):.3g}"
    return ""


def _best_times(calls: list[Callable[[], Any]], rounds: int) -> list[float]:
    """Return the seconds of the best block of each call, taken in turns."""
    counts = [max(1, min(10_000, int(BLOCK_SECONDS / _block(call, 3)))) for call in calls]
    best = [math.inf] * len(calls)
    for round_ in range(rounds):
        # Begin with another one each time, so that no call always follows the same one.
        for i in ((round_ + k) % len(calls) for k in range(len(calls))):
            best[i] = min(best[i], _block(calls[i], counts[i]))
    return best


def _block(call: Callable[[], Any], count: int) -> float:
    """Return the seconds of a call, the mean over a block, after one that is not timed."""
    call()
    start = time.perf_counter()
    for _ in range(count):
        call()
    return max(time.perf_counter() - start, 1e-9) / count


def _words(seconds: dict[str, float], name: str) -> str:
    """Return the time in microseconds, of another library with its ratio."""
    if name not in seconds:
        return ""
    time_, ratio = 1e6 * seconds[name], seconds[name] / seconds[OURS]
    digits = max(0, 2 - math.floor(math.log10(time_)))
    if name == OURS:
        return f"{time_:,.{digits}f}"
    factor = f"{ratio:.{2 if ratio < 1.1 else 1 if ratio < 10 else 0}f}x"
    return f"{time_:,.{digits}f} {factor}{'*' if ratio < 1 else ''}"


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]

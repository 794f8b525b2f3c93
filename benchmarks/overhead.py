"""What fastsm costs before it computes anything.

    python benchmarks/overhead.py [--imports 20] [--rounds 50] [--json FILE]

Its import on top of NumPy's, in new processes, and each public function on one row of ten.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import _machine

IMPORT_TARGET_MS = 15.0
# Imported after NumPy in a new process, timed from inside: nothing else is in the figure.
_TIMED_IMPORT = """
import numpy, time
start = time.perf_counter()
import fastsm
print(time.perf_counter() - start)
"""


def main(arguments: list[str] | None = None) -> int:
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("--imports", type=int, default=20, help="processes of each kind (default: 20)")
    parser.add_argument("--rounds", type=int, default=50, help="rounds of timed calls (default: 50)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to FILE")
    options = parser.parse_args(arguments)
    _machine.limit_threads(1)
    imports, calls = import_times(options.imports), call_times(options.rounds)
    print(_import_report(imports) + "\n\n" + _call_report(calls))
    if options.json:
        options.json.write_text(json.dumps({"import_ms": imports, "calls": calls}, indent=1) + "\n")
    return 0


def import_times(processes: int) -> dict[str, float]:
    """Best times in milliseconds, the kinds of process taking turns."""
    times: dict[str, list[float]] = {"fastsm after numpy": [], "process: numpy": [], "process: fastsm": []}
    _run(_TIMED_IMPORT)  # writes the byte code, reads the files
    for _ in range(processes):
        times["fastsm after numpy"].append(float(_run(_TIMED_IMPORT)) * 1e3)
        for name in ("numpy", "fastsm"):
            start = perf_counter()
            _run(f"import {name}")
            times[f"process: {name}"].append((perf_counter() - start) * 1e3)
    return {name: min(found) for name, found in times.items()}


def call_times(rounds: int) -> list[dict[str, Any]]:
    """Each public function on one row of ten, beside a ufunc and NumPy's formula."""
    import _timing

    timings = _timing.interleave([_timing.Call(name, "", run) for name, run in _calls().items()], rounds)
    return [{"candidate": "empty loop", "best_ns": _timing.empty_call_ns()}] + [
        timing.to_json() for timing in timings
    ]


def _calls() -> dict[str, Callable[[], object]]:
    import numpy as np

    import fastsm

    x = np.linspace(-3, 3, 10, dtype=np.float32)[None]
    y, log_y, dy = fastsm.softmax(x), fastsm.log_softmax(x), x[:, ::-1].copy()
    row, out, value, t = x[0], x.copy(), np.empty(1, np.float32), np.array([3])

    def formula() -> np.ndarray:
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)

    return {
        "numpy: multiply(x, 1, out=x)": lambda: np.multiply(out, 1, out=out),
        "numpy: softmax by its formula": formula,
        "softmax(row)": lambda: fastsm.softmax(row),
        "softmax(x)": lambda: fastsm.softmax(x),
        "softmax(x, out=out)": lambda: fastsm.softmax(x, out=out),
        "softmax(x, axis=-1, out=out)": lambda: fastsm.softmax(x, axis=-1, out=out),
        "softmax(x, axis=0, out=out)": lambda: fastsm.softmax(x, axis=0, out=out),
        "softmax(x, temperature=2.0, out=out)": lambda: fastsm.softmax(x, temperature=2.0, out=out),
        "log_softmax(x)": lambda: fastsm.log_softmax(x),
        "log_softmax(x, out=out)": lambda: fastsm.log_softmax(x, out=out),
        "logsumexp(x)": lambda: fastsm.logsumexp(x),
        "logsumexp(x, out=value)": lambda: fastsm.logsumexp(x, out=value),
        "softmax_vjp(y, dy)": lambda: fastsm.softmax_vjp(y, dy),
        "softmax_vjp(y, dy, out=out)": lambda: fastsm.softmax_vjp(y, dy, out=out),
        "log_softmax_vjp(log_y, dy)": lambda: fastsm.log_softmax_vjp(log_y, dy),
        "log_softmax_vjp(log_y, dy, out=out)": lambda: fastsm.log_softmax_vjp(log_y, dy, out=out),
        "softmax_jacobian(y)": lambda: fastsm.softmax_jacobian(y),
        "cross_entropy(x, t)": lambda: fastsm.cross_entropy(x, t),
        "cross_entropy(x, y)": lambda: fastsm.cross_entropy(x, y),
        "cross_entropy_with_grad(x, t)": lambda: fastsm.cross_entropy_with_grad(x, t),
        "cross_entropy_with_grad(x, t, out=out)": lambda: fastsm.cross_entropy_with_grad(x, t, out=out),
        "cross_entropy_with_grad(x, y, out=out)": lambda: fastsm.cross_entropy_with_grad(x, y, out=out),
    }


def _run(code: str) -> str:
    # -P: the installed package, not one that lies in the current folder.
    command = [sys.executable, "-P", "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _import_report(times: dict[str, float]) -> str:
    inside = times["fastsm after numpy"]
    whole = times["process: fastsm"] - times["process: numpy"]
    missed = "" if inside <= IMPORT_TARGET_MS else "  MISSED"
    return (
        f"import fastsm after import numpy: {inside:.1f} ms, target <= {IMPORT_TARGET_MS:g}{missed}\n"
        f"process importing fastsm - process importing numpy: {whole:.1f} ms "
        f"({times['process: fastsm']:.1f} - {times['process: numpy']:.1f})"
    )


def _call_report(calls: list[dict[str, Any]]) -> str:
    loop = calls[0]["best_ns"]
    lines = [f"one call on one row of 10, float32: ns, best; the timing loop's {loop:.0f} ns taken off"]
    lines += [f"  {call['candidate']:<46}{call['best_ns'] - loop:8.0f}" for call in calls[1:]]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

"""Show that working in place allocates nothing of the size of the data.

    python benchmarks/memory.py [--megabytes 400] [--json FILE]

Each operation runs in a process of its own, on one large float32 array. Two witnesses: what Python and NumPy
allocated at most during the call (tracemalloc), and by how much the call raised the process's peak of
resident memory, which sees every allocation. Two calls that do allocate are there for contrast. The exit
status is 1 if an in-place call takes more than a hundredth of the data.
"""

import argparse
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

IN_PLACE = (
    "softmax(x, out=x)",
    "log_softmax(x, out=x)",
    "softmax_vjp(y, dy, out=dy)",
    "log_softmax_vjp(log_y, dy, out=dy)",
    "cross_entropy_with_grad(x, t, out=x)",
)
CONTRAST = ("softmax(x)", "NumPy: e / e.sum()")
CLASSES = 1000
LIMIT = 0.01  # of the data
_MB = 1e6
# Enough for threads to start and whatever else is made on first use.
_WARM_UP_ROWS = 2000


def main(arguments: list[str] | None = None) -> int:
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("--megabytes", type=int, default=400, help="size of the array (default: 400)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all numbers to FILE")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    rows = int(options.megabytes * _MB / (4 * CLASSES))
    if options.child:
        print(json.dumps(measure(options.child, rows)))
        return 0
    # This process stays without NumPy: on Linux a new process inherits its parent's peak.
    results = {name: _in_new_process(name, options.megabytes) for name in (*IN_PLACE, *CONTRAST)}
    print(_report(results, rows))
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return int(any(_is_large(results[name], rows) for name in IN_PLACE))


def measure(name: str, rows: int) -> dict[str, float | None]:
    """Megabytes that one call takes beyond its arguments."""
    _call(name, _WARM_UP_ROWS)()
    call = _call(name, rows)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    resident = _peak_resident()
    call()
    _, peak = tracemalloc.get_traced_memory()
    grown = None if resident is None else (_peak_resident() or 0.0) - resident
    return {"tracemalloc_mb": (peak - before) / _MB, "peak_resident_mb": grown}


def _call(name: str, rows: int) -> Callable[[], object]:
    """The call by its text, on arrays filled without temporaries: those would hide the call's own."""
    import numpy as np

    import fastsm

    rng = np.random.default_rng(0)

    def normal() -> np.ndarray:
        array = np.empty((rows, CLASSES), np.float32)
        for row in array:
            rng.standard_normal(out=row, dtype=np.float32)
        return array

    x = normal()
    if "vjp" in name:
        dy = normal()
        function = getattr(fastsm, name.partition("(")[0])
        return lambda: function(x, dy, out=dy)  # the size of x is what matters, not that it is a softmax
    t = rng.integers(0, CLASSES, rows)

    def formula() -> np.ndarray:
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)

    return {
        "softmax(x, out=x)": lambda: fastsm.softmax(x, out=x),
        "log_softmax(x, out=x)": lambda: fastsm.log_softmax(x, out=x),
        "cross_entropy_with_grad(x, t, out=x)": lambda: fastsm.cross_entropy_with_grad(x, t, out=x),
        "softmax(x)": lambda: fastsm.softmax(x),
        "NumPy: e / e.sum()": formula,
    }[name]


def _peak_resident() -> float | None:
    """Peak of this process's resident memory in MB, where the system tells it."""
    if resource is None:
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _MB


def _in_new_process(name: str, megabytes: int) -> dict[str, float | None]:
    command = [sys.executable, __file__, "--child", name, "--megabytes", str(megabytes)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, float | None] = json.loads(done.stdout)
    return result


def _is_large(result: dict[str, float | None], rows: int) -> bool:
    return max(value or 0.0 for value in result.values()) > LIMIT * rows * CLASSES * 4 / _MB


def _report(results: dict[str, dict[str, float | None]], rows: int) -> str:
    lines = [
        f"MB beyond the arguments, each array {rows} x {CLASSES} float32 = {rows * CLASSES * 4 / _MB:.0f} MB",
        f"  {'':<46}{'tracemalloc':>12}{'peak resident':>15}",
    ]
    for name, result in results.items():
        figures = ["unknown" if value is None else f"{value:.2f}" for value in result.values()]
        missed = "  MISSED" if name in IN_PLACE and _is_large(result, rows) else ""
        lines.append(f"  {name:<46}{figures[0]:>12}{figures[1]:>15}{missed}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

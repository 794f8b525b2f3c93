"""Compare the speed of two builds of the kernels, before and after a change of source or flags.

    python benchmarks/builds.py BEFORE.so AFTER.so [--operations softmax,logsumexp] [--dtypes float32]

Both are compiled modules, as they lie in fastsm/_kernels/<instruction set>/ of an installation, copied
elsewhere. They are called as fastsm calls them, out of place, on one thread, interleaved in one process;
nanoseconds an element, best of all rounds (for one row: nanoseconds a call).
"""

import argparse
import importlib.util
import sys
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import machine
import timing

OPERATIONS = (
    "softmax",
    "log_softmax",
    "logsumexp",
    "softmax_vjp",
    "log_softmax_vjp",
    "cross_entropy_with_grad",
)
SHAPES = ((1, 10), (6000, 10), (6553, 32), (6553, 128), (256, 1000), (4096, 1000), (64, 32768))
UNLIMITED = 2**62


def main(arguments: list[str] | None = None) -> int:
    as_written = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_written)
    parser.add_argument("builds", nargs=2, metavar="FILE.so")
    parser.add_argument("--operations", default=",".join(OPERATIONS), help="comma-separated (default: all)")
    parser.add_argument("--dtypes", default="float32,float64", help="(default: both)")
    parser.add_argument(
        "--axis", type=int, choices=(-1, 0), default=-1, help="0: classes x rows (default: -1)"
    )
    parser.add_argument("--rounds", type=int, default=40, help="(default: 40)")
    options = parser.parse_args(arguments)
    machine.bind_to_cores(1)
    modules = [load(path) for path in options.builds]
    print("ns an element: before, after, before / after")
    for operation in options.operations.split(","):
        for dtype in options.dtypes.split(","):
            for shape in SHAPES:
                runs = [call(module, operation, dtype, shape, options.axis) for module in modules]
                calls = [timing.Call(str(i), "", run) for i, run in enumerate(runs)]
                before, after = (t.best for t in timing.interleave(calls, options.rounds))
                count = 1 if shape[0] == 1 else shape[0] * shape[1]
                name = f"{operation} {dtype} {shape[0]}x{shape[1]}"
                print(
                    f"  {name:<45} {before / count:>8.3f} {after / count:>8.3f} {before / after:>6.2f}",
                    flush=True,
                )
    return 0


def load(path: str) -> ModuleType:
    """Load a compiled module from a path."""
    specification = importlib.util.spec_from_file_location("kernels", path)
    if specification is None or specification.loader is None:
        sys.exit(f"{path} is not a compiled module")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def call(
    module: ModuleType, operation: str, dtype: str, shape: tuple[int, int], axis: int
) -> Callable[[], Any]:
    """Return one call of a build, on its own data."""
    import numpy as np

    rng = np.random.default_rng(0)
    rows, classes = shape
    x, dy = ((3 * rng.standard_normal(shape)).astype(dtype) for _ in range(2))
    labels = rng.integers(0, classes, rows)
    if operation == "softmax_vjp":
        x = np.exp(-np.abs(x))
    elif operation == "log_softmax_vjp":
        x = -np.abs(x)
    if axis == 0:
        x, dy = np.ascontiguousarray(x.T), np.ascontiguousarray(dy.T)
    out = np.empty_like(x)
    # Older builds use the second names, and number their operations in this order.
    number = getattr(module, operation.upper(), OPERATIONS.index(operation))
    if operation == "cross_entropy_with_grad":
        usual = (None, None, None, 0.0, 1.0, "mean")
        if hasattr(module, "try_plain_cross_entropy"):
            return partial(module.try_plain_cross_entropy, x, labels, out, True, axis, *usual, 1)
        return partial(module.try_small_cross_entropy, x, labels, out, True, axis, *usual, None, UNLIMITED)
    second = dy if operation.endswith("vjp") else None
    target = None if operation == "logsumexp" else out
    if hasattr(module, "try_plain"):
        return partial(module.try_plain, number, x, second, target, axis, 1.0, False, 1)
    return partial(module.try_small, number, x, second, target, axis, 1.0, UNLIMITED)


if __name__ == "__main__":
    sys.exit(main())

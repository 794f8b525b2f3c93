"""The best calls of each library: one module per library, imported only when selected.

A module has ``CALLED``, which says how the library is called; ``setup(threads)``, which returns its version;
and what it can do:

- ``kernels(cell)``: its ways to do the operation of a cell;
- ``trainers(task)``: its ways to train a network for an epoch;
- ``predictors(network, x)``: its ways to compute the probabilities of the rows `x`.

Each returns a list, empty if the library lacks the operation. All ways in it are timed, and the fastest
represents the library.
"""

import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from types import ModuleType
from typing import Any

from timing import Call

# Libraries in the order of the tables, and the modules that call them; numpy has "numpy out=" too.
LIBRARIES = {
    "fastsm": "fastsm",
    "numpy": "numpy",
    "scipy": "scipy",
    "torch": "torch",
    "torch.compile": "torch_compile",
    "onnxruntime": "onnxruntime",
    "jax": "jax",
    "sklearn": "sklearn",
    "numba": "numba",
    "limit": "limit",
}


def load(names: Iterable[str], threads: int) -> tuple[dict[str, ModuleType], dict[str, str]]:
    """Return the modules that could be imported, and the versions; always fastsm and the limit."""
    modules, versions = {}, {}
    for name in LIBRARIES:
        if name not in names and name not in ("fastsm", "limit"):
            continue
        try:
            module = import_module(f"peers.{LIBRARIES[name]}")
            version = module.setup(threads)
        except Exception as error:  # a broken library counts as missing
            print(f"without {name}: {type(error).__name__}: {error}", file=sys.stderr)
            continue
        modules[name] = module
        if name not in ("fastsm", "torch.compile", "limit"):
            versions[name] = version
    return modules, versions


def ways(
    candidate: str, cell: Any, make: Callable[[Any, Any], Callable[[], object]], way: str = "", **options: Any
) -> list[Call]:
    """Return the calls of an operation into an output, and in place.

    ``make(given, out)`` returns the call that reads the array `given` and writes its result to `out`.
    """
    in_place = {"restore": cell.refill, "most_calls": cell.most_in_place}
    return [
        Call(candidate, f"{way} out=".strip(), make(cell.given, cell.out), **options),
        Call(candidate, f"{way} in place".strip(), make(cell.scratch, cell.scratch), **in_place, **options),
    ]

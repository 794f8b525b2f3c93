"""How long the import of each library takes, in new processes and timed from inside."""

import importlib.util
from typing import Any

from fastsm._bench import Settings
from fastsm._bench.footprint.children import MODULES, output_of

__all__ = ["measure"]

PROCESSES, QUICK_PROCESSES = 10, 2
_TIMED = """
import time
{before}
start = time.perf_counter()
{statement}
print(time.perf_counter() - start)
"""
_TRAINING = "fastsm (fit, nn, optim)"


def measure(settings: Settings) -> list[dict[str, Any]]:
    """Return the best times, in milliseconds: in an empty process, and where NumPy is there already."""
    statements = {"fastsm": "import fastsm", _TRAINING: "from fastsm import fit, nn, optim"}
    for candidate, module in MODULES.items():
        if settings.wants(candidate) and importlib.util.find_spec(module.partition(".")[0]) is not None:
            statements[candidate] = f"import {module}"
    processes = settings.rounds or (QUICK_PROCESSES if settings.quick else PROCESSES)
    whole: dict[str, list[float]] = {name: [] for name in statements}
    after: dict[str, list[float]] = {name: [] for name in statements if name != "numpy"}
    for round_ in range(processes + 1):  # the first one writes the byte code and reads the files
        for name, statement in statements.items():
            _time(whole, name, round_, "", statement)
            _time(after, name, round_, "import numpy", statement)
    return [
        {
            "candidate": name,
            "ms": min(times),
            "after_numpy_ms": min(after[name]) if after.get(name) else None,
        }
        for name, times in whole.items()
        if times
    ]


def _time(times: dict[str, list[float]], name: str, round_: int, before: str, statement: str) -> None:
    """Add a time; a library that cannot be imported is left out."""
    if name not in times:
        return
    try:
        seconds = float(output_of("-c", _TIMED.format(before=before, statement=statement)).split()[-1])
    except RuntimeError:
        del times[name]
        return
    if round_:
        times[name].append(seconds * 1e3)

"""How much memory calls and training take at most, each in a process of its own.

Two witnesses: what Python and NumPy allocate at most during a call (tracemalloc), and by how much it raises
the process's peak of resident memory, which sees every allocation. Calls that do allocate are there for
contrast. Of training only the second is known.
"""

import importlib.util
import json
import sys
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from fastsm._bench import Settings
from fastsm._bench.footprint.children import output_of

__all__ = ["CONTRAST", "IN_PLACE", "call_mb", "measure", "peak_resident_mb", "training_mb"]

IN_PLACE = (
    "softmax(x, out=x)",
    "log_softmax(x, out=x)",
    "softmax_vjp(y, dy, out=dy)",
    "log_softmax_vjp(log_y, dy, out=dy)",
    "cross_entropy_with_grad(x, t, out=x)",
)
CONTRAST = {"softmax(x)": "fastsm", "e / e.sum()": "numpy"}
CLASSES = 1000
MEGABYTES, QUICK_MEGABYTES = 400, 100
TRAINED_BY = ("fastsm", "numpy", "torch", "jax", "sklearn", "thinc", "numba")
_MB = 1e6
# Enough for threads to start and whatever else is made on first use.
_WARM_UP_ROWS = 2000


def measure(settings: Settings) -> list[dict[str, Any]]:
    """Return the megabytes of each call and training; a library that fails is left out."""
    megabytes = QUICK_MEGABYTES if settings.quick else MEGABYTES
    found = []
    for what in (*IN_PLACE, *CONTRAST):
        candidate = CONTRAST.get(what, "fastsm")
        if settings.wants(candidate):
            found += _in_new_process(call_mb.__name__, what, candidate, megabytes)
    for candidate in TRAINED_BY:
        if settings.wants(candidate) and importlib.util.find_spec(candidate) is not None:
            found += _in_new_process(training_mb.__name__, candidate, settings.quick, settings.threads)
    return found


def _in_new_process(function: str, *arguments: object) -> list[dict[str, Any]]:
    code = f"import json; from {__name__} import {function}; print(json.dumps({function}(*{arguments!r})))"
    try:
        return [json.loads(output_of("-c", code).splitlines()[-1])]
    except RuntimeError as error:
        print(f"{function}{arguments}: {error}", file=sys.stderr)
        return []


def call_mb(what: str, candidate: str, megabytes: float) -> dict[str, Any]:
    """Return the megabytes that one call takes beyond its arguments, each of so many."""
    rows = int(megabytes * _MB / (4 * CLASSES))
    _call(what, min(rows, _WARM_UP_ROWS))()
    call = _call(what, rows)
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        resident = peak_resident_mb()
        call()
        _, peak = tracemalloc.get_traced_memory()
        grown = peak_resident_mb()
    finally:
        tracemalloc.stop()
    return {
        "what": what,
        "candidate": candidate,
        "in_place": what in IN_PLACE,
        "data_mb": rows * CLASSES * 4 / _MB,
        "tracemalloc_mb": (peak - before) / _MB,
        "mb": None if grown is None or resident is None else grown - resident,
    }


def training_mb(candidate: str, quick: bool, threads: int) -> dict[str, Any]:
    """Return the peak of an epoch over Python with NumPy: that of the library and the data too."""
    import numpy as np

    before = peak_resident_mb()
    from fastsm._bench.training import trainers
    from fastsm._bench.training.networks import EPOCHS, Task, data_for

    network, batch_size = EPOCHS[1]
    data = data_for(network, quick)
    module = importlib.import_module(f"{trainers.__name__}.{trainers.LIBRARIES[candidate]}")
    module.setup(threads)
    module.trainers(Task(network, batch_size, data))[0].epoch(np.random.default_rng(0).permutation(len(data)))
    after = peak_resident_mb()
    return {
        "what": f"training {network.name}, batches of {batch_size}, {len(data):,} rows",
        "candidate": candidate,
        "in_place": False,
        "data_mb": data.raw.nbytes / _MB,
        "tracemalloc_mb": None,
        "mb": None if before is None or after is None else after - before,
    }


def peak_resident_mb() -> float | None:
    """Return the peak of this process's resident memory, where the system tells it.

    Linux also passes the peak of a process on to those that it starts, in ``getrusage``, which is asked only
    where there is no better source.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / _MB
    if sys.platform == "win32":
        return None
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _MB


def _call(what: str, rows: int) -> Callable[[], object]:
    """Return the call by its text, on arrays filled without temporaries: those would hide the call's own."""
    import numpy as np

    import fastsm

    rng = np.random.default_rng(0)
    row = rng.standard_normal(CLASSES, dtype=np.float32)

    def array() -> Any:
        filled = np.empty((rows, CLASSES), np.float32)
        filled[...] = row
        return filled

    x = array()
    if "vjp" in what:
        dy = array()
        function = getattr(fastsm, what.partition("(")[0])
        return lambda: function(x, dy, out=dy)  # the size of x is what matters, not that it is a softmax
    t = rng.integers(0, CLASSES, rows)

    def formula() -> Any:
        e = np.exp(x - x.max(axis=-1, keepdims=True))
        return e / e.sum(axis=-1, keepdims=True)

    calls: dict[str, Callable[[], object]] = {
        "softmax(x, out=x)": partial(fastsm.softmax, x, out=x),
        "log_softmax(x, out=x)": partial(fastsm.log_softmax, x, out=x),
        "cross_entropy_with_grad(x, t, out=x)": partial(fastsm.cross_entropy_with_grad, x, t, out=x),
        "softmax(x)": partial(fastsm.softmax, x),
        "e / e.sum()": formula,
    }
    return calls[what]

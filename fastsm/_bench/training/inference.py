"""Time networks that are called: one row, for the time it takes, and many, for how many go through.

All compute probabilities from the same weights and float32 rows, and must agree with NumPy in float64.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastsm._bench import Settings
from fastsm._bench.libraries import Libraries
from fastsm._bench.timing import Call, attempt, interleave
from fastsm._bench.training.networks import INFERENCE, Network, Weights
from fastsm._bench.training.trainers import LIMIT
from fastsm._bench.training.trainers.numpy import predict

__all__ = ["measure", "measure_rows"]

ROUNDS, QUICK_ROUNDS = 15, 3
SECONDS, QUICK_SECONDS = 1.0, 0.2
# Of probabilities in float32; products summed in other orders included.
TOLERANCE = 1e-5


def measure(libraries: Libraries, settings: Settings, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """Return what the document has under "inference"."""
    results = []
    for network, rows in INFERENCE:
        tell(f"inference {network.name}, {rows} row{'s' * (rows != 1)}")
        results.append(measure_rows(network, rows, libraries, settings))
    return results


def measure_rows(network: Network, rows: int, libraries: Libraries, settings: Settings) -> dict[str, Any]:
    """Check that the candidates agree, and time them."""
    rejected: dict[str, str] = {}
    x = np.random.default_rng(0).random((rows, network.sizes[0]), dtype=np.float32)
    exact: Weights = [(w.astype(np.float64), b.astype(np.float64)) for w, b in network.weights()]
    expected = predict(network, exact, x.astype(np.float64))
    calls: list[Call] = []
    for name, module in libraries.modules.items():
        for call in attempt(rejected, name, module.predictors, network, x) or []:
            label = f"{call.candidate} ({call.variant})"
            if not settings.wants(call.candidate):
                continue
            returned = attempt(rejected, label, call.once)
            if label in rejected:
                continue
            error = 0.0 if call.candidate == LIMIT else float(np.abs(np.asarray(returned) - expected).max())
            if not error <= TOLERANCE:
                rejected[label] = f"probabilities off by {error:.1e}"
            else:
                calls.append(call)
    timings = interleave(
        calls,
        settings.rounds or (QUICK_ROUNDS if settings.quick else ROUNDS),
        QUICK_SECONDS if settings.quick else SECONDS,
    )
    return {
        "network": network.name,
        "rows": rows,
        "threads": settings.threads,
        "timings": [timing.to_json() for timing in timings],
        "rejected": rejected,
    }

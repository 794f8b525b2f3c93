"""Time epochs of training, each candidate in turn.

All candidates start from the same weights. Each first trains over some rows in their order, and must then
have the weights that NumPy comes to in float64: if not, it is rejected. Then they take turns, one epoch each.
"""

from collections.abc import Callable
from itertools import cycle
from typing import Any

import numpy as np

from fastsm._bench import Settings
from fastsm._bench.libraries import Libraries
from fastsm._bench.timing import Call, attempt, interleave
from fastsm._bench.training.networks import EPOCHS, QUICK_EPOCHS, Array, Task, Weights, data_for
from fastsm._bench.training.trainers import Trainer
from fastsm._bench.training.trainers.numpy import Plain

__all__ = ["disagreement", "measure", "measure_task"]

ROUNDS, QUICK_ROUNDS = 5, 3
# Short epochs go on until this is over.
SECONDS, QUICK_SECONDS = 5.0, 0.5
STEPS_TO_AGREE = 10
# Of the norm of what the steps change in an array. Sums in other orders are off by 1e-4 at most, and by some
# 1e-2 where rounding takes a relu of one row to its other side; a wrong rate or gradient by much more.
TOLERANCE = 0.03


def measure(libraries: Libraries, settings: Settings, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """Return what the document has under "training"."""
    results = []
    data = {}
    for network, batch_size in QUICK_EPOCHS if settings.quick else EPOCHS:
        features = network.sizes[0]
        if features not in data:
            data[features] = data_for(network, settings.quick)
        tell(f"training {network.name}, batches of {batch_size}")
        results.append(measure_task(Task(network, batch_size, data[features]), libraries, settings))
    return results


def measure_task(task: Task, libraries: Libraries, settings: Settings) -> dict[str, Any]:
    """Check that the candidates agree, and time them."""
    rejected: dict[str, str] = {}
    found: list[Trainer] = []
    for name, module in libraries.modules.items():
        made = attempt(rejected, name, module.trainers, task) or []
        found += [trainer for trainer in made if settings.wants(trainer.candidate)]
    rows = min(STEPS_TO_AGREE, len(task.data) // task.batch_size) * task.batch_size
    plain = Plain(task, np.float64)
    plain.in_order(rows)
    initial = task.network.weights()
    calls = []
    orders = _orders(len(task.data))
    for trainer in found:
        error = attempt(rejected, _name(trainer), _trained, trainer, rows, plain.weights(), initial)
        if error:
            rejected[_name(trainer)] = error
        elif error is not None:
            calls.append(Call(trainer.candidate, trainer.variant, _epoch(trainer, orders)))
    seconds = QUICK_SECONDS if settings.quick else SECONDS
    timings = interleave(calls, settings.rounds or (QUICK_ROUNDS if settings.quick else ROUNDS), seconds)
    return {
        "network": task.network.name,
        "batch_size": task.batch_size,
        "rows": len(task.data),
        "data": task.data.source,
        "threads": settings.threads,
        "timings": [timing.to_json() for timing in timings],
        "rejected": rejected,
    }


def disagreement(weights: Weights | None, expected: Weights, initial: Weights) -> str:
    """Return by how much weights are off, empty if they are not; the limit, without weights, is not."""
    if weights is None:
        return ""
    worst = 0.0
    for arrays in zip(weights, expected, initial, strict=True):
        for array, right, before in zip(*arrays, strict=True):
            error = np.linalg.norm(array - right) / np.linalg.norm(right - before)
            worst = max(worst, float(error) if np.isfinite(error) else np.inf)
    return f"what it learned is off by {worst:.1%}" if worst > TOLERANCE else ""


def _trained(trainer: Trainer, rows: int, expected: Weights, initial: Weights) -> str:
    trainer.in_order(rows)
    return disagreement(trainer.weights(), expected, initial)


def _orders(rows: int) -> "cycle[Array]":
    """Return orders of the rows without end, drawn beforehand: drawing them is not timed."""
    rng = np.random.default_rng(0)
    return cycle([rng.permutation(rows) for _ in range(8)])


def _epoch(trainer: Trainer, orders: "cycle[Array]") -> Callable[[], None]:
    return lambda: trainer.epoch(next(orders))


def _name(trainer: Trainer) -> str:
    return f"{trainer.candidate} ({trainer.variant})"

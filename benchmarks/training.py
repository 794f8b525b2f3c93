"""Time training and inference of small networks, beside the matrix products alone.

All candidates start from the same weights. Each first trains over some rows in their order, and must then
have the weights that NumPy comes to in float64: if not, it is rejected. Then they take turns, one epoch each.
Networks that are called must give the probabilities that NumPy computes in float64 from the same weights.
"""

from collections.abc import Callable, Iterator
from itertools import cycle
from types import ModuleType
from typing import Any

import numpy as np

from networks import EPOCHS, INFERENCE, QUICK_EPOCHS, Network, Task, Trainer, Weights, data_for
from peers.numpy import Plain, predict
from records import LIMIT, Record, of_cell
from timing import Call, attempt, interleave

ROUNDS, QUICK_ROUNDS = 5, 3
SECONDS = 5.0  # short epochs repeat for at least this time
INFERENCE_ROUNDS, INFERENCE_SECONDS = 15, 1.0
STEPS_TO_AGREE = 10
# Relative to the norm of the steps' change of an array. Sums in other orders are off by 1e-4 at most, and by
# some 1e-2 where rounding takes a relu of one row to its other side; a wrong rate or gradient by much more.
TOLERANCE = 0.03
# Absolute, for probabilities in float32 from products summed in other orders.
PROBABILITY_TOLERANCE = 1e-5

Libraries = dict[str, ModuleType]
Rejected = dict[tuple[str, str], str]


def measure(libraries: Libraries, threads: int, rounds: int | None, quick: bool) -> Iterator[Record]:
    """Yield the records of epochs, then of calls."""
    data: dict[int, Any] = {}
    for network, batch_size in QUICK_EPOCHS if quick else EPOCHS:
        features = network.sizes[0]
        if features not in data:
            data[features] = data_for(network, quick)
        yield from train(Task(network, batch_size, data[features]), libraries, threads, rounds, quick)
    for network, rows in INFERENCE:
        yield from infer(network, rows, libraries, threads, rounds, quick)


def train(task: Task, libraries: Libraries, threads: int, rounds: int | None, quick: bool) -> list[Record]:
    """Check that the candidates reach the same weights, and time their epochs."""
    rejected: Rejected = {}
    found: list[Trainer] = []
    for name, module in libraries.items():
        if hasattr(module, "trainers"):
            found += attempt(rejected, (name, ""), module.trainers, task) or []
    rows = min(STEPS_TO_AGREE, len(task.data) // task.batch_size) * task.batch_size
    plain = Plain(task, np.float64)
    plain.in_order(rows)
    orders = _orders(len(task.data))
    calls = []
    for trainer in found:
        name = (trainer.candidate, trainer.way)
        why = attempt(rejected, name, _off_by, trainer, rows, plain.weights(), task.network.weights())
        if why:
            rejected[name] = why
        elif why is not None:
            calls.append(Call(*name, _epoch(trainer, orders)))
    timings = interleave(calls, rounds or (QUICK_ROUNDS if quick else ROUNDS), 0.0 if quick else SECONDS)
    cell = f"{task.network.name}, batch {task.batch_size}"
    return of_cell("training", "an epoch", cell, threads, timings, rejected)


def infer(
    network: Network, rows: int, libraries: Libraries, threads: int, rounds: int | None, quick: bool
) -> list[Record]:
    """Check that the candidates give the same probabilities, and time their calls."""
    rejected: Rejected = {}
    x = np.random.default_rng(0).random((rows, network.sizes[0]), dtype=np.float32)
    exact = [(w.astype(np.float64), b.astype(np.float64)) for w, b in network.weights()]
    expected = predict(network, exact, x.astype(np.float64))
    calls: list[Call] = []
    for library, module in libraries.items():
        if not hasattr(module, "predictors"):
            continue
        for call in attempt(rejected, (library, ""), module.predictors, network, x) or []:
            name = (call.candidate, call.way)
            returned = attempt(rejected, name, call.once)
            if name in rejected:
                continue
            error = 0.0 if call.candidate == LIMIT else float(np.abs(np.asarray(returned) - expected).max())
            if error <= PROBABILITY_TOLERANCE:
                calls.append(call)
            else:
                rejected[name] = f"probabilities off by {error:.1e}"
    timings = interleave(calls, rounds or INFERENCE_ROUNDS, 0.0 if quick else INFERENCE_SECONDS)
    cell = f"{network.name}, {rows} row{'s' * (rows != 1)}"
    return of_cell("inference", "a call", cell, threads, timings, rejected)


def disagreement(weights: Weights | None, expected: Weights, initial: Weights) -> str:
    """Return a message if the weights are wrong, else an empty string; the limit has no weights."""
    if weights is None:
        return ""
    worst = 0.0
    for arrays in zip(weights, expected, initial, strict=True):
        for array, right, before in zip(*arrays, strict=True):
            error = np.linalg.norm(array - right) / np.linalg.norm(right - before)
            worst = max(worst, float(error) if np.isfinite(error) else np.inf)
    return f"what it learned is off by {worst:.1%}" if worst > TOLERANCE else ""


def _off_by(trainer: Trainer, rows: int, expected: Weights, initial: Weights) -> str:
    trainer.in_order(rows)
    return disagreement(trainer.weights(), expected, initial)


def _orders(rows: int) -> "cycle[Any]":
    """Return an endless iterator over orders of the rows, drawn beforehand so that drawing is not timed."""
    rng = np.random.default_rng(0)
    return cycle([rng.permutation(rows) for _ in range(8)])


def _epoch(trainer: Trainer, orders: "cycle[Any]") -> Callable[[], None]:
    return lambda: trainer.epoch(next(orders))

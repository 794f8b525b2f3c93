"""Time the classifier of `fastsm.sklearn` beside scikit-learn's, which it stands in for.

Both are fitted to the same images with the same parameters, a few epochs with each of some seeds, in turns;
the accuracy on other images says whether the faster one learned as much. Then both compute probabilities from
the same weights, and must agree.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean
from time import perf_counter_ns
from typing import Any

import numpy as np

from fastsm._bench import Settings
from fastsm._bench.libraries import Libraries
from fastsm._bench.timing import Call, Timing, attempt, interleave
from fastsm._bench.training.networks import Array, Data, Network, images

__all__ = ["ESTIMATORS", "NAMES", "Fit", "fit", "measure", "predict"]

# Who is compared: the modules of these candidates have a function `estimator`.
NAMES = ("fastsm", "sklearn")
SEEDS = 3
ROUNDS, SECONDS = 15, 1.0
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Fit:
    """How an estimator is fitted: with Adam, in batches of 200, both as by default."""

    hidden: tuple[int, ...]
    epochs: int
    batch_size: int = 200

    def network(self, data: Data) -> Network:
        """Return the network for some data."""
        return Network((data.raw.shape[1], *self.hidden, int(data.labels.max()) + 1), "relu")


ESTIMATORS = (Fit((100,), 5), Fit((512, 512), 3))
INFERENCE_ROWS = (1, 10_000)


def measure(libraries: Libraries, settings: Settings, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """Return what the document has under "estimators": nothing in a quick run, or if one of the two lacks."""
    if settings.quick or not all(name in libraries.modules for name in NAMES):
        return []
    train, test = images()
    results = []
    for task in ESTIMATORS:
        name = task.network(train).name
        tell(f"estimators {name}, {task.epochs} epochs with each of {settings.rounds or SEEDS} seeds")
        results.append(fit(task, train, test, libraries, settings))
        for rows in INFERENCE_ROWS:
            tell(f"estimators {name}, probabilities of {rows} row{'s' * (rows != 1)}")
            results.append(predict(task, train, rows, libraries, settings))
    return results


def fit(task: Fit, train: Data, test: Data, libraries: Libraries, settings: Settings) -> dict[str, Any]:
    """Fit both with each seed; a round is a fit, and the one who begins changes."""
    rejected: dict[str, str] = {}
    timings = {name: Timing(name, "fit", 1, []) for name in NAMES}
    accuracies: dict[str, list[float]] = {name: [] for name in NAMES}
    for seed in range(settings.rounds or SEEDS):
        for name in NAMES if seed % 2 else NAMES[::-1]:
            if name not in rejected:
                found = attempt(rejected, name, _fitted, libraries.modules[name], task, seed, train)
                if found is not None:
                    model, nanoseconds = found
                    timings[name].blocks.append(nanoseconds)
                    accuracies[name].append(float(model.score(test.scaled, test.labels)))
    done = [name for name in NAMES if name not in rejected]
    return {
        "operation": "fit",
        "network": task.network(train).name,
        "batch_size": task.batch_size,
        "epochs": task.epochs,
        "rows": len(train),
        "data": train.source,
        "threads": settings.threads,
        "timings": [timings[name].to_json() for name in done],
        "accuracies": {name: accuracies[name] for name in done},
        "mean_accuracy": {name: mean(accuracies[name]) for name in done},
        "rejected": rejected,
    }


def predict(task: Fit, train: Data, rows: int, libraries: Libraries, settings: Settings) -> dict[str, Any]:
    """Time `predict_proba` of both, with the weights of scikit-learn's after one epoch over few rows."""
    rejected: dict[str, str] = {}
    few = Data(train.raw[:2000], train.labels[:2000], train.source)
    ours, theirs = (libraries.modules[name] for name in NAMES)
    x = np.resize(train.scaled, (rows, train.raw.shape[1]))
    calls = []
    fitted = attempt(rejected, "sklearn", _fitted, theirs, Fit(task.hidden, 1), 0, few)
    if fitted is not None:
        model, _ = fitted
        twin = attempt(rejected, "fastsm", ours.from_sklearn, model)
        expected = model.predict_proba(x)
        for name, estimator in (("fastsm", twin), ("sklearn", model)):
            if estimator is not None:
                calls.append(Call(name, "predict_proba", _predictor(estimator, x)))
        for call in list(calls):
            returned = attempt(rejected, call.candidate, call.once)
            error = np.inf if returned is None else float(np.abs(np.asarray(returned) - expected).max())
            if not error <= TOLERANCE:
                rejected.setdefault(call.candidate, f"probabilities off by {error:.1e}")
                calls.remove(call)
    timings = interleave(calls, settings.rounds or ROUNDS, SECONDS)
    return {
        "operation": "predict_proba",
        "network": task.network(train).name,
        "rows": rows,
        "threads": settings.threads,
        "timings": [timing.to_json() for timing in timings],
        "rejected": rejected,
    }


def _fitted(module: Any, task: Fit, seed: int, data: Data) -> tuple[Any, float]:
    """Return a fitted estimator, and the nanoseconds that it took."""
    model = module.estimator(
        hidden_layer_sizes=task.hidden, batch_size=task.batch_size, max_iter=task.epochs, random_state=seed,
        n_iter_no_change=np.inf,
    )  # fmt: skip
    x, y = data.scaled, data.labels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a few epochs do not converge
        start = perf_counter_ns()
        model.fit(x, y)
        return model, float(perf_counter_ns() - start)


def _predictor(model: Any, x: Array) -> Callable[[], Any]:
    return lambda: model.predict_proba(x)

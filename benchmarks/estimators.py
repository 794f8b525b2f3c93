"""Time the classifier of `fastsm.sklearn` beside scikit-learn's.

Both are fitted to the same images with the same parameters, a few epochs with each of some seeds, in turns;
the accuracy on other images shows whether both learned equally well.
"""

import warnings
from collections.abc import Iterator
from statistics import mean
from time import perf_counter_ns
from types import ModuleType
from typing import Any

import numpy as np

from networks import QUICK_ROWS, ROWS, Data, images
from records import OURS, Record, of_cell
from timing import Timing

SEEDS = 3
# Sizes of the hidden layers, and epochs; with Adam, in batches of 200, both as by default.
FITS = (((100,), 5), ((512, 512), 3))


def measure(
    libraries: dict[str, ModuleType], threads: int, rounds: int | None, quick: bool
) -> Iterator[Record]:
    """Yield times and accuracies, if scikit-learn is selected and installed."""
    if "sklearn" not in libraries:
        return
    from sklearn.neural_network import MLPClassifier as Theirs

    from fastsm.sklearn import MLPClassifier as Ours

    train, test = images(QUICK_ROWS if quick else ROWS)
    for hidden, epochs in FITS[: 1 if quick else None]:
        network = "-".join(map(str, (train.raw.shape[1], *hidden, int(train.labels.max()) + 1)))
        cell = f"{network} relu, {epochs} epochs"
        timings = [Timing(name, "fit", 1, []) for name in (OURS, "sklearn")]
        accuracies: dict[str, list[float]] = {OURS: [], "sklearn": []}
        for seed in range(rounds or SEEDS):
            pairs = list(zip((Ours, Theirs), timings, strict=True))
            for kind, timing in pairs if seed % 2 else pairs[::-1]:
                model = kind(
                    hidden, batch_size=200, max_iter=epochs, random_state=seed, n_iter_no_change=np.inf
                )
                timing.blocks.append(_fit(model, train))
                accuracies[timing.candidate].append(100 * model.score(test.scaled, test.labels))
        yield from of_cell("estimators", "fit", cell, threads, timings, {})
        for name, found in accuracies.items():
            yield Record("estimators", "accuracy", cell, threads, name, "mean", "%", mean(found))


def _fit(model: Any, data: Data) -> float:
    """Fit a model, and return the time in nanoseconds."""
    x, y = data.scaled, data.labels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a few epochs do not converge
        start = perf_counter_ns()
        model.fit(x, y)
        return float(perf_counter_ns() - start)

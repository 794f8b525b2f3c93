"""``fastsm demo``: a user-defined loss, training on real digits, and the speed, in seconds."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial

import numpy as np

import fastsm
from fastsm import callbacks, data, nn, optim, testing
from fastsm._command._errors import INTERRUPTED, OK, CommandError
from fastsm.typing import Array

DESCRIPTION = "Show in seconds what the library does: any loss, training, and the speed."
EPILOG = ""

ROUNDS = 15


def numpy_softmax(x: Array) -> Array:
    """Compute softmax in plain NumPy."""
    e: Array = np.exp(x - x.max(axis=-1, keepdims=True))
    e /= e.sum(axis=-1, keepdims=True)
    return e


def best_times(*calls: Callable[[], object]) -> list[float]:
    """Return the best time of each call in seconds; the calls take turns."""
    best = [float("inf")] * len(calls)
    for _ in range(ROUNDS):
        for i, call in enumerate(calls):
            start = time.perf_counter()
            call()
            best[i] = min(best[i], time.perf_counter() - start)
    return best


@nn.loss(on="probs")
def mean_absolute_error(probs: Array, targets: Array) -> tuple[Array, Array]:
    """Return the loss of each row and its gradient, which is all that a user-defined loss needs."""
    return np.abs(probs - targets).mean(axis=1), np.sign(probs - targets) / probs.shape[1]


def any_loss() -> None:
    """Differentiate a user-defined loss through softmax, and check it against finite differences."""
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3), nn.Softmax(), rng=0)
    x, targets = rng.standard_normal((4, 5)), np.eye(3)[[0, 1, 2, 0]]
    print("Any loss through softmax: a user-defined mean absolute error, on a network of 5-8-3")
    print(f"  {testing.check_grads(model, x, targets, loss=mean_absolute_error)}\n")


def training() -> None:
    """Train a classifier on the digits that come with fastsm."""
    images, labels = data.load_digits()
    order = np.random.default_rng(0).permutation(len(images))
    train, test = order[360:], order[:360]
    model = nn.MLP([64, 128, 10], activation="relu", rng=0)
    print("Training 64-128-10 on 1,437 handwritten digits, testing on 360 others")
    history = fastsm.fit(
        model,
        images[train],
        labels[train],
        optimizer=optim.AdamW(3e-3),
        epochs=20,
        batch_size=32,
        validation_data=(images[test], labels[test]),
        callbacks=[callbacks.ProgressBar()],
        rng=0,
    )
    if history.stopped == "interrupted":
        raise CommandError("interrupted", INTERRUPTED)
    seconds = sum(history["seconds"])
    print(f"  {len(history['loss'])} epochs in {seconds:.2f} s: accuracy {history['val_accuracy'][-1]:.1%}\n")


def speed() -> None:
    """Compare the speed of softmax with plain NumPy."""
    threads = fastsm.get_num_threads()
    print(f"Softmax in float32, in place, {threads} thread{'s' * (threads > 1)}, against plain NumPy")
    for shape in ((1, 10), (60000, 10), (256, 1000), (4096, 1000)):
        x = (3 * np.random.default_rng(0).standard_normal(shape)).astype(np.float32)
        np.testing.assert_allclose(fastsm.softmax(x), numpy_softmax(x), rtol=1e-5, atol=1e-30)
        work = x.copy()
        ours, theirs = best_times(partial(fastsm.softmax, work, out=work), partial(numpy_softmax, x))
        print(f"  {shape[0]:>6} x {shape[1]:<6} {1e6 * ours:>10.1f} us  {theirs / ours:>6.1f} times as fast")
    print()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add nothing: the demo has no options."""


def run(arguments: argparse.Namespace) -> int:
    """Run the three parts."""
    fastsm.show_versions()
    print()
    any_loss()
    training()
    speed()
    print("Next: fastsm train, help(fastsm.fit), help(fastsm.softmax_vjp), and README.md")
    return OK

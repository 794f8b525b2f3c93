"""``python -m fastsm``: a demonstration of the functional API in a few seconds."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

import fastsm
from fastsm._checks import Array

ROUNDS = 15


def numpy_softmax(x: Array) -> Array:
    """Softmax as one writes it in NumPy."""
    e: Array = np.exp(x - x.max(axis=-1, keepdims=True))
    e /= e.sum(axis=-1, keepdims=True)
    return e


def best_times(*calls: Callable[[], Any]) -> list[float]:
    """Return the best time of each call in seconds, taken in turn."""
    best = [float("inf")] * len(calls)
    for _ in range(ROUNDS):
        for i, call in enumerate(calls):
            start = time.perf_counter()
            call()
            best[i] = min(best[i], time.perf_counter() - start)
    return best


def any_loss() -> None:
    """Take the mean absolute error through softmax, and check the gradient against finite differences."""
    rng = np.random.default_rng(0)
    z, target = rng.standard_normal((4, 3)), np.eye(3)[[0, 1, 2, 0]]

    def loss(z: Array) -> float:
        return float(np.abs(fastsm.softmax(z) - target).mean())

    y = fastsm.softmax(z)
    dz = fastsm.softmax_vjp(y, np.sign(y - target) / y.size)
    numeric = np.empty_like(z)
    for i in np.ndindex(z.shape):
        step = np.zeros_like(z)
        step[i] = 1e-6
        numeric[i] = (loss(z + step) - loss(z - step)) / 2e-6
    print("Any loss through softmax: the mean absolute error of 4 rows of 3 classes")
    print(f"  softmax_vjp against finite differences: off by {np.abs(dz - numeric).max():.0e}")
    shortcut = (y - target) / y.size
    cosine = (shortcut * dz).sum() / np.sqrt((shortcut**2).sum() * (dz**2).sum())
    print(f"  `p - y` instead would point elsewhere: cosine {cosine:.2f} with the gradient\n")


def speed() -> None:
    """Compare with NumPy."""
    threads = fastsm.get_num_threads()
    print(f"Softmax in float32, in place, {threads} thread{'s' if threads > 1 else ''}, against plain NumPy")
    for shape in ((1, 10), (60000, 10), (256, 1000), (4096, 1000)):
        x = (3 * np.random.default_rng(0).standard_normal(shape)).astype(np.float32)
        np.testing.assert_allclose(fastsm.softmax(x), numpy_softmax(x), rtol=1e-5, atol=1e-30)
        work = x.copy()
        ours, theirs = best_times(partial(fastsm.softmax, work, out=work), partial(numpy_softmax, x))
        print(f"  {shape[0]:>6} x {shape[1]:<6} {1e6 * ours:>10.1f} us  {theirs / ours:>6.1f} times as fast")
    print()


def main() -> None:
    """Run the demonstration."""
    fastsm.show_versions()
    print()
    any_loss()
    speed()
    print("Next: help(fastsm.softmax_vjp), and README.md")


if __name__ == "__main__":
    main()

"""numba: the whole epoch written by hand, as loops and matrix products, and compiled."""

from typing import Any

import numba
import numpy as np

from fastsm._bench.timing import Call
from fastsm._bench.training.networks import LEARNING_RATE, Array, Network, Task, Weights

__all__ = ["CALLED", "predictors", "setup", "trainers"]

CALLED = (
    "Loops written by hand under `njit(fastmath=True)`, a whole epoch a call: gathering, bias with"
    " activation, softmax with the gradient and the update are one loop each over arrays allocated"
    " beforehand; `np.dot(out=)` for the products, which needs SciPy; whole batches only. Inference: the"
    " same forward pass."
)


def setup(threads: int) -> str:
    """Check that there is SciPy, whose BLAS numba calls; the environment limits its threads."""
    import scipy.linalg.cython_blas  # noqa: F401

    return str(numba.__version__)


def _add_bias(z: Any, b: Any, kind: int) -> None:
    """Add the bias; kind 0: nothing else, 1: relu, 2: tanh."""
    for row in range(z.shape[0]):
        for j in range(z.shape[1]):
            value = z[row, j] + b[j]
            if kind == 1:
                value = max(value, np.float32(0))
            elif kind == 2:
                value = np.tanh(value)
            z[row, j] = value


def _softmax(z: Any) -> None:
    for row in range(z.shape[0]):
        largest, total = z[row].max(), np.float32(0)
        for j in range(z.shape[1]):
            z[row, j] = np.exp(z[row, j] - largest)
            total += z[row, j]
        for j in range(z.shape[1]):
            z[row, j] /= total


def _forward(a: Any, weights: Any, biases: Any, kind: int) -> None:
    last = len(weights) - 1
    for i in range(last + 1):
        np.dot(a[i], weights[i], a[i + 1])
        add_bias(a[i + 1], biases[i], kind if i < last else 0)
    softmax(a[last + 1])


def _backward(a: Any, deltas: Any, weights: Any, biases: Any, grads: Any, kind: int, rate: Any) -> None:
    """`deltas[i]` has the shape of `a[i]`; the last one is `a`'s last, p - y over the rows."""
    for i in range(len(weights) - 1, -1, -1):
        delta, weight, bias, grad = deltas[i + 1], weights[i], biases[i], grads[i]
        np.dot(a[i].T, delta, grad)
        if i:
            before, saved = deltas[i], a[i]
            np.dot(delta, weight.T, before)
            for row in range(saved.shape[0]):
                for j in range(saved.shape[1]):
                    y = saved[row, j]
                    before[row, j] *= (y > 0) if kind == 1 else np.float32(1) - y * y
        for row in range(delta.shape[0]):
            for j in range(delta.shape[1]):
                bias[j] -= rate * delta[row, j]
        for row in range(weight.shape[0]):
            for j in range(weight.shape[1]):
                weight[row, j] -= rate * grad[row, j]


def _epoch(
    x: Any, labels: Any, order: Any, a: Any, deltas: Any, weights: Any, biases: Any, grads: Any,
    kind: int, rate: Any,
) -> None:  # fmt: skip
    batch = a[0].shape[0]
    scale = np.float32(1 / batch)
    for start in range(0, len(order) - batch + 1, batch):
        for row in range(batch):
            a[0][row] = x[order[start + row]]
        forward(a, weights, biases, kind)
        p = a[len(weights)]
        for row in range(batch):
            p[row, labels[order[start + row]]] -= np.float32(1)
            for j in range(p.shape[1]):
                p[row, j] *= scale
        backward(a, deltas, weights, biases, grads, kind, rate)


_compile: Any = numba.njit(fastmath=True)
add_bias, softmax = _compile(_add_bias), _compile(_softmax)
forward, backward = _compile(_forward), _compile(_backward)
epoch_of = _compile(_epoch)


def _kind(network: Network) -> int:
    return 1 if network.activation == "relu" else 2


class Jitted:
    """An epoch is one call."""

    candidate, variant = "numba", "njit(fastmath)"

    def __init__(self, task: Task) -> None:
        self.x, self.labels, self.kind = task.data.scaled, task.data.labels, _kind(task.network)
        layers = task.network.weights()
        self.w, self.b = tuple(w for w, _ in layers), tuple(b for _, b in layers)
        self.grads = tuple(np.empty_like(w) for w in self.w)
        self.a = tuple(np.empty((task.batch_size, size), np.float32) for size in task.network.sizes)
        self.deltas = (*(np.empty_like(a) for a in self.a[:-1]), self.a[-1])

    def epoch(self, order: Array) -> None:
        """Train once over all rows but those of a last, smaller batch."""
        epoch_of(
            self.x, self.labels, order, self.a, self.deltas, self.w, self.b, self.grads,
            self.kind, np.float32(LEARNING_RATE),
        )  # fmt: skip

    def in_order(self, rows: int) -> None:
        """Train once over the first rows in their order."""
        self.epoch(np.arange(rows))

    def weights(self) -> Weights:
        """Return the weights as they are now."""
        return list(zip(self.w, self.b, strict=True))


def trainers(task: Task) -> list[Jitted]:
    """Return the compiled epoch."""
    return [Jitted(task)]


def predictors(network: Network, x: Array) -> list[Call]:
    """Return the compiled forward pass."""
    layers = network.weights()
    w, b = tuple(w for w, _ in layers), tuple(b for _, b in layers)
    a = (x, *(np.empty((len(x), size), np.float32) for size in network.sizes[1:]))
    kind = _kind(network)
    return [Call("numba", "njit(fastmath)", lambda: forward(a, w, b, kind), read=lambda _: a[-1])]

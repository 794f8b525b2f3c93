"""NumPy: as one writes it, and with arrays allocated beforehand and ``out=`` wherever NumPy has it."""

import numpy as np

from fastsm._bench.timing import Call
from fastsm._bench.training.networks import LEARNING_RATE, Array, Network, Task, Weights

__all__ = ["CALLED", "Plain", "predict", "predictors", "setup", "trainers"]

CALLED = (
    "Written in NumPy, forward and backward by the formulas. `numpy` is written plainly; `numpy out=`"
    " allocates all arrays beforehand and works in place with `out=`. Images as float32."
)


def setup(threads: int) -> str:
    """Nothing to set up: the environment limits BLAS."""
    return str(np.__version__)


class Plain:
    """As one writes it; in float64 it is what all others must agree with."""

    candidate, variant = "numpy", "plainly written"

    def __init__(self, task: Task, dtype: type[np.floating] = np.float32) -> None:
        self.data, self.batch, self.dtype = task.data, task.batch_size, dtype
        self.is_relu = task.network.activation == "relu"
        self.layers = [(w.astype(dtype), b.astype(dtype)) for w, b in task.network.weights()]
        self.one_hot = np.eye(task.network.sizes[-1], dtype=dtype)

    def epoch(self, order: Array) -> None:
        """Train once over all rows."""
        for start in range(0, len(order), self.batch):
            self._step(order[start : start + self.batch])

    def in_order(self, rows: int) -> None:
        """Train once over the first rows in their order."""
        self.epoch(np.arange(rows))

    def _step(self, rows: Array) -> None:
        activations = [self.data.scaled[rows].astype(self.dtype, copy=False)]
        for i, (w, b) in enumerate(self.layers):
            z = activations[-1] @ w + b
            if i < len(self.layers) - 1:
                z = np.maximum(z, 0) if self.is_relu else np.tanh(z)
            activations.append(z)
        e = np.exp(z - z.max(axis=1, keepdims=True))
        p = e / e.sum(axis=1, keepdims=True)
        delta = (p - self.one_hot[self.data.labels[rows]]) / self.dtype(len(rows))
        for i in reversed(range(len(self.layers))):
            (w, b), a = self.layers[i], activations[i]
            dw, db = a.T @ delta, delta.sum(axis=0)
            if i:
                delta = (delta @ w.T) * ((a > 0) if self.is_relu else 1 - a * a)
            w -= self.dtype(LEARNING_RATE) * dw
            b -= self.dtype(LEARNING_RATE) * db

    def weights(self) -> Weights:
        """Return the weights as they are now."""
        return self.layers


class Preallocated:
    """Nothing of the size of a batch or of the weights is allocated, except masks of booleans."""

    candidate, variant = "numpy out=", "out="

    def __init__(self, task: Task) -> None:
        self.data, self.batch = task.data, task.batch_size
        self.is_relu = task.network.activation == "relu"
        self.layers = task.network.weights()
        self.grads = [(np.empty_like(w), np.empty_like(b)) for w, b in self.layers]
        self.activations, self.deltas = (
            [np.empty((self.batch, size), np.float32) for size in task.network.sizes] for _ in range(2)
        )
        self.numbers = np.arange(self.batch)

    def epoch(self, order: Array) -> None:
        """Train once over all rows."""
        for start in range(0, len(order), self.batch):
            rows = order[start : start + self.batch]
            a = [buffer[: len(rows)] for buffer in self.activations]
            # With mode="raise" NumPy would write to a copy first.
            np.take(self.data.scaled, rows, axis=0, out=a[0], mode="clip")
            self._forward(a)
            a[-1][self.numbers[: len(rows)], self.data.labels[rows]] -= 1
            a[-1] *= np.float32(1 / len(rows))
            self._backward(a)

    def in_order(self, rows: int) -> None:
        """Train once over the first rows in their order."""
        self.epoch(np.arange(rows))

    def _forward(self, a: list[Array]) -> None:
        for i, (w, b) in enumerate(self.layers):
            z = np.matmul(a[i], w, out=a[i + 1])
            z += b
            if i < len(self.layers) - 1:
                np.maximum(z, 0, out=z) if self.is_relu else np.tanh(z, out=z)
        z -= z.max(axis=1, keepdims=True)
        np.exp(z, out=z)
        z /= z.sum(axis=1, keepdims=True)

    def _backward(self, a: list[Array]) -> None:
        delta = a[-1]
        for i in reversed(range(len(self.layers))):
            (w, b), (dw, db) = self.layers[i], self.grads[i]
            np.matmul(a[i].T, delta, out=dw)
            np.sum(delta, axis=0, out=db)
            if i:
                delta = np.matmul(delta, w.T, out=self.deltas[i][: len(delta)])
                delta *= (a[i] > 0) if self.is_relu else self._one_minus_square(a[i])
            for value, grad in ((w, dw), (b, db)):
                grad *= np.float32(LEARNING_RATE)
                value -= grad

    @staticmethod
    def _one_minus_square(a: Array) -> Array:
        np.multiply(a, a, out=a)
        return np.subtract(1, a, out=a)

    def weights(self) -> Weights:
        """Return the weights as they are now."""
        return self.layers


def trainers(task: Task) -> list[Plain | Preallocated]:
    """Return both ways."""
    return [Plain(task), Preallocated(task)]


def predict(network: Network, layers: Weights, x: Array) -> Array:
    """Return the probabilities, plainly written."""
    for w, b in layers[:-1]:
        x = x @ w + b
        x = np.maximum(x, 0) if network.activation == "relu" else np.tanh(x)
    w, b = layers[-1]
    z = x @ w + b
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))


def predictors(network: Network, x: Array) -> list[Call]:
    """Return both ways."""
    layers = network.weights()
    values = [x, *(np.empty((len(x), size), np.float32) for size in network.sizes[1:])]

    def preallocated() -> Array:
        for i, (w, b) in enumerate(layers):
            z = np.matmul(values[i], w, out=values[i + 1])
            z += b
            if i < len(layers) - 1:
                np.maximum(z, 0, out=z) if network.activation == "relu" else np.tanh(z, out=z)
        z -= z.max(axis=1, keepdims=True)
        np.exp(z, out=z)
        z /= z.sum(axis=1, keepdims=True)
        return z

    return [
        Call("numpy", "plainly written", lambda: predict(network, layers, x)),
        Call("numpy out=", "out=", preallocated),
    ]

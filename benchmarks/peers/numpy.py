"""NumPy: plain formulas, and with every array allocated beforehand."""

import numpy as np

from networks import LEARNING_RATE, Trainer
from timing import Call

from . import ways

CALLED = (
    "`numpy`: the formulas as one writes them. `numpy out=`: every array allocated beforehand, the ufuncs'"
    " own `reduce`, and in place where that is possible. The kernels run on one thread. Training: forward and"
    " backward by the formulas, written plainly and with `out=` throughout; images as float32."
)


def setup(threads):
    """Return the version; the environment limits BLAS."""
    return np.__version__


def kernels(cell):
    """Return the plain formulas, and formulas with every array allocated beforehand."""
    plain, reusing = FUNCTIONS[cell.operation]
    kept = (cell.index,) if cell.operation == "cross_entropy_with_grad" else cell.kept
    given, axis = cell.given, cell.axis
    column = np.empty((cell.rows, 1) if axis == -1 else (1, cell.rows), given.dtype)
    return [
        Call("numpy", "plain", lambda: plain(given, *kept, axis)),
        *ways("numpy out=", cell, lambda given, out: lambda: reusing(given, *kept, axis, column, out)),
    ]


# ---- plain formulas


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def log_softmax(x, axis):
    z = x - x.max(axis, keepdims=True)
    return z - np.log(np.exp(z).sum(axis, keepdims=True))


def softmax_vjp(dy, y, axis):
    return y * (dy - (y * dy).sum(axis, keepdims=True))


def log_softmax_vjp(dy, log_y, axis):
    return dy - np.exp(log_y) * dy.sum(axis, keepdims=True)


def cross_entropy_with_grad(x, index, axis):
    log_p = log_softmax(x, axis)
    grad = np.exp(log_p)
    grad[index] -= 1
    grad /= index[0].size
    return -log_p[index].mean(), grad


# ---- the same into `out`, which may be the first argument; `column` has room for a number of each row


def softmax_into(x, axis, column, out):
    np.maximum.reduce(x, axis=axis, keepdims=True, out=column)
    np.subtract(x, column, out=out)
    np.exp(out, out=out)
    np.add.reduce(out, axis=axis, keepdims=True, out=column)
    np.reciprocal(column, out=column)
    return np.multiply(out, column, out=out)


def log_softmax_into(x, axis, column, out):
    np.maximum.reduce(x, axis=axis, keepdims=True, out=column)
    np.subtract(x, column, out=out)
    e = np.exp(out)
    np.add.reduce(e, axis=axis, keepdims=True, out=column)
    np.log(column, out=column)
    return np.subtract(out, column, out=out)


def softmax_vjp_into(dy, y, axis, column, out):
    np.vecdot(y, dy, axis=axis, out=column.reshape(-1))
    np.subtract(dy, column, out=out)
    return np.multiply(out, y, out=out)


def log_softmax_vjp_into(dy, log_y, axis, column, out):
    np.add.reduce(dy, axis=axis, keepdims=True, out=column)
    e = np.exp(log_y, out=None if out is dy else out)
    np.multiply(e, column, out=e)
    return np.subtract(dy, e, out=out)


def cross_entropy_with_grad_into(x, index, axis, column, out):
    share = 1 / index[0].size
    np.maximum.reduce(x, axis=axis, keepdims=True, out=column)
    np.subtract(x, column, out=out)
    chosen = out[index]
    np.exp(out, out=out)
    np.add.reduce(out, axis=axis, keepdims=True, out=column)
    loss = (np.log(column.reshape(-1)) - chosen).mean()
    np.divide(share, column, out=column)
    np.multiply(out, column, out=out)
    out[index] -= share
    return loss, out


FUNCTIONS = {
    "softmax": (softmax, softmax_into),
    "log_softmax": (log_softmax, log_softmax_into),
    "softmax_vjp": (softmax_vjp, softmax_vjp_into),
    "log_softmax_vjp": (log_softmax_vjp, log_softmax_vjp_into),
    "cross_entropy_with_grad": (cross_entropy_with_grad, cross_entropy_with_grad_into),
}


# ---- training


class Plain(Trainer):
    """Plain formulas; in float64 they are the reference for all others."""

    candidate, way = "numpy", "plain"

    def __init__(self, task, dtype=np.float32):
        self.data, self.batch, self.dtype = task.data, task.batch_size, dtype
        self.is_relu = task.network.activation == "relu"
        self.layers = [(w.astype(dtype), b.astype(dtype)) for w, b in task.network.weights()]
        self.one_hot = np.eye(task.network.sizes[-1], dtype=dtype)

    def epoch(self, order):
        """Train once over all rows."""
        for start in range(0, len(order), self.batch):
            self._step(order[start : start + self.batch])

    def _step(self, rows):
        activations = [self.data.scaled[rows].astype(self.dtype, copy=False)]
        for i, (w, b) in enumerate(self.layers):
            z = activations[-1] @ w + b
            if i < len(self.layers) - 1:
                z = np.maximum(z, 0) if self.is_relu else np.tanh(z)
            activations.append(z)
        delta = (softmax(z, 1) - self.one_hot[self.data.labels[rows]]) / self.dtype(len(rows))
        for i in reversed(range(len(self.layers))):
            (w, b), a = self.layers[i], activations[i]
            dw, db = a.T @ delta, delta.sum(axis=0)
            if i:
                delta = (delta @ w.T) * ((a > 0) if self.is_relu else 1 - a * a)
            w -= self.dtype(LEARNING_RATE) * dw
            b -= self.dtype(LEARNING_RATE) * db

    def weights(self):
        """Return the weights as they are now."""
        return self.layers


class Preallocated(Trainer):
    """Formulas that allocate nothing of the size of a batch or of the weights, except boolean masks."""

    candidate, way = "numpy out=", "out="

    def __init__(self, task):
        self.data, self.batch = task.data, task.batch_size
        self.activation = task.network.activation
        self.layers = task.network.weights()
        self.grads = [(np.empty_like(w), np.empty_like(b)) for w, b in self.layers]
        self.activations, self.deltas = (
            [np.empty((self.batch, size), np.float32) for size in task.network.sizes] for _ in range(2)
        )
        self.numbers = np.arange(self.batch)

    def epoch(self, order):
        """Train once over all rows."""
        for start in range(0, len(order), self.batch):
            rows = order[start : start + self.batch]
            a = [buffer[: len(rows)] for buffer in self.activations]
            # With mode="raise" NumPy would write to a copy first.
            np.take(self.data.scaled, rows, axis=0, out=a[0], mode="clip")
            _forward(self.activation, self.layers, a)
            a[-1][self.numbers[: len(rows)], self.data.labels[rows]] -= 1
            a[-1] *= np.float32(1 / len(rows))
            self._backward(a)

    def _backward(self, a):
        delta = a[-1]
        for i in reversed(range(len(self.layers))):
            (w, b), (dw, db) = self.layers[i], self.grads[i]
            np.matmul(a[i].T, delta, out=dw)
            np.sum(delta, axis=0, out=db)
            if i:
                delta = np.matmul(delta, w.T, out=self.deltas[i][: len(delta)])
                delta *= (a[i] > 0) if self.activation == "relu" else self._one_minus_square(a[i])
            for value, grad in ((w, dw), (b, db)):
                grad *= np.float32(LEARNING_RATE)
                value -= grad

    @staticmethod
    def _one_minus_square(a):
        np.multiply(a, a, out=a)
        return np.subtract(1, a, out=a)

    def weights(self):
        """Return the weights as they are now."""
        return self.layers


def trainers(task):
    """Return both ways."""
    return [Plain(task), Preallocated(task)]


def predict(network, layers, x):
    """Return the probabilities by plain formulas."""
    for w, b in layers[:-1]:
        x = x @ w + b
        x = np.maximum(x, 0) if network.activation == "relu" else np.tanh(x)
    w, b = layers[-1]
    return softmax(x @ w + b, 1)


def predictors(network, x):
    """Return both ways."""
    layers = network.weights()
    values = [x, *(np.empty((len(x), size), np.float32) for size in network.sizes[1:])]
    return [
        Call("numpy", "plain", lambda: predict(network, layers, x)),
        Call("numpy out=", "out=", lambda: _forward(network.activation, layers, values)),
    ]


def _forward(activation, layers, values):
    """Compute all layers into the arrays `values`, of which the first has the rows."""
    for i, (w, b) in enumerate(layers):
        z = np.matmul(values[i], w, out=values[i + 1])
        z += b
        if i < len(layers) - 1:
            np.maximum(z, 0, out=z) if activation == "relu" else np.tanh(z, out=z)
    z -= z.max(axis=1, keepdims=True)
    np.exp(z, out=z)
    z /= z.sum(axis=1, keepdims=True)
    return z

"""numba: plain loops, jitted; parallel over rows with several threads.

Each row is done at once, in a few passes over it. With and without ``fastmath``, which lets the compiler
reorder sums, and so use vectors for them; both must agree with the reference, as every way must.
"""

from functools import cache
from math import exp, log

import numba
import numpy as np
from numba import prange

from cells import HALF
from networks import LEARNING_RATE, Trainer
from timing import Call

from . import ways

CALLED = (
    "`numba.njit` of a plain loop over the rows into an output allocated beforehand, and in place; with"
    " `fastmath` off and on, with `prange` over the rows where there are several threads. It has no axis."
    " Training: loops written by hand under `njit(fastmath=True)`, a whole epoch a call: gathering, bias with"
    " activation, softmax with the gradient and the update are one loop each over arrays allocated"
    " beforehand; `np.dot(out=)` for the products, which needs SciPy; whole batches only. Inference: the"
    " same forward pass."
)
_threads = 1


def setup(threads):
    """Remember the number of threads, and return the version. SciPy must be there: numba calls its BLAS."""
    import scipy.linalg.cython_blas  # noqa: F401

    global _threads
    _threads = threads
    if threads > 1:
        numba.set_num_threads(threads)
    return numba.__version__


def kernels(cell):
    """Return the jitted loops; they are compiled by their first call."""
    if cell.axis != -1 or cell.dtype in HALF:
        return []
    found = []
    for fastmath in (False, True):
        function = _jitted(LOOPS[cell.operation], fastmath, _threads > 1)
        way = "fastmath" if fastmath else ""
        found += ways("numba", cell, _bound(function, cell.kept), way)
    return found


def _bound(function, kept):
    def make(given, out):
        if function.__name__ == "_cross_entropy_with_grad":
            return lambda: (function(given, *kept, out), out)

        def run():
            function(given, *kept, out)
            return out

        return run

    return make


@cache
def _jitted(function, fastmath, parallel):
    return numba.njit(function, fastmath=fastmath, parallel=parallel, error_model="numpy")


# ---- the loops; the output may be the input


def _softmax(x, out):
    for i in prange(x.shape[0]):
        largest = x[i].max()
        total = x.dtype.type(0)
        for j in range(x.shape[1]):
            out[i, j] = exp(x[i, j] - largest)
            total += out[i, j]
        scale = 1 / total
        for j in range(x.shape[1]):
            out[i, j] *= scale


def _log_softmax(x, out):
    for i in prange(x.shape[0]):
        largest = x[i].max()
        total = x.dtype.type(0)
        for j in range(x.shape[1]):
            total += exp(x[i, j] - largest)
        shift = largest + log(total)
        for j in range(x.shape[1]):
            out[i, j] = x[i, j] - shift


def _softmax_vjp(dy, y, out):
    for i in prange(y.shape[0]):
        total = y.dtype.type(0)
        for j in range(y.shape[1]):
            total += y[i, j] * dy[i, j]
        for j in range(y.shape[1]):
            out[i, j] = y[i, j] * (dy[i, j] - total)


def _log_softmax_vjp(dy, log_y, out):
    for i in prange(log_y.shape[0]):
        total = log_y.dtype.type(0)
        for j in range(log_y.shape[1]):
            total += dy[i, j]
        for j in range(log_y.shape[1]):
            out[i, j] = dy[i, j] - exp(log_y[i, j]) * total


def _cross_entropy_with_grad(x, targets, out):
    loss = 0.0
    for i in prange(x.shape[0]):
        largest = x[i].max()
        of_target = x[i, targets[i]]
        total = x.dtype.type(0)
        for j in range(x.shape[1]):
            out[i, j] = exp(x[i, j] - largest)
            total += out[i, j]
        loss += largest + log(total) - of_target
        scale = 1 / (total * x.shape[0])
        for j in range(x.shape[1]):
            out[i, j] *= scale
        out[i, targets[i]] -= 1 / x.shape[0]
    return loss / x.shape[0]


LOOPS = {
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "softmax_vjp": _softmax_vjp,
    "log_softmax_vjp": _log_softmax_vjp,
    "cross_entropy_with_grad": _cross_entropy_with_grad,
}


# ---- training


def _add_bias(z, b, kind):
    """Add the bias; kind 0: nothing else, 1: relu, 2: tanh."""
    for row in range(z.shape[0]):
        for j in range(z.shape[1]):
            value = z[row, j] + b[j]
            if kind == 1:
                value = max(value, np.float32(0))
            elif kind == 2:
                value = np.tanh(value)
            z[row, j] = value


def _softmax_in_place(z):
    for row in range(z.shape[0]):
        largest, total = z[row].max(), np.float32(0)
        for j in range(z.shape[1]):
            z[row, j] = np.exp(z[row, j] - largest)
            total += z[row, j]
        for j in range(z.shape[1]):
            z[row, j] /= total


def _forward(a, weights, biases, kind):
    last = len(weights) - 1
    for i in range(last + 1):
        np.dot(a[i], weights[i], a[i + 1])
        add_bias(a[i + 1], biases[i], kind if i < last else 0)
    softmax(a[last + 1])


def _backward(a, deltas, weights, biases, grads, kind, rate):
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
    x, labels, order, a, deltas, weights, biases, grads,
    kind, rate,
):  # fmt: skip
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


_compile = numba.njit(fastmath=True)
add_bias, softmax = _compile(_add_bias), _compile(_softmax_in_place)
forward, backward = _compile(_forward), _compile(_backward)
epoch_of = _compile(_epoch)


def _kind(network):
    return 1 if network.activation == "relu" else 2


class Jitted(Trainer):
    """An epoch is one call."""

    candidate, way = "numba", "njit(fastmath)"

    def __init__(self, task):
        self.x, self.labels, self.kind = task.data.scaled, task.data.labels, _kind(task.network)
        layers = task.network.weights()
        self.w, self.b = tuple(w for w, _ in layers), tuple(b for _, b in layers)
        self.grads = tuple(np.empty_like(w) for w in self.w)
        self.a = tuple(np.empty((task.batch_size, size), np.float32) for size in task.network.sizes)
        self.deltas = (*(np.empty_like(a) for a in self.a[:-1]), self.a[-1])

    def epoch(self, order):
        """Train once over all rows except a last, smaller batch."""
        epoch_of(
            self.x, self.labels, order, self.a, self.deltas, self.w, self.b, self.grads,
            self.kind, np.float32(LEARNING_RATE),
        )  # fmt: skip

    def weights(self):
        """Return the current weights."""
        return list(zip(self.w, self.b, strict=True))


def trainers(task):
    """Return the compiled epoch."""
    return [Jitted(task)]


def predictors(network, x):
    """Return the compiled forward pass."""
    layers = network.weights()
    w, b = tuple(w for w, _ in layers), tuple(b for _, b in layers)
    a = (x, *(np.empty((len(x), size), np.float32) for size in network.sizes[1:]))
    kind = _kind(network)
    return [Call("numba", "njit(fastmath)", lambda: forward(a, w, b, kind), read=lambda _: a[-1])]

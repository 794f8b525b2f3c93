"""The limit for any library: one pass over the memory, and the bare matrix products of a training step."""

import contextlib
from importlib import import_module
from importlib.util import find_spec

import numpy as np

from cells import HALF
from networks import Trainer
from timing import Call

CALLED = (
    "No library. Kernels: one pass over the same memory in place, `np.multiply(x, 1, out=x)`, a limit for"
    " large arrays only. Training and inference: the matrix products of the same steps and nothing else,"
    " NumPy's BLAS on arrays allocated beforehand; with several threads also with BLAS limited to one, by"
    " threadpoolctl."
)
_threads = 1


def setup(threads):
    """Remember the number of threads; the environment limits BLAS."""
    global _threads
    _threads = threads
    return np.__version__


def kernels(cell):
    """Return the pass over the memory; NumPy would convert half precision, so that is taken as integers."""
    z = cell.scratch
    if cell.dtype in HALF:
        z = z.view(np.int16)
        return [Call("limit", "add(x, 1, out=x) of int16", lambda: np.add(z, 1, out=z), restore=cell.refill)]
    return [Call("limit", "multiply(x, 1, out=x)", lambda: np.multiply(z, 1, out=z), restore=cell.refill)]


class Products(Trainer):
    """The matrix products of an epoch."""

    candidate = "limit"

    def __init__(self, task, way, context):
        self.way, self.context = way, context
        rng = np.random.default_rng(0)
        self.batch = n = task.batch_size
        self.factors = [w for w, _ in task.network.weights()]
        self.values = [rng.random((n, size), dtype=np.float32) for size in task.network.sizes]
        self.out = [np.empty((n, size), np.float32) for size in task.network.sizes]
        self.grads = [np.empty_like(w) for w in self.factors]

    def epoch(self, order):
        """Multiply once per whole batch; the values do not matter."""
        with self.context():
            for _ in range(len(order) // self.batch):
                self._step()

    def _step(self):
        for i, w in enumerate(self.factors):
            np.matmul(self.values[i], w, out=self.out[i + 1])
        for i in reversed(range(len(self.factors))):
            np.matmul(self.values[i].T, self.values[i + 1], out=self.grads[i])
            if i:
                np.matmul(self.values[i + 1], self.factors[i].T, out=self.out[i])

    def weights(self):
        """Return None: nothing is learned."""
        return None


def trainers(task):
    """Return the limit of training."""
    return [Products(task, *way) for way in _ways()]


def predictors(network, x):
    """Return the limit of inference."""
    weights = [w for w, _ in network.weights()]
    values = [np.ones((len(x), len(w)), np.float32) for w in weights]
    out = [np.empty((len(x), w.shape[1]), np.float32) for w in weights]

    def run():
        for value, w, product in zip(values, weights, out, strict=True):
            np.matmul(value, w, out=product)

    return [Call("limit", way, run, context=context) for way, context in _ways()]


def _ways():
    """Return ways and contexts: small products may be slower on several threads."""
    found = [("matmul(out=)", contextlib.nullcontext)]
    if _threads > 1 and find_spec("threadpoolctl") is not None:
        controller = import_module("threadpoolctl").ThreadpoolController()
        found.append(
            ("matmul(out=), BLAS on one thread", lambda: controller.limit(limits=1, user_api="blas"))
        )
    return found

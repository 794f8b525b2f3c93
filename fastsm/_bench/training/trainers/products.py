"""The limit: the matrix products of the same steps alone."""

import contextlib
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

import numpy as np

from fastsm._bench.timing import Call
from fastsm._bench.training.networks import Array, Network, Task, Weights

__all__ = ["CALLED", "predictors", "setup", "trainers"]

CALLED = (
    "The limit: the matrix products of the same steps and nothing else, NumPy's BLAS on arrays allocated"
    " beforehand; with several threads also with BLAS limited to one, by threadpoolctl."
)
Context = Callable[[], contextlib.AbstractContextManager[object]]
_threads = 1


def setup(threads: int) -> str:
    """Remember the number of threads; the environment limits BLAS."""
    global _threads
    _threads = threads
    return str(np.__version__)


class Products:
    """The matrix products of an epoch."""

    candidate = "products"

    def __init__(self, task: Task, variant: str, context: Context) -> None:
        self.variant, self.context = variant, context
        rng = np.random.default_rng(0)
        self.batch = n = task.batch_size
        self.factors = [w for w, _ in task.network.weights()]
        self.values = [rng.random((n, size), dtype=np.float32) for size in task.network.sizes]
        self.out = [np.empty((n, size), np.float32) for size in task.network.sizes]
        self.grads = [np.empty_like(w) for w in self.factors]

    def epoch(self, order: Array) -> None:
        """Multiply as often as there are whole batches."""
        self.in_order(len(order))

    def in_order(self, rows: int) -> None:
        """Multiply; the values do not matter."""
        with self.context():
            for _ in range(rows // self.batch):
                self._step()

    def _step(self) -> None:
        for i, w in enumerate(self.factors):
            np.matmul(self.values[i], w, out=self.out[i + 1])
        for i in reversed(range(len(self.factors))):
            np.matmul(self.values[i].T, self.values[i + 1], out=self.grads[i])
            if i:
                np.matmul(self.values[i + 1], self.factors[i].T, out=self.out[i])

    def weights(self) -> Weights | None:
        """Nothing is learned."""
        return None


def trainers(task: Task) -> list[Products]:
    """Return the limit of training."""
    return [Products(task, *way) for way in _ways()]


def predictors(network: Network, x: Array) -> list[Call]:
    """Return the limit of inference."""
    weights = [w for w, _ in network.weights()]
    values = [np.ones((len(x), len(w)), np.float32) for w in weights]
    out = [np.empty((len(x), w.shape[1]), np.float32) for w in weights]

    def run() -> None:
        for value, w, product in zip(values, weights, out, strict=True):
            np.matmul(value, w, out=product)

    return [Call("products", variant, run, context=context) for variant, context in _ways()]


def _ways() -> list[tuple[str, Context]]:
    """Return variants and contexts: small products can take longer on several threads than on one."""
    found: list[tuple[str, Context]] = [("matmul(out=)", contextlib.nullcontext)]
    if _threads > 1 and find_spec("threadpoolctl") is not None:
        controller = import_module("threadpoolctl").ThreadpoolController()
        found.append(
            ("matmul(out=), BLAS on one thread", lambda: controller.limit(limits=1, user_api="blas"))
        )
    return found

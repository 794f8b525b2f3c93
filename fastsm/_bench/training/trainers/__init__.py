"""How each library trains a network and runs it, each at its best setting: one module a library.

A module has ``CALLED``, which says how the library is called; ``setup(threads)``, which returns its version;
``trainers(task)``, its ways to train for an epoch; and ``predictors(network, x)``, its ways to compute the
probabilities of the rows `x`: empty lists where the library has none. Where there are several ways, all of
them are timed and the fastest stands for the library. All start from the weights of `Network.weights`. The
modules fastsm and sklearn also have ``estimator(**parameters)``, a classifier that is not yet fitted.

"products" is no competitor but the limit: the matrix products of the same steps, and nothing else.
"""

from typing import Protocol

from fastsm._bench.training.networks import Array, Weights

__all__ = ["LIBRARIES", "LIMIT", "Trainer"]

LIMIT = "products"
# Candidates and the modules that call them; the module numpy has "numpy out=" too.
LIBRARIES = {
    LIMIT: "products",
    "fastsm": "fastsm",
    "numpy": "numpy",
    "torch": "torch",
    "torch.compile": "torch_compile",
    "onnxruntime": "onnxruntime",
    "jax": "jax",
    "sklearn": "sklearn",
    "thinc": "thinc",
    "numba": "numba",
}


class Trainer(Protocol):
    """One way of training a network with one library."""

    @property
    def candidate(self) -> str:
        """Whose time it is, such as "torch"."""

    @property
    def variant(self) -> str:
        """The way, such as "SGD(fused)"."""

    def epoch(self, order: Array) -> None:
        """Train once over all rows: in this order, or in one that the library draws itself."""

    def in_order(self, rows: int) -> None:
        """Train once over the first `rows` rows, whole batches, in their order."""

    def weights(self) -> Weights | None:
        """Return the weights (n_in, n_out) and biases; None for the limit, which learns nothing."""

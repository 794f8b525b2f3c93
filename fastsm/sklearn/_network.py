"""The network of an estimator: made as scikit-learn makes its own, and run on whole data sets."""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastsm import nn
from fastsm.functional._cores import openmp_threads
from fastsm.nn import _activations
from fastsm.training._blas_threads import largest_product, limited
from fastsm.training._evaluation import BLOCK
from fastsm.typing import Array

__all__ = ["ACTIVATIONS", "build", "infer", "linear_layers", "threads_for"]

#: By the names of scikit-learn, then of `fastsm.nn`, what `nn.MLP` takes.
ACTIVATIONS: dict[str, Any] = {
    "identity": functools.partial(nn.LeakyReLU, 1.0),
    "logistic": "sigmoid",
    **{name: name for name in _activations.ACTIVATIONS if name != "sigmoid"},
}
# Multiply-adds of a product that is never shared by threads.
_SERIAL_PRODUCT = 1 << 17


def build(
    n_in: int,
    n_out: int,
    layers: Mapping[str, Any],
    dtype: np.dtype[Any],
    random_state: np.random.RandomState,
) -> nn.MLP:
    """Return a network that ends in logits, with the initial weights that scikit-learn would draw.

    Each layer's weights, then its biases, are uniform in [-b, b] with b = sqrt(6 / (n_in + n_out)), or
    sqrt(2 / (n_in + n_out)) with the logistic function [1]_. `layers` has the estimator's
    `hidden_layer_sizes`, `activation`, `dropout` and `layer_norm`.

    References
    ----------
    .. [1] X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward neural
       networks", AISTATS 2010.
    """
    activation, dropout = layers["activation"], float(layers["dropout"])
    network = nn.MLP(
        [n_in, *layers["hidden_layer_sizes"], n_out],
        activation=ACTIVATIONS[activation],
        dropout=dropout,
        layer_norm=layers["layer_norm"],
        init="zeros",
        dtype=dtype,
        # Dropout alone takes seeds from `rng`: without it, scikit-learn's draws must not be disturbed.
        rng=int(random_state.randint(2**31 - 1)) if dropout else 0,
    )
    factor = 2.0 if activation == "logistic" else 6.0
    for layer in linear_layers(network):
        bound = np.sqrt(factor / (layer.n_in + layer.n_out))
        layer.params["weight"][...] = random_state.uniform(-bound, bound, (layer.n_in, layer.n_out))
        layer.params["bias"][...] = random_state.uniform(-bound, bound, layer.n_out)
    return network


def linear_layers(network: nn.Sequential) -> list[nn.Linear]:
    """Return the layers with the weights, in order."""
    return [layer for layer in network.layers if isinstance(layer, nn.Linear)]


def threads_for(estimator: Any) -> int | None:
    """Return the number of threads to use; None leaves it as it is.

    joblib tells its worker processes by ``OMP_NUM_THREADS`` what share of the cores is theirs;
    ``FASTSM_NUM_THREADS`` is meant for fastsm, and goes before it.
    """
    if estimator.n_threads is not None:
        return int(estimator.n_threads)
    return None if os.environ.get("FASTSM_NUM_THREADS", "0") not in ("", "0") else openmp_threads()


def infer(network: nn.Sequential, X: Any, threads: int | None) -> Array:
    """Return what the last linear layer gives for an array or a CSR matrix, a new array (N, outputs)."""
    if threads is not None and (largest := largest_product(network, X.shape[0])) >= _SERIAL_PRODUCT:
        with limited(threads, largest):
            return infer(network, X, None)
    if isinstance(X, np.ndarray) and len(X) <= BLOCK:
        return network(X)
    result = np.empty((X.shape[0], linear_layers(network)[-1].n_out), network.dtype)
    for first in range(0, X.shape[0], BLOCK):
        x = X[first : first + BLOCK]
        dense = x if isinstance(x, np.ndarray) else x.astype(network.dtype, copy=False).toarray()
        result[first : first + BLOCK] = network(dense)
    return result

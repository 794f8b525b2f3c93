"""The network of an estimator: made as scikit-learn makes its own, and run on whole data sets."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from fastsm import nn
from fastsm._arguments import Array

__all__ = ["BLOCK", "blocks", "build", "infer", "linear_layers"]

_LAYERS: dict[str, Callable[[], Any]] = {
    "logistic": nn.Sigmoid,
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
}
# Rows that go through the network together where no gradient is needed.
BLOCK = 1024


def build(
    sizes: Sequence[int],
    activation: str,
    *,
    dtype: np.dtype[Any],
    random_state: np.random.RandomState,
    dropout: float = 0.0,
    layer_norm: bool = False,
) -> nn.Sequential:
    """Return a network that ends in logits, with the initial weights that scikit-learn would draw.

    Each layer's weights, then its biases, are uniform in [-b, b] with b = sqrt(6 / (n_in + n_out)), or
    sqrt(2 / (n_in + n_out)) with the logistic function [1]_.

    Parameters
    ----------
    sizes : sequence of int
        Numbers of features: of the input, of each hidden layer, of the output.
    activation : str
        The estimator's.
    dtype : dtype
        float32 or float64.
    random_state : RandomState
        Where the weights come from.
    dropout : float
        Probability to drop the elements of the hidden layers.
    layer_norm : bool
        Whether to normalize the hidden layers before their activation.

    References
    ----------
    .. [1] X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward neural
       networks", AISTATS 2010.
    """
    layers: list[Any] = []
    for n_in, n_out in pairwise(sizes[:-1]):
        layers.append(nn.Linear(n_in, n_out, init="zeros"))
        if layer_norm:
            layers.append(nn.LayerNorm(n_out))
        if activation != "identity":
            layers.append(_LAYERS[activation]())
        if dropout:
            layers.append(nn.Dropout(dropout))
    layers.append(nn.Linear(sizes[-2], sizes[-1], init="zeros"))
    # Dropout alone takes seeds from `rng`: without it, scikit-learn's draws must not be disturbed.
    seed = int(random_state.randint(2**31 - 1)) if dropout else 0
    network = nn.Sequential(*layers, dtype=dtype, rng=seed)
    factor = 2.0 if activation == "logistic" else 6.0
    for layer in linear_layers(network):
        bound = np.sqrt(factor / (layer.n_in + layer.n_out))
        layer.params["weight"][...] = random_state.uniform(-bound, bound, (layer.n_in, layer.n_out))
        layer.params["bias"][...] = random_state.uniform(-bound, bound, layer.n_out)
    return network


def linear_layers(network: nn.Sequential) -> list[nn.Linear]:
    """Return the layers with the weights, in order."""
    return [layer for layer in network.layers if isinstance(layer, nn.Linear)]


def blocks(X: Any, dtype: np.dtype[Any]) -> Iterator[tuple[slice, Array]]:
    """Yield the rows of an array or a CSR matrix in blocks, dense, in a buffer if need be."""
    rows, dense = X.shape[0], isinstance(X, np.ndarray)
    buffer = None if dense else np.empty((min(rows, BLOCK), X.shape[1]), dtype)
    for first in range(0, rows, BLOCK):
        part = slice(first, min(first + BLOCK, rows))
        if buffer is None:
            yield part, X[part]
        else:
            out = buffer[: part.stop - first]
            yield part, X[part].astype(dtype, copy=False).toarray(out=out)


def infer(network: nn.Sequential, X: Any) -> Array:
    """Return what the last linear layer gives for all rows, a new array of shape (N, outputs)."""
    if isinstance(X, np.ndarray) and len(X) <= BLOCK:
        return network(X)
    result = np.empty((X.shape[0], linear_layers(network)[-1].n_out), network.dtype)
    for part, x in blocks(X, network.dtype):
        result[part] = network(x)
    return result

"""Layer normalization."""

from __future__ import annotations

import numpy as np

from fastsm import _arguments
from fastsm._kernels import kernels
from fastsm.nn._buffers import Buffer
from fastsm.nn._layer import ParameterLayer, wrong_shape
from fastsm.typing import Array, Config, DType

__all__ = ["LayerNorm"]


class LayerNorm(ParameterLayer):
    r"""Normalize each row, then scale and shift it: ``y = gain * (x - mean) / s + bias``.

    Parameters
    ----------
    n : int
        Number of features; input and output are (N, n).
    epsilon : float, default 1e-5
        Added to the variance, so that a row of equal numbers gives `bias`. Above 0 and finite.

    Attributes
    ----------
    params, grads : dict
        ``"gain"`` (n,), which starts at 1, and ``"bias"`` (n,), which starts at 0.

    Raises
    ------
    TypeError
        If an argument has a wrong type.
    ValueError
        If an argument has a wrong value; in use, if the input does not have `n` features.

    Notes
    -----
    ``s = sqrt(variance + epsilon)``, with the mean and the variance (divided by n) of the row [1]_. With
    ``x_hat = (x - mean) / s`` and ``g = dy * gain``: ``dx = (g - mean(g) - x_hat * mean(g * x_hat)) / s``,
    ``d_gain = sum(dy * x_hat)`` and ``d_bias = sum(dy)`` over the batch. The *input* is kept: where a gain is
    0 the output does not determine `x_hat`.

    References
    ----------
    .. [1] J. L. Ba, J. R. Kiros and G. E. Hinton, "Layer normalization", arXiv:1607.06450, 2016, equation 3.

    Examples
    --------
    >>> from fastsm import nn
    >>> layer = nn.LayerNorm(3)
    >>> layer.forward([[1.0, 2.0, 3.0]]).round(4)
    array([[-1.2247,  0.    ,  1.2247]])
    >>> layer.backward([[1.0, 0.0, 0.0]]).round(4)
    array([[ 0.2041, -0.4082,  0.2041]])
    """

    undecayed = frozenset({"gain", "bias"})

    def __init__(self, n: int, *, epsilon: float = 1e-5) -> None:
        super().__init__()
        self.n_in = self.n_out = self.n = _arguments.positive_integer("n", n)
        self.epsilon = _arguments.above_0("epsilon", epsilon)
        self._mean = Buffer()
        self._inverse_deviation = Buffer()

    def config(self) -> Config:
        """Return the arguments of the constructor, in the types of JSON."""
        return {"n": self.n, "epsilon": self.epsilon}

    def __repr__(self) -> str:
        return f"LayerNorm({self.n})"

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the parameters by name."""
        return {"gain": (self.n,), "bias": (self.n,)}

    def _initial(self, rng: np.random.Generator, dtype: DType) -> dict[str, Array]:
        return {"gain": np.ones(self.n, dtype), "bias": np.zeros(self.n, dtype)}

    def _forward(self, x: Array, training: bool, reuse: bool) -> Array:
        self._check(x)
        self._saved = x
        mean = self._mean.get((len(x),), x.dtype)
        inverse_deviation = self._inverse_deviation.get((len(x),), x.dtype)
        return self._normalize(x, self._output.like(x), mean, inverse_deviation)

    def _infer(self, x: Array, reuse: bool) -> Array:
        self._check(x)
        return self._normalize(x, np.empty_like(x), np.empty(len(x), x.dtype), np.empty(len(x), x.dtype))

    def _backward(self, dy: Array, input_grad: bool, reuse: bool) -> Array | None:
        # With x_hat = (x - m) s and g = dy * gain: d_x_hat_i/dx_j = s ([i = j] - 1/n - x_hat_i x_hat_j / n),
        # which is symmetric, so dx = s (g - mean(g) - x_hat mean(g x_hat)).
        x = self._saved
        dx = dy if reuse else self._input_gradient.like(dy)
        mean = self._mean.get((len(dy),), dy.dtype)
        inverse_deviation = self._inverse_deviation.get((len(dy),), dy.dtype)
        gain, grads = self.params["gain"], self.grads
        kernels.layer_norm_vjp(x, gain, mean, inverse_deviation, dy, dx, grads["gain"], grads["bias"])
        return dx if input_grad else None

    def _check(self, x: Array) -> None:
        if x.ndim != 2 or x.shape[1] != self.n:
            raise wrong_shape(x, self.n, repr(self))

    def _normalize(self, x: Array, out: Array, mean: Array, inverse_deviation: Array) -> Array:
        gain, bias = self.params["gain"], self.params["bias"]
        kernels.layer_norm(x, gain, bias, self.epsilon, out, mean, inverse_deviation)
        return out

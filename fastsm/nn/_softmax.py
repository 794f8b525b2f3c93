"""Softmax and its logarithm as layers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastsm import _arguments, functional
from fastsm.nn._layer import Layer
from fastsm.typing import Array, Config

__all__ = ["LogSoftmax", "Softmax"]


class _Normalized(Layer):
    """Base class of the two: a temperature, and a derivative that is a function of the output."""

    keeps_output = True
    _function: Callable[..., Array]
    _vjp: Callable[..., Array]

    def __init__(self, temperature: float = 1.0) -> None:
        super().__init__()
        self.temperature = _arguments.temperature(temperature)

    def config(self) -> Config:
        """Return the arguments of the constructor, in the types of JSON."""
        return {"temperature": self.temperature}

    def _forward(self, x: Array, training: bool, reuse: bool) -> Array:
        y = x if reuse else self._output.like(x)
        self._saved = self._function(x, temperature=self.temperature, out=y)
        return y

    def _infer(self, x: Array, reuse: bool) -> Array:
        y = x if reuse else np.empty_like(x)
        self._function(x, temperature=self.temperature, out=y)
        return y

    def _backward(self, dy: Array, input_grad: bool, reuse: bool) -> Array | None:
        if not input_grad:
            return None
        dx = dy if reuse else self._input_gradient.like(dy)
        self._vjp(self._saved, dy, temperature=self.temperature, out=dx)
        return dx


class Softmax(_Normalized):
    r"""Softmax over the last axis: ``y = exp(x / T) / sum(exp(x / T))``, row by row.

    Input and output have the same shape, (N, C). As the last layer it emits probabilities: combine it with
    any loss ``on="probs"``. A cross-entropy on probabilities is computed together with it, from the logits.

    Parameters
    ----------
    temperature : float, default 1.0
        T. From 1e-30 to 1e30.

    Raises
    ------
    TypeError, ValueError
        If `temperature` is not such a number.

    Notes
    -----
    Each output of a row depends on the whole row, so the backward pass multiplies ``dy`` by the transposed
    Jacobian, not by a derivative element by element: ``dx = y * (dy - sum(y * dy)) / T``, from the *output*
    [1]_; see `fastsm.softmax_vjp`.

    References
    ----------
    .. [1] J. S. Bridle, "Training stochastic model recognition algorithms as networks can lead to maximum
       mutual information estimation of parameters", NIPS 2, 1989.

    Examples
    --------
    The gradient of ``sum((y - target)**2)`` over the logits:

    >>> from fastsm import nn
    >>> layer = nn.Softmax()
    >>> y = layer.forward([[1.0, 2.0, 3.0]])
    >>> y.round(4)
    array([[0.09  , 0.2447, 0.6652]])
    >>> layer.backward(2 * (y - [[0.0, 1.0, 0.0]])).round(4)
    array([[-0.0317, -0.4998,  0.5314]])
    """

    emits = "probs"
    # dy_i/dx_j = y_i ([i = j] - y_j) / T is symmetric: dL/dx_j = y_j (dL/dy_j - sum_i y_i dL/dy_i) / T
    _function = staticmethod(functional.softmax)
    _vjp = staticmethod(functional.softmax_vjp)


class LogSoftmax(_Normalized):
    r"""Logarithm of softmax over the last axis: ``y = x / T - logsumexp(x / T)``, row by row.

    Input and output have the same shape, (N, C). As the last layer it emits log-probabilities, accurate also
    where softmax would round to 0 or 1: combine it with `NLLLoss`.

    Parameters
    ----------
    temperature : float, default 1.0
        T. From 1e-30 to 1e30.

    Raises
    ------
    TypeError, ValueError
        If `temperature` is not such a number.

    Notes
    -----
    ``dx = (dy - exp(y) * sum(dy)) / T``, from the *output*; see `fastsm.log_softmax_vjp`.

    Examples
    --------
    The negative log-likelihood of class 1 gives ``p - y``:

    >>> from fastsm import nn
    >>> layer = nn.LogSoftmax()
    >>> layer.forward([[1.0, 2.0, 3.0]]).round(4)
    array([[-2.4076, -1.4076, -0.4076]])
    >>> layer.backward([[0.0, -1.0, 0.0]]).round(4)
    array([[ 0.09  , -0.7553,  0.6652]])
    """

    emits = "log_probs"
    # dy_i/dx_j = ([i = j] - exp(y_j)) / T, so dL/dx_j = (dL/dy_j - exp(y_j) sum_i dL/dy_i) / T
    _function = staticmethod(functional.log_softmax)
    _vjp = staticmethod(functional.log_softmax_vjp)

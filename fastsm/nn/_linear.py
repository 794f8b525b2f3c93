"""The linear layer."""

from __future__ import annotations

import numpy as np

from fastsm import _arguments
from fastsm._kernels import kernels
from fastsm.nn._layer import ParameterLayer, wrong_shape
from fastsm.nn._products import affine, input_gradient, weight_gradient
from fastsm.nn.initializers import Initializer, initial_weights, initializer
from fastsm.typing import Array, Config, DType

__all__ = ["Linear"]


class Linear(ParameterLayer):
    r"""Affine map of each row: ``y = x @ weight + bias``.

    Parameters
    ----------
    n_in, n_out : int
        Numbers of features of the input, (N, n_in), and of the output, (N, n_out).
    bias : bool, default True
        Whether to add a bias.
    init : str or callable, default "he_normal"
        Initial weights: a name from `fastsm.nn.initializers` or a function ``(rng, shape, dtype) -> array``.
        The bias starts at 0.
    rng : None, int or numpy.random.Generator
        The source of the weights; by default the `rng` of the model.

    Attributes
    ----------
    params, grads : dict
        ``"weight"`` (n_in, n_out) and ``"bias"`` (n_out,). Outside a model they are made at the first use, in
        the dtype of the input.

    Raises
    ------
    TypeError
        If an argument has a wrong type.
    ValueError
        If an argument has a wrong value; in use, if the input does not have `n_in` features.

    Notes
    -----
    With :math:`y_{rj} = \sum_i x_{ri} w_{ij} + b_j`, the gradient dy of any loss over the output gives
    ``d_weight = x.T @ dy``, ``d_bias = dy.sum(axis=0)`` and ``dx = dy @ weight.T`` [1]_. The backward pass
    needs the input, which is kept without a copy, and not the output.

    References
    ----------
    .. [1] D. E. Rumelhart, G. E. Hinton and R. J. Williams, "Learning representations by back-propagating
       errors", Nature 323, 1986.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsm import nn
    >>> layer = nn.Linear(2, 3, init="ones")
    >>> layer.forward([[1.0, 2.0]])
    array([[3., 3., 3.]])
    >>> layer.backward([[1.0, 0.0, -2.0]])
    array([[-1., -1.]])
    >>> layer.grads["weight"]
    array([[ 1.,  0., -2.],
           [ 2.,  0., -4.]])
    """

    undecayed = frozenset({"bias"})
    n_in: int
    n_out: int

    def __init__(
        self,
        n_in: int,
        n_out: int,
        *,
        bias: bool = True,
        init: str | Initializer = "he_normal",
        rng: int | np.random.Generator | None = None,
    ) -> None:
        super().__init__()
        self.n_in = _arguments.positive_integer("n_in", n_in)
        self.n_out = _arguments.positive_integer("n_out", n_out)
        self.bias = _arguments.flag("bias", bias)
        self.init = init
        initializer(init)  # raise for an unknown name now, not when the weights are made
        self._rng = None if rng is None else _arguments.generator(rng)

    def config(self) -> Config:
        """Return the arguments of the constructor, in the types of JSON; `init` only if it is a name."""
        config: Config = {"n_in": self.n_in, "n_out": self.n_out, "bias": self.bias}
        return config | {"init": self.init} if isinstance(self.init, str) else config

    def __repr__(self) -> str:
        return f"Linear({self.n_in}, {self.n_out}{'' if self.bias else ', bias=False'})"

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the parameters by name."""
        bias = {"bias": (self.n_out,)} if self.bias else {}
        return {"weight": (self.n_in, self.n_out), **bias}

    def _initial(self, rng: np.random.Generator, dtype: DType) -> dict[str, Array]:
        rng = rng if self._rng is None else self._rng
        params = {"weight": initial_weights(self.init, rng, (self.n_in, self.n_out), dtype)}
        if self.bias:
            params["bias"] = np.zeros(self.n_out, dtype)
        return params

    def _output_shape(self) -> tuple[int, ...]:
        return len(self._saved), self.n_out

    def _forward(self, x: Array, training: bool, reuse: bool) -> Array:
        self._check(x)
        self._saved = x
        return self._product(x, self._output.get((len(x), self.n_out), x.dtype))

    def _infer(self, x: Array, reuse: bool) -> Array:
        self._check(x)
        return self._product(x, np.empty((len(x), self.n_out), x.dtype))

    def _backward(self, dy: Array, input_grad: bool, reuse: bool) -> Array | None:
        # dL/dw_ij = sum_r dL/dy_rj x_ri; dL/db_j = sum_r dL/dy_rj; dL/dx_ri = sum_j dL/dy_rj w_ij
        x = self._saved
        grads = self.grads
        weight_gradient(x, dy, grads["weight"])
        if self.bias:
            kernels.column_sums(dy, grads["bias"])
        if not input_grad:
            return None
        dx = self._input_gradient.like(x)
        return input_gradient(dy, self.params["weight"], dx)

    def _check(self, x: Array) -> None:
        if x.ndim != 2 or x.shape[1] != self.n_in:
            raise wrong_shape(x, self.n_in, repr(self))

    def _product(self, x: Array, out: Array) -> Array:
        params = self.params
        return affine(x, params["weight"], params["bias"] if self.bias else None, out)

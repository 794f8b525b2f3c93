"""The base classes of this package's layers.

A model calls three methods of each layer. They check only the number of features, as the model has checked
the rest. With `reuse` the caller gives the argument away: the layer may overwrite it with the result.

    _forward(x, training, reuse) -> y      keeps what `_backward` needs
    _backward(dy, input_grad, reuse) -> dx (None unless `input_grad`); fills `grads`
    _infer(x, reuse) -> y                  keeps nothing; y is a new array, or x if `reuse`

The public methods check their arguments and never write to them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fastsm import _arguments
from fastsm.nn._buffers import Buffer, kernel_array
from fastsm.typing import Array, Config, DType

__all__: list[str] = []


# Stands for no input: compared by identity.
_NOTHING: Array = np.empty(0)


class Layer:
    """Base class of the layers: buffers, and public methods that check their arguments."""

    #: What the output is: "output", "probs" or "log_probs".
    emits = "output"
    #: Whether `_backward` reads what `_forward` returned, so that it must not be overwritten.
    keeps_output = False
    #: Numbers of features, where the layer determines them.
    n_in: int | None = None
    n_out: int | None = None
    #: What `_backward` needs, or any array with as many rows; not copied with the layer.
    _saved: Array = _NOTHING

    def __init__(self) -> None:
        self._output = Buffer()
        self._input_gradient = Buffer()

    def forward(self, x: ArrayLike) -> Array:
        """Return the layer's output and keep what `backward` needs.

        Parameters
        ----------
        x : array_like
            Shape (N, features), one row for each sample.

        Returns
        -------
        ndarray
            A buffer of the layer, valid until the next call.
        """
        return self._forward(self._enter(x), training=False, reuse=False)

    def backward(self, dy: ArrayLike, input_grad: bool = True) -> Array | None:
        """Return the gradient over the last input and write the gradients over the parameters to `grads`.

        Parameters
        ----------
        dy : array_like
            Gradient of the loss over the output of the last `forward`, with its shape.
        input_grad : bool, default True
            Whether to compute the gradient over the input.

        Returns
        -------
        ndarray or None
            A buffer of the layer, valid until the next call; None if not `input_grad`.

        Raises
        ------
        RuntimeError
            If `forward` was not called before.
        ValueError
            If `dy` has a wrong shape.
        """
        if self._saved is _NOTHING:
            raise RuntimeError(f"`backward` of {self!r} needs a call of `forward` before it")
        gradient = kernel_array("dy", dy, self._saved.dtype)
        _arguments.same_shape("dy", gradient, self._output_shape())
        # The result of the last call must not be overwritten while it is read.
        gradient = gradient.copy() if self._input_gradient.holds(gradient) else gradient
        return self._backward(gradient, _arguments.flag("input_grad", input_grad), reuse=False)

    def __call__(self, x: ArrayLike) -> Array:
        """Return the layer's output as a new array, without changing what `backward` needs.

        Parameters
        ----------
        x : array_like
            Shape (N, features).

        Returns
        -------
        ndarray
            The output.
        """
        return self._infer(self._enter(x), reuse=False)

    def config(self) -> Config:
        """Return the arguments of the constructor, in the types of JSON."""
        return {}

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.config().items())
        return f"{type(self).__name__}({arguments})"

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_saved"}

    def _enter(self, x: ArrayLike) -> Array:
        """Return the checked input of a layer that is called outside a model."""
        array = _arguments.array("x", x)
        if array.ndim == 0:
            raise ValueError("`x` must have at least one axis, got shape ()")
        array = kernel_array("x", array, self._dtype_for(array))
        # A result of the layer must not be overwritten while it is read.
        own = self._output.holds(array) or self._input_gradient.holds(array)
        return array.copy() if own else array

    def _dtype_for(self, x: Array) -> DType:
        return _arguments.compute_dtype(_arguments.result_dtype(x))

    def _output_shape(self) -> tuple[int, ...]:
        """Return the shape of the last output."""
        return self._saved.shape

    def _forward(self, x: Array, training: bool, reuse: bool) -> Array:
        raise NotImplementedError

    def _backward(self, dy: Array, input_grad: bool, reuse: bool) -> Array | None:
        raise NotImplementedError

    def _infer(self, x: Array, reuse: bool) -> Array:
        raise NotImplementedError


class ParameterLayer(Layer):
    """A layer with parameters, made once the model or the first input determines their dtype."""

    #: Parameters that weight decay may leave out.
    undecayed: frozenset[str] = frozenset()

    def __init__(self) -> None:
        super().__init__()
        self.params: dict[str, Array] = {}
        self.grads: dict[str, Array] = {}

    def initialize(self, rng: np.random.Generator, dtype: DType) -> None:
        """Make the parameters, unless the layer has them already.

        Parameters
        ----------
        rng : numpy.random.Generator
            The source of random numbers, unless the layer was given its own.
        dtype : numpy.dtype
            float32 or float64.
        """
        if not self.params:
            self.params = self._initial(rng, dtype)
            self.grads = {name: np.zeros_like(value) for name, value in self.params.items()}

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the parameters by name, also before they are made."""
        raise NotImplementedError

    def _initial(self, rng: np.random.Generator, dtype: DType) -> dict[str, Array]:
        raise NotImplementedError

    def _dtype_for(self, x: Array) -> DType:
        if not self.params:
            self.initialize(np.random.default_rng(), super()._dtype_for(x))
        return next(iter(self.params.values())).dtype


def wrong_shape(x: Array, features: int | None, where: str) -> ValueError:
    """Return the error for an input that is not (N, features), with advice if it can be reshaped."""
    advice = ""
    if x.ndim > 2 and features in (None, int(np.prod(x.shape[1:]))):
        advice = ": reshape it with x.reshape(len(x), -1)"
    elif x.ndim == 1 and features in (None, x.size):
        advice = ": a single sample is x[np.newaxis]"
    expected = "(N, features)" if features is None else f"(N, {features})"
    return ValueError(f"`x` must have shape {expected} for {where}, got {x.shape}{advice}")

"""Networks whose layers follow one after the other, as they are used."""

import copy
import sys
from collections.abc import Iterator
from typing import Any, TextIO, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from fastsm import _arguments
from fastsm._arguments import Array
from fastsm.nn._chain import Chain
from fastsm.nn._structure import check_dtype, check_layers, name_of, table

__all__ = ["Sequential"]

Model = TypeVar("Model", bound="Sequential")


class Sequential(Chain):
    """A network of layers, each of which takes the output of the one before.

    Parameters
    ----------
    *layers : layer
        Those of `fastsm.nn` and any of your own, see Notes. A layer belongs to one model, at one place.
    dtype : {"float32", "float64"}
        Of parameters, gradients and everything between.
    rng : None, int or numpy.random.Generator
        Where initial weights and the seeds of dropout come from. The same seed makes the same model.

    Attributes
    ----------
    layers : tuple
        The layers.
    params, grads : ndarray
        All parameters and their gradients, each one flat array: those that decay first, then those that
        weight decay may leave out (biases, gains). The arrays in each layer's `params` and `grads` are views.
    decayed : int
        How many elements of `params` come before those that weight decay may leave out.
    dtype : numpy.dtype
        float32 or float64.
    emits : str or None
        What comes out: "probs", "log_probs" or "output"; None if a layer of your own does not say.

    Raises
    ------
    TypeError
        If something is not a layer, or not one of the two dtypes.
    ValueError
        If there is no layer, if sizes do not fit, or if a layer is used twice.

    Notes
    -----
    A layer of your own is an object with ``forward(x)``, which keeps what it needs and does not write to `x`,
    and ``backward(dy)``, which returns the gradient over `x`. It may have ``forward(x, training=False)`` and
    ``backward(dy, input_grad=True)``; dictionaries ``params`` and ``grads`` (`backward` then assigns the
    gradients, ``self.grads["weight"] = ...``), made in ``initialize(rng, dtype)`` if you like; a set of names
    ``undecayed``; ``emits``; and ``__call__(x)`` for inference, without which `forward` of a shallow copy
    is called.

    What `forward` and `backward` return are buffers, valid until the next call: a training step allocates
    nothing of the size of a batch. `forward` keeps its input without copying it, so leave that as it is until
    `backward`. Models can be copied with `copy.deepcopy` and pickled; buffers are left behind.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsm import nn
    >>> model = nn.Sequential(nn.Linear(2, 500), nn.Tanh(), nn.Linear(500, 2), nn.Softmax(), rng=0)
    >>> x = np.array([[1.0, -1.0]], dtype=np.float32)
    >>> y = model.forward(x, training=True)
    >>> dx = model.backward(y - [[0.0, 1.0]])
    >>> dx.shape, model.grads.shape
    ((1, 2), (2502,))
    """

    def __init__(
        self, *layers: Any, dtype: DTypeLike = "float32", rng: int | np.random.Generator | None = None
    ) -> None:
        check_layers(layers)
        numbers = _arguments.generator(rng)
        super().__init__(layers, check_dtype(dtype))
        for layer in layers:
            if hasattr(layer, "initialize"):
                layer.initialize(numbers, self._dtype)
        self._build()

    @property
    def params(self) -> Array:
        """All parameters, one flat array; write into it, it cannot be replaced."""
        return self._params

    @property
    def grads(self) -> Array:
        """The gradients of all parameters from the last `backward`, in the order of `params`."""
        return self._grads

    @property
    def decayed(self) -> int:
        """How many elements of `params` come before those that weight decay may leave out."""
        return self._decayed

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of parameters, gradients and everything between."""
        return self._dtype

    @property
    def emits(self) -> str | None:
        """What comes out: "probs", "log_probs" or "output"; None if the last layer does not say."""
        return getattr(self.layers[-1], "emits", None)

    def forward(self, x: ArrayLike, training: bool = False) -> Array:
        """Run all layers and keep what `backward` needs.

        Parameters
        ----------
        x : array_like
            Shape (N, features), one row a sample; converted to the model's dtype if it has another. Arrays of
            uint8 are images, here and in `fastsm.fit`: divided by 255.
        training : bool, default False
            Whether dropout drops anything. (For inference there is ``model(x)``, which keeps nothing.)

        Returns
        -------
        ndarray
            The last layer's output, a buffer that is valid until the next call.

        Raises
        ------
        TypeError
            If `x` is not an array of real numbers.
        ValueError
            If `x` has a wrong shape.
        """
        return self._forward(x, _arguments.flag("training", training))

    def backward(self, dy: ArrayLike, input_grad: bool = True) -> Array | None:
        """Run all layers backwards and fill `grads`, overwriting what was there.

        Parameters
        ----------
        dy : array_like
            Gradient of the loss over what `forward` returned, with its shape.
        input_grad : bool, default True
            Whether the gradient over the model's input is needed; training needs none.

        Returns
        -------
        ndarray or None
            Gradient over the input, a buffer that is valid until the next call; None if not `input_grad`.

        Raises
        ------
        RuntimeError
            If there was no `forward` before.
        ValueError
            If `dy` has a wrong shape.
        """
        return self._backward(dy, _arguments.flag("input_grad", input_grad))

    def __call__(self, x: ArrayLike) -> Array:
        """Inference: run all layers and leave what `backward` needs alone.

        Parameters
        ----------
        x : array_like
            Shape (N, features); converted to the model's dtype if it has another, uint8 divided by 255.

        Returns
        -------
        ndarray
            The last layer's output, a new array.
        """
        return self._infer(x)

    def named_parameters(self) -> Iterator[tuple[str, Array]]:
        """Yield the name of each parameter, as "0.weight", and its array, a view of `params`.

        Yields
        ------
        name : str
            The position of the layer, and the parameter's name in it.
        value : ndarray
            The parameter.
        """
        for i, layer in enumerate(self.layers):
            for name, value in (getattr(layer, "params", None) or {}).items():
                yield f"{i}.{name}", value

    def astype(self: Model, dtype: DTypeLike) -> Model:
        """Return a copy of the model that computes in another dtype.

        Parameters
        ----------
        dtype : {"float32", "float64"}
            It may be the same.

        Returns
        -------
        Sequential
            With layers, parameters and gradients of its own.
        """
        other = copy.deepcopy(self)
        other._dtype = check_dtype(dtype)
        other._build()
        return other

    def summary(self, file: TextIO | None = None) -> None:
        """Print a table of layers, shapes of their outputs and numbers of parameters.

        A layer of your own has a shape once the model has run.

        Parameters
        ----------
        file : file, optional
            Where to print; by default the standard output.

        Examples
        --------
        >>> from fastsm import nn
        >>> nn.MLP([784, 128, 10]).summary()
        layer               output shape  parameters
        --------------------------------------------
        0 Linear(784, 128)  (N, 128)         100,480
        1 ReLU()            (N, 128)               0
        2 Linear(128, 10)   (N, 10)            1,290
        --------------------------------------------
        total                                101,770
        """
        print(table(self.layers, tuple(step for step, _, _ in self._steps)), file=file or sys.stdout)

    def config(self) -> dict[str, Any]:
        """Return what the model is made from, in the types of JSON, but for the parameters' values.

        Returns
        -------
        dict
            ``"dtype"``, and in ``"layers"`` for each one its ``"class"`` and ``"config"``.

        Raises
        ------
        TypeError
            If a layer of your own has no ``config()``.
        """
        layers = []
        for i, layer in enumerate(self.layers):
            if not callable(getattr(layer, "config", None)):
                raise TypeError(f"layer {i}, {name_of(layer)}, must have a method `config`")
            layers.append({"class": type(layer).__name__, "config": layer.config()})
        return {"layers": layers, "dtype": self._dtype.name}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(name_of(layer) for layer in self.layers)})"

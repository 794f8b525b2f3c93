"""Networks whose layers follow one after the other, over flat arrays of parameters.

`fastsm.nn._structure.plan_layers` decides where a layer may work in place.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from fastsm import _arguments
from fastsm.nn._buffers import kernel_array, shares_buffer
from fastsm.nn._layer import wrong_shape
from fastsm.nn._parameters import flatten_parameters
from fastsm.nn._structure import (
    PlannedLayer,
    check_dtype,
    check_layers,
    check_owner,
    is_ours,
    name_of,
    plan_layers,
    set_owner,
    summary_table,
)
from fastsm.typing import Array, Config, DType, LayerLike

if TYPE_CHECKING:
    from fastsm.data import Pictures, Table

__all__ = ["Sequential"]

Model = TypeVar("Model", bound="Sequential")


class Sequential:
    """A network of layers, each of which takes the output of the previous one.

    Parameters
    ----------
    *layers : layer
        Layers of `fastsm.nn`, and your own as described by `fastsm.typing.LayerLike`. A layer belongs to one
        model, at one place.
    dtype : {"float32", "float64"}
        The dtype of parameters, gradients and everything between.
    rng : None, int or numpy.random.Generator
        The source of the initial weights and of the seeds of dropout. The same seed makes the same model.

    Attributes
    ----------
    layers : tuple
        The layers.
    params, grads : ndarray
        All parameters and all gradients, each as one flat array: first the parameters that decay, then those
        that weight decay may leave out (biases, gains). Each layer's `params` and `grads` hold views.
    decayed : int
        The number of elements of `params` before those that weight decay may leave out.
    dtype : numpy.dtype
        float32 or float64.
    emits : str or None
        What the output is: "probs", "log_probs" or "output"; None if the last layer has no `emits`.
    table : fastsm.data.Table or None
        How the columns of a table become inputs, for a model of a table; it is saved with the model.
    pictures : fastsm.data.Pictures or None
        How pictures become inputs, for a model of pictures; it is saved with the model.

    Raises
    ------
    TypeError
        If something is not a layer, or `dtype` is not one of the two.
    ValueError
        If there is no layer, if sizes do not fit, or if a layer occurs twice.

    Notes
    -----
    `forward` and `backward` return buffers, valid until the next call: a training step allocates no array of
    the size of a batch. `forward` keeps its input without a copy, so do not change the input before
    `backward`. Models can be copied with `copy.deepcopy` and pickled, without their buffers.

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

    table: Table | None = None
    pictures: Pictures | None = None

    # Made by `_build` from the layers, so not part of the state.
    _BUILT = frozenset({"_decayed", "_dx", "_grads", "_lowest", "_params", "_result", "_steps", "_stop"})

    def __init__(
        self, *layers: LayerLike, dtype: DTypeLike = "float32", rng: int | np.random.Generator | None = None
    ) -> None:
        check_layers(layers)
        numbers = _arguments.generator(rng)
        self.layers = layers
        self._dtype = check_dtype(dtype)
        check_owner(self, layers)
        for layer in layers:
            if hasattr(layer, "initialize"):
                layer.initialize(numbers, self._dtype)
        self._build()

    @property
    def params(self) -> Array:
        """All parameters, one flat array that can be written to but not replaced."""
        return self._params

    @property
    def grads(self) -> Array:
        """The gradients of all parameters from the last `backward`, in the order of `params`."""
        return self._grads

    @property
    def decayed(self) -> int:
        """The number of elements of `params` before those that weight decay may leave out."""
        return self._decayed

    @property
    def dtype(self) -> DType:
        """The dtype of parameters, gradients and everything between."""
        return self._dtype

    @property
    def emits(self) -> str | None:
        """What the output is: "probs", "log_probs" or "output"; None if the last layer has no `emits`."""
        return getattr(self.layers[-1], "emits", None)

    def forward(self, x: ArrayLike, training: bool = False) -> Array:
        """Run all layers and keep what `backward` needs.

        Parameters
        ----------
        x : array_like
            Shape (N, features), one row for each sample; converted to the model's dtype. Arrays of uint8 are
            taken for images and divided by 255, as in `fastsm.fit`.
        training : bool, default False
            Whether dropout is active. (For inference use ``model(x)``, which keeps nothing.)

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
        return self._forward_through(x, _arguments.flag("training", training))

    def backward(self, dy: ArrayLike, input_grad: bool = True) -> Array | None:
        """Run all layers backwards and overwrite `grads`.

        Parameters
        ----------
        dy : array_like
            Gradient of the loss over what `forward` returned, with its shape.
        input_grad : bool, default True
            Whether to compute the gradient over the model's input, which training does not need.

        Returns
        -------
        ndarray or None
            Gradient over the input, a buffer that is valid until the next call; None if not `input_grad`.

        Raises
        ------
        RuntimeError
            If `forward` was not called before.
        ValueError
            If `dy` has a wrong shape.
        """
        return self._backward_through(dy, _arguments.flag("input_grad", input_grad))

    def __call__(self, x: ArrayLike) -> Array:
        """Run all layers for inference, without changing what `backward` needs.

        Parameters
        ----------
        x : array_like
            Shape (N, features); converted to the model's dtype, uint8 divided by 255.

        Returns
        -------
        ndarray
            The last layer's output, a new array.
        """
        return self._infer_through(x)

    def named_parameters(self) -> Iterator[tuple[str, Array]]:
        """Yield the name of each parameter, such as "0.weight", and its array, a view of `params`.

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
        """Return a copy of the model, with layers and arrays of its own, that computes in another dtype.

        Parameters
        ----------
        dtype : {"float32", "float64"}
            The dtype of the copy; it may be that of the model.
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
            The file to print to; by default the standard output.

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
        if file is not None and not hasattr(file, "write"):
            raise TypeError(f"`file` must be an open file, got {_arguments.shown(file)}")
        print(summary_table(self.layers, tuple(step.layer for step in self._steps)), file=file or sys.stdout)

    def config(self) -> Config:
        """Return the model without the values of its parameters, in the types of JSON.

        Returns
        -------
        dict
            ``"dtype"``, and ``"layers"`` with the ``"class"`` and ``"config"`` of each layer.

        Raises
        ------
        TypeError
            If a layer of your own has no ``config()``.
        """
        layers = []
        for i, layer in enumerate(self.layers):
            config = getattr(layer, "config", None)
            if not callable(config):
                raise TypeError(f"layer {i}, {name_of(layer)}, must have a method `config`")
            layers.append({"class": type(layer).__name__, "config": config()})
        return {"layers": layers, "dtype": self._dtype.name}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(name_of(layer) for layer in self.layers)})"

    def _build(self) -> None:
        """Make the flat arrays, and decide where layers may work in place."""
        self._params, self._grads, self._decayed = flatten_parameters(self.layers, self._dtype)
        self._steps = plan_layers(self.layers, self._dtype)
        # Below the first layer that learns no gradient is needed.
        self._lowest = next((i for i, step in enumerate(self._steps) if step.learns), len(self.layers))
        # The results of the last forward and backward pass.
        self._result: Array | None = None
        self._dx: Array | None = None
        self._stop: int | None = None
        set_owner(self, self.layers)

    def _infer_through(self, x: ArrayLike, stop: int | None = None) -> Array:
        """Return the output of ``layers[:stop]``, a new array, without changing what `backward` needs."""
        return self._run(self._enter(x), stop, lambda step, y: step.layer._infer(y, step.infers_in_place))

    def _forward_through(self, x: ArrayLike, training: bool = False, stop: int | None = None) -> Array:
        """Run ``layers[:stop]`` forward and keep what `_backward_through` needs."""
        x, self._result = self._enter(x), None  # after an error there is no backward pass
        y = self._run(x, stop, lambda step, y: step.layer._forward(y, training, step.trains_in_place))
        self._result, self._stop = y, stop
        return y

    def _backward_through(
        self, dy: ArrayLike, input_grad: bool = True, stop: int | None = None
    ) -> Array | None:
        """Run ``layers[:stop]`` backward, after `_forward_through` of the same layers."""
        result = self._result
        if result is None or stop != self._stop:
            raise RuntimeError("`backward` needs a forward pass before it: call forward(x, training=True)")
        gradient: Any = _arguments.same_shape("dy", kernel_array("dy", dy, self._dtype), result.shape)
        if shares_buffer(gradient, self._dx):
            gradient = gradient.copy()  # must not be overwritten while it is read
        steps = self._steps[:stop]
        lowest = 0 if input_grad else self._lowest
        for i in range(len(steps) - 1, lowest - 1, -1):
            reuse = i + 1 < len(steps) and steps[i].owns_dy
            with_dx = input_grad or i > lowest
            try:
                gradient = steps[i].layer._backward(gradient, with_dx, reuse)
            except Exception as error:
                self._note_layer(error, i)
                raise
        if not input_grad:
            return None
        self._dx = gradient
        return self._dx

    def _run(self, y: Array, stop: int | None, call: Callable[[PlannedLayer, Array], Array]) -> Array:
        """Call ``layers[:stop]`` one after the other; without layers, return a copy."""
        for i, step in enumerate(self._steps[:stop]):
            try:
                y = call(step, y)
            except Exception as error:
                self._note_layer(error, i)
                raise
        return y if self._steps[:stop] else y.copy()

    def _enter(self, x: ArrayLike) -> Array:
        """Return the checked input, in the model's dtype."""
        given = x if type(x) is np.ndarray else _arguments.array("x", x)  # such as a memmap or a data frame
        if given.dtype == np.uint8:
            given = np.multiply(given, self._dtype.type(1 / 255), dtype=self._dtype)  # as in `fit`
        array = kernel_array("x", given, self._dtype)
        if array.ndim < 2:
            first = self.layers[0]
            raise wrong_shape(array, first.n_in if is_ours(first) else None, f"layer 0, {name_of(first)}")
        if shares_buffer(array, self._result) or shares_buffer(array, self._dx):
            return array.copy()  # the buffer is about to be overwritten
        return array

    def _note_layer(self, error: Exception, position: int) -> None:
        error.add_note(f"in layer {position}, {name_of(self.layers[position])}")

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name not in self._BUILT}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        check_owner(self, self.layers)
        self._build()

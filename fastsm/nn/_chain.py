"""How layers run one after the other: over flat parameters, in place where nobody can tell.

A layer may overwrite its input if that lies in a buffer of the layer before which that layer does not read
again (Linear's output, but not that of Tanh, whose derivative is written in it); and the gradient over its
output if it comes from the layer after. So Linear and ReLU share one array each way. What belongs to the
caller or to a layer of the user's is never written to.
"""

from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import ArrayLike

from fastsm import _arguments
from fastsm._arguments import Array
from fastsm.nn._buffers import fitting
from fastsm.nn._layer import wrong_shape
from fastsm.nn._parameters import gather
from fastsm.nn._structure import is_ours, name_of
from fastsm.nn._user_layer import UserLayer

__all__: list[str] = []

#: Which model a layer, by its id, belongs to: two of them would take its parameters from each other.
_model_of: "WeakValueDictionary[int, Chain]" = WeakValueDictionary()


class Chain:
    """The inner workings of `Sequential`."""

    # What `_build` makes from the layers, and so no part of the state.
    _BUILT = frozenset(
        {"_decayed", "_dx", "_grads", "_params", "_result", "_reuse_dy", "_steps", "_stop", "_trained"}
    )

    def __init__(self, layers: tuple[Any, ...], dtype: np.dtype[Any]) -> None:
        self.layers = layers
        self._dtype = dtype
        self._check_owner()

    def _check_owner(self) -> None:
        for i, layer in enumerate(self.layers):
            if _model_of.get(id(layer), self) is not self:
                raise ValueError(
                    f"layer {i}, {name_of(layer)}, must not belong to another model: use copy.deepcopy"
                )

    def _build(self) -> None:
        """Make the flat arrays, and decide where layers may work in place."""
        self._params, self._grads, self._decayed = gather(self.layers, self._dtype)
        ours = [is_ours(layer) for layer in self.layers]
        steps = [layer if is_ours(layer) else UserLayer(layer, self._dtype) for layer in self.layers]
        # For each layer: may it overwrite its input in training; in inference; its output's gradient?
        # Only a buffer of ours that nobody reads again, never an array of the user's.
        kept = [step.keeps_output for step in steps]
        in_training = [False, *(a and not b for a, b in zip(ours, kept, strict=True))]
        in_inference = [False, *ours]
        self._steps = tuple(zip(steps, in_training, in_inference, strict=False))
        self._reuse_dy = [*ours[1:], False]
        # Nobody needs a gradient below the first layer with parameters; but the user's layers all get theirs.
        first = (i for i, layer in enumerate(self.layers) if not ours[i] or getattr(layer, "params", None))
        self._trained = next(first, len(self.layers))
        # What the last `_forward` and the last `_backward` returned.
        self._result: Array | None = None
        self._dx: Array | None = None
        self._stop: int | None = None
        for layer in self.layers:
            _model_of[id(layer)] = self

    def _infer(self, x: ArrayLike, stop: int | None = None) -> Array:
        """Return what ``layers[:stop]`` give for `x`, a new array; nothing that `_backward` needs changes."""
        y = self._enter(x)
        position = -1
        try:
            for step, _, reuse in self._steps[:stop]:
                position += 1
                y = step._infer(y, reuse)
        except Exception as error:
            self._say_where(error, position)
            raise
        return y.copy() if position < 0 else y

    def _forward(self, x: ArrayLike, training: bool = False, stop: int | None = None) -> Array:
        """`forward` through ``layers[:stop]``."""
        y = self._enter(x)
        self._result = None  # an error on the way leaves nothing for `backward`
        position = -1
        try:
            for step, reuse, _ in self._steps[:stop]:
                position += 1
                y = step._forward(y, training, reuse)
        except Exception as error:
            self._say_where(error, position)
            raise
        # If there was no layer at all: whoever gets the result may write to it.
        y = y.copy() if position < 0 else y
        self._result, self._stop = y, stop
        return y

    def _backward(self, dy: ArrayLike, input_grad: bool = True, stop: int | None = None) -> Array | None:
        """`backward` through ``layers[:stop]``, after `_forward` through the same ones."""
        result = self._result
        if result is None or stop != self._stop:
            raise RuntimeError("`backward` needs a forward pass before it: call forward(x, training=True)")
        gradient: Any = _arguments.same_shape("dy", fitting("dy", dy, self._dtype), result.shape)
        if _shares_buffer(gradient, self._dx):
            gradient = gradient.copy()  # it would be overwritten while it is read
        last = len(self._steps[:stop]) - 1
        lowest = 0 if input_grad else self._trained
        i = last
        try:
            for i in range(last, lowest - 1, -1):
                reuse = i < last and self._reuse_dy[i]
                gradient = self._steps[i][0]._backward(gradient, input_grad or i > lowest, reuse)
        except Exception as error:
            self._say_where(error, i)
            raise
        if input_grad:
            self._dx = gradient
        return gradient if input_grad else None

    def _enter(self, x: ArrayLike) -> Array:
        given = x if type(x) is np.ndarray else _arguments.array("x", x)  # a file mapped into memory, a table
        if given.dtype == np.uint8:
            given = np.multiply(given, self._dtype.type(1 / 255), dtype=self._dtype)  # as `fit` gathers
        array = fitting("x", given, self._dtype)
        if array.ndim < 2:
            first = self.layers[0]
            raise wrong_shape(array, first.n_in if is_ours(first) else None, f"layer 0, {name_of(first)}")
        if _shares_buffer(array, self._result) or _shares_buffer(array, self._dx):
            return array.copy()  # the buffer is about to be overwritten
        return array

    def _say_where(self, error: Exception, position: int) -> None:
        error.add_note(f"in layer {position}, {name_of(self.layers[position])}")

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in self._BUILT}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._check_owner()
        self._build()


def _shares_buffer(array: Array, returned: Array | None) -> bool:
    """Whether an array lies in the buffer of a layer that was returned."""
    return returned is not None and array.base is not None and array.base is returned.base

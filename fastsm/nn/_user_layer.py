"""Layers of the user's own: anything with `forward` and `backward`, in plain NumPy."""

import copy
import inspect
from typing import Any

import numpy as np

from fastsm.nn._buffers import fitting
from fastsm.nn._layer import Layer
from fastsm.typing import Array, DType

__all__: list[str] = []


class UserLayer(Layer):
    """Speaks to a layer of the user's as a model speaks to those of this package, and checks its answers."""

    def __init__(self, layer: Any, dtype: DType) -> None:
        super().__init__()
        self._layer = layer
        self._dtype = dtype
        self._in_training = {"training": True} if _takes(layer.forward, "training") else {}
        self._in_evaluation = {"training": False} if self._in_training else {}
        self._without_dx = {"input_grad": False} if _takes(layer.backward, "input_grad") else {}
        #: The dictionaries that the model has put there.
        self._held = [(name, getattr(layer, name, None)) for name in ("params", "grads")]
        #: Shape of the last output without the samples' axis, for the summary.
        self.features: tuple[int, ...] | None = None

    def _forward(self, x: Array, training: bool, reuse: bool) -> Array:
        self._saved = x
        return self._output_of(
            self._layer.forward(x, **(self._in_training if training else self._in_evaluation))
        )

    def _infer(self, x: Array, reuse: bool) -> Array:
        if callable(self._layer):
            y = self._output_of(self._layer(x))
        else:
            # The copy takes what `forward` keeps for `backward`.
            y = self._output_of(copy.copy(self._layer).forward(x, **self._in_evaluation))
        return y.copy() if np.may_share_memory(x, y) else y

    def _backward(self, dy: Array, input_grad: bool, reuse: bool) -> Array | None:
        dx = self._layer.backward(dy, **({} if input_grad else self._without_dx))
        name = type(self._layer).__name__
        for attribute, held in self._held:
            now = getattr(self._layer, attribute, None)
            if now is not held and (now or held):
                raise TypeError(
                    f'{name} must write into self.{attribute}["..."] once a model has it, not replace that'
                )
        if not input_grad:
            return None
        if not isinstance(dx, np.ndarray):
            raise TypeError(f"`backward` of {name} must return the gradient over its input, got {_kind(dx)}")
        shape = self._saved.shape
        if dx.shape != shape:
            raise ValueError(f"what `backward` of {name} returns must have shape {shape}, got {dx.shape}")
        return fitting(f"dx of {name}", dx, self._dtype)

    def _output_of(self, y: object) -> Array:
        name = type(self._layer).__name__
        if not isinstance(y, np.ndarray):
            raise TypeError(f"{name} must return its output, an array, got {_kind(y)}")
        if y.ndim == 0:
            raise ValueError(f"the output of {name} must have one row a sample, got shape ()")
        self.features = y.shape[1:]
        return fitting(f"the output of {name}", y, self._dtype)


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__


def _takes(method: Any, option: str) -> bool:
    try:
        return option in inspect.signature(method).parameters
    except ValueError:  # a compiled function that does not tell
        return False

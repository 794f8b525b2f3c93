"""Layers of the user: any object with `forward` and `backward`, in plain NumPy."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from fastsm.nn._buffers import kernel_array
from fastsm.nn._layer import Layer
from fastsm.typing import Array, DType

__all__: list[str] = []


class UserLayer(Layer):
    """Adapts a layer of the user to the private methods of this package's layers, and checks its results."""

    def __init__(self, layer: Any, dtype: DType) -> None:
        super().__init__()
        self._layer = layer
        self._dtype = dtype
        self._in_training = {"training": True} if _takes(layer.forward, "training") else {}
        self._in_evaluation = {"training": False} if self._in_training else {}
        self._without_dx = {"input_grad": False} if _takes(layer.backward, "input_grad") else {}
        #: The dictionaries of views that the model has put into the layer.
        self._held = [(name, getattr(layer, name, None)) for name in ("params", "grads")]
        #: Shape of the last output without its first axis, for the summary.
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
            # A copy, so that `forward` does not replace what the layer keeps for `backward`.
            y = self._output_of(copy.copy(self._layer).forward(x, **self._in_evaluation))
        return y.copy() if np.may_share_memory(x, y) else y

    def _backward(self, dy: Array, input_grad: bool, reuse: bool) -> Array | None:
        dx = self._layer.backward(dy, **({} if input_grad else self._without_dx))
        name = type(self._layer).__name__
        for attribute, held in self._held:
            now = getattr(self._layer, attribute, None)
            if now is not held and (now or held):
                raise TypeError(
                    f'{name} must write into self.{attribute}["..."] once a model has it, not replace it'
                )
        if not input_grad:
            return None
        if not isinstance(dx, np.ndarray):
            raise TypeError(f"`backward` of {name} must return the gradient over its input, got {_kind(dx)}")
        shape = self._saved.shape
        if dx.shape != shape:
            raise ValueError(f"the result of `backward` of {name} must have shape {shape}, got {dx.shape}")
        return kernel_array(f"dx of {name}", dx, self._dtype)

    def _output_of(self, y: object) -> Array:
        name = type(self._layer).__name__
        if not isinstance(y, np.ndarray):
            raise TypeError(f"{name} must return its output, an array, got {_kind(y)}")
        if y.ndim == 0:
            raise ValueError(f"the output of {name} must have one row for each sample, got shape ()")
        self.features = y.shape[1:]
        return kernel_array(f"the output of {name}", y, self._dtype)


def _kind(value: object) -> str:
    return "None" if value is None else type(value).__name__


def _takes(method: Callable[..., object], option: str) -> bool:
    try:
        return option in inspect.signature(method).parameters
    except ValueError:  # a compiled function without a signature
        return False

"""Multilayer perceptrons."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import DTypeLike

from fastsm import _arguments
from fastsm.nn._activations import ACTIVATIONS, Sigmoid, Tanh
from fastsm.nn._dropout import Dropout
from fastsm.nn._layer import Layer
from fastsm.nn._layer_norm import LayerNorm
from fastsm.nn._linear import Linear
from fastsm.nn._sequential import Sequential
from fastsm.nn._softmax import LogSoftmax, Softmax
from fastsm.nn.initializers import Initializer
from fastsm.typing import LayerLike

__all__ = ["MLP"]

_HEADS: dict[str, type[Layer]] = {"softmax": Softmax, "log_softmax": LogSoftmax, "sigmoid": Sigmoid}


class MLP(Sequential):
    """Multilayer perceptron: linear layers with activations between them, ending in logits.

    Parameters
    ----------
    sizes : sequence of int
        Numbers of features: of the input, of each hidden layer, of the output.
    activation : str or callable, default "relu"
        The activation after each hidden layer: its name ("relu", "leaky_relu", "tanh", ...), or a class of
        layers (any callable that takes no argument and returns a new layer).
    dropout : float, default 0.0
        The probability of dropping an element of a hidden layer, after its activation.
    layer_norm : bool, default False
        Whether to normalize each hidden layer before its activation.
    head : {None, "softmax", "log_softmax", "sigmoid"}
        The layer after the last linear one; by default there is none, and the model returns logits.
    init : str or callable, optional
        Initial weights, see `Linear`. By default "glorot_uniform" before tanh, sigmoid and at the end, and
        "he_normal" before other activations.
    dtype : {"float32", "float64"}
        The dtype of parameters, gradients and everything between.
    rng : None, int or numpy.random.Generator
        The source of the initial weights and of the seeds of dropout.

    Attributes
    ----------
    layers, params, grads, decayed, dtype, emits
        As for `Sequential`.

    Raises
    ------
    TypeError
        If an argument has a wrong type.
    ValueError
        If an argument has a wrong value.

    References
    ----------
    .. [1] D. E. Rumelhart, G. E. Hinton and R. J. Williams, "Learning representations by back-propagating
       errors", Nature 323, 1986.

    Examples
    --------
    >>> from fastsm import nn
    >>> nn.MLP([2, 500, 2], activation="tanh", head="softmax")
    MLP(Linear(2, 500), Tanh(), Linear(500, 2), Softmax(temperature=1.0))
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: str | Callable[[], LayerLike] = "relu",
        dropout: float = 0.0,
        layer_norm: bool = False,
        head: str | None = None,
        init: str | Initializer | None = None,
        dtype: DTypeLike = "float32",
        rng: int | np.random.Generator | None = None,
    ) -> None:
        if not isinstance(sizes, Iterable):
            raise TypeError(f"`sizes` must be a sequence of integers, got {_arguments.shown(sizes)}")
        counts = [_arguments.positive_integer(f"sizes[{i}]", size) for i, size in enumerate(sizes)]
        if len(counts) < 2:
            raise ValueError(
                f"`sizes` must have at least two numbers, input and output, got {_arguments.shown(sizes)}"
            )
        make = _choice("activation", activation, ACTIVATIONS)
        last = "glorot_uniform" if init is None else init
        before_activation = "he_normal" if init is None and make not in (Tanh, Sigmoid) else last
        normalizes = _arguments.flag("layer_norm", layer_norm)
        drops = _arguments.below_1("dropout", dropout) != 0
        layers: list[LayerLike] = []
        for n_in, n_out in pairwise(counts[:-1]):
            layers.append(Linear(n_in, n_out, init=before_activation))
            if normalizes:
                layers.append(LayerNorm(n_out))
            layers.append(make())
            if drops:
                layers.append(Dropout(dropout))
        layers.append(Linear(counts[-2], counts[-1], init=last))
        if head is not None:
            layers.append(_choice("head", head, _HEADS)())
        super().__init__(*layers, dtype=dtype, rng=rng)


def _choice(
    name: str, value: str | Callable[[], LayerLike], choices: Mapping[str, Callable[[], LayerLike]]
) -> Callable[[], LayerLike]:
    """Return the class of a name, or the class or function itself."""
    if isinstance(value, Layer):
        what = f"a name or a class of layers, of which each place gets its own, got {value!r}"
        raise TypeError(f"`{name}` must be {what}: give nn.{type(value).__name__}")
    if callable(value):
        return value
    return choices[_arguments.one_of(name, value, choices, " or a class of layers")]

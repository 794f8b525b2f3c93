"""Functions, losses, layers and models, each turned into a function of arrays whose gradients are checked."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike

from fastsm import _arguments
from fastsm.nn._objective import value_and_grad
from fastsm.testing._differences import Subject
from fastsm.testing._reports import GradientError
from fastsm.typing import Array, LayerLike, Loss, ModelLike, Stateful

__all__ = ["check_repeatable", "of_function", "of_layer", "of_loss", "of_model_with_loss", "of_pair"]

AnyLayer = TypeVar("AnyLayer")


def of_function(f: Callable[..., object], arrays: Sequence[ArrayLike]) -> Subject:
    """Return the subject of a function that returns its value and gradients."""
    live = [_live(value) for value in arrays]
    rule = "`f` must return (value, gradient)"
    value, gradients = _two(f(*map(_copy, live)), rule)
    if np.ndim(value) != 0:
        raise ValueError(f"`f` must return one number as value, got shape {np.shape(value)}")
    checked, given = _pick(_names(f, len(live)), live, gradients)

    def evaluate() -> Array:
        return _result(_two(f(*map(_copy, live)), rule)[0])

    return Subject(checked, evaluate, np.ones(()), given, _sizes(checked))


def of_pair(
    f: Callable[..., object],
    vjp: Callable[[Array, Array], object],
    arrays: Sequence[ArrayLike],
    rng: np.random.Generator,
) -> Subject:
    """Return the subject of a function and its vector-Jacobian product."""
    live = [_live(value) for value in arrays]

    def evaluate() -> Array:
        return _result(f(*map(_copy, live)))

    cotangent = _cotangent(evaluate(), rng)
    checked, given = _pick(_names(f, len(live)), live, vjp(evaluate(), cotangent.copy()))
    return Subject(checked, evaluate, cotangent, given, _sizes(checked))


def of_loss(loss: Loss, arrays: Sequence[ArrayLike], sample_weight: ArrayLike | None) -> Subject:
    """Return the subject of a loss."""
    outputs, targets = _two(arrays, "a loss is checked with its outputs and its targets")
    live = _floating("the outputs of a loss", outputs)

    def evaluate() -> Array:
        return _result(loss(live.copy(), targets, sample_weight=sample_weight))

    value, gradient = loss.value_and_grad(live.copy(), targets, sample_weight=sample_weight)
    alone = float(evaluate())
    if abs(value - alone) > 1e-9 * max(1.0, abs(alone)):
        raise GradientError(f"`value_and_grad` returns the loss {value!r}, a call of the loss {alone!r}")
    factors = _sizes({"outputs": live}, getattr(loss, "temperature", None))
    given = {"outputs": np.array(gradient)}
    return Subject({"outputs": live}, evaluate, np.ones(()), given, factors, _size(live, gradient))


def of_layer(layer: LayerLike, arrays: Sequence[ArrayLike], rng: np.random.Generator) -> Subject:
    """Return the subject of a layer, or of a model without a loss."""
    if len(arrays) != 1:
        raise TypeError(f"a layer is checked with one array, its input, got {len(arrays)}")
    layer, live = _in_float64(layer, rng), _floating("the input of a layer", arrays[0])
    forward = Forward(layer)

    def evaluate() -> Array:
        return _result(forward(live.copy()))

    cotangent = _cotangent(evaluate(), rng)
    _forget(layer)
    evaluate()
    given = {"x": _gradient("x", layer.backward(cotangent.copy()), live)}
    params, grads = _parameters(layer)
    factors = _sizes({"x": live}, _temperature(layer))
    return Subject({"x": live, **params}, evaluate, cotangent, {**given, **grads}, factors)


def of_model_with_loss(
    model: ModelLike, loss: Loss, arrays: Sequence[ArrayLike], sample_weight: ArrayLike | None
) -> Subject:
    """Return the subject of a model with a loss."""
    x, y = _two(arrays, "a model with a loss is checked with its input and the targets")
    model, live = _in_float64(model, np.random.default_rng(0)), _floating("the input of a model", x)
    forward = Forward(model)

    def evaluate() -> Array:
        # Not by `value_and_grad`, whose computation of a final softmax with the loss is checked as well.
        return _result(loss(forward(live.copy()), y, sample_weight=sample_weight))

    _forget(model)
    forward.restore()
    _, dx = value_and_grad(model, loss, live.copy(), y, sample_weight=sample_weight, input_grad=True)
    given = {"x": _gradient("x", dx, live)}
    params, grads = _parameters(model)
    factors = _sizes({"x": live}, _temperature(model) or getattr(loss, "temperature", None))
    outputs = _result(forward(live.copy()))
    _, over_outputs = loss.value_and_grad(outputs.copy(), y, sample_weight=sample_weight)
    size = _size(outputs, over_outputs)
    return Subject({"x": live, **params}, evaluate, np.ones(()), {**given, **grads}, factors, size)


# ---- layers ----


class Forward:
    """The forward pass of a layer or a model in training, with the same random numbers each time."""

    def __init__(self, layer: LayerLike | ModelLike) -> None:
        self._forward: Callable[..., Array] = layer.forward
        self._training = "training" in inspect.signature(layer.forward).parameters
        self._states = [(each, each.state()) for each in _layers(layer) if isinstance(each, Stateful)]

    def restore(self) -> None:
        """Restore the states of all layers."""
        for layer, state in self._states:
            layer.set_state(copy.deepcopy(state))

    def __call__(self, x: Array) -> Array:
        """Return the output."""
        self.restore()
        return self._forward(x, training=True) if self._training else self._forward(x)


def _layers(layer: object) -> list[Any]:
    """Return the layers of a model, or the layer itself."""
    return list(layer.layers) if hasattr(layer, "layers") else [layer]


def _in_float64(layer: AnyLayer, rng: np.random.Generator) -> AnyLayer:
    """Return a copy whose parameters are float64."""
    other: Any = layer
    if hasattr(layer, "layers"):
        other = other.astype("float64")
    else:
        other = copy.deepcopy(layer)
        if hasattr(other, "initialize") and not getattr(other, "params", None):
            other.initialize(rng, np.dtype(np.float64))
        if getattr(other, "params", None):
            other.params = {name: np.array(value, np.float64) for name, value in other.params.items()}
            other.grads = {name: np.zeros_like(value) for name, value in other.params.items()}
    return cast(AnyLayer, other)


def _forget(layer: object) -> None:
    """Fill all gradients with NaN, which `backward` must overwrite, not add to."""
    for each in _layers(layer):
        for gradient in (getattr(each, "grads", None) or {}).values():
            gradient.fill(np.nan)


def _parameters(layer: object) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return all parameters and copies of their gradients by name."""
    params: dict[str, Array] = {}
    grads: dict[str, Array] = {}
    for number, each in enumerate(_layers(layer)):
        prefix = "" if each is layer else f"{number}."
        for name, value in (getattr(each, "params", None) or {}).items():
            params[prefix + name] = value
            grads[prefix + name] = _gradient(prefix + name, each.grads[name], value)
    return params, grads


def _temperature(layer: object) -> float | None:
    """Return the temperature of the last layer, if it has one."""
    temperature: float | None = getattr(_layers(layer)[-1], "temperature", None)
    return temperature


# ---- arrays ----


def _live(value: ArrayLike) -> ArrayLike:
    """Return a float64 copy of floating numbers, and anything else as it is."""
    array = _arguments.plain("array", value)
    return np.array(array, np.float64) if _arguments.is_floating(array.dtype) else value


def _floating(name: str, value: ArrayLike) -> Array:
    """Return a float64 copy of floating numbers; raise for anything else, as it has no derivative."""
    live = _live(value)
    if not isinstance(live, np.ndarray) or live.dtype != np.float64:
        raise TypeError(f"{name} must be a floating array, got {_arguments.shown(value)}")
    return live


def _cotangent(output: Array, rng: np.random.Generator) -> Array:
    """Return random numbers for a backward pass to start with; 0 where the output is not finite."""
    return np.where(np.isfinite(output), rng.standard_normal(output.shape), 0.0)


def _size(outputs: Array, gradient: Array) -> float:
    """Return the size that rounding errors of a loss are relative to; above the loss if -log p is near 0."""
    return float(np.sum(np.abs(np.nan_to_num(gradient * outputs, posinf=0, neginf=0))))


def _copy(value: ArrayLike) -> ArrayLike:
    """Return a copy, as `f` may write to it or keep it."""
    return value.copy() if isinstance(value, np.ndarray) else value


def _result(value: object) -> Array:
    """Return a result as a new array; raise if it was not computed in float64."""
    array = np.asarray(value)
    if array.dtype != np.float64 and array.dtype.kind not in "biu":
        raise TypeError(f"`f` must compute in float64 where its arrays are float64, got {array.dtype}")
    return np.array(array, np.float64)


def _gradient(name: str, value: object, array: Array) -> Array:
    """Return a gradient after checking that it has the shape of its array."""
    if value is None:
        raise GradientError(f"the gradient over {name} must be an array, got None")
    gradient = np.array(value, np.float64)
    if gradient.shape != array.shape:
        advice = ": transposed?" if gradient.shape == array.shape[::-1] else ""
        raise GradientError(
            f"the gradient over {name} must have shape {array.shape}, got {gradient.shape}{advice}"
        )
    return gradient


def _pick(
    names: Sequence[str], live: Sequence[ArrayLike], gradients: object
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the arrays that have a gradient, and their gradients."""
    given = gradients if isinstance(gradients, (tuple, list)) else (gradients,)
    if len(given) > len(live):
        raise ValueError(f"`f` must return at most one gradient for each array, got {len(given)}")
    checked: dict[str, Array] = {}
    found: dict[str, Array] = {}
    for name, array, gradient in zip(names, live, given, strict=False):
        if gradient is None:
            continue
        if not isinstance(array, np.ndarray) or array.dtype != np.float64:
            raise TypeError(f"{name} must be a floating array, as it has a gradient")
        checked[name], found[name] = array, _gradient(name, gradient, array)
    if not checked:
        raise ValueError("`f` must return at least one gradient, got None")
    return checked, found


def _names(f: Callable[..., object], count: int) -> list[str]:
    """Return the names of the function's arguments, numbered where they are unknown."""
    try:
        parameters = list(inspect.signature(f).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return (named + [f"array {k}" for k in range(len(named), count)])[:count]


def _sizes(arrays: dict[str, Array], temperature: float | None = None) -> dict[str, float]:
    """Return the factors that are easily forgotten: the numbers of rows and columns, the temperature."""
    factors = {} if temperature is None else {"T": float(temperature)}
    first = next(iter(arrays.values()))
    sizes = dict(zip(("N", "C"), first.shape, strict=False)) if first.ndim == 2 else {"N": first.size}
    return {**factors, **{name: float(size) for name, size in sizes.items()}}


def _two(values: object, rule: str) -> tuple[Any, Any]:
    if not isinstance(values, (tuple, list)) or len(values) != 2:
        got = f"{len(values)}" if isinstance(values, (tuple, list)) else type(values).__name__
        raise TypeError(f"{rule}, got {got}")
    return values[0], values[1]


def check_repeatable(subject: Subject) -> None:
    """Check that the function returns the same result twice."""
    if not np.array_equal(subject.evaluate(), subject.evaluate(), equal_nan=True):
        raise ValueError(
            "`f` must give the same result twice, got different ones: hold its random numbers fixed (layers"
            " do so with `state` and `set_state`)"
        )

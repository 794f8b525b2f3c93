"""What can be said of a list of layers before it runs: whether it makes a model, and its table."""

import warnings
from typing import Any, NamedTuple, TypeGuard
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import DTypeLike

from fastsm import _arguments
from fastsm.nn._layer import Layer
from fastsm.nn._user_layer import UserLayer
from fastsm.typing import DType, LayerLike

__all__: list[str] = []


def is_ours(layer: object) -> TypeGuard[Layer]:
    """Whether the layer's class is one of this package's: a subclass may have a `forward` of its own."""
    return isinstance(layer, Layer) and type(layer).__module__.startswith("fastsm.nn.")


def name_of(layer: object) -> str:
    """Return a layer with its arguments, or its class if it is the user's."""
    return repr(layer) if is_ours(layer) else type(layer).__name__


def check_dtype(dtype: DTypeLike) -> DType:
    """Return the dtype of a model."""
    try:
        with warnings.catch_warnings(action="ignore"):  # of codes that NumPy is about to drop
            result = None if dtype is None else np.dtype(dtype)
    except Exception:  # NumPy asks objects for their dtype, and for a text to put into its errors
        result = None
    if result is None or result not in (np.float32, np.float64) or not result.isnative:
        raise TypeError(f"`dtype` must be float32 or float64, got {result or _arguments.shown(dtype)}")
    return result


def check_layers(layers: tuple[LayerLike, ...]) -> None:
    """Check that each is a layer, that none comes twice, and that sizes fit."""
    if not layers:
        raise ValueError("`layers` must have at least one layer, got none")
    places: dict[int, int] = {}  # by identity: layers need not be hashable
    for i, layer in enumerate(layers):
        if isinstance(layer, (list, tuple)):
            raise TypeError("layers must be passed one by one, as in Sequential(*layers), got a list of them")
        if isinstance(layer, type):
            raise TypeError(f"layer {i} must be an object, got the class {layer.__name__}: add parentheses")
        if hasattr(layer, "layers"):
            raise TypeError(
                f"layer {i} must not be a model itself, got {type(layer).__name__}: pass its layers"
            )
        if not (callable(getattr(layer, "forward", None)) and callable(getattr(layer, "backward", None))):
            raise TypeError(f"layer {i} must have `forward` and `backward`, got {type(layer).__name__}")
        first = places.setdefault(id(layer), i)
        if first < i:
            raise ValueError(
                f"layers {first} and {i} must be two objects, got the same {name_of(layer)} twice"
            )
    shapes = [(), *output_shapes(layers)]
    for i, (layer, shape) in enumerate(zip(layers, shapes, strict=False)):
        if shape and is_ours(layer) and layer.n_in not in (None, shape[-1]):
            raise ValueError(
                f"layer {i}, {name_of(layer)}, must take the {shape[-1]} features that layer {i - 1} gives"
            )


#: Which model a layer, by its id, belongs to: two of them would take its parameters from each other.
_model_of: WeakValueDictionary[int, Any] = WeakValueDictionary()


def check_owner(model: Any) -> None:
    """Check that no layer of the model belongs to another one."""
    for i, layer in enumerate(model.layers):
        if _model_of.get(id(layer), model) is not model:
            raise ValueError(
                f"layer {i}, {name_of(layer)}, must not belong to another model: use copy.deepcopy"
            )


def claim(model: Any) -> None:
    """Let the layers of the model belong to it."""
    for layer in model.layers:
        _model_of[id(layer)] = model


class Step(NamedTuple):
    """A layer of a model, and where it may work in place."""

    layer: Layer
    learns: bool
    trains_in_place: bool
    infers_in_place: bool
    owns_dy: bool


def plan(layers: tuple[LayerLike, ...], dtype: DType) -> tuple[Step, ...]:
    """Return the steps of a model.

    In training a layer may overwrite its input if that lies in a buffer of a layer of ours that does not read
    it again (Linear's output, but not that of Tanh, whose derivative is written in it); in inference any
    buffer of ours; on the way back the gradient over its output if that comes from a layer of ours. So Linear
    and ReLU share one array each way. Arrays of the caller and of the user's layers are never written to.
    """
    steps = []
    before: Layer | None = None  # where the input comes from, if that is a layer of ours
    for i, layer in enumerate(layers):
        ours = layer if is_ours(layer) else None
        steps.append(
            Step(
                layer=ours or UserLayer(layer, dtype),
                learns=ours is None or bool(getattr(layer, "params", None)),  # a user's may learn unseen
                trains_in_place=before is not None and not before.keeps_output,
                infers_in_place=before is not None,
                owns_dy=is_ours(layers[i + 1]) if i + 1 < len(layers) else False,
            )
        )
        before = ours
    return tuple(steps)


def output_shapes(steps: tuple[LayerLike, ...]) -> list[tuple[int, ...]]:
    """Return the shape of each layer's output without the samples' axis; () where that is unknown."""
    shapes: list[tuple[int, ...]] = []
    shape: tuple[int, ...] = ()
    for step in steps:
        if isinstance(step, UserLayer):
            shape = step.features or ()
        elif not is_ours(step):
            shape = ()
        elif step.n_out is not None:
            shape = (step.n_out,)
        shapes.append(shape)
    return shapes


def table(layers: tuple[LayerLike, ...], steps: tuple[LayerLike, ...]) -> str:
    """Return the table of a model: layers, shapes of their outputs, numbers of parameters."""
    rows = [("layer", "output shape", "parameters")]
    total = 0
    for i, (layer, shape) in enumerate(zip(layers, output_shapes(steps), strict=True)):
        count = sum(value.size for value in (getattr(layer, "params", None) or {}).values())
        total += count
        shape_text = f"(N, {', '.join(map(str, shape))})" if shape else "?"
        rows.append((f"{i} {name_of(layer)}", shape_text, f"{count:,}"))
    rows.append(("total", "", f"{total:,}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:>{widths[2]}}" for a, b, c in rows]
    rule = "-" * len(lines[0])
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])

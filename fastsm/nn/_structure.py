"""Lists of layers before they run: checks, the plan of a model, and its table."""

from __future__ import annotations

import warnings
from typing import NamedTuple, TypeGuard
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import DTypeLike

from fastsm import _arguments
from fastsm.nn._layer import Layer
from fastsm.nn._user_layer import UserLayer
from fastsm.typing import DType, LayerLike

__all__: list[str] = []


def is_ours(layer: object) -> TypeGuard[Layer]:
    """Whether the class of the layer is in this package; a subclass elsewhere may override `forward`."""
    return isinstance(layer, Layer) and type(layer).__module__.startswith("fastsm.nn.")


def name_of(layer: object) -> str:
    """Return the `repr` of a layer of this package, or the class name of any other."""
    return repr(layer) if is_ours(layer) else type(layer).__name__


def check_dtype(dtype: DTypeLike) -> DType:
    """Return the dtype of a model."""
    try:
        with warnings.catch_warnings(action="ignore"):  # deprecated type codes
            result = None if dtype is None else np.dtype(dtype)
    except Exception:  # NumPy calls `dtype` and `repr` of objects, which may raise anything
        result = None
    if result is None or result not in (np.float32, np.float64) or not result.isnative:
        raise TypeError(f"`dtype` must be float32 or float64, got {result or _arguments.shown(dtype)}")
    return result


def check_layers(layers: tuple[LayerLike, ...]) -> None:
    """Check that each is a layer, that each occurs once, and that their sizes fit."""
    if not layers:
        raise ValueError("`layers` must have at least one layer, got none")
    places: dict[int, int] = {}  # by id, as layers need not be hashable
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


#: The model of each layer, by the layer's id: two models would take its parameters from each other.
_model_of: WeakValueDictionary[int, object] = WeakValueDictionary()


def check_owner(model: object, layers: tuple[LayerLike, ...]) -> None:
    """Check that no layer belongs to another model."""
    for i, layer in enumerate(layers):
        if _model_of.get(id(layer), model) is not model:
            raise ValueError(
                f"layer {i}, {name_of(layer)}, must not belong to another model: use copy.deepcopy"
            )


def set_owner(model: object, layers: tuple[LayerLike, ...]) -> None:
    """Record that the layers belong to the model."""
    for layer in layers:
        _model_of[id(layer)] = model


class PlannedLayer(NamedTuple):
    """A layer of a model, and where it may work in place."""

    layer: Layer
    learns: bool
    trains_in_place: bool
    infers_in_place: bool
    owns_dy: bool


def plan_layers(layers: tuple[LayerLike, ...], dtype: DType) -> tuple[PlannedLayer, ...]:
    """Decide where the layers of a model may work in place.

    In training, a layer may overwrite its input if that is the output of a built-in layer that does not read
    it again (of Linear, but not of Tanh, whose derivative needs it); in inference, the output of any built-in
    layer; in the backward pass, the gradient over its output if a built-in layer computed it. So Linear and
    ReLU share one array each way. Arrays of the caller and of the user's layers are never written to.
    """
    planned = []
    before: Layer | None = None  # the layer that the input comes from, if it is built in
    for i, layer in enumerate(layers):
        ours = layer if is_ours(layer) else None
        planned.append(
            PlannedLayer(
                layer=ours or UserLayer(layer, dtype),
                learns=ours is None or bool(getattr(layer, "params", None)),  # a user's layer may hide them
                trains_in_place=before is not None and not before.keeps_output,
                infers_in_place=before is not None,
                owns_dy=is_ours(layers[i + 1]) if i + 1 < len(layers) else False,
            )
        )
        before = ours
    return tuple(planned)


def output_shapes(steps: tuple[LayerLike, ...]) -> list[tuple[int, ...]]:
    """Return the shape of each layer's output without its first axis; () where it is unknown."""
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


def summary_table(layers: tuple[LayerLike, ...], steps: tuple[LayerLike, ...]) -> str:
    """Return a table of the layers, the shapes of their outputs and their numbers of parameters."""
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

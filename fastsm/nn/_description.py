"""Describe models as trees of plain values, for files, and make them from such trees."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import cast

import numpy as np

from fastsm import _arguments, nn
from fastsm._files._safetensors import Tensors
from fastsm._files._trees import Tree
from fastsm.nn._layer import Layer, ParameterLayer
from fastsm.nn._sequential import Sequential
from fastsm.nn._structure import is_ours
from fastsm.typing import Array, LayerLike, Stateful

__all__ = ["LAYERS", "dict_in", "in_order", "model_from_tree", "model_tree"]

#: The prefix of the names of parameters in a file, as in ``layers.0.weight``.
LAYERS = "layers."
# A layer takes about twenty bytes in a file and a kilobyte in memory.
_MOST_LAYERS = 10_000


def model_tree(model: Sequential) -> Tree:
    """Return the dtype, the layers and the names of the parameters of a model."""
    if not isinstance(model, Sequential):
        raise TypeError(f"`model` must be a Sequential, got {type(model).__name__}")
    if len(model.layers) > _MOST_LAYERS:
        raise ValueError(f"`model` must have at most {_MOST_LAYERS} layers, got {len(model.layers)}")
    return {
        "dtype": model.dtype.name,
        "layers": [_layer_tree(layer) for layer in model.layers],
        # The optimizer's arrays follow this order, too.
        "parameters": [name for name, _ in in_order(model)],
    }


def in_order(model: Sequential) -> list[tuple[str, Array]]:
    """Return the parameters with their names, in the order of the flat array."""
    return sorted(model.named_parameters(), key=lambda named: named[1].__array_interface__["data"][0])


def _layer_tree(layer: LayerLike) -> Tree:
    kind = type(layer)
    tree: Tree = {"class": kind.__name__, "own": not is_ours(layer)}
    if hasattr(layer, "config"):
        tree["config"] = _described(layer, "config")
    else:
        try:
            inspect.signature(kind).bind()
        except TypeError:
            message = f"{kind.__name__} must have config(), which returns a dict of its arguments,"
            raise TypeError(f"{message} to be saved") from None
    if hasattr(layer, "state"):
        if not isinstance(layer, Stateful):
            raise TypeError(f"{kind.__name__} must have set_state(state) beside state() to be saved")
        tree["state"] = _described(layer, "state")
    return tree


def _described(thing: object, method: str) -> Tree:
    """Return the dict that a method of a layer of the user's returns."""
    result = getattr(thing, method)()
    if not isinstance(result, dict):
        raise TypeError(
            f"{type(thing).__name__}.{method}() must return a dict, got {_arguments.shown(result)}"
        )
    return result


def model_from_tree(tree: Tree, tensors: Tensors, layers: Sequence[type]) -> Sequential:
    """Return a model with the parameters in a file; `layers` are the classes of the user's layers."""
    dtype = tree.get("dtype")
    if not isinstance(dtype, str) or dtype not in ("float32", "float64"):
        raise ValueError(f"the dtype of the model must be float32 or float64, got {_arguments.shown(dtype)}")
    described = tree.get("layers")
    if not isinstance(described, list):
        raise ValueError("its layers is missing or has the wrong type")
    if len(described) > _MOST_LAYERS:
        raise ValueError(f"it has {len(described)} layers, more than {_MOST_LAYERS}")
    offered = (getattr(nn, name) for name in nn.__all__)
    known = {kind.__name__: kind for kind in offered if isinstance(kind, type) and issubclass(kind, Layer)}
    own = {kind.__name__: kind for kind in layers}
    parts = [_layer(part, known, own) for part in described]
    zero = np.zeros((), dtype)
    for i, part in enumerate(parts):
        shapes = part.shapes() if is_ours(part) and isinstance(part, ParameterLayer) else {}
        # Checked before the model allocates memory for its parameters.
        for name, shape in shapes.items():
            if tensors.shape(f"{LAYERS}{i}.{name}") != shape:
                raise ValueError(f"layer {i} must have an array {name!r} of its shape in the file")
        if isinstance(part, ParameterLayer) and shapes:
            # Zeros that take no memory, instead of random numbers.
            part.params = {name: np.broadcast_to(zero, shape) for name, shape in shapes.items()}
    model = Sequential(*parts, dtype=dtype)
    parameters = in_order(model)
    if [name for name, _ in parameters] != tree.get("parameters"):
        raise ValueError("the names of the parameters do not match the layers")
    for name, array in parameters:
        tensors.read(LAYERS + name, out=array)
    for part, its in zip(parts, described, strict=True):
        if ("state" in its) != hasattr(part, "state"):
            raise ValueError(f"{type(part).__name__} has a state in the file or in the code, but not in both")
        if "state" in its:
            cast(Stateful, part).set_state(dict_in(its, "state"))
    return model


def _layer(tree: object, known: dict[str, type], own: dict[str, type]) -> LayerLike:
    if not isinstance(tree, dict) or not isinstance(tree.get("class"), str):
        raise ValueError("a layer has no class")
    name, config = tree["class"], dict_in(tree, "config") if "config" in tree else {}
    kinds = own if tree.get("own") else known
    if name not in kinds:
        advice = f": pass layers=[{name}]" if tree.get("own") and name.isidentifier() else ""
        raise ValueError(f"its layer {name[:50]!r} is not known{advice}")
    layer: LayerLike = kinds[name](**config)
    return layer


def dict_in(tree: Tree, name: str) -> Tree:
    """Return the dict of this name in a tree."""
    value = tree.get(name)
    if not isinstance(value, dict):
        raise ValueError(f"its {name} is missing or has the wrong type")
    return value

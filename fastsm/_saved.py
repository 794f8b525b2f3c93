"""Models, optimizers and histories as trees of plain values, and back: what the files hold.

A file describes the layers by the names of their classes, which are looked up among those of `fastsm.nn` and
what the caller passes, and by their arguments; nothing else in it can name code. It is checked completely,
sizes before memory, and only then is anything changed.
"""

import inspect
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastsm import nn
from fastsm._arguments import Array
from fastsm._files import _container
from fastsm._version import __version__
from fastsm.nn._layer import Layer
from fastsm.nn._structure import is_ours

__all__ = ["Saved", "read", "write"]

# Raised when files change so that this version of the code would misread them.
_VERSION = 1
# A model file names a layer in some twenty bytes, and an object takes a kilobyte.
_MOST_LAYERS = 10_000


@dataclass
class Saved:
    """The contents of a file."""

    model: nn.Sequential
    optimizer: dict[str, Any] | None
    history: dict[str, list[float]] | None
    training: dict[str, Any] | None

    def check_optimizer(self, optimizer: Any) -> None:
        """Check that the optimizer in the file is of this kind, and for such parameters."""
        if self.optimizer is None:
            raise ValueError("`optimizer` must be None for a file without one")
        kind = type(optimizer).__name__
        if kind != self.optimizer["class"]:
            raise ValueError(
                f"`optimizer` must be optim.{self.optimizer['class']} as in the file, got {kind}"
            )
        state, names = self.optimizer["state"], optimizer.state_names()
        if state and set(state) != set(names):
            raise ValueError(f"`optimizer` must remember {sorted(state)} as in the file, got {sorted(names)}")

    def restore_optimizer(self, optimizer: Any) -> None:
        """Let an optimizer that was checked continue from what is in the file."""
        if self.optimizer is not None:
            optimizer.restore(self.optimizer["steps"], self.optimizer["state"])


def write(
    path: str | os.PathLike[str],
    model: nn.Sequential,
    optimizer: Any,
    history: dict[str, list[float]] | None,
    training: dict[str, Any] | None,
) -> None:
    """Write a model and what else there is."""
    tree: dict[str, Any] = {"format": "fastsm", "version": _VERSION, "written_by": __version__}
    tree["model"] = _model_tree(model)
    if optimizer is not None:
        tree["optimizer"] = {
            "class": type(optimizer).__name__,
            "steps": optimizer.steps,
            "state": optimizer.state,
        }
    if history is not None:
        tree["history"] = {name: [float(value) for value in values] for name, values in history.items()}
    if training is not None:
        tree["training"] = training
    _container.write(path, tree)


def read(path: str | os.PathLike[str], layers: Sequence[type] = ()) -> Saved:
    """Return the contents of a file, all of them checked; `training` only that it is a dict."""
    tree = _container.read(path)
    try:
        if tree.get("format") != "fastsm":
            raise ValueError("it is not a file of fastsm")
        if tree.get("version") != _VERSION:
            raise ValueError(f"it has version {tree.get('version')!r}, and this fastsm reads {_VERSION}")
        model = _model(_dict(tree, "model"), layers)
        optimizer = _optimizer(_dict(tree, "optimizer"), model.params) if "optimizer" in tree else None
        history = _history(_dict(tree, "history")) if "history" in tree else None
        return Saved(model, optimizer, history, _dict(tree, "training") if "training" in tree else None)
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"`path` must be a usable file of fastsm, got {os.fspath(path)!r}: {error}"
        ) from error


# ---- models ----


def _model_tree(model: nn.Sequential) -> dict[str, Any]:
    if not isinstance(model, nn.Sequential):
        raise TypeError(f"`model` must be a Sequential, got {type(model).__name__}")
    if len(model.layers) > _MOST_LAYERS:
        raise ValueError(f"`model` must have at most {_MOST_LAYERS} layers, got {len(model.layers)}")
    return {
        "dtype": model.dtype.name,
        "layers": [_layer_tree(layer) for layer in model.layers],
        "parameters": [[name, list(array.shape)] for name, array in model.named_parameters()],
        "params": model.params,
    }


def _layer_tree(layer: Any) -> dict[str, Any]:
    kind = type(layer)
    tree: dict[str, Any] = {"class": kind.__name__, "own": not is_ours(layer)}
    if hasattr(layer, "config"):
        tree["config"] = layer.config()
    else:
        try:
            inspect.signature(kind).bind()
        except TypeError:
            message = f"{kind.__name__} must have config(), a dict of the arguments that it is made with"
            raise TypeError(f"{message}, to be saved") from None
    if hasattr(layer, "state"):
        tree["state"] = layer.state()
    return tree


def _model(tree: dict[str, Any], layers: Sequence[type]) -> nn.Sequential:
    dtype, params = tree.get("dtype"), tree.get("params")
    if dtype not in ("float32", "float64"):
        raise ValueError(f"the dtype of the model must be float32 or float64, got {dtype!r}")
    if not isinstance(params, np.ndarray) or params.ndim != 1 or params.dtype != dtype:
        raise ValueError(f"the parameters must be a flat array of {dtype}")
    described = _list(tree, "layers")
    if len(described) > _MOST_LAYERS:
        raise ValueError(f"it has {len(described)} layers, more than {_MOST_LAYERS}")
    offered = (getattr(nn, name) for name in nn.__all__)
    known = {kind.__name__: kind for kind in offered if isinstance(kind, type) and issubclass(kind, Layer)}
    own = {kind.__name__: kind for kind in layers}
    parts = [_layer(part, known, own) for part in described]
    # Before the model takes memory for the layers of this package.
    needed = sum(math.prod(shape) for part in parts for shape in _shapes(part).values())
    if needed > params.size:
        raise ValueError(f"the layers have more parameters than the file, which has {params.size}")
    for part in parts:
        # Instead of random numbers, that would be overwritten.
        shapes = _shapes(part)
        if shapes:
            part.params = {name: np.zeros(shape, dtype) for name, shape in shapes.items()}
            part.grads = {name: np.zeros(shape, dtype) for name, shape in shapes.items()}
    model = nn.Sequential(*parts, dtype=dtype)
    named = [[name, list(array.shape)] for name, array in model.named_parameters()]
    if named != tree.get("parameters") or model.params.size != params.size:
        raise ValueError("the parameters are not those of the layers")
    model.params[...] = params
    for part, its in zip(parts, described, strict=True):
        if ("state" in its) != hasattr(part, "state"):
            raise ValueError(f"{type(part).__name__} has a state in the file or in the code, but not in both")
        if "state" in its:
            part.set_state(_dict(its, "state"))
    return model


def _layer(tree: Any, known: dict[str, type], own: dict[str, type]) -> Any:
    if not isinstance(tree, dict) or not isinstance(tree.get("class"), str):
        raise ValueError("a layer has no class")
    name, config = tree["class"], _dict(tree, "config") if "config" in tree else {}
    kinds = own if tree.get("own") else known
    if name not in kinds:
        advice = f": pass layers=[{name}]" if tree.get("own") and name.isidentifier() else ""
        raise ValueError(f"its layer {name[:50]!r} is not known{advice}")
    return kinds[name](**config)


def _shapes(layer: Any) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the parameters that a layer of this package will make."""
    if not is_ours(layer):
        return {}
    if isinstance(layer, nn.Linear):
        bias = {"bias": (layer.n_out,)} if layer.bias else {}
        return {"weight": (layer.n_in, layer.n_out), **bias}
    if isinstance(layer, nn.LayerNorm):
        return {"gain": (layer.n,), "bias": (layer.n,)}
    return {}


# ---- what else there may be ----


def _optimizer(tree: dict[str, Any], params: Array) -> dict[str, Any]:
    steps, state = tree.get("steps"), _dict(tree, "state")
    if not isinstance(tree.get("class"), str) or type(steps) is not int or not 0 <= steps < 1 << 62:
        raise ValueError("the optimizer has no class or no number of steps")
    for name, array in state.items():
        if not isinstance(array, np.ndarray) or array.shape != params.shape or array.dtype != params.dtype:
            raise ValueError(f"{name} of the optimizer does not fit the parameters")
    return tree


def _history(tree: dict[str, Any]) -> dict[str, list[float]]:
    for name, values in tree.items():
        if not isinstance(values, list) or not all(type(value) is float for value in values):
            raise ValueError(f"{name[:50]!r} of the history is not a list of numbers")
    return tree


def _dict(tree: dict[str, Any], name: str) -> dict[str, Any]:
    value = tree.get(name)
    if not isinstance(value, dict):
        raise ValueError(f"its {name} is missing or of the wrong kind")
    return value


def _list(tree: dict[str, Any], name: str) -> list[Any]:
    value = tree.get(name)
    if not isinstance(value, list):
        raise ValueError(f"its {name} is missing or of the wrong kind")
    return value

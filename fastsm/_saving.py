"""Models in files: `save` and `load`, and what else a checkpoint holds.

A file describes the layers by the names of their classes, which are looked up among those of `fastsm.nn` and
what the caller passes, and by their arguments; nothing else in it can name code. It is checked completely,
sizes before memory, and only then is anything changed.
"""

import inspect
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastsm import _arguments, nn
from fastsm._arguments import Array
from fastsm._files import _trees
from fastsm._files._safetensors import Tensors
from fastsm._version import __version__
from fastsm.nn._layer import Layer
from fastsm.nn._structure import is_ours
from fastsm.optim import Optimizer

__all__ = ["load", "save"]

#: What the names of the parameters begin with in a file, as in ``layers.0.weight``.
_LAYERS = "layers."
# A model file names a layer in some twenty bytes, and an object takes a kilobyte.
_MOST_LAYERS = 10_000


def save(
    path: str | os.PathLike[str],
    model: nn.Sequential,
    *,
    optimizer: Optimizer | None = None,
    history: dict[str, list[float]] | None = None,
) -> None:
    """Save a model: one file in the safetensors layout, without pickle, that `load` reads.

    The file is written beside its place, brought to the disk, and renamed: whatever happens, there is a
    complete file, the old one or the new one. A process that is killed meanwhile may leave a file that ends
    in ``.tmp``, too.

    Parameters
    ----------
    path : path
        Where to save it, as ``"model.safetensors"``; nothing is appended to the name.
    model : Sequential
        Layers of your own are saved by the name of their class, by their ``config()`` (a dict of arguments)
        if they need arguments, by their parameters, and by their ``state()`` if they have one.
    optimizer : Optimizer, optional
        Saved with its state.
    history : History, optional
        Saved too.

    Raises
    ------
    TypeError, ValueError
        If something cannot be saved; nothing is written.
    OSError
        If the file cannot be written; what was there is as before.

    See Also
    --------
    fastsm.callbacks.Checkpoint : saves a training as it goes, such that it can be resumed.

    Examples
    --------
    >>> import os, tempfile
    >>> import fastsm
    >>> from fastsm import nn
    >>> model = nn.MLP([2, 8, 3], rng=0)
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "model.safetensors")
    >>> fastsm.save(path, model)
    >>> again = fastsm.load(path)
    >>> bool((again([[1.0, 2.0]]) == model([[1.0, 2.0]])).all())
    True
    >>> folder.cleanup()
    """
    write(path, model, optimizer, history, None)


def load(
    path: str | os.PathLike[str],
    *,
    layers: Sequence[type] = (),
    optimizer: Optimizer | None = None,
    history: dict[str, list[float]] | None = None,
) -> nn.Sequential:
    """Load a model that `save`, or the callback `Checkpoint`, wrote.

    Safe with files from others: no code is run but the constructors of `fastsm.nn` and of `layers`.

    Parameters
    ----------
    path : path
        The file.
    layers : sequence of classes
        Your own layers that the model may contain.
    optimizer : Optimizer, optional
        One of the class in the file: it continues from the state that was saved.
    history : History, optional
        Takes the columns that were saved.

    Returns
    -------
    Sequential
        The model.

    Raises
    ------
    ValueError
        If the file is truncated, corrupt or foreign, or does not fit the other arguments. Then nothing has
        been changed.
    OSError
        If the file cannot be read.

    Examples
    --------
    >>> import os, tempfile
    >>> import fastsm
    >>> from fastsm import nn
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "model.safetensors")
    >>> fastsm.save(path, nn.Sequential(nn.Linear(2, 3), nn.Softmax(), rng=0), history={"loss": [0.5]})
    >>> history = fastsm.History()
    >>> fastsm.load(path, history=history).layers
    (Linear(2, 3), Softmax(temperature=1.0))
    >>> history
    {'loss': [0.5]}
    >>> folder.cleanup()
    """
    saved = read(path, layers)
    if optimizer is not None:
        saved.check_optimizer(optimizer)
        saved.restore_optimizer(optimizer)
    if history is not None:
        history.clear()
        history.update(saved.history or {})
    return saved.model


# ---- what a file holds ----


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
    tree: dict[str, Any] = {"written_by": __version__, "model": _model_tree(model)}
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
    _trees.write(path, tree, {_LAYERS + name: array for name, array in _in_order(model)})


def read(path: str | os.PathLike[str], layers: Sequence[type] = ()) -> Saved:
    """Return the contents of a file, all of them checked; `training` only that it is a dict."""
    with _trees.reading(path) as (tree, tensors):
        model = _model(_dict(tree, "model"), tensors, layers)
        optimizer = _optimizer(_dict(tree, "optimizer"), model.params) if "optimizer" in tree else None
        history = _history(_dict(tree, "history")) if "history" in tree else None
        training = _dict(tree, "training") if "training" in tree else None
    return Saved(model, optimizer, history, training)


# ---- models ----


def _model_tree(model: nn.Sequential) -> dict[str, Any]:
    if not isinstance(model, nn.Sequential):
        raise TypeError(f"`model` must be a Sequential, got {type(model).__name__}")
    if len(model.layers) > _MOST_LAYERS:
        raise ValueError(f"`model` must have at most {_MOST_LAYERS} layers, got {len(model.layers)}")
    return {
        "dtype": model.dtype.name,
        "layers": [_layer_tree(layer) for layer in model.layers],
        # The optimizer's arrays are in this order, too.
        "parameters": [name for name, _ in _in_order(model)],
    }


def _in_order(model: nn.Sequential) -> list[tuple[str, Array]]:
    """Return the parameters with their names, in the order of the flat array."""
    return sorted(model.named_parameters(), key=lambda named: named[1].__array_interface__["data"][0])


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


def _model(tree: dict[str, Any], tensors: Tensors, layers: Sequence[type]) -> nn.Sequential:
    dtype = tree.get("dtype")
    if not isinstance(dtype, str) or dtype not in ("float32", "float64"):
        raise ValueError(f"the dtype of the model must be float32 or float64, got {_arguments.shown(dtype)}")
    described = _list(tree, "layers")
    if len(described) > _MOST_LAYERS:
        raise ValueError(f"it has {len(described)} layers, more than {_MOST_LAYERS}")
    offered = (getattr(nn, name) for name in nn.__all__)
    known = {kind.__name__: kind for kind in offered if isinstance(kind, type) and issubclass(kind, Layer)}
    own = {kind.__name__: kind for kind in layers}
    parts = [_layer(part, known, own) for part in described]
    zero = np.zeros((), dtype)
    for i, part in enumerate(parts):
        shapes = _shapes(part)
        # Before the model takes memory for the layers of this package.
        for name, shape in shapes.items():
            if tensors.shape(f"{_LAYERS}{i}.{name}") != shape:
                raise ValueError(f"layer {i} must have an array {name!r} of its shape in the file")
        if shapes:
            # Without memory, and instead of random numbers.
            part.params = {name: np.broadcast_to(zero, shape) for name, shape in shapes.items()}
    model = nn.Sequential(*parts, dtype=dtype)
    parameters = _in_order(model)
    if [name for name, _ in parameters] != tree.get("parameters"):
        raise ValueError("the parameters are not those of the layers")
    for name, array in parameters:
        tensors.read(_LAYERS + name, out=array)
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

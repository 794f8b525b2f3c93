"""Save and load models and checkpoints.

A file describes layers by the names of their classes, which are looked up in `fastsm.nn` and among the
classes that the caller passes, and by their arguments; nothing else in it can name code. The whole file is
checked, sizes before memory is allocated, before anything is changed.
"""

import inspect
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np

from fastsm import _arguments, nn
from fastsm._files._safetensors import Tensors
from fastsm._files._trees import Tree, open_tree, write_tree
from fastsm._version import __version__
from fastsm.nn._layer import Layer
from fastsm.nn._structure import is_ours
from fastsm.optim import Optimizer
from fastsm.typing import Array, LayerLike, Stateful

__all__ = ["load", "save"]

#: The prefix of the names of parameters in a file, as in ``layers.0.weight``.
_LAYERS = "layers."
# A layer takes about twenty bytes in a file and a kilobyte in memory.
_MOST_LAYERS = 10_000


def save(
    path: str | os.PathLike[str],
    model: nn.Sequential,
    *,
    optimizer: Optimizer | None = None,
    history: dict[str, list[float]] | None = None,
) -> None:
    """Save a model in one file that `load` reads, in the safetensors layout and without pickle.

    Writing is atomic: a temporary file is written, synced to the disk and renamed, so there is always either
    the old or the new file, complete. A process that is killed in between may leave a file that ends in
    ``.tmp``.

    Parameters
    ----------
    path : path
        The file, such as ``"model.safetensors"``; nothing is appended to the name.
    model : Sequential
        The model. Your own layers are saved with the name of their class, their parameters, their
        ``config()`` (a dict of arguments) if they need arguments, and their ``state()`` if they have one.
    optimizer : Optimizer, optional
        An optimizer to save with its state.
    history : History, optional
        A history to save.

    Raises
    ------
    TypeError, ValueError
        If something cannot be saved; nothing is written.
    OSError
        If the file cannot be written; an existing file is unchanged.

    See Also
    --------
    fastsm.callbacks.Checkpoint : saves a training at the end of epochs, so that it can be resumed.

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
    write_model(path, model, optimizer, history)


def load(
    path: str | os.PathLike[str],
    *,
    layers: Sequence[type] = (),
    optimizer: Optimizer | None = None,
    history: dict[str, list[float]] | None = None,
) -> nn.Sequential:
    """Load a model that `save` or the callback `Checkpoint` wrote.

    Files from others are safe: the only code that runs is the constructors of `fastsm.nn` and of `layers`.

    Parameters
    ----------
    path : path
        The file.
    layers : sequence of classes
        The classes of your own layers that the model may contain.
    optimizer : Optimizer, optional
        An optimizer of the class in the file; it is set to the saved state.
    history : History, optional
        A history whose columns are replaced by the saved ones.

    Returns
    -------
    Sequential
        The model.

    Raises
    ------
    ValueError
        If the file is truncated, corrupt or foreign, or does not match the other arguments, which are then
        unchanged.
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
    saved = read_model(path, layers)
    if optimizer is not None:
        saved.check_optimizer(optimizer)
        saved.restore_optimizer(optimizer)
    if history is not None:
        history.clear()
        history.update(saved.history or {})
    return saved.model


# ---- the contents of a file ----


class SavedOptimizer(NamedTuple):
    """The class of an optimizer, its steps, and its state."""

    kind: str
    steps: int
    state: dict[str, Array]


@dataclass
class SavedModel:
    """The contents of a file."""

    model: nn.Sequential
    optimizer: SavedOptimizer | None
    history: dict[str, list[float]] | None
    training: Tree | None

    def check_optimizer(self, optimizer: Optimizer) -> None:
        """Check that the optimizer in the file has this class and these state arrays."""
        if self.optimizer is None:
            raise ValueError("`optimizer` must be None for a file without one")
        kind, state, names = type(optimizer).__name__, self.optimizer.state, optimizer.state_names()
        if kind != self.optimizer.kind:
            raise ValueError(f"`optimizer` must be optim.{self.optimizer.kind} as in the file, got {kind}")
        if state and set(state) != set(names):
            raise ValueError(f"`optimizer` must remember {sorted(state)} as in the file, got {sorted(names)}")

    def restore_optimizer(self, optimizer: Optimizer) -> None:
        """Set an optimizer that was checked to the state in the file."""
        if self.optimizer is not None:
            optimizer.restore(self.optimizer.steps, self.optimizer.state)


def write_model(
    path: str | os.PathLike[str],
    model: nn.Sequential,
    optimizer: Optimizer | None,
    history: dict[str, list[float]] | None,
    training: Tree | None = None,
) -> None:
    """Write a model, and whatever is given besides it."""
    tree: Tree = {"written_by": __version__, "model": _model_tree(model)}
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
    write_tree(path, tree, {_LAYERS + name: array for name, array in _in_order(model)})


def read_model(path: str | os.PathLike[str], layers: Sequence[type] = ()) -> SavedModel:
    """Return the checked contents of a file; `training` may be any dict."""
    with open_tree(path) as (tree, tensors):
        model = _model(_dict(tree, "model"), tensors, layers)
        optimizer = _optimizer(_dict(tree, "optimizer"), model.params) if "optimizer" in tree else None
        history = _history(_dict(tree, "history")) if "history" in tree else None
        training = _dict(tree, "training") if "training" in tree else None
    return SavedModel(model, optimizer, history, training)


# ---- models ----


def _model_tree(model: nn.Sequential) -> Tree:
    if not isinstance(model, nn.Sequential):
        raise TypeError(f"`model` must be a Sequential, got {type(model).__name__}")
    if len(model.layers) > _MOST_LAYERS:
        raise ValueError(f"`model` must have at most {_MOST_LAYERS} layers, got {len(model.layers)}")
    return {
        "dtype": model.dtype.name,
        "layers": [_layer_tree(layer) for layer in model.layers],
        # The optimizer's arrays follow this order, too.
        "parameters": [name for name, _ in _in_order(model)],
    }


def _in_order(model: nn.Sequential) -> list[tuple[str, Array]]:
    """Return the parameters with their names, in the order of the flat array."""
    return sorted(model.named_parameters(), key=lambda named: named[1].__array_interface__["data"][0])


def _layer_tree(layer: LayerLike) -> Tree:
    kind = type(layer)
    tree: Tree = {"class": kind.__name__, "own": not is_ours(layer)}
    if hasattr(layer, "config"):
        tree["config"] = layer.config()
    else:
        try:
            inspect.signature(kind).bind()
        except TypeError:
            message = f"{kind.__name__} must have config(), which returns a dict of its arguments,"
            raise TypeError(f"{message} to be saved") from None
    if hasattr(layer, "state"):
        tree["state"] = layer.state()
    return tree


def _model(tree: Tree, tensors: Tensors, layers: Sequence[type]) -> nn.Sequential:
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
        shapes = _shapes(part)
        # Checked before the model allocates memory for its parameters.
        for name, shape in shapes.items():
            if tensors.shape(f"{_LAYERS}{i}.{name}") != shape:
                raise ValueError(f"layer {i} must have an array {name!r} of its shape in the file")
        if isinstance(part, (nn.Linear, nn.LayerNorm)) and shapes:
            # Zeros that take no memory, instead of random numbers.
            part.params = {name: np.broadcast_to(zero, shape) for name, shape in shapes.items()}
    model = nn.Sequential(*parts, dtype=dtype)
    parameters = _in_order(model)
    if [name for name, _ in parameters] != tree.get("parameters"):
        raise ValueError("the names of the parameters do not match the layers")
    for name, array in parameters:
        tensors.read(_LAYERS + name, out=array)
    for part, its in zip(parts, described, strict=True):
        if ("state" in its) != hasattr(part, "state"):
            raise ValueError(f"{type(part).__name__} has a state in the file or in the code, but not in both")
        if "state" in its:
            cast(Stateful, part).set_state(_dict(its, "state"))
    return model


def _layer(tree: object, known: dict[str, type], own: dict[str, type]) -> LayerLike:
    if not isinstance(tree, dict) or not isinstance(tree.get("class"), str):
        raise ValueError("a layer has no class")
    name, config = tree["class"], _dict(tree, "config") if "config" in tree else {}
    kinds = own if tree.get("own") else known
    if name not in kinds:
        advice = f": pass layers=[{name}]" if tree.get("own") and name.isidentifier() else ""
        raise ValueError(f"its layer {name[:50]!r} is not known{advice}")
    layer: LayerLike = kinds[name](**config)
    return layer


def _shapes(layer: LayerLike) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the parameters that a layer of `fastsm.nn` will have."""
    if not is_ours(layer):
        return {}
    if isinstance(layer, nn.Linear):
        bias = {"bias": (layer.n_out,)} if layer.bias else {}
        return {"weight": (layer.n_in, layer.n_out), **bias}
    if isinstance(layer, nn.LayerNorm):
        return {"gain": (layer.n,), "bias": (layer.n,)}
    return {}


# ---- optimizers and histories ----


def _optimizer(tree: Tree, params: Array) -> SavedOptimizer:
    kind, steps, state = tree.get("class"), tree.get("steps"), {}
    if not isinstance(kind, str) or type(steps) is not int or not 0 <= steps < 1 << 62:
        raise ValueError("the optimizer has no class or no number of steps")
    for name, array in _dict(tree, "state").items():
        if not isinstance(array, np.ndarray) or array.shape != params.shape or array.dtype != params.dtype:
            raise ValueError(f"{name} of the optimizer does not match the parameters")
        state[name] = array
    return SavedOptimizer(kind, steps, state)


def _history(tree: Tree) -> dict[str, list[float]]:
    columns = {}
    for name, values in tree.items():
        if not isinstance(values, list) or not all(type(value) is float for value in values):
            raise ValueError(f"{name[:50]!r} of the history is not a list of numbers")
        columns[name] = values
    return columns


def _dict(tree: Tree, name: str) -> Tree:
    value = tree.get(name)
    if not isinstance(value, dict):
        raise ValueError(f"its {name} is missing or has the wrong type")
    return value

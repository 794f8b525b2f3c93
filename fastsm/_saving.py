"""Save and load models and checkpoints.

A file describes layers by the names of their classes, which are looked up in `fastsm.nn` and among the
classes that the caller passes, and by their arguments; nothing else in it can name code. The whole file is
checked, sizes before memory is allocated, before anything is changed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from types import NoneType
from typing import NamedTuple

import numpy as np

from fastsm import _arguments, nn
from fastsm._files._atomic import checked_path
from fastsm._files._trees import Tree, open_tree, write_tree
from fastsm._version import __version__
from fastsm.data import Pictures, Table
from fastsm.nn._description import LAYERS, dict_in, in_order, model_from_tree, model_tree
from fastsm.optim import Optimizer
from fastsm.typing import Array

__all__ = ["load", "save"]


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
        The model, with its `table` or `pictures` if it has them. Your own layers are saved with the name of
        their class, their parameters, their ``config()`` (a dict of arguments) if they need arguments, and
        their ``state()`` if they have one.
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
    path = checked_path("path", path)
    _check(optimizer, history)
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
        An optimizer of the class in the file; it is set to the saved steps and state. Its arguments, such as
        the learning rate, stay as they are.
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
    path = checked_path("path", path)
    if not isinstance(layers, (list, tuple)) or not all(isinstance(kind, type) for kind in layers):
        raise TypeError(f"`layers` must be a list of classes, got {_arguments.shown(layers)}")
    _check(optimizer, history)
    saved = read_model(path, layers)
    if optimizer is not None:
        saved.check_optimizer(optimizer)
        saved.restore_optimizer(optimizer)
    if history is not None:
        history.clear()
        history.update(saved.history or {})
    return saved.model


def _check(optimizer: object, history: object) -> None:
    """Check the types of what a file holds besides a model."""
    if not isinstance(optimizer, (Optimizer, NoneType)):
        raise TypeError(f"`optimizer` must be an optimizer, got {_arguments.shown(optimizer)}")
    if not isinstance(history, (dict, NoneType)):
        raise TypeError(f"`history` must be a History, got {_arguments.shown(history)}")


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

    def check_optimizer(self, optimizer: Optimizer, *, names: bool = True) -> None:
        """Check that the optimizer in the file has this class and, with `names`, these state arrays."""
        if self.optimizer is None:
            raise ValueError("`optimizer` must be None for a file without one")
        kind, state = type(optimizer).__name__, self.optimizer.state
        if kind != self.optimizer.kind:
            raise ValueError(f"`optimizer` must be optim.{self.optimizer.kind} as in the file, got {kind}")
        wanted = optimizer.state_names()
        if names and state and set(state) != set(wanted):
            raise ValueError(
                f"`optimizer` must remember {sorted(state)} as in the file, got {sorted(wanted)}"
            )

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
    tree: Tree = {"written_by": __version__, "model": model_tree(model)}
    if optimizer is not None:
        for name, array in optimizer.state.items():
            if array.shape != model.params.shape or array.dtype != model.params.dtype:
                raise ValueError(f"`optimizer` must be that of `model`, got one whose {name} does not match")
        tree["optimizer"] = {
            "class": type(optimizer).__name__,
            "steps": optimizer.steps,
            "state": optimizer.state,
        }
    if history is not None:
        tree["history"] = {
            name: [_arguments.number(f"history[{name!r}]", value) for value in values]
            for name, values in history.items()
        }
    if model.table is not None:
        tree["table"] = dict(model.table.record())
    if model.pictures is not None:
        tree["pictures"] = dict(model.pictures.record())
    if training is not None:
        tree["training"] = training
    write_tree(path, tree, {LAYERS + name: array for name, array in in_order(model)})


def read_model(path: str | os.PathLike[str], layers: Sequence[type] = ()) -> SavedModel:
    """Return the checked contents of a file; `training` may be any dict."""
    with open_tree(path) as (tree, tensors):
        model = model_from_tree(dict_in(tree, "model"), tensors, layers)
        optimizer = _optimizer(dict_in(tree, "optimizer"), model.params) if "optimizer" in tree else None
        history = _history(dict_in(tree, "history")) if "history" in tree else None
        training = dict_in(tree, "training") if "training" in tree else None
        if "table" in tree:
            model.table = _table(dict_in(tree, "table"), model)
        if "pictures" in tree:
            model.pictures = _pictures(dict_in(tree, "pictures"), model)
    return SavedModel(model, optimizer, history, training)


# ---- tables, pictures, optimizers and histories ----


def _table(tree: Tree, model: nn.Sequential) -> Table:
    table = Table.from_record(tree)
    matrices = _matrices(model)
    ends = (table.features, len(table.classes) or 1)
    if not matrices or (matrices[0][0], matrices[-1][1]) != ends:
        raise ValueError(f"its table must match its layers, got {ends[0]} inputs and {ends[1]} outputs")
    return table


def _pictures(tree: Tree, model: nn.Sequential) -> Pictures:
    pictures, matrices = Pictures.from_record(tree), _matrices(model)
    if not matrices or matrices[0][0] != pictures.features:
        raise ValueError(f"its pictures must match its layers, got the shape {pictures.shape}")
    return pictures


def _matrices(model: nn.Sequential) -> list[tuple[int, ...]]:
    return [array.shape for _, array in model.named_parameters() if array.ndim == 2]


def _optimizer(tree: Tree, params: Array) -> SavedOptimizer:
    kind, steps, state = tree.get("class"), tree.get("steps"), {}
    if not isinstance(kind, str) or type(steps) is not int or not 0 <= steps < 1 << 62:
        raise ValueError("the optimizer has no class or no number of steps")
    for name, array in dict_in(tree, "state").items():
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

"""Save trainings at the end of an epoch, and resume them to the same bits.

A checkpoint holds all that determines the next epoch: the parameters, the states of the optimizer, the layers
and the callbacks, the optimizer's arguments, which callbacks may have changed, and the seed and the number of
the epoch, which determine the order of the rows.
"""

from __future__ import annotations

import os
from typing import Any, cast

from fastsm import _arguments, nn
from fastsm._files._trees import Tree
from fastsm._saving import read_model, write_model
from fastsm.nn._structure import is_ours
from fastsm.training._history import History
from fastsm.training._run import Run
from fastsm.training._settings import canonical, resumed, settings
from fastsm.typing import Stateful

__all__ = ["resume", "write_checkpoint"]


def write_checkpoint(path: str | os.PathLike[str], run: Run) -> None:
    """Write a checkpoint at the end of an epoch."""
    callbacks = []
    for callback in run.callbacks:
        if hasattr(callback, "state"):
            state, name = callback.state(), type(callback).__name__
            if not isinstance(state, dict):
                raise TypeError(f"{name}.state() must return a dict, got {_arguments.shown(state)}")
            callbacks.append({"class": name, "state": state})
    training: Tree = {"epoch": run.epoch, "seed": run.seed, "callbacks": callbacks}
    if run.optimizer is not None:  # as there is for L-BFGS
        training["settings"] = {"first": run.first_settings, "last": settings(run.optimizer)}
    write_model(path, run.model, run.optimizer, run.history, training)


def resume(path: str | os.PathLike[str], run: Run) -> None:
    """Set a training that has not begun to the state in a checkpoint; after an error nothing is changed."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"`resume_from` must be a path, got {_arguments.shown(path)}")
    own = [type(layer) for layer in run.model.layers if not is_ours(layer)]
    saved = read_model(path, own)
    name, training, model = os.fspath(path), saved.training, run.model
    if training is None:
        raise ValueError(f"`resume_from` must be a checkpoint, got {name!r}, which holds only a model")
    _check_model(saved.model, model, name)
    saved.check_optimizer(run.optimizer, names=False)
    optimizer = resumed(run.optimizer, training.get("settings"))
    saved.check_optimizer(optimizer)
    epoch, seed, states = (training.get(key) for key in ("epoch", "seed", "callbacks"))
    if not (type(epoch) is int and 0 <= epoch < 1 << 62 and type(seed) is int and 0 <= seed < 1 << 64):
        raise ValueError(f"`resume_from` must be a checkpoint with an epoch and a seed, got {name!r}")
    restored = _matching(states, run.callbacks, name)
    history = History(saved.history or {})
    if any(len(column) != epoch for column in history.values()) or not history:
        raise ValueError(f"`resume_from` must be a checkpoint with the history of its epochs, got {name!r}")
    for callback, state in restored:
        if hasattr(callback, "check_state"):
            try:
                callback.check_state(state, run)
            except (TypeError, ValueError) as error:
                raise ValueError(f"`resume_from` must match the callbacks, got {name!r}: {error}") from error
    _set_states(restored)
    vars(run.optimizer).update(vars(optimizer))
    saved.restore_optimizer(run.optimizer)
    model.params[...] = saved.model.params
    for mine, its in zip(model.layers, saved.model.layers, strict=True):
        if isinstance(mine, Stateful):
            mine.set_state(cast(Stateful, its).state())
    run.history = history
    run.epoch, run.seed = epoch, seed


def _set_states(restored: list[tuple[Stateful, Tree]]) -> None:
    """Set callbacks to states; if one raises an error, set all of them back."""
    before: list[tuple[Stateful, Tree]] = []
    try:
        for callback, state in restored:
            before.append((callback, callback.state()))
            callback.set_state(state)
    except BaseException:
        for callback, state in before:
            callback.set_state(state)
        raise


def _check_model(saved: nn.Sequential, model: nn.Sequential, name: str) -> None:
    """Check that the model in a file has the dtype, the layers and the shapes of `model`."""
    if saved.dtype != model.dtype:
        raise ValueError(f"`model` must have dtype {saved.dtype} like the one in {name!r}, got {model.dtype}")
    for i, (its, own) in enumerate(zip(saved.layers, model.layers, strict=False)):
        if type(its) is not type(own) or canonical(_config(its)) != canonical(_config(own)):
            shown = [repr(layer) for layer in (its, own)]
            if shown[0] == shown[1] or type(own).__repr__ is object.__repr__:
                shown = [f"{type(x).__name__} with {_arguments.shown(_config(x))}" for x in (its, own)]
            raise ValueError(
                f"`model` must be like the one in {name!r}, whose layer {i} is {shown[0]}, got {shown[1]}"
            )
    shapes = [[[n, array.shape] for n, array in m.named_parameters()] for m in (saved, model)]
    if len(saved.layers) != len(model.layers) or shapes[0] != shapes[1]:
        raise ValueError(f"`model` must be like the one in {name!r}, {saved!r}, got {model!r}")


def _config(layer: object) -> dict[str, object]:
    """Return the arguments of a layer."""
    config = dict(layer.config()) if hasattr(layer, "config") else {}
    config.pop("init", None)  # files have no functions, and the weights replace the initial ones
    return config


def _matching(states: object, callbacks: list[Any], name: str) -> list[tuple[Stateful, Tree]]:
    """Return the callbacks with a state in the file, each with that state.

    Those that monitor another value than the callback in the file begin anew.
    """
    if not isinstance(states, list) or not all(
        isinstance(s, dict) and isinstance(s.get("class"), str) and isinstance(s.get("state"), dict)
        for s in states
    ):
        raise ValueError(f"`resume_from` must be a checkpoint with states of callbacks, got {name!r}")
    result = []
    left = [c for c in callbacks if isinstance(c, Stateful)]
    for state in states:
        callback = next((c for c in left if _is_of(state, c)), None)
        # It has the parameters that training goes on from.
        if callback is None and state["class"] == "Average":
            raise ValueError(f"`callbacks` must have an Average, as the training in {name!r} has")
        if callback is not None:
            left.remove(callback)
            result.append((callback, state["state"]))
    return result


def _is_of(state: Tree, callback: Stateful) -> bool:
    """Whether a state can be that of a callback: of its class, and of the value that it monitors."""
    if state["class"] != type(callback).__name__:
        return False
    saved = cast(Tree, state["state"])
    return "monitor" not in saved or saved["monitor"] == callback.state().get("monitor")

"""The arguments of an optimizer, which callbacks may change, and whether two of them are the same."""

from __future__ import annotations

import copy
from typing import cast

import numpy as np

from fastsm import _arguments
from fastsm._files._trees import Tree
from fastsm.optim import Optimizer

__all__ = ["canonical", "resumed", "settings"]


def settings(optimizer: Optimizer) -> Tree:
    """Return the arguments and public attributes that a file can hold; None stands for a schedule."""
    names = {*optimizer._options, *(n for n in vars(optimizer) if not n.startswith("_"))} - {"steps", "state"}
    values = {name: getattr(optimizer, name) for name in sorted(names)}
    rate = {"lr": None} if callable(optimizer.lr) else {}
    return {name: value for name, value in (values | rate).items() if _is_plain(value)}


def resumed(optimizer: Optimizer, saved: object) -> Optimizer:
    """Return a copy of an optimizer with the settings that callbacks had made when a checkpoint was written.

    A setting that differs from the one that the training began with is meant to, and stays. Raise ValueError
    if the settings in the file cannot be those of such an optimizer.
    """
    first, last = (saved.get(key) if isinstance(saved, dict) else None for key in ("first", "last"))
    own = settings(optimizer)
    if not isinstance(first, dict) or not isinstance(last, dict) or not set(first) == set(last) == set(own):
        raise ValueError("`optimizer` must have settings of the same names as in the file")
    result = copy.copy(optimizer)
    for name, value in own.items():
        now = last[name]
        if canonical(value) != canonical(first[name]) or canonical(value) == canonical(now):
            continue
        if name == "lr" and now is None:
            raise ValueError("`optimizer` must have the schedule that a callback gave it, as files hold none")
        if not _alike(now, 0.0 if name == "lr" else canonical(value)):
            raise ValueError(
                f"`optimizer` must have a usable {name} in the file, got {_arguments.shown(now)}"
            )
        setattr(result, name, tuple(cast(list[object], now)) if isinstance(value, tuple) else now)
    return result


def _alike(now: object, value: object) -> bool:
    """Whether a value from a file can take the place of another: numbers for numbers, in as long lists."""
    if isinstance(now, list) and isinstance(value, list):
        return len(now) == len(value) and all(map(_alike, now, value))
    return type(now) is type(value) or {type(now), type(value)} <= {int, float}


def canonical(value: object) -> object:
    """Return a value that equals that of another if files do not tell the two apart.

    Tuples are lists there, NumPy's numbers are numbers, and NaN is NaN.
    """
    if isinstance(value, dict):
        return {name: canonical(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [canonical(item) for item in value]
    if isinstance(value, np.ndarray):
        return value.dtype.name, value.shape, value.astype(value.dtype.newbyteorder("<")).tobytes()
    if isinstance(value, np.generic):
        value = value.item()
    return "NaN" if isinstance(value, float) and value != value else value


def _is_plain(value: object) -> bool:
    """Whether a value is one of JSON's, or a sequence of them."""
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str, np.number, np.bool_))

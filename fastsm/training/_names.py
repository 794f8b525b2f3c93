"""Losses, optimizers and schedules by name, from the tables of `fastsm.nn` and `fastsm.optim`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from fastsm import _arguments, nn
from fastsm.nn.losses import LOSSES
from fastsm.optim import Adam, Optimizer
from fastsm.optim._optimizers import OPTIMIZERS
from fastsm.optim.schedules import SCHEDULES

__all__ = ["resolve_loss", "resolve_optimizer", "resolve_schedule", "takes_labels"]

T = TypeVar("T")


def _named(argument: str, name: str, table: Mapping[str, T]) -> T:
    """Return what has this name."""
    if name not in table:
        raise ValueError(
            f"`{argument}` must be one of {', '.join(table)} if it is a name, got {_arguments.shown(name)}"
            f"{_arguments.did_you_mean(name, table)}"
        )
    return table[name]


def takes_labels(loss: object) -> bool:
    """Return whether integer targets are labels for a loss, or for the loss of this name."""
    return getattr(LOSSES.get(loss) if isinstance(loss, str) else loss, "takes_labels", True)


def resolve_loss(loss: Any, model: nn.Sequential, labels: bool) -> Any:
    """Return the loss of this name, on what the model ends in; by default cross-entropy, of labels."""
    if loss is None and not labels:
        raise ValueError(
            "`loss` must be given if the targets are no labels, as loss=nn.MSELoss() or nn.CrossEntropyLoss()"
        )
    if loss is not None and not isinstance(loss, str):
        return loss
    kind = _named("loss", loss or "cross_entropy", LOSSES)
    if kind is nn.CrossEntropyLoss and model.emits == "log_probs":
        return nn.NLLLoss()
    takes_on = "on" in inspect.signature(kind).parameters
    return kind(**{"on": "probs"} if takes_on and model.emits == "probs" else {})


def resolve_optimizer(optimizer: object) -> Optimizer:
    """Return the optimizer of this name with its defaults, by default Adam."""
    if optimizer is None:
        return Adam()
    if isinstance(optimizer, str):
        make: Callable[[], Optimizer] = _named("optimizer", optimizer, OPTIMIZERS)
        return make()
    if not isinstance(optimizer, Optimizer):
        got = f"the class {optimizer.__name__}" if isinstance(optimizer, type) else type(optimizer).__name__
        raise TypeError(f"`optimizer` must be a name or an optimizer, as optim.Adam(1e-3), got {got}")
    return optimizer


def resolve_schedule(schedule: object, optimizer: Optimizer, steps: int) -> Any:
    """Return the schedule of this name, over the steps of a training from the optimizer's learning rate."""
    if not isinstance(schedule, str):
        raise TypeError(
            "`schedule` must be a name (an optimizer takes a schedule of your own as its `lr`), got"
            f" {_arguments.shown(schedule)}"
        )
    make = _named("schedule", schedule, SCHEDULES)
    if callable(optimizer.lr) or optimizer.steps:
        fault = "whose lr is a schedule" if callable(optimizer.lr) else "that has done steps"
        raise ValueError(f"`schedule` must be None with an optimizer {fault}, got {schedule!r}")
    return make(optimizer.lr, steps)

"""What callbacks share: a value that is monitored, the best epoch with its parameters, and their order."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import numpy as np

from fastsm import _arguments
from fastsm._arguments import did_you_mean
from fastsm.training._run import Run
from fastsm.typing import Array

__all__ = ["Best", "Mode", "Monitor", "Ordered", "are_counts", "check_params"]

Mode: TypeAlias = Literal["min", "max"]


class Ordered:
    """A callback with a position among the others, which have 0 and are called as they are given."""

    order: int


class Monitor:
    """Tells whether a value in the logs is the best so far."""

    def __init__(self, name: str, mode: Mode | None, min_delta: float = 0.0) -> None:
        if not isinstance(name, str):
            raise TypeError(f"`monitor` must be the name of a value, got {name!r}")
        if mode is not None:
            _arguments.one_of("mode", mode, ("min", "max"), " or None")
        self.name, self.mode = name, mode
        self.min_delta = _arguments.at_least_0("min_delta", min_delta)
        self.best: float | None = None

    def begin(self, run: Run) -> None:
        """Forget earlier trainings; raise ValueError if there will be no such value."""
        if self.name not in run.names:
            validated = any(name.startswith("val_") for name in run.names)
            missing = self.name.startswith("val_") and not validated
            advice = ": pass validation_data" if missing else did_you_mean(self.name, run.names)
            raise ValueError(f"`monitor` must be one of {', '.join(run.names)}, got {self.name!r}{advice}")
        if self.mode is None:
            self.mode = _better(self.name.removeprefix("val_"), run)
        if run.epoch == 0:
            self.best = None

    def improves(self, run: Run) -> bool:
        """Return whether this epoch is the best so far, and if so remember its value."""
        value = _arguments.number(f"logs[{self.name!r}]", run.logs[self.name])
        if math.isnan(value):
            return False
        gain = math.inf if self.best is None else (self.best - value) * (1 if self.mode == "min" else -1)
        # Not >=: with min_delta=0 an equal value does not improve.
        if self.best is None or gain > self.min_delta:
            self.best = value
            return True
        return False


def _better(name: str, run: Run) -> Mode:
    known: dict[str, Mode] = {"loss": "min", "seconds": "min"}
    for metric in run.metrics:
        if metric.larger_is_better is not None:
            known[metric.name] = "max" if metric.larger_is_better else "min"
    if name not in known:
        raise ValueError(f"`mode` must be min or max for the monitor {name!r}, whose metric has no default")
    return known[name]


class Best(Monitor):
    """The best epoch, and with `keep` its parameters."""

    def __init__(self, name: str, mode: Mode | None, min_delta: float = 0.0, *, keep: bool) -> None:
        super().__init__(name, mode, min_delta)
        self.keep, self.epoch = keep, 0
        self.params: Array | None = None

    def begin(self, run: Run) -> None:
        """Forget earlier trainings, unless this one is resumed."""
        super().begin(run)
        if run.epoch == 0:
            self.epoch, self.params = 0, None

    def improves(self, run: Run) -> bool:
        """Return whether this epoch is the best so far, and if so remember it."""
        if not super().improves(run):
            return False
        self.epoch = run.epoch
        if self.keep:
            self.params = run.model.params.copy()
        return True

    def restore(self, run: Run) -> None:
        """Set the model to the best parameters, and say so in the history."""
        if self.keep and self.params is not None:
            run.model.params[...] = self.params
            run.history.restored = self.epoch

    def state(self) -> dict[str, object]:
        """Return the state for a checkpoint."""
        params = {} if self.params is None else {"params": self.params}
        return {"monitor": self.name, "best": self.best, "best_epoch": self.epoch, **params}

    def set_state(self, state: dict[str, object], whose: str) -> None:
        """Continue from a state; raise ValueError for a wrong one."""
        best, epoch, params = (state.get(name) for name in ("best", "best_epoch", "params"))
        if not (
            (best is None or type(best) is float)
            and are_counts(epoch)
            and (params is None or isinstance(params, np.ndarray))
        ):
            raise ValueError(f"`state` must be that of {whose}")
        self.best, self.epoch, self.params = best, epoch, params  # type: ignore[assignment]


def are_counts(*values: object) -> bool:
    """Whether values of a state are integers from 0 that fit 64 bits."""
    return all(type(value) is int and 0 <= value < 1 << 62 for value in values)


def check_params(state: dict[str, object], run: Run, **names: str) -> None:
    """Raise ValueError if arrays in a state do not match the model; each has a name in the message."""
    params = run.model.params
    for name, what in names.items():
        array = state.get(name)
        if isinstance(array, np.ndarray) and (array.shape != params.shape or array.dtype != params.dtype):
            raise ValueError(f"`state` must have the {what} of this model")

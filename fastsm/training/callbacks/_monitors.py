"""Callbacks that monitor a value: early stopping and checkpoints."""

from __future__ import annotations

import math
import os
from typing import Literal, TypeAlias

import numpy as np

from fastsm import _arguments
from fastsm._files._atomic import checked_path
from fastsm.training._checkpoint import write_checkpoint
from fastsm.training._run import Run
from fastsm.typing import Array

__all__ = ["Checkpoint", "EarlyStopping"]

Mode: TypeAlias = Literal["min", "max"]


class Monitor:
    """Tells whether a value in the logs is the best so far."""

    def __init__(self, name: str, mode: Mode | None, min_delta: float) -> None:
        if not isinstance(name, str):
            raise TypeError(f"`monitor` must be the name of a value, got {name!r}")
        if mode is not None:
            _arguments.one_of("mode", mode, ("min", "max"), " or None")
        self.name, self.mode, self.min_delta = name, mode, min_delta
        self.best: float | None = None

    def begin(self, run: Run) -> None:
        """Raise ValueError before the first epoch if there will be no such value."""
        if self.name not in run.names:
            advice = ": pass validation_data" if self.name.startswith("val_") else ""
            raise ValueError(f"`monitor` must be one of {', '.join(run.names)}, got {self.name!r}{advice}")
        if self.mode is None:
            self.mode = _better(self.name.removeprefix("val_"), run)

    def improves(self, run: Run) -> bool:
        """Return whether this epoch is the best so far, and if so remember its value."""
        value = run.logs[self.name]
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


class EarlyStopping:
    """Ends a training when a value has not improved for some epochs.

    It resembles the criteria UP in [1]_, which count successive increases of the validation error.

    Parameters
    ----------
    monitor : str, default "val_loss"
        The name of a value in the history.
    patience : int, default 5
        The number of successive epochs without improvement after which the training ends; at least 1.
    min_delta : float, default 0.0
        An improvement counts only if it is larger than this.
    restore_best : bool, default True
        Whether to set the model to the parameters of the best epoch at the end, unless an error ends it.
    mode : {None, "min", "max"}
        Whether smaller or larger values are better; None takes the default of the metric.

    Attributes
    ----------
    best : float or None
        The best value, None before the first epoch.
    best_epoch : int
        The epoch of the best value, 0 before the first epoch.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong; at the beginning of the training, if there is no such value.

    References
    ----------
    .. [1] L. Prechelt, "Early stopping - but when?", in Neural Networks: Tricks of the Trade, 1998.

    Examples
    --------
    >>> import fastsm
    >>> from fastsm import data, nn, optim
    >>> X, y = data.load_digits()
    >>> stopping = fastsm.callbacks.EarlyStopping(patience=1)
    >>> history = fastsm.fit(nn.MLP([64, 64, 10], rng=0), X[:200], y[:200], optimizer=optim.Adam(0.1),
    ...                      epochs=50, validation_data=(X[200:400], y[200:400]), callbacks=[stopping], rng=0)
    >>> history.stopped, history.epochs - stopping.best_epoch
    ('early stop', 1)
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 5,
        min_delta: float = 0.0,
        restore_best: bool = True,
        mode: Mode | None = None,
    ) -> None:
        self._monitor = Monitor(monitor, mode, _arguments.at_least_0("min_delta", min_delta))
        self.patience = _arguments.positive_integer("patience", patience)
        self.restore_best = _arguments.flag("restore_best", restore_best)
        self.best_epoch = 0
        self._waited = 0
        self._params: Array | None = None

    @property
    def best(self) -> float | None:
        """The best value, None before there is one."""
        return self._monitor.best

    def on_train_begin(self, run: Run) -> None:
        """Forget earlier trainings, unless this one is resumed."""
        self._monitor.begin(run)
        if run.epoch == 0:
            self._monitor.best, self.best_epoch, self._waited, self._params = None, 0, 0, None
        if self._waited >= self.patience:
            run.stop()

    def on_epoch_end(self, run: Run) -> None:
        """Compare the value, and stop the training if it did not improve for `patience` epochs."""
        if self._monitor.improves(run):
            self.best_epoch, self._waited = run.epoch, 0
            if self.restore_best:
                self._params = run.model.params.copy()
            return
        self._waited += 1
        if self._waited >= self.patience:
            run.stop()

    def on_train_end(self, run: Run) -> None:
        """Set the model to the best parameters."""
        if self._params is not None:
            run.model.params[...] = self._params

    def state(self) -> dict[str, object]:
        """Return the state for a checkpoint."""
        params = {} if self._params is None else {"params": self._params}
        return {"best": self.best, "best_epoch": self.best_epoch, "waited": self._waited, **params}

    def check_state(self, state: dict[str, object], run: Run) -> None:
        """Raise ValueError if the best parameters do not match the model in `run`."""
        best, params = state.get("params"), run.model.params
        if isinstance(best, np.ndarray) and (best.shape != params.shape or best.dtype != params.dtype):
            raise ValueError("`state` must have the best parameters of this model")

    def set_state(self, state: dict[str, object]) -> None:
        """Continue from a state; raise ValueError for a wrong one."""
        best, epoch, waited = (state.get(name) for name in ("best", "best_epoch", "waited"))
        params = state.get("params")
        if not (
            (best is None or type(best) is float)
            and (type(epoch) is int and 0 <= epoch < 1 << 62)
            and (type(waited) is int and 0 <= waited < 1 << 62)
            and (params is None or isinstance(params, np.ndarray))
        ):
            raise ValueError("`state` must be that of an EarlyStopping")
        self._monitor.best, self._params = best, params
        self.best_epoch, self._waited = epoch, waited


class Checkpoint:
    """Saves a training at the end of epochs, so that ``fit(..., resume_from=path)`` can continue it.

    `fastsm.load` reads the model from the file. The file is always complete: see `fastsm.save`.

    Parameters
    ----------
    path : path
        The file, such as ``"run.safetensors"``; nothing is appended to the name. ``{epoch}`` in it becomes
        the number of the epoch; without it, one file is replaced again and again.
    every : int, default 1
        The number of epochs between two checkpoints; the last epoch is always saved.
    monitor : str, optional
        Save only when this value in the history is the best so far.
    mode : {None, "min", "max"}
        Whether smaller or larger values are better; None takes the default of the metric.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong; at the beginning of the training, if there is no such value.

    Examples
    --------
    >>> import os, tempfile
    >>> import fastsm
    >>> from fastsm import data, nn
    >>> X, y = data.load_digits()
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = os.path.join(folder.name, "run.safetensors")
    >>> def train(model, **options):
    ...     checkpoint = fastsm.callbacks.Checkpoint(path)
    ...     return fastsm.fit(model, X[:500], y[:500], callbacks=[checkpoint], rng=0, **options)
    >>> _ = train(nn.MLP([64, 10], rng=0), epochs=1)
    >>> resumed, whole = nn.MLP([64, 10], rng=0), nn.MLP([64, 10], rng=0)
    >>> history = train(resumed, epochs=2, resume_from=path)
    >>> _ = train(whole, epochs=2)
    >>> history.epochs, bool((resumed.params == whole.params).all())
    (2, True)
    >>> folder.cleanup()
    """

    first_rank_only = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        every: int = 1,
        monitor: str | None = None,
        mode: Mode | None = None,
    ) -> None:
        self.path = checked_path("path", path)
        self.every = _arguments.positive_integer("every", every)
        if monitor is None and mode is not None:
            raise ValueError(f"`mode` must be None without `monitor`, got {mode!r}")
        self._monitor = None if monitor is None else Monitor(monitor, mode, 0.0)

    @property
    def order(self) -> int:
        """The position among callbacks: after the others, which have 0, and the best before every epoch."""
        return 2 if self._monitor is None else 1

    def on_train_begin(self, run: Run) -> None:
        """Raise an error if there is no such value to monitor, or no such folder."""
        if self._monitor is not None:
            self._monitor.begin(run)
            if run.epoch == 0:
                self._monitor.best = None
        folder = os.path.dirname(os.path.realpath(self.path))
        if not os.path.isdir(folder):
            raise FileNotFoundError(f"`path` must lie in a folder that exists, got {self.path!r}")
        if os.path.exists(self.path) and not os.path.isfile(self.path):
            raise ValueError(f"`path` must be a regular file or a new one, got {self.path!r}")

    def on_epoch_end(self, run: Run) -> None:
        """Save the training if this epoch is due."""
        best = self._monitor is None or self._monitor.improves(run)
        last = run.stopping or run.epoch == run.epochs
        if best and (run.epoch % self.every == 0 or last):
            write_checkpoint(self.path.replace("{epoch}", str(run.epoch)), run)

    def state(self) -> dict[str, object]:
        """Return the state for a checkpoint."""
        return {"best": None if self._monitor is None else self._monitor.best}

    def set_state(self, state: dict[str, object]) -> None:
        """Continue from a state; raise ValueError for a wrong one."""
        best = state.get("best")
        if not (best is None or type(best) is float):
            raise ValueError("`state` must be that of a Checkpoint")
        if self._monitor is not None:
            self._monitor.best = best

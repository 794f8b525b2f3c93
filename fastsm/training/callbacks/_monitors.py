"""Callbacks that watch a value: early stopping and checkpoints."""

import math
import os
from typing import Any

import numpy as np

from fastsm import _arguments
from fastsm.training import _checkpoint
from fastsm.training._run import Run

__all__ = ["Checkpoint", "EarlyStopping"]


class Monitor:
    """Finds out whether a value in the logs is the best so far."""

    def __init__(self, name: str, mode: str | None, min_delta: float) -> None:
        if not isinstance(name, str):
            raise TypeError(f"`monitor` must be the name of a value, got {name!r}")
        if mode is not None:
            _arguments.one_of("mode", mode, ("min", "max"), " or None")
        self.name, self.mode, self.min_delta = name, mode, min_delta
        self.best: float | None = None

    def begin(self, run: Run) -> None:
        """Fail now, not after the first epoch, if there will be no such value."""
        if self.name not in run.names:
            advice = ": pass validation_data" if self.name.startswith("val_") else ""
            raise ValueError(f"`monitor` must be one of {', '.join(run.names)}, got {self.name!r}{advice}")
        if self.mode is None:
            self.mode = _better(self.name.removeprefix("val_"), run)

    def improves(self, run: Run) -> bool:
        """Return whether this epoch is the best so far, and remember its value if it is."""
        value = run.logs[self.name]
        if math.isnan(value):
            return False
        gain = math.inf if self.best is None else (self.best - value) * (1 if self.mode == "min" else -1)
        # Not >=: with min_delta=0 an equal value is no improvement.
        if self.best is None or gain > self.min_delta:
            self.best = value
            return True
        return False


def _better(name: str, run: Run) -> str:
    known = {"loss": "min", "seconds": "min"}
    known |= {
        m.name: "max" if m.larger_is_better else "min" for m in run.metrics if m.larger_is_better is not None
    }
    if name not in known:
        raise ValueError(
            f"`mode` must be one of min, max for the monitor {name!r}, which does not say what is better"
        )
    return known[name]


class EarlyStopping:
    """Ends a training when a value has not improved for some epochs.

    Like the criteria UP in [1]_, which count how often in a row the validation error has grown.

    Parameters
    ----------
    monitor : str, default "val_loss"
        The name of a value in the history.
    patience : int, default 5
        The training ends after so many epochs in a row without improvement; at least 1.
    min_delta : float, default 0.0
        What counts as improvement is more than this.
    restore_best : bool, default True
        Whether the model gets the parameters of the best epoch at the end, unless an error ends it.
    mode : {None, "min", "max"}
        Whether small or large is good; None: as the metric says.

    Attributes
    ----------
    best : float or None
        The best value.
    best_epoch : int
        Its epoch; 0 before there is one.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong; when the training begins, if there is nothing to monitor.

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
        mode: str | None = None,
    ) -> None:
        self._monitor = Monitor(monitor, mode, _arguments.at_least_0("min_delta", min_delta))
        self.patience = _arguments.positive_integer("patience", patience)
        self.restore_best = bool(restore_best)
        self.best_epoch = 0
        self._waited = 0
        self._params: np.ndarray[Any, Any] | None = None

    @property
    def best(self) -> float | None:
        """The best value, None before there is one."""
        return self._monitor.best

    def on_train_begin(self, run: Run) -> None:
        """Start anew, but for a training that is resumed."""
        self._monitor.begin(run)
        if run.epoch == 0:
            self._monitor.best, self.best_epoch, self._waited, self._params = None, 0, 0, None
        if self._waited >= self.patience:
            run.stop()

    def on_epoch_end(self, run: Run) -> None:
        """Compare, and stop the training if it has been long enough."""
        if self._monitor.improves(run):
            self.best_epoch, self._waited = run.epoch, 0
            if self.restore_best:
                self._params = run.model.params.copy()
            return
        self._waited += 1
        if self._waited >= self.patience:
            run.stop()

    def on_train_end(self, run: Run) -> None:
        """Give the model the best parameters."""
        if self._params is not None:
            run.model.params[...] = self._params

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint remembers."""
        best = {"best": self.best, "best_epoch": self.best_epoch, "waited": self._waited}
        return best if self._params is None else {**best, "params": self._params}

    def check_state(self, state: dict[str, Any], run: Run) -> None:
        """Check that the best parameters are those of the model in `run`; ValueError if they are not."""
        best, params = state.get("params"), run.model.params
        if isinstance(best, np.ndarray) and (best.shape != params.shape or best.dtype != params.dtype):
            raise ValueError("`state` must have the best parameters of this model")

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from there; ValueError if it is something else."""
        best, epoch, waited = (state.get(name) for name in ("best", "best_epoch", "waited"))
        params = state.get("params")
        if (
            not (best is None or type(best) is float)
            or not all(type(n) is int and 0 <= n < 1 << 62 for n in (epoch, waited))
            or not (params is None or isinstance(params, np.ndarray))
        ):
            raise ValueError("`state` must be that of an EarlyStopping")
        self._monitor.best, self._params = best, params
        self.best_epoch, self._waited = int(epoch or 0), int(waited or 0)


class Checkpoint:
    """Saves a training at the end of epochs, such that ``fit(..., resume_from=path)`` goes on from there.

    `fastsm.load` reads the model from the file. The file is always complete: see `fastsm.save`.

    Parameters
    ----------
    path : path
        Where to save, as ``"run.safetensors"``; nothing is appended to the name. ``{epoch}`` in it becomes
        the number of the epoch, without it one file is replaced.
    every : int, default 1
        Save after so many epochs, and at the end.
    monitor : str, optional
        Save only when this value in the history is the best so far.
    mode : {None, "min", "max"}
        Whether small or large is good; None: as the metric says.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong; when the training begins, if there is nothing to monitor.

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
        mode: str | None = None,
    ) -> None:
        self.path = os.fspath(path)
        self.every = _arguments.positive_integer("every", every)
        self._monitor = None if monitor is None else Monitor(monitor, mode, 0.0)

    @property
    def order(self) -> int:
        """When this is called: after other callbacks, which are 0, and saving the best before saving all."""
        return 2 if self._monitor is None else 1

    def on_train_begin(self, run: Run) -> None:
        """Check that there is something to monitor, and somewhere to save to."""
        if self._monitor is not None:
            self._monitor.begin(run)
            if run.epoch == 0:
                self._monitor.best = None
        folder = os.path.dirname(os.path.realpath(self.path))
        if not os.path.isdir(folder):
            raise FileNotFoundError(f"`path` must lie in a folder that exists, got {self.path!r}")

    def on_epoch_end(self, run: Run) -> None:
        """Save, if it is time to."""
        best = self._monitor is None or self._monitor.improves(run)
        last = run.stopping or run.epoch == run.epochs
        if best and (run.epoch % self.every == 0 or last):
            _checkpoint.write(self.path.replace("{epoch}", str(run.epoch)), run)

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint remembers."""
        return {"best": None if self._monitor is None else self._monitor.best}

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from there; ValueError if it is something else."""
        best = state.get("best")
        if not (best is None or type(best) is float):
            raise ValueError("`state` must be that of a Checkpoint")
        if self._monitor is not None:
            self._monitor.best = best

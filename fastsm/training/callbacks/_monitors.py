"""Callbacks that monitor a value: early stopping, checkpoints, and smaller learning rates."""

from __future__ import annotations

import os

from fastsm import _arguments
from fastsm._files._atomic import check_new_file, checked_path
from fastsm.training._checkpoint import write_checkpoint
from fastsm.training._run import Run
from fastsm.training.callbacks._best import Best, Mode, Monitor, Ordered, are_counts, check_params

__all__ = ["Checkpoint", "EarlyStopping", "ReduceOnPlateau"]


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
        Whether to set the model to the parameters of the best epoch at the end, unless an error ends it;
        ``history.restored`` is that epoch then.
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
        self._best = Best(monitor, mode, min_delta, keep=_arguments.flag("restore_best", restore_best))
        self.patience = _arguments.positive_integer("patience", patience)
        self._waited = 0

    @property
    def best(self) -> float | None:
        """The best value, None before there is one."""
        return self._best.best

    @property
    def best_epoch(self) -> int:
        """The epoch of the best value, 0 before there is one."""
        return self._best.epoch

    def on_train_begin(self, run: Run) -> None:
        """Forget earlier trainings, unless this one is resumed."""
        self._best.begin(run)
        if run.epoch == 0:
            self._waited = 0
        if self._waited >= self.patience:
            run.stop()

    def on_epoch_end(self, run: Run) -> None:
        """Compare the value, and stop the training if it did not improve for `patience` epochs."""
        self._waited = 0 if self._best.improves(run) else self._waited + 1
        if self._waited >= self.patience:
            run.stop()

    def on_train_end(self, run: Run) -> None:
        """Set the model to the best parameters."""
        self._best.restore(run)

    def state(self) -> dict[str, object]:
        """Return the state for a checkpoint."""
        return {**self._best.state(), "waited": self._waited}

    def check_state(self, state: dict[str, object], run: Run) -> None:
        """Raise ValueError if the best parameters do not match the model in `run`."""
        check_params(state, run, params="best parameters")

    def set_state(self, state: dict[str, object]) -> None:
        """Continue from a state; raise ValueError for a wrong one."""
        waited = state.get("waited")
        if not are_counts(waited):
            raise ValueError("`state` must be that of an EarlyStopping")
        self._best.set_state(state, "an EarlyStopping")
        self._waited = waited  # type: ignore[assignment]


class ReduceOnPlateau:
    """Multiplies the learning rate by a factor when a value has not improved for some epochs.

    The optimizer must have a number as its learning rate, not a schedule. The lowered rate is part of
    checkpoints.

    Parameters
    ----------
    monitor : str, default "val_loss"
        The name of a value in the history.
    factor : float, default 0.1
        What the learning rate is multiplied by, above 0 and below 1.
    patience : int, default 3
        The number of successive epochs without improvement after which this is done; at least 1.
    min_delta : float, default 0.0
        An improvement counts only if it is larger than this.
    min_lr : float, default 0.0
        The learning rate does not fall below this.
    mode : {None, "min", "max"}
        Whether smaller or larger values are better; None takes the default of the metric.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong; at the beginning of the training, if there is no such value or the learning
        rate is a schedule.

    Examples
    --------
    >>> import fastsm
    >>> from fastsm import callbacks, nn, optim
    >>> class Stuck:
    ...     def on_epoch_end(self, run):
    ...         run.logs["loss"] = 1.0
    >>> history = fastsm.fit(nn.MLP([1, 2]), [[1.0]], [0], optimizer=optim.SGD(0.5), epochs=6,
    ...                      callbacks=[Stuck(), callbacks.ReduceOnPlateau("loss", factor=0.5, patience=2)])
    >>> history["learning_rate"]
    [0.5, 0.5, 0.5, 0.25, 0.25, 0.125]
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 3,
        min_delta: float = 0.0,
        min_lr: float = 0.0,
        mode: Mode | None = None,
    ) -> None:
        self._monitor = Monitor(monitor, mode, min_delta)
        self.factor = _arguments.between_0_and_1("factor", factor)
        self.patience = _arguments.positive_integer("patience", patience)
        self.min_lr = _arguments.at_least_0("min_lr", min_lr)
        self._waited = 0

    def on_train_begin(self, run: Run) -> None:
        """Forget earlier trainings, unless this one is resumed."""
        self._monitor.begin(run)
        self._rate(run)
        if run.epoch == 0:
            self._waited = 0

    def on_epoch_end(self, run: Run) -> None:
        """Compare the value, and lower the learning rate if it did not improve for `patience` epochs."""
        self._waited = 0 if self._monitor.improves(run) else self._waited + 1
        if self._waited >= self.patience:
            rate = self._rate(run)
            run.optimizer.lr = min(rate, max(rate * self.factor, self.min_lr))
            self._waited = 0

    def _rate(self, run: Run) -> float:
        rate = getattr(run.optimizer, "lr", None)  # L-BFGS has no optimizer
        if not isinstance(rate, float | int):
            raise ValueError(
                "`optimizer` must have a number as its lr for ReduceOnPlateau, got a schedule or none"
            )
        return rate

    def state(self) -> dict[str, object]:
        """Return the state for a checkpoint."""
        return {"monitor": self._monitor.name, "best": self._monitor.best, "waited": self._waited}

    def set_state(self, state: dict[str, object]) -> None:
        """Continue from a state; raise ValueError for a wrong one."""
        best, waited = state.get("best"), state.get("waited")
        if not (best is None or type(best) is float) or not are_counts(waited):
            raise ValueError("`state` must be that of a ReduceOnPlateau")
        self._monitor.best, self._waited = best, waited  # type: ignore[assignment]


class Checkpoint(Ordered):
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
    best : bool, default False
        Whether to set the model to the parameters of the best epoch at the end, unless an error ends it;
        ``history.restored`` is that epoch then. `monitor` is ``"val_loss"`` if it is not given.

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

    def __init__(
        self,
        path: str | os.PathLike[str],
        every: int = 1,
        monitor: str | None = None,
        mode: Mode | None = None,
        best: bool = False,
    ) -> None:
        self.path = checked_path("path", path)
        self.every = _arguments.positive_integer("every", every)
        keep = _arguments.flag("best", best)
        monitor = "val_loss" if keep and monitor is None else monitor
        if monitor is None and mode is not None:
            raise ValueError(f"`mode` must be None without `monitor`, got {mode!r}")
        self._best = None if monitor is None else Best(monitor, mode, keep=keep)
        # All ranks set their models to the best parameters.
        self.first_rank_only = not keep
        #: After the others, and the best before every epoch.
        self.order = 2 if monitor is None else 1

    def on_train_begin(self, run: Run) -> None:
        """Raise an error if there is no such value to monitor, or no such folder."""
        if self._best is not None:
            self._best.begin(run)
        check_new_file(self.path)

    def on_epoch_end(self, run: Run) -> None:
        """Save the training if this epoch is due."""
        best = self._best is None or self._best.improves(run)
        last = run.stopping or run.epoch == run.epochs
        if best and (run.epoch % self.every == 0 or last) and run.rank == 0:
            write_checkpoint(self.path.replace("{epoch}", str(run.epoch)), run)

    def on_train_end(self, run: Run) -> None:
        """Set the model to the best parameters, if that is wanted."""
        if self._best is not None:
            self._best.restore(run)

    def state(self) -> dict[str, object]:
        """Return the state for a checkpoint."""
        return {} if self._best is None else self._best.state()

    def check_state(self, state: dict[str, object], run: Run) -> None:
        """Raise ValueError if the best parameters do not match the model in `run`."""
        check_params(state, run, params="best parameters")

    def set_state(self, state: dict[str, object]) -> None:
        """Continue from a state; raise ValueError for a wrong one."""
        if state:
            (self._best or Best("loss", None, keep=False)).set_state(state, "a Checkpoint")

"""A training as it goes on: what callbacks see of it, and the loop over the batches."""

import math
import time
from typing import Any

import numpy as np

from fastsm import nn
from fastsm._kernels import kernels
from fastsm.nn._objective import Objective
from fastsm.optim import Optimizer
from fastsm.training._batches import Rows
from fastsm.training._evaluation import Evaluation, Recorder
from fastsm.training._history import History
from fastsm.training._ranks import Ranks
from fastsm.training.metrics._metric import Metric

__all__ = ["HOOKS", "Run", "TrainingDiverged"]

HOOKS = ("on_train_begin", "on_epoch_begin", "on_batch_end", "on_epoch_end", "on_train_end")


class TrainingDiverged(ArithmeticError):
    """The loss, the gradient or the parameters became NaN or infinite.

    The model is left as it was then; the last checkpoint is that of the last epoch that was completed.

    Attributes
    ----------
    epoch, step : int
        Where: both counted from 1, the step within the epoch.
    learning_rate : float
        The learning rate of that step.

    Examples
    --------
    >>> import fastsm
    >>> from fastsm import nn, optim
    >>> try:
    ...     fastsm.fit(nn.MLP([1, 1], init="ones"), [[1.0]], [[0.0]], loss=nn.MSELoss(), metrics=[],
    ...                optimizer=optim.SGD(1e30))
    ... except fastsm.TrainingDiverged as error:
    ...     print(error.epoch, error.learning_rate)
    2 1e+30
    """

    def __init__(self, what: str, epoch: int, step: int, learning_rate: float) -> None:
        super().__init__(
            f"{what} at epoch {epoch}, step {step}, learning rate {learning_rate:g}: try a smaller learning"
            " rate, a warm-up (optim.schedules.warmup_cosine), clip_norm=1.0, or inputs scaled to about 1"
        )
        self.epoch, self.step, self.learning_rate = epoch, step, learning_rate


class Run:
    """A training as it goes on; callbacks get it as their argument.

    Attributes
    ----------
    model : Sequential
        The model.
    optimizer : Optimizer
        The optimizer; its `lr` may be changed.
    epoch, epochs : int
        The epoch, counted from 1, and their number. Before the first epoch it is 0, or that of a checkpoint.
    step, steps : int
        The step within the epoch, counted from 1 (0 before the first), and their number.
    batch_size : int
        The rows of a step, of all ranks together.
    logs : dict
        At the end of an epoch what `history` got for it; at the end of a batch the ``"loss"`` of that batch.
    names : tuple of str
        The names in `logs` at the end of an epoch.
    history : History
        The epochs so far.
    metrics : list of Metric
        The metrics.
    rank, ranks : int
        The number of this process, counted from 0, and of all that share the training: 0 and 1 without MPI.

    Examples
    --------
    A callback that ends the training once the loss is small enough:

    >>> import fastsm
    >>> from fastsm import nn, optim
    >>> class Enough:
    ...     def on_epoch_end(self, run):
    ...         if run.logs["loss"] < 0.1:
    ...             run.stop()
    >>> model = nn.MLP([1, 2], init="zeros")
    >>> history = fastsm.fit(model, [[-1.0], [1.0]], [0, 1], optimizer=optim.SGD(1.0), epochs=100,
    ...                      callbacks=[Enough()])
    >>> history.stopped, history.epochs
    ('early stop', 6)
    """

    def __init__(
        self,
        model: nn.Sequential,
        objective: Objective,
        optimizer: Optimizer,
        metrics: list[Metric],
        rows: Rows,
        validation: Rows | None,
        callbacks: list[Any],
        *,
        epochs: int,
        batch_size: int,
        clip_norm: float,
        shuffle: bool,
        seed: int,
        ranks: Ranks | None,
        count: int,
    ) -> None:
        self.model, self.optimizer, self.history = model, optimizer, History()
        self.rank: int = 0 if ranks is None else ranks.rank
        self.ranks: int = 1 if ranks is None else ranks.size
        self.epoch, self.epochs = 0, epochs
        self.step, self.steps = 0, -(-count // batch_size)
        self.logs: dict[str, float] = {}
        self.callbacks, self.metrics = callbacks, metrics
        self.stopping = False
        self.seed = seed
        self.diverged: TrainingDiverged | None = None
        self._ranks = ranks
        self._objective, self._rows, self._validation = objective, rows, validation
        self.batch_size, self._clip_norm, self._shuffle = batch_size, clip_norm, shuffle
        self._evaluation = Evaluation(objective, metrics)
        self._recorder = Recorder(self._evaluation) if metrics else None
        # One rank writes and tells; the others only compute.
        called = [c for c in callbacks if not (self.rank and getattr(c, "first_rank_only", False))]
        self._hooks = {
            name: [getattr(c, name) for c in called if callable(getattr(c, name, None))] for name in HOOKS
        }
        own = ["loss", *(metric.name for metric in metrics)]
        others = [] if validation is None else [f"val_{name}" for name in own]
        self.names = (*own, *others, "learning_rate", "seconds")

    def stop(self) -> None:
        """Ask for the training to end with this epoch."""
        self.stopping = True

    def call(self, hook: str) -> None:
        """Call the callbacks that have this method."""
        for method in self._hooks[hook]:
            method(self)

    def train(self) -> None:
        """Train until all epochs are done, or a callback asks for the end, or the keyboard does."""
        try:
            self.call("on_train_begin")
            while self.epoch < self.epochs and not self.stopping:
                self._epoch()
            self.history.stopped = "early stop" if self.stopping else "epochs"
        except KeyboardInterrupt:
            if self._ranks is not None:
                raise
            self.history.stopped = "interrupted"
        self.call("on_train_end")

    def _epoch(self) -> None:
        started, ranks = time.perf_counter(), self._ranks
        self.epoch, self.step, self.logs = self.epoch + 1, 0, {}
        self.call("on_epoch_begin")
        rate = self.optimizer.learning_rate
        # What goes wrong is reported below, with more to go by than a warning.
        with np.errstate(all="ignore"):
            logs = {"loss": self._batches()}
            if not math.isfinite(kernels.sum_of_squares(self.model.params)):
                raise self._diverged("the parameters became NaN or infinite")
            if self._recorder is not None:
                logs |= self._recorder.results(ranks)
            if self._validation is not None:
                results = self._evaluation(self._validation, self.batch_size, ranks)
                logs |= {f"val_{name}": value for name, value in results.items()}
        self.logs = {**logs, "learning_rate": rate, "seconds": time.perf_counter() - started}
        if ranks is not None:
            self.logs = ranks.first(self.logs)
        self.history.record(self.logs)
        self.call("on_epoch_end")
        if ranks is not None:
            self.stopping = ranks.any(self.stopping)

    def _order(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        """Return the order of the rows: a function of the seed and the epoch, so that it can be resumed."""
        if not self._shuffle:
            return np.arange(len(self._rows))
        if self._ranks is not None and self._ranks.sharded:
            return self._ranks.order(self.seed, self.epoch)
        return np.random.default_rng([self.seed, self.epoch]).permutation(len(self._rows))

    def _batches(self) -> float:
        """Do the steps of an epoch, and return the exact mean of the loss over its rows."""
        # Looked up once: at a tenth of a millisecond a step, each look-up counts.
        objective, model, clip_norm, ranks = self._objective, self.model, self._clip_norm, self._ranks
        value_and_grad, total_weight = objective.value_and_grad, objective.loss.total_weight
        update, params, grads, decayed = self.optimizer.step, model.params, model.grads, model.decayed
        recorder, on_batch_end, isfinite = self._recorder, self._hooks["on_batch_end"], math.isfinite
        clips = clip_norm < math.inf
        share = 1.0  # what the gradient is multiplied by
        total = weights = 0.0
        rows, order, size = self._rows, self._order(), self.batch_size
        batches = (
            rows.batches(size, order) if ranks is None else rows.gathered(ranks.parts(order, size), size)
        )
        for x, y, weight in batches:
            self.step += 1
            value, _ = value_and_grad(x, y, sample_weight=weight)
            batch_weight = total_weight(y, weight)
            if ranks is not None:
                grads, value, batch_weight = ranks.sum(model.grads, value, batch_weight)
                share = 1 / batch_weight if batch_weight else 0.0
            if not isfinite(value):
                raise self._diverged(f"the loss became {value}")
            scale = share
            if clips:
                norm = share * math.sqrt(kernels.sum_of_squares(grads))
                if not isfinite(norm):
                    raise self._diverged("the gradient became NaN or infinite")
                scale = share * clip_norm / norm if norm > clip_norm else share
            update(params, grads, decayed=decayed, scale=scale)
            total += value * batch_weight
            weights += batch_weight
            if recorder is not None and (ranks is None or not ranks.idle):
                recorder.add(objective.last, y, weight)  # type: ignore[arg-type]
            if on_batch_end:
                self.logs = {"loss": value}
                self.call("on_batch_end")
        return total / weights if weights else 0.0

    def _diverged(self, what: str) -> TrainingDiverged:
        self.diverged = TrainingDiverged(what, self.epoch, self.step, self.optimizer.learning_rate)
        return self.diverged

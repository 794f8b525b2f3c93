"""A training as it goes on: what callbacks see of it, and the loop over the batches."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastsm import nn
from fastsm._kernels import kernels
from fastsm.optim import Optimizer
from fastsm.training._batches import Rows
from fastsm.training._evaluation import BLOCK, Evaluation, Recorder
from fastsm.training._history import History
from fastsm.training._ranks import ALONE, Alone
from fastsm.training._settings import settings
from fastsm.typing import Array

__all__ = ["HOOKS", "Plan", "Run", "TrainingDiverged"]

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
    fault : str or None
        Where the data hold NaN or an infinity, if they do.

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

    def __init__(
        self, what: str, epoch: int, step: int, learning_rate: float, fault: str | None = None
    ) -> None:
        advice = fault or (
            "try a smaller learning rate, a warm-up (optim.schedules.warmup_cosine), clip_norm=1.0, or inputs"
            " scaled to about 1"
        )
        super().__init__(f"{what} at epoch {epoch}, step {step}, learning rate {learning_rate:g}: {advice}")
        self.fault = fault
        self.what, self.epoch, self.step, self.learning_rate = what, epoch, step, learning_rate

    def __reduce__(self) -> tuple[type[TrainingDiverged], tuple[str, int, int, float, str | None]]:
        return type(self), (self.what, self.epoch, self.step, self.learning_rate, self.fault)


@dataclass(frozen=True, slots=True)
class Plan:
    """How a training goes through its rows."""

    rows: int  #: of all ranks together
    batch_size: int
    epochs: int
    clip_norm: float = math.inf
    shuffle: bool = True
    seed: int = 0
    evaluated_rows: int = BLOCK  #: that go through the model together where no gradient is needed


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
        evaluation: Evaluation,
        optimizer: Any,
        rows: Rows,
        validation: Rows | None,
        callbacks: list[Any],
        plan: Plan,
        ranks: Alone = ALONE,
    ) -> None:
        self.model: nn.Sequential = evaluation.objective.model
        self.optimizer: Optimizer = optimizer
        self.first_settings = {} if optimizer is None else settings(optimizer)
        self.callbacks, self.metrics, self.history = callbacks, evaluation.metrics, History()
        self.rank, self.ranks = ranks.rank, ranks.size
        self.epoch, self.epochs = 0, plan.epochs
        self.step, self.steps = 0, -(-plan.rows // plan.batch_size)
        self.batch_size, self.seed = plan.batch_size, plan.seed
        self.logs: dict[str, float] = {}
        self.stopping = False
        self.diverged: TrainingDiverged | None = None
        self._evaluation, self._objective, self._plan, self._ranks = (
            evaluation, evaluation.objective, plan, ranks,
        )  # fmt: skip
        self._rows, self._validation = rows, validation
        self._recorder = Recorder(evaluation) if evaluation.metrics else None
        # One rank writes and tells; the others only compute.
        called = [c for c in callbacks if not (self.rank and getattr(c, "first_rank_only", False))]
        self._hooks = {
            name: [getattr(c, name) for c in called if callable(getattr(c, name, None))] for name in HOOKS
        }
        validated = () if validation is None else (f"val_{name}" for name in evaluation.names)
        rate = () if optimizer is None else ("learning_rate",)
        self.names = ("loss", *(metric.name for metric in self.metrics), *validated, *rate, "seconds")

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
            self._train()
            self.history.stopped = "early stop" if self.stopping else "epochs"
        except KeyboardInterrupt:
            if self.ranks > 1:
                raise
            self.history.stopped = "interrupted"
        self.call("on_train_end")

    def _train(self) -> None:
        """Do the epochs."""
        while self.epoch < self.epochs and not self.stopping:
            self._epoch()

    def _epoch(self) -> None:
        """Do the steps of an epoch, evaluate it, and tell the callbacks."""
        started = time.perf_counter()
        self.epoch, self.step, self.logs = self.epoch + 1, 0, {}
        self.call("on_epoch_begin")
        rate = {} if self.optimizer is None else {"learning_rate": self.optimizer.learning_rate}
        # What goes wrong is reported below, with more to go by than a warning.
        with np.errstate(all="ignore"):
            logs = self._results(self._batches())
        self.logs = self._ranks.broadcast({**logs, **rate, "seconds": time.perf_counter() - started})
        self.history.record(self.logs)
        self.call("on_epoch_end")
        self.stopping = self._ranks.any_rank(self.stopping)

    def _order(self) -> Array:
        """Return the order in which an epoch goes through the rows."""
        if not self._plan.shuffle:
            return np.arange(len(self._rows))
        return self._ranks.order(self.seed, self.epoch, len(self._rows))

    def _weight(self, targets: Array, sample_weight: Array | None) -> float:
        """Return the weight of a batch in the mean over an epoch."""
        return float(self._objective.loss.total_weight(targets, sample_weight))

    def _batches(self) -> float:
        """Do the steps of an epoch, and return the exact mean of the loss over its rows."""
        # Looked up once: at a tenth of a millisecond a step, each look-up counts.
        objective, model, clip_norm, ranks = self._objective, self.model, self._plan.clip_norm, self._ranks
        value_and_grad, weigh, add_up = objective.value_and_grad, self._weight, ranks.reduce_gradient
        update, params, own, decayed = self.optimizer.step, model.params, model.grads, model.decayed
        recorder, on_batch_end, isfinite = self._recorder, self._hooks["on_batch_end"], math.isfinite
        clips = clip_norm < math.inf
        total = weights = 0.0
        size = self.batch_size
        for x, y, weight in self._rows.gathered(ranks.batches(self._order(), size), size):
            self.step += 1
            value, _ = value_and_grad(x, y, sample_weight=weight)
            # The gradient of the batch is `grads` times `share`.
            grads, share, value, batch_weight = add_up(own, value, weigh(y, weight))
            if not isfinite(value):
                self._diverge(f"the loss became {value}")
            scale = share
            if clips:
                norm = share * math.sqrt(kernels.sum_of_squares(grads))
                if not isfinite(norm):
                    self._diverge("the gradient became NaN or infinite")
                scale = share * clip_norm / norm if norm > clip_norm else share
            update(params, grads, decayed=decayed, scale=scale)
            total += value * batch_weight
            weights += batch_weight
            if recorder is not None and not ranks.idle:
                recorder.add(objective.last_outputs, y, weight)  # type: ignore[arg-type]
            if on_batch_end:
                self.logs = {"loss": value}
                self.call("on_batch_end")
        return total / weights if weights else 0.0

    def _results(self, loss: float) -> dict[str, float]:
        """Return the results of an epoch: loss and metrics over the rows, and over the validation data."""
        self._check_finite(loss)
        logs = {"loss": loss}
        if self._recorder is not None:
            logs |= self._recorder.results(self._ranks)
        if self._validation is not None:
            results = self._evaluation(self._validation, self._plan.evaluated_rows, self._ranks)
            self._evaluation.check(self._validation, results)
            logs |= {f"val_{name}": value for name, value in results.items()}
        return logs

    def _check_finite(self, loss: float) -> None:
        """Check that the parameters are finite at the end of an epoch; each loss was."""
        if not math.isfinite(kernels.sum_of_squares(self.model.params)):
            self._diverge("the parameters became NaN or infinite")

    def _diverge(self, what: str) -> None:
        """Raise TrainingDiverged for the current step."""
        fault = self._rows.first_fault(self._evaluation.ignored)
        self.diverged = TrainingDiverged(what, self.epoch, self.step, self.optimizer.learning_rate, fault)
        raise self.diverged

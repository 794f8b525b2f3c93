"""What the solvers share: what callbacks see, validation, and what an estimator remembers of each epoch."""

import math
import time
import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastsm._arguments import Array
from fastsm._kernels import kernels
from fastsm.nn._objective import Objective
from fastsm.sklearn._network import BLOCK
from fastsm.sklearn._rows import Data
from fastsm.training._fit import check_callbacks
from fastsm.training._history import History
from fastsm.training._run import HOOKS

__all__ = ["Training"]


class Training:
    """The training of an estimator as it goes on; its callbacks get it as their argument.

    Attributes
    ----------
    estimator : BaseMLP
        Its attributes are kept up to date.
    model : Sequential
        The network.
    optimizer : Optimizer or None
        None with the solver "lbfgs".
    epoch, epochs : int
        The epoch, counted from 1 (0 before the first), and the largest number of epochs. With "lbfgs" an
        epoch is an iteration.
    step, steps : int
        The step within the epoch, counted from 1 (0 before the first), and their number.
    logs : dict
        At the end of an epoch what `history` got for it; at the end of a batch the ``"loss"`` of that batch.
    names : tuple of str
        The names in `logs` at the end of an epoch.
    history : History
        The epochs so far.
    """

    def __init__(
        self, estimator: Any, objective: Objective, optimizer: Any, data: Data, validation: Data | None
    ) -> None:
        self.estimator, self.model, self.optimizer = estimator, objective.model, optimizer
        self.objective, self.data, self.validation = objective, data, validation
        self.epoch, self.epochs, self.step, self.steps = 0, int(estimator.max_iter), 0, 1
        self.logs: dict[str, float] = {}
        self.history = History()
        self.stopping = False
        self.callbacks = check_callbacks(estimator.callbacks or ())
        # `Checkpoint` and `EarlyStopping` read these of a run.
        self.metrics: list[Any] = []
        self.seed = 0
        self._hooks = {
            hook: [getattr(c, hook) for c in self.callbacks if callable(getattr(c, hook, None))]
            for hook in HOOKS
        }
        rate = () if optimizer is None else ("learning_rate",)
        self.names = ("loss", *(() if validation is None else ("val_loss", "val_score")), *rate, "seconds")
        self._started = time.perf_counter()

    def stop(self) -> None:
        """Ask for the training to end with this epoch."""
        self.stopping = True

    def call(self, hook: str) -> None:
        """Call the callbacks that have this method."""
        for method in self._hooks[hook]:
            method(self)

    def start_epoch(self) -> None:
        """Begin an epoch."""
        self._started = time.perf_counter()
        self.epoch, self.step, self.logs = self.epoch + 1, 0, {}
        self.call("on_epoch_begin")

    def penalty(self, weight: float) -> float:
        """Return what alpha adds to the mean loss over rows of this weight."""
        alpha, model = self.estimator.alpha, self.model
        return float(alpha / 2 * kernels.sum_of_squares(model.params[: model.decayed]) / weight)

    def check_finite(self, loss: float) -> None:
        """Raise a ValueError if the training went astray; with early stopping the best weights are there."""
        if math.isfinite(loss) and np.isfinite(self.model.params).all():
            return
        message = (
            "Solver produced non-finite parameter weights. The input data may contain large values and need"
            f" to be preprocessed: the loss is {loss:g} in iteration {self.epoch}; a smaller"
            " learning_rate_init or a clip_norm may help, too."
        )
        if not self.estimator._stops_early():
            raise ValueError(message)
        warnings.warn(message, ConvergenceWarning, stacklevel=6)
        self.stop()

    def end_epoch(self, loss: float) -> None:
        """Check and remember the results of an epoch, and tell the callbacks."""
        e = self.estimator
        self.check_finite(loss)
        e.n_iter_ = self.epoch
        e.loss_ = loss
        e.loss_curve_.append(loss)
        self.logs = {"loss": loss}
        if e.verbose:
            print(f"Iteration {e.n_iter_}, loss = {loss:.8f}")
        if self.validation is not None:
            value, score = self._validate(self.validation)
            e.validation_loss_curve_.append(value)
            e.validation_scores_.append(score)
            self.logs |= {"val_loss": value, "val_score": score}
            if e.verbose:
                print(f"Validation score: {score:.6f}")
        self._count_improvements()
        if self.optimizer is not None:
            self.logs["learning_rate"] = self.optimizer.learning_rate
        self.logs["seconds"] = time.perf_counter() - self._started
        self.history.record(self.logs)
        self.call("on_epoch_end")

    @np.errstate(all="ignore")
    def _validate(self, data: Data) -> tuple[float, float]:
        """Return the loss and the score of the network, without dropout."""
        model, loss = self.model, self.objective.loss
        logits = np.empty((len(data.order), self.estimator.n_outputs_), model.dtype)
        total = weights = 0.0
        first = 0
        for x, y, weight in data.rows.batches(BLOCK, data.order):
            outputs = model(x)
            logits[first : first + len(x)] = outputs
            first += len(x)
            block_weight = loss.total_weight(y, weight)
            total += loss(outputs, y, sample_weight=weight) * block_weight
            weights += block_weight
        return total / weights if weights else 0.0, self.score(logits, data)

    def score(self, logits: Array, data: Data) -> float:
        """Return the estimator's score, NaN where the network gave no numbers."""
        if not np.isfinite(logits).all():
            return math.nan
        return float(self.estimator._score_logits(logits, data.y, data.weight))

    def _count_improvements(self) -> None:
        """Count the epochs in a row that brought no improvement by `tol`."""
        e = self.estimator
        if e._stops_early():
            score, best = e.validation_scores_[-1], e.best_validation_score_
            better, enough = score > best, not score < best + e.tol
            if better:
                e.best_validation_score_ = score
                e._best_params = self.model.params.copy()
        else:
            better, enough = e.loss_ < e.best_loss_, not e.loss_ > e.best_loss_ - e.tol
            if better:
                e.best_loss_ = e.loss_
        e._no_improvement_count = 0 if enough else e._no_improvement_count + 1

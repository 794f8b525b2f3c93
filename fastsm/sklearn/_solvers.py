"""The solvers: mini-batches with one of the optimizers, and L-BFGS over all rows.

What is minimised is the mean of the loss over the rows plus ``alpha / 2 |W|^2 / n``, n being the rows of a
batch (or the sum of their weights) and W the weights without the biases: as in scikit-learn. "adamw" shrinks
the weights by ``rate * alpha`` in each step instead.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import scipy.optimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import shuffle

from fastsm.nn._objective import Objective
from fastsm.sklearn._inputs import Data
from fastsm.sklearn._network import threads_for
from fastsm.sklearn._optimizers import (
    CHANGED_BY_EPOCH,
    PenalizedObjective,
    change_optimizer,
    make_optimizer,
    optimizer_options,
    penalty,
)
from fastsm.training._batches import Rows
from fastsm.training._blas_threads import largest_product, limited
from fastsm.training._evaluation import BLOCK, Evaluation
from fastsm.training._fit import check_callbacks
from fastsm.training._ranks import ALONE, Alone
from fastsm.training._run import Plan, Run
from fastsm.training.metrics._metric import Running
from fastsm.typing import Array

__all__ = ["EstimatorRun", "Lbfgs", "train"]

# Below this learning rate "adaptive" gives up, and this is what it divides by.
_LEAST_RATE, _DIVISOR = 1e-6, 5.0


class Score(Running):
    """The score of an estimator, which is no mean over rows: it takes all outputs at once."""

    def __init__(self, estimator: Any, data: Data) -> None:
        super().__init__([], "output")
        self._estimator, self._data = estimator, data
        self._outputs: list[Array] = []

    def update(self, outputs: Array, targets: Array, weight: Array | None) -> None:
        """Add rows."""
        self._outputs.append(outputs)

    def results(self, ranks: Alone = ALONE) -> dict[str, float]:
        """Return the score, NaN where the network gave no numbers."""
        logits, data = np.concatenate(self._outputs), self._data
        if not np.isfinite(logits).all():
            return {"score": math.nan}
        return {"score": float(self._estimator._score_logits(logits, data.y, data.weight))}


class ScoredEvaluation(Evaluation):
    """The loss and the score of an estimator's network on validation data, without penalty and dropout."""

    names = ("loss", "score")

    def __init__(self, objective: Objective, estimator: Any, data: Data) -> None:
        super().__init__(objective, [])
        self._estimator, self._data = estimator, data

    def positions(self, rows: Rows, ranks: Alone) -> Array:
        """Return the positions of the validation data."""
        return self._data.positions

    def running(self) -> Running:
        """Return the score, to which `update` adds rows."""
        return Score(self._estimator, self._data)


class EstimatorRun(Run):
    """The training of an estimator as it goes on: it keeps the records of the estimator up to date.

    Attributes
    ----------
    estimator : BaseMLP
        Its attributes are kept up to date.
    warnings : list of tuple
        Categories and messages, for the end of the training.
    """

    def __init__(
        self,
        estimator: Any,
        objective: Objective,
        optimizer: Any,
        data: Data,
        held_out: Data | None,
        plan: Plan,
    ) -> None:
        self.estimator = estimator
        self.warnings: list[tuple[type[Warning], str]] = []
        self._positions = data.positions
        evaluation, validation = Evaluation(objective, []), None
        if held_out is not None:
            evaluation, validation = ScoredEvaluation(objective, estimator, held_out), held_out.rows
        called = check_callbacks(estimator.callbacks or ())
        super().__init__(evaluation, optimizer, data.rows, validation, called, plan)

    def _check_finite(self, loss: float) -> None:
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
        self.warnings.append((ConvergenceWarning, message))
        self.stop()

    def _diverge(self, what: str) -> None:
        """Do nothing: the end of the epoch is checked, as in scikit-learn."""

    def _results(self, loss: float) -> dict[str, float]:
        e, logs = self.estimator, super()._results(loss)
        e.n_iter_, e.loss_ = self.epoch, loss
        e.loss_curve_.append(loss)
        if e.verbose:
            print(f"Iteration {e.n_iter_}, loss = {loss:.8f}")
        if self._validation is not None:
            e.validation_loss_curve_.append(logs["val_loss"])
            e.validation_scores_.append(logs["val_score"])
            if e.verbose:
                print(f"Validation score: {logs['val_score']:.6f}")
        self._count_improvements()
        return logs

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


class Stochastic(EstimatorRun):
    """Mini-batches, with "sgd", "adam", "adamw" or "rmsprop"."""

    def __init__(
        self,
        estimator: Any,
        loss: Any,
        data: Data,
        held_out: Data | None,
        random_state: np.random.RandomState,
        plan: Plan,
    ) -> None:
        network, optimizer = estimator._network, estimator._optimizer
        objective = PenalizedObjective(network, loss, estimator.alpha, optimizer)
        super().__init__(estimator, objective, optimizer, data, held_out, plan)
        self._random_state = random_state

    def _train(self) -> None:
        e = self.estimator
        try:
            super()._train()
        finally:
            if e._stops_early():
                self.model.params[...] = e._best_params

    def _epoch(self) -> None:
        super()._epoch()
        e = self.estimator
        if e.learning_rate == "invscaling":
            self._set_rate(e.learning_rate_init / (e.t_ + 1) ** e.power_t)
        self._look_for_the_end()

    def _order(self) -> Array:
        if self._plan.shuffle:
            self._positions = shuffle(self._positions, random_state=self._random_state)
        return self._positions

    def _weight(self, targets: Array, sample_weight: Array | None) -> float:
        """Return the number of rows: scikit-learn's mean over an epoch leaves their weights out."""
        return len(targets)

    def _batches(self) -> float:
        loss = super()._batches()
        self.estimator.t_ += len(self._positions)
        return loss

    def _set_rate(self, rate: float) -> None:
        """Change the learning rate between two epochs.

        scikit-learn's velocity is made of steps, which keep the learning rate that they were made with; that
        of `optim.SGD` is made of gradients.
        """
        velocity = self.optimizer.state.get("velocity")
        if velocity is not None and rate > 0:
            velocity *= self.optimizer.learning_rate / rate
        self.optimizer.lr = rate

    def _look_for_the_end(self) -> None:
        """Stop, or divide the learning rate, after too many epochs without an improvement."""
        e = self.estimator
        if e._no_improvement_count <= e.n_iter_no_change:
            return
        what = "Validation score" if e.early_stopping else "Training loss"
        message = (
            f"{what} did not improve more than tol={e.tol:f} for {e.n_iter_no_change} consecutive epochs."
        )
        rate = self.optimizer.learning_rate
        if e.learning_rate != "adaptive":
            message += " Stopping."
            self.stop()
        elif rate <= _LEAST_RATE:
            message += " Learning rate too small. Stopping."
            self.stop()
        else:
            self._set_rate(rate / _DIVISOR)
            e._no_improvement_count = 0
            message += f" Setting learning rate to {rate / _DIVISOR:f}"
        if e.verbose:
            print(message)


class Lbfgs(EstimatorRun):
    """L-BFGS over all rows, in float64: its line search takes rounding errors for curvature.

    An epoch is an iteration, and there is no optimizer.
    """

    def __init__(self, estimator: Any, loss: Any, data: Data, held_out: Data | None, plan: Plan) -> None:
        objective = Objective(estimator._network.astype("float64"), loss)
        super().__init__(estimator, objective, None, data, held_out, plan)
        self._iterate: Any = None

    def _train(self) -> None:
        e, params = self.estimator, self.model.params
        with np.errstate(all="ignore"):
            result = scipy.optimize.minimize(
                self._value_and_grad,
                params.copy(),
                method="L-BFGS-B",
                jac=True,
                callback=self._iteration,
                options={"maxfun": e.max_fun, "maxiter": e.max_iter, "gtol": e.tol},
            )
        params[...] = result.x
        e.n_iter_, e.loss_ = min(result.nit, e.max_iter), float(result.fun)
        self._check_finite(e.loss_)
        if result.status != 0 and not self.stopping:
            message = (
                f"lbfgs failed to converge after {e.n_iter_} iteration(s) (status={result.status}):"
                f" {result.message}. Increase max_iter ({e.max_iter}) or max_fun ({e.max_fun}), or scale the"
                " data."
            )
            self.warnings.append((ConvergenceWarning, message))

    def train(self) -> None:
        """Train, and give the parameters to the network of the estimator."""
        super().train()
        self.estimator._network.params[...] = self.model.params

    def _value_and_grad(self, x: Array) -> tuple[float, Array]:
        """Return the objective over all rows and its gradient, a new array."""
        model, objective, alpha = self.model, self._objective, self.estimator.alpha
        model.params[...] = x
        gradient = np.zeros_like(x)
        total = weights = rows = 0.0
        for batch, y, weight in self._rows.batches(BLOCK, self._positions):
            value, _ = objective.value_and_grad(batch, y, sample_weight=weight)
            block_weight = self._weight(y, weight)
            total += value * block_weight
            weights += block_weight
            rows += len(batch) if weight is None else float(weight.sum())
            gradient += model.grads * block_weight
        if weights:
            gradient /= weights
            total /= weights
        if rows:
            gradient[: model.decayed] += alpha / rows * model.params[: model.decayed]
            total += penalty(model, alpha, rows)
        return total, gradient

    def _iteration(self, intermediate_result: Any) -> None:
        """Record an iteration; SciPy calls this after each one."""
        self._iterate = intermediate_result
        self._epoch()
        if self.stopping:
            raise StopIteration

    def _batches(self) -> float:
        """Take over the parameters of the iteration, and return its loss."""
        self.model.params[...] = self._iterate.x
        return float(self._iterate.fun)


def train(
    estimator: Any,
    data: Data,
    held_out: Data | None,
    random_state: np.random.RandomState,
    *,
    incremental: bool,
) -> EstimatorRun:
    """Train the network of an estimator, for one epoch if `incremental`."""
    e, rows = estimator, len(data.positions)
    by_batches = e.solver != "lbfgs"
    together = BLOCK if not by_batches else 200 if isinstance(e.batch_size, str) else int(e.batch_size)
    plan = Plan(
        rows=rows,
        batch_size=min(together, rows) if by_batches else rows,
        epochs=1 if incremental else int(e.max_iter),
        clip_norm=e.clip_norm or math.inf,
        shuffle=bool(e.shuffle),
    )
    with limited(threads_for(e), largest_product(e._network, min(together, rows))):
        run: EstimatorRun
        if by_batches:
            make = change_optimizer if incremental and hasattr(e, "_optimizer") else make_optimizer
            e._optimizer = make(e, steps=int(e.max_iter) * -(-rows // plan.batch_size))
            e._optimizer_options = optimizer_options(e)
            run = Stochastic(e, e._loss(), data, held_out, random_state, plan)
        else:
            run = Lbfgs(e, e._loss(), data, held_out, plan)
        run.train()
    if by_batches and together > rows and not isinstance(e.batch_size, str):
        message = "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped."
        run.warnings.append((UserWarning, message))
    if run.history.stopped == "interrupted":
        run.warnings.append((UserWarning, "Training interrupted by user."))
    # A single epoch is not meant to converge, and a schedule over all epochs to end with the last one.
    converges = by_batches and not incremental and e.learning_rate in CHANGED_BY_EPOCH
    if converges and run.history.stopped == "epochs":
        message = f"Maximum iterations ({e.max_iter}) reached and the optimization hasn't converged yet."
        run.warnings.append((ConvergenceWarning, f"Stochastic Optimizer: {message}"))
    return run

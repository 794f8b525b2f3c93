"""The solvers: mini-batches with one of the optimizers, and L-BFGS over all rows.

What is minimised is the mean of the loss over the rows plus ``alpha / 2 |W|^2 / n``, n being the rows of a
batch (or the sum of their weights) and W the weights without the biases: as in scikit-learn. "adamw" shrinks
the weights by ``rate * alpha`` in each step instead.
"""

import math
import warnings
from typing import Any

import numpy as np
import scipy.optimize
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import shuffle

from fastsm._arguments import Array
from fastsm._kernels import kernels
from fastsm.nn._objective import Objective
from fastsm.optim import AdamW, Optimizer
from fastsm.sklearn._network import BLOCK
from fastsm.sklearn._optimizers import set_rate
from fastsm.sklearn._rows import Data
from fastsm.sklearn._schedules import learning_rate
from fastsm.sklearn._training import Training

__all__ = ["Lbfgs", "Stochastic"]

# Below this learning rate "adaptive" gives up, and this is what it divides by.
_LEAST_RATE, _DIVISOR = 1e-6, 5.0


class Stochastic(Training):
    """Mini-batches, with "sgd", "adam", "adamw" or "rmsprop"."""

    optimizer: Optimizer

    def run(self, random_state: np.random.RandomState, incremental: bool) -> None:
        """Train, for one epoch if `incremental`."""
        e, order = self.estimator, self.data.order
        batch_size = self._batch_size()
        self.steps = -(-len(order) // batch_size)
        if self.optimizer.steps == 0:
            self._start_schedule()
        try:
            self.call("on_train_begin")
            while self.epoch < self.epochs and not self.stopping:
                if e.shuffle:
                    order = shuffle(order, random_state=random_state)
                self.start_epoch()
                with np.errstate(all="ignore"):
                    loss = self._epoch(order, batch_size)
                e.t_ += len(order)
                self.end_epoch(loss)
                if e.learning_rate == "invscaling":
                    set_rate(self.optimizer, e.learning_rate_init / (e.t_ + 1) ** e.power_t)
                self._look_for_the_end()
                if incremental:
                    break
            else:
                # A schedule over all epochs is to end with the last one.
                if not self.stopping and not self._is_scheduled():
                    warnings.warn(
                        f"Stochastic Optimizer: Maximum iterations ({e.max_iter}) reached and the"
                        " optimization hasn't converged yet.",
                        ConvergenceWarning,
                        stacklevel=4,
                    )
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=4)
        if e._stops_early():
            self.model.params[...] = e._best_params
        self.call("on_train_end")

    def _batch_size(self) -> int:
        e, rows = self.estimator, len(self.data.order)
        wanted: int = e._rows_together()
        if wanted > rows and not isinstance(e.batch_size, str):
            message = "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped."
            warnings.warn(message, stacklevel=5)
        return min(wanted, rows)

    def _is_scheduled(self) -> bool:
        """Whether the learning rate is a function of the number of steps."""
        return self.estimator.learning_rate not in ("constant", "invscaling", "adaptive")

    def _start_schedule(self) -> None:
        """Set the learning rate, if it is a function of the number of steps."""
        e = self.estimator
        if self._is_scheduled():
            self.optimizer.lr = learning_rate(
                e.learning_rate, e.learning_rate_init, steps=self.steps, epochs=self.epochs
            )

    def _epoch(self, order: Array, batch_size: int) -> float:
        """Do the steps of an epoch, and return the mean of the batches' losses over the rows."""
        # Looked up once: at a tenth of a millisecond a step, each look-up counts.
        model, optimizer, alpha = self.model, self.optimizer, self.estimator.alpha
        value_and_grad, update, penalty = self.objective.value_and_grad, optimizer.step, self.penalty
        params, grads, decayed = model.params, model.grads, model.decayed
        clip_norm = self.estimator.clip_norm or math.inf
        clips, added = clip_norm < math.inf, alpha > 0 and not isinstance(optimizer, AdamW)
        on_batch_end = self._hooks["on_batch_end"]
        scale, total = 1.0, 0.0
        for x, y, weight in self.data.rows.batches(batch_size, order):
            self.step += 1
            value, _ = value_and_grad(x, y, sample_weight=weight)
            if added:
                n = len(x) if weight is None else float(weight.sum())
                optimizer.weight_decay = alpha / n if n else 0.0
                value += penalty(n) if n else 0.0
            if clips:
                norm = math.sqrt(kernels.sum_of_squares(grads))
                scale = clip_norm / norm if norm > clip_norm else 1.0
            update(params, grads, decayed=decayed, scale=scale)
            total += value * len(x)
            if on_batch_end:
                self.logs = {"loss": value}
                self.call("on_batch_end")
        return total / len(order)

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
            set_rate(self.optimizer, rate / _DIVISOR)
            e._no_improvement_count = 0
            message += f" Setting learning rate to {rate / _DIVISOR:f}"
        if e.verbose:
            print(message)


class Lbfgs(Training):
    """L-BFGS over all rows, in float64: its line search takes rounding errors for curvature."""

    def __init__(self, estimator: Any, objective: Objective, data: Data, validation: Data | None) -> None:
        exact = Objective(objective.model.astype("float64"), objective.loss)
        super().__init__(estimator, exact, None, data, validation)
        self._network = objective.model

    def run(self) -> None:
        """Train."""
        e, params = self.estimator, self.model.params
        try:
            self.call("on_train_begin")
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
            self.check_finite(e.loss_)
            if result.status != 0 and not self.stopping:
                warnings.warn(
                    f"lbfgs failed to converge after {e.n_iter_} iteration(s) (status={result.status}):"
                    f" {result.message}. Increase max_iter ({e.max_iter}) or max_fun ({e.max_fun}), or scale"
                    " the data.",
                    ConvergenceWarning,
                    stacklevel=4,
                )
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=4)
        self.call("on_train_end")  # which may put the best weights back
        self._network.params[...] = params

    def _value_and_grad(self, x: Array) -> tuple[float, Array]:
        """Return the objective over all rows and its gradient, a new array."""
        model, objective, alpha = self.model, self.objective, self.estimator.alpha
        model.params[...] = x
        gradient = np.zeros_like(x)
        total = weights = rows = 0.0
        for batch, y, weight in self.data.rows.batches(BLOCK, self.data.order):
            value, _ = objective.value_and_grad(batch, y, sample_weight=weight)
            block_weight = objective.loss.total_weight(y, weight)
            total += value * block_weight
            weights += block_weight
            rows += len(batch) if weight is None else float(weight.sum())
            gradient += model.grads * block_weight
        if weights:
            gradient /= weights
            total /= weights
        if rows:
            gradient[: model.decayed] += alpha / rows * model.params[: model.decayed]
            total += self.penalty(rows)
        return total, gradient

    def _iteration(self, intermediate_result: Any) -> None:
        """Note an iteration: scipy calls this after each one."""
        self.start_epoch()
        self.model.params[...] = intermediate_result.x
        self.end_epoch(float(intermediate_result.fun))
        if self.stopping:
            raise StopIteration

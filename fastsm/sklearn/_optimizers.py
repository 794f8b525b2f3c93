"""What estimators take their steps with: optimizers, learning rates by name, and the penalty."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastsm import optim
from fastsm._kernels import kernels
from fastsm.nn._objective import Objective
from fastsm.optim._optimizers import OPTIMIZERS
from fastsm.optim.schedules import SCHEDULES
from fastsm.typing import Array

__all__ = [
    "CHANGED_BY_EPOCH",
    "LEARNING_RATES",
    "PenalizedObjective",
    "change_optimizer",
    "make_optimizer",
    "optimizer_options",
    "penalty",
]

#: These change between epochs, by what the training came to.
CHANGED_BY_EPOCH = ("constant", "invscaling", "adaptive")
LEARNING_RATES = {*CHANGED_BY_EPOCH, *SCHEDULES}


class Adam(optim.Adam):
    r"""Adam as scikit-learn has it: epsilon is added before the means are corrected, not after.

    .. math:: w \leftarrow w - \eta \, \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t} \,
              \frac{m}{\sqrt{s} + \epsilon}
    """

    def update(self, *arrays: Array, rate: float, decay: float, scale: float) -> None:
        given = self.epsilon
        self.epsilon = given / math.sqrt(1 - self.betas[1] ** (self.steps + 1))
        try:
            super().update(*arrays, rate=rate, decay=decay, scale=scale)
        finally:
            self.epsilon = given


#: What an optimizer is made of, beside what is read in each epoch.
_OPTIONS = ("solver", "momentum", "nesterovs_momentum", "beta_1", "beta_2", "epsilon", "alpha")


def optimizer_options(estimator: Any) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return the parameters that the optimizer of an estimator depends on, and those of its learning rate."""
    e = estimator
    by_steps = not callable(e.learning_rate) and e.learning_rate not in CHANGED_BY_EPOCH
    rate = (e.learning_rate, e.learning_rate_init, e.max_iter if by_steps else None)
    return tuple(getattr(e, name) for name in _OPTIONS), rate


def change_optimizer(estimator: Any, steps: int) -> optim.Optimizer:
    """Return the optimizer of an estimator, whose parameters may have been set since it was made.

    It goes on from the state of the earlier one, but for that of another solver.
    """
    before: optim.Optimizer = estimator._optimizer
    if optimizer_options(estimator) == estimator._optimizer_options:
        return before
    after = make_optimizer(estimator, steps)
    if optimizer_options(estimator)[1] == estimator._optimizer_options[1]:
        after.lr = before.lr  # which epochs may have changed
    if type(after) is type(before) and set(after.state_names()) == set(before.state_names()):
        after.state, after.steps = before.state, before.steps
    return after


def make_optimizer(estimator: Any, steps: int) -> optim.Optimizer:
    """Return the optimizer that the parameters of an estimator ask for; schedules go over `steps`.

    The penalty pulls on the weights alone, not on biases; but for "adamw" it is set at each step.
    """
    e = estimator
    rate, betas = e.learning_rate_init, (e.beta_1, e.beta_2)
    if callable(e.learning_rate):
        rate = e.learning_rate
    elif e.learning_rate not in CHANGED_BY_EPOCH:
        rate = SCHEDULES[e.learning_rate](rate, steps)
    options: dict[str, dict[str, Any]] = {
        "adam": {"betas": betas, "epsilon": e.epsilon},
        "adamw": {"betas": betas, "epsilon": e.epsilon, "weight_decay": e.alpha},
        "rmsprop": {"epsilon": e.epsilon},
        "sgd": {"nesterov": e.nesterovs_momentum and e.momentum > 0, "momentum": min(e.momentum, 0.5)},
    }
    kind: Any = {**OPTIMIZERS, "adam": Adam}[e.solver]
    optimizer: optim.Optimizer = kind(rate, decay_biases=False, **options[e.solver])
    if isinstance(optimizer, optim.SGD):  # which takes no momentum of 1; scikit-learn allows it
        optimizer.momentum = float(e.momentum)
    return optimizer


class PenalizedObjective(Objective):
    """A loss, and a penalty whose gradient the optimizer adds as weight decay, after any clipping."""

    def __init__(self, model: Any, loss: Any, alpha: float, optimizer: optim.Optimizer) -> None:
        super().__init__(model, loss)
        self._optimizer, self._alpha = optimizer, 0.0 if isinstance(optimizer, optim.AdamW) else alpha

    def value_and_grad(
        self, x: ArrayLike, y: ArrayLike, *, sample_weight: ArrayLike | None = None, input_grad: bool = False
    ) -> tuple[float, Array | None]:
        """Do as `Objective` does, and add the penalty."""
        value, dx = super().value_and_grad(x, y, sample_weight=sample_weight, input_grad=input_grad)
        if self._alpha > 0:
            n = float(len(y) if sample_weight is None else np.sum(sample_weight))  # type: ignore[arg-type]
            self._optimizer.weight_decay = self._alpha / n if n else 0.0
            value += penalty(self.model, self._alpha, n) if n else 0.0
        return value, dx


def penalty(model: Any, alpha: float, n: float) -> float:
    """Return what alpha adds to the mean loss over rows of this weight in sum."""
    return float(alpha / 2 * kernels.sum_of_squares(model.params[: model.decayed]) / n)

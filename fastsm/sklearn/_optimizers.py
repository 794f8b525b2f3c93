"""What estimators take their steps with: optimizers, learning rates by name, and the penalty."""

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

__all__ = ["CHANGED_BY_EPOCH", "LEARNING_RATES", "PenalizedObjective", "make_optimizer", "penalty"]

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

"""What estimators take their steps with: optimizers, learning rates by name, and the penalty."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastsm import optim
from fastsm._arguments import Array
from fastsm._kernels import kernels
from fastsm.nn._objective import Objective
from fastsm.optim import schedules

__all__ = ["CHANGED_BY_EPOCH", "LEARNING_RATES", "PenalizedObjective", "make_optimizer", "penalty"]

# Given the learning rate and the number of all steps.
_SCHEDULES: dict[str, Callable[[float, int], Callable[[int], float]]] = {
    "cosine": schedules.cosine,
    "one_cycle": lambda rate, steps: schedules.one_cycle(rate, max(steps, 2)),
    "step": lambda rate, steps: schedules.step(rate, -(-steps // 3)),
    "warmup_cosine": lambda rate, steps: schedules.warmup_cosine(rate, steps, warmup=steps // 10),
}
#: These change between epochs, by what the training came to.
CHANGED_BY_EPOCH = ("constant", "invscaling", "adaptive")
LEARNING_RATES = (*CHANGED_BY_EPOCH, *_SCHEDULES)


class Adam(optim.Adam):
    r"""Adam in the form at the end of section 2 of [1]_: epsilon is added before the means are corrected.

    scikit-learn's; `fastsm.optim` follows PyTorch.

    .. math:: w \leftarrow w - \eta \, \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t} \,
              \frac{m}{\sqrt{s} + \epsilon}

    References
    ----------
    .. [1] D. P. Kingma and J. Ba, "Adam: A method for stochastic optimization", ICLR 2015.
    """

    def update(self, *arrays: Array, rate: float, decay: float, scale: float) -> None:
        given = self.epsilon
        self.epsilon = given / math.sqrt(1 - self.betas[1] ** (self.steps + 1))
        try:
            super().update(*arrays, rate=rate, decay=decay, scale=scale)
        finally:
            self.epsilon = given


def make_optimizer(estimator: Any, steps: int) -> optim.Optimizer:
    """Return the optimizer that the parameters of an estimator ask for.

    The penalty pulls on the weights alone, not on biases; but for "adamw" it is set at each step.

    Parameters
    ----------
    estimator : BaseMLP
        One with a solver that goes through mini-batches.
    steps : int
        The largest number of steps, which schedules go over.
    """
    e = estimator
    rate, betas = e.learning_rate_init, (e.beta_1, e.beta_2)
    if callable(e.learning_rate):
        rate = e.learning_rate
    elif e.learning_rate in _SCHEDULES:
        rate = _SCHEDULES[e.learning_rate](rate, steps)
    if e.solver == "adam":
        return Adam(rate, betas=betas, epsilon=e.epsilon, decay_biases=False)
    if e.solver == "adamw":
        return optim.AdamW(rate, betas=betas, epsilon=e.epsilon, weight_decay=e.alpha, decay_biases=False)
    if e.solver == "rmsprop":
        return optim.RMSprop(rate, epsilon=e.epsilon, decay_biases=False)
    nesterov = e.nesterovs_momentum and e.momentum > 0
    # scikit-learn allows a momentum of 1, which `optim.SGD` does not accept as an argument.
    sgd = optim.SGD(rate, momentum=min(e.momentum, 0.5), nesterov=nesterov, decay_biases=False)
    sgd.momentum = float(e.momentum)
    return sgd


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

"""Optimizers whose steps are those of scikit-learn to rounding.

fastsm's own follow PyTorch, whose formulas differ in two places: where Adam's epsilon is added, and what
becomes of SGD's velocity when the learning rate changes.
"""

import math
from typing import Any

from fastsm import optim
from fastsm.optim._base import Array

__all__ = ["Adam", "make", "set_rate"]


class Adam(optim.Adam):
    r"""Adam in the form at the end of section 2 of [1]_: epsilon is added before the means are corrected.

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


def make(estimator: Any) -> optim.Optimizer:
    """Return the optimizer that the parameters of an estimator ask for; alpha is set at each step.

    The penalty pulls on the weights alone, not on biases.
    """
    e = estimator
    rate, solver = e.learning_rate_init, e.solver
    betas = (e.beta_1, e.beta_2)
    if solver == "adam":
        return Adam(rate, betas=betas, epsilon=e.epsilon, decay_biases=False)
    if solver == "adamw":
        return optim.AdamW(rate, betas=betas, epsilon=e.epsilon, weight_decay=e.alpha, decay_biases=False)
    if solver == "rmsprop":
        return optim.RMSprop(rate, epsilon=e.epsilon, decay_biases=False)
    nesterov = e.nesterovs_momentum and e.momentum > 0
    # scikit-learn allows a momentum of 1, which `optim.SGD` does not accept as an argument.
    sgd = optim.SGD(rate, momentum=min(e.momentum, 0.5), nesterov=nesterov, decay_biases=False)
    sgd.momentum = float(e.momentum)
    return sgd


def set_rate(optimizer: optim.Optimizer, rate: float) -> None:
    """Change the learning rate between two epochs.

    scikit-learn's velocity is made of steps, which keep the learning rate that they were made with; that of
    `optim.SGD` is made of gradients.
    """
    velocity = optimizer.state.get("velocity")
    if velocity is not None and rate > 0:
        velocity *= optimizer.learning_rate / rate
    optimizer.lr = rate

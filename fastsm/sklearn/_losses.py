"""The losses that scikit-learn trains with and `fastsm.nn` has not, on the outputs of the last linear layer.

Each sums over the outputs of a row: where the outputs are independent of each other, so are their gradients.
"""

import numpy as np
from scipy.special import expit, xlogy

from fastsm._arguments import Array
from fastsm.nn.losses._row_loss import RowLoss

__all__ = ["LogisticLoss", "PoissonLoss", "SquaredErrorLoss"]


class LogisticLoss(RowLoss):
    """Cross-entropy of independent yes-or-no outputs, on their logits: ``log(1 + exp(z)) - y z``, summed.

    Targets are probabilities of yes, in the shape of the outputs. The gradient is ``p - y``.
    """

    on = "logits"

    def _rows(self, x: Array, targets: Array, grad: Array | None) -> Array:
        values: Array = (np.logaddexp(0, x) - targets * x).sum(axis=1)
        if grad is not None:
            np.subtract(expit(x), targets, out=grad)
        return values


class SquaredErrorLoss(RowLoss):
    """Half the squared error, ``(a - y)^2 / 2``, summed over the outputs. The gradient is ``a - y``."""

    on = "output"

    def _rows(self, x: Array, targets: Array, grad: Array | None) -> Array:
        difference = np.subtract(x, targets, out=grad)
        values: Array = np.vecdot(difference, difference) / 2
        return values


class PoissonLoss(RowLoss):
    """Half the Poisson deviance of ``exp(z)``: ``y log(y) - y z - y + exp(z)``, summed over the outputs.

    Targets are at least 0. The gradient is ``exp(z) - y``.
    """

    on = "logits"

    def _rows(self, x: Array, targets: Array, grad: Array | None) -> Array:
        mean = np.exp(x)
        values: Array = (xlogy(targets, targets) - targets * x - targets + mean).sum(axis=1)
        if grad is not None:
            np.subtract(mean, targets, out=grad)
        return values

"""Losses that are sums of errors: squared error, absolute error, Brier score."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from fastsm.nn.losses._class_loss import ClassLoss
from fastsm.nn.losses._row_loss import RowLoss
from fastsm.typing import Array, Domain

__all__ = ["BrierLoss", "MAELoss", "MSELoss"]


class MSELoss(RowLoss):
    """Mean squared error: the mean over the features of ``(a - y)^2``, then over the rows.

    It takes the outputs of any model. After `Softmax` its gradient goes through the softmax's vector-Jacobian
    product; ``p - y`` is the gradient of another loss, cross-entropy.

    Notes
    -----
    Targets are numbers of the shape of the outputs, (N, C). The gradient of a row is ``2 (a - y) / C``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsm import nn
    >>> nn.MSELoss().value_and_grad(np.array([[1.0, 2.0]]), [[1.0, 0.0]])
    (2.0, array([[0., 2.]]))
    """

    on: Domain = "output"

    @np.errstate(all="ignore")
    def _rows(self, x: Array, targets: Array, grad: Array | None) -> Array:
        difference = np.subtract(x, targets, out=grad)
        values: Array = np.vecdot(difference, difference) / max(x.shape[1], 1)
        if grad is not None:
            grad *= 2 / max(x.shape[1], 1)
        return values


class MAELoss(RowLoss):
    """Mean absolute error: the mean over the features of ``|a - y|``, then over the rows.

    Notes
    -----
    Targets are numbers of the shape of the outputs, (N, C). The gradient of a row is ``sign(a - y) / C``: 0
    at the kink, where the two are equal.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsm import nn
    >>> nn.MAELoss().value_and_grad(np.array([[1.0, 2.0]]), [[1.0, 0.0]])
    (1.0, array([[0. , 0.5]]))
    """

    on: Domain = "output"

    @np.errstate(all="ignore")
    def _rows(self, x: Array, targets: Array, grad: Array | None) -> Array:
        difference = np.subtract(x, targets, out=grad)
        values: Array = np.abs(difference).sum(axis=1) / max(x.shape[1], 1)
        if grad is not None:
            np.sign(difference, out=grad)
            grad /= max(x.shape[1], 1)
        return values


class BrierLoss(RowLoss):
    """Brier score: the sum over the classes of ``(p - y)^2``, on probabilities.

    Notes
    -----
    Targets are integer labels, shape (N,), or probabilities, shape (N, C). The gradient over the
    probabilities is ``2 (p - y)``; `Softmax` applies its vector-Jacobian product to it. As in [1]_, the score
    is a sum over the classes, not a mean.

    References
    ----------
    .. [1] G. W. Brier, "Verification of forecasts expressed in terms of probability", Monthly Weather Review
       78, 1950.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsm import nn
    >>> value, grad = nn.BrierLoss().value_and_grad(np.array([[0.5, 0.25, 0.25]]), [0])
    >>> value, grad
    (0.375, array([[-1. ,  0.5,  0.5]]))
    """

    on: Domain = "probs"
    takes_labels = True

    def _targets(self, targets: ArrayLike, x: Array) -> Array:
        return ClassLoss(None, None)._targets(targets, x).dense

    @np.errstate(all="ignore")
    def _rows(self, x: Array, targets: Array, grad: Array | None) -> Array:
        difference = np.subtract(x, targets, out=grad)
        values: Array = np.vecdot(difference, difference)
        if grad is not None:
            grad *= 2
        return values

"""The losses of `fastsm.nn`: cross-entropy and the focal loss have modules of their own.

Every loss is called as ``loss(outputs, targets)``, gives its gradient by ``loss.value_and_grad(outputs,
targets)``, and is the weighted mean of a value for each row. Its `on` says what it takes: ``"logits"``,
``"log_probs"``, ``"probs"`` or ``"output"``, anything that a model returns.
"""

import copy
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastsm import _arguments
from fastsm._arguments import Array
from fastsm.nn.losses._class_loss import ClassLoss, products
from fastsm.nn.losses._cross_entropy import CrossEntropyLoss, NLLLoss
from fastsm.nn.losses._focal import FocalLoss
from fastsm.nn.losses._row_loss import RowLoss, through_log_softmax

__all__ = ["BrierLoss", "CrossEntropyLoss", "FocalLoss", "KLDivLoss", "MAELoss", "MSELoss", "NLLLoss"]


class MSELoss(RowLoss):
    """Mean squared error: the mean over the features of ``(a - y)^2``, then over the rows.

    It takes what any model gives. After `Softmax` its gradient goes through the softmax's vector-Jacobian
    product; ``p - y`` is the gradient of another loss.

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

    on = "output"

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
    where the two are equal, where there is a kink.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsm import nn
    >>> nn.MAELoss().value_and_grad(np.array([[1.0, 2.0]]), [[1.0, 0.0]])
    (1.0, array([[0. , 0.5]]))
    """

    on = "output"

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
    probabilities is ``2 (p - y)``; `Softmax` takes it through its vector-Jacobian product. Brier's score [1]_
    is this sum, not its mean over the classes.

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

    on = "probs"

    def _targets(self, targets: ArrayLike, x: Array) -> Array:
        return ClassLoss(None, None)._targets(targets, x).dense

    def _rows(self, x: Array, targets: Array, grad: Array | None) -> Array:
        difference = np.subtract(x, targets, out=grad)
        values: Array = np.vecdot(difference, difference)
        if grad is not None:
            grad *= 2
        return values


class KLDivLoss(RowLoss):
    r"""Kullback-Leibler divergence ``sum(t (log t - log q))`` of the model's q from the targets t.

    Parameters
    ----------
    on : {"log_probs", "probs"}, default "log_probs"
        What the model gives: it ends in `LogSoftmax`, or in `Softmax`, which in training is then taken
        together with the loss.

    Raises
    ------
    TypeError
        If `on` is not a string.
    ValueError
        If it is another one.

    Notes
    -----
    Targets are probabilities (not their logarithms), shape (N, C); a class with t = 0 counts 0. The value is
    the mean over the rows ("batchmean" elsewhere), the gradient over log q is :math:`-t`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsm import nn
    >>> loss = nn.KLDivLoss(on="probs")
    >>> round(loss([[0.5, 0.5]], np.array([[0.25, 0.75]])), 4)
    0.1308
    """

    def __init__(self, *, on: str = "log_probs") -> None:
        self.on = _arguments.one_of("on", on, ("log_probs", "probs"))
        self._temperature = 1.0  # of the softmax, if this is over its logits

    def _targets(self, targets: ArrayLike, x: Array) -> Array:
        t = _arguments.array("targets", targets)
        if t.dtype.kind in "biu":
            raise TypeError(f"`targets` must have a floating dtype (probabilities), got {t.dtype}")
        return super()._targets(t, x)  # type: ignore[no-any-return]

    @np.errstate(all="ignore")
    def _rows(self, x: Array, targets: Array, grad: Array | None) -> Array:
        if self.on == "logits":
            return through_log_softmax(self._log_rows, x, targets, grad, self._temperature)
        if self.on == "log_probs":
            return self._log_rows(x, targets, grad)
        values = self._log_rows(np.log(x), targets, grad)
        if grad is not None:
            grad /= x
            grad[(targets == 0) & (x == 0)] = 0
        return values

    def _log_rows(self, log_q: Array, t: Array, grad: Array | None) -> Array:
        """Do as `_rows`, on log-probabilities."""
        if grad is not None:
            np.subtract(0, t, out=grad)
        log_t = np.log(np.where(t == 0, 1, t))
        values: Array = products(t, log_t - log_q).sum(axis=1)
        return values

    def _over_logits(self, temperature: float) -> RowLoss:
        """Return the loss over the logits that a softmax makes the probabilities from."""
        twin = copy.copy(self)
        twin.on, twin._temperature = "logits", temperature
        return twin

    def config(self) -> dict[str, Any]:
        """Return the arguments that make this loss again, as JSON can hold them."""
        return {"on": self.on}

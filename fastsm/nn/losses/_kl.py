"""Kullback-Leibler divergence."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from fastsm import _arguments
from fastsm.functional._partial_classes import zero_safe_product
from fastsm.nn.losses._row_loss import FusedLoss, through_log_softmax
from fastsm.typing import Array, Config

__all__ = ["KLDivLoss"]


class KLDivLoss(FusedLoss):
    r"""Kullback-Leibler divergence ``sum(t (log t - log q))`` of the model's q from the targets t.

    Parameters
    ----------
    on : {"log_probs", "probs"}, default "log_probs"
        The outputs of the model, which ends in `LogSoftmax` or `Softmax`; training computes the loss together
        with `Softmax`.

    Raises
    ------
    TypeError
        If `on` is not a string.
    ValueError
        If `on` is another string.

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

    def __init__(self, *, on: Literal["log_probs", "probs"] = "log_probs") -> None:
        self.on = _arguments.one_of("on", on, ("log_probs", "probs"))

    def _targets(self, targets: ArrayLike, x: Array) -> Array:
        t = _arguments.array("targets", targets)
        if t.dtype.kind in "biu":
            raise TypeError(f"`targets` must have a floating dtype (probabilities), got {t.dtype}")
        return super()._targets(t, x)  # type: ignore[no-any-return]

    @np.errstate(all="ignore")
    def _rows(self, x: Array, targets: Array, grad: Array | None) -> Array:
        if self.on == "logits":
            return through_log_softmax(self._log_rows, x, targets, grad, self.temperature)
        if self.on == "log_probs":
            return self._log_rows(x, targets, grad)
        values = self._log_rows(np.log(x), targets, grad)
        if grad is not None:
            grad /= x
            grad[(targets == 0) & (x == 0)] = 0
        return values

    def _log_rows(self, log_q: Array, t: Array, grad: Array | None) -> Array:
        """Compute `_rows` on log-probabilities."""
        if grad is not None:
            np.subtract(0, t, out=grad)
        log_t = np.log(np.where(t == 0, 1, t))
        values: Array = zero_safe_product(t, log_t - log_q).sum(axis=1)
        return values

    def config(self) -> Config:
        """Return the arguments of the constructor, in the types of JSON."""
        return {"on": self.on}

"""Focal loss."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from fastsm import _arguments
from fastsm.functional._partial_classes import zero_safe_product
from fastsm.nn.losses._class_loss import ClassLoss
from fastsm.nn.losses._row_loss import FusedLoss, through_log_softmax
from fastsm.typing import Array, Config

__all__ = ["FocalLoss"]


class FocalLoss(FusedLoss, ClassLoss):
    r"""Focal loss ``-sum(y (1 - p)^gamma log p)``: cross-entropy with less weight on well classified rows.

    Parameters
    ----------
    gamma : float, default 2.0
        At least 0; at 0 this is cross-entropy.
    on : {"logits", "probs"}, default "logits"
        The outputs of the model, as for `CrossEntropyLoss`.
    class_weight : array_like, optional
        Shape (C,), as for `CrossEntropyLoss`: alpha in the paper.
    ignore_index : int, optional
        Rows with this label do not count. Labels only.

    Raises
    ------
    TypeError
        If an argument has a wrong type.
    ValueError
        If an argument has a wrong shape or value.

    Notes
    -----
    Targets are integer labels, shape (N,), or probabilities, shape (N, C). With :math:`l = \log p` and
    :math:`q = 1 - p` a term is :math:`-q^\gamma l` [1]_, its derivative over l is
    :math:`q^\gamma (\gamma p\, l / q - 1)`. The mean is as in `CrossEntropyLoss`.

    References
    ----------
    .. [1] T.-Y. Lin, P. Goyal, R. Girshick, K. He and P. Dollár, "Focal Loss for Dense Object Detection",
       ICCV 2017, equation 5.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsm import nn
    >>> logits = np.array([[2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    >>> round(nn.FocalLoss(gamma=0.0)(logits, [0, 1]), 4), round(nn.CrossEntropyLoss()(logits, [0, 1]), 4)
    (0.6691, 0.6691)
    >>> round(nn.FocalLoss()(logits, [0, 1]), 4)
    0.2496
    """

    def __init__(
        self,
        gamma: float = 2.0,
        *,
        on: Literal["logits", "probs"] = "logits",
        class_weight: ArrayLike | None = None,
        ignore_index: int | None = None,
    ) -> None:
        super().__init__(class_weight, ignore_index)
        self.on = _arguments.one_of("on", on, ("logits", "probs"))
        self.gamma = _arguments.at_least_0("gamma", gamma)

    def _class_rows(self, x: Array, t: Array, grad: Array | None) -> Array:
        if self.on == "logits":
            return through_log_softmax(self._log_rows, x, t, grad, self.temperature)
        rest = np.maximum(1 - x, 0)  # p may be rounded to above 1
        log_p = np.log(x)
        power = rest**self.gamma
        if grad is not None:
            # At p = 1 the first term is 0, as log p is -(1 - p) there; at p = 0 only the second is left.
            first = np.where((rest == 0) | (x == 0), 0, log_p / rest)
            grad[...] = zero_safe_product(t, power * (self.gamma * first - 1 / x))
        values: Array = -zero_safe_product(t, power * log_p).sum(axis=1)
        return values

    def _log_rows(self, log_p: Array, t: Array, grad: Array | None) -> Array:
        """Compute `_class_rows` on log-probabilities."""
        rest = -np.expm1(log_p)
        power = rest**self.gamma
        if grad is not None:
            p = np.exp(log_p)
            first = np.where((rest == 0) | (p == 0), 0, p * (log_p / rest))
            np.multiply(t, power * (self.gamma * first - 1), out=grad)
        values: Array = -zero_safe_product(t, power * log_p).sum(axis=1)
        return values

    def config(self) -> Config:
        """Return the arguments of the constructor, in the types of JSON."""
        return {"gamma": self.gamma, "on": self.on, **super().config()}

"""The `loss` of an estimator, by name or the user's own, as a loss over what the last linear layer gives.

So networks need no head, and solvers need to know nothing of probabilities.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, xlogy

from fastsm import functional, nn
from fastsm.nn._objective import check_domains
from fastsm.nn.losses._row_loss import FusedLoss
from fastsm.typing import Array

__all__ = ["CLASSIFICATION", "REGRESSION", "OverLogits", "classifier_loss", "regressor_loss"]


# What scikit-learn minimises and `fastsm.nn` has not: sums over the outputs of a row.


@nn.loss(on="logits")
def logistic(z: Array, y: Array) -> tuple[Array, Array]:
    """Return cross-entropy of independent yes-or-no outputs; `y` are probabilities of yes."""
    return (np.logaddexp(0, z) - y * z).sum(axis=1), expit(z) - y


@nn.loss(on="output")
def squared_error(a: Array, y: Array) -> tuple[Array, Array]:
    """Return half the squared error."""
    difference = a - y
    return np.vecdot(difference, difference) / 2, difference


@nn.loss(on="output")
def poisson(z: Array, y: Array) -> tuple[Array, Array]:
    """Return half the Poisson deviance of ``exp(z)``, for `y` of at least 0."""
    mean = np.exp(z)
    return (xlogy(y, y) - y * z - y + mean).sum(axis=1), mean - y


CLASSIFICATION: dict[str, Any] = {
    "cross_entropy": nn.CrossEntropyLoss(),
    "focal": nn.FocalLoss(),
    "brier": nn.BrierLoss(),
    "mse": nn.MSELoss(),
    "mae": nn.MAELoss(),
    "kl_div": nn.KLDivLoss(on="probs"),
}
REGRESSION: dict[str, Any] = {
    "squared_error": squared_error,
    "poisson": poisson,
    "mse": nn.MSELoss(),
    "mae": nn.MAELoss(),
}


# From logits to what a loss is on, and gradients the other way.
_LINKS: dict[str, tuple[Callable[[Array], Array], Callable[[Array, Array], Array]]] = {
    "logits": (lambda x: x, lambda y, dy: dy),
    "probs": (functional.softmax, functional.softmax_vjp),
    "log_probs": (functional.log_softmax, functional.log_softmax_vjp),
}


class OverLogits:
    """A loss on probabilities, log-probabilities or logits of classes, over the outputs of a network.

    An output for the logistic function is the difference of two logits: ``[0, z]`` goes through softmax, and
    the targets are ``[1 - y, y]``. So any loss for classes is one for two of them, too. Where a row has
    several such outputs, their losses are added, as scikit-learn does.

    Parameters
    ----------
    loss : loss
        One of `fastsm.nn`, or the user's own.
    pairs : bool
        Whether the outputs are for the logistic function.
    label_smoothing : float, default 0.0
        From 0 to 1: the targets become ``(1 - e) y + e / C``.
    """

    on = "logits"

    def __init__(self, loss: Any, pairs: bool, label_smoothing: float = 0.0) -> None:
        self.loss, self.pairs, self.label_smoothing = loss, pairs, label_smoothing
        self._labels = getattr(loss, "takes_labels", False) and not label_smoothing
        on = getattr(loss, "on", "output")
        if on == "probs" and isinstance(loss, FusedLoss):
            loss, on = loss.over_logits(1.0), "logits"
        self._over, self._link = loss, on if on in _LINKS else "probs"

    def __call__(
        self, outputs: ArrayLike, targets: ArrayLike, *, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return the weighted mean over the rows."""
        x, columns = self._class_logits(np.asarray(outputs))
        t, weight = self._class_targets(np.asarray(targets), x, sample_weight)
        forward, _ = _LINKS[self._link]
        return float(columns * self._over(forward(x), t, sample_weight=weight))

    def value_and_grad(
        self,
        outputs: ArrayLike,
        targets: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        out: Array | None = None,
    ) -> tuple[float, Array]:
        """Return the loss and its gradient over the outputs; `out` may be `outputs`."""
        given = np.asarray(outputs)
        x, columns = self._class_logits(given)
        t, weight = self._class_targets(np.asarray(targets), x, sample_weight)
        forward, backward = _LINKS[self._link]
        y = forward(x)
        value, grad = self._over.value_and_grad(y, t, sample_weight=weight)
        grad = backward(y, grad)
        if self.pairs:
            grad = columns * grad[:, 1].reshape(given.shape)
        if out is None:
            return columns * float(value), grad
        out[...] = grad
        return columns * float(value), out

    def total_weight(self, targets: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return what the mean divides by."""
        given = np.asarray(targets)
        if not self.pairs:
            return float(self._over.total_weight(given, sample_weight))
        columns = int(given.shape[1])
        weight = None if sample_weight is None else np.repeat(sample_weight, columns)
        flat = given.astype(np.int64).ravel() if self._labels else given.reshape(-1, 1)
        return float(self._over.total_weight(flat, weight)) / columns

    def _class_logits(self, outputs: Array) -> tuple[Array, int]:
        """Return logits of classes, and how many rows of them there are for a row of outputs."""
        if not self.pairs:
            return outputs, 1
        logits = np.zeros((outputs.size, 2), outputs.dtype)
        logits[:, 1] = outputs.ravel()
        return logits, outputs.shape[1]

    def _class_targets(
        self, targets: Array, x: Array, sample_weight: ArrayLike | None
    ) -> tuple[Array, ArrayLike | None]:
        """Return labels for losses that take them, otherwise a number for each class; and the weights."""
        if self.pairs and sample_weight is not None:
            sample_weight = np.repeat(sample_weight, targets.shape[1])
        if self._labels and (self.pairs or targets.ndim == 1):
            return targets.astype(np.int64, copy=False).ravel(), sample_weight
        if self.pairs:
            dense = np.empty_like(x)
            dense[:, 1] = targets.ravel()
            np.subtract(1, dense[:, 1], out=dense[:, 0])
        elif targets.ndim == 1:
            dense = np.zeros_like(x)
            dense[np.arange(len(x)), targets] = 1
        else:
            dense = targets.astype(x.dtype, copy=False)
        if self.label_smoothing:
            dense = (1 - self.label_smoothing) * dense + self.label_smoothing / x.shape[1]
        return dense, sample_weight


def classifier_loss(loss: Any, out_activation: str, label_smoothing: float = 0.0) -> Any:
    """Return a loss over the outputs of a classifier's network, on the targets that `ClassEncoder` makes.

    It is one of `CLASSIFICATION`, or a loss on the probabilities of the classes, their logarithms or logits,
    as its `on` says; ``"output"`` stands for probabilities. `out_activation` is "logistic" or "softmax".
    """
    pairs = out_activation == "logistic"
    if isinstance(loss, str) and loss == "cross_entropy":
        if not pairs:
            return nn.CrossEntropyLoss(label_smoothing=label_smoothing)
        if not label_smoothing:
            return logistic
    if isinstance(loss, str):
        loss = CLASSIFICATION[loss]
    check_domains(None, loss)
    if isinstance(loss, nn.BCELoss):
        raise ValueError(
            f"`loss` must be on classes, got {loss!r}: 'cross_entropy' is the same for two of them and for"
            " several labels a row"
        )
    return OverLogits(loss, pairs, label_smoothing)


def regressor_loss(loss: Any) -> Any:
    """Return a loss over the outputs of a regressor's network: one of `REGRESSION`, or a loss on outputs."""
    if isinstance(loss, str):
        return REGRESSION[loss]
    check_domains(None, loss)
    if getattr(loss, "on", "output") != "output":
        raise ValueError(f"`loss` must be on the output of a regressor, got {loss!r}")
    return loss

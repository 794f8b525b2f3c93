"""Cross-entropy, on logits, probabilities or log-probabilities."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from fastsm import _arguments, functional
from fastsm.functional._partial_classes import zero_safe_product
from fastsm.nn.losses._class_loss import ClassLoss
from fastsm.nn.losses._row_loss import FusedLoss
from fastsm.typing import Array, Config, Domain

__all__ = ["CrossEntropyLoss", "NLLLoss"]


class CrossEntropyLoss(FusedLoss, ClassLoss):
    r"""Cross-entropy ``-sum(y log p)`` on probabilities, or on logits, including the softmax.

    Parameters
    ----------
    on : {"logits", "probs"}, default "logits"
        The outputs of the model. ``"logits"``: the model has no softmax at its end. ``"probs"``: it ends in
        `Softmax`; training computes the two together, which is as fast and as safe as logits.
    class_weight : array_like, optional
        Shape (C,). With labels, each row has the weight of its class, and the mean divides by the sum of
        these weights; with probabilities, each class's term is weighted.
    ignore_index : int, optional
        Rows with this label do not count. Labels only.
    label_smoothing : float, default 0.0
        From 0 to 1: the targets become ``(1 - e) y + e / C``.
    temperature : float, default 1.0
        Divides the logits. With ``on="probs"`` give it to `Softmax` instead.

    Raises
    ------
    TypeError
        If an argument has a wrong type.
    ValueError
        If an argument has a wrong shape or value.

    See Also
    --------
    fastsm.cross_entropy : the function, with the formulas and their sources.

    Notes
    -----
    Targets are integer labels, shape (N,), or probabilities, shape (N, C). `value_and_grad` on probabilities
    returns the gradient :math:`-y / p`, unclipped: infinite at p = 0.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsm import nn
    >>> loss = nn.CrossEntropyLoss()
    >>> loss.value_and_grad(np.array([[120, 0, 0]], dtype=np.float32), [1])
    (120.0, array([[ 1., -1.,  0.]], dtype=float32))
    """

    def __init__(
        self,
        *,
        on: Literal["logits", "probs"] = "logits",
        class_weight: ArrayLike | None = None,
        ignore_index: int | None = None,
        label_smoothing: float = 0.0,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(class_weight, ignore_index, label_smoothing)
        self.on = _arguments.one_of("on", on, ("logits", "probs"))
        self.temperature = _arguments.temperature(temperature)
        if on == "probs" and self.temperature != 1:
            message = f'`temperature` must be 1.0 with on="probs", got {_arguments.shown(temperature)}'
            raise ValueError(f"{message}: give it to nn.Softmax(temperature={temperature!r})")

    def __call__(
        self, outputs: ArrayLike, targets: ArrayLike, *, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return the weighted mean over the rows; with nothing to average, 0.0."""
        if self.on == "probs":
            return super().__call__(outputs, targets, sample_weight=sample_weight)
        value = functional.cross_entropy(
            _arguments.array("outputs", outputs),
            targets,
            class_weight=self.class_weight,
            sample_weight=sample_weight,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            temperature=self.temperature,
        )
        return float(value)

    def value_and_grad(
        self,
        outputs: ArrayLike,
        targets: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        out: Array | None = None,
    ) -> tuple[float, Array]:
        """Return the loss and its gradient over the outputs; `out` may be `outputs`."""
        if self.on == "probs":
            return super().value_and_grad(outputs, targets, sample_weight=sample_weight, out=out)
        value, grad = functional.cross_entropy_with_grad(
            _arguments.array("outputs", outputs),
            targets,
            class_weight=self.class_weight,
            sample_weight=sample_weight,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            temperature=self.temperature,
            out=out,
        )
        return float(value), grad

    def _class_rows(self, x: Array, t: Array, grad: Array | None) -> Array:
        if grad is not None:
            np.divide(np.negative(t), x, out=grad)
            grad[(t == 0) & (x == 0)] = 0
        values: Array = -zero_safe_product(t, np.log(x)).sum(axis=1)
        return values

    def config(self) -> Config:
        """Return the arguments of the constructor, in the types of JSON."""
        own = {"label_smoothing": self.label_smoothing, "temperature": self.temperature}
        return {"on": self.on, **super().config(), **own}


class NLLLoss(ClassLoss):
    """Negative log-likelihood ``-sum(y log p)`` on log-probabilities: for a model that ends in `LogSoftmax`.

    Parameters
    ----------
    class_weight : array_like, optional
        Shape (C,), as for `CrossEntropyLoss`.
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
    Targets are integer labels, shape (N,), or probabilities, shape (N, C). The gradient over the
    log-probabilities is ``-y``; `fastsm.log_softmax_vjp` turns it into ``p - y``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsm import nn
    >>> loss = nn.NLLLoss()
    >>> value, grad = loss.value_and_grad(np.log([[0.5, 0.25, 0.25]]), [0])
    >>> round(value, 4)
    0.6931
    >>> grad
    array([[-1.,  0.,  0.]])
    """

    on: Domain = "log_probs"

    def __init__(self, *, class_weight: ArrayLike | None = None, ignore_index: int | None = None) -> None:
        super().__init__(class_weight, ignore_index)

    def _class_rows(self, x: Array, t: Array, grad: Array | None) -> Array:
        if grad is not None:
            np.subtract(0, t, out=grad)
        values: Array = -zero_safe_product(t, x).sum(axis=1)
        return values

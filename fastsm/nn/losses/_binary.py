"""Binary cross-entropy: one question a row, or several."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from fastsm import _arguments
from fastsm.functional._binary_cross_entropy import BinaryOptions, checked_pos_weight, compute
from fastsm.nn._activations import Sigmoid
from fastsm.nn.losses._row_loss import FusedLoss
from fastsm.typing import Array, Config

__all__ = ["BCELoss"]


class BCELoss(FusedLoss):
    r"""Binary cross-entropy ``-(y log p + (1 - y) log(1 - p))``: each output is a yes-or-no question.

    Parameters
    ----------
    on : {"logits", "probs"}, default "logits"
        The outputs of the model. ``"logits"``: the model has no sigmoid at its end. ``"probs"``: it ends in
        `Sigmoid`; training computes the two together, which is as fast and as safe as logits.
    pos_weight : float or array_like, optional
        A factor for the loss of a "yes", at least 0: a number, or one for each output, shape (C,).
    label_smoothing : float, default 0.0
        From 0 to 1: the targets become ``(1 - e) y + e / 2``.

    Raises
    ------
    TypeError
        If an argument has a wrong type.
    ValueError
        If an argument has a wrong shape or value.

    See Also
    --------
    fastsm.binary_cross_entropy : the function, with the formulas and their source.
    CrossEntropyLoss : one class among several.

    Notes
    -----
    Targets have the shape of the outputs, (N, C): floating from 0 to 1, or integers or bools that are 0 or 1.
    For one output they may have shape (N,). The value of a row is the mean over its outputs. `value_and_grad`
    on probabilities returns an unclipped gradient: infinite where p is 0 and y is not, and at the other end.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsm import nn
    >>> loss = nn.BCELoss()
    >>> loss.value_and_grad(np.array([[120], [0]], dtype=np.float32), [0, 1])
    (60.34657..., array([[ 0.5 ],
           [-0.25]], dtype=float32))
    """

    head = Sigmoid

    def __init__(
        self,
        *,
        on: Literal["logits", "probs"] = "logits",
        pos_weight: ArrayLike | None = None,
        label_smoothing: float = 0.0,
    ) -> None:
        self.on = _arguments.one_of("on", on, ("logits", "probs"))
        self.pos_weight = None if pos_weight is None else checked_pos_weight(pos_weight)
        self.label_smoothing = _arguments.label_smoothing(label_smoothing)

    def __call__(
        self, outputs: ArrayLike, targets: ArrayLike, *, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return the weighted mean over the rows; with nothing to average, 0.0."""
        return self._compute(outputs, targets, sample_weight, with_gradient=False)[0]

    def value_and_grad(
        self,
        outputs: ArrayLike,
        targets: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        out: Array | None = None,
    ) -> tuple[float, Array]:
        """Return the loss and its gradient over the outputs; `out` may be `outputs`."""
        return self._compute(outputs, targets, sample_weight, with_gradient=True, out=out)  # type: ignore[return-value]

    def _compute(
        self,
        outputs: ArrayLike,
        targets: ArrayLike,
        sample_weight: ArrayLike | None,
        *,
        with_gradient: bool,
        out: Array | None = None,
    ) -> tuple[float, Array | None]:
        x = _arguments.matrix("outputs", outputs)
        if sample_weight is not None:
            sample_weight = _arguments.weights("sample_weight", sample_weight, x.shape[:1])
        options = BinaryOptions(self.pos_weight, sample_weight, self.label_smoothing, on=self.on)
        value, grad = compute("outputs", x, targets, options, with_gradient=with_gradient, out=out)
        return float(value), grad

    def config(self) -> Config:
        """Return the arguments of the constructor, in the types of JSON."""
        weight = self.pos_weight.tolist() if isinstance(self.pos_weight, np.ndarray) else self.pos_weight
        return {"on": self.on, "pos_weight": weight, "label_smoothing": self.label_smoothing}

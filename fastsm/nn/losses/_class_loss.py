"""Labels or probabilities as targets, with class weights and a label to ignore."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fastsm import _arguments
from fastsm._arguments._advice import about_class_weight
from fastsm._kernels import kernels
from fastsm.nn.losses._row_loss import RowLoss
from fastsm.typing import Array, Config

__all__ = ["ClassLoss", "WeightedTargets"]


@dataclass(frozen=True, slots=True)
class WeightedTargets:
    """The weight of each class in each row, and the rows to ignore."""

    dense: Array  # (N, C): class weight times target probability
    ignored: Array | None  # (N,), bool


class ClassLoss(RowLoss):
    """A loss on classes: the sum over k of t_k f(p_k) in each row, with t_k = w_k y_k."""

    takes_labels = True

    def __init__(
        self, class_weight: ArrayLike | None, ignore_index: int | None, label_smoothing: float = 0.0
    ) -> None:
        self.class_weight = None if class_weight is None else _class_weight(class_weight)
        self.ignore_index = _arguments.ignore_index(ignore_index)
        self.label_smoothing = _arguments.label_smoothing(label_smoothing)

    def total_weight(self, targets: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """Return the divisor of the mean.

        It is the sum over the rows of sample weight times class weight of the label, without the rows to
        ignore; with probabilities as targets, the sum of the sample weights.
        """
        y = targets
        if type(y) is not np.ndarray or y.dtype.kind not in "iuf":
            y = _arguments.array("targets", targets)
        if y.ndim == 0:
            raise ValueError("`targets` must have one entry for each row, got shape ()")
        are_labels = y.dtype.kind in "iu"
        rows = y.shape if are_labels else y.shape[:-1]
        weight = None if sample_weight is None else _arguments.weights("sample_weight", sample_weight, rows)
        if are_labels and self.class_weight is not None:
            classes = len(self.class_weight)
            *_, total = _arguments.usable_labels(
                "targets", y, classes, self.ignore_index, self.class_weight, weight
            )
            return total
        if are_labels and self.ignore_index is not None:
            kept = y != self.ignore_index
            if weight is None:
                return float(np.count_nonzero(kept))
            weight = np.ascontiguousarray(weight[kept])
        return float(math.prod(rows)) if weight is None else kernels.sum_of(weight)

    @np.errstate(all="ignore")
    def _targets(self, targets: ArrayLike, x: Array) -> WeightedTargets:
        y = _arguments.targets(targets, x.shape, x.shape[:1])
        classes = x.shape[1]
        weight = self.class_weight
        if weight is not None:
            _arguments.same_shape("class_weight", weight, (classes,))
        ignored = None
        if y.dtype.kind in "iu":
            labels, ignored_label, _ = _arguments.usable_labels("targets", y, classes, self.ignore_index)
            dense = np.zeros(x.shape, x.dtype)
            kept = np.arange(len(labels))
            if ignored_label is not None:
                ignored = labels == ignored_label
                kept = np.flatnonzero(~ignored)
            dense[kept, labels[kept]] = 1
            if weight is not None and not weight.all() and not self.label_smoothing:
                unused = ~(dense @ weight).astype(bool)
                ignored = unused if ignored is None else ignored | unused
        else:
            _arguments.ignore_index(self.ignore_index, labels=False)
            dense = y.astype(x.dtype, copy=False)
        if self.label_smoothing:
            dense = (1 - self.label_smoothing) * dense + self.label_smoothing / classes
        if weight is not None:
            dense = dense * weight.astype(x.dtype)
        return WeightedTargets(dense, ignored)

    @np.errstate(all="ignore")
    def _rows(self, x: Array, targets: WeightedTargets, grad: Array | None) -> Array:
        values = self._class_rows(x, targets.dense, grad)
        if targets.ignored is not None:
            values[targets.ignored] = 0
            if grad is not None:
                grad[targets.ignored] = 0
        return values

    def _class_rows(self, x: Array, t: Array, grad: Array | None) -> Array:
        """Compute `_rows` for dense targets; 0 in `t` times an infinity must count as 0."""
        raise NotImplementedError

    def config(self) -> Config:
        """Return the arguments of the constructor, in the types of JSON."""
        weight = None if self.class_weight is None else self.class_weight.tolist()
        return {"class_weight": weight, "ignore_index": self.ignore_index}


def _class_weight(value: ArrayLike) -> Array:
    if message := about_class_weight("class_weight", value, "(C,)"):
        raise TypeError(message)
    weight = np.array(_arguments.array("class_weight", value), dtype=np.float64, order="C")
    return _arguments.check_shape("class_weight", weight, weight.ndim == 1, "(C,)")

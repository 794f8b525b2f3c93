"""Metrics that are no means over rows: of counts of the classes, and of the order of all rows."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from fastsm import _arguments
from fastsm.training.metrics._labels import dense, first, labels_of
from fastsm.training.metrics._metric import Metric, Whole
from fastsm.typing import Array

__all__ = ["auc", "balanced_accuracy", "f1"]


class _Counted(Metric):
    """A metric of counts: ``function(right, actual, predicted)``, of the weights of rows of each class."""

    def __init__(self, function: Callable[[Array, Array, Array], float]) -> None:
        self.function = function
        self._describe({"function": function}, None, "scores", larger_is_better=True)

    def part(self, outputs: Array, targets: Array, weight: Array | None) -> Array:
        """Return the counts of a block, shape (3, C)."""
        labels, choice = labels_of(outputs, targets), first(outputs)
        weights = np.ones(len(labels)) if weight is None else weight
        chosen, classes = choice >= 0, outputs.shape[1]
        rows = ((labels, labels == choice), (labels, slice(None)), (choice, chosen))
        return np.stack([np.bincount(of[kept], weights[kept], classes) for of, kept in rows])

    def result(self, total: Array, weight: float) -> float:
        """Return the metric of the counts."""
        return float(self.function(*total))


@_Counted
def f1(right: Array, actual: Array, predicted: Array) -> float:
    r"""Macro F1: the mean over the classes of :math:`2 \text{tp} / (2 \text{tp} + \text{fp} + \text{fn})`.

    It is of all rows, not a mean over them. Classes that no row has and that no row was given are left out,
    as in scikit-learn.

    Examples
    --------
    >>> from fastsm.training import metrics
    >>> round(metrics.f1([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]], [0, 1, 1]), 4)
    0.6667
    """
    both = actual + predicted
    return float(np.mean(2 * right[both > 0] / both[both > 0]))


@_Counted
def balanced_accuracy(right: Array, actual: Array, predicted: Array) -> float:
    """Mean over the classes of the fraction of their rows that have the largest output for their class.

    It is of all rows, not a mean over them: the recall of a rare class counts as much as that of a frequent
    one. Classes without rows are left out.

    Examples
    --------
    >>> from fastsm.training import metrics
    >>> metrics.balanced_accuracy([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.2, 0.8]], [0, 0, 1, 1])
    0.75
    """
    return float(np.mean(right[actual > 0] / actual[actual > 0]))


@partial(Whole, takes="log_probs", larger_is_better=True)
def auc(outputs: Array, targets: Array, sample_weight: Array | None = None) -> float:
    """Area under the ROC curve: the probability that a row of a class has more of it than one of another.

    It is of all rows, and equal outputs count half [1]_. Of two classes it is that of the second; of more,
    the mean over the classes, each against the rest, without those that all rows or no rows have. With one
    column, with several ones in the rows of targets, and for `BCELoss`, each column is a question of its own
    (targets between 0 and 1 are decided at 1/2). NaN among the outputs, or no class to compare, makes it NaN.

    References
    ----------
    .. [1] T. Fawcett, "An introduction to ROC analysis", Pattern Recognition Letters 27, 2006.

    Examples
    --------
    >>> from fastsm.training import metrics
    >>> metrics.auc([[0.9, 0.1], [0.6, 0.4], [0.7, 0.3], [0.2, 0.8]], [0, 0, 1, 1])
    0.75
    """
    weight = np.ones(len(outputs)) if sample_weight is None else sample_weight
    members = _members(outputs, targets)
    # The second of two classes has the order of the first, reversed; two questions have not.
    two = members.shape[1] == 2 and (members.sum(axis=1) == 1).all()
    start = 1 if two and _sum_to_1(np.exp(outputs)) else 0
    areas = [_area(outputs[:, k], members[:, k], weight) for k in range(start, members.shape[1])]
    known = [area for area in areas if area is not None]
    return float(np.mean(known)) if known and not np.isnan(outputs).any() else float("nan")


def _members(outputs: Array, targets: Array) -> Array:
    """Return which rows belong to which columns, shape (N, C)."""
    if targets.ndim > 1 and np.isin(dense(outputs, targets), (0, 1)).all():
        return np.asarray(targets == 1)
    if targets.ndim > 1 and outputs.shape[1] > 1 and not _sum_to_1(targets):
        return np.asarray(targets > 0.5)
    if outputs.shape[1] > 1:
        return np.asarray(labels_of(outputs, targets)[:, None] == np.arange(outputs.shape[1]))
    if targets.dtype.kind not in "iu":
        raise ValueError("`targets` must be 0 or 1 for a single output, got others")
    return np.asarray(_arguments.usable_labels("targets", targets, 2, None)[0][:, None] == 1)


def _sum_to_1(rows: Array) -> bool:
    """Whether all rows are probabilities of classes, one of which is right, up to rounding."""
    return np.allclose(rows.sum(axis=1, dtype=np.float64), 1, rtol=0, atol=1e-2)


def _area(scores: Array, member: Array, weight: Array) -> float | None:
    """Return the area under the curve, None if all rows are members or none."""
    order = np.argsort(scores)
    scores = scores[order]
    starts = np.flatnonzero(np.concatenate([[True], scores[1:] != scores[:-1]]))
    # The weights of members and others, for each of the different scores from the smallest.
    inside, outside = (np.add.reduceat((weight * of)[order], starts) for of in (member, ~member))
    pairs = inside.sum() * outside.sum()
    below = np.cumsum(outside) - outside / 2
    return float(inside @ below / pairs) if pairs else None

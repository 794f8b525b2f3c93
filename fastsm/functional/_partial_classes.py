"""Cross-entropy from parts of the classes: each on its own rank, or one chunk after the other.

The targets of a row are t_j = a [j is the label] + s_j, where s_j is the share that smoothing gives to each
class, or the whole of a probability. Each part of the logits x_j contributes to four numbers of the row,

    others    logsumexp of the logits but the label's
    label     the label's logit
    weighted  the sum of s_j x_j
    weight    the sum of s_j

which are enough for the loss and, with the logits of a part, for the gradient over that part:

    loss = a softplus(others - label) + weight logsumexp(others, label) - weighted
    d loss / d x_j = (a + weight) p_j - t_j,    p_j = exp(x_j - logsumexp(others, label))

As `others` leaves the label out, a loss near 0 keeps its relative accuracy: softplus(d) is near exp(d), and
the gradient at the label is -a / (1 + exp(-d)), not p - 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fastsm import _arguments, functional
from fastsm._kernels import kernels
from fastsm.functional._loss_options import LossOptions
from fastsm.functional._single_class import warn_if_single
from fastsm.typing import Array

__all__ = ["PartialTargets", "Sums", "zero_safe_product"]

# The number of elements of temporary arrays.
_BLOCK = 1 << 16


@dataclass
class Sums:
    """The four numbers of each row, float64, shape (N,)."""

    others: Array
    label: Array
    weighted: Array
    weight: Array

    @classmethod
    def over_nothing(cls, rows: int) -> Sums:
        """Return the sums over no classes."""
        return cls(np.full(rows, -np.inf), np.zeros(rows), np.zeros(rows), np.zeros(rows))

    def add(self, part: Sums) -> None:
        """Add the sums over other classes."""
        np.logaddexp(self.others, part.others, out=self.others)
        for own, other in zip(self.summed(), part.summed(), strict=True):
            own += other

    def summed(self) -> tuple[Array, Array, Array]:
        """Return the three numbers that are plain sums over classes."""
        return self.label, self.weighted, self.weight


class PartialTargets:
    """Labels, or the probabilities of a part of the classes, checked, with their weights.

    Parameters
    ----------
    targets : array_like
        Labels, shape (N,); or the probabilities of a part, in its shape.
    shape : tuple
        The shape of the part's logits, (N, c).
    n_classes : int
        The number of all classes.
    options : LossOptions
        As for `fastsm.cross_entropy`, with the weights of all classes.
    """

    def __init__(
        self, targets: ArrayLike, shape: tuple[int, int], n_classes: int, options: LossOptions
    ) -> None:
        rows = shape[0]
        self.n_classes, self.reduction = (
            n_classes,
            _arguments.one_of("reduction", options.reduction, _arguments.REDUCTIONS),
        )
        self.smoothing = _arguments.label_smoothing(options.label_smoothing)
        self.scale = 1 / _arguments.temperature(options.temperature)
        warn_if_single((rows, n_classes), 1)
        y = _arguments.targets(targets, shape, (rows,))
        self.class_weight = None
        if options.class_weight is not None:
            self.class_weight = _arguments.weights("class_weight", options.class_weight, (n_classes,))
        #: The factor of each row's loss: 0 for a row to ignore.
        self.row_weight = np.ones(rows)
        if options.sample_weight is not None:
            self.row_weight = _arguments.weights("sample_weight", options.sample_weight, (rows,))
        self.labels: Array | None = None
        self._probs: Array | None = None
        #: The a of the formulas above.
        self.share: Array | float = 0.0
        is_index = y.dtype.kind in "iu"
        ignored = _arguments.ignore_index(options.ignore_index, labels=is_index)
        if is_index:
            self._take_labels(y, ignored)
        else:
            self._probs = y
            self.total = float(self.row_weight.sum())
            #: Whether a row counts; one of weight 0 may hold anything.
            self.counts = self.row_weight != 0

    def measure(self, work: Array, start: int) -> Sums:
        """Divide the logits of a part, from class `start` on, by the temperature; return their sums."""
        if self.scale != 1:
            work *= self.scale
        sums = Sums.over_nothing(len(work))
        places = self._places(work, start)
        if self.labels is not None:
            sums.label[places[0]] = work[places]
        for block in _blocks(work):
            share = self._shares(work, start, block)
            if share is not None:
                sums.weighted[block] = zero_safe_product(share, work[block]).sum(axis=1)
                sums.weight[block] = share.sum(axis=-1)
        work[places] = -np.inf
        sums.others[...] = functional.logsumexp(work)
        sums.others[np.isposinf(sums.others) | np.isposinf(sums.label)] = np.nan  # as in softmax
        work[places] = sums.label[places[0]]
        return sums

    def loss(self, sums: Sums) -> float | Array:
        """Return the loss from the sums over all classes: an array for the reduction "none"."""
        losses = sums.weight * np.logaddexp(sums.others, sums.label if self._is_index else -np.inf)
        losses = np.where(sums.weight == 0, 0, losses - sums.weighted)
        if self._is_index:
            losses = losses + zero_safe_product(self.share, np.logaddexp(0, sums.others - sums.label))
        losses = np.where(self.counts, self.row_weight * losses, 0)
        if self.reduction == "none":
            return losses
        total = kernels.sum_of(losses)
        if self.reduction == "sum":
            return total
        return total / self.total if self.total else 0.0

    def gradient(self, work: Array, start: int, sums: Sums) -> None:
        """Overwrite the logits of a part, as `measure` left them, with the gradient over them."""
        factor = self.row_weight * self.scale
        if self.reduction == "mean":
            factor = factor / self.total if self.total else np.zeros_like(factor)
        all_logits = np.logaddexp(sums.others, sums.label) if self._is_index else sums.others
        # The shift is rounded to the precision of the logits; the weight makes up for the rounding.
        shift = all_logits.astype(work.dtype)
        weight = (self.share + sums.weight) * factor * np.exp(shift - all_logits)
        for block in _blocks(work):
            rows = work[block]
            share = self._shares(work, start, block)
            rows -= shift[block, None]
            np.exp(rows, out=rows)
            rows *= weight[block, None].astype(work.dtype)
            if share is not None:
                rows -= (share * factor[block, None]).astype(work.dtype)
        if self._is_index:
            places = self._places(work, start)
            at = places[0]
            distance = sums.others[at] - sums.label[at]
            own = np.asarray(self.share)[at] / (1 + np.exp(-distance))
            rest = sums.weight[at] / (1 + np.exp(distance))
            class_share = self._class_share(start, start + work.shape[1])
            smoothed = 0.0 if class_share is None else class_share[places[1]]
            work[places] = factor[at] * (rest - smoothed - own)
        work[(factor == 0) | ~self.counts] = 0

    @property
    def _is_index(self) -> bool:
        return self.labels is not None

    def _take_labels(self, y: Array, ignored: int | None) -> None:
        labels, ignored, _ = _arguments.usable_labels("targets", y, self.n_classes, ignored)
        by_class = np.ones(1) if self.class_weight is None else self.class_weight
        if ignored is not None:
            self.row_weight = np.where(labels == ignored, 0, self.row_weight)
            labels = np.where(labels == ignored, -1, labels)
        own = by_class[np.zeros_like(labels) if self.class_weight is None else labels]
        self.labels, self.share = labels, (1 - self.smoothing) * own
        self.total = float((self.row_weight * own).sum())
        self.counts = self.row_weight * (1.0 if self.smoothing else own) != 0

    def _places(self, work: Array, start: int) -> tuple[Array, Array]:
        """Return the rows and columns of the labels that lie in a part."""
        if self.labels is None:
            none = np.empty(0, np.intp)
            return none, none
        rows = np.flatnonzero((self.labels >= start) & (self.labels < start + work.shape[1]))
        return rows, self.labels[rows] - start

    def _class_share(self, start: int, stop: int) -> Array | None:
        """Return the share that smoothing gives to each class of a part, or None without smoothing."""
        if not self.smoothing:
            return None
        share = np.full(stop - start, self.smoothing / self.n_classes)
        return share if self.class_weight is None else share * self.class_weight[start:stop]

    def _shares(self, work: Array, start: int, block: slice) -> Array | None:
        """Return s of the formulas above for some rows of a part."""
        smoothed = self._class_share(start, start + work.shape[1])
        if self._probs is None:
            return None if smoothed is None else smoothed[None]
        share = (1 - self.smoothing) * self._probs[block].astype(np.float64)
        if self.class_weight is not None:
            share *= self.class_weight[start : start + work.shape[1]]
        return share if smoothed is None else share + smoothed


def zero_safe_product(a: float | Array, b: Array) -> Array:
    """Return a * b, where 0 times an infinity is 0. NaN stays NaN."""
    result: Array = np.multiply(a, b)
    result[(np.asarray(a) == 0) & np.isinf(b)] = 0
    return result


def _blocks(work: Array) -> Iterator[slice]:
    """Yield slices of rows that are small enough for temporary arrays."""
    size = max(1, _BLOCK // max(1, work.shape[1]))
    for first in range(0, len(work), size):
        yield slice(first, first + size)

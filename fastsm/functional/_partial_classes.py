"""Cross-entropy where nobody has all classes at once: ranks with a part each, or one chunk after the other.

The targets of a row are t_j = a [j is the label] + s_j, where s_j is what smoothing gives to each class, or
all of a probability. Whoever has some of the logits x_j contributes to four numbers of the row,

    others    logsumexp of the logits but the label's
    label     the label's logit
    weighted  the sum of s_j x_j
    weight    the sum of s_j

and these are enough for the loss and, with the logits of a part, for the gradient over that part:

    loss = a softplus(others - label) + weight logsumexp(others, label) - weighted
    d loss / d x_j = (a + weight) p_j - t_j,    p_j = exp(x_j - logsumexp(others, label))

Without the label in `others`, a loss near 0 keeps its relative accuracy: softplus(d) is then near exp(d), and
the gradient at the label is -a / (1 + exp(-d)), not p - 1.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastsm import _arguments, functional
from fastsm._kernels import kernels
from fastsm.typing import Array, Reduction

__all__ = ["Sums", "Targets"]

# Elements of temporary arrays.
_BLOCK = 1 << 16


@dataclass
class Sums:
    """The four numbers of each row, float64, shape (N,)."""

    others: Array
    label: Array
    weighted: Array
    weight: Array

    @classmethod
    def nothing(cls, rows: int) -> "Sums":
        """Return those of no class at all."""
        return cls(np.full(rows, -np.inf), np.zeros(rows), np.zeros(rows), np.zeros(rows))

    def add(self, part: "Sums") -> None:
        """Add those of other classes."""
        with np.errstate(invalid="ignore"):
            np.logaddexp(self.others, part.others, out=self.others)
        for mine, its in zip(self.summed(), part.summed(), strict=True):
            mine += its

    def summed(self) -> tuple[Array, Array, Array]:
        """Return the three that are sums over the classes as they are."""
        return self.label, self.weighted, self.weight


class Targets:
    """Labels, or a part of probabilities, checked, with all that weighs them.

    Parameters
    ----------
    targets : array_like
        Labels, shape (N,); or the probabilities of the classes of a part, its shape.
    shape : tuple
        That of the part's logits, (N, c).
    n_classes : int
        The number of all classes.
    class_weight, sample_weight, ignore_index, label_smoothing, temperature, reduction
        As for `fastsm.cross_entropy`; the weights of all classes.
    """

    def __init__(
        self,
        targets: ArrayLike,
        shape: tuple[int, int],
        n_classes: int,
        class_weight: ArrayLike | None,
        sample_weight: ArrayLike | None,
        ignore_index: int | None,
        label_smoothing: float,
        temperature: float,
        reduction: Reduction,
    ) -> None:
        rows = shape[0]
        self.n_classes, self.reduction = n_classes, _arguments.reduction(reduction)
        self.smoothing = _arguments.label_smoothing(label_smoothing)
        self.scale = 1 / _arguments.temperature(temperature)
        y = _arguments.targets(targets, shape, (rows,))
        self.class_weight = None
        if class_weight is not None:
            self.class_weight = _arguments.weights("class_weight", class_weight, (n_classes,))
        #: What each row's loss is multiplied by: 0 for those that are ignored.
        self.row = np.ones(rows)
        if sample_weight is not None:
            self.row = _arguments.weights("sample_weight", sample_weight, (rows,))
        self.labels: Array | None = None
        self._probs: Array | None = None
        #: a in the formulas above.
        self.share: Array | float = 0.0
        is_index = y.dtype.kind in "iu"
        ignored = _arguments.ignore_index(ignore_index, labels=is_index)
        if is_index:
            self._take_labels(y, ignored)
        else:
            self._probs = y
            self.total = float(self.row.sum())

    def measure(self, work: Array, start: int) -> Sums:
        """Divide logits of the classes from `start` on by the temperature, in place; return their sums."""
        if self.scale != 1:
            work *= self.scale
        sums = Sums.nothing(len(work))
        places = self._places(work, start)
        if self.labels is not None:
            sums.label[places[0]] = work[places]
        for block in _blocks(work):
            share = self._shares(work, start, block)
            if share is not None:
                sums.weighted[block] = _products(share, work[block]).sum(axis=1)
                sums.weight[block] = share.sum(axis=-1)
        work[places] = -np.inf
        sums.others[...] = functional.logsumexp(work)
        sums.others[np.isposinf(sums.others) | np.isposinf(sums.label)] = np.nan  # as softmax has it
        work[places] = sums.label[places[0]]
        return sums

    @np.errstate(all="ignore")
    def loss(self, sums: Sums) -> Any:
        """Return the loss, a float or for the reduction "none" an array, from the sums over all classes."""
        losses = sums.weight * np.logaddexp(sums.others, sums.label if self._is_index else -np.inf)
        losses = np.where(sums.weight == 0, 0, losses - sums.weighted)
        if self._is_index:
            losses = losses + _products(self.share, np.logaddexp(0, sums.others - sums.label))
        losses = _products(self.row, losses)
        if self.reduction == "none":
            return losses
        total = kernels.sum_of(losses)
        if self.reduction == "sum":
            return total
        return total / self.total if self.total else 0.0

    @np.errstate(all="ignore")
    def gradient(self, work: Array, start: int, sums: Sums) -> None:
        """Put the gradient over the logits of a part, as `measure` left them, in their place."""
        factor = self.row * self.scale
        if self.reduction == "mean":
            factor = factor / self.total if self.total else np.zeros_like(factor)
        all_logits = np.logaddexp(sums.others, sums.label) if self._is_index else sums.others
        # Subtracted in the precision of the logits; what that rounds off is a factor.
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
        work[factor == 0] = 0

    @property
    def _is_index(self) -> bool:
        return self.labels is not None

    def _take_labels(self, y: Array, ignored: int | None) -> None:
        labels, ignored, _ = _arguments.usable_labels("targets", y, self.n_classes, ignored)
        by_class = np.ones(1) if self.class_weight is None else self.class_weight
        if ignored is not None:
            self.row = np.where(labels == ignored, 0, self.row)
            labels = np.where(labels == ignored, -1, labels)
        own = by_class[np.zeros_like(labels) if self.class_weight is None else labels]
        self.labels, self.share = labels, (1 - self.smoothing) * own
        self.total = float((self.row * own).sum())

    def _places(self, work: Array, start: int) -> tuple[Array, Array]:
        """Return where the labels of a part are in it: rows and columns."""
        if self.labels is None:
            nothing = np.empty(0, np.intp)
            return nothing, nothing
        rows = np.flatnonzero((self.labels >= start) & (self.labels < start + work.shape[1]))
        return rows, self.labels[rows] - start

    def _class_share(self, start: int, stop: int) -> Array | None:
        """Return what smoothing gives to each class of a part, None without smoothing."""
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


def _products(a: Any, b: Array) -> Array:
    """Return a * b, where 0 times an infinity is 0."""
    with np.errstate(invalid="ignore"):
        result: Array = np.multiply(a, b)
        return np.where((np.asarray(a) == 0) & np.isinf(b), 0, result)


def _blocks(work: Array) -> Iterator[slice]:
    """Yield slices of rows that are small enough for temporary arrays."""
    size = max(1, _BLOCK // max(1, work.shape[1]))
    for first in range(0, len(work), size):
        yield slice(first, first + size)

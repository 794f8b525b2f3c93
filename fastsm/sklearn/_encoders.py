"""What `y` is, and what a network is trained on for it.

A network has one output, through the logistic function, for two classes; one for each class, through softmax,
for more classes and for soft labels; and one for each label, through the logistic function, if a row may have
several labels. An encoder learns once which of these it is, and then translates both ways.
"""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from sklearn.preprocessing import LabelEncoder
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from fastsm.typing import Array

__all__ = ["ClassEncoder", "NumberEncoder", "example_targets"]

# How far the probabilities of a soft label may be from a sum of 1: float32 written with few digits passes.
_SUM_TOLERANCE = 1e-3


class ClassEncoder:
    """What a classifier's targets are, and their translation.

    Parameters
    ----------
    y : ndarray or CSR matrix
        As it came, checked for NaN and for its number of rows.
    classes : array_like, optional
        All classes, where `y` may lack some (`partial_fit`); otherwise those in `y`. Not used for several
        labels a row, which have a column each.

    Attributes
    ----------
    kind : {"binary", "multiclass", "multilabel", "soft"}
        What `y` is. A single class counts as "binary".
    classes : ndarray
        The classes in their order; the numbers of the columns for "multilabel" and "soft".
    outputs : int
        How many outputs the network has.
    out_activation : {"logistic", "softmax"}
        What makes probabilities of them.
    """

    def __init__(self, y: Any, classes: Any = None) -> None:
        self.kind = _kind(y)
        self._labels = LabelEncoder()
        if self.kind in ("multilabel", "soft"):
            self.classes = np.arange(y.shape[1])
            if self.kind == "soft" and classes is not None and len(classes) != y.shape[1]:
                raise ValueError(
                    f"`y` must have a column for each of {len(classes)} classes, got {y.shape[1]}"
                )
        else:
            self.classes = self._labels.fit(_flat(y) if classes is None else classes).classes_
            self.kind = "multiclass" if len(self.classes) > 2 else "binary"
        self.outputs = 1 if self.kind == "binary" else len(self.classes)
        self.out_activation = "logistic" if self.kind in ("binary", "multilabel") else "softmax"

    def encode(self, y: Any, dtype: DTypeLike) -> Array:
        """Return the targets of the network, or raise if `y` is something else than it was before.

        Labels in int64 with shape (N,) for "multiclass", zeros and ones with shape (N, outputs) for "binary"
        and "multilabel", and probabilities with that shape for "soft".
        """
        kind = _kind(y, known=self.kind)
        if kind in ("multilabel", "soft") or self.kind in ("multilabel", "soft"):
            if kind != self.kind:
                raise ValueError(f"`y` must be {_WORDS[self.kind]} as before, got {_WORDS[kind]}")
            if y.shape[1] != self.outputs:
                raise ValueError(f"`y` must have {self.outputs} columns as before, got {y.shape[1]}")
            return np.ascontiguousarray(_dense(y), dtype)
        labels = self._positions(_flat(y))
        return labels.astype(dtype)[:, None] if self.kind == "binary" else labels

    def decode(self, outputs: Array) -> Array:
        """Return the classes with the largest probability, given the network's outputs.

        For "multilabel" zeros and ones with shape (N, outputs): those whose probability is above a half.
        """
        if self.kind == "multilabel":
            return (outputs > 0).astype(np.int64)
        if self.out_activation == "softmax":
            best = outputs.argmax(axis=1)
        else:
            best = ((outputs[:, 0] > 0) & (len(self.classes) > 1)).astype(np.intp)
        classes: Array = self.classes[best]
        return classes

    def hard(self, y: Any) -> Any:
        """Return `y` as `decode` returns predictions: soft labels become their most probable class."""
        if self.kind == "soft" and np.ndim(y) == 2:
            return self.classes[np.asarray(y).argmax(axis=1)]
        return y

    def class_weights(self, y: Any, class_weight: Any) -> Array | None:
        """Return the weight of each class; for "multilabel" of 0 and of 1 in each column, shape (outputs, 2).

        "balanced" gives every class the same weight over all rows of `y`. A class that is not in a dict has
        weight 1, and a list of dicts is for "multilabel".
        """
        if class_weight is None:
            return None
        if self.kind == "multilabel":
            dense = _dense(y)
            if class_weight != "balanced" and (
                not isinstance(class_weight, list) or len(class_weight) != self.outputs
            ):
                raise ValueError(
                    "`class_weight` must be 'balanced' or a list with a dict for each column of a `y` with"
                    f" several labels a row, {self.outputs}, got {class_weight!r}"
                )
            given = [class_weight] * self.outputs if isinstance(class_weight, str) else class_weight
            counts = np.array([(len(dense) - ones, ones) for ones in dense.sum(axis=0)])
            return np.array([_weights(g, np.arange(2), c) for g, c in zip(given, counts, strict=True)])
        if isinstance(class_weight, list):
            raise ValueError(
                f"`class_weight` must be a dict or 'balanced' for these classes, got {class_weight}"
            )
        if self.kind == "soft":
            counts = np.asarray(y, np.float64).sum(axis=0)
        else:
            counts = np.bincount(self._positions(_flat(y)), minlength=len(self.classes))
        return _weights(class_weight, self.classes, counts)

    def row_weights(self, y: Any, weights: Array | None, sample_weight: Array | None) -> Array | None:
        """Return the factor of each row: its class's weight times its own; None if all are 1.

        The weight of a soft label is the mean of the classes' weights, as probable as it says. Those of
        several labels for a row are multiplied, as in scikit-learn's trees.
        """
        if weights is None:
            return sample_weight
        if self.kind == "soft":
            own = np.asarray(y, np.float64) @ weights
        elif self.kind == "multilabel":
            own = weights[np.arange(self.outputs), _dense(y).astype(np.intp)].prod(axis=1)
        else:
            own = weights[self._positions(_flat(y))]
        return own if sample_weight is None else own * sample_weight

    def _positions(self, labels: Array) -> Array:
        positions: Array = self._labels.transform(labels)
        return positions.astype(np.int64, copy=False)


class NumberEncoder:
    """The translation of a regressor's targets: numbers, shape (N,) or (N, outputs).

    Attributes
    ----------
    outputs : int
        How many outputs the network has.
    out_activation : {"identity", "exp"}
        What makes predictions of them: "exp" for the loss "poisson".
    """

    def __init__(self, y: Array, loss: object = "squared_error") -> None:
        self.outputs = 1 if y.ndim == 1 else y.shape[1]
        self.out_activation = "exp" if isinstance(loss, str) and loss == "poisson" else "identity"

    def encode(self, y: Array, dtype: DTypeLike) -> Array:
        """Return `y` with shape (N, outputs)."""
        columns = 1 if y.ndim == 1 else y.shape[1]
        if columns != self.outputs:
            raise ValueError(f"`y` must have {self.outputs} columns as before, got {columns}")
        if self.out_activation == "exp" and (y < 0).any():
            raise ValueError("Some value(s) of y are out of the valid range of the loss 'poisson': below 0.")
        return np.ascontiguousarray(y, dtype).reshape(len(y), columns)

    def decode(self, outputs: Array) -> Array:
        """Return predictions, given the network's outputs; shape (N,) if there is one for each row."""
        values = np.exp(outputs) if self.out_activation == "exp" else outputs
        return values.ravel() if self.outputs == 1 else values


def example_targets(kind: str, classes: Any) -> Any:
    """Return targets of this kind in which all classes occur."""
    return np.eye(max(len(classes), 2), len(classes), dtype=int) if kind == "multilabel" else classes


_WORDS = {
    "binary": "labels",
    "multiclass": "labels",
    "multilabel": "zeros and ones with a column for each label",
    "soft": "soft labels",
}


def _kind(y: Any, known: str = "") -> str:
    """Return what `y` is; ``"multiclass"`` for labels, however many there are.

    Rows of zeros and ones are taken for sets of labels, as scikit-learn does, even if each has a single one,
    unless soft labels came before.
    """
    if known in ("binary", "multiclass") and y.ndim == 1 and y.dtype.kind in "biuSU":
        return "multiclass"  # without looking at all of them once more
    kind = type_of_target(y, input_name="y")
    if kind == "multilabel-indicator":
        if known == "soft":
            _check_distributions(y)
            return "soft"
        return "multilabel"
    if kind == "continuous-multioutput":
        _check_distributions(y)
        return "soft"
    check_classification_targets(y)
    if kind == "multiclass-multioutput":
        raise ValueError(
            "Multioutput target data is not supported: `y` must have shape (N,) for labels, (N, labels) with"
            f" zeros and ones for several labels a row, (N, classes) for probabilities, got {y.shape}"
        )
    return "multiclass"


def _check_distributions(y: Array) -> None:
    sums = y.sum(axis=1)
    bad = np.flatnonzero((abs(sums - 1) > _SUM_TOLERANCE) | (y < 0).any(axis=1))
    if len(bad):
        raise ValueError(
            "Unknown label type: `y` with shape (N, classes) must be zeros and ones (several labels) or"
            f" probabilities (soft labels), at least 0 and with a sum of 1, got {y[bad[0]]} in row {bad[0]}"
        )


def _weights(class_weight: Any, classes: Array, counts: Array) -> Array:
    """Return the weight of each class, given how often it is there."""
    if isinstance(class_weight, str):
        there = counts > 0
        return np.where(there, counts.sum() / (np.count_nonzero(there) * np.where(there, counts, 1)), 1.0)
    if not isinstance(class_weight, Mapping):
        raise ValueError(f"`class_weight` must have dicts or 'balanced' in its list, got {class_weight!r}")
    names = classes.tolist()
    unknown = [name for name in class_weight if name not in names]
    if unknown:
        raise ValueError(f"`class_weight` must have classes as its keys, got {unknown}, none of {names}")
    for name, weight in class_weight.items():
        if not isinstance(weight, Real) or not 0 <= float(weight) < np.inf:
            raise ValueError(
                f"`class_weight` must be finite and at least 0 everywhere, got {weight!r} for {name!r}"
            )
    return np.array([class_weight.get(name, 1.0) for name in names], np.float64)


def _dense(y: Any) -> Array:
    dense: Array = y.toarray() if hasattr(y, "toarray") else y
    return dense


def _flat(y: Array) -> Array:
    return y.ravel() if y.ndim == 2 and y.shape[1] == 1 else y

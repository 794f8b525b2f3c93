"""What estimators are given: checked by scikit-learn, and as rows to train on, dense or sparse."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from sklearn.base import is_classifier
from sklearn.model_selection import train_test_split
from sklearn.utils import column_or_1d
from sklearn.utils.validation import validate_data

from fastsm._kernels import kernels
from fastsm.training._batches import Rows
from fastsm.typing import Array

__all__ = ["Data", "SparseRows", "inputs", "inputs_and_targets", "split"]

_DTYPES = (np.float64, np.float32)


class SparseRows(Rows):
    """Rows of a CSR matrix: those of a batch, and no others, are made dense, in a buffer."""

    def __init__(self, x: Any, y: Array, sample_weight: Array | None, dtype: np.dtype[Any]) -> None:
        # Targets and weights are gathered as those of dense rows are, beside inputs without a column.
        super().__init__(np.empty((x.shape[0], 0), dtype), y, sample_weight, dtype)
        self.features = x.shape[1]
        self._matrix = x.astype(dtype, copy=False)

    def _gather(self, rows: Array, x: Array) -> None:
        self._matrix[rows].toarray(out=x)


class Data(NamedTuple):
    """Some of the rows of a data set."""

    rows: Rows
    #: Their positions.
    positions: Array
    #: What `score` compares predictions of these rows with: as the user gave it.
    y: Any
    #: Their weights, for `score`.
    weight: Array | None

    def take(self, chosen: Array) -> Data:
        """Return some of these rows, of which nothing large is copied."""
        weight = None if self.weight is None else self.weight[chosen]
        return Data(self.rows, self.positions[chosen], self.y[chosen], weight)


def inputs_and_targets(estimator: Any, X: Any, y: Any, reset: bool) -> tuple[Any, Any]:
    """Return an array or a CSR matrix of floating numbers, and an array.

    With `reset` the names and the number of features are set, otherwise they are compared.
    """
    X, y = validate_data(
        estimator,
        X,
        y,
        accept_sparse="csr",
        multi_output=True,
        y_numeric=not is_classifier(estimator),
        dtype=_DTYPES if estimator.dtype is None else np.dtype(estimator.dtype),
        order="C",
        reset=reset,
    )
    return X, column_or_1d(y, warn=True) if y.ndim == 2 and y.shape[1] == 1 else y


def inputs(estimator: Any, X: Any) -> Any:
    """Return inputs for a prediction; those that most are, as they are, without scikit-learn's 100 us."""
    if (
        type(X) is np.ndarray
        and X.ndim == 2
        and X.dtype in _DTYPES
        and X.shape[0] > 0
        and X.shape[1] == estimator.n_features_in_
        and X.flags.c_contiguous
        and X.flags.aligned
        and not hasattr(estimator, "feature_names_in_")
        and math.isfinite(kernels.sum_of_squares(X))
    ):
        return X
    return validate_data(estimator, X, accept_sparse="csr", dtype=_DTYPES, order="C", reset=False)


def split(
    data: Data, fraction: float, stratified: bool, random_state: np.random.RandomState
) -> tuple[Data, Data]:
    """Return the rows to train on and those held out for validation, the same that scikit-learn would."""
    train, held_out = train_test_split(
        np.arange(len(data.positions)),
        random_state=random_state,
        test_size=fraction,
        stratify=data.y if stratified else None,
    )
    if len(held_out) < 2:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
        )
    return data.take(train), data.take(held_out)

"""What estimators are given, checked by scikit-learn."""

import math
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.utils import column_or_1d
from sklearn.utils.validation import validate_data

from fastsm._kernels import kernels

__all__ = ["inputs", "inputs_and_targets"]

_DTYPES = (np.float64, np.float32)


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

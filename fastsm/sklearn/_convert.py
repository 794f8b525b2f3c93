"""Fitted estimators of scikit-learn's own made into those of this package; `to_sklearn` is the way back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastsm.sklearn._classifier import MLPClassifier
from fastsm.sklearn._encoders import ClassEncoder, NumberEncoder, example_targets
from fastsm.sklearn._network import build
from fastsm.sklearn._records import copy_records
from fastsm.sklearn._regressor import MLPRegressor

__all__ = ["from_sklearn"]


def from_sklearn(estimator: Any) -> MLPClassifier | MLPRegressor:
    """Return an estimator with the parameters, the weights and the records of scikit-learn's own.

    Its predictions are the same to rounding, and it can be trained further with `partial_fit` or
    ``warm_start=True``; what the optimizer remembered stays behind.

    Parameters
    ----------
    estimator : sklearn.neural_network.MLPClassifier or sklearn.neural_network.MLPRegressor
        A fitted one. It is left as it is.

    Returns
    -------
    MLPClassifier or MLPRegressor
        With weights of its own.

    Raises
    ------
    TypeError
        If `estimator` is something else, or of a subclass, which may compute something else.
    sklearn.exceptions.NotFittedError
        If it is not fitted.

    See Also
    --------
    MLPClassifier.to_sklearn, MLPRegressor.to_sklearn : the way back.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.neural_network import MLPClassifier
    >>> from fastsm.sklearn import from_sklearn
    >>> X, y = [[0.0], [1.0], [2.0]], ["a", "b", "c"]
    >>> theirs = MLPClassifier((8,), solver="lbfgs", random_state=0).fit(X, y)
    >>> ours = from_sklearn(theirs)
    >>> ours.predict(X)
    array(['a', 'b', 'c'], dtype='<U1')
    >>> bool(np.allclose(ours.predict_proba(X), theirs.predict_proba(X)))
    True
    """
    ours = next((c for c in (MLPClassifier, MLPRegressor) if type(estimator) is c._scikit_learns), None)
    if ours is None:
        got = type(estimator).__name__
        if isinstance(estimator, (MLPClassifier._scikit_learns, MLPRegressor._scikit_learns)):
            got = f"its subclass {got}, whose own parts would be lost"
        raise TypeError(f"`estimator` must be scikit-learn's MLPClassifier or MLPRegressor, got {got}")
    new: Any = ours(**estimator.get_params())
    check_is_fitted(estimator, "coefs_")
    coefs = estimator.coefs_
    new._encoder = _encoder_of(estimator)
    new._layers = {**new._asked_for(), "hidden_layer_sizes": [weights.shape[1] for weights in coefs[:-1]]}
    n_in, n_out, drawn = len(coefs[0]), coefs[-1].shape[1], np.random.RandomState(0)  # and overwritten
    new._network = build(n_in, n_out, new._layers, coefs[0].dtype, drawn)
    new.coefs_, new.intercepts_ = coefs, estimator.intercepts_
    new._start_records(first=True, validates=False)
    copy_records(estimator, new)
    if estimator.early_stopping:
        new._best_params = new._network.params.copy()
        new.validation_loss_curve_ = [math.nan] * len(new.validation_scores_ or ())
    return new  # type: ignore[no-any-return]


def _encoder_of(estimator: Any) -> ClassEncoder | NumberEncoder:
    """Return what translates the targets of scikit-learn's estimator."""
    if not hasattr(estimator, "classes_"):
        targets = np.zeros((1, estimator.n_outputs_))
        return NumberEncoder(targets, getattr(estimator, "loss", "squared_error"))
    multilabel = estimator._label_binarizer.y_type_.startswith("multilabel")
    return ClassEncoder(example_targets("multilabel" if multilabel else "multiclass", estimator.classes_))

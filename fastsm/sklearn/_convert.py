"""Fitted estimators of scikit-learn's own made into those of this package, and back."""

import math
from typing import Any

import numpy as np
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.validation import check_is_fitted

from fastsm import nn
from fastsm.sklearn._base import BaseMLP
from fastsm.sklearn._classifier import MLPClassifier
from fastsm.sklearn._network import build
from fastsm.sklearn._regressor import MLPRegressor
from fastsm.sklearn._targets import ClassTargets, RegressionTargets
from sklearn import neural_network

__all__ = ["from_sklearn", "to_sklearn"]

# What both sides call the same, as far as an estimator has it.
_SHARED = (
    "n_features_in_", "feature_names_in_", "classes_", "n_layers_", "n_outputs_", "out_activation_",
    "n_iter_", "t_", "loss_", "best_loss_", "best_validation_score_", "_no_improvement_count",
)  # fmt: skip
_LISTS = ("loss_curve_", "validation_scores_")
# What scikit-learn knows of parameters that may be more here, and what becomes of the rest.
_KNOWN = {
    "solver": ({"lbfgs", "sgd", "adam"}, "adam"),
    "learning_rate": ({"constant", "invscaling", "adaptive"}, "constant"),
    "loss": ({"squared_error", "poisson"}, "squared_error"),
}
_ACTIVATIONS = ("identity", "logistic", "tanh", "relu")


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
        If `estimator` is something else.
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
    new: Any
    if isinstance(estimator, neural_network.MLPClassifier):
        new = MLPClassifier(**estimator.get_params())
    elif isinstance(estimator, neural_network.MLPRegressor):
        new = MLPRegressor(**estimator.get_params())
    else:
        got = type(estimator).__name__
        raise TypeError(f"`estimator` must be scikit-learn's MLPClassifier or MLPRegressor, got {got}")
    check_is_fitted(estimator, "coefs_")
    coefs = estimator.coefs_
    sizes = [coefs[0].shape[0], *(weights.shape[1] for weights in coefs)]
    new._targets = _targets_of(estimator)
    new._layers = new._asked_for()
    new._network = build(sizes, dtype=coefs[0].dtype, random_state=np.random.RandomState(0), **new._layers)
    new.coefs_, new.intercepts_ = coefs, estimator.intercepts_
    new._start_records(True, False)
    _copy_records(estimator, new)
    if estimator.early_stopping:
        new._best_params = new._network.params.copy()
        new.validation_loss_curve_ = [math.nan] * len(new.validation_scores_ or ())
    return new  # type: ignore[no-any-return]


def to_sklearn(estimator: BaseMLP) -> Any:
    """Do `to_sklearn` of an estimator."""
    check_is_fitted(estimator)
    if estimator.activation not in _ACTIVATIONS:
        choices = ", ".join(_ACTIVATIONS)
        raise ValueError(
            f"`activation` must be one of {choices} for scikit-learn, got {estimator.activation!r}"
        )
    if any(isinstance(layer, nn.LayerNorm) for layer in estimator._network.layers):
        raise ValueError("`layer_norm` must be False for scikit-learn, got True")
    kind = (
        neural_network.MLPClassifier if isinstance(estimator, MLPClassifier) else neural_network.MLPRegressor
    )
    new = kind()
    parameters = {name: getattr(estimator, name) for name in new.get_params()}
    for name, (known, otherwise) in _KNOWN.items():
        value = parameters.get(name)
        if name in parameters and not (isinstance(value, str) and value in known):
            parameters[name] = otherwise
    new.set_params(**parameters)
    new.coefs_ = [weights.copy() for weights in estimator.coefs_]
    new.intercepts_ = [biases.copy() for biases in estimator.intercepts_]
    new._best_coefs = [weights.copy() for weights in new.coefs_]
    new._best_intercepts = [biases.copy() for biases in new.intercepts_]
    _copy_records(estimator, new)
    if isinstance(estimator, MLPClassifier):
        new._label_binarizer = LabelBinarizer().fit(_some_labels(estimator._targets.kind, estimator.classes_))
    return new


def _copy_records(source: Any, target: Any) -> None:
    for name in _SHARED:
        if hasattr(source, name):
            setattr(target, name, getattr(source, name))
    for name in _LISTS:
        values = getattr(source, name, None)
        if values is not None or hasattr(source, name):
            setattr(target, name, None if values is None else list(values))


def _targets_of(estimator: Any) -> ClassTargets | RegressionTargets:
    """Return what translates the targets of scikit-learn's estimator."""
    if isinstance(estimator, neural_network.MLPRegressor):
        return RegressionTargets(
            np.zeros((1, estimator.n_outputs_)), getattr(estimator, "loss", "squared_error")
        )
    multilabel = estimator._label_binarizer.y_type_.startswith("multilabel")
    return ClassTargets(_some_labels("multilabel" if multilabel else "multiclass", estimator.classes_))


def _some_labels(kind: str, classes: Any) -> Any:
    """Return targets of this kind in which all classes occur."""
    return np.eye(max(len(classes), 2), len(classes), dtype=int) if kind == "multilabel" else classes

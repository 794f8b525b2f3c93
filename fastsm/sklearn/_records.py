"""What an estimator remembers of its training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from numpy.typing import ArrayLike

from fastsm import nn
from fastsm.sklearn._network import linear_layers
from fastsm.typing import Array

__all__ = ["Records", "copy_records"]

# What both scikit-learn's estimators and these call the same, as far as one has it.
_RECORDS = (
    "n_features_in_", "feature_names_in_", "classes_", "n_layers_", "n_outputs_", "out_activation_",
    "n_iter_", "t_", "loss_", "best_loss_", "best_validation_score_", "_no_improvement_count",
    "loss_curve_", "validation_scores_",
)  # fmt: skip


def copy_records(source: Any, target: Any) -> None:
    """Copy the records of one estimator's training to another estimator."""
    for name in _RECORDS:
        if hasattr(source, name):
            value = getattr(source, name)
            setattr(target, name, list(value) if isinstance(value, list) else value)


def _arrays(name: str, doc: str) -> property:
    """Return a property with the arrays of this name in the linear layers; setting it writes into them."""

    def get(self: Records) -> list[Array]:
        return [layer.params[name] for layer in linear_layers(self._network)]

    def put(self: Records, values: Sequence[ArrayLike]) -> None:
        for mine, value in zip(get(self), values, strict=True):
            mine[...] = value

    return property(get, put, doc=doc)


class Records:
    """What an estimator remembers of its training.

    Attributes
    ----------
    coefs_ : list of ndarray
        The weights of each layer, shape (n_in, n_out).
    intercepts_ : list of ndarray
        The intercepts of each layer, shape (n_out,).
    loss_ : float
        The loss of the last epoch, penalty included.
    loss_curve_ : list of float
        The loss of each epoch.
    best_loss_ : float or None
        The smallest of them; None with early stopping.
    validation_loss_curve_ : list of float or None
        The loss on the validation data after each epoch, without penalty and dropout; None without such data.
    validation_scores_ : list of float or None
        The score on them, as `score` has it; None without such data.
    best_validation_score_ : float or None
        The best of these scores; None without early stopping.
    n_iter_ : int
        The number of epochs of the last fit.
    t_ : int
        How many rows were trained on, each as often as it was.
    n_features_in_ : int
        The number of features.
    feature_names_in_ : ndarray of shape (features,)
        Their names, if `X` was a data frame whose columns all have strings as names.
    n_layers_ : int
        The number of layers, input and output included.
    n_outputs_ : int
        The number of outputs.
    """

    solver: str
    early_stopping: bool
    _network: nn.Sequential

    coefs_ = _arrays("weight", "The weights of each layer, (n_in, n_out): views, which can be written to.")
    intercepts_ = _arrays("bias", "The biases of each layer, (n_out,): views, which can be written to.")

    def _stops_early(self) -> bool:
        """Whether the score on validation data says when to stop. Not with "lbfgs", as in scikit-learn."""
        return self.early_stopping and self.solver != "lbfgs"

    def _start_records(self, *, first: bool, validates: bool) -> None:
        """Set what is remembered of the epochs, which goes on where a trained network is trained further."""
        self.n_iter_ = 0
        if first:
            self.t_ = 0
            self.loss_curve_: list[float] = []
            self.best_loss_: float | None = math.inf
            self.best_validation_score_: float | None = None
            self.validation_scores_: list[float] | None = None
            self.validation_loss_curve_: list[float] | None = None
            self._no_improvement_count = 0
        if validates and self.validation_scores_ is None:
            self.validation_scores_, self.validation_loss_curve_ = [], []
        if not self._stops_early():
            self.best_loss_ = math.inf if self.best_loss_ is None else self.best_loss_
        elif self.best_validation_score_ is None:
            self.best_loss_, self.best_validation_score_ = None, -math.inf
            self._best_params = self._network.params.copy()

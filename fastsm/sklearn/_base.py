"""What the classifier and the regressor share: from data to a trained network, and to its outputs."""

import math
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, is_classifier
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from fastsm import nn
from fastsm._arguments import Array
from fastsm.nn._objective import Objective
from fastsm.optim import Optimizer
from fastsm.sklearn import _optimizers
from fastsm.sklearn._inputs import inputs, inputs_and_targets
from fastsm.sklearn._network import BLOCK, build, infer, linear_layers
from fastsm.sklearn._parameters import STOCHASTIC_SOLVERS
from fastsm.sklearn._rows import Data, rows_of, split
from fastsm.sklearn._solvers import Lbfgs, Stochastic
from fastsm.sklearn._threads import is_small, limited, threads_for

__all__ = ["BaseMLP", "is_stochastic"]


def is_stochastic(estimator: Any) -> bool:
    """Whether there is a `partial_fit`; an AttributeError says why not."""
    if estimator.solver not in STOCHASTIC_SOLVERS:
        raise AttributeError(
            f"partial_fit is only available for stochastic optimizers. {estimator.solver} is not stochastic."
        )
    return True


class BaseMLP(BaseEstimator, metaclass=ABCMeta):  # type: ignore[misc]
    """What the classifier and the regressor share."""

    hidden_layer_sizes: int | Sequence[int]
    activation: str
    solver: str
    alpha: float
    random_state: Any
    warm_start: bool
    early_stopping: bool
    validation_fraction: float
    dropout: float
    layer_norm: bool
    dtype: str | None
    n_threads: int | None
    callbacks: Sequence[Any] | None
    batch_size: int | str
    learning_rate: str | Callable[[int], float]

    n_features_in_: int
    _network: nn.Sequential
    _optimizer: Optimizer
    _targets: Any
    _layers: dict[str, Any]

    @property
    def coefs_(self) -> list[Array]:
        """The weights of each layer, shape (n_in, n_out): views, which can be written to."""
        return [layer.params["weight"] for layer in linear_layers(self._network)]

    @coefs_.setter
    def coefs_(self, values: Sequence[ArrayLike]) -> None:
        for mine, value in zip(self.coefs_, values, strict=True):
            mine[...] = value

    @property
    def intercepts_(self) -> list[Array]:
        """The biases of each layer, shape (n_out,): views, which can be written to."""
        return [layer.params["bias"] for layer in linear_layers(self._network)]

    @intercepts_.setter
    def intercepts_(self, values: Sequence[ArrayLike]) -> None:
        for mine, value in zip(self.intercepts_, values, strict=True):
            mine[...] = value

    def to_sklearn(self) -> Any:
        """Return scikit-learn's own estimator with these weights, which are copied.

        Its predictions are the same to rounding. A solver, learning rate or loss that scikit-learn has not
        becomes its default, other parameters that it has not are left out: they matter for training alone.

        Returns
        -------
        sklearn.neural_network.MLPClassifier or sklearn.neural_network.MLPRegressor
            Fitted; it can be trained further with `partial_fit` or ``warm_start=True``.

        Raises
        ------
        ValueError
            If the network has layers that scikit-learn has not: another activation or `layer_norm`.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.
        """
        from fastsm.sklearn import _convert  # which needs this class

        return _convert.to_sklearn(self)

    @abstractmethod
    def _new_targets(self, y: Any, classes: ArrayLike | None) -> Any:
        """Return what translates between `y` and the network, and set attributes about it."""

    @abstractmethod
    def _check_targets(self, y: Any, incremental: bool) -> None:
        """Check that `y` is of the kind that the network was made for."""

    @abstractmethod
    def _loss(self) -> Any:
        """Return the loss, on what the last linear layer gives."""

    @abstractmethod
    def _row_weights(self, y: Any, sample_weight: Array | None) -> Array | None:
        """Return the weight of each row, of its class and its own; None if all are 1."""

    @abstractmethod
    def _score_logits(self, logits: Array, y: Any, sample_weight: Array | None) -> float:
        """Return the score, given what the last linear layer gives."""

    def _stops_early(self) -> bool:
        """Whether the score on validation data says when to stop. Not with "lbfgs", as in scikit-learn."""
        return self.early_stopping and self.solver != "lbfgs"

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation: tuple[Any, Any, Any] | None = None,
        *,
        incremental: bool = False,
        classes: ArrayLike | None = None,
    ) -> Self:
        """Do `fit`, or `partial_fit` if `incremental`."""
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        if self.dropout and self.solver == "lbfgs":
            raise ValueError(f"`dropout` must be 0 with solver='lbfgs', got {self.dropout}")
        first = not hasattr(self, "_network") or not (self.warm_start or incremental)
        X, y = inputs_and_targets(self, X, y, reset=first)
        weight = None if sample_weight is None else _check_sample_weight(sample_weight, X)
        random_state = check_random_state(self.random_state)
        if first:
            self._targets = self._new_targets(y, classes)
            self._start(X, random_state)
        else:
            self._check_targets(y, incremental)
            self._check_network()
        data = self._data(X, y, weight)
        held_out = self._validation(validation)
        if held_out is None and self._stops_early():
            stratified = is_classifier(self) and self.n_outputs_ == 1
            data, held_out = split(data, self.validation_fraction, stratified, random_state)
        self._start_records(first, held_out is not None)
        objective = Objective(self._network, self._loss())
        with limited(threads_for(self), self._network, min(self._rows_together(), len(data.order))):
            if self.solver == "lbfgs":
                Lbfgs(self, objective, data, held_out).run()
            else:
                if not incremental or not hasattr(self, "_optimizer"):
                    self._optimizer = _optimizers.make(self)
                Stochastic(self, objective, self._optimizer, data, held_out).run(random_state, incremental)
        return self

    def _start(self, X: Any, random_state: np.random.RandomState) -> None:
        """Make the network."""
        sizes = [X.shape[1], *self._hidden_sizes(), self._targets.outputs]
        self._layers = self._asked_for()
        self._network = build(sizes, dtype=X.dtype, random_state=random_state, **self._layers)
        self.n_outputs_, self.n_layers_ = self._targets.outputs, len(sizes)
        self.out_activation_ = self._targets.out_activation

    def _asked_for(self) -> dict[str, Any]:
        """Return what the layers of a network are made from, besides their sizes."""
        return {name: getattr(self, name) for name in ("activation", "dropout", "layer_norm")}

    def _hidden_sizes(self) -> list[int]:
        sizes: Any = self.hidden_layer_sizes
        sizes = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        if any(size <= 0 for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return [int(size) for size in sizes]

    def _check_network(self) -> None:
        """Check that the network can be trained further: that it is still the one that is asked for."""
        sizes = [layer.n_out for layer in linear_layers(self._network)[:-1]]
        made = {"hidden_layer_sizes": sizes, **self._layers}
        for name, wanted in {"hidden_layer_sizes": self._hidden_sizes(), **self._asked_for()}.items():
            if wanted != made[name]:
                raise ValueError(
                    f"`{name}` must stay {made[name]!r} when a trained network is trained further,"
                    f" got {wanted!r}"
                )

    def _rows_together(self) -> int:
        """Return how many rows go through the network together in training, if there are so many."""
        if self.solver == "lbfgs":
            return BLOCK
        return 200 if isinstance(self.batch_size, str) else int(self.batch_size)

    def _data(self, X: Any, y: Any, weight: Array | None) -> Data:
        """Return the rows as they are trained on."""
        dtype = np.dtype(np.float64) if self.solver == "lbfgs" else self._network.dtype
        targets = self._targets.encode(y, dtype)
        return rows_of(X, targets, self._row_weights(y, weight), dtype, y=y, weight=weight)

    def _validation(self, given: tuple[Any, Any, Any] | None) -> Data | None:
        """Return the validation data that were handed to `fit`."""
        if given is None or all(part is None for part in given):
            return None
        X, y, sample_weight = given
        if X is None or y is None:
            raise ValueError("`X_val` and `y_val` must be given together")
        X, y = inputs_and_targets(self, X, y, reset=False)
        weight = None if sample_weight is None else _check_sample_weight(sample_weight, X)
        return self._data(X, y, weight)

    def _start_records(self, first: bool, validates: bool) -> None:
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

    def _logits(self, X: Any) -> Array:
        """Return what the last linear layer gives for each row."""
        if not hasattr(self, "_network"):
            check_is_fitted(self)
        X = inputs(self, X)
        threads = threads_for(self)
        if threads is None or is_small(self._network, X.shape[0]):
            return infer(self._network, X)
        with limited(threads, self._network, X.shape[0]):
            return infer(self._network, X)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_network")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

"""What the classifier and the regressor share: from data to a trained network, and to its outputs."""

from __future__ import annotations

import warnings
from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, is_classifier
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from fastsm import nn
from fastsm.optim import Optimizer
from fastsm.sklearn._inputs import Data, SparseRows, inputs, inputs_and_targets, split
from fastsm.sklearn._network import build, infer, linear_layers, threads_for
from fastsm.sklearn._parameters import ACTIVATIONS_OF_SCIKIT_LEARN, KNOWN_TO_SCIKIT_LEARN, Parameters
from fastsm.sklearn._records import Records, copy_records
from fastsm.sklearn._solvers import train
from fastsm.training._batches import Rows
from fastsm.typing import Array

__all__ = ["BaseMLP"]


class BaseMLP(Parameters, Records, BaseEstimator, metaclass=ABCMeta):  # type: ignore[misc]
    """What the classifier and the regressor share."""

    #: The class of scikit-learn that this one stands in for.
    _scikit_learns: ClassVar[type]

    hidden_layer_sizes: int | Sequence[int]
    activation: str

    n_features_in_: int
    classes_: Array
    _class_weights: Array | None
    _optimizer: Optimizer
    _optimizer_options: tuple[tuple[Any, ...], tuple[Any, ...]]
    _encoder: Any
    _layers: dict[str, Any]

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> Self:
        """Train the network.

        Parameters
        ----------
        X : {array-like, CSR matrix} of shape (n_samples, n_features)
            The inputs. The rows of a sparse matrix are made dense batch by batch, never all at once.
        y : {array-like, CSR matrix} of shape (n_samples,) or (n_samples, n_columns)
            A regressor: the numbers to predict. A classifier: labels, numbers or strings; or rows of zeros
            and ones, one for each label that a row has; or soft labels: floating probabilities of the
            classes, not all of them zeros and ones.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            How much each row counts.
        X_val : {array-like, CSR matrix}, optional
            Inputs to validate on after each epoch, instead of a part of `X`.
        y_val : array-like, optional
            Their targets.
        sample_weight_val : array-like or None, default=None
            How much each of these rows counts.

        Returns
        -------
        self
            The estimator.

        Raises
        ------
        ValueError, TypeError
            If a parameter or an array is wrong, or the weights become NaN or infinite.
        """
        self._validate_params()
        return self._fit(X, y, sample_weight, (X_val, y_val, sample_weight_val))

    def predict(self, X: Any) -> Array:
        """Return predictions.

        Parameters
        ----------
        X : {array-like, CSR matrix} of shape (n_samples, n_features)
            The inputs.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            A regressor's numbers, the second form for several outputs. A classifier's most probable classes;
            with several labels a row zeros and ones, a label being there if its probability is above a half.
        """
        logits = self._logits(X)
        predicted: Array = self._encoder.decode(logits)
        return predicted

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
        check_is_fitted(self)
        # Parameters may have been set since the network was trained: its own count.
        activation = self._layers["activation"]
        if activation not in ACTIVATIONS_OF_SCIKIT_LEARN:
            choices = ", ".join(ACTIVATIONS_OF_SCIKIT_LEARN)
            raise ValueError(f"`activation` must be one of {choices} for scikit-learn, got {activation!r}")
        if any(isinstance(layer, nn.LayerNorm) for layer in self._network.layers):
            raise ValueError("`layer_norm` must be False for scikit-learn, got True")
        theirs: Any = self._scikit_learns()
        parameters = {name: getattr(self, name) for name in theirs.get_params()}
        for name, (known, otherwise) in KNOWN_TO_SCIKIT_LEARN.items():
            value = parameters.get(name)
            if name in parameters and not (isinstance(value, str) and value in known):
                parameters[name] = otherwise
        theirs.set_params(**parameters)
        theirs.set_params(activation=activation, hidden_layer_sizes=tuple(self._layers["hidden_layer_sizes"]))
        theirs.coefs_ = [weights.copy() for weights in self.coefs_]
        theirs.intercepts_ = [biases.copy() for biases in self.intercepts_]
        theirs._best_coefs = [weights.copy() for weights in self.coefs_]
        theirs._best_intercepts = [biases.copy() for biases in self.intercepts_]
        copy_records(self, theirs)
        self._complete(theirs)
        return theirs

    def _complete(self, theirs: Any) -> None:
        """Set the attributes that only this kind of scikit-learn's estimators has."""

    @abstractmethod
    def _new_encoder(self, y: Any, classes: ArrayLike | None) -> Any:
        """Return what translates between `y` and the network, and set attributes about it."""

    def _check_targets(self, y: Any, incremental: bool) -> None:
        """Check that `y` is of the kind that the network was made for, as far as `encode` does not."""

    @abstractmethod
    def _loss(self) -> Any:
        """Return the loss, on what the last linear layer gives."""

    def _row_weights(self, y: Any, sample_weight: Array | None) -> Array | None:
        """Return the weight of each row, of its class and its own; None if all are 1."""
        return sample_weight

    @abstractmethod
    def _score_logits(self, logits: Array, y: Any, sample_weight: Array | None) -> float:
        """Return the score, given what the last linear layer gives."""

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        validation: tuple[Any, Any, Any] = (None, None, None),
        *,
        incremental: bool = False,
        classes: ArrayLike | None = None,
    ) -> Self:
        """Do `fit`, or `partial_fit` if `incremental`; warnings point at the line that calls these."""
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        if self.dropout and self.solver == "lbfgs":
            raise ValueError(f"`dropout` must be 0 with solver='lbfgs', got {self.dropout}")
        first = not hasattr(self, "_network") or not (self.warm_start or incremental)
        X, y = inputs_and_targets(self, X, y, reset=first)
        weight = None if sample_weight is None else _check_sample_weight(sample_weight, X)
        random_state = check_random_state(self.random_state)
        if first:
            self._encoder = self._new_encoder(y, classes)
            self._start(X, random_state)
        else:
            self._check_targets(y, incremental)
            self._check_network()
        data = self._data(X, y, weight)
        held_out = self._validation_data(*validation)
        if held_out is None and self._stops_early():
            stratified = is_classifier(self) and self.n_outputs_ == 1
            data, held_out = split(data, self.validation_fraction, stratified, random_state)
        self._start_records(first=first, validates=held_out is not None)
        run = train(self, data, held_out, random_state, incremental=incremental)
        for category, message in run.warnings:
            warnings.warn(message, category, stacklevel=3)
        return self

    def _start(self, X: Any, random_state: np.random.RandomState) -> None:
        """Make the network."""
        self._layers, outputs = self._asked_for(), self._encoder.outputs
        self._network = build(X.shape[1], outputs, self._layers, X.dtype, random_state)
        self.n_outputs_, self.n_layers_ = outputs, len(linear_layers(self._network)) + 1
        self.out_activation_ = self._encoder.out_activation

    def _asked_for(self) -> dict[str, Any]:
        """Return the parameters that the layers are made from."""
        sizes: Any = self.hidden_layer_sizes
        sizes = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        if any(size <= 0 for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        others = {name: getattr(self, name) for name in ("activation", "dropout", "layer_norm")}
        return {"hidden_layer_sizes": [int(size) for size in sizes], **others}

    def _check_network(self) -> None:
        """Check that the parameters of the layers are those that the network was made from."""
        for name, wanted in self._asked_for().items():
            if wanted != self._layers[name]:
                raise ValueError(
                    f"`{name}` must stay {self._layers[name]!r} when a trained network is trained further,"
                    f" got {wanted!r}"
                )
        if self.dtype is not None and np.dtype(self.dtype) != self._network.dtype:
            raise ValueError(
                f"`dtype` must stay {self._network.dtype.name} when a trained network is trained further, got"
                f" {np.dtype(self.dtype).name}"
            )

    def _data(self, X: Any, y: Any, weight: Array | None) -> Data:
        """Return the rows as they are trained on."""
        dtype = np.dtype(np.float64) if self.solver == "lbfgs" else self._network.dtype
        kind = Rows if isinstance(X, np.ndarray) else SparseRows
        rows = kind(X, self._encoder.encode(y, dtype), self._row_weights(y, weight), dtype)
        return Data(rows, np.arange(len(rows)), y, weight)

    def _validation_data(self, X: Any, y: Any, sample_weight: Any) -> Data | None:
        """Return the validation data that `fit` was given."""
        if X is None and y is None and sample_weight is None:
            return None
        if X is None or y is None:
            raise ValueError("`X_val` and `y_val` must be given together")
        X, y = inputs_and_targets(self, X, y, reset=False)
        return self._data(X, y, None if sample_weight is None else _check_sample_weight(sample_weight, X))

    def _logits(self, X: Any) -> Array:
        """Return what the last linear layer gives for each row."""
        if not hasattr(self, "_network"):
            check_is_fitted(self)
        return infer(self._network, inputs(self, X), threads_for(self))

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_network")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

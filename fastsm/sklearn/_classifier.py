"""The classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, log_expit
from sklearn import neural_network
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, unique_labels

from fastsm import functional
from fastsm.sklearn._base import BaseMLP
from fastsm.sklearn._encoders import ClassEncoder, example_targets
from fastsm.sklearn._losses import classifier_loss
from fastsm.sklearn._parameters import CLASSIFIER, documented, is_stochastic
from fastsm.typing import Array

__all__ = ["MLPClassifier"]


@documented
@dataclass(repr=False, eq=False)
class MLPClassifier(ClassifierMixin, BaseMLP):  # type: ignore[misc]
    """Multilayer perceptron that classifies: scikit-learn's ``MLPClassifier``, with fastsm, and more.

    Everything that scikit-learn's has is here with the same name, default and meaning; what comes after
    `max_fun` is new, and so are some values of the parameters before. Parameters that a solver has no use for
    are not looked at.

    Parameters
    ----------
    [parameters]
    loss : str or loss, default="cross_entropy"
        What is minimised, on the probabilities of the classes: "cross_entropy", "focal", "brier", "mse",
        "mae", "kl_div", or a loss of `fastsm.nn`, such as ``nn.FocalLoss(gamma=1.0)``, or your own made by
        `fastsm.nn.loss`. It is given a column for each class, of two classes too. With several labels a row,
        each label is a pair of classes, and their losses are added.
    class_weight : dict, list of dict, "balanced" or None, default=None
        How much the rows of each class count in the loss; classes that are not in the dict count 1.
        "balanced" gives all classes the same weight in sum. The mean is divided by the sum of the weights, as
        with `sample_weight`. With several labels a row a list has a dict for each column.
    label_smoothing : float, default=0.0
        From 0 to 1: the targets become ``(1 - label_smoothing) * y + label_smoothing / n_classes``.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The classes, in order; for several labels a row and for soft labels the numbers of the columns.
    out_activation_ : {"logistic", "softmax"}
        What makes probabilities of the outputs.
    [attributes]

    See Also
    --------
    MLPRegressor : predicts numbers.
    from_sklearn : takes over scikit-learn's fitted estimators.

    Notes
    -----
    With scikit-learn's options the objective, its gradient and the steps are those of scikit-learn, and so
    are the initial weights [1]_ for a `random_state`.

    References
    ----------
    [references]

    Examples
    --------
    >>> from fastsm.data import load_digits
    >>> from fastsm.sklearn import MLPClassifier
    >>> X, y = load_digits()
    >>> model = MLPClassifier((32,), max_iter=10, learning_rate="one_cycle", learning_rate_init=0.02,
    ...                       batch_size=32, class_weight="balanced", label_smoothing=0.1, random_state=0)
    >>> model = model.fit(X[:1200], y[:1200], X_val=X[1200:1500], y_val=y[1200:1500])
    >>> model.score(X[1500:], y[1500:]) > 0.85
    True
    >>> len(model.validation_loss_curve_)
    10

    Soft labels are probabilities of the classes:

    >>> model = MLPClassifier((4,), solver="lbfgs", alpha=0.0, random_state=0)
    >>> model.fit([[0.0], [1.0]], [[0.9, 0.1], [0.2, 0.8]]).predict_proba([[1.0]]).round(2)
    array([[0.2, 0.8]])
    """

    _scikit_learns = neural_network.MLPClassifier
    _parameter_constraints: ClassVar[dict[str, list[Any]]] = CLASSIFIER

    hidden_layer_sizes: int | Sequence[int] = (100,)
    activation: str = "relu"
    _: KW_ONLY
    loss: Any = "cross_entropy"
    class_weight: Any = None
    label_smoothing: float = 0.0

    @available_if(is_stochastic)  # type: ignore[untyped-decorator]
    def partial_fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        classes: ArrayLike | None = None,
    ) -> Self:
        """Train the network for one epoch on these rows, going on from where it is.

        Parameters
        ----------
        X : {array-like, CSR matrix} of shape (n_samples, n_features)
            The inputs.
        y : {array-like, CSR matrix}
            As for `fit`.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            How much each row counts.
        classes : array-like of shape (n_classes,), optional
            All classes that there will be; needed in the first call. For soft labels the numbers of the
            columns.

        Returns
        -------
        self
            The estimator.
        """
        self._validate_params()
        if isinstance(self.class_weight, str):
            raise ValueError(
                "`class_weight` must be a dict or None for partial_fit, which cannot count the classes, got"
                f" {self.class_weight!r}"
            )
        _check_partial_fit_first_call(self, classes)
        return self._fit(X, y, sample_weight, incremental=True, classes=self.classes_)

    def decision_function(self, X: Any) -> Array:
        """Return the logits, which softmax or the logistic function makes probabilities of.

        Parameters
        ----------
        X : {array-like, CSR matrix} of shape (n_samples, n_features)
            The inputs.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            For two classes the logit of the second.
        """
        logits = self._logits(X)
        return logits.ravel() if self._encoder.kind == "binary" else logits

    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities of the classes.

        Parameters
        ----------
        X : {array-like, CSR matrix} of shape (n_samples, n_features)
            The inputs.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of `classes_`. With several labels a row the probability of each label.
        """
        logits = self._logits(X)
        if self.out_activation_ == "softmax":
            probabilities: Array = functional.softmax(logits, out=logits)
            return probabilities
        yes: Array = expit(logits, out=logits)
        return self._columns(1 - yes, yes, certain=1.0)

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of the probabilities of the classes, finite where these round to 0.

        Parameters
        ----------
        X : {array-like, CSR matrix} of shape (n_samples, n_features)
            The inputs.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            In the order of `classes_`. With several labels a row for each label.
        """
        logits = self._logits(X)
        if self.out_activation_ == "softmax":
            logarithms: Array = functional.log_softmax(logits, out=logits)
            return logarithms
        return self._columns(log_expit(-logits), log_expit(logits), certain=0.0)

    def score(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> float:
        """Return the accuracy: the part of the rows whose class, or all of whose labels, are predicted right.

        Parameters
        ----------
        X : {array-like, CSR matrix} of shape (n_samples, n_features)
            The inputs.
        y : array-like
            As for `fit`. Of soft labels the most probable class counts.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            How much each row counts.

        Returns
        -------
        float
            From 0 to 1.
        """
        return self._score_logits(self._logits(X), y, sample_weight)

    def _new_encoder(self, y: Any, classes: ArrayLike | None) -> ClassEncoder:
        encoder = ClassEncoder(y, classes)
        self.classes_ = encoder.classes
        self._class_weights = encoder.class_weights(y, self.class_weight)
        return encoder

    def _check_targets(self, y: Any, incremental: bool) -> None:
        # `encode` finds what is unknown.
        if not incremental and self._encoder.kind != "soft":
            self._check_classes(y)
        self._class_weights = self._encoder.class_weights(y, self.class_weight)

    def _check_classes(self, y: Any) -> None:
        """Check that all classes are there: `fit` with `warm_start` must not forget any."""
        classes = unique_labels(y)
        if set(classes) != set(self.classes_):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous call to fit."
                f" Previously got {self.classes_}, `y` has {classes}"
            )

    def _loss(self) -> Any:
        return classifier_loss(self.loss, self.out_activation_, self.label_smoothing)

    def _row_weights(self, y: Any, sample_weight: Array | None) -> Array | None:
        weights: Array | None = self._encoder.row_weights(y, self._class_weights, sample_weight)
        return weights

    def _columns(self, no: Array, yes: Array, certain: float) -> Array:
        """Return a column for each label, or for the classes, of which there are two, or a certain one."""
        if self._encoder.kind == "multilabel":
            return yes
        return np.hstack([no, yes]) if len(self.classes_) == 2 else np.full_like(yes, certain)

    def _score_logits(self, logits: Array, y: Any, sample_weight: ArrayLike | None) -> float:
        predicted = self._encoder.decode(logits)
        return float(accuracy_score(self._encoder.hard(y), predicted, sample_weight=sample_weight))

    def _complete(self, theirs: Any) -> None:
        examples = example_targets(self._encoder.kind, self.classes_)
        theirs._label_binarizer = LabelBinarizer().fit(examples)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

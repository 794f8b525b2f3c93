"""What a trained classifier says: classes, probabilities, logits, and how often it is right."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import expit, log_expit
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score

from fastsm import functional
from fastsm._arguments import Array
from fastsm.sklearn._base import BaseMLP
from fastsm.sklearn._documentation import documented

__all__ = ["Predictions"]


class Predictions(ClassifierMixin, BaseMLP):  # type: ignore[misc]
    """The methods of a classifier that has been trained."""

    classes_: Array
    out_activation_: str

    @documented
    def predict(self, X: Any) -> Array:
        """Return the most probable class of each row.

        Parameters
        ----------
        [X]

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_labels)
            Classes; with several labels a row zeros and ones, a label being there if its probability is above
            a half.
        """
        logits = self._logits(X)
        classes: Array = self._targets.decode(logits)
        return classes

    @documented
    def decision_function(self, X: Any) -> Array:
        """Return the logits, which softmax or the logistic function makes probabilities of.

        Parameters
        ----------
        [X]

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_outputs)
            For two classes the logit of the second.
        """
        logits = self._logits(X)
        return logits.ravel() if self._targets.kind == "binary" else logits

    @documented
    def predict_proba(self, X: Any) -> Array:
        """Return the probabilities of the classes.

        Parameters
        ----------
        [X]

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

    @documented
    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of the probabilities of the classes, finite where these round to 0.

        Parameters
        ----------
        [X]

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

    @documented
    def score(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> float:
        """Return the accuracy: the part of the rows whose class, or all of whose labels, are predicted right.

        Parameters
        ----------
        [X]
        y : array-like
            As for `fit`. Of soft labels the most probable class counts.
        [sample_weight]

        Returns
        -------
        float
            From 0 to 1.
        """
        predicted = self.predict(X)
        return float(accuracy_score(self._targets.hard(y), predicted, sample_weight=sample_weight))

    def _columns(self, no: Array, yes: Array, certain: float) -> Array:
        """Return a column for each label, or for the classes, of which there are two, or a certain one."""
        if self._targets.kind == "multilabel":
            return yes
        return np.hstack([no, yes]) if len(self.classes_) == 2 else np.full_like(yes, certain)

    def _score_logits(self, logits: Array, y: Any, sample_weight: Array | None) -> float:
        predicted = self._targets.decode(logits)
        return float(accuracy_score(self._targets.hard(y), predicted, sample_weight=sample_weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

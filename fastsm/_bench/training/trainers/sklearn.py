"""scikit-learn's MLPClassifier."""

from typing import Any

import numpy as np
from sklearn.neural_network import MLPClassifier

import sklearn
from fastsm._bench.timing import Call
from fastsm._bench.training.networks import LEARNING_RATE, Array, Network, Task, Weights

__all__ = ["CALLED", "estimator", "predictors", "setup", "trainers"]

CALLED = (
    "`MLPClassifier(solver='sgd', momentum=0, alpha=0)`, one `partial_fit` an epoch, shuffled by it; images"
    " as float32. Inference: `predict_proba`. Estimators: `MLPClassifier(sizes, batch_size=200)`, a number of"
    " epochs, everything else as by default, on float32."
)


def setup(threads: int) -> str:
    """Nothing to set up: the environment limits BLAS."""
    return str(sklearn.__version__)


def _classifier(network: Network, batch_size: int) -> Any:
    """Return a classifier with the initial weights."""
    classes = network.sizes[-1]
    if classes == 2:
        raise NotImplementedError("with two classes it has one output, which is another network")
    model = MLPClassifier(
        network.sizes[1:-1], activation=network.activation, solver="sgd", alpha=0.0, momentum=0.0,
        batch_size=batch_size, learning_rate_init=LEARNING_RATE,
    )  # fmt: skip
    # It makes its weights when it first sees data.
    rows = np.zeros((batch_size, network.sizes[0]), np.float32)
    model.partial_fit(rows, np.arange(batch_size) % classes, classes=np.arange(classes))
    for i, (w, b) in enumerate(network.weights()):
        model.coefs_[i][...] = w
        model.intercepts_[i][...] = b
    return model


class PartialFit:
    """`partial_fit` on all rows is an epoch."""

    candidate, variant = "sklearn", "partial_fit"

    def __init__(self, task: Task) -> None:
        self.data, self.model = task.data, _classifier(task.network, task.batch_size)

    def epoch(self, order: Array) -> None:
        """Train once over all rows; it draws the order."""
        self.model.partial_fit(self.data.scaled, self.data.labels)

    def in_order(self, rows: int) -> None:
        """Train once over the first rows in their order."""
        self.model.shuffle = False
        self.model.partial_fit(self.data.scaled[:rows], self.data.labels[:rows])
        self.model.shuffle = True

    def weights(self) -> Weights:
        """Return the weights as they are now."""
        return list(zip(self.model.coefs_, self.model.intercepts_, strict=True))


def trainers(task: Task) -> list[PartialFit]:
    """Return the classifier."""
    return [PartialFit(task)]


def predictors(network: Network, x: Array) -> list[Call]:
    """Return `predict_proba`."""
    model = _classifier(network, network.sizes[-1])
    return [Call("sklearn", "predict_proba", lambda: model.predict_proba(x))]


def estimator(**parameters: Any) -> Any:
    """Return scikit-learn's classifier, not yet fitted."""
    return MLPClassifier(**parameters)

"""scikit-learn: the softmax of its networks, the loss of its linear models, and `MLPClassifier`."""

import numpy as np
import sklearn
from sklearn._loss import HalfMultinomialLoss
from sklearn.neural_network import MLPClassifier
from sklearn.utils.extmath import softmax

from cells import HALF
from networks import LEARNING_RATE, Trainer
from timing import Call

CALLED = (
    "`sklearn.utils.extmath.softmax(copy=False)`, which works in place, and the fused loss and gradient of"
    " its linear models, `HalfMultinomialLoss`, whose sample weights of 1/N make the mean. It has one axis."
    " Training: `MLPClassifier(solver='sgd', momentum=0, alpha=0)`, one `partial_fit` an epoch, shuffled by"
    " it; images as float32. Inference: `predict_proba`. Estimators: everything as by default but what the"
    " table says, on float32."
)


def setup(threads):
    """Return the version; the environment limits BLAS."""
    return sklearn.__version__


def kernels(cell):
    """Return the only way."""
    if cell.axis != -1:
        return []
    if cell.operation == "softmax":
        z, most = cell.scratch, cell.most_in_place
        run = lambda: softmax(z, copy=False)  # noqa: E731
        return [Call("sklearn", "in place", run, restore=cell.refill, most_calls=most)]
    if cell.operation == "cross_entropy_with_grad" and cell.dtype not in HALF:
        return [Call("sklearn", "HalfMultinomialLoss", _cross_entropy(cell))]
    return []


def _cross_entropy(cell):
    """Take the mean by sample weights of 1 / rows, which its kernel multiplies by in the same pass."""
    loss = HalfMultinomialLoss(n_classes=cell.classes)
    x, out, losses = cell.x, cell.out, np.empty(cell.rows, cell.dtype)
    targets, weights = cell.targets.astype(cell.dtype), np.full(cell.rows, 1 / cell.rows, cell.dtype)

    def run():
        loss.loss_gradient(targets, x, weights, loss_out=losses, gradient_out=out)
        return losses.sum(), out

    return run


def _classifier(network, batch_size):
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


class PartialFit(Trainer):
    """`partial_fit` on all rows is an epoch."""

    candidate, way = "sklearn", "partial_fit"

    def __init__(self, task):
        self.data, self.model = task.data, _classifier(task.network, task.batch_size)

    def epoch(self, order):
        """Train once over all rows; it draws the order."""
        self.model.partial_fit(self.data.scaled, self.data.labels)

    def in_order(self, rows):
        """Train once over the first rows in their order."""
        self.model.shuffle = False
        self.model.partial_fit(self.data.scaled[:rows], self.data.labels[:rows])
        self.model.shuffle = True

    def weights(self):
        """Return the current weights."""
        return list(zip(self.model.coefs_, self.model.intercepts_, strict=True))


def trainers(task):
    """Return the classifier."""
    return [PartialFit(task)]


def predictors(network, x):
    """Return `predict_proba`."""
    model = _classifier(network, network.sizes[-1])
    return [Call("sklearn", "predict_proba", lambda: model.predict_proba(x))]

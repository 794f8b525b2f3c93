"""scikit-learn: the softmax of its own networks, and the fused loss and gradient of its linear models."""

import numpy as np
from sklearn._loss import HalfMultinomialLoss
from sklearn.utils.extmath import softmax

import sklearn
from fastsm._bench.kernels.cells import HALF, Cell
from fastsm._bench.timing import Call

CALLED = (
    "`sklearn.utils.extmath.softmax(copy=False)`, which works in place, and the fused loss and gradient of"
    " its linear models, `HalfMultinomialLoss`, whose sample weights of 1/N make the mean. It has one axis."
)


def setup(threads: int) -> str:
    """Return the version."""
    return str(sklearn.__version__)


def calls(cell: Cell) -> list[Call]:
    """Return the one way there is."""
    if cell.axis != -1:
        return []
    if cell.operation == "softmax":
        z, most = cell.scratch, cell.most_in_place
        run = lambda: softmax(z, copy=False)  # noqa: E731
        return [Call("sklearn", "in place", run, restore=cell.refill, most_calls=most)]
    if cell.operation.startswith("cross_entropy") and cell.dtype not in HALF:
        return [_cross_entropy(cell)]
    return []


def _cross_entropy(cell: Cell) -> Call:
    """Take the mean by sample weights of 1 / rows, which its kernel multiplies by in the same pass."""
    loss = HalfMultinomialLoss(n_classes=cell.classes)
    x, out, losses = cell.x, cell.out, np.empty(cell.rows, cell.dtype)
    targets, weights = cell.targets.astype(cell.dtype), np.full(cell.rows, 1 / cell.rows, cell.dtype)

    def value() -> object:
        return loss.loss(targets, x, weights, loss_out=losses).sum()

    def value_and_grad() -> object:
        loss.loss_gradient(targets, x, weights, loss_out=losses, gradient_out=out)
        return losses.sum(), out

    run = value if cell.operation == "cross_entropy" else value_and_grad
    return Call("sklearn", "HalfMultinomialLoss", run)

"""scikit-learn: the softmax of its own networks, and the fused loss and gradient of its linear models."""

import numpy as np
import sklearn
from sklearn._loss import HalfMultinomialLoss
from sklearn.utils.extmath import softmax

from _cells import Cell
from _timing import Call


def setup(threads: int) -> str:
    return str(sklearn.__version__)


def calls(cell: Cell) -> list[Call]:
    z = cell.scratch
    if cell.operation == "softmax":
        return [Call("sklearn", "in place", lambda: softmax(z, copy=False), restore=cell.refill)]
    if cell.operation.startswith("cross_entropy"):
        return [_cross_entropy(cell)]
    return []


def _cross_entropy(cell: Cell) -> Call:
    """The mean by sample weights of 1 / rows, which its kernel multiplies by in the same pass."""
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

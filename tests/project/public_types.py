"""Types of the public functions: mypy checks this file, which is never run."""

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import fastsm
from fastsm import nn, optim
from fastsm.typing import Array, LayerLike, Loss

singles = np.zeros((2, 3), np.float32)
doubles = np.zeros((2, 3))
labels = np.zeros(2, np.int64)
Singles = NDArray[np.float32]

assert_type(fastsm.softmax(singles), Singles)
assert_type(fastsm.log_softmax(doubles, axis=0), NDArray[np.float64])
assert_type(fastsm.softmax([[1, 2]]), NDArray[Any])
assert_type(fastsm.logsumexp(singles, keepdims=True), Singles)
assert_type(fastsm.softmax_vjp(singles, doubles), Singles)
assert_type(fastsm.softmax_jacobian(singles), Singles)
assert_type(fastsm.cross_entropy(singles, labels), np.float32)
assert_type(fastsm.cross_entropy(singles, labels, reduction="none"), Singles)
assert_type(fastsm.cross_entropy_with_grad(singles, labels, reduction="sum"), tuple[np.float32, Singles])
fastsm.cross_entropy(singles, labels, reduction="average")  # type: ignore[call-overload]
assert_type(fastsm.binary_cross_entropy(singles, doubles), np.float32)
assert_type(fastsm.binary_cross_entropy_with_grad(doubles, doubles), tuple[np.float64, NDArray[np.float64]])
weight = np.zeros((3, 5), np.float32)
assert_type(fastsm.linear_cross_entropy(singles, weight, labels), np.float32)
assert_type(fastsm.linear_cross_entropy(singles, weight, labels, reduction="none"), Singles)
assert_type(fastsm.linear_cross_entropy([[1, 2, 3]], weight, [0]), Any)
assert_type(
    fastsm.linear_cross_entropy_with_grad(singles, weight, labels),
    tuple[np.float32, tuple[Singles, Singles, Singles | None]],
)
fastsm.linear_cross_entropy_with_grad(singles, weight, labels, reduction="none")  # type: ignore[call-overload]


class Identity:
    """The least that a layer needs."""

    def forward(self, x: Array, training: bool = False) -> Array:
        """Return the input."""
        return x

    def backward(self, dy: Array) -> Array:
        """Return the gradient."""
        return dy


@nn.loss(on="probs")
def squares(p: Array, y: Array) -> tuple[Array, Array]:
    """Return squares and their gradient."""
    return ((p - y) ** 2).sum(axis=1), 2 * (p - y)


layer: LayerLike = Identity()
losses: list[Loss] = [nn.CrossEntropyLoss(on="probs"), nn.MSELoss(), nn.BCELoss(), squares]
model = nn.Sequential(nn.Linear(3, 2), nn.Softmax(), layer)
assert_type(nn.value_and_grad(model, losses[0], singles, labels), float)
assert_type(nn.value_and_grad(model, losses[0], singles, labels, input_grad=True), tuple[float, Array])
fastsm.fit(model, singles, labels, loss=squares, optimizer=optim.Adam(1e-3))
nn.Sequential(nn.ReLU)  # type: ignore[arg-type]
nn.CrossEntropyLoss(on="log-probs")  # type: ignore[arg-type]

"""thinc: a chain of its layers, with its own matrix products (BLIS) and with NumPy's."""

from collections.abc import Callable
from typing import Any

import numpy as np
import thinc.about
from thinc.api import SGD, CategoricalCrossentropy, Linear, Model, NumpyOps, Relu, Softmax, chain

from fastsm._bench.timing import Call
from fastsm._bench.training.networks import LEARNING_RATE, Array, Network, Task, Weights

__all__ = ["CALLED", "predictors", "setup", "trainers"]

CALLED = (
    "`chain(Relu(...), Softmax(...))`, `CategoricalCrossentropy` on one-hot rows made beforehand and `SGD`,"
    " on `NumpyOps` both with BLIS and with NumPy's products; images as float32. It has no tanh layer: the"
    " one used is written with NumPy. Inference: `predict`."
)


def setup(threads: int) -> str:
    """Nothing to set up: the environment limits BLAS."""
    return str(thinc.about.__version__)


def _tanh() -> Any:
    def forward(model: Any, x: Array, is_train: bool) -> tuple[Array, Callable[[Array], Array]]:
        y = np.tanh(x)
        return y, lambda dy: dy * (1 - y * y)

    return Model("tanh", forward)


def _model(network: Network, use_blis: bool) -> Any:
    """Return a chain with the initial weights, which thinc keeps as (n_out, n_in)."""
    layers = []
    for i, (n_in, n_out) in enumerate(zip(network.sizes, network.sizes[1:], strict=False)):
        if i == len(network.sizes) - 2:
            layers.append(Softmax(n_out, n_in))
        elif network.activation == "relu":
            layers.append(Relu(n_out, n_in))
        else:
            layers += [Linear(n_out, n_in), _tanh()]
    model = chain(*layers)
    ops = NumpyOps(use_blis=use_blis)
    for node in model.walk():
        node.ops = ops
    model.initialize()
    for node, (w, b) in zip(_with_weights(model), network.weights(), strict=True):
        node.set_param("W", np.ascontiguousarray(w.T))
        node.set_param("b", b)
    return model


def _with_weights(model: Any) -> list[Any]:
    return [layer for layer in model.layers if layer.has_param("W")]


class Chain:
    """A loop over batches, as in thinc's tutorials."""

    candidate = "thinc"

    def __init__(self, task: Task, use_blis: bool) -> None:
        self.variant = "BLIS" if use_blis else "NumPy's products"
        self.batch, self.x = task.batch_size, task.data.scaled
        self.one_hot = np.eye(task.network.sizes[-1], dtype=np.float32)[task.data.labels]
        self.model, self.loss = _model(task.network, use_blis), CategoricalCrossentropy()
        self.optimizer = SGD(LEARNING_RATE, L2=0.0, grad_clip=0.0, use_averages=False)

    def epoch(self, order: Array) -> None:
        """Train once over all rows."""
        for start in range(0, len(order), self.batch):
            rows = order[start : start + self.batch]
            p, backprop = self.model.begin_update(self.x[rows])
            backprop(self.loss.get_grad(p, self.one_hot[rows]))
            self.model.finish_update(self.optimizer)

    def in_order(self, rows: int) -> None:
        """Train once over the first rows in their order."""
        self.epoch(np.arange(rows))

    def weights(self) -> Weights:
        """Return the weights as they are now."""
        return [(node.get_param("W").T, node.get_param("b")) for node in _with_weights(self.model)]


def trainers(task: Task) -> list[Chain]:
    """Return the chain with both ways of multiplying."""
    return [Chain(task, True), Chain(task, False)]


def predictors(network: Network, x: Array) -> list[Call]:
    """Return `predict` with both ways of multiplying."""
    blis, blas = _model(network, True), _model(network, False)
    return [
        Call("thinc", "BLIS", lambda: blis.predict(x)),
        Call("thinc", "NumPy's products", lambda: blas.predict(x)),
    ]

"""How each library trains a network for one epoch, each at its best setting.

A trainer is made from a network, its data and the number of threads. `epoch(order)` trains once over the rows
in that order; `weights()` returns the weights, to check that all candidates do the same. `products` is no
candidate but the limit: the matrix products of the same steps and nothing else.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from _networks import LEARNING_RATE, Data, Network

Weights = list[tuple[np.ndarray, np.ndarray]]


class Products:
    """The matrix products of an epoch alone: NumPy's BLAS on preallocated arrays."""

    def __init__(self, network: Network, data: Data, threads: int) -> None:
        rng = np.random.default_rng(0)
        n = network.batch_size
        self.steps = len(data.labels) // n
        self.weights_ = [w for w, _ in network.weights()]
        self.values = [rng.random((n, size), dtype=np.float32) for size in network.sizes]
        self.out = [np.empty((n, size), np.float32) for size in network.sizes]
        self.grads = [np.empty_like(w) for w in self.weights_]

    def epoch(self, order: np.ndarray) -> None:
        for _ in range(self.steps):
            for i, w in enumerate(self.weights_):
                np.matmul(self.values[i], w, out=self.out[i + 1])
            for i in reversed(range(len(self.weights_))):
                np.matmul(self.values[i].T, self.values[i + 1], out=self.grads[i])
                if i:
                    np.matmul(self.values[i + 1], self.weights_[i].T, out=self.out[i])

    def weights(self) -> Weights | None:
        return None


class FastSM:
    """`fastsm.fit`, images in uint8."""

    fit_threads: int | None = None

    def __init__(self, network: Network, data: Data, threads: int) -> None:
        import fastsm
        from fastsm import nn, optim

        self.fastsm, self.data, self.batch = fastsm, data, network.batch_size
        self.model = nn.MLP(network.sizes, activation=network.activation, rng=0)
        linear = [layer for layer in self.model.layers if isinstance(layer, nn.Linear)]
        for layer, (w, b) in zip(linear, network.weights(), strict=True):
            layer.params["weight"][...] = w
            layer.params["bias"][...] = b
        self.linear = linear
        self.loss, self.optimizer = nn.CrossEntropyLoss(), optim.SGD(LEARNING_RATE)

    def epoch(self, order: np.ndarray) -> None:
        # fit shuffles by itself; only the check of agreement gives the rows in their own order.
        in_order = order[0] == 0 and order[-1] == len(order) - 1
        self.fastsm.fit(
            self.model, self.data.raw, self.data.labels, loss=self.loss, optimizer=self.optimizer, epochs=1,
            batch_size=self.batch, metrics=(), shuffle=not in_order, rng=0,
            num_threads=self.fit_threads,
        )  # fmt: skip

    def weights(self) -> Weights:
        return [(layer.params["weight"], layer.params["bias"]) for layer in self.linear]


class PlainNumPy:
    """As one writes it in NumPy."""

    def __init__(self, network: Network, data: Data, threads: int) -> None:
        self.data, self.batch, self.relu = data, network.batch_size, network.activation == "relu"
        self.layers = [[w.copy(), b.copy()] for w, b in network.weights()]
        self.one_hot = np.eye(network.sizes[-1], dtype=np.float32)

    def epoch(self, order: np.ndarray) -> None:
        for start in range(0, len(order), self.batch):
            rows = order[start : start + self.batch]
            activations = [self.data.scaled[rows]]
            for i, (w, b) in enumerate(self.layers):
                z = activations[-1] @ w + b
                if i < len(self.layers) - 1:
                    z = np.maximum(z, 0) if self.relu else np.tanh(z)
                activations.append(z)
            e = np.exp(z - z.max(axis=1, keepdims=True))
            delta = (e / e.sum(axis=1, keepdims=True) - self.one_hot[self.data.labels[rows]]) / np.float32(
                len(rows)
            )
            for i in reversed(range(len(self.layers))):
                w, b = self.layers[i]
                a = activations[i]
                dw, db = a.T @ delta, delta.sum(axis=0)
                if i:
                    delta = (delta @ w.T) * ((a > 0) if self.relu else 1 - a * a)
                w -= np.float32(LEARNING_RATE) * dw
                b -= np.float32(LEARNING_RATE) * db

    def weights(self) -> Weights:
        return [(w, b) for w, b in self.layers]


class PyTorch:
    """PyTorch eager: nn.Sequential, cross_entropy, optim.SGD(foreach=True)."""

    def __init__(self, network: Network, data: Data, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        self.torch, self.batch = torch, network.batch_size
        layers: list[Any] = []
        for i, (w, b) in enumerate(network.weights()):
            linear = torch.nn.Linear(*w.shape)
            with torch.no_grad():
                linear.weight.copy_(torch.from_numpy(w.T.copy()))
                linear.bias.copy_(torch.from_numpy(b))
            layers.append(linear)
            if i < len(network.sizes) - 2:
                layers.append(torch.nn.ReLU() if network.activation == "relu" else torch.nn.Tanh())
        self.model = torch.nn.Sequential(*layers)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=LEARNING_RATE, foreach=True)
        self.x, self.y = torch.from_numpy(data.scaled), torch.from_numpy(data.labels)

    def epoch(self, order: np.ndarray) -> None:
        torch = self.torch
        order_ = torch.from_numpy(order)
        for start in range(0, len(order), self.batch):
            rows = order_[start : start + self.batch]
            self.optimizer.zero_grad(set_to_none=True)
            torch.nn.functional.cross_entropy(self.model(self.x[rows]), self.y[rows]).backward()
            self.optimizer.step()

    def weights(self) -> Weights:
        linear = [layer for layer in self.model if isinstance(layer, self.torch.nn.Linear)]
        return [(layer.weight.detach().numpy().T, layer.bias.detach().numpy()) for layer in linear]


class Jax:
    """JAX: a whole epoch in one jitted scan, the parameters donated; full batches only."""

    def __init__(self, network: Network, data: Data, threads: int) -> None:
        import jax
        import jax.numpy as jnp

        self.jnp, self.batch = jnp, network.batch_size
        self.params = [(jnp.asarray(w), jnp.asarray(b)) for w, b in network.weights()]
        self.x, self.y = jnp.asarray(data.scaled), jnp.asarray(data.labels)
        activation: Callable[[Any], Any] = jax.nn.relu if network.activation == "relu" else jnp.tanh

        def loss(params: Any, x: Any, y: Any) -> Any:
            for w, b in params[:-1]:
                x = activation(x @ w + b)
            w, b = params[-1]
            z = x @ w + b
            own = jnp.take_along_axis(z, y[:, None], axis=1)[:, 0]
            return (jax.nn.logsumexp(z, axis=1) - own).mean()

        def epoch(params: Any, x: Any, y: Any, order: Any) -> Any:
            def step(params: Any, rows: Any) -> Any:
                grads = jax.grad(loss)(params, x[rows], y[rows])
                return jax.tree.map(lambda p, g: p - LEARNING_RATE * g, params, grads), None

            return jax.lax.scan(step, params, order)[0]

        self.run = jax.jit(epoch, donate_argnums=0)

    def epoch(self, order: np.ndarray) -> None:
        full = len(order) // self.batch * self.batch
        batches = self.jnp.asarray(order[:full].reshape(-1, self.batch))
        self.params = self.run(self.params, self.x, self.y, batches)
        self.params[0][0].block_until_ready()

    def weights(self) -> Weights:
        return [(np.asarray(w), np.asarray(b)) for w, b in self.params]


class ScikitLearn:
    """MLPClassifier: one iteration of fit a time, warm started; it starts from weights of its own."""

    def __init__(self, network: Network, data: Data, threads: int) -> None:
        from sklearn.neural_network import MLPClassifier

        self.data = data
        self.model = MLPClassifier(
            network.sizes[1:-1], activation=network.activation, solver="sgd", alpha=0.0, momentum=0.0,
            batch_size=network.batch_size, learning_rate_init=LEARNING_RATE, max_iter=1, warm_start=True,
        )  # fmt: skip

    def epoch(self, order: np.ndarray) -> None:
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that one iteration does not converge
            self.model.fit(self.data.scaled, self.data.labels)

    def weights(self) -> Weights | None:
        return None


TRAINERS: dict[str, type[Any]] = {
    "products": Products,
    "fastsm": FastSM,
    "numpy": PlainNumPy,
    "torch": PyTorch,
    "jax": Jax,
    "sklearn": ScikitLearn,
}
LIMIT = "products"

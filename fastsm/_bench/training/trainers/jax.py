"""JAX: a whole epoch in one jitted scan."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fastsm._bench.timing import Call
from fastsm._bench.training.networks import LEARNING_RATE, Array, Network, Task, Weights

__all__ = ["CALLED", "predictors", "setup", "trainers"]

CALLED = (
    "A whole epoch in one jitted `lax.scan`, the parameters donated; images as float32; whole batches only."
    " Inference: one jitted function, waited for."
)


def setup(threads: int) -> str:
    """Dispatch nothing to another thread: that would only add a hand-over to every call."""
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    return str(jax.__version__)


def _logits(network: Network, layers: Any, x: Any) -> Any:
    for w, b in layers[:-1]:
        x = jax.nn.relu(x @ w + b) if network.activation == "relu" else jnp.tanh(x @ w + b)
    w, b = layers[-1]
    return x @ w + b


class Scan:
    """An epoch is one call."""

    candidate, variant = "jax", "jitted scan"

    def __init__(self, task: Task) -> None:
        self.batch = task.batch_size
        self.layers = [(jnp.asarray(w), jnp.asarray(b)) for w, b in task.network.weights()]
        self.x, self.y = jnp.asarray(task.data.scaled), jnp.asarray(task.data.labels)

        def loss(layers: Any, x: Any, y: Any) -> Any:
            z = _logits(task.network, layers, x)
            own = jnp.take_along_axis(z, y[:, None], axis=1)[:, 0]
            return (jax.nn.logsumexp(z, axis=1) - own).mean()

        def epoch(layers: Any, x: Any, y: Any, order: Any) -> Any:
            def step(layers: Any, rows: Any) -> Any:
                grads = jax.grad(loss)(layers, x[rows], y[rows])
                return jax.tree.map(lambda value, grad: value - LEARNING_RATE * grad, layers, grads), None

            return jax.lax.scan(step, layers, order)[0]

        self.run = jax.jit(epoch, donate_argnums=0)

    def epoch(self, order: Array) -> None:
        """Train once over all rows but those of a last, smaller batch."""
        whole = len(order) // self.batch * self.batch
        batches = jnp.asarray(order[:whole].reshape(-1, self.batch))
        self.layers = self.run(self.layers, self.x, self.y, batches)
        self.layers[0][0].block_until_ready()

    def in_order(self, rows: int) -> None:
        """Train once over the first rows in their order."""
        self.epoch(np.arange(rows))

    def weights(self) -> Weights:
        """Return the weights as they are now."""
        return [(np.asarray(w), np.asarray(b)) for w, b in self.layers]


def trainers(task: Task) -> list[Scan]:
    """Return the scan."""
    return [Scan(task)]


def predictors(network: Network, x: Array) -> list[Call]:
    """Return the jitted network."""
    layers = [(jnp.asarray(w), jnp.asarray(b)) for w, b in network.weights()]
    rows = jnp.asarray(x)
    run = jax.jit(lambda layers, x: jax.nn.softmax(_logits(network, layers, x), axis=-1))
    return [Call("jax", "jit", lambda: run(layers, rows).block_until_ready())]

"""JAX: jitted functions on device arrays, waited for, and with the input's buffer donated to the result.

Dispatch stays on the calling thread: another thread would only add a hand-over to every call.
"""

import jax
import jax.numpy as jnp
import numpy as np

from networks import LEARNING_RATE, Trainer
from timing import Call

CALLED = (
    "`jax.jit` of its own functions and of the formulas, on device arrays, waited for; also with the input's"
    " buffer donated to the result. Loss and gradient by `value_and_grad`. Training: a whole epoch in one"
    " jitted `lax.scan`, the parameters donated; images as float32; whole batches only. Inference: one"
    " jitted function."
)


def setup(threads):
    """Set the configuration for all cells, and return the version."""
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    return jax.__version__


def kernels(cell):
    """Return the jitted function, without and with donation."""
    function = _function(cell)
    given, *kept = (jnp.array(array) for array in (cell.given, *cell.kept))
    jitted = jax.jit(function)
    donating = jax.jit(function, donate_argnums=0)
    state = []

    def restore():
        state[:] = [jnp.array(cell.given)]

    def in_place():
        """The result takes the argument's memory, and is the next argument."""
        result = _wait(donating(state[0], *kept))
        state[0] = result[-1] if isinstance(result, tuple) else result
        return result

    return [
        Call("jax", "jit", lambda: _wait(jitted(given, *kept))),
        Call("jax", "jit, donating", in_place, restore=restore, most_calls=cell.most_in_place),
    ]


def _wait(result):
    """Wait for the results, which come together. The method costs less than ``jax.block_until_ready``."""
    (result[-1] if isinstance(result, tuple) else result).block_until_ready()
    return result


def _function(cell):
    axis = cell.axis

    def loss(x, targets):
        own = jnp.take_along_axis(x, jnp.expand_dims(targets, axis), axis=axis).squeeze(axis)
        return (jax.nn.logsumexp(x, axis=axis) - own).mean()

    return {
        "softmax": lambda x: jax.nn.softmax(x, axis),
        "log_softmax": lambda x: jax.nn.log_softmax(x, axis),
        "softmax_vjp": lambda dy, y: y * (dy - (y * dy).sum(axis, keepdims=True)),
        "log_softmax_vjp": lambda dy, log_y: dy - jnp.exp(log_y) * dy.sum(axis, keepdims=True),
        "cross_entropy_with_grad": jax.value_and_grad(loss),
    }[cell.operation]


def _logits(network, layers, x):
    for w, b in layers[:-1]:
        x = jax.nn.relu(x @ w + b) if network.activation == "relu" else jnp.tanh(x @ w + b)
    w, b = layers[-1]
    return x @ w + b


class Scan(Trainer):
    """An epoch is one call."""

    candidate, way = "jax", "jitted scan"

    def __init__(self, task):
        self.batch = task.batch_size
        self.layers = [(jnp.asarray(w), jnp.asarray(b)) for w, b in task.network.weights()]
        self.x, self.y = jnp.asarray(task.data.scaled), jnp.asarray(task.data.labels)

        def loss(layers, x, y):
            z = _logits(task.network, layers, x)
            own = jnp.take_along_axis(z, y[:, None], axis=1)[:, 0]
            return (jax.nn.logsumexp(z, axis=1) - own).mean()

        def epoch(layers, x, y, order):
            def step(layers, rows):
                grads = jax.grad(loss)(layers, x[rows], y[rows])
                return jax.tree.map(lambda value, grad: value - LEARNING_RATE * grad, layers, grads), None

            return jax.lax.scan(step, layers, order)[0]

        self.run = jax.jit(epoch, donate_argnums=0)

    def epoch(self, order):
        """Train once over all rows except a last, smaller batch."""
        whole = len(order) // self.batch * self.batch
        batches = jnp.asarray(order[:whole].reshape(-1, self.batch))
        self.layers = self.run(self.layers, self.x, self.y, batches)
        self.layers[0][0].block_until_ready()

    def weights(self):
        """Return the current weights."""
        return [(np.asarray(w), np.asarray(b)) for w, b in self.layers]


def trainers(task):
    """Return the scan."""
    return [Scan(task)]


def predictors(network, x):
    """Return the jitted network."""
    layers = [(jnp.asarray(w), jnp.asarray(b)) for w, b in network.weights()]
    rows = jnp.asarray(x)
    run = jax.jit(lambda layers, x: jax.nn.softmax(_logits(network, layers, x), axis=-1))
    return [Call("jax", "jit", lambda: run(layers, rows).block_until_ready())]

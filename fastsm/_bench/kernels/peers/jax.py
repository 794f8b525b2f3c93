"""JAX: jitted functions on device arrays, waited for; and with the input's buffer donated to the result.

Nothing is dispatched to another thread: with one core that would only add a hand-over to every call.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from fastsm._bench.kernels.cells import Cell
from fastsm._bench.timing import Call

CALLED = (
    "`jax.jit` of its own functions and of the formulas, on device arrays, waited for; also with the input's"
    " buffer donated to the result. Nothing is dispatched to another thread."
)


def setup(threads: int) -> str:
    """Set what is the same for all cells, and return the version."""
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    return str(jax.__version__)


def calls(cell: Cell) -> list[Call]:
    """Return each formula, jitted as it is and donating."""
    return [call for name, function in _functions(cell) for call in _ways(cell, name, function)]


def _ways(cell: Cell, name: str, function: Callable[..., object]) -> list[Call]:
    fixed, varying = _arguments(cell)
    jitted = jax.jit(function)
    found = [Call("jax", f"jit {name}", lambda: _wait(jitted(varying, *fixed)))]
    if cell.operation not in ("logsumexp", "cross_entropy"):
        found.append(_donating(cell, name, function))
    return found


def _arguments(cell: Cell) -> tuple[list[jax.Array], jax.Array]:
    """Return what stays, and what a donating call overwrites."""
    if cell.operation.endswith("_vjp"):
        return [jnp.array(getattr(cell, cell.saved))], jnp.array(cell.dy)
    if cell.operation.startswith("cross_entropy"):
        return [jnp.array(cell.targets)], jnp.array(cell.x)
    return [], jnp.array(cell.x)


def _donating(cell: Cell, name: str, function: Callable[..., object]) -> Call:
    """Return JAX's way of working in place: the result takes the argument's memory, and is the next one."""
    fixed, _ = _arguments(cell)
    jitted = jax.jit(function, donate_argnums=0)
    state: list[jax.Array] = []

    def restore() -> None:
        state[:] = [jnp.array(getattr(cell, cell.overwritten))]

    def run() -> object:
        result = _wait(jitted(state[0], *fixed))
        state[0] = result[-1] if isinstance(result, tuple) else result
        return result

    return Call("jax", f"jit {name}, donating", run, restore=restore, most_calls=cell.most_in_place)


def _wait(result: Any) -> Any:
    """Wait for the results, which come together. The method costs less than ``jax.block_until_ready``."""
    (result[-1] if isinstance(result, tuple) else result).block_until_ready()
    return result


def _functions(cell: Cell) -> list[tuple[str, Callable[..., object]]]:
    """Return ways to do the operation: pure functions, the varying argument first."""
    axis, classes = cell.axis, cell.classes

    def softmax_vjp(dy: jax.Array, y: jax.Array) -> jax.Array:
        return y * (dy - (y * dy).sum(axis, keepdims=True))

    def log_softmax_vjp(dy: jax.Array, log_y: jax.Array) -> jax.Array:
        return dy - jnp.exp(log_y) * dy.sum(axis, keepdims=True)

    def of_targets(values: jax.Array, targets: jax.Array) -> jax.Array:
        return jnp.take_along_axis(values, jnp.expand_dims(targets, axis), axis=axis).squeeze(axis)

    def loss(x: jax.Array, targets: jax.Array) -> jax.Array:
        return (jax.nn.logsumexp(x, axis=axis) - of_targets(x, targets)).mean()

    def loss_of_log_softmax(x: jax.Array, targets: jax.Array) -> jax.Array:
        return -of_targets(jax.nn.log_softmax(x, axis), targets).mean()

    def loss_and_grad(x: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
        is_target = jax.nn.one_hot(targets, classes, dtype=x.dtype, axis=axis)
        return loss(x, targets), (jax.nn.softmax(x, axis) - is_target) * (1 / targets.size)

    ways: dict[str, list[tuple[str, Callable[..., object]]]] = {
        "softmax": [("nn.softmax", partial(jax.nn.softmax, axis=axis))],
        "log_softmax": [("nn.log_softmax", partial(jax.nn.log_softmax, axis=axis))],
        "logsumexp": [("nn.logsumexp", partial(jax.nn.logsumexp, axis=axis))],
        "softmax_vjp": [("formula", softmax_vjp)],
        "log_softmax_vjp": [("formula", log_softmax_vjp)],
        "cross_entropy": [("logsumexp - x[target]", loss), ("-log_softmax[target]", loss_of_log_softmax)],
        "cross_entropy_with_grad": [
            ("value_and_grad", jax.value_and_grad(loss)),
            ("value_and_grad of log_softmax", jax.value_and_grad(loss_of_log_softmax)),
            ("formula", loss_and_grad),
        ],
    }
    return ways[cell.operation]

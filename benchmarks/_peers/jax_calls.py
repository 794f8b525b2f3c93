"""JAX: jitted functions on device arrays, waited for; and with the input's buffer donated to the result.

Nothing is dispatched to another thread: with one core that would only add a hand-over to every call.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from _cells import Cell
from _timing import Call


def setup(threads: int) -> str:
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    return str(jax.__version__)


def calls(cell: Cell) -> list[Call]:
    return [call for name, function in _FUNCTIONS[cell.operation] for call in _ways(cell, name, function)]


def _ways(cell: Cell, name: str, function: Callable[..., object]) -> list[Call]:
    fixed, varying = _arguments(cell)
    jitted = jax.jit(function)
    found = [Call("jax", f"jit {name}", lambda: _wait(jitted(varying, *fixed)))]
    if cell.operation not in ("logsumexp", "cross_entropy"):
        found.append(_donating(cell, name, function))
    return found


def _arguments(cell: Cell) -> tuple[list[jax.Array], jax.Array]:
    """What stays, and what a donating call overwrites."""
    if cell.operation.endswith("_vjp"):
        return [jnp.array(cell.y if cell.operation == "softmax_vjp" else cell.log_y)], jnp.array(cell.dy)
    if cell.operation.startswith("cross_entropy"):
        return [jnp.array(cell.targets)], jnp.array(cell.x)
    return [], jnp.array(cell.x)


def _donating(cell: Cell, name: str, function: Callable[..., object]) -> Call:
    """JAX's way of working in place: the result goes into the argument's memory, and is the next argument."""
    fixed, _ = _arguments(cell)
    jitted = jax.jit(function, donate_argnums=0)
    state: list[jax.Array] = []

    def restore() -> None:
        state[:] = [jnp.array(getattr(cell, cell.overwritten))]

    def run() -> object:
        result = _wait(jitted(state[0], *fixed))
        state[0] = result[-1] if isinstance(result, tuple) else result
        return result

    call = Call("jax", f"jit {name}, donating", run, restore=restore)
    if cell.operation.endswith("_vjp"):
        call.most_calls = cell.most_vjps
    return call


def _wait(result: Any) -> Any:
    """Wait for the results, which come together. The method costs less than ``jax.block_until_ready``."""
    (result[-1] if isinstance(result, tuple) else result).block_until_ready()
    return result


def _softmax_vjp(dy: jax.Array, y: jax.Array) -> jax.Array:
    return y * (dy - (y * dy).sum(-1, keepdims=True))


def _log_softmax_vjp(dy: jax.Array, log_y: jax.Array) -> jax.Array:
    return dy - jnp.exp(log_y) * dy.sum(-1, keepdims=True)


def _loss(x: jax.Array, targets: jax.Array) -> jax.Array:
    chosen = jnp.take_along_axis(x, targets[:, None], axis=-1)[:, 0]
    return (jax.nn.logsumexp(x, axis=-1) - chosen).mean()


def _loss_of_log_softmax(x: jax.Array, targets: jax.Array) -> jax.Array:
    return -jnp.take_along_axis(jax.nn.log_softmax(x, -1), targets[:, None], axis=-1).mean()


def _loss_and_grad(x: jax.Array, targets: jax.Array) -> tuple[jax.Array, jax.Array]:
    is_target = targets[:, None] == jnp.arange(x.shape[-1])
    return _loss(x, targets), (jax.nn.softmax(x, -1) - is_target) * (1 / len(x))


_FUNCTIONS: dict[str, list[tuple[str, Callable[..., object]]]] = {
    "softmax": [("nn.softmax", partial(jax.nn.softmax, axis=-1))],
    "log_softmax": [("nn.log_softmax", partial(jax.nn.log_softmax, axis=-1))],
    "logsumexp": [("nn.logsumexp", partial(jax.nn.logsumexp, axis=-1))],
    "softmax_vjp": [("formula", _softmax_vjp)],
    "log_softmax_vjp": [("formula", _log_softmax_vjp)],
    "cross_entropy": [("logsumexp - x[target]", _loss), ("-log_softmax[target]", _loss_of_log_softmax)],
    "cross_entropy_with_grad": [
        ("value_and_grad", jax.value_and_grad(_loss)),
        ("value_and_grad of log_softmax", jax.value_and_grad(_loss_of_log_softmax)),
        ("formula", _loss_and_grad),
    ],
}

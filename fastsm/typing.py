"""Protocols for layers, losses, models and communicators of your own, and names for common types.

Callbacks have no protocol, as every method of theirs is optional: see `fastsm.callbacks`.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = [
    "Array",
    "Communicator",
    "DType",
    "Domain",
    "Float",
    "LayerLike",
    "Loss",
    "ModelLike",
    "Reduction",
    "Stateful",
]

Array: TypeAlias = NDArray[Any]
DType: TypeAlias = np.dtype[Any]
# Unchecked, as in NumPy's own stubs: every caller would have to narrow a union.
ScalarOrArray: TypeAlias = Any
# The arguments that make a layer or a loss, in the types of JSON.
Config: TypeAlias = dict[str, object]
Domain: TypeAlias = Literal["logits", "log_probs", "probs", "output"]
Float = TypeVar("Float", bound=np.floating[Any])
# What a loss is returned in; those of 16-bit logits are float32.
Computed = TypeVar("Computed", np.float32, np.float64)
Reduction: TypeAlias = Literal["mean", "sum", "none"]


class LayerLike(Protocol):
    """A layer that `fastsm.nn.Sequential` takes.

    `forward` keeps what `backward` needs and does not write to `x`; `backward` returns the gradient over `x`.
    They may be ``forward(x, training=False)`` and ``backward(dy, input_grad=True)``. A layer may also have

    * dictionaries ``params`` and ``grads``, optionally made in ``initialize(rng, dtype)``; `backward` then
      assigns the gradients: ``self.grads["weight"] = ...``;
    * ``undecayed``, the names of parameters that weight decay may leave out;
    * ``emits``, what the output is: "output", "probs" or "log_probs";
    * ``__call__(x)`` for inference; without it `forward` of a shallow copy is called;
    * ``config()``, the arguments that make such a layer, in the types of JSON, for files;
    * ``state()`` and ``set_state(state)``, what else a checkpoint must hold.
    """

    def forward(self, x: Array, /) -> Array:
        """Return the output for `x`, shape (N, features)."""

    def backward(self, dy: Array, /) -> Array | None:
        """Return the gradient over the last `x`, given the gradient `dy` over its output."""


class ModelLike(Protocol):
    """A model that `fastsm.nn.value_and_grad` takes: `fastsm.nn.Sequential`, or one of your own."""

    def forward(self, x: ArrayLike, /, training: bool = False) -> Array:
        """Return the output for `x`, shape (N, features)."""

    def backward(self, dy: ArrayLike, /, input_grad: bool = True) -> Array | None:
        """Return the gradient over the last `x`; store the gradients over the parameters in the model."""


@runtime_checkable
class Stateful(Protocol):
    """A layer or callback with state, beside its arguments and parameters, that checkpoints must hold."""

    def state(self) -> dict[str, Any]:
        """Return the state, as plain values and arrays."""

    def set_state(self, state: dict[str, Any], /) -> None:
        """Continue from `state`; if it does not fit, raise TypeError or ValueError and change nothing."""


class Loss(Protocol):
    """A loss that `fastsm.fit` takes: one of `fastsm.nn`, or a function made into one by `fastsm.nn.loss`.

    ``on`` says which outputs the loss takes: "logits", "log_probs", "probs", or "output" for any.
    """

    @property
    def on(self) -> str:
        """Which outputs the loss takes."""

    def __call__(self, outputs: ArrayLike, targets: Any, *, sample_weight: ArrayLike | None = None) -> float:
        """Return the weighted mean over the rows."""

    def value_and_grad(
        self,
        outputs: ArrayLike,
        targets: Any,
        *,
        sample_weight: ArrayLike | None = None,
        out: Array | None = None,
    ) -> tuple[float, Array]:
        """Return the loss and its gradient over the outputs."""

    def total_weight(self, targets: Any, sample_weight: ArrayLike | None = None) -> float:
        """Return the divisor of the mean."""


class Communicator(Protocol):
    """What fastsm uses of a communicator of mpi4py, such as ``MPI.COMM_WORLD``."""

    def Get_rank(self) -> int:
        """Return the rank of this process."""

    def Get_size(self) -> int:
        """Return the number of processes."""

    def Allreduce(self, sendbuf: Any, recvbuf: Any, op: Any = ..., /) -> None:
        """Combine the arrays of all processes into one, on each of them."""

    def allgather(self, sendobj: Any, /) -> list[Any]:
        """Return the objects of all processes."""

    def bcast(self, obj: Any, root: int = ..., /) -> Any:
        """Return the object of the process `root`."""
